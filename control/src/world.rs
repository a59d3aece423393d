//! What exists and what was decided about it, at one instant, indexed and immutable.
//!
//! # Why every read goes through a reader
//! Recompiling only what depends on a change needs to know what depends on what. Written by hand, such lists are wrong
//! sooner or later, and the bug they cause is one proxy living with another's configuration. So translation sees the
//! world only through a [`Reader`], which notes each [`Fact`] that was looked at; the memo of a result is valid as long
//! as none of its facts changed. A fact that was looked for and is missing is noted too.

mod client;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_policies::ir::fault::Fault;
use tidegate_policies::ir::gateway::Gateway;
use tidegate_policies::ir::load_balancing::{BackendSettings, LoadBalancing, TrafficSettings};
use tidegate_policies::ir::rate_limit::{RateLimit, RateScope};
use tidegate_policies::ir::retry::Retry;
use tidegate_policies::ir::session::SessionPersistence;
use tidegate_policies::ir::timeout::Timeouts;
use tidegate_policies::ir::tls::{Credential, CredentialName};
use tidegate_policies::ir::world::{EndpointSlice, External, Labels, Service, Workload};
use tidegate_policies::ir::{MeshRoutes, MeshSettings, ObjectName, PolicySet, Stated, WorkloadLimits};
use tidegate_xds::resource::route::Policies;

pub use client::ClientClass;

use crate::place::label_name;
use crate::translate::load_balancing::settings;
use crate::translate::written::places;

/// A checked policy set with the indexes that translation needs.
#[derive(Debug, Default)]
pub struct World {
    policies: Arc<PolicySet>,
    /// Service -> the workloads its selector chooses.
    members: BTreeMap<ObjectName, Vec<ObjectName>>,
    /// Service -> positions in `endpoint_slices`.
    slices: BTreeMap<ObjectName, Vec<usize>>,
    /// Workload -> the services whose selectors choose it.
    services: BTreeMap<ObjectName, Vec<ObjectName>>,
    /// Services whose endpoints are in more than one locality.
    spread: BTreeSet<ObjectName>,
    /// Labels by which endpoints may be near.
    nearness_labels: BTreeSet<Arc<str>>,
    /// Namespaces whose clients call some service in a way of their own.
    told_apart: BTreeSet<Arc<str>>,
    /// Some limit is shared by several proxies.
    shares_limits: bool,
    /// Every label selector by which a rule tells clients apart.
    client_selectors: BTreeSet<Labels>,
}

/// Something a translation may depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The service itself.
    Service(ObjectName),
    /// The rules for calls to it.
    Routes(ObjectName),
    /// How its endpoints are used.
    Backend(ObjectName),
    /// What of that is a matter of routes.
    Calls(ObjectName),
    /// Where it is written how its endpoints are used.
    Places(ObjectName),
    /// The limits of requests that arrive at it.
    Limits(ObjectName),
    /// The workloads and slices behind it.
    Endpoints(ObjectName),
    /// One workload.
    Workload(ObjectName),
    /// One gateway.
    Gateway(ObjectName),
    /// A certificate with its key, or roots.
    Credential(CredentialName),
    /// The services that choose a workload.
    Memberships(ObjectName),
    /// The limits of requests for workloads of a namespace, by label.
    WorkloadLimits(Arc<str>),
    /// What holds for the whole mesh.
    Mesh,
}

impl World {
    /// Indexes a policy set.
    pub fn new(policies: Arc<PolicySet>) -> Self {
        let mut by_namespace: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
        for workload in policies.workloads.values() {
            by_namespace.entry(&workload.name.namespace).or_default().push(workload);
        }
        let mut members = BTreeMap::new();
        for service in policies.services.values() {
            // As in Kubernetes, an empty selector chooses nothing rather than everything.
            let Some(selector) = service.selector.as_ref().filter(|s| !s.is_empty()) else { continue };
            let chosen: Vec<ObjectName> = by_namespace
                .get(&*service.name.namespace)
                .into_iter()
                .flatten()
                .filter(|w| includes(&w.labels, selector))
                .map(|w| w.name.clone())
                .collect();
            members.insert(service.name.clone(), chosen);
        }
        let mut slices: BTreeMap<ObjectName, Vec<usize>> = BTreeMap::new();
        for (position, slice) in policies.endpoint_slices.iter().enumerate() {
            slices.entry(slice.service.clone()).or_default().push(position);
        }
        let mut services: BTreeMap<ObjectName, Vec<ObjectName>> = BTreeMap::new();
        for (service, chosen) in &members {
            chosen.iter().for_each(|name| services.entry(name.clone()).or_default().push(service.clone()));
        }
        let client_selectors = policies
            .mesh_routes
            .values()
            .flatten()
            .flat_map(|routes| &routes.rules)
            .map(|entry| &entry.matches.client.labels)
            .filter(|labels| !labels.is_empty())
            .cloned()
            .collect();
        let shares_limits = every_limit(&policies).any(|limit| limit.value.scope == RateScope::Shared);
        let nearness_labels = nearness_labels(&policies);
        let told_apart = policies.client_backends.values().flat_map(BTreeMap::keys).cloned().collect();
        let mut world = Self {
            nearness_labels,
            told_apart,
            policies,
            members,
            slices,
            services,
            spread: BTreeSet::new(),
            shares_limits,
            client_selectors,
        };
        world.spread = world.policies.services.keys().filter(|name| world.localities_of(name) > 1).cloned().collect();
        world
    }

    /// The policy set it was made from.
    pub fn policies(&self) -> &Arc<PolicySet> {
        &self.policies
    }

    /// The class of a client in `namespace` with `labels`.
    pub fn class_of(&self, namespace: &Arc<str>, labels: &Labels) -> ClientClass {
        let selectors = self.client_selectors.iter().filter(|s| includes(labels, s)).cloned().collect();
        ClientClass { namespace: Some(namespace.clone()), selectors }
    }

    /// The workloads that a service's selector chooses.
    pub fn members(&self, service: &ObjectName) -> &[ObjectName] {
        self.members.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the endpoints of a service are in more than one locality.
    pub fn is_spread(&self, service: &ObjectName) -> bool {
        self.spread.contains(service)
    }

    /// Whether there is such a service at all.
    pub fn is_any_spread(&self) -> bool {
        !self.spread.is_empty()
    }

    /// Labels by which endpoints of some service may be near.
    pub fn nearness_labels(&self) -> &BTreeSet<Arc<str>> {
        &self.nearness_labels
    }

    /// Whether clients of a namespace call some service in a way of their own.
    pub fn tells_apart(&self, namespace: &str) -> bool {
        self.told_apart.contains(namespace)
    }

    /// The client's namespace as far as the settings of a service can tell.
    pub fn client_of<'n>(&self, service: &ObjectName, namespace: Option<&'n Arc<str>>) -> Option<&'n Arc<str>> {
        let of_clients = self.policies.client_backends.get(service)?;
        namespace.filter(|namespace| of_clients.contains_key(*namespace))
    }

    /// Whether a limit is shared by several proxies.
    pub fn shares_limits(&self) -> bool {
        self.shares_limits
    }

    /// In how many localities a service's endpoints are.
    fn localities_of(&self, service: &ObjectName) -> usize {
        let external = self.policies.services.get(service).map(|s| &s.external);
        let fixed = external.into_iter().flat_map(|external| match external {
            External::Static(workloads) => workloads.as_slice(),
            External::No | External::Dns(_) => &[],
        });
        let of_workloads = self.members_of(service).chain(fixed).map(|w| w.locality.each_ref().map(|part| &**part));
        let endpoints = self.slices_of(service).flat_map(|slice| &slice.endpoints);
        let of_slices = endpoints.map(|endpoint| ["", endpoint.zone.as_deref().unwrap_or_default(), ""]);
        of_workloads.chain(of_slices).collect::<BTreeSet<_>>().len()
    }

    /// The facts that differ between two worlds.
    pub fn changes_since(&self, old: &Self) -> BTreeSet<Fact> {
        let (new, was) = (&*self.policies, &*old.policies);
        let mut facts = BTreeSet::new();
        differing(&new.services, &was.services, |name| facts.insert(Fact::Service(name)));
        differing(&new.mesh_routes, &was.mesh_routes, |name| facts.insert(Fact::Routes(name)));
        let mut changed = BTreeSet::new();
        differing(&new.backends, &was.backends, |name| changed.insert(name));
        differing(&new.client_backends, &was.client_backends, |name| changed.insert(name));
        for name in changed {
            if !new.ways(&name).map(all_calls).eq(was.ways(&name).map(all_calls)) {
                facts.insert(Fact::Calls(name.clone()));
            }
            if !new.ways(&name).map(all_places).eq(was.ways(&name).map(all_places)) {
                facts.insert(Fact::Places(name.clone()));
            }
            // Limits of what arrives do not depend on who calls.
            if all_limits(new.backends.get(&name)).ne(all_limits(was.backends.get(&name))) {
                facts.insert(Fact::Limits(name.clone()));
            }
            facts.insert(Fact::Backend(name));
        }
        differing(&new.workloads, &was.workloads, |name| facts.insert(Fact::Workload(name)));
        differing(&new.gateways, &was.gateways, |name| facts.insert(Fact::Gateway(name)));
        differing(&new.credentials, &was.credentials, |name| facts.insert(Fact::Credential(name)));
        differing(&self.services, &old.services, |name| facts.insert(Fact::Memberships(name)));
        for limits in new.workload_limits.iter().chain(&was.workload_limits) {
            if workload_limits(new, &limits.namespace).ne(workload_limits(was, &limits.namespace)) {
                facts.insert(Fact::WorkloadLimits(limits.namespace.clone()));
            }
        }
        if new.mesh != was.mesh {
            facts.insert(Fact::Mesh);
        }
        let behind: BTreeSet<&ObjectName> =
            [&self.members, &old.members].into_iter().flat_map(BTreeMap::keys).collect();
        let sliced: BTreeSet<&ObjectName> = [&self.slices, &old.slices].into_iter().flat_map(BTreeMap::keys).collect();
        for service in behind.union(&sliced) {
            let same = self.members_of(service).eq(old.members_of(service))
                && self.slices_of(service).eq(old.slices_of(service));
            if !same {
                facts.insert(Fact::Endpoints((*service).clone()));
            }
        }
        facts
    }

    fn members_of(&self, service: &ObjectName) -> impl Iterator<Item = &Workload> {
        self.members.get(service).into_iter().flatten().filter_map(|name| self.policies.workloads.get(name))
    }

    fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.get(service).into_iter().flatten().filter_map(|at| self.policies.endpoint_slices.get(*at))
    }
}

fn workload_limits<'p>(policies: &'p PolicySet, namespace: &str) -> impl Iterator<Item = &'p WorkloadLimits> {
    policies.workload_limits.iter().filter(move |limits| *limits.namespace == *namespace)
}

/// All limits, wherever they are written.
/// Every limit, wherever it is attached.
pub(crate) fn every_limit(policies: &PolicySet) -> impl Iterator<Item = &Stated<RateLimit>> {
    let of_services = policies.backends.values().flat_map(|backend| all_limits(Some(backend))).flat_map(|(_, l)| l);
    let of_mesh = policies.mesh_routes.values().flatten().flat_map(|routes| &routes.rules);
    let hosts = policies.gateways.values().flat_map(|gateway| &gateway.listeners).flat_map(|l| &l.hosts);
    let rules = of_mesh.chain(hosts.flat_map(|host| &host.rules));
    let of_workloads = policies.workload_limits.iter().flat_map(|limits| &limits.limits);
    of_services.chain(rules.flat_map(|entry| &entry.rule.policies.rate_limits)).chain(of_workloads)
}

/// The settings of a service that are a matter of routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    /// Retries.
    pub retry: Option<Stated<Retry>>,
    /// Limits in time.
    pub timeouts: Option<Stated<Timeouts>>,
    /// A fault.
    pub fault: Option<Stated<Fault>>,
    /// Sessions.
    pub session: Option<Stated<SessionPersistence>>,
    /// What a hash is made from, if endpoints are chosen by one.
    pub load_balancing: Option<Stated<LoadBalancing>>,
}

impl Calls {
    fn of(backend: Option<&BackendSettings>, subset: Option<&str>, port: u16) -> Self {
        let TrafficSettings { retry, timeouts, fault, session, load_balancing, .. } = settings(backend, subset, port);
        let hashed = |stated: &Stated<LoadBalancing>| matches!(*stated.value, LoadBalancing::ConsistentHash(_));
        Self { retry, timeouts, fault, session, load_balancing: load_balancing.filter(hashed) }
    }
}

/// One of the ways in which a service is called: the namespace whose clients do so, and the settings.
type Way<'p> = (Option<&'p Arc<str>>, Option<&'p BackendSettings>);
/// Something of each part of a way.
type OfParts<'p, T> = (Option<&'p Arc<str>>, BTreeMap<(Option<&'p str>, u16), T>);

/// All settings of calls.
fn all_calls((client, backend): Way<'_>) -> OfParts<'_, Calls> {
    (client, parts(backend).map(|(name, port)| ((name, port), Calls::of(backend, name, port))).collect())
}

/// All places behind clusters.
fn all_places((client, backend): Way<'_>) -> OfParts<'_, Policies> {
    (client, parts(backend).map(|(name, port)| ((name, port), places(backend, name, port))).collect())
}

/// What settings may differ for: the service and its versions, ports that have settings of their own and the others.
fn parts(backend: Option<&BackendSettings>) -> impl Iterator<Item = (Option<&str>, u16)> {
    let subsets = || backend.into_iter().flat_map(|b| &b.subsets);
    let own_ports = backend.into_iter().flat_map(|b| b.ports.keys()).chain(subsets().flat_map(|(_, s)| s.ports.keys()));
    // No service has a port 0, so it stands for the others.
    let ports: BTreeSet<u16> = own_ports.copied().chain([0]).collect();
    let names: Vec<Option<&str>> = std::iter::once(None).chain(subsets().map(|(name, _)| Some(&**name))).collect();
    ports.into_iter().flat_map(move |port| names.clone().into_iter().map(move |name| (name, port)))
}

fn all_limits(backend: Option<&BackendSettings>) -> impl Iterator<Item = (Option<&Labels>, &[Stated<RateLimit>])> {
    let all = backend.into_iter().map(|b| (None, b.traffic.rate_limits.as_slice()));
    let of_subsets = backend.into_iter().flat_map(|b| b.subsets.values());
    all.chain(of_subsets.map(|s| (Some(&s.labels), s.traffic.rate_limits.as_slice()))).filter(|(_, l)| !l.is_empty())
}

fn nearness_labels(policies: &PolicySet) -> BTreeSet<Arc<str>> {
    let traffic = policies.all_backends().flat_map(|(_, b)| {
        let of_subsets = b.subsets.values().flat_map(|s| std::iter::once(&s.traffic).chain(s.ports.values()));
        std::iter::once(&b.traffic).chain(b.ports.values()).chain(of_subsets)
    });
    let keys = traffic.filter_map(|t| t.locality.as_ref()).flat_map(|stated| &stated.value.failover_priority);
    keys.map(|key| Arc::from(label_name(key))).collect()
}

fn includes(labels: &Labels, selector: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn differing<K: Clone + Ord, V: PartialEq>(
    new: &BTreeMap<K, V>,
    old: &BTreeMap<K, V>,
    mut report: impl FnMut(K) -> bool,
) {
    for (name, value) in new {
        if old.get(name) != Some(value) {
            report(name.clone());
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        report(name.clone());
    }
}

/// Reads the world and remembers what was read.
#[derive(Debug)]
pub struct Reader<'w> {
    world: &'w World,
    facts: RefCell<BTreeSet<Fact>>,
}

impl<'w> Reader<'w> {
    /// Nothing has been read yet.
    pub fn new(world: &'w World) -> Self {
        Self { world, facts: RefCell::default() }
    }

    /// What was read.
    pub fn into_facts(self) -> BTreeSet<Fact> {
        self.facts.into_inner()
    }

    /// A service.
    pub fn service(&self, name: &ObjectName) -> Option<&'w Service> {
        self.note(Fact::Service(name.clone()));
        self.world.policies.services.get(name)
    }

    /// The rules for calls to a service.
    pub fn routes(&self, service: &ObjectName) -> &'w [MeshRoutes] {
        self.note(Fact::Routes(service.clone()));
        self.world.policies.mesh_routes.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// How clients of a namespace call a service.
    pub fn backend(&self, service: &ObjectName, client: Option<&str>) -> Option<&'w BackendSettings> {
        self.note(Fact::Backend(service.clone()));
        self.world.policies.backend(service, client)
    }

    /// What of that is a matter of routes, for a port of the service or of one version of it.
    pub fn calls(&self, service: &ObjectName, client: Option<&str>, port: u16, subset: Option<&str>) -> Calls {
        self.note(Fact::Calls(service.clone()));
        Calls::of(self.world.policies.backend(service, client), subset, port)
    }

    /// Where that which stands behind a cluster is written: for a port of the service or of one version of it.
    pub fn places(&self, service: &ObjectName, client: Option<&str>, port: u16, subset: Option<&str>) -> Policies {
        self.note(Fact::Places(service.clone()));
        places(self.world.policies.backend(service, client), subset, port)
    }

    /// The limits of requests to a service that hold for a workload with these labels.
    pub fn limits(&self, service: &ObjectName, labels: &Labels) -> Vec<&'w Stated<RateLimit>> {
        self.note(Fact::Limits(service.clone()));
        let all = all_limits(self.world.policies.backends.get(service));
        let fitting = all.filter(|(of_subset, _)| of_subset.is_none_or(|wanted| includes(labels, wanted)));
        fitting.flat_map(|(_, limits)| limits).collect()
    }

    /// The limits of requests for workloads that choose this one by its labels.
    pub fn limits_by_label(&self, workload: &Workload) -> impl Iterator<Item = &'w Stated<RateLimit>> {
        let namespace = &workload.name.namespace;
        self.note(Fact::WorkloadLimits(namespace.clone()));
        let fitting =
            workload_limits(&self.world.policies, namespace).filter(|l| includes(&workload.labels, &l.labels));
        fitting.flat_map(|limits| &limits.limits)
    }

    /// The workloads that a service's selector chooses.
    pub fn members(&self, service: &ObjectName) -> impl Iterator<Item = &'w Workload> {
        self.note(Fact::Endpoints(service.clone()));
        self.world.members_of(service)
    }

    /// The endpoint slices of a service.
    pub fn slices(&self, service: &ObjectName) -> impl Iterator<Item = &'w EndpointSlice> {
        self.note(Fact::Endpoints(service.clone()));
        self.world.slices_of(service)
    }

    /// The services whose selectors choose a workload.
    pub fn services_of(&self, workload: &ObjectName) -> &'w [ObjectName] {
        self.note(Fact::Memberships(workload.clone()));
        self.world.services.get(workload).map(Vec::as_slice).unwrap_or_default()
    }

    /// What holds for the whole mesh.
    pub fn mesh(&self) -> &'w MeshSettings {
        self.note(Fact::Mesh);
        &self.world.policies.mesh
    }

    /// A workload.
    pub fn workload(&self, name: &ObjectName) -> Option<&'w Workload> {
        self.note(Fact::Workload(name.clone()));
        self.world.policies.workloads.get(name)
    }

    /// A gateway.
    pub fn gateway(&self, name: &ObjectName) -> Option<&'w Gateway> {
        self.note(Fact::Gateway(name.clone()));
        self.world.policies.gateways.get(name)
    }

    /// A certificate with its key, or roots.
    pub fn credential(&self, name: &CredentialName) -> Option<&'w Credential> {
        self.note(Fact::Credential(name.clone()));
        self.world.policies.credentials.get(name)
    }

    fn note(&self, fact: Fact) {
        self.facts.borrow_mut().insert(fact);
    }
}
