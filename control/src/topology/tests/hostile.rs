//! Reports that no proxy would send.

use tidegate_report::sketch::BUCKETS;
use tidegate_xds::report_service::{Edge, EdgeKey, EdgeReport, Reporter, Workload};

use super::super::core::{Core, Stream};
use super::{edge, key, outcome, report};

fn named(count: u64) -> Edge {
    edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", count)])
}

fn refused(report: &EdgeReport) -> String {
    Core::new(0).take(&mut Stream::default(), report, 0).unwrap_err()
}

#[test]
fn a_number_that_goes_back_ends_the_stream_and_takes_nothing_away() {
    let mut core = Core::new(0);
    let mut stream = Stream::default();
    core.take(&mut stream, &report(1, vec![named(5)]), 0).unwrap();

    let why = core.take(&mut stream, &report(2, vec![named(4)]), 0).unwrap_err();

    assert_eq!(why, "edge 1 of epoch 7 of node web-v1.shop: requests of an outcome went back from 5 to 4");
    let fewer_bytes = Edge { bytes_sent: 9, ..named(5) };
    for less in [edge(1, None, Vec::new()), edge(1, None, vec![outcome(201, "", 9)]), fewer_bytes] {
        let mut again = Stream::default();
        let why = core.take(&mut again, &report(1, vec![less]), 0).unwrap_err();
        assert!(why.contains("went back"), "{why}");
    }
    assert_eq!(core.edges.iter().map(|(_, edge)| edge.lock().total.requests()).sum::<u64>(), 5);
}

#[test]
fn a_message_that_cannot_be_is_refused_with_the_reason() {
    let with = |edge: Edge| refused(&report(1, vec![edge]));
    let past = u32::try_from(BUCKETS).unwrap();

    for (why, word) in [
        (refused(&EdgeReport { epoch: 0, ..report(1, Vec::new()) }), "epoch is missing"),
        (refused(&EdgeReport { node: String::new(), ..report(1, Vec::new()) }), "node's id"),
        (refused(&EdgeReport { node: "a\u{1b}b".to_owned(), ..report(1, Vec::new()) }), "node's id"),
        (refused(&report(2, Vec::new())), "message 2 came where 1 was to come"),
        (with(Edge { key: None, ..named(1) }), "nobody has explained"),
        (with(Edge { buckets: vec![past], counts: vec![1], ..named(1) }), "above"),
        (with(Edge { buckets: vec![u32::MAX, u32::MAX], counts: vec![1, 1], ..named(1) }), "above"),
        (with(Edge { buckets: vec![3, 0], counts: vec![1, 1], ..named(1) }), "twice"),
        (with(Edge { buckets: vec![3], counts: Vec::new(), ..named(1) }), "1 buckets of times and 0 counts"),
        (with(Edge { buckets: vec![0; 5_000], counts: vec![0; 5_000], ..named(1) }), "5000 buckets"),
        (with(Edge { bytes_sent: u64::MAX, ..named(1) }), "more than anything counts"),
        (with(Edge { outcomes: vec![outcome(1_000, "", 1)], ..named(1) }), "status above"),
        (with(Edge { outcomes: vec![outcome(200, "", 1); 1_025], ..named(1) }), "1025 outcomes"),
    ] {
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn a_stream_speaks_for_one_process_in_order_until_its_last_message() {
    let mut core = Core::new(0);
    let mut stream = Stream::default();
    core.take(&mut stream, &report(1, Vec::new()), 0).unwrap();

    let other = EdgeReport { epoch: 8, ..report(2, Vec::new()) };
    assert!(core.take(&mut stream, &other, 0).unwrap_err().contains("of another"));
    assert!(core.take(&mut stream, &report(1, Vec::new()), 0).unwrap_err().contains("came where 2"));
    core.take(&mut stream, &EdgeReport { last: true, ..report(2, Vec::new()) }, 0).unwrap();
    assert!(core.take(&mut stream, &report(3, Vec::new()), 0).unwrap_err().contains("nothing follows"));
}

#[test]
fn a_number_that_stood_for_another_edge_is_refused() {
    let mut core = Core::new(0);
    core.take(&mut Stream::default(), &report(1, vec![named(1)]), 0).unwrap();

    let other = Edge { key: Some(key(Reporter::Source, "v2")), ..named(2) };
    let why = core.take(&mut Stream::default(), &report(1, vec![other]), 0).unwrap_err();

    assert!(why.contains("stood for another edge"), "{why}");
}

#[test]
fn processes_that_come_and_go_leave_no_more_than_their_graves() {
    let mut core = Core::new(0);
    for epoch in 1..=1_000 {
        let mut stream = Stream::default();
        core.take(&mut stream, &EdgeReport { epoch, ..report(1, vec![named(1)]) }, epoch).unwrap();
        core.close(&stream);
    }

    let node = core.nodes.values().next().unwrap();
    assert!(node.epochs.len() <= super::super::epoch::EPOCHS_PER_NODE_MAX && node.graves.len() <= 64);
    assert_eq!(core.edges.iter().map(|(_, edge)| edge.lock().total.requests()).sum::<u64>(), 1_000);
    // One that was given up and comes back after all would be counted twice.
    let back = EdgeReport { epoch: 990, ..report(1, vec![named(1)]) };
    let why = core.take(&mut Stream::default(), &back, 0).unwrap_err();
    assert!(why.contains("restart the process"), "{why}");
}

#[test]
fn edges_that_a_proxy_calls_by_the_name_of_the_others_make_room_like_any() {
    const ROOM: usize = 8;
    let mut core = Core::bounded(0, ROOM);
    let other = |version: u32| {
        let named = |version: String| Some(Workload { name: "__other__".to_owned(), version, ..Workload::default() });
        EdgeKey { source: named(version.to_string()), destination: named(String::new()), ..key(Reporter::Source, "v1") }
    };
    let said = (0..1_000).map(|id| edge(id, Some(other(id)), vec![outcome(200, "", 1)])).collect();

    core.take(&mut Stream::default(), &report(1, said), 0).unwrap();

    let edges: Vec<_> = core.edges.iter().map(|(_, edge)| edge.lock().total.requests()).collect();
    // The one that the others became lies beside them.
    assert!(edges.len() <= ROOM + 1, "{} edges", edges.len());
    assert_eq!(edges.iter().sum::<u64>(), 1_000);
}

#[test]
fn a_process_that_comes_back_when_it_is_due_is_not_counted_twice() {
    const LATER_MS: u64 = 25 * 3_600_000;
    for last in [false, true] {
        let mut core = Core::new(0);
        let mut stream = Stream::default();
        core.take(&mut stream, &EdgeReport { last, ..report(1, vec![named(3)]) }, 0).unwrap();
        core.close(&stream);

        // Nobody has swept meanwhile.
        let back = core.take(&mut Stream::default(), &EdgeReport { last, ..report(1, vec![named(3)]) }, LATER_MS);

        assert_eq!(core.edges.iter().map(|(_, edge)| edge.lock().total.requests()).sum::<u64>(), 3, "{back:?}");
        assert_eq!((back.is_ok(), core.heard), (last, 0), "{back:?}");
    }
}
