//! Rules as routes, and routes as the virtual hosts of sidecars, gateways and gRPC clients.
//!
//! # No catch-all
//! A sidecar knows the hosts of the mesh and nothing else. A host it does not know is 404: sending it anywhere would be
//! a guess, and a misspelt name would look like a slow network.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_policies::ir::gateway::{Gateway, GatewayHost};
use tidegate_policies::ir::route::{
    HeaderMatch, PathMatch, RequestMatch, RouteEntry, RouteRule, RuleAction, StringMatch,
};
use tidegate_policies::ir::world::{Protocol, Service, ServicePort};
use tidegate_policies::ir::{MeshRoutes, ObjectName};
use tidegate_xds::name::outbound_cluster;
use tidegate_xds::resource::RouteConfiguration;
use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{
    ClusterSpecifier, DirectResponse, Forward, HeaderMutations, HostRewrite, PathMatcher, PathRewrite, Route,
    RouteAction, RouteMatch, VirtualHost,
};

use super::cluster::host;
use super::header::{Values, header_mutations};
use super::split::{Shares, shares};
use super::{name, rewrite, timeout};
use crate::world::{ClientClass, Reader};

/// The name of the route to a service that no rule speaks of.
const DEFAULT_ROUTE: &str = "default";
/// What Gateway API answers for a rule whose backends do not exist.
const INVALID_BACKEND_STATUS: u16 = 500;
/// What the proxy answers when a cluster is gone: Envoy's default.
const CLUSTER_NOT_FOUND_STATUS: u16 = 503;
/// The port that a host name without one means.
const HTTP_PORT: u16 = 80;

/// For whom routes are written.
#[derive(Clone, Copy, Debug)]
struct Context<'c> {
    /// Whose rules count.
    client: &'c ClientClass,
    /// The port that the client dials: of the service, or of the gateway's listener.
    port: u16,
    /// Proxyless gRPC clients read `max_stream_duration` where proxies read `timeout`.
    grpc: bool,
    /// The listener's port as far as redirects name it; inside the mesh they keep the request's.
    listener_port: Option<u16>,
}

/// The virtual hosts of one service for one class of clients: one for each HTTP port.
pub fn service_hosts(name: &ObjectName, client: &ClientClass, reader: &Reader<'_>) -> Vec<VirtualHost> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    let http_ports: Vec<&ServicePort> = http_ports(service).collect();
    let hosts = http_ports.iter().map(|port| {
        let portless = port.port == HTTP_PORT || (http_ports.len() == 1);
        let context = Context { client, port: port.port, grpc: false, listener_port: None };
        VirtualHost {
            name: name::host_port(&host(service), port.port),
            domains: domains(service, port.port, portless, client),
            routes: service_routes(service, port, context, reader),
            ..VirtualHost::default()
        }
    });
    hosts.collect()
}

/// The sidecar's outbound routes: all hosts, in the order given. A domain belongs to the first that claims it.
pub fn outbound<'h>(hosts: impl IntoIterator<Item = &'h VirtualHost>) -> RouteConfiguration {
    let mut claimed: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut virtual_hosts = Vec::new();
    for host in hosts {
        let domains: Vec<Arc<str>> = host.domains.iter().filter(|d| claimed.insert((*d).clone())).cloned().collect();
        if !domains.is_empty() {
            virtual_hosts.push(VirtualHost { domains, ..host.clone() });
        }
    }
    RouteConfiguration { name: name::OUTBOUND.into(), virtual_hosts, ..RouteConfiguration::default() }
}

/// The routes that gRPC clients read: one configuration for each HTTP port of a service.
pub fn grpc(service: &ObjectName, client: &ClientClass, reader: &Reader<'_>) -> Vec<RouteConfiguration> {
    let Some(service) = reader.service(service) else { return Vec::new() };
    let configurations = http_ports(service).map(|port| {
        let context = Context { client, port: port.port, grpc: true, listener_port: None };
        let only = VirtualHost {
            name: name::host_port(&host(service), port.port),
            domains: vec!["*".into()],
            routes: service_routes(service, port, context, reader),
            ..VirtualHost::default()
        };
        RouteConfiguration {
            name: name::grpc_routes(&host(service), port.port),
            virtual_hosts: vec![only],
            ..RouteConfiguration::default()
        }
    });
    configurations.collect()
}

/// The routes of a gateway: one configuration for each port that it listens on.
pub fn gateway(name: &ObjectName, reader: &Reader<'_>) -> Vec<RouteConfiguration> {
    let Some(gateway) = reader.gateway(name) else { return Vec::new() };
    gateway_ports(gateway).into_iter().map(|port| gateway_port(gateway, port, reader)).collect()
}

/// The distinct ports of a gateway, in order.
pub fn gateway_ports(gateway: &Gateway) -> BTreeSet<u16> {
    gateway.listeners.iter().map(|l| l.port).collect()
}

/// The one route of an inbound listener: everything goes to the application.
pub fn inbound(port: u16, cluster: Arc<str>) -> RouteConfiguration {
    let route = Route {
        name: DEFAULT_ROUTE.into(),
        matches: everything(),
        action: RouteAction::Forward(Box::new(plain_forward(ClusterSpecifier::Cluster(cluster)))),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        source: None,
    };
    let only = VirtualHost {
        name: name::inbound(port),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    RouteConfiguration { name: name::inbound(port), virtual_hosts: vec![only], ..RouteConfiguration::default() }
}

/// The rules that apply to calls of one client class to one port of a service; `None` when there are none at all, and
/// the service is called plainly. A client's own (consumer) rules replace the service's; rules for one port hold those for all
/// ports already. What is said for all ports is said of HTTP.
pub(super) fn rules_for<'w>(
    routes: &'w [MeshRoutes],
    port: &ServicePort,
    client: &ClientClass,
) -> Option<&'w [RouteEntry]> {
    let of_port = |r: &&MeshRoutes| r.port.map_or(port.protocol != Protocol::Tcp, |p| p == port.port);
    let for_client = |r: &&MeshRoutes| r.consumer_namespace.is_none() || r.consumer_namespace == client.namespace;
    let fitting = routes.iter().filter(of_port).filter(for_client);
    let best = fitting.max_by_key(|r| (r.consumer_namespace.is_some(), r.port.is_some()));
    best.map(|r| r.rules.as_slice())
}

fn http_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.ports.iter().filter(|p| matches!(p.protocol, Protocol::Http | Protocol::Http2))
}

/// The names under which clients of a class call a port of a service.
fn domains(service: &Service, port: u16, portless: bool, client: &ClientClass) -> Vec<Arc<str>> {
    let ObjectName { namespace, name } = &service.name;
    let mut names: Vec<String> = service.hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
    // Only names inside the cluster have short forms; a service entry's host is what it is.
    if names.first().is_some_and(|host| host.starts_with(&format!("{name}.{namespace}.svc"))) {
        names.push(format!("{name}.{namespace}.svc"));
        names.push(format!("{name}.{namespace}"));
        if client.namespace.as_ref() == Some(namespace) {
            names.push(name.to_string());
        }
    }
    let mut seen = BTreeSet::new();
    let forms = names.into_iter().flat_map(|host| {
        let bare = portless.then(|| host.clone());
        bare.into_iter().chain(std::iter::once(format!("{host}:{port}")))
    });
    forms.filter(|form| seen.insert(form.clone())).map(Arc::from).collect()
}

fn service_routes(service: &Service, port: &ServicePort, context: Context<'_>, reader: &Reader<'_>) -> Vec<Route> {
    match rules_for(reader.routes(&service.name), port, context.client) {
        Some(rules) => rules.iter().flat_map(|entry| routes_of(entry, context, reader)).collect(),
        None => {
            let cluster = outbound_cluster(port.port, None, &host(service));
            let forward = plain_forward(ClusterSpecifier::Cluster(cluster));
            vec![Route {
                name: DEFAULT_ROUTE.into(),
                matches: everything(),
                action: RouteAction::Forward(Box::new(forward)),
                request_headers: HeaderMutations::default(),
                response_headers: HeaderMutations::default(),
                source: None,
            }]
        }
    }
}

fn gateway_port(gateway: &Gateway, port: u16, reader: &Reader<'_>) -> RouteConfiguration {
    let client = ClientClass { namespace: Some(gateway.name.namespace.clone()), ..ClientClass::default() };
    let context = Context { client: &client, port, grpc: false, listener_port: Some(port) };
    let mut virtual_hosts: Vec<VirtualHost> = Vec::new();
    for GatewayHost { host, rules } in gateway.listeners.iter().filter(|l| l.port == port).flat_map(|l| &l.hosts) {
        let host: Arc<str> = host.to_ascii_lowercase().into();
        let routes = rules.iter().flat_map(|entry| routes_of(entry, context, reader));
        // Two listeners of one port may serve the same host; it stays one virtual host.
        match virtual_hosts.iter_mut().find(|v| v.domains.contains(&host)) {
            Some(known) => known.routes.extend(routes),
            None => virtual_hosts.push(VirtualHost {
                name: name::host_port(&host, port),
                domains: vec![host],
                routes: routes.collect(),
                ..VirtualHost::default()
            }),
        }
    }
    RouteConfiguration {
        name: name::gateway(port),
        virtual_hosts,
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

/// The routes of one rule under one match: none when it is for other clients or another port, two when a part of a
/// split does not exist.
fn routes_of(entry: &RouteEntry, context: Context<'_>, reader: &Reader<'_>) -> Vec<Route> {
    let RouteEntry { matches, rule } = entry;
    if matches.port.is_some_and(|p| p != context.port) || !context.client.admits(&matches.client) {
        return Vec::new();
    }
    let values = Values::of(rule);
    let route = |fraction: Option<Fraction>, action: RouteAction| Route {
        name: rule.name.clone(),
        matches: RouteMatch { fraction, ..route_match(matches) },
        action,
        request_headers: header_mutations(&rule.request_headers, values),
        response_headers: header_mutations(&rule.response_headers, values),
        source: Some(format!("{}:{}", rule.origin.file, rule.origin.line).into()),
    };
    match &rule.action {
        RuleAction::Split(split) => match shares(split, values, reader) {
            Shares { target: None, .. } => vec![route(None, invalid_backend())],
            Shares { target: Some((clusters, rewrite)), invalid } => {
                let lost = invalid.map(|fraction| route(Some(fraction), invalid_backend()));
                let forward = forward(rule, &matches.path, clusters, rewrite, context);
                lost.into_iter().chain([route(None, RouteAction::Forward(Box::new(forward)))]).collect()
            }
        },
        RuleAction::Redirect(redirect) => {
            vec![route(
                None,
                RouteAction::Redirect(Box::new(rewrite::redirect(redirect, &matches.path, context.listener_port))),
            )]
        }
        RuleAction::DirectResponse { status, body } => {
            let response = DirectResponse { status: *status, body: body.as_bytes().into() };
            vec![route(None, RouteAction::DirectResponse(response))]
        }
    }
}

fn invalid_backend() -> RouteAction {
    RouteAction::DirectResponse(DirectResponse { status: INVALID_BACKEND_STATUS, body: Arc::from([].as_slice()) })
}

fn everything() -> RouteMatch {
    RouteMatch {
        path: PathMatcher::Prefix { prefix: "/".into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    }
}

fn plain_forward(cluster: ClusterSpecifier) -> Forward {
    Forward {
        cluster,
        cluster_not_found_status: CLUSTER_NOT_FOUND_STATUS,
        path_rewrite: PathRewrite::Keep,
        host_rewrite: HostRewrite::Keep,
        append_x_forwarded_host: false,
        timeout: None,
        idle_timeout: None,
        max_stream_duration: None,
        grpc_timeout_max: None,
        upgrades: Vec::new(),
        retry: None,
        mirrors: Vec::new(),
        hash_policy: Vec::new(),
    }
}

fn forward(
    rule: &RouteRule,
    path: &PathMatch,
    cluster: ClusterSpecifier,
    destination_host: HostRewrite,
    context: Context<'_>,
) -> Forward {
    let limit = timeout::request_timeout(&rule.timeouts);
    let host_rewrite = match destination_host {
        HostRewrite::Keep => rule.host_rewrite.clone().map_or(HostRewrite::Keep, HostRewrite::Literal),
        chosen => chosen,
    };
    Forward {
        path_rewrite: rewrite::path_rewrite(&rule.path_rewrite, path, Values::of(rule)),
        host_rewrite,
        timeout: limit,
        max_stream_duration: limit.filter(|_| context.grpc),
        ..plain_forward(cluster)
    }
}

fn route_match(matches: &RequestMatch) -> RouteMatch {
    let pseudo = [(":method", &matches.method), (":scheme", &matches.scheme), (":authority", &matches.authority)];
    let pseudo = pseudo.into_iter().filter_map(|(name, wanted)| {
        Some(HeaderMatcher {
            name: name.into(),
            condition: HeaderCondition::Value(string_matcher(wanted.as_ref()?)),
            invert: false,
            missing_as_empty: false,
        })
    });
    let headers = matches.headers.iter().map(|(name, wanted)| header_matcher(name, wanted));
    let parameters = matches.query_parameters.iter().flat_map(|(name, wanted)| query_parameter_matcher(name, wanted));
    RouteMatch {
        path: path_matcher(&matches.path),
        headers: pseudo.chain(headers).collect(),
        query_parameters: parameters.collect(),
        grpc: false,
        fraction: None,
    }
}

fn path_matcher(path: &PathMatch) -> PathMatcher {
    match path {
        PathMatch::Any => everything().path,
        PathMatch::Exact { value, ignore_case } => {
            PathMatcher::Exact { path: value.clone(), case_sensitive: !ignore_case }
        }
        PathMatch::StringPrefix { value, ignore_case } => {
            PathMatcher::Prefix { prefix: value.clone(), case_sensitive: !ignore_case }
        }
        PathMatch::SegmentPrefix(prefix) => {
            PathMatcher::SeparatedPrefix { prefix: prefix.clone(), case_sensitive: true }
        }
        PathMatch::Regex(pattern) => PathMatcher::Regex(pattern.clone()),
    }
}

fn string_matcher(wanted: &StringMatch) -> StringMatcher {
    match wanted {
        StringMatch::Exact(value) => StringMatcher::Exact { value: value.clone(), ignore_case: false },
        StringMatch::Prefix(value) => StringMatcher::Prefix { value: value.clone(), ignore_case: false },
        StringMatch::Regex(pattern) => StringMatcher::Regex(pattern.clone()),
    }
}

fn header_matcher(name: &Arc<str>, wanted: &HeaderMatch) -> HeaderMatcher {
    let (condition, invert) = match wanted {
        HeaderMatch::Present => (HeaderCondition::Present(true), false),
        HeaderMatch::Absent => (HeaderCondition::Present(false), false),
        HeaderMatch::Value(value) => (HeaderCondition::Value(string_matcher(value)), false),
        HeaderMatch::NotValue(value) => (HeaderCondition::Value(string_matcher(value)), true),
    };
    // An inverted matcher does not hold for a missing header unless that counts as an empty value.
    HeaderMatcher { name: name.clone(), condition, invert, missing_as_empty: invert }
}

/// xDS cannot negate a query parameter's value; no dialect asks for it, and such a condition would be dropped here.
fn query_parameter_matcher(name: &Arc<str>, wanted: &HeaderMatch) -> Option<QueryParameterMatcher> {
    let condition = match wanted {
        HeaderMatch::Present => QueryParameterCondition::Present(true),
        HeaderMatch::Absent => QueryParameterCondition::Present(false),
        HeaderMatch::Value(value) => QueryParameterCondition::Value(string_matcher(value)),
        HeaderMatch::NotValue(_) => return None,
    };
    Some(QueryParameterMatcher { name: name.clone(), condition })
}
