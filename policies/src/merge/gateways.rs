//! Gateways: which routes attach to which listener, for which hosts.
//!
//! # Isolation
//! A request belongs to the most specific listener of its port, and to no other. Here that becomes a property of the data: a
//! listener's host that a more specific listener covers is left out, and every listener with a hostname has an entry for it,
//! even without rules. So the hosts of all listeners of a port are disjoint, and "most specific host wins" is all that remains.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::http_routes::{Lowering, origin};
use super::order::{self, Placed};
use super::routes::report_unreachable;
use crate::diagnostic::Code;
use crate::dialect::gateway_api::gateway::{GatewayShape, ListenerShape, Namespaces};
use crate::dialect::gateway_api::http_route::{HttpRoute, Parent, ParentKind};
use crate::dialect::{Context, Object};
use crate::head::Head;
use crate::ir::gateway::{Gateway, GatewayHost, GatewayListener};
use crate::ir::world::{Labels, Namespace};
use crate::ir::{ObjectName, PolicySet};

/// The rules of a listener's hosts, a list for each route, the oldest first.
type Hosts = BTreeMap<Arc<str>, Vec<(ObjectName, Vec<Placed>)>>;

/// A listener, by its index, with the hosts of a route there.
type ListenerHosts = (usize, Vec<Arc<str>>);

/// Routes by gateway, listener and host.
#[derive(Default)]
pub(super) struct Attached {
    listeners: HashMap<(ObjectName, usize), Hosts>,
}

/// `routes` are given from the oldest to the newest.
pub(super) fn attach(
    routes: &[&Object<HttpRoute>],
    gateways: &[Object<GatewayShape>],
    lowering: &mut Lowering<'_, '_, '_>,
) -> Attached {
    let by_name: HashMap<&ObjectName, &GatewayShape> =
        gateways.iter().map(|gateway| (&gateway.head.name, &gateway.spec)).collect();
    let mut attached = Attached::default();
    for Object { head, spec } in routes {
        for parent in spec.parents.iter().filter(|parent| parent.kind == ParentKind::Gateway) {
            let namespace = parent.namespace.as_ref().unwrap_or(&head.name.namespace);
            let name = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(&parent.name.value) };
            let Some(gateway) = by_name.get(&name) else {
                let finding = lowering.cx.report.add(
                    Code::UnknownParent,
                    parent.name.span,
                    format!("there is no gateway {name}"),
                );
                finding.say("the route has no effect here").help("add the Gateway, or correct name and namespace");
                continue;
            };
            let found = listeners(head, spec, parent, &name, gateway, &lowering.set.namespaces);
            if let Err(why) = &found {
                lowering
                    .cx
                    .report
                    .add(
                        Code::NotAttached,
                        parent.name.span,
                        format!("the route does not attach to gateway {name}: {why}"),
                    )
                    .say("no effect here");
            }
            let rules = lowering.route(head, spec, &head.name.namespace);
            for (index, hosts) in found.unwrap_or_default() {
                let listener = attached.listeners.entry((name.clone(), index)).or_default();
                for host in hosts {
                    let lists = listener.entry(host).or_default();
                    let known = lists.iter().any(|(known, _)| *known == head.name);
                    if !known && lowering.cx.admits_entries(rules.len(), parent.name.span) {
                        lists.push((head.name.clone(), rules.clone()));
                    }
                }
            }
        }
    }
    attached
}

/// The listeners that the route attaches to, each with the hosts; or why there is none.
fn listeners(
    head: &Head,
    route: &HttpRoute,
    parent: &Parent,
    gateway: &ObjectName,
    shape: &GatewayShape,
    namespaces: &BTreeMap<Arc<str>, Namespace>,
) -> Result<Vec<ListenerHosts>, String> {
    let named =
        |listener: &ListenerShape| parent.section.as_ref().is_none_or(|section| section.value == listener.name.value);
    let ported = |listener: &ListenerShape| parent.port.is_none_or(|port| port.value == listener.port.value);
    let candidates: Vec<(usize, &ListenerShape)> =
        shape.listeners.iter().enumerate().filter(|(_, listener)| named(listener)).collect();
    if let (true, Some(section)) = (candidates.is_empty(), &parent.section) {
        return Err(format!("it has no listener `{}`", section.value));
    }
    let candidates: Vec<_> = candidates.into_iter().filter(|(_, listener)| ported(listener)).collect();
    if candidates.is_empty() {
        return Err("no listener has that port".to_owned());
    }
    let candidates: Vec<_> = candidates.into_iter().filter(|(_, listener)| listener.takes_http_routes).collect();
    if candidates.is_empty() {
        return Err("its `allowedRoutes.kinds` do not admit HTTPRoute".to_owned());
    }
    let labels = namespaces.get(&head.name.namespace).map(|namespace| &namespace.labels);
    let candidates: Vec<_> = candidates
        .into_iter()
        .filter(|(_, listener)| admits(&listener.namespaces, &head.name.namespace, labels, gateway))
        .collect();
    if candidates.is_empty() {
        return Err(format!("its `allowedRoutes.namespaces` do not admit namespace {}", head.name.namespace));
    }
    let with_hosts: Vec<ListenerHosts> = candidates
        .into_iter()
        .map(|(index, listener)| (index, hosts(listener.hostname.as_ref().map(|hostname| &*hostname.value), route)))
        .filter(|(_, hosts)| !hosts.is_empty())
        .collect();
    if with_hosts.is_empty() {
        Err("none of its hostnames fits a listener's hostname".to_owned())
    } else {
        Ok(with_hosts)
    }
}

fn admits(allowed: &Namespaces, namespace: &str, labels: Option<&Labels>, gateway: &ObjectName) -> bool {
    match allowed {
        Namespaces::All => true,
        Namespaces::Nobody => false,
        Namespaces::Same => *gateway.namespace == *namespace,
        Namespaces::Selected(selector) => selector.selects(namespace, labels.unwrap_or(&Labels::new())),
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
    mut attached: Attached,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    let mut unreachable = std::collections::BTreeSet::new();
    for Object { head, spec } in gateways {
        let mut listeners = Vec::new();
        for (index, shape) in spec.listeners.iter().enumerate().filter(|(_, shape)| shape.served) {
            let mut hosts = attached.listeners.remove(&(head.name.clone(), index)).unwrap_or_default();
            hosts.retain(|host, _| !taken_by_another(host, shape, &spec.listeners));
            if let Some(hostname) = &shape.hostname {
                hosts.entry(Arc::clone(&hostname.value)).or_default();
            }
            let hosts = hosts
                .into_iter()
                .map(|(host, lists)| {
                    let placed = order::merge(lists.into_iter().map(|(_, rules)| rules).collect());
                    report_unreachable(&placed, &mut unreachable, cx);
                    GatewayHost { host, rules: placed.into_iter().map(|placed| placed.entry).collect() }
                })
                .collect();
            let hostname = shape.hostname.as_ref().map(|hostname| Arc::clone(&hostname.value));
            listeners.push(GatewayListener {
                name: Arc::clone(&shape.name.value),
                port: shape.port.value,
                hosts,
                hostname,
            });
        }
        let gateway =
            Gateway { name: head.name.clone(), origin: origin(head, cx), addresses: spec.addresses.clone(), listeners };
        set.gateways.insert(head.name.clone(), gateway);
    }
}

/// Whether a more specific listener of the same port covers the host.
fn taken_by_another(host: &str, shape: &ListenerShape, all: &[ListenerShape]) -> bool {
    let own = shape.hostname.as_ref().map_or("*", |hostname| &*hostname.value);
    all.iter().filter(|other| other.served && other.port.value == shape.port.value).any(|other| {
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
