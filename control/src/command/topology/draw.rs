//! The graph as text.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::command::graph::{latencies, left_out, per_second, percent};
use crate::command::status::align;
use crate::topology::model::{EdgeView, Health, NodeKind, NodeView, View, rate};

/// Each node, and below whom it calls.
pub(super) fn table(view: &View) -> String {
    let mut text = format!("{} edges in {:.0} s before {}\n", view.edges.len(), view.seconds, view.at);
    if view.folded.edges > 0 || view.folded.requests > 0 {
        let (edges, requests) = (view.folded.edges, view.folded.requests);
        // Writing to a string cannot fail; here and below.
        writeln!(text, "{edges} edges and {requests} requests found no place of their own: __other__")
            .unwrap_or_default();
    }
    text.push_str(&left_out(view));
    if view.edges.is_empty() {
        text.push_str("no proxy has reported a request or a connection\n");
        return text;
    }
    let header = ["CALLER AND CALLED", "PROTOCOL", "RPS", "SHARE", "SUCCESS", "P50", "P95", "P99", "MTLS", "HEALTH"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut by_source: HashMap<&str, Vec<&EdgeView>> = HashMap::new();
    view.edges.iter().for_each(|edge| by_source.entry(&edge.source).or_default().push(edge));
    for node in &view.nodes {
        let Some(edges) = by_source.get(&*node.id) else { continue };
        rows.push(vec![node.id.clone()]);
        rows.extend(edges.iter().map(|edge| row(edge, view.seconds)));
    }
    text.push('\n');
    align(&rows, &mut text);
    text
}

fn row(edge: &EdgeView, seconds: f64) -> Vec<String> {
    let [p50, p95, p99] = latencies(&edge.latency_ms);
    let happened = edge.requests > 0 || edge.errors > 0;
    let mtls = edge.mtls.as_str().to_owned();
    let protocol = edge.protocol.clone();
    let success = percent(happened.then_some(1.0 - edge.error_share));
    let health = edge.health.as_str().to_owned();
    let (to, share) = (format!("  -> {}", edge.destination), percent(edge.share));
    vec![to, protocol, flow(edge, seconds), share, success, p50, p95, p99, mtls, health]
}

/// Requests a second, or for a connection that carries none, bytes a second.
fn flow(edge: &EdgeView, seconds: f64) -> String {
    if edge.protocol == "tcp" && edge.requests == 0 {
        let bytes = edge.request_bytes.saturating_add(edge.response_bytes);
        return format!("{:.0} B/s", rate(bytes, seconds));
    }
    per_second(edge.rps)
}

/// What stands beside an edge's line.
fn label(edge: &EdgeView, seconds: f64) -> String {
    let flow = flow(edge, seconds);
    let mut label = if flow.ends_with("B/s") { flow } else { format!("{flow} rps") };
    if edge.errors > 0 {
        write!(label, ", {} errors", percent(Some(edge.error_share))).unwrap_or_default();
    }
    if let Some(p95) = edge.latency_ms.p95 {
        write!(label, ", p95 {p95:.1} ms").unwrap_or_default();
    }
    label
}

fn colour(health: Health) -> &'static str {
    match health {
        Health::Healthy => "#2e7d32",
        Health::Degraded => "#ef6c00",
        Health::Failing => "#c62828",
        Health::Idle => "#9e9e9e",
    }
}

/// For Graphviz.
pub(super) fn dot(view: &View) -> String {
    let mut text = "digraph mesh {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
    for node in &view.nodes {
        let shape = match node.kind {
            NodeKind::App | NodeKind::Workload => "box",
            NodeKind::Service => "hexagon",
            NodeKind::Unknown | NodeKind::Other => "ellipse",
        };
        let (id, label, colour) = (quoted(&node.id), quoted(&name(node)), colour(node.health));
        writeln!(text, "  {id} [label={label}, shape={shape}, color=\"{colour}\"];").unwrap_or_default();
    }
    for edge in &view.edges {
        let [source, destination] = [&edge.source, &edge.destination].map(|id| quoted(id));
        let (label, colour) = (quoted(&label(edge, view.seconds)), colour(edge.health));
        writeln!(text, "  {source} -> {destination} [label={label}, color=\"{colour}\"];").unwrap_or_default();
    }
    text.push_str("}\n");
    text
}

/// For Markdown that draws Mermaid.
pub(super) fn mermaid(view: &View) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let numbers: HashMap<&str, usize> = view.nodes.iter().enumerate().map(|(n, node)| (&*node.id, n)).collect();
    for (number, node) in view.nodes.iter().enumerate() {
        writeln!(text, "  n{number}[\"{}\"]", escaped(&name(node))).unwrap_or_default();
    }
    let mut drawn = 0;
    let mut styles = String::new();
    for edge in &view.edges {
        let (Some(source), Some(destination)) = (numbers.get(&*edge.source), numbers.get(&*edge.destination)) else {
            continue;
        };
        let label = escaped(&label(edge, view.seconds));
        writeln!(text, "  n{source} -->|\"{label}\"| n{destination}").unwrap_or_default();
        writeln!(styles, "  linkStyle {drawn} stroke:{}", colour(edge.health)).unwrap_or_default();
        drawn += 1;
    }
    text + &styles
}

fn name(node: &NodeView) -> String {
    match node.kind {
        NodeKind::App | NodeKind::Workload | NodeKind::Service => node.id.clone(),
        NodeKind::Unknown | NodeKind::Other => node.name.clone(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Mermaid reads entities, and ends a text at a quotation mark.
fn escaped(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
