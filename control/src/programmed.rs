//! What has become of each object, as Gateway API says it: accepted, resolved, programmed.
//!
//! # How an object is known to be in force
//! Routes say where the rules and settings in them were written, for the sake of proxies' messages. Read the other way they
//! say which objects a proxy was given. Clusters are known by name, and what stands behind each is in the policies. A
//! proxy's answers say what it made of them. So `Programmed` is made of answers, and an object that no proxy is given is not
//! claimed to be in force anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegate_policies::ir::load_balancing::BackendSettings;
use tidegate_policies::ir::status::{Condition, ConditionKind, ObjectStatus};
use tidegate_policies::ir::world::Service;
use tidegate_policies::ir::{Origin, PolicySet};
use tidegate_xds::name::{ResourceType, outbound_cluster};
use tidegate_xds::resource::Resource;

use crate::api::model::{ConditionReport, ConditionStatus, Nack, ObjectReport, ProxyKind, ProxyStatus};
use crate::snapshot::{Encoded, View};
use crate::translate::cluster::host;
use crate::translate::written::places as places_behind;

/// Of a version's hash: enough to see that it has changed.
const VERSION_BYTES: usize = 2;
/// Kinds that reach proxies only through others.
const SILENT: [&str; 4] = ["Namespace", "EndpointSlice", "ReferenceGrant", "GatewayClass"];

/// A resource in one version: type, name, version.
type Piece = (ResourceType, Arc<str>, Arc<str>);

/// The resources in which a view's proxies are given objects, by the object's position among the statuses.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    objects: BTreeMap<usize, BTreeSet<Piece>>,
    /// All names, so that a refusal can be read.
    names: BTreeSet<(ResourceType, Arc<str>)>,
}

/// What stands behind clusters.
type Clusters = BTreeMap<Arc<str>, BTreeSet<usize>>;

/// Finds objects by where they stand.
#[derive(Debug)]
pub struct Index<'p> {
    /// File -> line -> position.
    places: BTreeMap<&'p str, BTreeMap<u32, usize>>,
    /// Cluster -> positions of its service, of who defines the subset, and of the policies behind it.
    clusters: Clusters,
    /// The same for clients of a namespace that have clusters of their own.
    of_clients: BTreeMap<&'p str, Clusters>,
    statuses: &'p [ObjectStatus],
}

impl<'p> Index<'p> {
    /// Of the objects of a policy set.
    pub fn new(policies: &'p PolicySet) -> Self {
        let mut places: BTreeMap<&str, BTreeMap<u32, usize>> = BTreeMap::new();
        for (position, status) in policies.statuses.iter().enumerate() {
            places.entry(&status.origin.file).or_default().insert(status.origin.line, position);
        }
        let mut index =
            Self { places, clusters: Clusters::new(), of_clients: BTreeMap::new(), statuses: &policies.statuses };
        for service in policies.services.values() {
            for (client, backend) in policies.ways(&service.name) {
                let found = index.behind(service, backend);
                let known = match client {
                    Some(namespace) => index.of_clients.entry(namespace).or_default(),
                    None => &mut index.clusters,
                };
                for (cluster, positions) in found {
                    // Of two services with one host the first has the cluster.
                    known.entry(cluster).or_insert(positions);
                }
            }
        }
        index
    }

    /// The clusters of a service that is called in this way.
    fn behind(&self, service: &Service, backend: Option<&BackendSettings>) -> Vec<(Arc<str>, BTreeSet<usize>)> {
        let subsets = backend.into_iter().flat_map(|backend| &backend.subsets);
        let parts = subsets.map(|(name, subset)| (Some(&**name), Some(&subset.origin)));
        let mut found = Vec::new();
        for (subset, definer) in std::iter::once((None, None)).chain(parts) {
            for port in &service.ports {
                let cluster = outbound_cluster(port.port, subset, &host(service));
                let behind = places_behind(backend, subset, port.port);
                let behind = behind.values().filter_map(|place| self.of_place(place));
                let itself = definer.into_iter().chain([&service.origin]).filter_map(|o| self.at(&o.file, o.line));
                found.push((cluster, itself.chain(behind).collect()));
            }
        }
        found
    }

    /// The object that a line belongs to: the last that begins at or before it.
    fn at(&self, file: &str, line: u32) -> Option<usize> {
        self.places.get(file)?.range(..=line).next_back().map(|(_, position)| *position)
    }

    /// The object of `FILE:LINE`.
    fn of_place(&self, place: &str) -> Option<usize> {
        let (file, line) = place.rsplit_once(':')?;
        self.at(file, line.parse().ok()?)
    }

    /// The objects of `namespace/name FILE:LINE, …`.
    fn of_origins<'s>(&'s self, text: &'s str) -> impl Iterator<Item = usize> + 's {
        text.split(", ").filter_map(|one| self.of_place(one.split_once(' ')?.1))
    }

    fn named(&self, kind: &str, name: &str) -> Option<usize> {
        self.statuses.iter().position(|s| s.origin.kind == kind && s.origin.object.to_string() == name)
    }

    /// What a view's proxies are given.
    pub fn carried(&self, view: &View, resources: &[Encoded]) -> Carried {
        let itself = match view {
            View::Sidecar(name) => self.named("Workload", &name.to_string()),
            View::Gateway { name, .. } => self.named("Gateway", &name.to_string()),
            View::Other => None,
        };
        let mut carried = Carried::default();
        for (resource, encoded) in resources {
            let of_type = resource.resource_type();
            carried.names.insert((of_type, resource.name().clone()));
            let piece = (of_type, resource.name().clone(), encoded.version.clone());
            let is_own = ["inbound|", "gateway|"].iter().any(|prefix| resource.name().starts_with(prefix));
            let own = itself.filter(|_| is_own);
            for position in self.objects_in(resource, view).chain(own) {
                carried.objects.entry(position).or_default().insert(piece.clone());
            }
        }
        carried
    }

    fn objects_in<'s>(&'s self, resource: &'s Resource, view: &View) -> Box<dyn Iterator<Item = usize> + 's> {
        match resource {
            Resource::Cluster(cluster) => {
                let own = view.namespace().and_then(|namespace| self.of_clients.get(&**namespace)?.get(&cluster.name));
                Box::new(own.or_else(|| self.clusters.get(&cluster.name)).into_iter().flatten().copied())
            }
            Resource::Route(configuration) => {
                let routes = configuration.virtual_hosts.iter().flat_map(|host| &host.routes);
                Box::new(routes.flat_map(|route| {
                    let source = route.source.as_deref().and_then(|place| self.of_place(place));
                    route.policies.values().flat_map(|text| self.of_origins(text)).chain(source)
                }))
            }
            Resource::Endpoint(_) | Resource::Listener(_) | Resource::Secret(_) => Box::new(std::iter::empty()),
        }
    }
}

/// A connected proxy and what it is given.
pub type Given<'g> = (&'g ProxyStatus, &'g Carried);

/// One report for each object of the newest files, in their order.
pub fn reports(
    newest: &[ObjectStatus],
    in_force: &PolicySet,
    generation: u64,
    proxies: &[Given<'_>],
) -> Vec<ObjectReport> {
    let mut positions: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (position, status) in in_force.statuses.iter().enumerate() {
        positions.insert((status.origin.kind, status.origin.object.to_string()), position);
    }
    newest
        .iter()
        .map(|status| {
            let Origin { kind, object, file, line } = &status.origin;
            let mut conditions: Vec<ConditionReport> = status.conditions.iter().map(condition).collect();
            let accepted = status.conditions.iter().all(|c| c.kind != ConditionKind::Accepted || c.holds);
            let position = positions.get(&(*kind, object.to_string())).copied();
            conditions.extend(programmed(kind, accepted, position, proxies));
            ObjectReport {
                kind: (*kind).to_owned(),
                namespace: object.namespace.to_string(),
                name: object.name.to_string(),
                file: file.to_string(),
                line: *line,
                observed_generation: generation,
                conditions,
            }
        })
        .collect()
}

fn condition(condition: &Condition) -> ConditionReport {
    let Condition { kind, holds, reason, message, path } = condition;
    let kind = match kind {
        ConditionKind::Accepted => "Accepted",
        ConditionKind::ResolvedRefs => "ResolvedRefs",
        ConditionKind::Ineffective => "Ineffective",
    };
    ConditionReport {
        kind: kind.to_owned(),
        status: if *holds { ConditionStatus::True } else { ConditionStatus::False },
        reason: (*reason).to_owned(),
        message: message.clone(),
        path: path.clone(),
    }
}

/// Whether proxies have it; `None` for kinds that reach them only through others.
fn programmed(kind: &str, accepted: bool, position: Option<usize>, proxies: &[Given<'_>]) -> Option<ConditionReport> {
    if SILENT.contains(&kind) {
        return None;
    }
    let say = |status, reason: &str, message: String| {
        Some(ConditionReport { kind: "Programmed".to_owned(), status, reason: reason.to_owned(), message, path: None })
    };
    if !accepted {
        return say(ConditionStatus::False, "NotAccepted", "it was not accepted, so no proxy is given it".to_owned());
    }
    let Some(position) = position else {
        let message = "the files have errors; proxies keep the last good configuration, which it is not in".to_owned();
        return say(ConditionStatus::False, "ConfigurationRejected", message);
    };
    let given: Vec<(&ProxyStatus, &Carried, &BTreeSet<Piece>)> = proxies
        .iter()
        .filter(|(proxy, _)| proxy.kind != ProxyKind::Other)
        .filter_map(|(proxy, carried)| Some((*proxy, *carried, carried.objects.get(&position)?)))
        .collect();
    if given.is_empty() {
        return say(ConditionStatus::Unknown, "NoProxies", "no connected proxy is given it".to_owned());
    }
    let version = version(given.iter().flat_map(|(_, _, pieces)| pieces.iter()));
    let refused: Vec<(&ProxyStatus, &Nack)> =
        given.iter().filter_map(|(proxy, carried, pieces)| Some((*proxy, refusal(proxy, carried, pieces)?))).collect();
    let is_current = |proxy: &ProxyStatus| proxy.settled_generation >= proxy.generation;
    let done = given
        .iter()
        .filter(|(proxy, carried, pieces)| is_current(proxy) && refusal(proxy, carried, pieces).is_none())
        .count();
    let all = given.len();
    if let Some((proxy, nack)) = refused.first() {
        let seconds = nack.age_ms / 1_000;
        let message = format!(
            "{done}/{all} proxies at version {version}; {} refused it {seconds} s ago: {}",
            proxy.node, nack.message
        );
        return say(ConditionStatus::False, "Refused", message);
    }
    let message = format!("{done}/{all} proxies at version {version}");
    if done == all {
        say(ConditionStatus::True, "Programmed", message)
    } else {
        say(ConditionStatus::False, "Pending", message)
    }
}

/// A proxy's refusal of a type is about the resources that it names, and about all of them when it names none.
fn refusal<'p>(proxy: &'p ProxyStatus, carried: &Carried, pieces: &BTreeSet<Piece>) -> Option<&'p Nack> {
    pieces.iter().find_map(|(of_type, _, _)| {
        let nack = proxy.types.get(of_type.short())?.nack.as_ref()?;
        let mut named =
            carried.names.iter().filter(|(t, name)| t == of_type && nack.message.contains(&**name)).peekable();
        let names_none = named.peek().is_none();
        let about = names_none || named.any(|(_, name)| pieces.iter().any(|(t, own, _)| t == of_type && own == name));
        about.then_some(nack)
    })
}

/// A short name for the versions of all resources that carry an object.
fn version<'p>(pieces: impl Iterator<Item = &'p Piece>) -> String {
    let distinct: BTreeSet<&Piece> = pieces.collect();
    let mut hash = Sha256::new();
    for (of_type, name, version) in distinct {
        for part in [of_type.short(), &**name, &**version] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
    }
    hash.finalize().iter().take(VERSION_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
