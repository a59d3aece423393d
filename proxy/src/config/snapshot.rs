//! The configuration as one immutable value.
//!
//! A request loads it once and sees one world to its end. Everything is compiled: routes are indices, clusters are handles
//! with their endpoints laid out for the balancer, counters are resolved. Parts that did not change are shared with the
//! snapshot before, so that a change costs what it changes.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::HashMap;
use tidegate_traffic::outlier::ClusterOutlier;
use tidegate_traffic::{Balancer, Chain, EndpointSet, RouteTable};
use tidegate_xds::resource::cluster::{Cluster, Discovery};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, LocalityEndpoints};
use tidegate_xds::resource::listener::{FilterChainMatch, HttpConnectionManager, TcpProxy};
use tidegate_xds::resource::route::RouteConfiguration;
use tidegate_xds::resource::{Listener, listener};

use super::registry::{ClusterState, EndpointState, ListenerState};
use crate::telemetry::edges::place::Ways;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;

/// Everything that requests see.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Counts publications.
    pub(crate) generation: u64,
    /// By [`key`]: the socket that a connection arrived at.
    pub(crate) listeners: HashMap<Arc<str>, Arc<ActiveListener>>,
    pub(crate) clusters: Arc<HashMap<Arc<str>, Arc<ActiveCluster>>>,
    /// By name; listeners hold them too.
    pub(crate) routes: HashMap<Arc<str>, Arc<ActiveRoutes>>,
}

/// What stays the same while a listener's configuration changes: its address, so that a changed listener keeps its socket
/// and its connections. Port 0 means "any", so there the name decides.
pub(crate) fn key(name: &Arc<str>, address: SocketAddr) -> Arc<str> {
    if address.port() == 0 { Arc::clone(name) } else { address.to_string().into() }
}

/// A listener in use.
#[derive(Debug)]
pub(crate) struct ActiveListener {
    pub(crate) config: Arc<Listener>,
    pub(crate) key: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) detection_timeout: Option<std::time::Duration>,
    pub(crate) chains: Vec<ActiveChain>,
    pub(crate) default_chain: Option<ActiveChain>,
    pub(crate) state: Arc<ListenerState>,
}

/// A filter chain in use.
#[derive(Clone, Debug)]
pub(crate) struct ActiveChain {
    pub(crate) matches: FilterChainMatch,
    /// What its connections are terminated with.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) kind: ChainKind,
}

/// What a chain does with its connections.
#[derive(Clone, Debug)]
pub(crate) enum ChainKind {
    Http(Arc<HttpChain>),
    Tcp(Arc<TcpProxy>),
}

/// HTTP on a listener.
#[derive(Debug)]
pub(crate) struct HttpChain {
    pub(crate) manager: HttpConnectionManager,
    pub(crate) routes: Arc<ActiveRoutes>,
    pub(crate) filters: Chain,
}

/// A route configuration in use.
#[derive(Debug)]
pub(crate) struct ActiveRoutes {
    pub(crate) config: Arc<RouteConfiguration>,
    pub(crate) table: RouteTable,
}

/// A cluster in use.
#[derive(Debug)]
pub(crate) struct ActiveCluster {
    pub(crate) config: Arc<Cluster>,
    /// Where its endpoints were written when that is not the cluster itself.
    pub(crate) assignment: Option<Arc<ClusterLoadAssignment>>,
    /// As they were laid out. What has been learned about them meanwhile is in `live`.
    pub(crate) endpoints: EndpointSet,
    /// The same endpoints at the same positions in their present state of health: what is chosen from. The control thread
    /// replaces it; it changes more often than the configuration, and with nothing else.
    pub(crate) live: ArcSwap<EndpointSet>,
    /// In the order of `endpoints`.
    pub(crate) states: Vec<Arc<EndpointState>>,
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) outlier: Option<ClusterOutlier>,
    pub(crate) state: Arc<ClusterState>,
    /// Where requests to it are counted.
    pub(crate) ways: Ways,
    /// What its connections are encrypted with.
    pub(crate) tls: Option<Arc<ClientTls>>,
}

impl Snapshot {
    pub(crate) fn cluster(&self, name: &str) -> Option<&Arc<ActiveCluster>> {
        self.clusters.get(name)
    }

    pub(crate) fn listener(&self, key: &str) -> Option<&Arc<ActiveListener>> {
        self.listeners.get(key)
    }
}

/// The EDS service that a cluster needs.
pub(crate) fn eds_service(cluster: &Cluster) -> Option<&Arc<str>> {
    match &cluster.discovery {
        Discovery::Eds { service_name } => Some(service_name),
        Discovery::Static(_) | Discovery::StrictDns { .. } | Discovery::OriginalDestination => None,
    }
}

/// The endpoints of a cluster: its own, or those of its assignment.
pub(crate) fn localities<'a>(
    cluster: &'a Cluster,
    assignment: Option<&'a Arc<ClusterLoadAssignment>>,
) -> &'a [LocalityEndpoints] {
    match &cluster.discovery {
        Discovery::Static(localities) => localities,
        Discovery::Eds { .. } => assignment.map_or(&[], |assignment| &assignment.localities),
        Discovery::StrictDns { .. } | Discovery::OriginalDestination => &[],
    }
}

/// The route configurations that a listener needs by name.
pub(crate) fn route_names(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    managers(listener).filter_map(|manager| match &manager.routes {
        listener::RouteSource::Rds(name) => Some(name),
        listener::RouteSource::Inline(_) => None,
    })
}

/// The HTTP connection managers of a listener's chains.
pub(crate) fn managers(listener: &Listener) -> impl Iterator<Item = &HttpConnectionManager> {
    chains(listener).filter_map(|chain| match &chain.filter {
        listener::NetworkFilter::Http(manager) => Some(&**manager),
        listener::NetworkFilter::Tcp(_) => None,
    })
}

/// All chains of a listener that has a socket.
pub(crate) fn chains(listener: &Listener) -> impl Iterator<Item = &listener::FilterChain> {
    let socket = match &listener.kind {
        listener::ListenerKind::Socket(socket) => Some(socket),
        // Read by gRPC clients, never served by a proxy.
        listener::ListenerKind::Api(_) => None,
    };
    socket.into_iter().flat_map(|socket| socket.filter_chains.iter().chain(&socket.default_filter_chain))
}
