//! Resources for the tests of both machines: small, real, and different for each revision.

use std::sync::Arc;
use std::time::Duration;

use super::server::EncodedResource;
use crate::resource::cluster::{Cluster, Discovery, LoadBalancing};
use crate::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use crate::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, ListenerKind, NetworkFilter,
    RouteSource, ServerHeader, SocketListener,
};
use crate::resource::route::{
    ClusterSpecifier, Forward, Mirror, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use crate::resource::tls::{PeerValidation, TlsVersions, TrustedRoots, UpstreamTls};
use crate::resource::{Resource, Secret, secret::SecretKind};

/// A cluster whose endpoints come over EDS under the cluster's name.
pub(crate) fn cluster(name: &str, revision: u32) -> Arc<EncodedResource> {
    EncodedResource::new(&Resource::Cluster(Arc::new(Cluster {
        load_balancing: LoadBalancing::ROUND_ROBIN,
        connect_timeout: Duration::from_millis(1 + u64::from(revision)),
        ..Cluster::new(name.into(), Discovery::Eds { service_name: name.into() })
    })))
}

pub(crate) fn endpoints(name: &str, revision: u16) -> Arc<EncodedResource> {
    let endpoint = Endpoint {
        address: ([127, 0, 0, 1], 1 + revision).into(),
        weight: std::num::NonZeroU32::MIN,
        health: Health::Healthy,
        hostname: None,
        workload: None,
    };
    EncodedResource::new(&Resource::Endpoint(Arc::new(ClusterLoadAssignment {
        localities: vec![LocalityEndpoints {
            locality: Locality::default(),
            priority: 0,
            weight: Some(std::num::NonZeroU32::MIN),
            endpoints: vec![endpoint],
        }],
        ..ClusterLoadAssignment::empty(name.into())
    })))
}

/// A route configuration that sends to each of `clusters`.
pub(crate) fn route(name: &str, clusters: &[&str]) -> Arc<EncodedResource> {
    EncodedResource::new(&Resource::Route(Arc::new(configuration(name, clusters))))
}

fn configuration(name: &str, clusters: &[&str]) -> RouteConfiguration {
    let routes = clusters.iter().map(|cluster| forward_to(cluster, Vec::new())).collect();
    let host = VirtualHost { name: "all".into(), domains: vec!["*".into()], routes, ..VirtualHost::default() };
    RouteConfiguration { name: name.into(), virtual_hosts: vec![host], ..RouteConfiguration::default() }
}

/// A route configuration whose requests are copied to `mirror`.
pub(crate) fn mirrored_route(name: &str, cluster: &str, mirror: &str) -> Arc<EncodedResource> {
    let mut configuration = configuration(name, &[]);
    let mirrors = vec![Mirror::to(mirror.into())];
    configuration.virtual_hosts[0].routes = vec![forward_to(cluster, mirrors)];
    EncodedResource::new(&Resource::Route(Arc::new(configuration)))
}

fn forward_to(cluster: &str, mirrors: Vec<Mirror>) -> Route {
    let matches = RouteMatch {
        path: PathMatcher::Prefix { prefix: format!("/{cluster}").into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    };
    let forward = Forward { mirrors, ..Forward::to(ClusterSpecifier::Cluster(cluster.into())) };
    Route::new(matches, RouteAction::Forward(Box::new(forward)))
}

/// A listener that takes its routes from `route` over RDS.
pub(crate) fn listener(name: &str, route: &str, revision: u16) -> Arc<EncodedResource> {
    let chain = FilterChain {
        name: "".into(),
        matches: FilterChainMatch::default(),
        tls: None,
        filter: NetworkFilter::Http(Box::new(manager(route))),
    };
    let socket = SocketListener {
        address: ([127, 0, 0, 1], 10_000 + revision).into(),
        bind_to_port: true,
        use_original_dst: false,
        filter_chains: vec![chain],
        default_filter_chain: None,
        detection_timeout: None,
    };
    encoded_listener(name, ListenerKind::Socket(Box::new(socket)))
}

/// An API listener: only for who asks for it by name.
pub(crate) fn api_listener(name: &str, route: &str) -> Arc<EncodedResource> {
    encoded_listener(name, ListenerKind::Api(Box::new(manager(route))))
}

fn encoded_listener(name: &str, kind: ListenerKind) -> Arc<EncodedResource> {
    EncodedResource::new(&Resource::Listener(Arc::new(Listener {
        name: name.into(),
        kind,
        direction: Direction::Unspecified,
        error_header: true,
        workload: None,
    })))
}

fn manager(route: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes: RouteSource::Rds(route.into()),
        http_filters: Vec::new(),
        upgrades: Vec::new(),
        stream_idle_timeout: None,
        idle_timeout: None,
        request_headers_timeout: None,
        request_timeout: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        generate_request_id: true,
        server_header: ServerHeader::PassThrough,
    }
}

/// A cluster that trusts the roots in this secret.
pub(crate) fn encrypted_cluster(name: &str, secret: &str) -> Arc<EncodedResource> {
    let tls = UpstreamTls {
        certificate: None,
        validation: PeerValidation { roots: TrustedRoots::Sds(secret.into()), subject_names: Vec::new() },
        sni: "a.test".into(),
        auto_host_sni: false,
        auto_sni_san_validation: true,
        alpn_protocols: Vec::new(),
        versions: TlsVersions::default(),
    };
    let cluster = Cluster { tls: Some(tls), ..Cluster::new(name.into(), Discovery::Static(Vec::new())) };
    EncodedResource::new(&Resource::Cluster(Arc::new(cluster)))
}

pub(crate) fn secret(name: &str) -> Arc<EncodedResource> {
    let kind = SecretKind::Validation { roots_pem: b"roots".as_slice().into() };
    EncodedResource::new(&Resource::Secret(Arc::new(Secret { name: name.into(), kind })))
}
