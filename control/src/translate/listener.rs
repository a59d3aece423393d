//! Where traffic arrives: at a sidecar, at a gateway, or never, for gRPC clients that route by themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::ObjectName;
use tidegate_policies::ir::gateway::GatewayListener;
use tidegate_policies::ir::route::{PathMatch, RequestMatch, RouteEntry, RuleAction};
use tidegate_policies::ir::split::Split;
use tidegate_policies::ir::tcp::TcpRule;
use tidegate_policies::ir::tls::TlsMode;
use tidegate_policies::ir::world::{Labels, OutboundTcp, Protocol, Sidecar, Workload};
use tidegate_xds::name::{inbound_cluster, outbound_cluster};
use tidegate_xds::resource::Listener;
use tidegate_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, ListenerKind, NetworkFilter, RouteSource,
    ServerHeader, SocketListener, TcpProxy,
};
use tidegate_xds::resource::route::Upgrade;
use tidegate_xds::resource::tls::DownstreamTls;

use super::cluster::host;
use super::endpoint::workload_metadata;
use super::split::cluster_of;
use super::{filter, name, route, tls};
use crate::world::{ClientClass, Reader};

/// The listeners of a workload's sidecar. A workload without one has none.
pub fn sidecar(name: &ObjectName, client: &ClientClass, reader: &Reader<'_>) -> Vec<Listener> {
    let Some(workload) = reader.workload(name) else { return Vec::new() };
    let Some(Sidecar { outbound, outbound_tcp }) = &workload.sidecar else { return Vec::new() };
    let http = http_manager(name::OUTBOUND, RouteSource::Rds(name::OUTBOUND.into()), false);
    let mut listeners = vec![socket(
        name::OUTBOUND.into(),
        *outbound,
        Direction::Outbound,
        vec![chain(NetworkFilter::Http(Box::new(http)))],
    )];
    listeners.extend(outbound_tcp.iter().filter_map(|tcp| tcp_listener(tcp, client, reader)));
    listeners.extend(inbound(workload));
    say_why(&mut listeners, reader);
    say_whose(&mut listeners, workload_metadata(&workload.name.name, &workload.name.namespace, &workload.labels));
    listeners
}

/// The listeners of a gateway: one for each port, on each of its addresses. A gateway that names no address listens at
/// the one its proxy has (`node_address`), or on all.
pub fn gateway(name: &ObjectName, node_address: Option<IpAddr>, reader: &Reader<'_>) -> Vec<Listener> {
    let Some(gateway) = reader.gateway(name) else { return Vec::new() };
    let mut addresses = gateway.addresses.clone();
    if addresses.is_empty() {
        addresses.push(node_address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    }
    let mut listeners = Vec::new();
    for port in route::gateway_ports(gateway) {
        let of_port: Vec<&GatewayListener> = gateway.listeners.iter().filter(|l| l.port == port).collect();
        for (position, address) in addresses.iter().enumerate() {
            let listener = if position == 0 { name::gateway(port) } else { name::gateway_at(port, *address) };
            let chains = gateway_chains(&of_port, &listener, reader);
            // Nobody listens where there is nobody to lead to: a refused connection says so at once.
            if !chains.is_empty() {
                listeners.push(socket(listener, SocketAddr::new(*address, port), Direction::Unspecified, chains));
            }
        }
    }
    say_why(&mut listeners, reader);
    say_whose(&mut listeners, workload_metadata(&name.name, &name.namespace, &Labels::new()));
    listeners
}

/// What a gateway does with connections to one of its ports. `listeners` of one port are all behind TLS, or none is.
fn gateway_chains(listeners: &[&GatewayListener], name: &Arc<str>, reader: &Reader<'_>) -> Vec<FilterChain> {
    let mut chains: Vec<FilterChain> = Vec::new();
    for listener in listeners {
        let mut add = |chain: FilterChain| {
            // One name leads to one place, or a data plane refuses all of them.
            if !chains.iter().any(|known| known.matches == chain.matches) {
                chains.push(chain);
            }
        };
        let Some(tls) = &listener.tls else {
            let filter = match listeners.iter().find_map(|l| l.tcp.as_ref()) {
                None => {
                    let routes = name::gateway(listener.port);
                    Some(NetworkFilter::Http(Box::new(http_manager(&routes, RouteSource::Rds(routes.clone()), true))))
                }
                Some(rule) => bytes(rule, name, reader),
            };
            filter.into_iter().for_each(|filter| add(chain(filter)));
            continue;
        };
        let hostname = listener.hostname.as_deref().unwrap_or("*");
        let behind = |speaks_http| match &tls.mode {
            TlsMode::Terminate(termination) => tls::downstream(termination, speaks_http).map(Some),
            TlsMode::Passthrough => Some(None),
        };
        if route::is_https(listener) {
            let routes = name::gateway_listener(listener.port, &listener.name);
            let filter = NetworkFilter::Http(Box::new(http_manager(name, RouteSource::Rds(routes), true)));
            behind(true).into_iter().for_each(|tls| add(named(&listener.name, hostname, tls, filter.clone())));
            continue;
        }
        let servers = listener.servers.iter().map(|server| (&*server.name, &server.rule));
        for (host, rule) in servers.chain(listener.tcp.iter().map(|rule| (hostname, rule))) {
            if let (Some(filter), Some(tls)) = (bytes(rule, name, reader), behind(false)) {
                add(named(&listener.name, host, tls, filter));
            }
        }
    }
    chains
}

/// Where connections go that are not looked into; `None` when there is nobody to lead to.
fn bytes(rule: &TcpRule, stat_prefix: &str, reader: &Reader<'_>) -> Option<NetworkFilter> {
    let clusters = weights(&rule.split, reader);
    (!clusters.is_empty()).then(|| NetworkFilter::Tcp(tcp_proxy(stat_prefix, clusters)))
}

/// A chain for connections whose TLS asks for a server of that name; `*`: for any, or for none.
fn named(name: &Arc<str>, server: &str, tls: Option<DownstreamTls>, filter: NetworkFilter) -> FilterChain {
    let server_names = if server == "*" { Vec::new() } else { vec![server.to_ascii_lowercase().into()] };
    // What does not begin with TLS is nobody's, and is closed.
    let matches = FilterChainMatch { server_names, transport_protocol: "tls".into(), ..FilterChainMatch::default() };
    FilterChain { name: name.clone(), matches, tls, filter }
}

/// A chain for every connection.
fn chain(filter: NetworkFilter) -> FilterChain {
    FilterChain { name: "".into(), matches: FilterChainMatch::default(), tls: None, filter }
}

/// The listeners that gRPC clients read: each HTTP port of a service under its full and its short name.
pub fn api(name: &ObjectName, reader: &Reader<'_>) -> Vec<Listener> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    let mut listeners = Vec::new();
    for port in service.ports.iter().filter(|p| p.protocol != Protocol::Tcp) {
        let full = name::host_port(&host(service), port.port);
        let short = name::short_target(name, port.port);
        let manager = HttpConnectionManager {
            http_filters: filter::of_grpc_clients(),
            ..http_manager(&full, RouteSource::Rds(name::grpc_routes(&host(service), port.port)), false)
        };
        let distinct = (short != full).then_some(short);
        for target in std::iter::once(full).chain(distinct) {
            listeners.push(Listener {
                name: target,
                kind: ListenerKind::Api(Box::new(manager.clone())),
                direction: Direction::Outbound,
                error_header: true,
                workload: None,
            });
        }
    }
    listeners
}

/// Whether answers that a proxy makes itself say why.
fn say_why(listeners: &mut [Listener], reader: &Reader<'_>) {
    let error_header = reader.mesh().error_header;
    listeners.iter_mut().for_each(|listener| listener.error_header = error_header);
}

/// Beside whom the listeners stand, for reports.
fn say_whose(listeners: &mut [Listener], workload: Arc<str>) {
    listeners.iter_mut().for_each(|listener| listener.workload = Some(workload.clone()));
}

/// One listener for each port behind which an application is known.
fn inbound(workload: &Workload) -> impl Iterator<Item = Listener> {
    workload.ports.iter().filter(|port| port.application.is_some()).map(|port| {
        let listener = name::inbound(port.port);
        let cluster = inbound_cluster(port.port);
        let filter = match port.protocol {
            Protocol::Http | Protocol::Http2 => {
                NetworkFilter::Http(Box::new(http_manager(&listener, RouteSource::Rds(listener.clone()), false)))
            }
            Protocol::Tcp => NetworkFilter::Tcp(tcp_proxy(&listener, vec![(cluster, 1)])),
        };
        socket(listener, SocketAddr::new(workload.address, port.port), Direction::Inbound, vec![chain(filter)])
    })
}

/// A listener for one TCP service; `None` when the service or port does not exist.
fn tcp_listener(tcp: &OutboundTcp, client: &ClientClass, reader: &Reader<'_>) -> Option<Listener> {
    let service = reader.service(&tcp.service)?;
    let port = service.ports.iter().find(|p| p.port == tcp.port)?;
    let plain = outbound_cluster(port.port, None, &host(service));
    let rules = route::rules_for(reader.routes(&tcp.service), port, client);
    let mut unconditional = rules.into_iter().flatten().filter(|entry| is_unconditional(entry, tcp.port, client));
    let split = unconditional.find_map(split_of);
    let weighted = split.map(|split| weights(split, reader)).filter(|clusters| !clusters.is_empty());
    let name = name::outbound_tcp(tcp.listen);
    let filter = NetworkFilter::Tcp(tcp_proxy(&name, weighted.unwrap_or_else(|| vec![(plain, 1)])));
    Some(socket(name, tcp.listen, Direction::Outbound, vec![chain(filter)]))
}

/// Bytes have no path or header, so only a rule that asks for none of these can speak of them.
fn is_unconditional(entry: &RouteEntry, port: u16, client: &ClientClass) -> bool {
    let RequestMatch {
        path,
        method,
        scheme,
        authority,
        headers,
        query_parameters,
        port: wanted,
        client: clients,
        grpc,
    } = &entry.matches;
    *path == PathMatch::Any
        && !grpc
        && method.is_none()
        && scheme.is_none()
        && authority.is_none()
        && headers.is_empty()
        && query_parameters.is_empty()
        && wanted.is_none_or(|p| p == port)
        && client.admits(clients)
}

fn split_of(entry: &RouteEntry) -> Option<&Split> {
    match &entry.rule.action {
        RuleAction::Split(split) => Some(split),
        RuleAction::Redirect(_) | RuleAction::DirectResponse { .. } => None,
    }
}

/// Destinations that exist and have a weight. A connection cannot be answered with 500, so what does not exist gets
/// nothing.
fn weights(split: &Split, reader: &Reader<'_>) -> Vec<(Arc<str>, u32)> {
    let weighted = split.destinations.iter().filter(|d| d.weight > 0);
    weighted.filter_map(|d| Some((cluster_of(&d.backend, reader)?, d.weight))).collect()
}

fn socket(name: Arc<str>, address: SocketAddr, direction: Direction, chains: Vec<FilterChain>) -> Listener {
    let listener = SocketListener {
        address,
        bind_to_port: true,
        use_original_dst: false,
        filter_chains: chains,
        default_filter_chain: None,
        detection_timeout: None,
    };
    Listener { name, kind: ListenerKind::Socket(Box::new(listener)), direction, error_header: true, workload: None }
}

/// A connection on which nothing is asked any more is let go. Behind the 50 s after which pools of proxies let go of theirs, so
/// that a caller of the mesh is the side that closes, and inside the minute in which every slow client is cut.
const IDLE_MAX: Duration = Duration::from_secs(55);

/// A connection manager as the mesh wants it: transparent, without limits on a request's time that nobody asked for.
fn http_manager(stat_prefix: &str, routes: RouteSource, edge: bool) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: stat_prefix.into(),
        codec: Codec::Auto,
        routes,
        http_filters: filter::of_proxies(),
        upgrades: vec![Upgrade { kind: "websocket".into(), enabled: true }],
        stream_idle_timeout: None,
        idle_timeout: Some(IDLE_MAX),
        request_headers_timeout: None,
        request_timeout: None,
        // Only at the edge of the mesh is the peer the caller that backends want to know of.
        use_remote_address: edge,
        xff_num_trusted_hops: 0,
        generate_request_id: true,
        server_header: ServerHeader::PassThrough,
    }
}

fn tcp_proxy(stat_prefix: &str, clusters: Vec<(Arc<str>, u32)>) -> TcpProxy {
    TcpProxy { stat_prefix: stat_prefix.into(), clusters, idle_timeout: None }
}
