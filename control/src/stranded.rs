//! Finds changes of routes that would lead requests which are answered today to nobody.
//!
//! # Why a change is held to more than a first configuration
//! A route to a destination without endpoints is not wrong in itself: services are declared before their workloads, and
//! scaled to zero. But when it takes the place of a route that works, every request it takes over fails, and the cause
//! is nearly always a label or a name that is not the one meant. So only that is refused: a rule that is new to its
//! service or host, a destination that got nothing before and has no endpoints, and destinations before that still
//! have some.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_policies::ir::gateway::Gateway;
use tidegate_policies::ir::route::{Backend, RouteEntry, RuleAction};
use tidegate_policies::ir::world::{External, Service};
use tidegate_policies::ir::{MeshRoutes, ObjectName, Origin, PolicySet};
use tidegate_xds::name::outbound_cluster;

use crate::api::model::{Finding, Spot};
use crate::describe::percent;
use crate::finding::Code;
use crate::place::Place;
use crate::translate::cluster::host;
use crate::translate::endpoint::assignments;
use crate::world::{Reader, World};

/// Service, port and subset.
type Target = (ObjectName, u16, Option<Arc<str>>);

/// The rules of `new` that must not take the place of those of `old`, one finding for each rule and destination.
pub fn stranded(old: &PolicySet, new: &World) -> Vec<Finding> {
    let policies = new.policies();
    let mut suspects = Suspects { standing: Standing::new(new), found: Vec::new() };
    for (service, routes) in &policies.mesh_routes {
        // Calls to a service that did not exist were not answered.
        let Some(was) = old.services.get(service) else { continue };
        let before = mesh_targets(was, old.mesh_routes.get(service).map(Vec::as_slice).unwrap_or_default());
        for part in routes {
            suspects.add(&part.rules, part.consumer_namespace.as_ref(), &before);
        }
    }
    for (name, gateway) in &policies.gateways {
        let Some(was) = old.gateways.get(name) else { continue };
        let mut targets = gateway_targets(was);
        for listener in &gateway.listeners {
            for host in &listener.hosts {
                let before = targets.entry((listener.port, &host.host)).or_default();
                suspects.add(&host.rules, Some(&name.namespace), before);
            }
        }
    }
    if suspects.found.is_empty() {
        return Vec::new();
    }
    // What the routes before would reach today. A subset that the change removes is still told by its labels then.
    let as_before = World::new(Arc::new(PolicySet {
        backends: old.backends.clone(),
        client_backends: old.client_backends.clone(),
        ..(**policies).clone()
    }));
    let mut standing = Standing::new(&as_before);
    let mut findings: Vec<Finding> = Vec::new();
    for suspect in suspects.found {
        // One rule may be for several services or hosts.
        if suspect.before.iter().any(|target| standing.is_staffed_for_any(target))
            && !findings.contains(&suspect.finding)
        {
            findings.push(suspect.finding);
        }
    }
    findings
}

/// Where calls to a service go: by its rules, and plainly for the ports and clients that no rule is for.
fn mesh_targets(service: &Service, routes: &[MeshRoutes]) -> BTreeSet<Target> {
    let mut targets = BTreeSet::new();
    routes.iter().flat_map(|routes| &routes.rules).for_each(|entry| targets.extend(targets_of(entry)));
    let is_covered = routes.iter().any(|routes| routes.port.is_none() && routes.consumer_namespace.is_none());
    if !is_covered {
        targets.extend(service.ports.iter().map(|port| (service.name.clone(), port.port, None)));
    }
    targets
}

/// Where a gateway's requests go, by port and host.
fn gateway_targets(gateway: &Gateway) -> BTreeMap<(u16, &str), BTreeSet<Target>> {
    let mut targets: BTreeMap<(u16, &str), BTreeSet<Target>> = BTreeMap::new();
    for listener in &gateway.listeners {
        for host in &listener.hosts {
            let known = targets.entry((listener.port, &host.host)).or_default();
            host.rules.iter().for_each(|entry| known.extend(targets_of(entry)));
        }
    }
    targets
}

fn targets_of(entry: &RouteEntry) -> impl Iterator<Item = Target> {
    shares_of(entry).map(|(target, _)| target)
}

/// The destinations of a rule that get requests, each with its share in percent.
fn shares_of(entry: &RouteEntry) -> impl Iterator<Item = (Target, String)> {
    let destinations = match &entry.rule.action {
        RuleAction::Split(split) => split.destinations.as_slice(),
        RuleAction::Redirect(_) | RuleAction::DirectResponse { .. } => &[],
    };
    let total: u64 = destinations.iter().map(|d| u64::from(d.weight)).sum();
    destinations.iter().filter(|d| d.weight > 0).filter_map(move |destination| match &destination.backend {
        Backend::Service { service, port, subset } => {
            Some(((service.clone(), *port, subset.clone()), percent(u64::from(destination.weight), total)))
        }
        Backend::Invalid(_) => None,
    })
}

/// A rule that sends requests to nobody, and where they went before.
struct Suspect {
    finding: Finding,
    before: BTreeSet<Target>,
}

/// Collects them.
struct Suspects<'w> {
    standing: Standing<'w>,
    found: Vec<Suspect>,
}

impl Suspects<'_> {
    /// Rules for clients of a namespace, or for everybody.
    fn add<'r>(
        &mut self,
        rules: impl IntoIterator<Item = &'r RouteEntry>,
        namespace: Option<&Arc<str>>,
        before: &BTreeSet<Target>,
    ) {
        for entry in rules {
            let client = entry.matches.client.namespace.as_ref().or(namespace);
            for (target, share) in shares_of(entry) {
                if !before.contains(&target) && !self.standing.is_staffed_for_all(&target, client) {
                    let finding = finding(&entry.rule.origin, &target, &share);
                    self.found.push(Suspect { finding, before: before.clone() });
                }
            }
        }
    }
}

/// A service, as clients of a namespace that it tells from others call it.
type Called = (ObjectName, Option<Arc<str>>);

/// Which destinations of a world have endpoints; each service is counted once, and only when it is asked for.
struct Standing<'w> {
    world: &'w World,
    /// The clusters of each that have endpoints.
    staffed: BTreeMap<Called, BTreeSet<Arc<str>>>,
}

impl<'w> Standing<'w> {
    fn new(world: &'w World) -> Self {
        Self { world, staffed: BTreeMap::new() }
    }

    /// Whether clients of a namespace, or everybody, find endpoints there.
    fn is_staffed_for_all(&mut self, target: &Target, client: Option<&Arc<str>>) -> bool {
        if client.is_some() {
            return self.has_endpoints(target, client);
        }
        self.whoever(target).iter().all(|client| self.has_endpoints(target, client.as_ref()))
    }

    /// Whether anybody finds endpoints there.
    fn is_staffed_for_any(&mut self, target: &Target) -> bool {
        self.whoever(target).iter().any(|client| self.has_endpoints(target, client.as_ref()))
    }

    /// Everybody, and the namespaces that have clients whom the service tells from others.
    fn whoever(&self, (service, _, _): &Target) -> Vec<Option<Arc<str>>> {
        let policies = self.world.policies();
        let has_clients = |namespace: &Arc<str>| {
            let first = ObjectName { namespace: namespace.clone(), name: Arc::from("") };
            let mut workloads =
                policies.workloads.range(first.clone()..).take_while(|(n, _)| n.namespace == *namespace);
            let mut gateways = policies.gateways.range(first..).take_while(|(n, _)| n.namespace == *namespace);
            workloads.any(|(_, workload)| workload.sidecar.is_some()) || gateways.next().is_some()
        };
        let told_apart = policies.client_backends.get(service).into_iter().flat_map(BTreeMap::keys);
        std::iter::once(None).chain(told_apart.filter(|n| has_clients(n)).cloned().map(Some)).collect()
    }

    fn has_endpoints(&mut self, (name, port, subset): &Target, client: Option<&Arc<str>>) -> bool {
        let world = self.world;
        let Some(service) = world.policies().services.get(name) else { return false };
        if let External::Dns(names) = &service.external {
            // Who stands behind a name is known to the proxies alone.
            return !names.is_empty();
        }
        let namespace = world.client_of(name, client).cloned();
        let staffed = self.staffed.entry((name.clone(), namespace.clone())).or_insert_with(|| {
            let place = Place { namespace, ..Place::default() };
            let assignments = assignments(name, &place, &Reader::new(world)).into_iter();
            let staffed = assignments.filter(|a| a.localities.iter().any(|l| !l.endpoints.is_empty()));
            staffed.map(|assignment| assignment.cluster_name).collect()
        });
        staffed.contains(&outbound_cluster(*port, subset.as_deref(), &host(service)))
    }
}

fn finding(origin: &Origin, (service, port, subset): &Target, share: &str) -> Finding {
    let subset = subset.as_ref().map(|subset| format!(" (subset {subset})")).unwrap_or_default();
    Finding {
        code: Code::RouteStranded.as_str().to_owned(),
        severity: "error".to_owned(),
        message: format!(
            "route {} sends {share} % of requests to {service}{subset}, which has no endpoints on port {port}; the \
             route before works",
            origin.object.name
        ),
        file: origin.file.to_string(),
        line: origin.line,
        column: 0,
        help: Some("start a workload of it first, or give it weight 0".to_owned()),
        places: vec![Spot::of_line(&origin.file, origin.line)],
    }
}

#[cfg(test)]
mod tests;
