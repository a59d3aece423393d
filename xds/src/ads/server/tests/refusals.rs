//! What a refusal holds back, and for how long: until the content changes, and not a moment shorter.

use super::super::GATE_TIMEOUT;
use super::*;
use crate::ads::fixture::{cluster, endpoints, listener, route, secret};

/// Far beyond every clock of the stream.
const LONG: Duration = Duration::from_secs(600);

type Resources = Vec<Arc<EncodedResource>>;

/// Clusters with their endpoints, one listener, and its route to `targets`.
fn mesh(clusters: &[(&str, u32)], targets: &[&str]) -> Resources {
    let with_endpoints = clusters.iter().flat_map(|(name, revision)| [cluster(name, *revision), endpoints(name, 1)]);
    with_endpoints.chain([listener("l", "r", 1), route("r", targets)]).collect()
}

fn publish(bench: &mut Bench, generation: u64, resources: &Resources) -> Vec<Seen> {
    bench.publish(generation, &resources.iter().collect::<Vec<_>>())
}

/// A proxy in operation with these clusters and a route to `targets`.
fn proxy(mode: Mode, clusters: &[&str], targets: &[&str]) -> Bench {
    let revisions: Vec<(&str, u32)> = clusters.iter().map(|name| (*name, 1)).collect();
    let mut bench = Bench::new(mode);
    assert_eq!(publish(&mut bench, 1, &mesh(&revisions, targets)), []);
    bench.start_proxy(clusters, &["r"]);
    assert_eq!(bench.settled().last(), Some(&(1, false)));
    bench
}

/// Lets much time pass, as often as the stream asks for it.
fn nothing_happens_however_long_it_takes(bench: &mut Bench) {
    assert_eq!(bench.stream.next_deadline(), None, "there is nothing to wake up for");
    for time in [GATE_TIMEOUT, LONG] {
        assert_eq!(bench.tick_after(time), []);
    }
    assert!(!bench.events.iter().any(|event| matches!(event, StreamEvent::GateExpired { .. })));
}

#[test]
fn a_refused_route_keeps_the_cluster_and_endpoints_that_its_old_content_names() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a", "b"], &["a"]);
        let routes = one(publish(&mut bench, 2, &mesh(&[("b", 1)], &["b"])));

        assert_eq!((routes.of, bench.nack(&routes, "r: no")), (RDS, vec![]), "the client still routes to a");

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(bench.settled().last(), Some(&(2, true)), "and yet the generation is settled");
        let better = one(publish(&mut bench, 3, &mesh(&[("b", 1)], &["b", "b"])));
        assert_eq!(better.of, RDS);
        let removals = bench.settle(vec![better]);
        assert_eq!(types(&removals), if mode == Mode::Delta { vec![CDS, EDS] } else { vec![CDS] });
        assert_eq!(bench.settled().last(), Some(&(3, false)));
    }
}

#[test]
fn a_route_to_a_refused_cluster_is_not_sent() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let clusters = one(publish(&mut bench, 2, &mesh(&[("a", 1), ("x", 1)], &["a", "x"])));

        assert_eq!((clusters.of, bench.nack(&clusters, "x: no")), (CDS, vec![]));

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(bench.settled().last(), Some(&(2, true)));
    }
}

#[test]
fn a_route_whose_refused_cluster_is_replaced_waits_for_its_acknowledgement_from_then_on() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let clusters = one(publish(&mut bench, 2, &mesh(&[("a", 1), ("x", 1)], &["a", "x"])));
        bench.nack(&clusters, "x: no");
        nothing_happens_however_long_it_takes(&mut bench);

        let clusters = one(publish(&mut bench, 3, &mesh(&[("a", 1), ("x", 2)], &["a", "x"])));
        assert_eq!(clusters.of, CDS, "the route does not go with it although it has waited for long");
        assert_eq!(bench.tick_after(GATE_TIMEOUT - Duration::from_millis(1)), []);
        assert_eq!(bench.ack(&clusters), [], "the endpoints are still to be asked for");
        let assignment = one(bench.ask(EDS, &["x"]));
        let routes = one(bench.ack(&assignment));

        assert_eq!(routes.of, RDS);
        bench.ack(&routes);
        assert_eq!(bench.settled().last(), Some(&(3, false)));
    }
}

#[test]
fn a_route_that_cannot_move_to_a_refused_cluster_keeps_the_one_it_has() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let clusters = one(publish(&mut bench, 2, &mesh(&[("x", 1)], &["x"])));

        assert_eq!(bench.nack(&clusters, "x: no"), []);

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(bench.settled().last(), Some(&(2, true)));
        let back = publish(&mut bench, 3, &mesh(&[("a", 1)], &["a"]));
        assert_eq!(back, [], "the client has had all of it, all the time");
        assert_eq!(bench.settled().last(), Some(&(3, false)));
    }
}

#[test]
fn a_route_waits_for_endpoints_that_were_refused() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let clusters = one(publish(&mut bench, 2, &mesh(&[("a", 1), ("x", 1)], &["a", "x"])));
        let assignment = one(bench.ask(EDS, &["x"]));
        bench.ack(&clusters);

        assert_eq!(bench.nack(&assignment, "x: no"), []);

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(bench.settled().last(), Some(&(2, true)));
    }
}

#[test]
fn a_refused_listener_keeps_the_cluster_of_the_route_it_names() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a", "b"], &["a"]);
        let next = vec![cluster("b", 1), endpoints("b", 1), listener("l", "s", 2), route("s", &["b"])];
        let listeners = one(publish(&mut bench, 2, &next));

        assert_eq!((listeners.of, bench.nack(&listeners, "l: no")), (LDS, vec![]));

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(bench.settled().last(), Some(&(2, true)));
    }
}

#[test]
fn a_listener_stays_until_its_replacement_is_no_longer_held_back_by_a_refusal() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let next = |revision| {
            let listeners = [listener("m", "s", 2), route("s", &["x"])];
            [cluster("a", 1), endpoints("a", 1), cluster("x", revision)].into_iter().chain(listeners).collect()
        };
        let clusters = one(publish(&mut bench, 2, &next(1)));

        assert_eq!((clusters.of, bench.nack(&clusters, "x: no")), (CDS, vec![]));

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(bench.settled().last(), Some(&(2, true)));
        let clusters = one(publish(&mut bench, 3, &next(2)));
        assert_eq!(types(&bench.ack(&clusters)), [LDS]);
    }
}

#[test]
fn a_new_subscription_to_a_route_is_answered_although_its_cluster_was_refused() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        publish(&mut bench, 1, &mesh(&[("a", 1)], &["a"]));
        let clusters = one(bench.ask(CDS, &["*"]));
        bench.nack(&clusters, "a: no");

        assert_eq!(one(bench.ask(RDS, &["r"])).names, ["r"], "it has nothing to keep instead");
    }
}

/// What was reported about refused resources of a type, in order.
fn reported(bench: &Bench, of: ResourceType) -> Vec<usize> {
    let refused = |event: &StreamEvent| match event {
        StreamEvent::Refused { resource_type, names } if *resource_type == of => Some(*names),
        _ => None,
    };
    bench.events.iter().filter_map(refused).collect()
}

#[test]
fn the_number_of_refused_resources_is_reported_when_it_changes() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1), &cluster("b", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        assert!(reported(&bench, CDS).is_empty());

        let sent = one(bench.publish(2, &[&cluster("a", 2), &cluster("b", 2)]));
        bench.nack(&sent, "a: no; b: no");
        assert_eq!(reported(&bench, CDS), [2], "although older versions are in use");
        bench.publish(3, &[&cluster("a", 2), &cluster("b", 2), &cluster("c", 1)]);
        assert_eq!(reported(&bench, CDS), [2], "not again");
        assert!(reported(&bench, EDS).is_empty());
    }
}

#[test]
fn refused_resources_are_no_longer_reported_when_they_change_or_revert_or_go() {
    let (a, old) = (cluster("a", 2), cluster("a", 1));
    let cures: [&[&Arc<EncodedResource>]; 3] = [&[&cluster("a", 3)], &[&old], &[]];
    for (mode, cure) in BOTH.into_iter().flat_map(|mode| cures.map(|cure| (mode, cure))) {
        let mut bench = Bench::with(mode, &[&old]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        let sent = one(bench.publish(2, &[&a]));
        bench.nack(&sent, "a: no");

        bench.publish(3, cure);

        assert_eq!(reported(&bench, CDS), [1, 0]);
    }
}

#[test]
fn a_refusal_is_reported_before_its_generation_is_settled() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));

        bench.nack(&sent, "a: no");

        let refused = StreamEvent::Refused { resource_type: CDS, names: 1 };
        let settled = StreamEvent::Settled { generation: 1, rejected: true };
        assert!(bench.events.ends_with(&[refused, settled]));
    }
}

#[test]
fn a_refused_resource_that_is_asked_for_again_and_accepted_is_not_refused_any_more() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&endpoints("a", 1)]);
        let sent = one(bench.ask(EDS, &["a"]));
        bench.nack(&sent, "a: no");

        bench.drop_names(EDS, &["a"]);
        assert_eq!(reported(&bench, EDS), [1, 0], "nobody asks for it");
        let again = one(bench.ask(EDS, &["a"]));
        bench.ack(&again);

        assert_eq!(reported(&bench, EDS), [1, 0]);
    }
}

#[test]
fn a_refusal_of_a_settled_generation_is_not_booked_on_the_next_one() {
    for mode in BOTH {
        let set = [&cluster("a", 1), &endpoints("a", 1), &endpoints("b", 1)];
        let mut bench = Bench::with(mode, &set);
        let sent = one(bench.ask(EDS, &["a"]));
        bench.ack(&sent);
        assert_eq!(bench.settled(), [(1, false)]);

        let late = one(bench.ask(EDS, &["b"]));
        bench.nack(&late, "b: no");
        bench.publish(2, &[&set[..], &[&secret("other")]].concat());

        assert_eq!(bench.settled(), [(1, false), (2, false)]);
        assert_eq!(reported(&bench, EDS), [1], "it is known all the same");
    }
}

#[test]
fn what_a_cut_refusal_does_not_name_does_not_count_as_accepted() {
    for mode in BOTH {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let next = mesh(&[("a", 1), ("x", 1), ("y", 1)], &["a", "y"]);
        let clusters = one(publish(&mut bench, 2, &next));
        let assignments = one(bench.ask(EDS, &["x", "y"]));
        assert_eq!(bench.ack(&assignments), []);

        assert_eq!(bench.nack(&clusters, "x: no; and 1 more"), [], "nobody said that y is there");

        nothing_happens_however_long_it_takes(&mut bench);
        assert_eq!(reported(&bench, CDS), [2], "what the client had before, it still has");
    }
}

#[test]
fn what_a_complete_refusal_does_not_name_counts_as_accepted() {
    for (mode, message) in
        BOTH.into_iter().flat_map(|mode| ["x: no", "x: no; and more", "x: and 1 more"].map(|m| (mode, m)))
    {
        let mut bench = proxy(mode, &["a"], &["a"]);
        let next = mesh(&[("a", 1), ("x", 1), ("y", 1)], &["a", "y"]);
        let clusters = one(publish(&mut bench, 2, &next));
        let assignments = one(bench.ask(EDS, &["x", "y"]));
        bench.ack(&assignments);

        assert_eq!(types(&bench.nack(&clusters, message)), [RDS]);
    }
}

#[test]
fn a_refusal_without_names_does_not_concern_what_was_only_repeated() {
    for mode in BOTH {
        let mut bench = Bench::with(mode, &[&cluster("a", 1)]);
        let sent = one(bench.ask(CDS, &["*"]));
        bench.ack(&sent);
        let sent = one(bench.publish(2, &[&cluster("a", 1), &cluster("b", 1)]));
        bench.nack(&sent, "no");
        let sent = one(bench.publish(3, &[&cluster("a", 2), &cluster("b", 1)]));
        bench.ack(&sent);

        let sent = one(bench.publish(4, &[&cluster("a", 1), &cluster("b", 1)]));

        assert_eq!(sent.bodies["a"], body(&cluster("a", 1)), "it was in use before the refusal");
    }
}
