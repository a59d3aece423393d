//! R17 and R18: what waits for what, and for how long.

use super::super::GATE_TIMEOUT;
use super::*;
use crate::ads::fixture::{api_listener, cluster, endpoints, listener, mirrored_route, route};

/// A proxy in operation: cluster `a`, one listener, one route to `a`.
fn proxy(mode: Mode) -> Bench {
    let mut bench =
        Bench::with(mode, &[&cluster("a", 1), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a"])]);
    bench.start_proxy(&["a"], &["r"]);
    assert_eq!(bench.settled().last(), Some(&(1, false)));
    bench
}

#[test]
fn r17_a_changed_route_waits_until_its_new_cluster_and_endpoints_are_acknowledged() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let next = [
            &cluster("a", 1),
            &cluster("b", 1),
            &endpoints("a", 1),
            &endpoints("b", 1),
            &listener("l", "r", 1),
            &route("r", &["b"]),
        ];

        let clusters = one(bench.publish(2, &next));
        assert_eq!(clusters.of, CDS);
        let assignment = one(bench.ask(EDS, &["b"]));
        assert_eq!(bench.ack(&clusters), [], "the endpoints are not acknowledged yet");

        let routes = one(bench.ack(&assignment));
        assert_eq!((routes.of, &*routes.names), (RDS, &owned(&["r"])[..]));
        assert_ne!(bench.settled().last(), Some(&(2, false)));
        bench.ack(&routes);
        assert_eq!(bench.settled().last(), Some(&(2, false)));
    }
}

#[test]
fn r17_a_cluster_goes_only_after_the_route_that_named_it() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let with_both = [
            &cluster("a", 1),
            &cluster("b", 1),
            &endpoints("b", 1),
            &endpoints("a", 1),
            &listener("l", "r", 1),
            &route("r", &["a"]),
        ];
        let sent = bench.publish(2, &with_both);
        bench.settle(sent);
        let sent = bench.ask(EDS, &["b"]);
        bench.settle(sent);

        let without_a = [&cluster("b", 1), &endpoints("b", 1), &listener("l", "r", 1), &route("r", &["b"])];
        let routes = one(bench.publish(3, &without_a));
        assert_eq!(routes.of, RDS, "nothing is taken away before");

        let removal = one(bench.ack(&routes));
        assert_eq!(removal.of, CDS);
        match mode {
            Mode::Delta => assert_eq!(removal.removed, ["a"]),
            Mode::StateOfTheWorld => assert_eq!(removal.names, ["b"]),
        }
        let last = bench.settle(vec![removal]);
        match mode {
            Mode::Delta => assert_eq!(one(last).removed, ["a"], "and last the endpoints"),
            Mode::StateOfTheWorld => assert_eq!(last, [], "endpoints go when the client stops asking"),
        }
        assert_eq!(bench.settled().last(), Some(&(3, false)));
    }
}

#[test]
fn r17_a_state_of_the_world_response_keeps_a_cluster_whose_removal_waits() {
    let mut bench = proxy(Mode::StateOfTheWorld);

    let sent = bench.publish(2, &[&cluster("b", 1), &endpoints("b", 1), &listener("l", "r", 1), &route("r", &["b"])]);

    let clusters = one(sent);
    assert_eq!(clusters.names, ["a", "b"]);
    assert_eq!(clusters.bodies["a"], body(&cluster("a", 1)));
}

#[test]
fn r17_a_whole_swap_goes_clusters_endpoints_routes_and_removals_last() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let swapped = [&cluster("b", 1), &endpoints("b", 1), &listener("m", "s", 2), &route("s", &["b"])];

        let mut order = Vec::new();
        let mut pending = bench.publish(2, &swapped);
        let mut asked = false;
        while !pending.is_empty() {
            let response = pending.remove(0);
            order.push(response.of);
            if response.of == CDS && !asked {
                asked = true;
                pending.extend(bench.ask(EDS, &["b"]));
            }
            if response.of == LDS {
                pending.extend(bench.ask(RDS, &["s"]));
                pending.extend(bench.drop_names(RDS, &["r"]));
            }
            pending.extend(bench.ack(&response));
        }

        let position = |of| order.iter().position(|o| *o == of).unwrap();
        assert!(position(CDS) < position(EDS) && position(EDS) < position(LDS) && position(LDS) < position(RDS));
        assert!(order.iter().rposition(|o| *o == CDS).unwrap() > position(RDS), "removal last: {order:?}");
        assert_eq!(bench.settled().last(), Some(&(2, false)));
    }
}

#[test]
fn r17_a_listener_waits_for_the_clusters_of_the_route_it_newly_names() {
    for mode in BOTH {
        let mut bench = proxy(mode);

        let sent = bench.publish(
            2,
            &[
                &cluster("a", 1),
                &cluster("b", 1),
                &endpoints("a", 1),
                &listener("l", "s", 1),
                &route("r", &["a"]),
                &route("s", &["b"]),
            ],
        );

        let clusters = one(sent);
        assert_eq!(clusters.of, CDS);
        assert_eq!(one(bench.ack(&clusters)).of, LDS);
    }
}

#[test]
fn r17_a_mirror_counts_as_a_use_of_its_cluster() {
    for mode in BOTH {
        let mut bench = proxy(mode);

        let sent = one(bench.publish(
            2,
            &[
                &cluster("a", 1),
                &cluster("shadow", 1),
                &endpoints("a", 1),
                &listener("l", "r", 1),
                &mirrored_route("r", "a", "shadow"),
            ],
        ));

        assert_eq!(sent.of, CDS);
        assert_eq!(one(bench.ack(&sent)).of, RDS);
    }
}

#[test]
fn r17_nothing_waits_longer_than_the_gate_allows() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let next = [&cluster("b", 1), &endpoints("b", 1), &listener("l", "r", 1), &route("r", &["b"])];
        let clusters = one(bench.publish(2, &next));
        assert_eq!(bench.ack(&clusters), [], "the route waits for endpoints, and the removal waits for the route");
        assert_eq!(bench.stream.next_deadline(), Some(bench.now + GATE_TIMEOUT));
        assert_eq!(bench.tick_after(GATE_TIMEOUT - Duration::from_millis(1)), []);

        let sent = bench.tick_after(Duration::from_millis(1));

        assert_eq!(types(&sent).into_iter().filter(|of| [CDS, RDS].contains(of)).collect::<Vec<_>>(), [CDS, RDS]);
        let expired = |of| StreamEvent::GateExpired { resource_type: of, released: 1 };
        assert!(bench.events.contains(&expired(RDS)) && bench.events.contains(&expired(CDS)));
        bench.settle(sent);
        assert_eq!(bench.settled().last(), Some(&(2, false)));
    }
}

#[test]
fn r17_new_content_at_the_gate_has_a_time_of_its_own() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let next = |targets: &[&str]| {
            [cluster("a", 1), cluster("b", 1), endpoints("a", 1), endpoints("b", 1), listener("l", "r", 1)]
                .into_iter()
                .chain([route("r", targets)])
                .collect::<Vec<_>>()
        };
        let clusters = one(bench.publish(2, &next(&["b"]).iter().collect::<Vec<_>>()));
        bench.ack(&clusters);
        let almost = GATE_TIMEOUT - Duration::from_millis(1);
        assert_eq!(bench.tick_after(almost), []);
        assert_eq!(bench.publish(3, &next(&["a", "b"]).iter().collect::<Vec<_>>()), []);

        assert_eq!(bench.stream.next_deadline(), Some(bench.now + GATE_TIMEOUT));
        assert_eq!(bench.publish(4, &next(&["a", "b"]).iter().collect::<Vec<_>>()), []);
        assert_eq!(bench.tick_after(almost), [], "the old content's time is long over");
        assert_eq!(one(bench.tick_after(Duration::from_millis(1))).of, RDS, "and equal content starts nothing anew");
    }
}

#[test]
fn r17_content_that_never_stops_changing_goes_out_all_the_same() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let began = bench.now;
        let mut generation = 2;
        let mut sent = Vec::new();
        while !types(&sent).contains(&RDS) {
            let targets = vec!["b"; usize::try_from(generation).unwrap()];
            let next = [cluster("a", 1), cluster("b", 1), endpoints("a", 1), endpoints("b", 1), listener("l", "r", 1)];
            let next: Vec<_> = next.into_iter().chain([route("r", &targets)]).collect();
            sent = bench.publish(generation, &next.iter().collect::<Vec<_>>());
            if let Some(clusters) = sent.iter().find(|response| response.of == CDS) {
                bench.ack(clusters);
            }
            generation += 1;
            bench.now += Duration::from_secs(1);
        }
        assert_eq!(bench.now - began, 3 * GATE_TIMEOUT + Duration::from_secs(1));
    }
}

#[test]
fn r17_a_cluster_that_comes_back_while_its_removal_is_under_way_is_waited_for() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let set = |with_b: bool| {
            let mut set = vec![cluster("a", 1), endpoints("a", 1), listener("l", "r", 1)];
            set.push(route("r", if with_b { &["a", "b"] } else { &["a"] }));
            if with_b {
                set.push(cluster("b", 1));
            }
            set
        };
        let with_b = set(true);
        let without_b = set(false);
        let sent = bench.publish(2, &with_b.iter().collect::<Vec<_>>());
        bench.settle(sent);
        let routes = one(bench.publish(3, &without_b.iter().collect::<Vec<_>>()));
        let removal = one(bench.ack(&routes));
        assert_eq!(removal.of, CDS);

        assert_eq!(bench.publish(4, &with_b.iter().collect::<Vec<_>>()), [], "b is on its way out");
        let again = one(bench.ack(&removal));
        assert_eq!(again.of, CDS);
        assert_eq!(one(bench.ack(&again)).of, RDS);
    }
}

#[test]
fn r17_a_new_subscription_waits_only_for_clusters_that_are_not_even_on_their_way() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        let first = one(bench.publish(2, &[&cluster("a", 2), &listener("l", "r", 1), &route("r", &["a"])]));
        let next =
            [&cluster("a", 2), &cluster("b", 1), &listener("l", "r", 1), &route("r", &["a"]), &route("s", &["b"])];
        assert_eq!(bench.publish(3, &next), [], "b waits behind the unanswered clusters");

        assert_eq!(bench.ask(RDS, &["s"]), []);
        let sent = bench.ack(&first);

        assert_eq!(types(&sent), [CDS, RDS], "one after the other, without an acknowledgement between");
    }
}

#[test]
fn r17_a_grpc_client_that_asks_for_clusters_after_routes_is_not_gated() {
    for mode in BOTH {
        let mut bench =
            Bench::with(mode, &[&api_listener("echo", "g"), &route("g", &["a"]), &cluster("a", 1), &cluster("b", 1)]);
        for (of, name) in [(LDS, "echo"), (RDS, "g"), (CDS, "a")] {
            let sent = one(bench.ask(of, &[name]));
            bench.ack(&sent);
        }

        let sent = one(bench
            .publish(2, &[&api_listener("echo", "g"), &route("g", &["a", "b"]), &cluster("a", 1), &cluster("b", 1)]));

        assert_eq!(sent.of, RDS, "b is not subscribed to, and will not be before the route names it");
    }
}

#[test]
fn r17_a_route_to_a_cluster_that_does_not_exist_is_not_held_back() {
    for mode in BOTH {
        let mut bench = proxy(mode);

        let sent = one(bench.publish(
            2,
            &[&cluster("a", 1), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a", "nowhere"])],
        ));

        assert_eq!(sent.of, RDS);
    }
}

#[test]
fn r17_a_reconnecting_client_keeps_its_old_clusters_until_its_routes_are_known() {
    let mut bench =
        Bench::with(Mode::Delta, &[&cluster("b", 1), &endpoints("b", 1), &listener("l", "r", 1), &route("r", &["b"])]);
    let lists = |held: &EncodedResource| BTreeMap::from([(held.name.to_string(), held.version.to_string())]);

    let clusters = one(bench.delta(CDS, |r| r.initial_resource_versions = lists(&cluster("a", 1))));
    assert_eq!((&*clusters.names, &*clusters.removed), (&owned(&["b"])[..], &[][..]));
    let assignment = one(bench.ask(EDS, &["b"]));
    let listeners = one(bench.delta(LDS, |r| r.initial_resource_versions = lists(&listener("l", "r", 1))));
    let routes = one(bench.delta(RDS, |r| {
        r.resource_names_subscribe = owned(&["r"]);
        r.initial_resource_versions = lists(&route("r", &["a"]));
    }));
    for response in [&clusters, &assignment, &listeners] {
        assert_eq!(bench.ack(response), []);
    }

    assert_eq!(one(bench.ack(&routes)).removed, ["a"]);
}

#[test]
fn r17_a_reconnecting_client_without_routes_does_not_keep_its_old_clusters_waiting() {
    let mut bench = Bench::with(Mode::Delta, &[]);
    let clusters = one(bench.delta(CDS, |r| {
        r.initial_resource_versions = BTreeMap::from([("a".to_owned(), cluster("a", 1).version.to_string())]);
    }));
    assert_eq!((&*clusters.names, &*clusters.removed), (&[][..], &[][..]), "its routes may come yet");
    bench.ack(&clusters);

    let sent = bench.ask(LDS, &["*"]);

    assert_eq!(sent.iter().flat_map(|r| &r.removed).collect::<Vec<_>>(), ["a"], "no listener asks for routes");
}

#[test]
fn r18_endpoints_are_sent_again_after_each_announcement_of_their_cluster_in_a_row() {
    for mode in BOTH {
        let mut bench = proxy(mode);
        for revision in 2..5 {
            let set = [&cluster("a", revision), &endpoints("a", 1), &listener("l", "r", 1), &route("r", &["a"])];

            let sent = bench.publish(revision.into(), &set);

            assert_eq!(types(&sent), [CDS, EDS]);
            bench.settle(sent);
        }
    }
}

#[test]
fn r18_endpoints_of_a_cluster_that_went_before_they_were_asked_for_are_forgotten() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("kept", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        let sent = bench.ask(LDS, &["*"]);
        bench.settle(sent);
        for i in 0..10 {
            let passing = cluster(&format!("passing-{i}"), 1);
            let sent = bench.publish(2 * i + 2, &[&cluster("kept", 1), &passing]);
            bench.settle(sent);
            let sent = bench.publish(2 * i + 3, &[&cluster("kept", 1)]);
            bench.settle(sent);
        }

        assert_eq!(bench.stream.to_warm, BTreeSet::from([Arc::from("kept")]));
    }
}

#[test]
fn r18_endpoints_of_refused_clusters_do_not_pile_up() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("kept", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        for i in 0..10 {
            let name = format!("bad-{i}");
            let sent = one(bench.publish(i + 2, &[&cluster("kept", 1), &cluster(&name, 1)]));
            bench.nack(&sent, &format!("{name}: no"));
        }

        assert!(bench.stream.to_warm.len() <= 3, "{:?}", bench.stream.to_warm);
        assert!(bench.stream.to_warm.contains("kept"));
    }
}
