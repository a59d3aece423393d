//! Weights as written, and as proxies have them.
//!
//! # Why three numbers and not one
//! Whoever shifts a weight wants to know whether it acts. The files say what is wanted; a proxy's answer says what it took;
//! what is observed is a matter of traffic and comes from elsewhere. Between wanted and taken lie a push, an answer, and
//! sometimes a refusal, so the weights of earlier generations are kept for as long as some proxy may still live by them.

pub(crate) mod observed;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tidegate_policies::ir::route::{Backend, RouteEntry, RuleAction};
use tidegate_policies::ir::split::{Destination, Split};
use tidegate_policies::ir::{ObjectName, Origin};
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::route::RouteConfiguration;

use crate::api::model::{ProxyStatus, SplitDestination, SplitReport};
use crate::snapshot::Encoded;
use crate::translate::cluster::host;
use crate::world::World;

/// Earlier weights of one split. A proxy that is further behind is shown without a number.
const WEIGHTS_MAX: usize = 16;
/// By this label Istio and Kubernetes tell the versions of a workload apart.
const VERSION: &str = "version";

/// One rule of one host that shares requests out, however often its weights change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The gateway, for rules of one.
    gateway: Option<ObjectName>,
    host: Arc<str>,
    kind: &'static str,
    object: ObjectName,
    route: Arc<str>,
    /// Among rules that differ in nothing of the above, in order.
    number: usize,
}

/// What a destination is, apart from its weight: cluster-wise, service, port and subset.
type Target = (Option<ObjectName>, u16, Option<Arc<str>>);

/// A split as it stands in the files in force.
#[derive(Clone, Debug)]
struct Written {
    /// `FILE:LINE`, by which routes say where they come from.
    place: Arc<str>,
    destinations: Vec<Named>,
    /// The generation from which on its weights were such, oldest first; the last are those in force.
    weights: VecDeque<(u64, BTreeMap<Target, f64>)>,
}

#[derive(Clone, Debug)]
struct Named {
    target: Target,
    name: String,
    service: String,
    version: Option<String>,
}

/// The splits in force, with earlier weights.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    splits: BTreeMap<Key, Written>,
}

/// Where the routes of a proxy were written.
pub type Places = BTreeSet<Arc<str>>;
/// A connected proxy, and where its routes were written.
pub type Given<'g> = (&'g ProxyStatus, &'g [Arc<Places>]);

impl Splits {
    /// The world of a generation is about to be published.
    pub fn enter(&mut self, world: &World, generation: u64) {
        let mut before = std::mem::take(&mut self.splits);
        for (key, place, split) in found(world) {
            let mut weights = before.remove(&key).map(|known| known.weights).unwrap_or_default();
            let shares = shares(split);
            if weights.back().is_none_or(|(_, last)| *last != shares) {
                weights.push_back((generation, shares));
            }
            if weights.len() > WEIGHTS_MAX {
                weights.pop_front();
            }
            let destinations = split.destinations.iter().map(|destination| named(destination, world)).collect();
            self.splits.insert(key, Written { place, destinations, weights });
        }
    }

    /// Each split with what the connected proxies have made of it.
    pub fn reports(&self, given: &[Given<'_>]) -> Vec<SplitReport> {
        self.splits.iter().map(|(key, written)| written.report(key, given)).collect()
    }
}

/// Finds out where routes were written, each configuration once: the proxies of a class share theirs.
#[derive(Debug, Default)]
pub struct PlacesOf {
    known: HashMap<*const RouteConfiguration, Arc<Places>>,
}

impl PlacesOf {
    /// Of the routes among these.
    pub fn routes(&mut self, resources: &[Encoded]) -> Vec<Arc<Places>> {
        let configurations = resources.iter().filter_map(|(resource, _)| match resource {
            Resource::Route(configuration) => Some(configuration),
            Resource::Cluster(_) | Resource::Endpoint(_) | Resource::Listener(_) | Resource::Secret(_) => None,
        });
        let places = configurations.map(|configuration| {
            let known = self.known.entry(Arc::as_ptr(configuration)).or_insert_with(|| {
                let routes = configuration.virtual_hosts.iter().flat_map(|host| &host.routes);
                Arc::new(routes.filter_map(|route| route.source.clone()).collect())
            });
            known.clone()
        });
        places.collect()
    }
}

impl Written {
    fn report(&self, key: &Key, given: &[Given<'_>]) -> SplitReport {
        let carriers = given.iter().filter(|(_, places)| places.iter().any(|places| places.contains(&self.place)));
        let taken: Vec<u64> = carriers.map(|(proxy, _)| taken(proxy)).collect();
        let since = self.weights.back().map_or(0, |(since, _)| *since);
        let acknowledged = taken.iter().min().and_then(|generation| self.at(*generation));
        let by = taken.iter().filter(|generation| **generation >= since).count();
        let in_force = self.weights.back().map(|(_, weights)| weights);
        let of = |weights: &BTreeMap<Target, f64>, named: &Named| weights.get(&named.target).copied().unwrap_or(0.0);
        let destinations = self.destinations.iter().map(|named| SplitDestination {
            name: named.name.clone(),
            service: named.service.clone(),
            version: named.version.clone(),
            desired: in_force.map_or(0.0, |weights| of(weights, named)),
            acknowledged: acknowledged.map(|weights| of(weights, named)),
            acknowledged_by: by,
            of: taken.len(),
            observed: None,
        });
        SplitReport {
            gateway: key.gateway.as_ref().map(ToString::to_string),
            host: key.host.to_string(),
            namespace: key.object.namespace.to_string(),
            name: key.object.name.to_string(),
            kind: key.kind.to_owned(),
            route: key.route.to_string(),
            source: self.place.to_string(),
            destinations: destinations.collect(),
        }
    }

    /// The weights of a generation; `None` before those that are kept.
    fn at(&self, generation: u64) -> Option<&BTreeMap<Target, f64>> {
        self.weights.iter().rfind(|(since, _)| *since <= generation).map(|(_, weights)| weights)
    }
}

/// The generation whose routes a proxy lives by. While a refusal of routes stands, that is an older one than it has
/// answered.
fn taken(proxy: &ProxyStatus) -> u64 {
    match proxy.types.get("RDS") {
        Some(routes) if routes.nack.is_some() => routes.acked_generation.unwrap_or(0).min(proxy.settled_generation),
        Some(_) | None => proxy.settled_generation,
    }
}

/// Every split of a world, each once, with the place of its rule.
fn found(world: &World) -> Vec<(Key, Arc<str>, &Split)> {
    let policies = world.policies();
    let mut found = Vec::new();
    for (service, routes) in &policies.mesh_routes {
        let Some(host) = policies.services.get(service).map(host) else { continue };
        collect(None, &host, routes.iter().flat_map(|part| &part.rules), &mut found);
    }
    for gateway in policies.gateways.values() {
        let mut hosts: BTreeMap<&Arc<str>, Vec<&RouteEntry>> = BTreeMap::new();
        for of_listener in gateway.listeners.iter().flat_map(|listener| &listener.hosts) {
            hosts.entry(&of_listener.host).or_default().extend(&of_listener.rules);
        }
        for (host, rules) in hosts {
            collect(Some(&gateway.name), host, rules.into_iter(), &mut found);
        }
    }
    found
}

/// A rule with several matches, on several listeners or for several ports is one rule.
fn collect<'w>(
    gateway: Option<&ObjectName>,
    host: &Arc<str>,
    rules: impl Iterator<Item = &'w RouteEntry>,
    found: &mut Vec<(Key, Arc<str>, &'w Split)>,
) {
    let mut seen = BTreeSet::new();
    let mut numbers: BTreeMap<(&str, &ObjectName, &Arc<str>), usize> = BTreeMap::new();
    for RouteEntry { rule, .. } in rules {
        let Origin { kind, object, file, line } = &rule.origin;
        let RuleAction::Split(split) = &rule.action else { continue };
        if !is_shared_out(split) || !seen.insert((file, line)) {
            continue;
        }
        let number = numbers.entry((*kind, object, &rule.name)).or_default();
        let key = Key {
            gateway: gateway.cloned(),
            host: host.clone(),
            kind,
            object: object.clone(),
            route: rule.name.clone(),
            number: *number,
        };
        *number += 1;
        found.push((key, format!("{file}:{line}").into(), split));
    }
}

/// Whether there is a weight to speak of: several destinations, or the version that has all of it.
fn is_shared_out(split: &Split) -> bool {
    let names_version =
        |destination: &Destination| matches!(&destination.backend, Backend::Service { subset: Some(_), .. });
    split.destinations.len() > 1 || split.destinations.iter().any(names_version)
}

fn target(backend: &Backend) -> Target {
    match backend {
        Backend::Service { service, port, subset } => (Some(service.clone()), *port, subset.clone()),
        Backend::Invalid(_) => (None, 0, None),
    }
}

/// Shares of one; a destination that is named twice gets both.
fn shares(split: &Split) -> BTreeMap<Target, f64> {
    let total: u64 = split.destinations.iter().map(|destination| u64::from(destination.weight)).sum();
    let mut weights: BTreeMap<Target, u64> = BTreeMap::new();
    for destination in &split.destinations {
        *weights.entry(target(&destination.backend)).or_default() += u64::from(destination.weight);
    }
    #[expect(clippy::cast_precision_loss, reason = "sums of some u32 are far below 2^52")]
    let share = |weight: u64| if total == 0 { 0.0 } else { weight as f64 / total as f64 };
    weights.into_iter().map(|(target, weight)| (target, share(weight))).collect()
}

fn named(destination: &Destination, world: &World) -> Named {
    let target = target(&destination.backend);
    let policies = world.policies();
    let (service, _, subset) = &target;
    let known = service.as_ref().and_then(|name| policies.services.get(name));
    let name = match (subset, service) {
        (Some(subset), _) => subset.to_string(),
        (None, Some(service)) => service.name.to_string(),
        (None, None) => "invalid".to_owned(),
    };
    let version = service.as_ref().and_then(|service| version(service, subset.as_deref(), world));
    let service = known.map(|service| host(service).to_string()).unwrap_or_default();
    Named { name, service, version, target }
}

/// As the subset's labels say; for a whole service, what all of its workloads have in common.
fn version(service: &ObjectName, subset: Option<&str>, world: &World) -> Option<String> {
    let policies = world.policies();
    if let Some(subset) = subset {
        let labels = &policies.backends.get(service)?.subsets.get(subset)?.labels;
        return labels.get(VERSION).map(ToString::to_string);
    }
    let members = world.members(service).iter().filter_map(|name| policies.workloads.get(name));
    let versions: BTreeSet<Option<&Arc<str>>> = members.map(|workload| workload.labels.get(VERSION)).collect();
    match versions.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(only)] => Some(only.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
