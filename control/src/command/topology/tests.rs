//! What the graph looks like as text.

use std::collections::BTreeMap;

use super::{Form, print};
use crate::topology::model::{EdgeView, Folded, Health, Latency, LeftOut, Mtls, NodeKind, NodeView, Reporters, View};

fn node(id: &str, kind: NodeKind, health: Health) -> NodeView {
    NodeView {
        id: id.to_owned(),
        kind,
        namespace: "shop".to_owned(),
        name: id.to_owned(),
        version: "v1".to_owned(),
        workloads: Vec::new(),
        services: Vec::new(),
        health,
        requests: 0,
        rps: 0.0,
        errors: 0,
        error_share: 0.0,
        latency_ms: Latency::default(),
    }
}

fn edge(source: &str, destination: &str, protocol: &str, health: Health) -> EdgeView {
    EdgeView {
        id: format!("{source}>{destination}>{protocol}"),
        source: source.to_owned(),
        destination: destination.to_owned(),
        protocol: protocol.to_owned(),
        service: "unknown".to_owned(),
        mtls: Mtls::Mutual,
        requests: 0,
        rps: 0.0,
        errors: 0,
        error_share: 0.0,
        share: None,
        codes: BTreeMap::new(),
        flags: BTreeMap::new(),
        latency_ms: Latency::default(),
        request_bytes: 0,
        response_bytes: 0,
        connections_opened: 0,
        connections_closed: 0,
        health,
        reporters: Reporters::default(),
    }
}

fn view() -> View {
    let reviews = EdgeView {
        requests: 120,
        rps: 2.0,
        errors: 1,
        error_share: 1.0 / 120.0,
        share: Some(0.9),
        latency_ms: Latency { p50: Some(1.2), p90: Some(2.0), p95: Some(2.5), p99: Some(9.1) },
        ..edge("shop/web/v1", "shop/reviews/v1", "http", Health::Degraded)
    };
    let store = EdgeView {
        request_bytes: 1_000,
        response_bytes: 5_000,
        connections_opened: 1,
        mtls: Mtls::None,
        ..edge("shop/web/v1", "unknown", "tcp", Health::Healthy)
    };
    View {
        seconds: 60.0,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
        nodes: vec![
            node("shop/reviews/v1", NodeKind::App, Health::Degraded),
            node("shop/say \"#1\"/v1", NodeKind::Service, Health::Idle),
            node("shop/web/v1", NodeKind::App, Health::Healthy),
            node("unknown", NodeKind::Unknown, Health::Healthy),
        ],
        edges: vec![reviews, store],
        ..View::default()
    }
}

#[test]
fn the_table_shows_below_each_caller_whom_it_calls() {
    let expected = "\
2 edges in 60 s before 2026-01-01T00:00:00.000Z

CALLER AND CALLED     PROTOCOL  RPS      SHARE    SUCCESS  P50     P95     P99     MTLS    HEALTH
shop/web/v1
  -> shop/reviews/v1  http      2.0      90.00 %  99.17 %  1.2 ms  2.5 ms  9.1 ms  mutual  degraded
  -> unknown          tcp       100 B/s  -        -        -       -       -       none    healthy
";

    assert_eq!(print(&view(), "", Form::Table), expected);
}

#[test]
fn the_table_says_what_a_limit_has_left_out() {
    let left_out = LeftOut { edges: 9_998, requests: 12, errors: 3, ..LeftOut::default() };
    let limited = View { folded: Folded { left_out: Some(left_out), ..Folded::default() }, ..view() };

    let text = print(&limited, "", Form::Table);

    let expected = "9998 more edges with 12 requests and 3 errors are left out: --limit";
    assert_eq!(text.lines().nth(1), Some(expected), "{text}");
    let nothing = View { folded: Folded { left_out: Some(LeftOut::default()), ..Folded::default() }, ..view() };
    assert_eq!(print(&nothing, "", Form::Table), print(&view(), "", Form::Table));
}

#[test]
fn graphviz_is_given_nodes_by_kind_and_edges_by_health() {
    let expected = r##"digraph mesh {
  rankdir=LR;
  node [shape=box, style=rounded];
  "shop/reviews/v1" [label="shop/reviews/v1", shape=box, color="#ef6c00"];
  "shop/say \"#1\"/v1" [label="shop/say \"#1\"/v1", shape=hexagon, color="#9e9e9e"];
  "shop/web/v1" [label="shop/web/v1", shape=box, color="#2e7d32"];
  "unknown" [label="unknown", shape=ellipse, color="#2e7d32"];
  "shop/web/v1" -> "shop/reviews/v1" [label="2.0 rps, 0.83 % errors, p95 2.5 ms", color="#ef6c00"];
  "shop/web/v1" -> "unknown" [label="100 B/s", color="#2e7d32"];
}
"##;

    assert_eq!(print(&view(), "", Form::Dot), expected);
}

#[test]
fn mermaid_is_given_names_that_it_reads_as_names() {
    let expected = r##"flowchart LR
  n0["shop/reviews/v1"]
  n1["shop/say #quot;#35;1#quot;/v1"]
  n2["shop/web/v1"]
  n3["unknown"]
  n2 -->|"2.0 rps, 0.83 % errors, p95 2.5 ms"| n0
  n2 -->|"100 B/s"| n3
  linkStyle 0 stroke:#ef6c00
  linkStyle 1 stroke:#2e7d32
"##;

    assert_eq!(print(&view(), "", Form::Mermaid), expected);
}
