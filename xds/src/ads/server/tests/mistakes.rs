//! Mistakes that other implementations have made, by their number in the protocol notes.

use super::*;
use crate::ads::fixture::{cluster, endpoints, listener, route};

#[test]
fn mistake_1_a_refused_resource_is_not_sent_again_in_a_loop() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &cluster("b", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        let sent = one(bench.publish(2, &[&cluster("a", 2), &cluster("b", 1)]));

        assert_eq!(bench.nack(&sent, "a: connect_timeout: no"), []);
        for generation in 3..6 {
            assert_eq!(bench.publish(generation, &[&cluster("a", 2), &cluster("b", 1)]), []);
            assert_eq!(bench.tick_after(Duration::from_secs(60)), []);
        }
        // Another change of the same type brings the other resource, and not the refused content.
        let sent = one(bench.publish(6, &[&cluster("a", 2), &cluster("b", 2)]));
        assert_eq!(sent.bodies["b"], body(&cluster("b", 2)));
        match mode {
            Mode::Delta => assert_eq!(sent.names, ["b"]),
            Mode::StateOfTheWorld => assert_eq!(sent.bodies["a"], body(&cluster("a", 1)), "what was accepted last"),
        }
    }
}

#[test]
fn mistake_1_going_back_to_the_accepted_content_needs_no_sending() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        let sent = one(bench.publish(2, &[&cluster("a", 2)]));
        bench.nack(&sent, "a: no");

        assert_eq!(bench.publish(3, &[&cluster("a", 1)]), []);
        assert_eq!(bench.publish(4, &[&cluster("a", 2)]), [], "and forward again is still refused");
        assert_eq!(bench.settled().last(), Some(&(4, false)));
    }
}

#[test]
fn mistake_2_after_a_refusal_and_a_reconnect_everything_is_offered_again() {
    for mode in BOTH {
        let set = [&cluster("a", 1), &cluster("b", 1)];
        let mut bench = Bench::with(mode, &set);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.nack(&sent, "a: no");

        let mut bench = Bench::with(mode, &set);
        let sent = match mode {
            Mode::Delta => bench.delta(CDS, |r| {
                r.initial_resource_versions = BTreeMap::from([("b".into(), set[1].version.to_string())]);
            }),
            Mode::StateOfTheWorld => {
                let node = bench.introduce();
                bench.request(Request::StateOfTheWorld(DiscoveryRequest {
                    type_url: CDS.type_url().to_owned(),
                    version_info: sent.version,
                    node,
                    ..Default::default()
                }))
            }
        };

        assert!(one(sent).names.contains(&"a".to_owned()));
    }
}

#[test]
fn mistake_3_endpoints_follow_every_announcement_of_their_cluster_in_the_same_breath() {
    for mode in BOTH {
        let mut bench =
            Bench::with(mode, &[&cluster("a", 1), &cluster("b", 1), &endpoints("a", 1), &endpoints("b", 1)]);
        bench.start_proxy(&["a", "b"], &[]);

        let sent = bench.publish(2, &[&cluster("a", 2), &cluster("b", 1), &endpoints("a", 1), &endpoints("b", 1)]);

        assert_eq!(types(&sent), [CDS, EDS]);
        assert_eq!(sent[1].names, ["a"], "though they did not change; those of b stay");
        assert_eq!(sent[1].bodies["a"], body(&endpoints("a", 1)));
    }
}

#[test]
fn mistake_3_endpoints_sent_before_the_announcement_do_not_count() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1)]);
        bench.start_proxy(&["a"], &[]);
        let before = one(bench.publish(2, &[&cluster("a", 1), &endpoints("a", 2)]));

        let announcement = one(bench.publish(3, &[&cluster("a", 2), &endpoints("a", 2)]));
        assert_eq!(announcement.of, CDS);

        let after = one(bench.ack(&before));
        assert_eq!((after.of, &*after.names), (EDS, &owned(&["a"])[..]));
    }
}

#[test]
fn mistake_4_a_reconnecting_client_whose_cluster_changed_gets_its_endpoints_although_it_lists_them() {
    let mut bench =
        Bench::with(Mode::Delta, &[&cluster("a", 2), &cluster("b", 1), &endpoints("a", 1), &endpoints("b", 1)]);
    let sent = bench.delta(CDS, |r| {
        let held = [&cluster("a", 1), &cluster("b", 1)];
        r.initial_resource_versions = held.map(|c| (c.name.to_string(), c.version.to_string())).into();
    });
    assert_eq!(sent[0].names, ["a"]);
    bench.settle(sent);

    let sent = one(bench.delta(EDS, |r| {
        r.resource_names_subscribe = owned(&["a", "b"]);
        let held = [&endpoints("a", 1), &endpoints("b", 1)];
        r.initial_resource_versions = held.map(|c| (c.name.to_string(), c.version.to_string())).into();
    }));

    assert_eq!(sent.names, ["a"]);
}

#[test]
fn mistake_4_a_new_state_of_the_world_stream_always_gets_its_endpoints() {
    let mut bench = Bench::with(Mode::StateOfTheWorld, &[&endpoints("a", 1)]);
    let version = one(bench.ask(EDS, &["a"])).version;

    let mut bench = Bench::with(Mode::StateOfTheWorld, &[&endpoints("a", 1)]);
    let node = bench.introduce();
    let sent = bench.request(Request::StateOfTheWorld(DiscoveryRequest {
        type_url: EDS.type_url().to_owned(),
        version_info: version,
        resource_names: owned(&["a"]),
        response_nonce: "of the last stream".to_owned(),
        node,
        ..Default::default()
    }));

    assert_eq!(one(sent).names, ["a"]);
}

#[test]
fn mistake_5_a_missing_name_stays_watched_through_coming_and_going() {
    let mut bench = Bench::with(Mode::Delta, &[]);
    let sent = one(bench.ask(EDS, &["a"]));
    assert_eq!(sent.removed, ["a"]);
    bench.ack(&sent);
    for generation in [2, 4, 6] {
        let sent = one(bench.publish(generation, &[&endpoints("a", 1)]));
        assert_eq!(sent.names, ["a"]);
        bench.ack(&sent);
        let sent = one(bench.publish(generation + 1, &[]));
        assert_eq!(sent.removed, ["a"]);
        bench.ack(&sent);
    }
}

#[test]
fn mistake_6_a_subscription_repeated_while_its_answer_is_unacknowledged_is_answered_again() {
    let mut bench = Bench::with(Mode::Delta, &[&endpoints("a", 1)]);
    let sent = one(bench.ask(EDS, &["a"]));
    assert_eq!(bench.ask(EDS, &["a"]), []);

    assert_eq!(one(bench.ack(&sent)).names, ["a"]);
}

#[test]
fn mistake_7_an_unsubscription_with_a_stale_nonce_counts_in_delta() {
    let mut bench = Bench::with(Mode::Delta, &[&endpoints("a", 1), &endpoints("b", 1)]);
    let sent = bench.ask(EDS, &["a", "b"]);
    bench.settle(sent);

    bench.delta(EDS, |r| {
        r.response_nonce = "stale".to_owned();
        r.resource_names_unsubscribe = owned(&["a"]);
    });

    assert_eq!(one(bench.publish(2, &[&endpoints("a", 2), &endpoints("b", 2)])).names, ["b"]);
}

#[test]
fn mistake_8_a_grpc_client_that_names_its_first_listener_never_gets_the_wildcard() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&listener("a", "r", 1), &listener("b", "r", 2)]);
        let sent = one(bench.ask(LDS, &["a"]));
        assert_eq!(sent.names, ["a"]);
        bench.ack(&sent);

        assert_eq!(bench.drop_names(LDS, &["a"]), []);
        assert_eq!(bench.publish(2, &[&listener("a", "r", 3), &listener("b", "r", 4)]), []);
    }
}

#[test]
fn mistake_9_a_resource_counts_as_held_when_it_is_acknowledged_not_when_it_is_sent() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.nack(&sent, "a: no");

        // Had sending counted, this would be a removal of something that the client never had.
        let sent = bench.publish(2, &[]);

        assert_eq!(sent, []);
        assert_eq!(bench.settled().last(), Some(&(2, false)));
    }
}

#[test]
fn mistake_9_a_partly_refused_response_leaves_the_other_resources_in_use() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("good", 1), &cluster("bad", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.nack(&sent, "bad: connect_timeout: no");

        let sent = one(bench.publish(2, &[&cluster("bad", 2)]));

        match mode {
            Mode::Delta => assert_eq!((sent.names, sent.removed), (owned(&["bad"]), owned(&["good"]))),
            Mode::StateOfTheWorld => assert_eq!(sent.names, ["bad"]),
        }
    }
}

#[test]
fn mistake_10_a_change_of_one_assignment_sends_only_that_one() {
    for mode in BOTH {
        let names: Vec<String> = (0..100).map(|i| format!("c{i:02}")).collect();
        let assignments: Vec<_> = names.iter().map(|name| endpoints(name, 1)).collect();
        let mut bench = Bench::with(mode, &assignments.iter().collect::<Vec<_>>());
        let sent = bench.ask(EDS, &names.iter().map(String::as_str).collect::<Vec<_>>());
        bench.settle(sent);

        let mut changed = assignments.clone();
        changed[42] = endpoints("c42", 2);

        assert_eq!(one(bench.publish(2, &changed.iter().collect::<Vec<_>>())).names, ["c42"]);
    }
}

#[test]
fn mistake_11_versions_depend_on_content_alone() {
    let version = |generation, noise: u16| {
        let mut bench = Bench::new(Mode::StateOfTheWorld);
        bench.publish(generation, &[&cluster("a", 1), &cluster("b", 1), &endpoints("a", noise)]);
        one(bench.ask(CDS, &["*"])).version
    };

    assert_eq!(version(1, 1), version(77, 2), "on any replica at any time");
}

#[test]
fn mistake_11_equal_content_in_a_new_generation_is_not_sent() {
    for mode in BOTH {
        let mut bench =
            Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a"])]);
        bench.start_proxy(&["a"], &["r"]);

        // Encoded anew: other pointers, the same versions.
        let sent =
            bench.publish(2, &[&cluster("a", 1), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a"])]);

        assert_eq!(sent, []);
        assert_eq!(bench.settled().last(), Some(&(2, false)));
    }
}

#[test]
fn mistake_12_nothing_is_sent_before_there_are_resources() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);

        assert_eq!(bench.ask(CDS, &["*"]), [], "an empty answer would empty the proxy");
        assert_eq!(bench.ask(EDS, &["a"]), []);
        assert_eq!(bench.settled(), []);

        assert_eq!(types(&bench.publish(1, &[&cluster("a", 1), &endpoints("a", 1)])), [CDS, EDS]);
    }
}

#[test]
fn mistake_18_a_change_costs_the_names_that_changed() {
    for mode in BOTH {
        let first = ResourceSet::new(1, (0..1000).map(|i| endpoints(&format!("c{i:03}"), 1)));
        let mut bench = Bench::new(mode);
        let mut out = Vec::new();
        bench.stream.on_resources(&first, bench.now, &mut out);
        let names: Vec<String> = first.iter(EDS).map(|r| r.name.to_string()).collect();
        let sent = bench.ask(EDS, &names.iter().map(String::as_str).collect::<Vec<_>>());
        bench.settle(sent);
        // An unanswered response keeps what is due from being worked off, so that it can be counted.
        let mut changed: Vec<_> = first.iter(EDS).cloned().collect();
        changed[1] = endpoints("c001", 2);
        let second = first.successor(2, changed.clone());
        bench.stream.on_resources(&second, bench.now, &mut out);
        changed[7] = endpoints("c007", 2);

        bench.stream.on_resources(&second.successor(3, changed), bench.now, &mut out);

        assert_eq!(bench.stream.watches[&EDS].due.len(), 1);
    }
}

#[test]
fn mistake_20_endpoints_do_not_wait_for_the_clusters_to_be_acknowledged() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1)]);
        one(bench.ask(CDS, &["*"]));

        assert_eq!(one(bench.ask(EDS, &["a"])).names, ["a"]);
    }
}

#[test]
fn mistake_20_a_first_subscription_to_routes_does_not_wait_for_the_clusters_to_be_acknowledged() {
    for mode in BOTH {
        let mut bench =
            Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a"])]);
        one(bench.ask(CDS, &["*"]));
        one(bench.ask(EDS, &["a"]));

        assert_eq!(one(bench.ask(LDS, &["*"])).names, ["l"]);
        assert_eq!(one(bench.ask(RDS, &["r"])).names, ["r"]);
    }
}
