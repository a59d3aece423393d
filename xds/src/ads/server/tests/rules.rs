//! The protocol's rules.

use std::sync::Arc;

use super::super::{NODE_BYTES_MAX, RESOURCE_NAME_BYTES_MAX, STALL_TIMEOUT, SUBSCRIPTION_NAMES_MAX};
use super::*;
use crate::ads::fixture::{api_listener, cluster, encrypted_cluster, endpoints, listener, route, secret};

#[test]
fn r1_a_stream_whose_first_request_has_no_node_is_refused() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        bench.introduced = true;

        let sent = bench.ask(CDS, &["*"]);

        assert_eq!(sent, []);
        assert_eq!(bench.closed.unwrap().0, 3, "INVALID_ARGUMENT");
        assert_eq!(bench.stream.next_deadline(), None);
    }
}

#[test]
fn r1_the_node_is_remembered_when_later_requests_leave_it_out() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1)]);
        let first = bench.ask(CDS, &["*"]);
        bench.settle(first);

        let second = one(bench.ask(EDS, &["a"]));

        assert_eq!(second.names, ["a"]);
        assert_eq!(&*bench.stream.node().unwrap().id, "web-1.shop");
    }
}

#[test]
fn r2_nonces_are_unique_on_a_stream_across_types() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1), &route("r", &["a"])]);
        let mut nonces = BTreeSet::new();
        for (of, name) in [(CDS, "*"), (EDS, "a"), (RDS, "r")] {
            let sent = one(bench.ask(of, &[name]));
            bench.ack(&sent);
            assert!(nonces.insert(sent.nonce));
        }
        for generation in 2..5_u16 {
            let set = [&cluster("a", generation.into()), &endpoints("a", generation), &route("r", &["a"])];
            let sent = bench.publish(generation.into(), &set);
            bench.settle(sent.clone());
            assert!(sent.into_iter().all(|response| nonces.insert(response.nonce)));
        }
    }
}

#[test]
fn r3_a_stale_nonce_gets_no_answer_in_state_of_the_world() {
    let mut bench = Bench::with(Mode::StateOfTheWorld, &[&endpoints("a", 1), &endpoints("b", 1)]);
    let first = one(bench.ask(EDS, &["a"]));

    // Written before the response was seen: the nonce is still the empty one.
    assert_eq!(bench.ask(EDS, &["b"]), []);

    let second = one(bench.ack(&first));
    assert_eq!(second.names, ["b"], "the list came again with the fresh nonce");
    bench.lists.get_mut(&EDS).unwrap().1 = first.nonce;
    assert_eq!(bench.drop_names(EDS, &["a"]), []);
    assert_eq!(bench.ack(&second), []);
    bench.lists.get_mut(&EDS).unwrap().1 = "from another life".to_owned();
    assert_eq!(bench.ask(EDS, &["a"]), []);
}

#[test]
fn r4_a_stale_nonce_does_not_hide_a_subscription_change_in_delta() {
    let mut bench = Bench::with(Mode::Delta, &[&endpoints("a", 1), &endpoints("b", 1), &endpoints("c", 1)]);
    let first = one(bench.ask(EDS, &["a"]));

    let while_unanswered = bench.delta(EDS, |r| {
        r.response_nonce = "stale".to_owned();
        r.resource_names_subscribe = owned(&["b"]);
    });
    assert_eq!(while_unanswered, [], "one response at a time");

    let second = one(bench.ack(&first));
    assert_eq!(second.names, ["b"]);
    bench.ack(&second);
    let third = bench.delta(EDS, |r| {
        r.response_nonce = first.nonce.clone();
        r.resource_names_subscribe = owned(&["c"]);
    });
    assert_eq!(one(third).names, ["c"]);
}

#[test]
fn r5_only_an_error_detail_makes_a_nack() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));

        // The version that a state-of-the-world client repeats here is empty and not the one it was sent.
        bench.ack(&sent);

        assert!(bench.events.contains(&StreamEvent::Acked { resource_type: CDS, generation: 1 }));
        let sent = one(bench.publish(2, &[&cluster("a", 2)]));
        bench.nack(&sent, "");
        assert!(bench.events.contains(&StreamEvent::Nacked { resource_type: CDS, generation: 2, message: "".into() }));
    }
}

#[test]
fn r6_an_ack_or_nack_is_not_answered_when_nothing_changed() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &cluster("b", 1)]);
        let first = one(bench.ask(CDS, &["*"]));
        assert_eq!(bench.ack(&first), []);
        let second = one(bench.publish(2, &[&cluster("a", 2), &cluster("b", 1)]));

        assert_eq!(bench.nack(&second, "a: no"), []);
        assert_eq!(bench.publish(3, &[&cluster("a", 2), &cluster("b", 1)]), [], "refused is refused");
        assert_eq!(one(bench.publish(4, &[&cluster("a", 3), &cluster("b", 1)])).bodies["a"], body(&cluster("a", 3)));
    }
}

#[test]
fn r7_a_newly_requested_name_is_sent_although_it_is_unchanged() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&endpoints("a", 1), &endpoints("b", 1)]);
        let sent = bench.ask(EDS, &["a"]);
        bench.settle(sent);
        bench.drop_names(EDS, &["a"]);
        let sent = bench.ask(EDS, &["b"]);
        bench.settle(sent);

        assert!(one(bench.ask(EDS, &["a"])).names.contains(&"a".to_owned()));
    }
}

#[test]
fn r7_a_repeated_delta_subscription_is_answered_with_the_resource() {
    let mut bench = Bench::with(Mode::Delta, &[&endpoints("a", 1)]);
    let sent = bench.ask(EDS, &["a"]);
    bench.settle(sent);

    assert_eq!(one(bench.ask(EDS, &["a"])).names, ["a"]);
}

#[test]
fn r8_state_of_the_world_goes_from_everything_to_nothing_in_four_steps() {
    let set = [&cluster("A", 1), &cluster("B", 1)];
    let mut bench = Bench::with(Mode::StateOfTheWorld, &set);

    let sent = one(bench.ask(CDS, &[]));
    assert_eq!(sent.names, ["A", "B"], "1: an empty first list means everything");
    bench.ack(&sent);

    let sent = one(bench.ask(CDS, &["*", "A"]));
    assert_eq!(sent.names, ["A", "B"], "2: everything, and A besides");
    bench.ack(&sent);

    assert_eq!(bench.drop_names(CDS, &["*"]), [], "3: only A, which it has");
    let sent = one(bench.publish(2, &[&cluster("A", 2), &cluster("B", 2)]));
    assert_eq!(sent.names, ["A"]);
    bench.ack(&sent);

    assert_eq!(bench.drop_names(CDS, &["A"]), [], "4: an empty list now means nothing");
    assert_eq!(bench.publish(3, &[&cluster("A", 3), &cluster("B", 3)]), []);
}

#[test]
fn r8_delta_goes_from_everything_to_nothing_in_four_steps() {
    let mut bench = Bench::with(Mode::Delta, &[&cluster("A", 1), &cluster("B", 1)]);

    let sent = one(bench.ask(CDS, &[]));
    assert_eq!(sent.names, ["A", "B"], "1: an empty first subscription means everything");
    bench.ack(&sent);

    let sent = one(bench.ask(CDS, &["A"]));
    assert_eq!(sent.names, ["A"], "2: A besides everything");
    bench.ack(&sent);

    assert_eq!(bench.drop_names(CDS, &["*"]), [], "3: only A");
    let sent = one(bench.publish(2, &[&cluster("A", 2), &cluster("B", 2)]));
    assert_eq!(sent.names, ["A"]);
    bench.ack(&sent);

    assert_eq!(bench.drop_names(CDS, &["A"]), [], "4: nothing");
    assert_eq!(bench.publish(3, &[&cluster("A", 3), &cluster("B", 3)]), []);
    assert_eq!(bench.ask(CDS, &[]), [], "and an empty subscription does not bring everything back");
    assert_eq!(bench.publish(4, &[&cluster("A", 4)]), []);
}

#[test]
fn r8_types_without_a_wildcard_take_an_empty_subscription_for_nothing() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&endpoints("a", 1), &route("r", &[])]);

        assert_eq!(bench.ask(EDS, &[]), []);
        assert_eq!(bench.ask(RDS, &[]), []);
        assert_eq!(bench.publish(2, &[&endpoints("a", 2), &route("r", &["a"])]), []);
    }
}

#[test]
fn r8_a_wildcard_does_not_cover_what_is_only_for_named_subscribers() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&listener("web", "r", 1), &api_listener("echo:80", "g")]);
        let sent = one(bench.ask(LDS, &["*"]));
        assert_eq!(sent.names, ["web"]);
        bench.ack(&sent);

        assert!(one(bench.ask(LDS, &["echo:80"])).names.contains(&"echo:80".to_owned()));
    }
}

#[test]
fn r8_an_empty_set_is_an_answer_to_a_wildcard() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[]);

        let sent = one(bench.ask(CDS, &["*"]));

        assert_eq!((sent.names, sent.removed), (vec![], vec![]));
    }
}

#[test]
fn r9_giving_up_a_name_under_a_wildcard_is_answered_in_delta() {
    let mut bench = Bench::with(Mode::Delta, &[&listener("web", "r", 1), &api_listener("echo:80", "g")]);
    let sent = bench.ask(LDS, &["*", "web", "echo:80"]);
    bench.settle(sent);

    let kept = one(bench.drop_names(LDS, &["web"]));
    assert_eq!((&*kept.names, &*kept.removed), (&owned(&["web"])[..], &[][..]));
    bench.ack(&kept);
    let gone = one(bench.drop_names(LDS, &["echo:80"]));
    assert_eq!((&*gone.names, &*gone.removed), (&[][..], &owned(&["echo:80"])[..]));
}

#[test]
fn r9_giving_up_a_name_without_a_wildcard_is_not_answered() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&endpoints("a", 1), &endpoints("b", 1)]);
        let sent = bench.ask(EDS, &["a", "b"]);
        bench.settle(sent);

        assert_eq!(bench.drop_names(EDS, &["a"]), []);
        assert_eq!(one(bench.publish(2, &[&endpoints("a", 2), &endpoints("b", 2)])).names, ["b"]);
    }
}

#[test]
fn r10_a_name_that_does_not_exist_is_said_to_be_missing_at_once_and_sent_when_it_appears() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);

        let sent = one(bench.ask(EDS, &["later"]));
        match mode {
            Mode::Delta => assert_eq!(sent.removed, ["later"]),
            Mode::StateOfTheWorld => assert_eq!(sent.missing, ["later"]),
        }
        assert_eq!(sent.names, Vec::<String>::new());
        bench.ack(&sent);

        assert_eq!(one(bench.publish(2, &[&cluster("a", 1), &endpoints("later", 1)])).names, ["later"]);
    }
}

#[test]
fn r11_state_of_the_world_repeats_all_clusters_and_listeners_but_only_changed_endpoints_and_routes() {
    let mut bench = Bench::with(
        Mode::StateOfTheWorld,
        &[
            &cluster("a", 1),
            &cluster("b", 1),
            &endpoints("a", 1),
            &endpoints("b", 1),
            &listener("l", "r", 1),
            &listener("m", "s", 2),
            &route("r", &["a"]),
            &route("s", &["a"]),
        ],
    );
    bench.start_proxy(&["a", "b"], &["r", "s"]);

    let sent = bench.publish(
        2,
        &[
            &cluster("a", 1),
            &cluster("b", 2),
            &endpoints("a", 1),
            &endpoints("b", 2),
            &listener("l", "r", 1),
            &route("r", &["a"]),
            &route("s", &["b"]),
        ],
    );

    let names: BTreeMap<_, _> = sent.iter().map(|r| (r.of, r.names.clone())).collect();
    assert_eq!(names[&CDS], ["a", "b"], "complete");
    assert_eq!(names[&EDS], ["b"]);
    assert_eq!(names[&LDS], ["l"], "m is gone by omission");
    assert_eq!(names[&RDS], ["s"]);
}

#[test]
fn r11_an_endpoint_set_that_is_gone_is_not_answered_in_state_of_the_world() {
    let mut bench = Bench::with(Mode::StateOfTheWorld, &[&endpoints("a", 1)]);
    let sent = bench.ask(EDS, &["a"]);
    bench.settle(sent);

    assert_eq!(bench.publish(2, &[]), []);
    assert_eq!(bench.settled(), [(1, false), (2, false)]);
}

#[test]
fn r13_a_reconnect_with_current_versions_gets_no_resource_again() {
    let set = [&cluster("a", 1), &cluster("b", 1), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a"])];
    let mut bench = Bench::with(Mode::Delta, &set);
    let mut resources = 0;
    for (of, names) in [(CDS, vec![]), (EDS, vec!["a"]), (LDS, vec![]), (RDS, vec!["r"])] {
        let sent = bench.delta(of, |r| {
            r.resource_names_subscribe = owned(&names);
            let held = set.iter().filter(|s| s.resource_type == of);
            r.initial_resource_versions = held.map(|s| (s.name.to_string(), s.version.to_string())).collect();
        });
        resources += sent.iter().map(|r| r.names.len() + r.removed.len()).sum::<usize>();
        bench.settle(sent);
    }

    assert_eq!(resources, 0);
    assert_eq!(bench.settled().last(), Some(&(1, false)));
}

#[test]
fn r13_what_a_reconnecting_client_lists_and_no_longer_exists_is_removed() {
    let mut bench = Bench::with(Mode::Delta, &[&listener("l", "r", 1)]);

    let sent = one(bench.delta(LDS, |r| {
        r.initial_resource_versions = BTreeMap::from([("gone".into(), "1".into()), ("l".into(), "old".into())]);
    }));

    assert_eq!((sent.names, sent.removed), (owned(&["l"]), owned(&["gone"])));
}

#[test]
fn r13_versions_of_what_is_not_subscribed_are_tolerated_and_later_ones_ignored() {
    let mut bench = Bench::with(Mode::Delta, &[&endpoints("a", 1), &endpoints("b", 1)]);
    let sent = one(bench.delta(EDS, |r| {
        r.resource_names_subscribe = owned(&["a"]);
        r.initial_resource_versions = BTreeMap::from([("b".into(), "x".into()), ("c".into(), "x".into())]);
    }));
    assert_eq!((&*sent.names, &*sent.removed), (&owned(&["a"])[..], &[][..]));
    bench.ack(&sent);

    let sent = one(bench.delta(EDS, |r| {
        r.resource_names_subscribe = owned(&["b"]);
        r.initial_resource_versions = BTreeMap::from([("b".into(), endpoints("b", 1).version.to_string())]);
    }));

    assert_eq!(sent.names, ["b"], "only the first request of a type tells what is held");
}

#[test]
fn r14_the_delta_system_version_is_only_the_generation() {
    let mut bench = Bench::with(Mode::Delta, &[&cluster("a", 1)]);

    assert_eq!(one(bench.ask(CDS, &["*"])).version, "1");
}

#[test]
fn r15_a_delta_subscription_to_a_type_that_is_not_served_is_answered_with_absence() {
    let mut bench = Bench::with(Mode::Delta, &[]);
    let node = bench.introduce();
    let request = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/envoy.config.route.v3.VirtualHost".to_owned(),
        resource_names_subscribe: owned(&["r/host"]),
        node,
        ..Default::default()
    };
    let mut out = Vec::new();
    bench.stream.on_request(Request::Delta(request.clone()), bench.now, &mut out);

    let [Action::Send(frame)] = &out[..] else { panic!("one response: {out:?}") };
    let Response::Delta(response) = Response::decode(Mode::Delta, &frame[FRAME_HEADER_BYTES..]).unwrap() else {
        panic!("a delta response")
    };
    assert_eq!((response.type_url, response.removed_resources), (request.type_url.clone(), owned(&["r/host"])));
    let ack =
        DeltaDiscoveryRequest { type_url: request.type_url, response_nonce: response.nonce, ..Default::default() };
    assert_eq!(bench.request(Request::Delta(ack)), [], "its ACK is not answered");
}

#[test]
fn r16_no_heartbeats_are_sent_so_every_delta_resource_has_a_body() {
    let mut bench = Bench::with(Mode::Delta, &[&cluster("a", 1)]);
    let sent = one(bench.ask(CDS, &["*"]));

    assert_eq!(sent.bodies["a"], body(&cluster("a", 1)));
    bench.ack(&sent);
    assert_eq!(bench.tick_after(STALL_TIMEOUT), []);
}

#[test]
fn r19_secrets_are_sent_before_the_clusters_that_warm_on_them() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.ask(CDS, &["*"]);
        bench.ask(SDS, &["cert"]);

        let sent = bench.publish(1, &[&cluster("a", 1), &secret("cert")]);

        assert_eq!(types(&sent), [SDS, CDS]);
    }
}

#[test]
fn r19_a_secret_goes_only_after_the_cluster_that_names_it() {
    let mut bench = Bench::with(Mode::Delta, &[&encrypted_cluster("a", "roots"), &secret("roots")]);
    let clusters = bench.ask(CDS, &["*"]);
    bench.settle(clusters);
    let secrets = bench.ask(SDS, &["roots"]);
    bench.settle(secrets);

    let clusters = one(bench.publish(2, &[]));
    assert_eq!((clusters.of, &clusters.removed[..]), (CDS, &owned(&["a"])[..]), "nothing is taken away before");

    let secrets = one(bench.ack(&clusters));
    assert_eq!((secrets.of, &secrets.removed[..]), (SDS, &owned(&["roots"])[..]));
}

// === Bounds ===

#[test]
fn a_client_that_does_not_answer_is_closed_when_its_time_is_over() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        bench.ask(CDS, &["*"]);
        assert_eq!(bench.stream.next_deadline(), Some(bench.now + STALL_TIMEOUT));

        bench.tick_after(STALL_TIMEOUT - Duration::from_millis(1));
        assert_eq!(bench.closed, None);
        bench.tick_after(Duration::from_millis(1));

        assert_eq!(bench.closed.clone().unwrap().0, 14, "UNAVAILABLE");
        assert_eq!(bench.events.last(), Some(&StreamEvent::Stalled { resource_type: CDS, generation: 1 }));
        assert_eq!(bench.publish(2, &[&cluster("a", 2)]), [], "a closed stream stays silent");
    }
}

#[test]
fn a_node_or_a_name_or_a_subscription_that_is_too_large_is_refused() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.ask(EDS, &[&"x".repeat(RESOURCE_NAME_BYTES_MAX + 1)]);
        assert_eq!(bench.closed.unwrap().0, 3);

        let names: Vec<String> = (0..=SUBSCRIPTION_NAMES_MAX).map(|i| i.to_string()).collect();
        let mut bench = Bench::new(mode);
        bench.ask(EDS, &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(bench.closed.unwrap().0, 8, "RESOURCE_EXHAUSTED");

        let mut bench = Bench::new(mode);
        let node = Some(Box::new(WireNode { id: "x".repeat(NODE_BYTES_MAX), ..WireNode::default() }));
        let type_url = CDS.type_url().to_owned();
        bench.request(match mode {
            Mode::Delta => Request::Delta(DeltaDiscoveryRequest { node, type_url, ..Default::default() }),
            Mode::StateOfTheWorld => {
                Request::StateOfTheWorld(DiscoveryRequest { node, type_url, ..Default::default() })
            }
        });
        assert_eq!(bench.closed.unwrap().0, 8);
    }
}

#[test]
fn a_request_of_the_other_variant_is_refused() {
    let mut bench = Bench::new(Mode::Delta);

    bench.request(Request::StateOfTheWorld(DiscoveryRequest::default()));

    assert_eq!(bench.closed.unwrap().0, 3);
}

// === What is reported ===

#[test]
fn a_generation_is_settled_once_when_everything_is_answered() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1)]);
        let clusters = one(bench.ask(CDS, &["*"]));
        let assignment = one(bench.ask(EDS, &["a"]));
        bench.ack(&clusters);
        assert_eq!(bench.settled(), []);

        bench.ack(&assignment);

        assert_eq!(bench.settled(), [(1, false)]);
        bench.publish(2, &[&cluster("a", 1), &endpoints("a", 1), &secret("other")]);
        assert_eq!(bench.settled(), [(1, false), (2, false)], "a generation without news is settled at once");
    }
}

#[test]
fn a_generation_with_a_refusal_is_settled_as_rejected() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));

        bench.nack(&sent, "a: no");

        assert_eq!(bench.settled(), [(1, true)]);
        let sent = one(bench.publish(2, &[&cluster("a", 2)]));
        bench.ack(&sent);
        assert_eq!(bench.settled(), [(1, true), (2, false)]);
    }
}

#[test]
fn overtaken_generations_are_not_settled() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let first = one(bench.ask(CDS, &["*"]));
        assert_eq!(bench.publish(2, &[&cluster("a", 2)]), [], "one response at a time");
        assert_eq!(bench.publish(3, &[&cluster("a", 3)]), []);

        let second = one(bench.ack(&first));

        assert_eq!(second.bodies["a"], body(&cluster("a", 3)), "changes behind an unanswered response coalesce");
        bench.ack(&second);
        assert_eq!(bench.settled(), [(3, false)]);
    }
}

#[test]
fn what_is_sent_is_reported_with_its_size() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &cluster("b", 1)]);
        bench.ask(CDS, &["*"]);

        let sent = bench.events.iter().find(|e| matches!(e, StreamEvent::Sent { .. })).unwrap();
        let StreamEvent::Sent { resource_type, generation, resources, removed, bytes } = *sent else { panic!("sent") };
        assert_eq!((resource_type, generation, resources, removed), (CDS, 1, 2, 0));
        assert!(bytes > cluster("a", 1).any.len() + cluster("b", 1).any.len());
        let wildcard = StreamEvent::Subscribed { resource_type: CDS, names: 0, wildcard: true };
        assert_eq!(bench.events[0], wildcard);
    }
}

#[test]
fn a_set_compares_equal_resources_by_pointer_and_shares_what_did_not_change() {
    let a = cluster("a", 1);
    let first = ResourceSet::new(1, [Arc::clone(&a), endpoints("a", 1)]);

    let second = first.successor(2, [Arc::clone(&a), endpoints("a", 2)]);

    assert_eq!(second.changed_since(&first, CDS), []);
    assert_eq!(second.changed_since(&first, EDS), [Arc::from("a")]);
    assert_eq!(second.changed_since(&ResourceSet::default(), CDS), [Arc::from("a")], "also from an unrelated set");
    assert_eq!(second.successor(3, []).changed_since(&second, EDS), [Arc::from("a")], "a removal is a change");
    assert_eq!((second.len(), second.generation()), (2, 2));
}
