//! Sequences of resources through the proxy's applier: complete before visible, refused alone, the last good stays.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proxy::fuzzing::Configuration;
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

/// More steps than this repeat what fewer have shown, and each costs a socket.
const STEPS_MAX: usize = 48;
/// Few names, so that steps meet.
const NAMES: usize = 3;

type Refused = Vec<(Arc<str>, String)>;

/// Each byte is a step: what is offered, taken away, or waited for.
pub(crate) fn xds_apply(bytes: &[u8]) {
    let mut run = Run::default();
    for step in bytes.iter().take(STEPS_MAX) {
        run.step(*step);
    }
    run.finish();
}

#[derive(Default)]
struct Run {
    configuration: Configuration,
    /// Offered in one go with the next step that is not one of these.
    batch: Vec<Resource>,
    steps: u16,
    generation: u64,
    /// Listeners that callers could reach, and nobody has taken away.
    reachable: BTreeSet<Arc<str>>,
}

impl Run {
    fn step(&mut self, step: u8) {
        self.steps += 1;
        let (kind, a, b) = (step % 12, usize::from(step / 12) % NAMES, usize::from(step / 36) % NAMES);
        let now = self.steps;
        match kind {
            0 => self.offer(vec![cluster(a, Discovery::Static(localities(now)), now)]),
            1 => self.offer(vec![cluster(a, eds(a), now)]),
            2 => self.offer(vec![assignment(a, now)]),
            3 => self.offer(vec![routes(a, &[b], now)]),
            4 => self.offer(vec![routes(a, &[a, b], now)]),
            5 => self.offer(vec![listener(a, RouteSource::Rds(name('r', b)))]),
            6 => self.offer(vec![listener(a, RouteSource::Inline(Arc::new(configuration(a, &[b], now))))]),
            7 => self.bad(a, now),
            8 => self.remove([ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener][b], a),
            9 => {
                self.configuration.wait();
                assert_eq!(self.configuration.waiting(), 0, "everything is concluded in time");
            }
            10 => self.batch.push(cluster(a, eds(b), now)),
            _ => self.batch.push(routes(a, &[b], now)),
        }
        self.holds();
    }

    fn offer(&mut self, mut resources: Vec<Resource>) {
        resources.append(&mut self.batch);
        self.configuration.offer(resources);
    }

    /// One resource that cannot be had, beside one that can: the first is named, the second applies, and what was visible
    /// under the first one's name stays.
    fn bad(&mut self, index: usize, now: u16) {
        let good = cluster(NAMES, Discovery::Static(localities(now)), now);
        let bad = match index {
            0 => cluster(index, Discovery::OriginalDestination, now),
            1 => redirected(index),
            _ => unbound(index),
        };
        let (resource_type, name) = (bad.resource_type(), Arc::clone(bad.name()));
        let before = self.configuration.visible(resource_type, &name);

        let refused = self.configuration.offer(vec![good.clone(), bad]);

        assert!(refused.iter().any(|(refused, reason)| *refused == name && !reason.is_empty()), "{refused:?}");
        assert!(!refused.iter().any(|(refused, _)| refused == good.name()), "{refused:?}");
        assert_eq!(self.configuration.visible(resource_type, &name), before, "the last good one stays");
        assert_eq!(self.configuration.visible(ResourceType::Cluster, good.name()), Some(good));
    }

    fn remove(&mut self, resource_type: ResourceType, index: usize) {
        let name = match resource_type {
            ResourceType::Listener => name('l', index),
            _ => name('c', index),
        };
        if resource_type == ResourceType::Listener {
            self.reachable.remove(&name);
        }
        self.configuration.remove(resource_type, name);
    }

    fn holds(&mut self) {
        assert_eq!(self.configuration.missing(), Vec::<String>::new());
        let generation = self.configuration.generation();
        assert!(generation >= self.generation);
        self.generation = generation;
        let listeners = self.configuration.listeners();
        for name in &self.reachable {
            assert!(listeners.contains(name), "{name} was lost");
        }
        self.reachable.extend(listeners);
        for (resource_type, name, version, _) in self.configuration.kept() {
            // What a restart would load never waits for what is not there, or it was never visible and harms nobody.
            if let Some(visible) = self.configuration.visible(resource_type, &name)
                && matches!(resource_type, ResourceType::Route | ResourceType::Listener)
            {
                assert_eq!(visible.version(), version, "{resource_type} {name}: kept is what serves");
            }
        }
    }

    /// Whatever came before: a whole configuration is visible as it was offered, and nothing waits.
    fn finish(mut self) {
        self.configuration.wait();
        let now = self.steps + 1;
        let mut last = Vec::new();
        for index in 0..NAMES {
            last.push(cluster(index, eds(index), now));
            last.push(assignment(index, now));
            last.push(routes(index, &[index, 0], now));
            last.push(listener(index, RouteSource::Rds(name('r', index))));
        }
        let refused: Refused = self.configuration.offer(last.clone());

        assert_eq!(refused, []);
        assert_eq!(self.configuration.waiting(), 0);
        self.holds();
        for resource in last {
            let visible = self.configuration.visible(resource.resource_type(), resource.name());
            assert_eq!(visible.as_ref(), Some(&resource));
        }
    }
}

fn name(kind: char, index: usize) -> Arc<str> {
    format!("{kind}{index}").into()
}

fn eds(index: usize) -> Discovery {
    Discovery::Eds { service_name: name('c', index) }
}

fn cluster(index: usize, discovery: Discovery, now: u16) -> Resource {
    Resource::Cluster(Arc::new(Cluster {
        load_balancing: LoadBalancing::ROUND_ROBIN,
        connect_timeout: Duration::from_millis(u64::from(now)),
        ..Cluster::new(name('c', index), discovery)
    }))
}

fn localities(now: u16) -> Vec<LocalityEndpoints> {
    let endpoint = Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], now)),
        weight: NonZeroU32::MIN,
        health: Health::Healthy,
        hostname: None,
        workload: None,
    };
    vec![LocalityEndpoints { locality: Locality::default(), priority: 0, weight: None, endpoints: vec![endpoint] }]
}

fn assignment(index: usize, now: u16) -> Resource {
    let empty = ClusterLoadAssignment::empty(name('c', index));
    Resource::Endpoint(Arc::new(ClusterLoadAssignment { localities: localities(now), ..empty }))
}

fn configuration(index: usize, clusters: &[usize], now: u16) -> RouteConfiguration {
    let route = |cluster: &usize| {
        let prefix = format!("/{now}/{cluster}").into();
        let matches = RouteMatch {
            path: PathMatcher::Prefix { prefix, case_sensitive: true },
            headers: Vec::new(),
            query_parameters: Vec::new(),
            grpc: false,
            fraction: None,
        };
        let forward = Forward::to(ClusterSpecifier::Cluster(name('c', *cluster)));
        Route::new(matches, RouteAction::Forward(Box::new(forward)))
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: clusters.iter().map(route).collect(),
        ..Default::default()
    };
    RouteConfiguration { name: name('r', index), virtual_hosts: vec![host], ..Default::default() }
}

fn routes(index: usize, clusters: &[usize], now: u16) -> Resource {
    Resource::Route(Arc::new(configuration(index, clusters, now)))
}

/// Port 0: the kernel's choice, on loopback.
fn socket_listener(index: usize, routes: RouteSource) -> (Arc<str>, SocketListener) {
    let manager = HttpConnectionManager {
        stat_prefix: "fuzz".into(),
        codec: Codec::Auto,
        routes,
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
        use_original_dst: false,
        filter_chains: vec![chain],
        default_filter_chain: None,
        detection_timeout: None,
    };
    (name('l', index), socket)
}

fn of_socket((name, socket): (Arc<str>, SocketListener)) -> Resource {
    Resource::Listener(Arc::new(Listener {
        name,
        kind: ListenerKind::Socket(Box::new(socket)),
        direction: Direction::Unspecified,
        error_header: true,
        workload: None,
    }))
}

fn listener(index: usize, routes: RouteSource) -> Resource {
    of_socket(socket_listener(index, routes))
}

fn redirected(index: usize) -> Resource {
    let (name, socket) = socket_listener(index, RouteSource::Rds("r0".into()));
    of_socket((name, SocketListener { use_original_dst: true, ..socket }))
}

fn unbound(index: usize) -> Resource {
    let (name, socket) = socket_listener(index, RouteSource::Rds("r0".into()));
    of_socket((name, SocketListener { bind_to_port: false, ..socket }))
}
