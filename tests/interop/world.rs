//! A small world for the scripted control plane: `reviews` in two versions, for proxies and for gRPC clients, and one
//! data plane of each kind in it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_xds::ads::server::{EncodedResource, ResourceSet};
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::{Cluster, Discovery, LoadBalancing};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, ListenerKind, NetworkFilter,
    RouteSource, ServerHeader, SocketListener,
};
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};

use super::Plane;
use super::envoy::{Envoy, Variant};
use super::grpc::GrpcClient;
use super::scripted::Scripted;
use crate::harness::address::Subnet;
use crate::harness::mesh::{ADMIN, spawn_proxy};
use crate::harness::process::Process;
use crate::harness::{Backend, wait};

/// The one route configuration, for proxies and gRPC clients alike.
pub(crate) const ROUTES: &str = "outbound";
/// What a gRPC client dials.
const TARGET: &str = "reviews.shop:9080";
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Which data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our proxy.
    Ours,
    /// Envoy over delta.
    EnvoyDelta,
    /// Envoy over the state of the world.
    EnvoySotw,
    /// gRPC's C core.
    Grpc,
}

/// A data plane, its own control plane, and two applications.
pub(crate) struct World {
    /// The control plane.
    pub(crate) server: Scripted,
    /// The data plane.
    pub(crate) plane: Plane,
    /// Where its applications dial.
    pub(crate) outbound: SocketAddr,
    backends: [(&'static str, Backend); 2],
    generation: u64,
    _processes: (Option<Envoy>, Option<Process>),
    _folder: TempDir,
}

impl World {
    /// Starts a data plane of this kind, routed to v1, and waits until it has its configuration.
    pub(crate) async fn start(kind: Kind) -> Self {
        let subnet = Subnet::take();
        let folder = TempDir::new().expect("a temporary folder can be made");
        let host = subnet.host(1);
        let [xds, outbound, admin] = [15010, 15001, ADMIN].map(|port| SocketAddr::from((host, port)));
        let v1 = Backend::echo((subnet.host(11), 9080).into(), "v1").await;
        let backends = [("v1", v1), ("v2", Backend::echo((subnet.host(12), 9080).into(), "v2").await)];
        let first = ResourceSet::new(1, encode(resources(outbound, &backends, "v1")));
        let server = Scripted::start(xds, first);
        let mut processes = (None, None);
        let mut plane = Plane::proxy("a proxy", outbound);
        let envoy = async |variant| Some(Envoy::start("one.shop", xds, admin, variant, folder.path()).await);
        match kind {
            Kind::Ours => processes.1 = Some(spawn_proxy("one", host, xds, folder.path())),
            Kind::EnvoyDelta => processes.0 = envoy(Variant::Delta).await,
            Kind::EnvoySotw => processes.0 = envoy(Variant::Sotw).await,
            Kind::Grpc => plane = Plane::grpc(GrpcClient::start("one.shop", xds, TARGET, folder.path())),
        }
        if kind != Kind::Grpc {
            // A proxy is live when its listener is.
            wait::until(&format!("{kind:?} listens"), READY_LIMIT, || async {
                tokio::net::TcpStream::connect(outbound).await.is_ok()
            })
            .await;
        }
        plane.assert_turns_to("v1").await;
        server.settled(1).await;
        Self { server, plane, outbound, backends, generation: 1, _processes: processes, _folder: folder }
    }

    /// The next generation: everything goes to `version`. `instead` takes the place of resources of its type and name.
    pub(crate) fn publish(&mut self, version: &str, instead: Option<EncodedResource>) -> u64 {
        self.generation += 1;
        let mut all = encode(resources(self.outbound, &self.backends, version));
        all.extend(instead.map(Arc::new));
        self.server.publish(ResourceSet::new(self.generation, all));
        self.generation
    }
}

pub(crate) fn encode(resources: Vec<Resource>) -> Vec<Arc<EncodedResource>> {
    resources.iter().map(EncodedResource::new).collect()
}

fn resources(outbound: SocketAddr, backends: &[(&'static str, Backend)], version: &str) -> Vec<Resource> {
    let mut all = vec![
        Resource::Listener(Arc::new(Listener {
            name: "outbound".into(),
            kind: ListenerKind::Socket(Box::new(socket(outbound))),
            direction: Direction::Outbound,
            error_header: true,
            workload: None,
        })),
        Resource::Listener(Arc::new(Listener {
            name: TARGET.into(),
            kind: ListenerKind::Api(Box::new(connection_manager())),
            direction: Direction::Unspecified,
            error_header: true,
            workload: None,
        })),
        Resource::Route(Arc::new(routes(version))),
    ];
    for (name, backend) in backends {
        all.push(Resource::Cluster(Arc::new(cluster(name))));
        all.push(Resource::Endpoint(Arc::new(endpoints(name, backend.address))));
    }
    all
}

pub(crate) fn socket(address: SocketAddr) -> SocketListener {
    SocketListener {
        address,
        bind_to_port: true,
        use_original_dst: false,
        filter_chains: vec![FilterChain {
            name: "http".into(),
            matches: FilterChainMatch::default(),
            tls: None,
            filter: NetworkFilter::Http(Box::new(connection_manager())),
        }],
        default_filter_chain: None,
        detection_timeout: None,
    }
}

pub(crate) fn connection_manager() -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "outbound".into(),
        codec: Codec::Auto,
        routes: RouteSource::Rds(ROUTES.into()),
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

/// Everything goes to this cluster.
pub(crate) fn forward(cluster: &str) -> Forward {
    Forward::to(ClusterSpecifier::Cluster(cluster.into()))
}

/// For every request.
pub(crate) fn route(cluster: &str) -> Route {
    let everything = RouteMatch {
        path: PathMatcher::Prefix { prefix: "/".into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    };
    Route {
        name: "default".into(),
        source: Some("reviews.yaml:7".into()),
        ..Route::new(everything, RouteAction::Forward(Box::new(forward(cluster))))
    }
}

/// For every host.
pub(crate) fn routes(cluster: &str) -> RouteConfiguration {
    let host = VirtualHost {
        name: "reviews".into(),
        domains: vec!["*".into()],
        routes: vec![route(cluster)],
        ..VirtualHost::default()
    };
    RouteConfiguration { name: ROUTES.into(), virtual_hosts: vec![host], ..RouteConfiguration::default() }
}

pub(crate) fn cluster(name: &str) -> Cluster {
    Cluster {
        load_balancing: LoadBalancing::ROUND_ROBIN,
        connect_timeout: Duration::from_secs(1),
        ..Cluster::new(name.into(), Discovery::Eds { service_name: name.into() })
    }
}

pub(crate) fn endpoints(name: &str, address: SocketAddr) -> ClusterLoadAssignment {
    let endpoint =
        Endpoint { address, weight: NonZeroU32::MIN, health: Health::Healthy, hostname: None, workload: None };
    let locality = LocalityEndpoints {
        locality: Locality::default(),
        priority: 0,
        weight: Some(NonZeroU32::MIN),
        endpoints: vec![endpoint],
    };
    ClusterLoadAssignment { localities: vec![locality], ..ClusterLoadAssignment::empty(name.into()) }
}
