//! What exists and what was decided about it, at one instant, indexed and immutable.
//!
//! # Why every read goes through a reader
//! Recompiling only what depends on a change needs to know what depends on what. Written by hand, such lists are wrong
//! sooner or later, and the bug they cause is one proxy living with another's configuration. So translation sees the
//! world only through a [`Reader`], which notes each [`Fact`] that was looked at; the memo of a result is valid as long
//! as none of its facts changed. A fact that was looked for and is missing is noted too.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_policies::ir::gateway::Gateway;
use tidegate_policies::ir::load_balancing::BackendSettings;
use tidegate_policies::ir::route::ClientMatch;
use tidegate_policies::ir::world::{EndpointSlice, Labels, Service, Workload};
use tidegate_policies::ir::{MeshRoutes, ObjectName, PolicySet};

/// A checked policy set with the indexes that translation needs.
#[derive(Debug, Default)]
pub struct World {
    policies: Arc<PolicySet>,
    /// Service -> the workloads its selector chooses.
    members: BTreeMap<ObjectName, Vec<ObjectName>>,
    /// Service -> positions in `endpoint_slices`.
    slices: BTreeMap<ObjectName, Vec<usize>>,
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
    /// How it is called.
    Backend(ObjectName),
    /// The workloads and slices behind it.
    Endpoints(ObjectName),
    /// One workload.
    Workload(ObjectName),
    /// One gateway.
    Gateway(ObjectName),
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
        let client_selectors = policies
            .mesh_routes
            .values()
            .flatten()
            .flat_map(|routes| &routes.rules)
            .map(|entry| &entry.matches.client.labels)
            .filter(|labels| !labels.is_empty())
            .cloned()
            .collect();
        Self { policies, members, slices, client_selectors }
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

    /// The facts that differ between two worlds.
    pub fn changes_since(&self, old: &Self) -> BTreeSet<Fact> {
        let (new, was) = (&*self.policies, &*old.policies);
        let mut facts = BTreeSet::new();
        differing(&new.services, &was.services, |name| facts.insert(Fact::Service(name)));
        differing(&new.mesh_routes, &was.mesh_routes, |name| facts.insert(Fact::Routes(name)));
        differing(&new.backends, &was.backends, |name| facts.insert(Fact::Backend(name)));
        differing(&new.workloads, &was.workloads, |name| facts.insert(Fact::Workload(name)));
        differing(&new.gateways, &was.gateways, |name| facts.insert(Fact::Gateway(name)));
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

fn includes(labels: &Labels, selector: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn differing<V: PartialEq>(
    new: &BTreeMap<ObjectName, V>,
    old: &BTreeMap<ObjectName, V>,
    mut report: impl FnMut(ObjectName) -> bool,
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

/// Who asks, as far as rules can tell clients apart. Clients of one class get identical routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientClass {
    /// The client's namespace; `None`: a client outside every namespace.
    pub namespace: Option<Arc<str>>,
    /// The client selectors named by rules that hold for it.
    pub selectors: BTreeSet<Labels>,
}

impl ClientClass {
    /// Whether a rule limited to `clients` is for this class.
    pub fn admits(&self, clients: &ClientMatch) -> bool {
        let here = clients.namespace.is_none() || clients.namespace == self.namespace;
        here && (clients.labels.is_empty() || self.selectors.contains(&clients.labels))
    }

    /// The class as far as `service` can tell: what its rules never ask for is left out, so that clients of many
    /// namespaces share the translation of a service that treats them alike.
    pub fn as_seen_by(&self, service: &ObjectName, world: &World) -> Self {
        let routes = world.policies.mesh_routes.get(service).map(Vec::as_slice).unwrap_or_default();
        let clients = || routes.iter().flat_map(|r| &r.rules).map(|entry| &entry.matches.client);
        let known = |namespace: &Arc<str>| {
            *namespace == service.namespace
                || routes.iter().any(|r| r.consumer_namespace.as_ref() == Some(namespace))
                || clients().any(|c| c.namespace.as_ref() == Some(namespace))
        };
        let asked: BTreeSet<&Labels> = clients().map(|c| &c.labels).collect();
        Self {
            namespace: self.namespace.clone().filter(known),
            selectors: self.selectors.iter().filter(|s| asked.contains(s)).cloned().collect(),
        }
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

    /// How a service is called.
    pub fn backend(&self, service: &ObjectName) -> Option<&'w BackendSettings> {
        self.note(Fact::Backend(service.clone()));
        self.world.policies.backends.get(service)
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

    fn note(&self, fact: Fact) {
        self.facts.borrow_mut().insert(fact);
    }
}
