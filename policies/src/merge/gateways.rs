//! Gateways: which routes attach to which listener, for which hosts.
//!
//! # Isolation
//! A request belongs to the most specific listener of its port, and to no other. Here that becomes a property of the data: a
//! listener's host that a more specific listener covers is left out, and every listener with a hostname has an entry for it,
//! even without rules. So the hosts of all listeners of a port are disjoint, and "most specific host wins" is all that remains.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::certificates::Credentials;
use super::http_routes::{Lowering, origin};
use super::listeners::{Listener, Listeners, admits};
use super::order::{self, Placed};
use super::routes::report_unreachable;
use crate::diagnostic::Code;
use crate::dialect::gateway_api::gateway::{GatewayShape, ListenerProtocol, ListenerShape};
use crate::dialect::gateway_api::http_route::{HttpRoute, Parent, ParentKind};
use crate::dialect::gateway_api::tcp_route::{Rule, TcpRoute};
use crate::dialect::gateway_api::tls_route::TlsRoute;
use crate::dialect::{Context, Object};
use crate::head::{Head, Kind};
use crate::ir::gateway::{Gateway, GatewayHost, GatewayListener, GatewayServer};
use crate::ir::tcp::TcpRule;
use crate::ir::tls::{ListenerTls, Termination, TlsMode};
use crate::ir::world::Namespace;
use crate::ir::{ObjectName, PolicySet};
use crate::source::{Span, Spanned};

/// The rules of a listener's hosts, a list for each route, the oldest first.
type Hosts = BTreeMap<Arc<str>, Vec<(Kind, ObjectName, Vec<Placed>)>>;

/// A listener, by its index, with the hosts of a route there.
type ListenerHosts = (usize, Vec<Arc<str>>);

/// The rule of each server's name, with the place of the route's reference.
type Servers = BTreeMap<Arc<str>, (Span, TcpRule)>;

/// Routes by gateway, listener and host.
#[derive(Default)]
pub(super) struct Attached {
    listeners: HashMap<(ObjectName, usize), Hosts>,
    /// For connections: the route that came first.
    tcp: HashMap<(ObjectName, usize), (Span, TcpRule)>,
    /// For connections by the server's name, likewise.
    servers: HashMap<(ObjectName, usize), Servers>,
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
            let with_hosts = candidates.and_then(|candidates| with_hosts(candidates, &spec.hostnames));
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
                let Some(rule) = connections(head, spec.rule.as_ref(), lowering) else { continue };
                let span = parent.name.span;
                match attached.tcp.get(&(gateway.clone(), index)) {
                    None => {
                        attached.tcp.insert((gateway.clone(), index), (span, rule));
                    }
                    Some((_, known)) if known.origin.object == head.name => {}
                    Some((first, _)) => {
                        let what = format!("an older TCPRoute has this listener of gateway {gateway} already");
                        report_taken(what, span, *first, lowering);
                    }
                }
            }
        }
    }
}

/// As [`attach_tcp`], where each server's name has a rule.
pub(super) fn attach_tls(
    routes: &[&Object<TlsRoute>],
    all: &Listeners<'_>,
    lowering: &mut Lowering<'_, '_, '_>,
    attached: &mut Attached,
) {
    for Object { head, spec } in routes {
        for parent in &spec.parents {
            let span = parent.name.span;
            if parent.kind == ParentKind::Service {
                lowering
                    .cx
                    .report
                    .add(Code::NotAttached, span, "a TLSRoute does not attach to a service")
                    .say("the route has no effect here")
                    .help("its parents are Gateways; connections inside the mesh are shared out by a TCPRoute");
                continue;
            }
            let Some((gateway, candidates)) = candidates(head, parent, all, lowering) else { continue };
            let with_hosts = candidates.and_then(|candidates| with_hosts(candidates, &spec.hostnames));
            for (index, hosts) in attachable(with_hosts, &gateway, parent, lowering) {
                let Some(rule) = connections(head, spec.rule.as_ref(), lowering) else { continue };
                let servers = attached.servers.entry((gateway.clone(), index)).or_default();
                for host in hosts {
                    match servers.get(&host) {
                        None => {
                            servers.insert(host, (span, rule.clone()));
                        }
                        Some((_, known)) if known.origin.object == head.name => {}
                        Some((first, _)) => {
                            let what = format!("an older TLSRoute has {host} at this listener of gateway {gateway}");
                            report_taken(what, span, *first, lowering);
                        }
                    }
                }
            }
        }
    }
}

fn connections(head: &Head, rule: Option<&Rule>, lowering: &mut Lowering<'_, '_, '_>) -> Option<TcpRule> {
    let rule = rule?;
    let split = lowering.split(head, &rule.backends, &head.name.namespace)?;
    Some(TcpRule { origin: lowering.cx.origin(head, rule.span), split })
}

/// It is accepted all the same: were the older one gone, this one would have the place.
fn report_taken(what: String, span: Span, first: Span, lowering: &mut Lowering<'_, '_, '_>) {
    lowering
        .cx
        .report
        .add(Code::UnreachableRule, span, what)
        .say("no effect here")
        .also(first, "this one counts")
        .help("put the backends of both into one route, or open another port");
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
fn with_hosts(
    candidates: Vec<(usize, Listener<'_>)>,
    hostnames: &[Spanned<Arc<str>>],
) -> Result<Vec<ListenerHosts>, String> {
    let with_hosts: Vec<ListenerHosts> = candidates
        .into_iter()
        .map(|(index, listener)| {
            (index, hosts(listener.shape.hostname.as_ref().map(|hostname| &*hostname.value), hostnames))
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
fn hosts(listener: Option<&str>, hostnames: &[Spanned<Arc<str>>]) -> Vec<Arc<str>> {
    if hostnames.is_empty() {
        return vec![Arc::from(listener.unwrap_or("*"))];
    }
    let mut hosts: Vec<Arc<str>> =
        hostnames.iter().filter_map(|hostname| intersection(listener, &hostname.value)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// What both names cover: the more specific one.
pub(super) fn intersection(listener: Option<&str>, route: &str) -> Option<Arc<str>> {
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
    credentials: &Credentials<'_>,
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
            let mut servers = attached.servers.remove(&key).unwrap_or_default();
            servers.retain(|host, _| !taken_by_another(host, shape, of_gateway));
            let speaks_http = matches!(shape.protocol, ListenerProtocol::Http | ListenerProtocol::Https);
            // Nobody takes what would arrive there, so it is not opened.
            if !speaks_http && tcp.is_none() && servers.is_empty() {
                continue;
            }
            let Ok(tls) = tls(head, spec, shape, credentials, cx) else { continue };
            let mut hosts = attached.listeners.remove(&key).unwrap_or_default();
            hosts.retain(|host, _| !taken_by_another(host, shape, of_gateway));
            if let (Some(hostname), true) = (&shape.hostname, speaks_http) {
                hosts.entry(Arc::clone(&hostname.value)).or_default();
            }
            warn_of_other_names(shape, tls.as_ref(), hosts.keys().chain(servers.keys()), credentials, cx);
            let hosts = hosts
                .into_iter()
                .map(|(host, lists)| {
                    let placed = order::merge(lists.into_iter().map(|(_, _, rules)| rules).collect());
                    report_unreachable(&placed, &mut unreachable, cx);
                    GatewayHost { host, rules: placed.into_iter().map(|placed| placed.entry).collect() }
                })
                .collect();
            let servers = servers.into_iter().map(|(name, (_, rule))| GatewayServer { name, rule }).collect();
            let hostname = shape.hostname.as_ref().map(|hostname| Arc::clone(&hostname.value));
            let (name, port) = (listener.name(), shape.port.value);
            listeners.push(GatewayListener { name, port, hosts, hostname, tcp, servers, tls });
        }
        let gateway =
            Gateway { name: head.name.clone(), origin: origin(head, cx), addresses: spec.addresses.clone(), listeners };
        set.gateways.insert(head.name.clone(), gateway);
    }
}

/// What a listener does with TLS; `Err` when it cannot be opened, which is reported. Less than what was asked for is never
/// opened: without the roots that callers must lead to, nobody is let in.
fn tls(
    head: &Head,
    gateway: &GatewayShape,
    shape: &ListenerShape,
    credentials: &Credentials<'_>,
    cx: &mut Context<'_>,
) -> Result<Option<ListenerTls>, ()> {
    let Some(tls) = &shape.tls else { return Ok(None) };
    let origin = cx.origin(head, tls.span);
    if tls.passthrough {
        return Ok(Some(ListenerTls { origin, mode: TlsMode::Passthrough }));
    }
    let certificates: Vec<_> =
        tls.certificates.iter().filter_map(|reference| credentials.of(reference)).cloned().collect();
    if let Some(reference) = tls.certificates.get(1) {
        let message = format!("listener `{}` shows its first certificate alone", shape.name.value);
        cx.report
            .add(Code::FieldWithoutEffect, reference.name.span, message)
            .help("give the hosts of the others listeners of their own, with `hostname`");
    }
    let asked = gateway.frontend.of(shape.port.value).first();
    let clients = asked.and_then(|reference| credentials.of(reference)).cloned();
    let why = if certificates.is_empty() {
        "none of its certificates can be had"
    } else if asked.is_some() && clients.is_none() {
        "the roots that its callers must lead to cannot be had"
    } else {
        let mode = TlsMode::Terminate(Termination { certificates, clients, version_min: None });
        return Ok(Some(ListenerTls { origin, mode }));
    };
    let message = format!("listener `{}` is not opened: {why}", shape.name.value);
    cx.report.add(Code::ListenerNotServed, shape.name.span, message).help("mend what is said of them");
    Err(())
}

/// Callers that ask for a name check that the certificate is for it.
fn warn_of_other_names<'h>(
    shape: &ListenerShape,
    tls: Option<&ListenerTls>,
    hosts: impl Iterator<Item = &'h Arc<str>>,
    credentials: &Credentials<'_>,
    cx: &mut Context<'_>,
) {
    let Some(ListenerTls { mode: TlsMode::Terminate(Termination { certificates, .. }), .. }) = tls else { return };
    let others: Vec<&str> =
        hosts.map(|host| &**host).filter(|host| *host != "*" && !credentials.cover(certificates, host)).collect();
    let Some(reference) = shape.certificates().first().filter(|_| !others.is_empty()) else { return };
    let message = format!("no certificate of listener `{}` is for {}", shape.name.value, shortest(&others));
    cx.report
        .add(Code::CertificateOfAnother, reference.name.span, message)
        .also(shape.name.span, "the listener")
        .help("have one made that names it, or refer to a further certificate");
}

/// The first few of some names.
fn shortest(names: &[&str]) -> String {
    match names.get(..3) {
        Some(first) if names.len() > 3 => format!("{} and {} more hosts", first.join(", "), names.len() - 3),
        _ => names.join(", "),
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
