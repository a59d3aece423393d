//! Gateways: which routes attach to which listener, for which hosts.
//!
//! # Isolation
//! A request belongs to the most specific listener of its port, and to no other. Here that becomes a property of the data: a
//! listener's host that a more specific listener covers is left out, and every listener with a hostname has an entry for it,
//! even without rules. So the hosts of all listeners of a port are disjoint, and "most specific host wins" is all that remains.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::http_routes::{Lowering, origin};
use super::listeners::{Listener, Listeners, admits};
use super::order::{self, Placed};
use super::routes::report_unreachable;
use crate::diagnostic::Code;
use crate::dialect::gateway_api::gateway::{GatewayShape, ListenerProtocol, ListenerShape};
use crate::dialect::gateway_api::http_route::{HttpRoute, Parent, ParentKind};
use crate::dialect::gateway_api::tcp_route::TcpRoute;
use crate::dialect::{Context, Object};
use crate::head::{Head, Kind};
use crate::ir::gateway::{Gateway, GatewayHost, GatewayListener};
use crate::ir::tcp::TcpRule;
use crate::ir::world::Namespace;
use crate::ir::{ObjectName, PolicySet};
use crate::source::Span;

/// The rules of a listener's hosts, a list for each route, the oldest first.
type Hosts = BTreeMap<Arc<str>, Vec<(Kind, ObjectName, Vec<Placed>)>>;

/// A listener, by its index, with the hosts of a route there.
type ListenerHosts = (usize, Vec<Arc<str>>);

/// Routes by gateway, listener and host.
#[derive(Default)]
pub(super) struct Attached {
    listeners: HashMap<(ObjectName, usize), Hosts>,
    /// For connections: the route that came first.
    tcp: HashMap<(ObjectName, usize), (Span, TcpRule)>,
}

/// `routes` are given from the oldest to the newest.
pub(super) fn attach(
    routes: &[&Object<HttpRoute>],
    all: &Listeners<'_>,
    lowering: &mut Lowering<'_, '_, '_>,
) -> Attached {
    let mut attached = Attached::default();
    for Object { head, spec } in routes {
        for parent in &spec.parents {
            let Some((gateway, candidates)) = candidates(head, parent, all, lowering) else { continue };
            let with_hosts = candidates.and_then(|candidates| with_hosts(candidates, spec));
            let rules = lowering.route(head, spec, &head.name.namespace);
            for (index, hosts) in attachable(with_hosts, &gateway, parent, lowering) {
                let listener = attached.listeners.entry((gateway.clone(), index)).or_default();
                for host in hosts {
                    let lists = listener.entry(host).or_default();
                    let known = lists.iter().any(|(kind, name, _)| *kind == head.kind && *name == head.name);
                    if !known && lowering.cx.admits_entries(rules.len(), parent.name.span) {
                        lists.push((head.kind, head.name.clone(), rules.clone()));
                    }
                }
            }
        }
    }
    attached
}

/// As [`attach`], for connections: a listener has one rule, so the oldest route has it.
pub(super) fn attach_tcp(
    routes: &[&Object<TcpRoute>],
    all: &Listeners<'_>,
    lowering: &mut Lowering<'_, '_, '_>,
    attached: &mut Attached,
) {
    for Object { head, spec } in routes {
        for parent in &spec.parents {
            let Some((gateway, candidates)) = candidates(head, parent, all, lowering) else { continue };
            for (index, _) in attachable(candidates, &gateway, parent, lowering) {
                let Some(rule) = &spec.rule else { continue };
                let Some(split) = lowering.split(head, &rule.backends, &head.name.namespace) else { continue };
                let rule = TcpRule { origin: lowering.cx.origin(head, rule.span), split };
                let span = parent.name.span;
                match attached.tcp.entry((gateway.clone(), index)) {
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert((span, rule));
                    }
                    std::collections::hash_map::Entry::Occupied(entry) if entry.get().1.origin.object == head.name => {}
                    std::collections::hash_map::Entry::Occupied(entry) => {
                        lowering
                            .cx
                            .report
                            .add(
                                // It is accepted all the same: were the older one gone, this one would have the listener.
                                Code::UnreachableRule,
                                span,
                                format!("an older TCPRoute has this listener of gateway {gateway} already"),
                            )
                            .say("no effect here")
                            .also(entry.get().0, "this one counts")
                            .help("put the backends of both into one route, or open another port");
                    }
                }
            }
        }
    }
}

/// The listeners that were found; when there is none, the reason is reported.
fn attachable<T>(
    found: Result<Vec<T>, String>,
    gateway: &ObjectName,
    parent: &Parent,
    lowering: &mut Lowering<'_, '_, '_>,
) -> Vec<T> {
    match found {
        Ok(found) => found,
        Err(why) => {
            let message = format!("the route does not attach to gateway {gateway}: {why}");
            lowering.cx.report.add(Code::NotAttached, parent.name.span, message).say("no effect here");
            Vec::new()
        }
    }
}

type Candidates<'a> = Result<Vec<(usize, Listener<'a>)>, String>;

/// The gateway that a parent means and its listeners that take the route, or why there is none. `None`: the parent is no
/// gateway, or is not there, which is reported.
fn candidates<'a>(
    head: &Head,
    parent: &Parent,
    all: &Listeners<'a>,
    lowering: &mut Lowering<'_, '_, '_>,
) -> Option<(ObjectName, Candidates<'a>)> {
    let namespace = parent.namespace.as_ref().unwrap_or(&head.name.namespace);
    let name = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(&parent.name.value) };
    let (gateway, set, what) = match parent.kind {
        ParentKind::Service => return None,
        ParentKind::Gateway => (Some(&name), None, "Gateway"),
        ParentKind::ListenerSet => (all.gateway_of(&name), Some(&name), "ListenerSet"),
    };
    let found = gateway.and_then(|gateway| Some((gateway, all.of(gateway)?)));
    let Some((gateway, listeners)) = found else {
        let kind = if set.is_some() { "listener set" } else { "gateway" };
        let finding =
            lowering.cx.report.add(Code::UnknownParent, parent.name.span, format!("there is no {kind} {name}"));
        finding.say("the route has no effect here").help(format!("add the {what}, or correct name and namespace"));
        return None;
    };
    let listeners: Vec<(usize, Listener<'a>)> =
        listeners.iter().copied().enumerate().filter(|(_, listener)| listener.set == set).collect();
    Some((gateway.clone(), taking(head, parent, listeners, &lowering.set.namespaces)))
}

/// Those of the listeners that the route may attach to.
fn taking<'a>(
    head: &Head,
    parent: &Parent,
    listeners: Vec<(usize, Listener<'a>)>,
    namespaces: &BTreeMap<Arc<str>, Namespace>,
) -> Candidates<'a> {
    let kind = head.kind.as_str();
    let mut candidates = listeners;
    if let Some(section) = &parent.section {
        candidates.retain(|(_, listener)| section.value == listener.shape.name.value);
        if candidates.is_empty() {
            return Err(format!("it has no listener `{}`", section.value));
        }
    }
    candidates.retain(|(_, listener)| parent.port.is_none_or(|port| port.value == listener.shape.port.value));
    if candidates.is_empty() {
        return Err("no listener has that port".to_owned());
    }
    candidates.retain(|(_, listener)| listener.shape.takes(kind));
    if candidates.is_empty() {
        return Err(format!("its protocol or `allowedRoutes.kinds` do not admit {kind}"));
    }
    let labels = namespaces.get(&head.name.namespace).map(|namespace| &namespace.labels);
    candidates
        .retain(|(_, listener)| admits(&listener.shape.namespaces, &head.name.namespace, labels, listener.namespace));
    if candidates.is_empty() {
        return Err(format!("its `allowedRoutes.namespaces` do not admit namespace {}", head.name.namespace));
    }
    Ok(candidates)
}

/// The listeners with the hosts that the route has there.
fn with_hosts(candidates: Vec<(usize, Listener<'_>)>, route: &HttpRoute) -> Result<Vec<ListenerHosts>, String> {
    let with_hosts: Vec<ListenerHosts> = candidates
        .into_iter()
        .map(|(index, listener)| {
            (index, hosts(listener.shape.hostname.as_ref().map(|hostname| &*hostname.value), route))
        })
        .filter(|(_, hosts)| !hosts.is_empty())
        .collect();
    if with_hosts.is_empty() {
        Err("none of its hostnames fits a listener's hostname".to_owned())
    } else {
        Ok(with_hosts)
    }
}

/// The hosts of a route at a listener.
fn hosts(listener: Option<&str>, route: &HttpRoute) -> Vec<Arc<str>> {
    if route.hostnames.is_empty() {
        return vec![Arc::from(listener.unwrap_or("*"))];
    }
    let mut hosts: Vec<Arc<str>> =
        route.hostnames.iter().filter_map(|hostname| intersection(listener, &hostname.value)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// What both names cover: the more specific one.
fn intersection(listener: Option<&str>, route: &str) -> Option<Arc<str>> {
    let Some(listener) = listener else { return Some(Arc::from(route)) };
    if covers(listener, route) {
        return Some(Arc::from(route));
    }
    covers(route, listener).then(|| Arc::from(listener))
}

/// Whether every host that `inner` stands for is one that `outer` stands for.
fn covers(outer: &str, inner: &str) -> bool {
    match outer.strip_prefix('*') {
        Some("") => true,
        // `*.a.b` covers `x.a.b`, `*.x.a.b` and itself, not `a.b`.
        Some(suffix) => inner.ends_with(suffix),
        None => outer == inner,
    }
}

/// Turns shapes and what is attached to them into gateways.
pub(super) fn finish(
    gateways: &[Object<GatewayShape>],
    all: &Listeners<'_>,
    mut attached: Attached,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    let mut unreachable = std::collections::BTreeSet::new();
    for Object { head, spec } in gateways {
        let of_gateway = all.of(&head.name).unwrap_or_default();
        let mut listeners = Vec::new();
        for (index, listener) in of_gateway.iter().enumerate().filter(|(_, listener)| listener.shape.served()) {
            let shape = listener.shape;
            let key = (head.name.clone(), index);
            let tcp = attached.tcp.remove(&key).map(|(_, rule)| rule);
            // Nobody takes what would arrive there, so it is not opened.
            if shape.protocol == ListenerProtocol::Tcp && tcp.is_none() {
                continue;
            }
            let mut hosts = attached.listeners.remove(&key).unwrap_or_default();
            hosts.retain(|host, _| !taken_by_another(host, shape, of_gateway));
            if let Some(hostname) = &shape.hostname {
                hosts.entry(Arc::clone(&hostname.value)).or_default();
            }
            let hosts = hosts
                .into_iter()
                .map(|(host, lists)| {
                    let placed = order::merge(lists.into_iter().map(|(_, _, rules)| rules).collect());
                    report_unreachable(&placed, &mut unreachable, cx);
                    GatewayHost { host, rules: placed.into_iter().map(|placed| placed.entry).collect() }
                })
                .collect();
            let hostname = shape.hostname.as_ref().map(|hostname| Arc::clone(&hostname.value));
            listeners.push(GatewayListener { name: listener.name(), port: shape.port.value, hosts, hostname, tcp });
        }
        let gateway =
            Gateway { name: head.name.clone(), origin: origin(head, cx), addresses: spec.addresses.clone(), listeners };
        set.gateways.insert(head.name.clone(), gateway);
    }
}

/// Whether a more specific listener of the same port covers the host.
fn taken_by_another(host: &str, shape: &ListenerShape, all: &[Listener<'_>]) -> bool {
    let own = shape.hostname.as_ref().map_or("*", |hostname| &*hostname.value);
    let others = all.iter().map(|listener| listener.shape);
    others.filter(|other| other.served() && other.port.value == shape.port.value).any(|other| {
        let Some(hostname) = &other.hostname else { return false };
        *hostname.value != *own && covers(own, &hostname.value) && covers(&hostname.value, host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_names_below_it_and_not_itself_without_star() {
        assert!(covers("*.example.com", "a.example.com"));
        assert!(covers("*.example.com", "a.b.example.com"));
        assert!(covers("*.example.com", "*.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(!covers("*.example.com", "*.com"));
        assert!(!covers("a.example.com", "*.example.com"));
        assert!(!covers("*.example.com", "badexample.com"));
    }

    #[test]
    fn the_intersection_of_two_names_is_the_more_specific_one() {
        let both = |listener, route| intersection(listener, route).map(|host| host.to_string());
        assert_eq!(both(None, "a.com"), Some("a.com".to_owned()));
        assert_eq!(both(Some("*.com"), "*.a.com"), Some("*.a.com".to_owned()));
        assert_eq!(both(Some("x.a.com"), "*.a.com"), Some("x.a.com".to_owned()));
        assert_eq!(both(Some("x.a.com"), "y.a.com"), None);
    }
}
