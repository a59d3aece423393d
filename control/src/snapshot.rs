//! What each class of proxies is given, compiled and encoded once.
//!
//! # Why memos that know what they read
//! A mesh of a thousand services changes one weight at a time. Each *unit* of translation (the clusters of one service, its
//! virtual hosts for one class of clients, a sidecar's listeners) keeps its result together with the facts that it read. A
//! new world makes stale only the units whose facts differ, and a unit that comes out equal keeps its encoded bytes, so
//! nothing after it moves: versions are content hashes, and equal content is not sent twice.
//!
//! # Why views are made on demand
//! Only what connected proxies are given is compiled. A directory may describe ten gateways of which two run here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_policies::ir::ObjectName;
use tidegate_xds::ads::server::{EncodedResource, ResourceSet};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::route::VirtualHost;

use crate::place::Place;
use crate::translate::{cluster, endpoint, listener, route, tls};
use crate::world::{ClientClass, Fact, Reader, World};

/// A class of proxies that are given the same resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// The sidecars of one workload.
    Sidecar(ObjectName),
    /// The proxies of one gateway in one locality; the address matters where the gateway names none.
    Gateway { name: ObjectName, address: Option<IpAddr>, locality: [Arc<str>; 3] },
    /// Proxyless clients and whoever else asks: no sockets, everything by name.
    Other,
}

impl View {
    /// Where DestinationRules for its proxies are looked up first.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match self {
            Self::Sidecar(name) | Self::Gateway { name, .. } => Some(&name.namespace),
            Self::Other => None,
        }
    }
}

/// A piece of translation with a memo of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// For clients of a namespace that the service tells from others.
    Clusters(ObjectName, Option<Arc<str>>),
    Endpoints(ObjectName, Place),
    ApiListeners(ObjectName),
    GrpcRoutes(ObjectName),
    SidecarListeners(ObjectName, ClientClass),
    InboundClusters(ObjectName),
    InboundRoutes(ObjectName),
    GatewayListeners(ObjectName, Option<IpAddr>),
    GatewayRoutes(ObjectName),
}

/// A resource and its encoding.
pub type Encoded = (Resource, Arc<EncodedResource>);

#[derive(Debug)]
struct Memo<T> {
    facts: BTreeSet<Fact>,
    value: T,
    stale: bool,
    used: bool,
}

/// The outbound routes of a class, and the hosts they were assembled from.
struct Outbound {
    hosts: Vec<Arc<[VirtualHost]>>,
    encoded: Encoded,
    used: bool,
}

/// What was done since the last [`Compiler::take_work`]: exact, for tests and for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Units translated, by kind.
    pub translated: BTreeMap<&'static str, usize>,
    /// Resources encoded, by type.
    pub encoded: BTreeMap<ResourceType, usize>,
}

/// Translates worlds into views, incrementally.
#[derive(Default)]
pub struct Compiler {
    world: Arc<World>,
    units: BTreeMap<Unit, Memo<Vec<Encoded>>>,
    hosts: BTreeMap<(ObjectName, ClientClass), Memo<Arc<[VirtualHost]>>>,
    outbound: BTreeMap<ClientClass, Outbound>,
    /// Clusters and endpoints of all services, which every view holds, by the place from which they are seen.
    services: BTreeMap<Place, Vec<Encoded>>,
    /// The rate limit service for proxies that keep no leases, and its cluster once somebody needs it.
    rate_limit_service: Option<SocketAddr>,
    rate_limit_cluster: Option<Encoded>,
    work: Work,
}

impl Compiler {
    /// The world that views show.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Goes on to a new world.
    pub fn advance(&mut self, world: Arc<World>) {
        let changes = world.changes_since(&self.world);
        self.world = world;
        self.services.clear();
        let touched = |facts: &BTreeSet<Fact>| facts.iter().any(|fact| changes.contains(fact));
        for memo in self.units.values_mut() {
            memo.stale |= touched(&memo.facts);
            memo.used = false;
        }
        for memo in self.hosts.values_mut() {
            memo.stale |= touched(&memo.facts);
            memo.used = false;
        }
        for outbound in self.outbound.values_mut() {
            outbound.used = false;
        }
    }

    /// Drops memos that no view has asked for since [`Self::advance`].
    pub fn forget_unused(&mut self) {
        self.units.retain(|_, memo| memo.used);
        self.hosts.retain(|_, memo| memo.used);
        self.outbound.retain(|_, outbound| outbound.used);
    }

    /// What was done since the last call.
    pub fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// What streams of a view are given, as the successor of what they had.
    pub fn set(&mut self, view: &View, generation: u64, previous: Option<&ResourceSet>) -> ResourceSet {
        let encoded = self.resources(view).into_iter().map(|(_, encoded)| encoded);
        match previous {
            Some(previous) => previous.successor(generation, encoded),
            None => ResourceSet::new(generation, encoded),
        }
    }

    /// The resources of a view, with their encodings.
    pub fn resources(&mut self, view: &View) -> Vec<Encoded> {
        let world = self.world.clone();
        let mut resources = self.of_services(&place_of(view, &world));
        resources.extend(self.rate_limit_cluster(view));
        match view {
            View::Sidecar(name) => {
                if let Some(workload) = world.policies().workloads.get(name) {
                    let client = world.class_of(&name.namespace, &workload.labels);
                    resources.extend(self.unit(Unit::SidecarListeners(name.clone(), client.clone())));
                    resources.extend(self.unit(Unit::InboundClusters(name.clone())));
                    resources.extend(self.unit(Unit::InboundRoutes(name.clone())));
                    resources.push(self.outbound(&client));
                }
            }
            View::Gateway { name, address, locality: _ } => {
                let of_listeners = self.unit(Unit::GatewayListeners(name.clone(), *address));
                // The roots of its callers may be those of some service as well.
                let is_new = |(found, _): &Encoded| resources.iter().all(|(known, _)| known != found);
                let of_listeners: Vec<Encoded> = of_listeners.into_iter().filter(is_new).collect();
                resources.extend(of_listeners);
                resources.extend(self.unit(Unit::GatewayRoutes(name.clone())));
            }
            View::Other => {
                let units = world
                    .policies()
                    .services
                    .keys()
                    .flat_map(|service| [Unit::ApiListeners(service.clone()), Unit::GrpcRoutes(service.clone())]);
                resources.extend(self.first_of_each_name(units));
            }
        }
        resources
    }

    /// Of those only what says where requests go, without what arrives: little beside all of it.
    pub fn routes(&mut self, view: &View) -> Vec<Encoded> {
        let world = self.world.clone();
        match view {
            View::Sidecar(name) => {
                let workload = world.policies().workloads.get(name);
                let client = workload.map(|workload| world.class_of(&name.namespace, &workload.labels));
                client.map(|client| self.outbound(&client)).into_iter().collect()
            }
            View::Gateway { name, .. } => self.unit(Unit::GatewayRoutes(name.clone())),
            View::Other => Vec::new(),
        }
    }

    /// Where proxies find the rate limit service.
    pub fn set_rate_limit_service(&mut self, address: SocketAddr) {
        self.rate_limit_service = Some(address);
    }

    /// The cluster of the rate limit service, for proxies, as soon as there is a limit that is shared.
    fn rate_limit_cluster(&mut self, view: &View) -> Option<Encoded> {
        if *view == View::Other || !self.world.shares_limits() {
            return None;
        }
        let address = self.rate_limit_service?;
        let resource = Resource::Cluster(Arc::new(cluster::rate_limit_service(address)));
        let encoded = encode_unless_known(resource, self.rate_limit_cluster.as_slice(), &mut self.work);
        self.rate_limit_cluster = Some(encoded.clone());
        Some(encoded)
    }

    fn of_services(&mut self, place: &Place) -> Vec<Encoded> {
        if let Some(known) = self.services.get(place) {
            return known.clone();
        }
        let world = self.world.clone();
        let services = world.policies().services.keys();
        let units = services.flat_map(|service| {
            let seen = place.as_seen_by(service, &world);
            [Unit::Clusters(service.clone(), seen.namespace.clone()), Unit::Endpoints(service.clone(), seen)]
        });
        let resources = self.first_of_each_name(units);
        self.services.insert(place.clone(), resources.clone());
        resources
    }

    /// Two objects may describe one host. The first is the service, for every type of resource: the clusters of one with the
    /// routes of the other would be a mixture that nobody wrote.
    fn first_of_each_name(&mut self, units: impl Iterator<Item = Unit>) -> Vec<Encoded> {
        let mut names = BTreeSet::new();
        let mut resources = Vec::new();
        for unit in units {
            let found = self.unit(unit).into_iter();
            resources.extend(found.filter(|(r, _)| names.insert((r.resource_type(), r.name().clone()))));
        }
        resources
    }

    /// The resources of a unit, translated only if something it read has changed, encoded only if they came out different.
    fn unit(&mut self, unit: Unit) -> Vec<Encoded> {
        let known = self.units.get_mut(&unit);
        if let Some(memo) = known
            && !memo.stale
        {
            memo.used = true;
            return memo.value.clone();
        }
        let reader = Reader::new(&self.world);
        let resources = translate(&unit, &reader);
        let facts = reader.into_facts();
        *self.work.translated.entry(unit.kind()).or_default() += 1;
        let before = self.units.get(&unit).map(|memo| memo.value.as_slice()).unwrap_or_default();
        let work = &mut self.work;
        let value: Vec<Encoded> = resources.into_iter().map(|r| encode_unless_known(r, before, work)).collect();
        self.units.insert(unit, Memo { facts, value: value.clone(), stale: false, used: true });
        value
    }

    /// The outbound routes of a class of clients.
    fn outbound(&mut self, client: &ClientClass) -> Encoded {
        let world = self.world.clone();
        let services = world.policies().services.keys();
        let hosts: Vec<Arc<[VirtualHost]>> =
            services.map(|service| self.hosts(service.clone(), client.as_seen_by(service, &world))).collect();
        if let Some(known) = self.outbound.get_mut(client)
            && known.hosts.len() == hosts.len()
            && known.hosts.iter().zip(&hosts).all(|(was, is)| Arc::ptr_eq(was, is))
        {
            known.used = true;
            return known.encoded.clone();
        }
        let routes = Resource::Route(Arc::new(route::outbound(hosts.iter().flat_map(|hosts| hosts.iter()))));
        let before = self.outbound.get(client).map(|known| std::slice::from_ref(&known.encoded)).unwrap_or_default();
        let encoded = encode_unless_known(routes, before, &mut self.work);
        self.outbound.insert(client.clone(), Outbound { hosts, encoded: encoded.clone(), used: true });
        encoded
    }

    /// The virtual hosts of a service for a class of clients, as far as the service can tell clients apart.
    fn hosts(&mut self, service: ObjectName, client: ClientClass) -> Arc<[VirtualHost]> {
        let key = (service, client);
        if let Some(memo) = self.hosts.get_mut(&key)
            && !memo.stale
        {
            memo.used = true;
            return memo.value.clone();
        }
        let reader = Reader::new(&self.world);
        let hosts = route::service_hosts(&key.0, &key.1, &reader);
        let facts = reader.into_facts();
        *self.work.translated.entry("hosts").or_default() += 1;
        let before = self.hosts.get(&key).map(|memo| memo.value.clone());
        let value = before.filter(|known| **known == *hosts).unwrap_or_else(|| hosts.into());
        self.hosts.insert(key, Memo { facts, value: value.clone(), stale: false, used: true });
        value
    }
}

impl Unit {
    fn kind(&self) -> &'static str {
        match self {
            Self::Clusters(..) => "clusters",
            Self::Endpoints(..) => "endpoints",
            Self::ApiListeners(_) => "api listeners",
            Self::GrpcRoutes(_) => "grpc routes",
            Self::SidecarListeners(..) => "sidecar listeners",
            Self::InboundClusters(_) => "inbound clusters",
            Self::InboundRoutes(_) => "inbound routes",
            Self::GatewayListeners(..) => "gateway listeners",
            Self::GatewayRoutes(_) => "gateway routes",
        }
    }
}

/// Where the proxies of a view are.
fn place_of(view: &View, world: &World) -> Place {
    let place = match view {
        View::Sidecar(name) => world.policies().workloads.get(name).map(Place::of).unwrap_or_default(),
        View::Gateway { locality, .. } => {
            Place { namespace: view.namespace().cloned(), locality: locality.clone(), ..Place::default() }
        }
        View::Other => Place::default(),
    };
    place.as_seen_by_any(world)
}

fn translate(unit: &Unit, reader: &Reader<'_>) -> Vec<Resource> {
    fn each<T>(items: Vec<T>, wrap: impl Fn(Arc<T>) -> Resource) -> Vec<Resource> {
        items.into_iter().map(|item| wrap(Arc::new(item))).collect()
    }
    match unit {
        Unit::Clusters(service, client) => {
            let client = client.as_deref();
            let clusters = each(cluster::clusters(service, client, reader), Resource::Cluster);
            clusters.into_iter().chain(tls::of_service(service, client, reader)).collect()
        }
        Unit::Endpoints(service, place) => each(endpoint::assignments(service, place, reader), Resource::Endpoint),
        Unit::ApiListeners(service) => each(listener::api(service, reader), Resource::Listener),
        // Rules limited to a namespace are not for clients outside every namespace.
        Unit::GrpcRoutes(service) => each(route::grpc(service, &ClientClass::default(), reader), Resource::Route),
        Unit::SidecarListeners(workload, client) => {
            each(listener::sidecar(workload, client, reader), Resource::Listener)
        }
        Unit::InboundClusters(workload) => {
            let clusters = reader.workload(workload).map(|workload| cluster::inbound_clusters(workload, reader));
            each(clusters.unwrap_or_default(), Resource::Cluster)
        }
        Unit::InboundRoutes(workload) => each(route::inbound(workload, reader), Resource::Route),
        Unit::GatewayListeners(gateway, address) => {
            let listeners = each(listener::gateway(gateway, *address, reader), Resource::Listener);
            listeners.into_iter().chain(tls::of_gateway(gateway, reader)).collect()
        }
        Unit::GatewayRoutes(gateway) => each(route::gateway(gateway, reader), Resource::Route),
    }
}

fn encode_unless_known(resource: Resource, before: &[Encoded], work: &mut Work) -> Encoded {
    match before.iter().find(|(known, _)| *known == resource) {
        Some(known) => known.clone(),
        None => {
            *work.encoded.entry(resource.resource_type()).or_default() += 1;
            let encoded = EncodedResource::new(&resource);
            (resource, encoded)
        }
    }
}

#[cfg(test)]
mod tests;
