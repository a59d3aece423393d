//! Short words for resources, so that a test says only what it is about.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proxy::{Limits, Options, Proxy, Timing};
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::{Cluster, Discovery, LoadBalancing, UpstreamProtocol};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, ListenerKind, NetworkFilter,
    RouteSource, ServerHeader, SocketListener, TcpProxy,
};
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, Upgrade, VirtualHost,
};

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Times that a test can wait for.
pub(crate) fn limits() -> Limits {
    Limits { closing_idle: Duration::from_millis(50), ..Limits::default() }
}

pub(crate) fn options() -> Options {
    Options {
        workers: std::num::NonZeroUsize::new(2),
        limits: limits(),
        admin: Some(loopback()),
        drain: Timing { leaving: Duration::from_millis(100), deadline: Duration::from_secs(10) },
        ..Options::default()
    }
}

pub(crate) fn localities(addresses: &[SocketAddr]) -> Vec<LocalityEndpoints> {
    let endpoints = addresses.iter().map(|address| Endpoint {
        address: *address,
        weight: NonZeroU32::MIN,
        health: Health::Healthy,
        hostname: None,
        workload: None,
    });
    vec![LocalityEndpoints { locality: Locality::default(), priority: 0, weight: None, endpoints: endpoints.collect() }]
}

pub(crate) fn cluster(name: &str, protocol: UpstreamProtocol, addresses: &[SocketAddr]) -> Cluster {
    Cluster {
        load_balancing: LoadBalancing::ROUND_ROBIN,
        connect_timeout: Duration::from_secs(2),
        protocol,
        ..Cluster::new(name.into(), Discovery::Static(localities(addresses)))
    }
}

pub(crate) fn eds_cluster(name: &str) -> Cluster {
    Cluster { discovery: Discovery::Eds { service_name: name.into() }, ..cluster(name, UpstreamProtocol::Http1, &[]) }
}

pub(crate) fn assignment(name: &str, addresses: &[SocketAddr]) -> Resource {
    let localities = localities(addresses);
    Resource::Endpoint(Arc::new(ClusterLoadAssignment { localities, ..ClusterLoadAssignment::empty(name.into()) }))
}

pub(crate) fn forward(cluster: &str) -> Forward {
    Forward::to(ClusterSpecifier::Cluster(cluster.into()))
}

pub(crate) fn route(prefix: &str, action: RouteAction) -> Route {
    let matches = RouteMatch {
        path: PathMatcher::Prefix { prefix: prefix.into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    };
    Route::new(matches, action)
}

pub(crate) fn routes(name: &str, routes: Vec<Route>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// Everything to one cluster.
pub(crate) fn all_to(name: &str, cluster: &str) -> RouteConfiguration {
    routes(name, vec![route("/", RouteAction::Forward(Box::new(forward(cluster))))])
}

pub(crate) fn manager(source: RouteSource) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes: source,
        http_filters: Vec::new(),
        upgrades: vec![Upgrade { kind: "websocket".into(), enabled: true }],
        stream_idle_timeout: None,
        idle_timeout: Some(Duration::from_secs(60)),
        request_headers_timeout: None,
        request_timeout: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        generate_request_id: false,
        server_header: ServerHeader::PassThrough,
    }
}

pub(crate) fn listener_with(name: &str, filter: NetworkFilter) -> Listener {
    Listener {
        name: name.into(),
        kind: ListenerKind::Socket(Box::new(SocketListener {
            address: loopback(),
            bind_to_port: true,
            use_original_dst: false,
            filter_chains: vec![FilterChain {
                name: "".into(),
                matches: FilterChainMatch::default(),
                tls: None,
                filter,
            }],
            default_filter_chain: None,
            detection_timeout: None,
        })),
        direction: Direction::Outbound,
        error_header: true,
        workload: None,
    }
}

pub(crate) fn http_listener(name: &str, source: RouteSource) -> Listener {
    listener_with(name, NetworkFilter::Http(Box::new(manager(source))))
}

pub(crate) fn tcp_listener(name: &str, cluster: &str) -> Listener {
    let proxy = TcpProxy { stat_prefix: "tcp".into(), clusters: vec![(cluster.into(), 1)], idle_timeout: None };
    listener_with(name, NetworkFilter::Tcp(proxy))
}

pub(crate) fn inline(config: RouteConfiguration) -> RouteSource {
    RouteSource::Inline(Arc::new(config))
}

pub(crate) fn of_cluster(cluster: Cluster) -> Resource {
    Resource::Cluster(Arc::new(cluster))
}

pub(crate) fn of_listener(listener: Listener) -> Resource {
    Resource::Listener(Arc::new(listener))
}

pub(crate) fn of_routes(config: RouteConfiguration) -> Resource {
    Resource::Route(Arc::new(config))
}

/// A proxy with one HTTP listener that leads to `backend`.
pub(crate) async fn in_front_of(protocol: UpstreamProtocol, backend: SocketAddr) -> (Proxy, SocketAddr) {
    proxy_with(vec![
        of_cluster(cluster("backend", protocol, &[backend])),
        of_listener(http_listener("in", inline(all_to("routes", "backend")))),
    ])
    .await
}

/// A proxy with these resources, and the address of its listener `in`.
pub(crate) async fn proxy_with(resources: Vec<Resource>) -> (Proxy, SocketAddr) {
    start_with(options(), resources).await
}

pub(crate) async fn start_with(options: Options, resources: Vec<Resource>) -> (Proxy, SocketAddr) {
    let proxy = Proxy::start(options).expect("starts");
    assert_eq!(proxy.apply(resources).await, Vec::new());
    let address = proxy.listener_address("in").await.expect("listens");
    (proxy, address)
}
