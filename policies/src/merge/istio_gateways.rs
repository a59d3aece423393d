//! Istio's Gateways: servers and the VirtualServices that bind to them become the same listeners that Gateway API's do.
//!
//! # One listener for each host of a server
//! A listener here has one hostname, a server of Istio's has several hosts with one certificate. So each host is a listener of
//! its own, and what holds for Gateway API (which name leads where, and that a stray request is sent back) holds here too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::certificates::Credentials;
use super::gateways::intersection;
use super::http_routes::origin;
use super::order::{self, Placed};
use super::routes::Bound;
use crate::diagnostic::Code;
use crate::dialect::istio::gateway::{IstioGateway, Server, ServerTls};
use crate::dialect::{Context, Object};
use crate::head::Head;
use crate::ir::gateway::{Gateway, GatewayHost, GatewayListener, GatewayServer};
use crate::ir::route::{
    HeaderChanges, PathRewrite, Redirect, RedirectPort, RequestMatch, RouteEntry, RouteRule, RuleAction, RulePolicies,
};
use crate::ir::tcp::TcpRule;
use crate::ir::timeout::Timeouts;
use crate::ir::tls::{ListenerTls, Termination, TlsMode};
use crate::ir::{ObjectName, PolicySet};

pub(super) fn finish(
    gateways: &[Object<IstioGateway>],
    mut bound: Vec<Bound<'_>>,
    credentials: &mut Credentials<'_>,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    bound.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    warn_of_unknown(gateways, &bound, cx);
    for Object { head, spec } in gateways {
        if set.gateways.contains_key(&head.name) {
            cx.report
                .add(Code::NameTaken, head.span, format!("Gateway {} has the name of one of Gateway API", head.name))
                .help("give one of the two another name: a proxy is for a gateway by its name");
            continue;
        }
        let here: Vec<&Bound<'_>> = bound.iter().filter(|bound| binds(bound, &head.name)).collect();
        let mut listeners = Vec::new();
        for server in &spec.servers {
            let Some(tls) = tls(head, server, credentials, cx) else { continue };
            for host in &server.hosts {
                let hostname = (&*host.value != "*").then(|| Arc::clone(&host.value));
                let taken = |l: &GatewayListener| l.port == server.port.value && l.hostname == hostname;
                if listeners.iter().any(taken) {
                    let message = format!("an earlier server has {} at port {}", host.value, server.port.value);
                    cx.report
                        .add(Code::ListenerNotTaken, host.span, message)
                        .say("has no effect")
                        .help("name each host at one server of a port");
                    continue;
                }
                let mut listener = GatewayListener {
                    name: Arc::from(format!("{}/{}", server.name, host.value)),
                    port: server.port.value,
                    hosts: Vec::new(),
                    hostname,
                    tcp: None,
                    servers: Vec::new(),
                    tls: tls.clone(),
                };
                fill(&mut listener, head, server, &here, cx);
                if server.speaks_http || listener.tcp.is_some() || !listener.servers.is_empty() {
                    listeners.push(listener);
                }
            }
        }
        let gateway = Gateway { name: head.name.clone(), origin: origin(head, cx), addresses: Vec::new(), listeners };
        set.gateways.insert(head.name.clone(), gateway);
    }
}

fn binds(bound: &Bound<'_>, gateway: &ObjectName) -> bool {
    bound.spec.binding.gateways.iter().any(|named| full(&named.value, bound.head) == *gateway)
}

fn full(named: &ObjectName, head: &Head) -> ObjectName {
    let own = named.namespace.is_empty();
    ObjectName {
        namespace: Arc::clone(if own { &head.name.namespace } else { &named.namespace }),
        name: Arc::clone(&named.name),
    }
}

fn warn_of_unknown(gateways: &[Object<IstioGateway>], bound: &[Bound<'_>], cx: &mut Context<'_>) {
    for bound in bound {
        for named in &bound.spec.binding.gateways {
            let name = full(&named.value, bound.head);
            if !gateways.iter().any(|gateway| gateway.head.name == name) {
                cx.report
                    .add(Code::UnknownParent, named.span, format!("there is no gateway {name} of Istio's"))
                    .say("the rules have no effect there")
                    .help("add the Gateway (networking.istio.io/v1), or correct the name");
            }
        }
    }
}

/// What a server does with TLS; `None` when its certificate cannot be had, which is reported.
fn tls(
    head: &Head,
    server: &Server,
    credentials: &mut Credentials<'_>,
    cx: &mut Context<'_>,
) -> Option<Option<ListenerTls>> {
    let Some(ServerTls { span, credential, mutual, version_min }) = &server.tls else { return Some(None) };
    let mode = match credential {
        None => TlsMode::Passthrough,
        Some(credential) => {
            let (certificate, clients) = credentials.of_server(head, credential, *mutual, cx)?;
            TlsMode::Terminate(Termination { certificates: vec![certificate], clients, version_min: *version_min })
        }
    };
    Some(Some(ListenerTls { origin: cx.origin(head, *span), mode }))
}

/// The rules of a host of a server.
fn fill(listener: &mut GatewayListener, head: &Head, server: &Server, here: &[&Bound<'_>], cx: &mut Context<'_>) {
    let own = listener.hostname.clone();
    let port_fits = |port: Option<u16>| port.is_none_or(|port| port == server.port.value);
    if server.speaks_http {
        let mut hosts: BTreeMap<Arc<str>, Vec<Vec<Placed>>> = BTreeMap::new();
        // The host of the server is there even without rules, so that no other takes its requests.
        hosts.entry(own.clone().unwrap_or_else(|| Arc::from("*"))).or_default();
        for bound in here.iter().filter(|_| !server.redirects) {
            for host in bound.spec.hosts.iter().flatten() {
                let Some(host) = intersection(own.as_deref(), &host.value) else { continue };
                if cx.admits_entries(bound.http.len(), server.span) {
                    hosts.entry(host).or_default().push(bound.http.clone());
                }
            }
        }
        let redirect = server.redirects.then(|| to_https(head, server, cx));
        listener.hosts = hosts
            .into_iter()
            .map(|(host, lists)| {
                let rules = order::merge(lists).into_iter().map(|placed| placed.entry);
                GatewayHost { host, rules: redirect.clone().into_iter().chain(rules).collect() }
            })
            .collect();
        return;
    }
    for bound in here {
        let rules = bound.tls.iter().filter(|_| server.tls.as_ref().is_some_and(|tls| tls.credential.is_none()));
        for (rule, placed) in rules {
            for (names, _) in rule.matches.iter().filter(|(_, port)| port_fits(*port)) {
                for name in names.iter().filter_map(|name| intersection(own.as_deref(), &name.value)) {
                    if !listener.servers.iter().any(|known| known.name == name) {
                        listener.servers.extend(connections(placed).map(|rule| GatewayServer { name, rule }));
                    }
                }
            }
        }
        let ends_here = server.tls.as_ref().is_none_or(|tls| tls.credential.is_some());
        let fits = |ports: &[crate::source::Spanned<u16>]| {
            ports.is_empty() || ports.iter().any(|port| port.value == server.port.value)
        };
        if let (true, None) = (ends_here, &listener.tcp) {
            let first = bound.tcp.iter().find(|(rule, _)| fits(&rule.ports));
            listener.tcp = first.and_then(|(_, placed)| connections(placed));
        }
    }
}

fn connections(placed: &Placed) -> Option<TcpRule> {
    match &placed.entry.rule.action {
        RuleAction::Split(split) => Some(TcpRule { origin: placed.entry.rule.origin.clone(), split: split.clone() }),
        RuleAction::Redirect(_) | RuleAction::DirectResponse { .. } => None,
    }
}

/// `httpsRedirect`: the same URL, by TLS.
fn to_https(head: &Head, server: &Server, cx: &Context<'_>) -> RouteEntry {
    let redirect = Redirect {
        scheme: Some(Arc::from("https")),
        host: None,
        port: RedirectPort::SchemeDefault,
        path: PathRewrite::Keep,
        status: 301,
    };
    let rule = RouteRule {
        origin: cx.origin(head, server.span),
        name: Arc::from("httpsRedirect"),
        action: RuleAction::Redirect(redirect),
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        path_rewrite: PathRewrite::Keep,
        host_rewrite: None,
        timeouts: Timeouts::default(),
        policies: RulePolicies::default(),
        delegated_by: None,
    };
    RouteEntry { matches: RequestMatch::default(), rule: Arc::new(rule) }
}
