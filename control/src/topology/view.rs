//! The topology as somebody asked for it.
//!
//! No lock is held for longer than it takes to read the numbers of one edge, so reports come in while an answer is made.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_xds::report_service::{Protocol, Reporter, Security};

use super::edges::{Edge, Record};
use super::graph::{Graph, NodeSeen, Seen};
use super::key::Key;
use super::model::{EdgeView, Folded, Health, Latency, LeftOut, Mtls, NodeView, Reporters, View, rate, share};
use super::query::{Query, Window};
use super::ring::Slot;
use super::sum::{Numbers, Sum};
use crate::clock::Timestamp;

/// What is looked at: all edges as they were at a moment.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) edges: Vec<(Arc<Key>, Arc<Edge>)>,
    pub(super) now_ms: u64,
    pub(super) since_ms: u64,
    pub(super) began_ms: u64,
    pub(super) folded: Folded,
}

/// The time that an answer is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) window: Window,
    pub(super) from_ms: u64,
    pub(super) now_ms: u64,
}

impl Span {
    pub(super) fn of(window: Window, picture: &Picture) -> Self {
        let Picture { now_ms, since_ms, began_ms, .. } = *picture;
        let from_ms = match window.slots() {
            Some((scale, slots)) => ((now_ms / scale.step_ms + 1).saturating_sub(slots) * scale.step_ms).max(began_ms),
            None => since_ms,
        };
        Self { window, from_ms: from_ms.min(now_ms), now_ms }
    }

    /// At least one, so that the first moments show no absurd rates.
    fn seconds(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some years are below 2^53")]
        let seconds = (self.now_ms - self.from_ms) as f64 / 1_000.0;
        seconds.max(1.0)
    }

    pub(super) fn is_active(self, edge: &Edge) -> bool {
        let record = edge.lock();
        match self.window.slots() {
            Some((scale, _)) => record.rings.is_active(scale, self.from_ms / scale.step_ms),
            None => !record.total.is_zero(),
        }
    }

    /// How often anything happened in this time.
    pub(super) fn numbers(self, record: &Record) -> Numbers {
        match self.window.slots() {
            Some((scale, _)) => {
                let slots = record.rings.since(scale, self.from_ms / scale.step_ms);
                slots.fold(Numbers::default(), |sum, (_, slot)| sum.plus(Numbers::of(slot)))
            }
            None => Numbers::of(Slot::Newest(&record.total)),
        }
    }

    /// Adds what a record has of this time.
    fn add(self, record: &Record, sum: &mut Sum) {
        match self.window.slots() {
            Some((scale, _)) => {
                record.rings.since(scale, self.from_ms / scale.step_ms).for_each(|(_, slot)| sum.add_slot(slot));
            }
            None => sum.add(&record.total),
        }
    }
}

/// An answer.
pub(super) fn view(picture: Picture, query: &Query) -> View {
    let span = Span::of(query.window, &picture);
    let mut folded = picture.folded;
    let graph = Graph::of(picture.edges, query, |edge| span.is_active(edge));
    let mut sums = Sums { shown: Sum::new(), source: Sum::new(), destination: Sum::new() };
    let together =
        |a: &Seen, b: &Seen| (a.source, a.destination, a.key.protocol) == (b.source, b.destination, b.key.protocol);
    let mut totals = vec![NodeTotal::default(); graph.nodes.len()];
    let mut edges = Vec::new();
    let mut groups = Vec::new();
    for group in graph.seen.chunk_by(together) {
        let Some(first) = group.first() else { continue };
        let edge = sums.edge(&graph.nodes, group, first, span);
        let happened = happened(&edge);
        if let Some(total) = totals.get_mut(first.destination) {
            total.inward.add(&edge, happened);
        }
        if let Some(total) = totals.get_mut(first.source) {
            total.outward.add(&edge, happened);
        }
        groups.push((first.source, app(group)));
        edges.push(edge);
    }
    set_shares(&mut edges, &groups);
    let Graph { nodes, mut seen, .. } = graph;
    seen.sort_unstable_by_key(|seen| seen.destination);
    for called in seen.chunk_by(|a, b| a.destination == b.destination) {
        if let Some(total) = called.first().and_then(|seen| totals.get_mut(seen.destination)) {
            total.latency_ms = sums.latency(called, span);
        }
    }
    let nodes = nodes.into_iter().zip(totals).map(|(node, total)| present(node, total, span));
    let mut nodes: Vec<NodeView> = nodes.collect();
    nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    edges.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    folded.left_out = query.limit.map(|limit| leave_out(limit.get(), &mut nodes, &mut edges));
    View {
        window: query.window.as_str().to_owned(),
        seconds: span.seconds(),
        at: Timestamp::from_unix_ms(span.now_ms).to_string(),
        since: Timestamp::from_unix_ms(span.from_ms).to_string(),
        grouping: query.grouping.as_str().to_owned(),
        nodes,
        edges,
        folded,
    }
}

/// Keeps the edges with the most requests, the most first, and the nodes they are between.
fn leave_out(limit: usize, nodes: &mut Vec<NodeView>, edges: &mut Vec<EdgeView>) -> LeftOut {
    edges.sort_by_key(|edge| Reverse(happened(edge)));
    let mut left_out = LeftOut::default();
    edges.drain(limit.min(edges.len())..).for_each(|edge| left_out.add(&edge));
    let ends: HashSet<&str> = edges.iter().flat_map(|edge| [&*edge.source, &*edge.destination]).collect();
    let all = nodes.len();
    nodes.retain(|node| ends.contains(&*node.id));
    left_out.nodes = (all - nodes.len()) as u64;
    left_out
}

/// Requests, or connections where nothing is asked on them.
fn happened(edge: &EdgeView) -> u64 {
    edge.requests.max(edge.connections_opened)
}

struct Sums {
    shown: Sum,
    source: Sum,
    destination: Sum,
}

impl Sums {
    /// How long all took that is shown of some edges.
    fn latency(&mut self, seen: &[Seen], span: Span) -> Latency {
        self.shown.clear(Protocol::Unspecified);
        seen.iter().filter(|seen| seen.shown).for_each(|seen| span.add(&seen.edge.lock(), &mut self.shown));
        self.shown.latency()
    }

    fn edge(&mut self, nodes: &[NodeSeen], group: &[Seen], first: &Seen, span: Span) -> EdgeView {
        let protocol = first.key.protocol;
        [&mut self.shown, &mut self.source, &mut self.destination].into_iter().for_each(|sum| sum.clear(protocol));
        // What callers' proxies say is always shown; mostly it is all that is, and added up only once.
        let is_callers = group.iter().all(|seen| seen.shown == (seen.key.reporter != Reporter::Destination));
        let mut services = BTreeSet::new();
        let mut securities = BTreeSet::new();
        for seen in group {
            let record = seen.edge.lock();
            let before = (self.source.happened(), self.destination.happened());
            match seen.key.reporter {
                Reporter::Source | Reporter::Unspecified => span.add(&record, &mut self.source),
                Reporter::Destination => span.add(&record, &mut self.destination),
            }
            if seen.shown && !is_callers {
                span.add(&record, &mut self.shown);
            }
            if before != (self.source.happened(), self.destination.happened()) {
                securities.insert(seen.key.security);
            }
            if !seen.key.service.host.is_empty() {
                services.insert(&*seen.key.service.host);
            }
        }
        let [source, destination] = [first.source, first.destination].map(|number| id_of(nodes, number).to_owned());
        let shown = if is_callers { &self.source } else { &self.shown };
        let (requests, errors) = (shown.requests(), shown.errors());
        EdgeView {
            id: edge_id(nodes, first),
            source,
            destination,
            protocol: protocol_name(protocol).to_owned(),
            service: services.first().map_or("unknown", |host| host).to_owned(),
            mtls: mtls(&securities),
            requests,
            rps: rate(requests, span.seconds()),
            errors,
            error_share: share(errors, shown.happened()),
            share: None,
            codes: shown.codes(),
            flags: shown.flags(),
            latency_ms: shown.latency(),
            request_bytes: shown.bytes_sent,
            response_bytes: shown.bytes_received,
            connections_opened: shown.opened,
            connections_closed: shown.closed,
            health: Health::of(shown.happened(), errors),
            reporters: Reporters { source: self.source.reported(), destination: self.destination.reported() },
        }
    }
}

fn id_of(nodes: &[NodeSeen], number: usize) -> &str {
    nodes.get(number).map_or("unknown", |node| &*node.id)
}

/// What an edge is called.
pub(super) fn edge_id(nodes: &[NodeSeen], seen: &Seen) -> String {
    let [source, destination] = [seen.source, seen.destination].map(|number| id_of(nodes, number));
    format!("{source}>{destination}>{}", protocol_name(seen.key.protocol))
}

/// Any connection that was not mutual is what somebody must see.
fn mtls(securities: &BTreeSet<Security>) -> Mtls {
    if securities.contains(&Security::Plain) || securities.contains(&Security::Tls) {
        Mtls::None
    } else if securities.contains(&Security::Mutual) {
        Mtls::Mutual
    } else {
        Mtls::Unknown
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
        Protocol::Unspecified => "unknown",
    }
}

/// The application that was called, if one answered.
fn app(group: &[Seen]) -> Option<(Box<str>, Box<str>)> {
    let of = group.iter().map(|seen| &seen.key.destination).find(|who| !who.name.is_empty() || !who.app.is_empty())?;
    Some((of.namespace.clone(), of.app.clone()))
}

/// One application, called by one node.
type Called = (usize, Option<(Box<str>, Box<str>)>);

fn set_shares(edges: &mut [EdgeView], groups: &[Called]) {
    let mut asked: HashMap<&Called, u64> = HashMap::new();
    for (edge, called) in edges.iter().zip(groups) {
        let sum = asked.entry(called).or_default();
        *sum = sum.saturating_add(happened(edge));
    }
    for (edge, called) in edges.iter_mut().zip(groups) {
        let whole = asked.get(called).copied().unwrap_or(0);
        edge.share = (called.1.is_some() && whole > 0).then(|| share(happened(edge), whole));
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct NodeTotal {
    inward: Total,
    outward: Total,
    latency_ms: Latency,
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    requests: u64,
    happened: u64,
    errors: u64,
}

impl Total {
    fn add(&mut self, edge: &EdgeView, happened: u64) {
        self.requests = self.requests.saturating_add(edge.requests);
        self.happened = self.happened.saturating_add(happened);
        self.errors = self.errors.saturating_add(edge.errors);
    }
}

fn present(node: NodeSeen, total: NodeTotal, span: Span) -> NodeView {
    let NodeSeen { id, kind, namespace, name, version, workloads, services } = node;
    let NodeTotal { inward, outward, latency_ms } = total;
    // Whom nobody calls is as well as its calls are.
    let judged = if inward.happened > 0 { inward } else { outward };
    NodeView {
        id: id.as_ref().to_owned(),
        kind,
        namespace: namespace.into(),
        name: name.into(),
        version: version.into(),
        workloads: workloads.into_iter().map(Into::into).collect(),
        services: services.into_iter().map(Into::into).collect(),
        health: Health::of(judged.happened, judged.errors),
        requests: inward.requests,
        rps: rate(inward.requests, span.seconds()),
        errors: inward.errors,
        error_share: share(inward.errors, inward.happened),
        latency_ms,
    }
}
