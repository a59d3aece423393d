//! Where a client is, as far as a service can tell.
//!
//! # Why a class of its own
//! Rules tell clients apart by namespace and labels, nearness tells them apart by locality, DestinationRules by namespace.
//! Most services do none of it, and their endpoints are then one resource for all. So a client's place is cut down to what a
//! service asks for before it becomes part of a key: nothing for a service whose endpoints are all in one place and which
//! everybody calls alike.

use std::sync::Arc;

use tidegate_policies::ir::ObjectName;
use tidegate_policies::ir::locality::LocalitySettings;
use tidegate_policies::ir::world::{External, Labels, Workload};

use crate::world::World;

/// Labels that stand for the parts of a locality, as Kubernetes and Istio call them.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// A client's place. The default is nowhere, and to nobody nearer than to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The client's namespace, where DestinationRules are looked up first.
    pub namespace: Option<Arc<str>>,
    /// Region, zone and sub-zone.
    pub locality: [Arc<str>; 3],
    /// Labels by which endpoints may be near.
    pub labels: Labels,
}

impl Place {
    /// Where a workload is.
    pub fn of(workload: &Workload) -> Self {
        Self {
            namespace: Some(workload.name.namespace.clone()),
            locality: workload.locality.clone(),
            labels: workload.labels.clone(),
        }
    }

    /// Whether it is to nobody nearer than to another.
    fn is_nowhere(&self) -> bool {
        self.locality.iter().all(|part| part.is_empty()) && self.labels.is_empty()
    }

    /// The place as far as any service can tell: what all services of a view are looked at from, and so shared by as many
    /// clients as possible.
    pub fn as_seen_by_any(self, world: &World) -> Self {
        let wanted = world.nearness_labels();
        let namespace = self.namespace.filter(|namespace| world.tells_apart(namespace));
        if !world.is_any_spread() && wanted.is_empty() {
            return Self { namespace, ..Self::default() };
        }
        let labels = self.labels.into_iter().filter(|(key, _)| wanted.contains(key)).collect();
        Self { namespace, locality: self.locality, labels }
    }

    /// The place as far as the endpoints of `service` can tell.
    pub fn as_seen_by(&self, service: &ObjectName, world: &World) -> Self {
        let namespace = world.client_of(service, self.namespace.as_ref()).cloned();
        let only_by_namespace = Self { namespace, ..Self::default() };
        if self.is_nowhere() || world.policies().services.get(service).is_none_or(|s| is_found_by_name(&s.external)) {
            return only_by_namespace;
        }
        let namespace = only_by_namespace.namespace.as_deref();
        let stanzas = || stanzas(service, namespace, world).map(|stated| &*stated.value);
        let wanted: Vec<&str> = stanzas().flat_map(|s| &s.failover_priority).map(|key| label_name(key)).collect();
        let labels = self.labels.iter().filter(|(key, _)| wanted.contains(&&***key));
        let labels: Labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        // An explicit stanza that is off at the service may be on at a version, so only endpoints in one place decide.
        let asked = world.is_spread(service) || !wanted.is_empty();
        if asked { Self { locality: self.locality.clone(), labels, ..only_by_namespace } } else { only_by_namespace }
    }

    /// The value by which an endpoint would have to be equal: what the key says itself (`key=value`), a part of the
    /// locality, or this place's label.
    pub fn wanted<'k>(&'k self, key: &'k str) -> Option<&'k str> {
        if let Some((_, value)) = key.split_once('=') {
            return Some(value);
        }
        part_of(&self.locality, key).or_else(|| self.labels.get(key).map(|value| &**value))
    }
}

/// `key` of `key` or `key=value`.
pub fn label_name(key: &str) -> &str {
    key.split_once('=').map_or(key, |(name, _)| name)
}

/// The part of a locality that a topology label stands for, if it is one and the part is known.
pub fn part_of<'l>(locality: &'l [Arc<str>; 3], label: &str) -> Option<&'l str> {
    let at = TOPOLOGY.iter().position(|known| *known == label)?;
    locality.get(at).map(|part| &**part).filter(|part| !part.is_empty())
}

/// The nearness stanzas of a service and of its versions, as clients of a namespace are given them.
fn stanzas<'w>(
    service: &ObjectName,
    namespace: Option<&str>,
    world: &'w World,
) -> impl Iterator<Item = &'w tidegate_policies::ir::Stated<LocalitySettings>> {
    let backend = world.policies().backend(service, namespace);
    backend.into_iter().flat_map(|backend| {
        let of_subsets = backend.subsets.values().flat_map(|s| std::iter::once(&s.traffic).chain(s.ports.values()));
        let all = std::iter::once(&backend.traffic).chain(backend.ports.values()).chain(of_subsets);
        all.flat_map(|traffic| &traffic.locality)
    })
}

fn is_found_by_name(external: &External) -> bool {
    matches!(external, External::Dns(_))
}
