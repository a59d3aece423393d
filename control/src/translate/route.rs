//! Rules as routes, and routes as the virtual hosts of sidecars, gateways and gRPC clients.
//!
//! # No catch-all
//! A sidecar knows the hosts of the mesh and nothing else. A host it does not know is 404: sending it anywhere would be
//! a guess, and a misspelt name would look like a slow network.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_policies::ir::gateway::{Gateway, GatewayHost, GatewayListener};
use tidegate_policies::ir::route::{Backend, PathMatch, RouteEntry, RouteRule, RuleAction, RulePolicies};
use tidegate_policies::ir::timeout::Timeouts;
use tidegate_policies::ir::tls::{ListenerTls, TlsMode};
use tidegate_policies::ir::world::{Protocol, Service, ServicePort, Workload, WorkloadPort};
use tidegate_policies::ir::{MeshRoutes, ObjectName};
use tidegate_xds::name::{inbound_cluster, outbound_cluster};
use tidegate_xds::resource::RouteConfiguration;
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{
    ClusterSpecifier, DirectResponse, Forward, HostRewrite, Policies, Route, RouteAction, RouteMatch, VirtualHost,
};

use super::cluster::host;
use super::governing::{Said, Scene, govern};
use super::header::{Values, header_mutations};
use super::matching::{everything, route_match};
use super::split::{Shares, shares};
use super::{name, origin, rate_limit, rewrite, written};
use crate::world::{ClientClass, Reader};

/// The name of the route to a service that no rule speaks of.
const DEFAULT_ROUTE: &str = "default";
/// What Gateway API answers for a rule whose backends do not exist.
const INVALID_BACKEND_STATUS: u16 = 500;
/// The name of the route for hosts that a connection is not for.
const MISDIRECTED_ROUTE: &str = "misdirected";
/// What is answered to requests for a host that the connection is not for.
const MISDIRECTED_STATUS: u16 = 421;
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
    /// The service that is called, inside the mesh.
    called: Option<&'c ObjectName>,
    /// At which listener of a gateway; inside the mesh, redirects keep the request's port.
    arrival: Option<rewrite::Arrival>,
}

/// The virtual hosts of one service for one class of clients: one for each HTTP port.
pub fn service_hosts(name: &ObjectName, client: &ClientClass, reader: &Reader<'_>) -> Vec<VirtualHost> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    let http_ports: Vec<&ServicePort> = http_ports(service).collect();
    let hosts = http_ports.iter().map(|port| {
        let portless = port.port == HTTP_PORT || (http_ports.len() == 1);
        let context = Context { client, port: port.port, grpc: false, called: Some(name), arrival: None };
        VirtualHost {
            name: name::host_port(&host(service), port.port),
            domains: domains(service, port.port, portless, client),
            routes: service_routes(service, port, context, reader),
            written: match rules_for(reader.routes(name), port, client) {
                Some(rules) => written::of_rules(rules, client, reader),
                None => written::of_backends([&itself(service, port)], client, reader),
            },
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
pub fn grpc(name: &ObjectName, client: &ClientClass, reader: &Reader<'_>) -> Vec<RouteConfiguration> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    let configurations = http_ports(service).map(|port| {
        let context = Context { client, port: port.port, grpc: true, called: Some(name), arrival: None };
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

/// The routes of a gateway: one configuration for each port that speaks HTTP, and one for each listener behind TLS.
pub fn gateway(name: &ObjectName, reader: &Reader<'_>) -> Vec<RouteConfiguration> {
    let Some(gateway) = reader.gateway(name) else { return Vec::new() };
    let plain = |listener: &&GatewayListener| listener.tls.is_none() && listener.tcp.is_none();
    let ports: BTreeSet<u16> = gateway.listeners.iter().filter(plain).map(|l| l.port).collect();
    let encrypted = gateway.listeners.iter().filter(|listener| is_https(listener));
    let of_ports = ports.into_iter().map(|port| gateway_port(gateway, port, reader));
    of_ports.chain(encrypted.map(|listener| gateway_listener(gateway, listener, reader))).collect()
}

/// Whether HTTP is spoken within TLS that ends here.
pub(super) fn is_https(listener: &GatewayListener) -> bool {
    let ends_here = |tls: &ListenerTls| matches!(tls.mode, TlsMode::Terminate(_));
    listener.tls.as_ref().is_some_and(ends_here) && listener.tcp.is_none() && listener.servers.is_empty()
}

/// The distinct ports of a gateway, in order.
pub fn gateway_ports(gateway: &Gateway) -> BTreeSet<u16> {
    gateway.listeners.iter().map(|l| l.port).collect()
}

/// The routes of a workload's inbound listeners.
pub fn inbound(name: &ObjectName, reader: &Reader<'_>) -> Vec<RouteConfiguration> {
    let Some(workload) = reader.workload(name) else { return Vec::new() };
    let speaks_http = |port: &&WorkloadPort| port.application.is_some() && port.protocol != Protocol::Tcp;
    workload.ports.iter().filter(speaks_http).map(|port| inbound_port(workload, port.port, reader)).collect()
}

/// The one route of an inbound listener: everything goes to the application, unless there is too much of it.
fn inbound_port(workload: &Workload, port: u16, reader: &Reader<'_>) -> RouteConfiguration {
    let mut route = default_route(inbound_cluster(port));
    let limits = rate_limit::of_workload(workload, port, reader);
    let shared = rate_limit::apply(&limits, port, &mut route.filters, &mut route.policies);
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.rate_limits = shared;
    }
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
            let Context { client, port: dialled, grpc, .. } = context;
            let scene = Scene { client, port: dialled, grpc, called: Some(&service.name), values: Values::Literal };
            let nothing = RulePolicies::default();
            let said = Said { timeouts: Timeouts::default(), policies: &nothing };
            govern(default_route(cluster), said, &[(&itself(service, port), 1)], scene, reader)
        }
    }
}

/// A service as the destination of calls that no rule speaks of.
fn itself(service: &Service, port: &ServicePort) -> Backend {
    Backend::Service { service: service.name.clone(), port: port.port, subset: None }
}

fn gateway_port(gateway: &Gateway, port: u16, reader: &Reader<'_>) -> RouteConfiguration {
    let arrival = rewrite::Arrival { port, encrypted: false };
    let plain = gateway.listeners.iter().filter(|listener| listener.port == port && listener.tls.is_none());
    let virtual_hosts = gateway_hosts(gateway, plain.flat_map(|l| &l.hosts), arrival, reader);
    RouteConfiguration {
        name: name::gateway(port),
        virtual_hosts,
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

/// A connection was made for one server's name, with the certificate and the rules of its listener. Requests on it for hosts
/// of another listener are sent back (RFC 9110 section 15.5.20): otherwise a caller could pass by what that one asks.
fn gateway_listener(gateway: &Gateway, listener: &GatewayListener, reader: &Reader<'_>) -> RouteConfiguration {
    let port = listener.port;
    let arrival = rewrite::Arrival { port, encrypted: true };
    let mut virtual_hosts = gateway_hosts(gateway, &listener.hosts, arrival, reader);
    let others = gateway.listeners.iter().filter(|other| other.port == port && other.name != listener.name);
    for other in others.filter(|other| other.tls.is_some()) {
        let host: Arc<str> =
            other.hostname.as_ref().map_or_else(|| "*".into(), |host| host.to_ascii_lowercase().into());
        if !virtual_hosts.iter().any(|known| known.domains.contains(&host)) {
            virtual_hosts.push(VirtualHost {
                name: name::host_port(&host, port),
                domains: vec![host],
                routes: vec![Route { name: MISDIRECTED_ROUTE.into(), ..Route::new(everything(), misdirected()) }],
                ..VirtualHost::default()
            });
        }
    }
    RouteConfiguration {
        name: name::gateway_listener(port, &listener.name),
        virtual_hosts,
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

fn gateway_hosts<'g>(
    gateway: &Gateway,
    hosts: impl IntoIterator<Item = &'g GatewayHost>,
    arrival: rewrite::Arrival,
    reader: &Reader<'_>,
) -> Vec<VirtualHost> {
    let client = ClientClass { namespace: Some(gateway.name.namespace.clone()), ..ClientClass::default() };
    let port = arrival.port;
    let context = Context { client: &client, port, grpc: false, called: None, arrival: Some(arrival) };
    let mut virtual_hosts: Vec<VirtualHost> = Vec::new();
    for GatewayHost { host, rules } in hosts {
        let host: Arc<str> = host.to_ascii_lowercase().into();
        let routes = rules.iter().flat_map(|entry| routes_of(entry, context, reader));
        let written = written::of_rules(rules, &client, reader);
        // Two listeners of one port may serve the same host; it stays one virtual host.
        match virtual_hosts.iter_mut().find(|v| v.domains.contains(&host)) {
            Some(known) => {
                known.routes.extend(routes);
                known.written.extend(written);
            }
            None => virtual_hosts.push(VirtualHost {
                name: name::host_port(&host, port),
                domains: vec![host],
                routes: routes.collect(),
                written,
                ..VirtualHost::default()
            }),
        }
    }
    virtual_hosts
}

/// The routes of one rule under one match: none when it is for other clients or another port, several when a part of a
/// split does not exist or a policy is for a part of the requests.
fn routes_of(entry: &RouteEntry, context: Context<'_>, reader: &Reader<'_>) -> Vec<Route> {
    let RouteEntry { matches, rule } = entry;
    if matches.port.is_some_and(|p| p != context.port) || !context.client.admits(&matches.client) {
        return Vec::new();
    }
    let values = Values::of(rule);
    let mut policies = Policies::new();
    if let Some(by) = &rule.delegated_by {
        origin::note_origin(&mut policies, "delegate", &by.origin);
    }
    let route = |fraction: Option<Fraction>, action: RouteAction| Route {
        name: rule.name.clone(),
        policies: policies.clone(),
        request_headers: header_mutations(&rule.request_headers, values),
        response_headers: header_mutations(&rule.response_headers, values),
        source: Some(format!("{}:{}", rule.origin.file, rule.origin.line).into()),
        ..Route::new(RouteMatch { fraction, ..route_match(matches) }, action)
    };
    let scene =
        Scene { client: context.client, port: context.port, grpc: context.grpc, called: context.called, values };
    let said = Said { timeouts: rule.timeouts, policies: &rule.policies };
    let governed = |action, members: &[(&Backend, u32)]| govern(route(None, action), said, members, scene, reader);
    match &rule.action {
        RuleAction::Split(split) => match shares(split, values, reader) {
            Shares { target: None, .. } => vec![route(None, invalid_backend())],
            Shares { target: Some((clusters, rewrite)), members, invalid } => {
                let lost = invalid.map(|fraction| route(Some(fraction), invalid_backend()));
                let forward = forward(rule, &matches.path, clusters, rewrite);
                lost.into_iter().chain(governed(RouteAction::Forward(Box::new(forward)), &members)).collect()
            }
        },
        RuleAction::Redirect(redirect) => {
            let redirect = rewrite::redirect(redirect, &matches.path, context.arrival);
            governed(RouteAction::Redirect(Box::new(redirect)), &[])
        }
        RuleAction::DirectResponse { status, body } => {
            let response = DirectResponse { status: *status, body: body.as_bytes().into() };
            governed(RouteAction::DirectResponse(response), &[])
        }
    }
}

fn misdirected() -> RouteAction {
    RouteAction::DirectResponse(DirectResponse { status: MISDIRECTED_STATUS, body: Arc::from([].as_slice()) })
}

fn invalid_backend() -> RouteAction {
    RouteAction::DirectResponse(DirectResponse { status: INVALID_BACKEND_STATUS, body: Arc::from([].as_slice()) })
}

fn default_route(cluster: Arc<str>) -> Route {
    let action = RouteAction::Forward(Box::new(plain_forward(ClusterSpecifier::Cluster(cluster))));
    Route { name: DEFAULT_ROUTE.into(), ..Route::new(everything(), action) }
}

fn plain_forward(cluster: ClusterSpecifier) -> Forward {
    Forward { cluster_not_found_status: CLUSTER_NOT_FOUND_STATUS, ..Forward::to(cluster) }
}

fn forward(rule: &RouteRule, path: &PathMatch, cluster: ClusterSpecifier, destination_host: HostRewrite) -> Forward {
    let host_rewrite = match destination_host {
        HostRewrite::Keep => rule.host_rewrite.clone().map_or(HostRewrite::Keep, HostRewrite::Literal),
        chosen => chosen,
    };
    Forward {
        path_rewrite: rewrite::path_rewrite(&rule.path_rewrite, path, Values::of(rule)),
        host_rewrite,
        ..plain_forward(cluster)
    }
}
