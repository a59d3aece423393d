//! What the control plane publishes: a small mesh that changes in every way a mesh changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::cluster::{Cluster, Discovery, LoadBalancing};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, ListenerKind, NetworkFilter, RouteSource,
    ServerHeader, SocketListener,
};
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use tidegate_xds::resource::{Listener, Resource};

/// The listener that is always wanted, and so must never be lost.
pub(super) const ALWAYS: &str = "always";
const SOMETIMES: &str = "sometimes";

pub(super) type Key = (ResourceType, Arc<str>);

/// Something that a proxy has to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    /// A cluster of a kind that is not supported, beside the others.
    Cluster,
    /// The same under the name of one that is in use.
    ClusterInUse,
    /// A listener for redirected connections.
    Listener,
    /// A route to a cluster that nobody knows.
    Route,
}

/// The mesh as it is meant at one time. Revisions are the generations of the last change, so content never comes twice.
#[derive(Clone, Debug)]
pub(super) struct Mesh {
    /// Revision of each cluster, and of its endpoints.
    clusters: BTreeMap<u64, (u64, u64)>,
    /// Clusters and revision of each route configuration.
    routes: BTreeMap<&'static str, (Vec<u64>, u64)>,
    sometimes: bool,
    bad: Option<Bad>,
    generation: u64,
}

impl Mesh {
    pub(super) fn new() -> Self {
        let routes = [(ALWAYS, (vec![1], 1)), (SOMETIMES, (vec![1], 1))];
        Self {
            clusters: BTreeMap::from([(1, (1, 1))]),
            routes: BTreeMap::from(routes),
            sometimes: false,
            bad: None,
            generation: 1,
        }
    }

    /// The next generation: one to three changes at once.
    pub(super) fn change(&mut self, dice: &mut StdRng) {
        self.generation += 1;
        for _ in 0..dice.random_range(1..=3) {
            self.change_one(dice);
        }
        self.drop_unused();
    }

    fn change_one(&mut self, dice: &mut StdRng) {
        let now = self.generation;
        let name = if dice.random() { ALWAYS } else { SOMETIMES };
        let some_cluster = {
            let known: Vec<u64> = self.clusters.keys().copied().collect();
            known[dice.random_range(0..known.len())]
        };
        match dice.random_range(0..9) {
            // Traffic moves to a cluster that is new, and the old one goes in the same breath.
            0 | 1 => {
                self.clusters.insert(now, (now, now));
                self.routes.insert(name, (vec![now], now));
            }
            2 => {
                self.clusters.insert(now, (now, now));
                self.routes.insert(name, (vec![some_cluster, now], now));
            }
            3 => drop(self.routes.insert(name, (vec![some_cluster], now))),
            4 => drop(self.clusters.entry(some_cluster).and_modify(|(_, endpoints)| *endpoints = now)),
            5 => drop(self.clusters.entry(some_cluster).and_modify(|(config, _)| *config = now)),
            6 => self.sometimes = !self.sometimes,
            7 => {
                let all = [Bad::Cluster, Bad::ClusterInUse, Bad::Listener, Bad::Route];
                self.bad = Some(all[dice.random_range(0..all.len())]);
            }
            _ => self.mend(),
        }
    }

    fn mend(&mut self) {
        if self.bad.take() == Some(Bad::Route) {
            let now = self.generation;
            self.routes.entry(SOMETIMES).and_modify(|(_, revision)| *revision = now);
        }
    }

    /// The last generation: nothing in it has to be refused. What waited too long in one before is not touched: it comes
    /// because the proxy asks for it.
    pub(super) fn settle(&mut self) {
        self.generation += 1;
        self.sometimes = true;
        self.mend();
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        let used: Vec<u64> = self.routes.values().flat_map(|(clusters, _)| clusters).copied().collect();
        self.clusters.retain(|id, _| used.contains(id));
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether something of this type must be refused.
    pub(super) fn is_bad(&self, resource_type: ResourceType) -> bool {
        match self.bad {
            Some(Bad::Cluster | Bad::ClusterInUse) => resource_type == ResourceType::Cluster,
            Some(Bad::Listener) => resource_type == ResourceType::Listener,
            Some(Bad::Route) => resource_type == ResourceType::Route,
            None => false,
        }
    }

    /// Everything, and which of it a proxy that applied this generation must have.
    pub(super) fn resources(&self) -> Vec<(Resource, bool)> {
        let mut all = Vec::new();
        let in_use = self.clusters.keys().next_back().copied();
        for (id, (revision, endpoints)) in &self.clusters {
            let spoilt = self.bad == Some(Bad::ClusterInUse) && Some(*id) == in_use;
            let eds = Discovery::Eds { service_name: cluster_name(*id) };
            let discovery = if spoilt { Discovery::OriginalDestination } else { eds };
            all.push((cluster(cluster_name(*id), discovery, *revision), !spoilt));
            all.push((assignment(*id, *endpoints), !spoilt));
        }
        if self.bad == Some(Bad::Cluster) {
            all.push((cluster("spoilt".into(), Discovery::OriginalDestination, self.generation), false));
        }
        for (name, (clusters, revision)) in &self.routes {
            let spoilt = self.bad == Some(Bad::Route) && *name == SOMETIMES;
            let names: Vec<Arc<str>> = match spoilt {
                true => vec!["nowhere".into()],
                false => clusters.iter().map(|id| cluster_name(*id)).collect(),
            };
            let named = *name == ALWAYS || self.sometimes;
            all.push((routes(name, &names, *revision, spoilt), named && !spoilt));
        }
        all.push((listener(ALWAYS, false), true));
        if self.sometimes {
            let routes_are_bad = self.bad == Some(Bad::Route);
            all.push((listener(SOMETIMES, false), !routes_are_bad));
        }
        if self.bad == Some(Bad::Listener) {
            all.push((listener("redirected", true), false));
        }
        all
    }
}

fn cluster_name(id: u64) -> Arc<str> {
    format!("cluster-{id}").into()
}

fn cluster(name: Arc<str>, discovery: Discovery, revision: u64) -> Resource {
    Resource::Cluster(Arc::new(Cluster {
        load_balancing: LoadBalancing::ROUND_ROBIN,
        connect_timeout: Duration::from_millis(revision),
        ..Cluster::new(name, discovery)
    }))
}

fn assignment(id: u64, revision: u64) -> Resource {
    let endpoint = Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], u16::try_from(revision).unwrap_or(u16::MAX))),
        weight: NonZeroU32::MIN,
        health: Health::Healthy,
        hostname: None,
        workload: None,
    };
    let locality =
        LocalityEndpoints { locality: Locality::default(), priority: 0, weight: None, endpoints: vec![endpoint] };
    let empty = ClusterLoadAssignment::empty(cluster_name(id));
    Resource::Endpoint(Arc::new(ClusterLoadAssignment { localities: vec![locality], ..empty }))
}

fn routes(name: &str, clusters: &[Arc<str>], revision: u64, spoilt: bool) -> Resource {
    let route = |cluster: &Arc<str>| {
        let matches = RouteMatch {
            path: PathMatcher::Prefix { prefix: format!("/{revision}/{spoilt}").into(), case_sensitive: true },
            headers: Vec::new(),
            query_parameters: Vec::new(),
            grpc: false,
            fraction: None,
        };
        let forward = Forward::to(ClusterSpecifier::Cluster(Arc::clone(cluster)));
        Route::new(matches, RouteAction::Forward(Box::new(forward)))
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: clusters.iter().map(route).collect(),
        ..Default::default()
    };
    let configuration = RouteConfiguration { name: name.into(), virtual_hosts: vec![host], ..Default::default() };
    Resource::Route(Arc::new(configuration))
}

/// On a port of the kernel's choice; nobody connects to it.
fn listener(name: &str, redirected: bool) -> Resource {
    let manager = HttpConnectionManager {
        stat_prefix: "simulated".into(),
        codec: Codec::Auto,
        routes: RouteSource::Rds(name.into()),
        http_filters: Vec::new(),
        upgrades: Vec::new(),
        stream_idle_timeout: None,
        idle_timeout: None,
        request_headers_timeout: None,
        request_timeout: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        generate_request_id: false,
        server_header: ServerHeader::PassThrough,
    };
    let chain = FilterChain {
        name: "".into(),
        tls: None,
        matches: FilterChainMatch::default(),
        filter: NetworkFilter::Http(Box::new(manager)),
    };
    let socket = SocketListener {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        bind_to_port: true,
        use_original_dst: redirected,
        filter_chains: vec![chain],
        default_filter_chain: None,
        detection_timeout: None,
    };
    Resource::Listener(Arc::new(Listener {
        name: name.into(),
        kind: ListenerKind::Socket(Box::new(socket)),
        direction: Direction::Unspecified,
        error_header: true,
        workload: None,
    }))
}
