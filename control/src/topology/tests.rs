//! Reports in, graph out, under a clock that stands still.

mod answers;
mod called;
mod exactness;
mod history;
mod hostile;
mod persistence;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_report::Sketch;
use tidegate_xds::report_service::{
    Edge, EdgeKey, EdgeReport, Outcome, Protocol, Reporter, Security, Service, Workload,
};

use super::core::Stream;
use super::model::{EdgeView, Health, Mtls, NodeKind, View};
use super::query::{Grouping, Query, Window};
use super::{Checkpoint, Of, Topology};
use crate::clock::{Clock, Timestamp};

/// A slot of five seconds begins here.
const NOON_MS: u64 = 1_700_000_000_000;

/// A topology whose clock is moved by hand.
struct Bench {
    topology: Topology,
    now_ms: Arc<AtomicU64>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        let now_ms = Arc::new(AtomicU64::new(NOON_MS));
        let read = Arc::clone(&now_ms);
        let clock = Clock::of(move || Timestamp::from_unix_ms(read.load(Ordering::Relaxed)));
        Self { topology: Topology::new(clock), now_ms, rows: BTreeMap::new() }
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn view(&self, window: Window, grouping: Grouping) -> View {
        self.topology.snapshot(&Query { window, grouping, ..Query::default() })
    }

    /// Ends it and begins another from what is on disk.
    fn restart(&mut self) {
        let now = Arc::clone(&self.now_ms);
        let clock = Clock::of(move || Timestamp::from_unix_ms(now.load(Ordering::Relaxed)));
        self.topology = Topology::new(clock);
        self.topology.restore(&self.rows.clone().into_iter().collect::<Vec<_>>());
    }

    fn save(&mut self) {
        keep(&mut self.rows, self.topology.checkpoint());
    }
}

/// What the state store does.
fn keep(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, checkpoint: Checkpoint) {
    if checkpoint.whole {
        rows.clear();
    }
    rows.retain(|name, _| !checkpoint.gone.iter().any(|beginning| name.starts_with(beginning)));
    rows.extend(checkpoint.rows);
}

fn workload(name: &str, version: &str) -> Workload {
    let text = str::to_owned;
    Workload { name: format!("{name}-{version}"), namespace: text("shop"), app: text(name), version: text(version) }
}

fn key(reporter: Reporter, version: &str) -> EdgeKey {
    let is_source = reporter == Reporter::Source;
    let service = Service {
        host: "reviews.shop.svc.cluster.local".to_owned(),
        name: "reviews".to_owned(),
        namespace: "shop".to_owned(),
    };
    let security = if is_source { Security::Unspecified } else { Security::Mutual };
    EdgeKey {
        reporter: reporter.into(),
        source: Some(workload("web", "v1")),
        destination: Some(workload("reviews", version)),
        service: is_source.then_some(service),
        protocol: Protocol::Http.into(),
        security: security.into(),
    }
}

fn outcome(code: u32, flags: &str, count: u64) -> Outcome {
    Outcome { code, flags: flags.to_owned(), grpc_status: None, count }
}

fn edge(id: u32, key: Option<EdgeKey>, outcomes: Vec<Outcome>) -> Edge {
    let mut sketch = Sketch::default();
    (0..outcomes.iter().map(|outcome| outcome.count).sum()).for_each(|ms| sketch.record(Duration::from_millis(1 + ms)));
    let (mut buckets, mut counts, mut last) = (Vec::new(), Vec::new(), 0);
    for (bucket, count) in sketch.buckets() {
        buckets.push(u32::try_from(bucket - last).unwrap());
        counts.push(count);
        last = bucket;
    }
    Edge { id, key, outcomes, buckets, counts, bytes_sent: 10, bytes_received: 20, ..Edge::default() }
}

fn report(sequence: u64, edges: Vec<Edge>) -> EdgeReport {
    EdgeReport { node: "web-v1.shop".to_owned(), epoch: 7, sequence, edges, ..EdgeReport::default() }
}

fn find<'v>(view: &'v View, id: &str) -> &'v EdgeView {
    let ids: Vec<&str> = view.edges.iter().map(|edge| &*edge.id).collect();
    view.edges.iter().find(|edge| edge.id == id).unwrap_or_else(|| panic!("{id} is not one of {ids:?}"))
}

const V1: &str = "shop/web/v1>shop/reviews/v1>http";

#[test]
fn an_edge_says_how_often_how_well_how_fast_and_which_part_of_the_calls_it_took() {
    let bench = Bench::new();
    bench.pass(60_000);
    let ninety = edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", 88), outcome(503, "UF,URX", 2)]);
    let ten = edge(2, Some(key(Reporter::Source, "v2")), vec![outcome(200, "", 10)]);

    bench.topology.take(&mut Stream::default(), &report(1, vec![ninety, ten])).unwrap();
    let view = bench.view(Window::Minute, Grouping::VersionedApp);

    let v1 = find(&view, V1);
    assert_eq!((v1.requests, v1.errors, v1.share, v1.health), (90, 2, Some(0.9), Health::Degraded));
    assert_eq!(v1.codes, BTreeMap::from([("2xx".to_owned(), 88), ("5xx".to_owned(), 2)]));
    assert_eq!(v1.flags, BTreeMap::from([("UF".to_owned(), 2), ("URX".to_owned(), 2)]));
    assert_eq!((v1.request_bytes, v1.response_bytes, &*v1.service), (10, 20, "reviews.shop.svc.cluster.local"));
    assert!(v1.latency_ms.p50.is_some_and(|p50| (p50 - 45.0).abs() < 0.45), "{:?}", v1.latency_ms);
    // Eleven whole slots and one that has just begun.
    assert_eq!((view.seconds, v1.rps), (55.0, 90.0 / 55.0));
    let node = view.nodes.iter().find(|node| node.id == "shop/reviews/v2").unwrap();
    assert_eq!((node.kind, &*node.name, &*node.version, node.requests), (NodeKind::App, "reviews", "v2", 10));
    assert_eq!(node.workloads, ["reviews-v2"]);
    assert_eq!(view.folded, super::model::Folded::default());
}

#[test]
fn the_two_reporters_of_an_edge_are_laid_over_each_other_and_no_call_counts_twice() {
    let bench = Bench::new();
    let source = edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", 9), outcome(0, "UF", 1)]);
    let destination = edge(1, Some(key(Reporter::Destination, "v1")), vec![outcome(200, "", 9)]);
    bench.topology.take(&mut Stream::default(), &report(1, vec![source])).unwrap();
    let theirs = EdgeReport { node: "reviews-v1.shop".to_owned(), ..report(1, vec![destination]) };
    bench.topology.take(&mut Stream::default(), &theirs).unwrap();

    for (grouping, id) in [
        (Grouping::VersionedApp, V1),
        (Grouping::App, "shop/web>shop/reviews>http"),
        (Grouping::Workload, "shop/web-v1>shop/reviews-v1>http"),
        (Grouping::Service, "shop/web>shop/reviews>http"),
    ] {
        let view = bench.view(Window::Total, grouping);
        assert_eq!((view.edges.len(), view.nodes.len()), (1, 2), "{grouping:?}");
        let edge = find(&view, id);
        assert_eq!((edge.requests, edge.errors, edge.mtls), (10, 1, Mtls::Mutual));
        assert_eq!((edge.reporters.source.requests, edge.reporters.destination.requests), (10, 9));
    }
}

#[test]
fn a_caller_without_a_proxy_is_seen_by_the_proxy_it_calls() {
    let bench = Bench::new();
    let unknown = EdgeKey { source: None, security: Security::Plain.into(), ..key(Reporter::Destination, "v1") };
    let called = edge(1, Some(unknown), vec![outcome(200, "", 3)]);

    bench.topology.take(&mut Stream::default(), &report(1, vec![called])).unwrap();
    let view = bench.view(Window::Minute, Grouping::VersionedApp);

    let edge = find(&view, "unknown>shop/reviews/v1>http");
    assert_eq!((edge.requests, edge.mtls, &*edge.service), (3, Mtls::None, "unknown"));
    assert!(view.nodes.iter().any(|node| node.id == "unknown" && node.kind == NodeKind::Unknown));
}

#[test]
fn a_tcp_connection_is_its_callers_though_the_proxy_that_is_called_cannot_tell_whose_it_is() {
    let bench = Bench::new();
    let tcp = |source: &str| {
        let key = EdgeKey { protocol: Protocol::Tcp.into(), ..key(Reporter::Source, "v1") };
        let said = Edge { connections_opened: 2, ..edge(1, Some(key), Vec::new()) };
        let mut report = EdgeReport { node: source.to_owned(), ..report(1, vec![said]) };
        report.edges[0].key.as_mut().unwrap().source = Some(workload(source, "v1"));
        report
    };
    let unknown = EdgeKey { source: None, protocol: Protocol::Tcp.into(), ..key(Reporter::Destination, "v1") };
    let theirs = Edge { connections_opened: 3, ..edge(1, Some(unknown), Vec::new()) };
    let take = |report: &EdgeReport| bench.topology.take(&mut Stream::default(), report).unwrap();
    let opened = || {
        let view = bench.view(Window::Minute, Grouping::App);
        let of = |edge: &EdgeView| (edge.source.clone(), edge.connections_opened);
        (view.edges.iter().map(of).collect::<Vec<_>>(), view.edges[0].reporters.destination.connections_opened)
    };

    take(&EdgeReport { node: "reviews-v1.shop".to_owned(), ..report(1, vec![theirs]) });
    assert_eq!(opened(), (vec![("unknown".to_owned(), 3)], 3));
    take(&tcp("web"));
    assert_eq!(opened(), (vec![("shop/web".to_owned(), 2)], 3));
    take(&tcp("cart"));
    assert_eq!(opened(), (vec![("shop/cart".to_owned(), 2), ("shop/web".to_owned(), 2)], 0));
}

#[test]
fn a_call_that_reached_nobody_ends_at_the_service() {
    let bench = Bench::new();
    let nobody = EdgeKey { destination: None, ..key(Reporter::Source, "v1") };

    let refused = edge(1, Some(nobody), vec![outcome(503, "UH", 4)]);
    bench.topology.take(&mut Stream::default(), &report(1, vec![refused])).unwrap();

    let view = bench.view(Window::Minute, Grouping::VersionedApp);
    let edge = find(&view, "shop/web/v1>shop/reviews>http");
    assert_eq!((edge.health, edge.share), (Health::Failing, None));
    let view = bench.view(Window::Minute, Grouping::App);
    assert_eq!(find(&view, "shop/web>shop/reviews>http").errors, 4);
}

#[test]
fn windows_move_on_and_totals_stay() {
    let bench = Bench::new();
    let mut stream = Stream::default();
    bench.topology.take(&mut stream, &report(1, vec![edge(1, Some(key(Reporter::Source, "v1")), vec![])])).unwrap();
    for step in 1..=20 {
        bench.pass(30_000);
        let said = edge(1, None, vec![outcome(200, "", 10 * step)]);
        bench.topology.take(&mut stream, &report(1 + step, vec![said])).unwrap();
    }

    let requests = |window| find(&bench.view(window, Grouping::VersionedApp), V1).requests;

    // The slots of the last 55 to 60 seconds hold two reports, those of 9 to 10 minutes nineteen.
    assert_eq!([Window::Minute, Window::FiveMinutes, Window::TenMinutes].map(requests), [20, 100, 190]);
    assert_eq!([Window::Hour, Window::Day, Window::Total].map(requests), [200; 3]);
    bench.pass(3_600_000);
    bench.topology.sweep();
    assert_eq!([Window::Minute, Window::Hour, Window::Day, Window::Total].map(requests), [0, 0, 200, 200]);
    let idle = bench.view(Window::Minute, Grouping::VersionedApp);
    assert_eq!(find(&idle, V1).health, Health::Idle);
}

#[test]
fn only_edges_that_touch_a_namespace_are_shown_when_one_is_named() {
    let bench = Bench::new();
    let mut elsewhere = key(Reporter::Source, "v1");
    elsewhere.destination.as_mut().unwrap().namespace = "billing".to_owned();
    elsewhere.source.as_mut().unwrap().namespace = "edge".to_owned();
    elsewhere.service = None;
    let edges = [key(Reporter::Source, "v1"), elsewhere].into_iter().zip(1..);
    let edges = edges.map(|(key, id)| edge(id, Some(key), vec![outcome(200, "", 1)])).collect();
    bench.topology.take(&mut Stream::default(), &report(1, edges)).unwrap();

    let ids = |namespaces: &str| {
        let mut query = Query::default();
        query.set("namespace", namespaces).unwrap();
        bench.topology.snapshot(&query).edges.into_iter().map(|edge| edge.id).collect::<Vec<_>>()
    };

    assert_eq!(ids("shop"), [V1]);
    assert_eq!(ids("billing"), ["edge/web/v1>billing/reviews/v1>http"]);
    assert_eq!((ids("edge,shop").len(), ids("nowhere").len()), (2, 0));
}

#[test]
fn an_outage_of_minutes_does_not_look_like_a_storm_of_seconds() {
    let mut bench = Bench::new();
    let say = |bench: &Bench, count| {
        let said = edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", count)]);
        bench.topology.take(&mut Stream::default(), &report(1, vec![said])).unwrap();
    };
    say(&bench, 10);
    bench.save();
    bench.pass(600_000);
    bench.restart();

    say(&bench, 6_010);

    let requests = |window| find(&bench.view(window, Grouping::VersionedApp), V1).requests;
    assert_eq!([Window::Minute, Window::TenMinutes, Window::Day, Window::Total].map(requests), [0, 0, 6_000, 6_010]);
}

#[test]
fn a_series_has_a_point_for_each_step_and_says_how_each_went() {
    let bench = Bench::new();
    let mut stream = Stream::default();
    let say = |stream: &mut Stream, sequence, good, bad| {
        let outcomes = vec![outcome(200, "", good), outcome(500, "", bad)];
        let said = edge(1, Some(key(Reporter::Source, "v1")), outcomes);
        bench.topology.take(stream, &report(sequence, vec![said])).unwrap();
    };
    bench.pass(2_000);
    say(&mut stream, 1, 10, 0);
    bench.pass(10_000);
    say(&mut stream, 2, 10, 10);
    bench.pass(4_000);

    let query = Query::default();
    let series = bench.topology.series(&query, &Of::Edge(V1.to_owned())).unwrap();

    let points: Vec<(u64, f64)> = series.points.iter().map(|point| (point.requests, point.error_share)).collect();
    assert_eq!((series.step_seconds, points), (5, vec![(10, 0.0), (0, 0.0), (10, 1.0), (0, 0.0)]));
    assert_eq!(series.points[0].at, "2023-11-14T22:13:20.000Z");
    assert_eq!((series.points[0].rps, series.points[1].latency_ms.p50), (2.0, None));
    let of_node = bench.topology.series(&query, &Of::Node("shop/reviews/v1".to_owned())).unwrap();
    assert_eq!(of_node, series);
    assert_eq!(bench.topology.series(&query, &Of::Node("shop/web/v1".to_owned())).unwrap().points[0].requests, 0);
    assert_eq!(bench.topology.series(&query, &Of::Edge("nobody".to_owned())), None);
    let total = Query { window: Window::Total, ..query };
    assert_eq!(bench.topology.series(&total, &Of::Edge(V1.to_owned())), None);
}
