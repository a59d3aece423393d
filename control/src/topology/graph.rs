//! Lays what the two reporters saw over each other, and groups it into nodes and edges.
//!
//! # The same edge, seen twice
//! Both proxies of a call count it. What they agree about is which workload called which, and what was spoken; only the caller's knows
//! the service, only the other one how it was protected. These three join them. Shown is what the caller's proxy
//! counted, since it sees what never arrived; what the other one counted where the caller has none, or said nothing. A call is never
//! counted twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_xds::report_service::{Protocol, Reporter};

use super::edges::Edge;
use super::key::{Asked, Key, OTHER, Who};
use super::model::NodeKind;
use super::query::{Grouping, Query};

/// What stands for a name that nobody knows.
const UNKNOWN: &str = "unknown";

/// One reporter's view of an edge, at its place in the graph.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) key: Arc<Key>,
    pub(super) edge: Arc<Edge>,
    /// Numbers of nodes.
    pub(super) source: usize,
    pub(super) destination: usize,
    /// Whether its numbers are the edge's.
    pub(super) shown: bool,
}

/// A node in the making.
#[derive(Debug)]
pub(super) struct NodeSeen {
    pub(super) id: Arc<str>,
    pub(super) kind: NodeKind,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) version: Box<str>,
    pub(super) workloads: BTreeSet<Box<str>>,
    pub(super) services: BTreeSet<Box<str>>,
}

/// All of it. Edges that are one lie side by side.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<NodeSeen>,
    pub(super) seen: Vec<Seen>,
    by_id: HashMap<Arc<str>, usize>,
}

impl Graph {
    /// `is_active` says whether something happened on an edge in the time that is asked for.
    pub(super) fn of(all: Vec<(Arc<Key>, Arc<Edge>)>, query: &Query, is_active: impl Fn(&Edge) -> bool) -> Self {
        let all: Vec<_> = all.into_iter().filter(|(key, _)| is_wanted(key, &query.namespaces)).collect();
        // What the callers' proxies say of each pair: whether anything, and as what the other was called.
        let mut callers: HashMap<(&Who, &Who, Protocol), (bool, &Asked)> = HashMap::new();
        for (key, edge) in all.iter().filter(|(key, _)| key.reporter == Reporter::Source) {
            let (active, service) = callers.entry(pair(key)).or_insert((false, &key.service));
            *active |= is_active(edge);
            // The first in order, so that the same edges make the same graph.
            *service = (*service).min(&key.service);
        }
        let tunnels = tunnels(&all);
        let mut graph = Self::default();
        let mut seen = Vec::with_capacity(all.len());
        for (key, edge) in &all {
            let source = match caller_of(key, &tunnels) {
                Caller::Known(source) => source,
                Caller::Several => continue,
            };
            let caller = callers.get(&(source, &key.destination, key.protocol));
            let is_source = key.reporter == Reporter::Source;
            let shown = is_source || caller.is_none_or(|(active, _)| !*active && is_active(edge));
            let known = key.service != Asked::default();
            let service =
                if is_source || known { &key.service } else { caller.map_or(&key.service, |(_, service)| service) };
            let source = graph.node(source, None, query.grouping);
            let destination = graph.node(&key.destination, Some(service), query.grouping);
            seen.push(Seen { key: Arc::clone(key), edge: Arc::clone(edge), source, destination, shown });
        }
        graph.seen = seen;
        graph.seen.sort_by_cached_key(|seen| (seen.source, seen.destination, seen.key.protocol as u8));
        graph
    }

    fn node(&mut self, who: &Who, called: Option<&Asked>, grouping: Grouping) -> usize {
        let node = identify(who, called, grouping);
        let number = *self.by_id.entry(Arc::clone(&node.id)).or_insert_with(|| {
            self.nodes.push(node.clone_empty());
            self.nodes.len() - 1
        });
        if let Some(known) = self.nodes.get_mut(number) {
            known.kind = known.kind.min(node.kind);
            if !who.name.is_empty() && known.kind != NodeKind::Other && !known.workloads.contains(&who.name) {
                known.workloads.insert(who.name.clone());
            }
            if let Some(host) = called.map(|called| &called.host).filter(|host| !host.is_empty())
                && !known.services.contains(host)
            {
                known.services.insert(host.clone());
            }
        }
        number
    }
}

impl NodeSeen {
    fn clone_empty(&self) -> Self {
        Self {
            id: Arc::clone(&self.id),
            kind: self.kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            workloads: BTreeSet::new(),
            services: BTreeSet::new(),
        }
    }
}

/// Who opens TCP connections to whom, as the callers' proxies say it.
fn tunnels(all: &[(Arc<Key>, Arc<Edge>)]) -> HashMap<&Who, BTreeSet<&Who>> {
    let mut tunnels: HashMap<&Who, BTreeSet<&Who>> = HashMap::new();
    let of_callers = all.iter().filter(|(key, _)| key.protocol == Protocol::Tcp && key.reporter == Reporter::Source);
    for (key, _) in of_callers.filter(|(key, _)| key.destination != Who::default()) {
        tunnels.entry(&key.destination).or_default().insert(&key.source);
    }
    tunnels
}

enum Caller<'k> {
    Known(&'k Who),
    /// Each of them counts its connections itself.
    Several,
}

/// The proxy that is called sees bytes of a TCP connection, and nothing in them says whose. They are those of the caller that says it
/// calls this workload; of several callers nobody can tell, and each has counted its own.
fn caller_of<'k>(key: &'k Key, tunnels: &HashMap<&Who, BTreeSet<&'k Who>>) -> Caller<'k> {
    let unknown =
        key.protocol == Protocol::Tcp && key.reporter == Reporter::Destination && key.source == Who::default();
    match tunnels.get(&key.destination).filter(|_| unknown) {
        Some(callers) if callers.len() > 1 => Caller::Several,
        Some(callers) => Caller::Known(callers.first().copied().unwrap_or(&key.source)),
        None => Caller::Known(&key.source),
    }
}

/// By what two reporters' views are one.
fn pair(key: &Key) -> (&Who, &Who, Protocol) {
    (&key.source, &key.destination, key.protocol)
}

fn is_wanted(key: &Key, namespaces: &[String]) -> bool {
    let of = |name: &str| namespaces.iter().any(|wanted| *wanted == *name);
    namespaces.is_empty() || of(&key.source.namespace) || of(&key.destination.namespace) || of(&key.service.namespace)
}

/// Which node somebody belongs to.
fn identify(who: &Who, called: Option<&Asked>, grouping: Grouping) -> NodeSeen {
    let called = called.filter(|called| !called.name.is_empty() || !called.host.is_empty());
    if *who.name == *OTHER {
        return node(NodeKind::Other, OTHER.to_owned(), "", OTHER, "");
    }
    match (grouping, called) {
        (Grouping::Service, Some(called)) => return service(called, who, ""),
        (_, Some(called)) if *who == Who::default() => {
            // A workload may be called as a service is, an application mostly is.
            return service(called, who, if grouping == Grouping::Workload { "service:" } else { "" });
        }
        (_, None) if *who == Who::default() => return node(NodeKind::Unknown, UNKNOWN.to_owned(), "", UNKNOWN, ""),
        (_, Some(_) | None) => {}
    }
    let [namespace, app, name, version] = [&who.namespace, &who.app, &who.name, &who.version].map(|text| plain(text));
    match grouping {
        Grouping::VersionedApp => {
            node(NodeKind::App, format!("{namespace}/{app}/{version}"), &namespace, &app, &version)
        }
        Grouping::App | Grouping::Service => node(NodeKind::App, format!("{namespace}/{app}"), &namespace, &app, ""),
        Grouping::Workload => node(NodeKind::Workload, format!("{namespace}/{name}"), &namespace, &name, ""),
    }
}

fn service(called: &Asked, who: &Who, prefix: &str) -> NodeSeen {
    let name = if called.name.is_empty() { &called.host } else { &called.name };
    let namespace = if called.namespace.is_empty() { &who.namespace } else { &called.namespace };
    let (namespace, name) = (plain(namespace), plain(name));
    node(NodeKind::Service, format!("{namespace}/{prefix}{name}"), &namespace, &name, "")
}

fn node(kind: NodeKind, id: String, namespace: &str, name: &str, version: &str) -> NodeSeen {
    let (workloads, services) = (BTreeSet::new(), BTreeSet::new());
    let id = id.into();
    NodeSeen { id, kind, namespace: namespace.into(), name: name.into(), version: version.into(), workloads, services }
}

/// A part of an id: the characters that hold ids together are not in it.
fn plain(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text.replace(['/', '>'], "_") }
}
