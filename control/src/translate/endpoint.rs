//! Who stands behind a service: workloads its selector chooses, endpoint slices, a service entry's own list.
//!
//! # Ready, or at least still serving
//! An endpoint that is not ready gets nothing, unless no endpoint of the service is ready: then those that say they
//! still serve while they terminate are better than none (as kube-proxy decides it).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use tidegate_policies::ir::ObjectName;
use tidegate_policies::ir::world::{
    EndpointSlice, External, Labels, Service, ServicePort, SliceEndpoint, TargetPort, Workload,
};
use tidegate_xds::name::outbound_cluster;
use tidegate_xds::resource::ClusterLoadAssignment;
use tidegate_xds::resource::endpoint::{Endpoint, Health, Locality};

use super::cluster::host;
use super::{load_balancing, locality};
use crate::place::Place;
use crate::world::Reader;

/// Seven of ten healthy endpoints are enough for all the traffic of their locality: 0.7 x 143 % is a whole. With Envoy's
/// 140 % a fiftieth would leave already then.
const OVERPROVISIONING_PERCENT: NonZeroU32 = NonZeroU32::new(143).expect("143 is not zero");

/// Labels that name the application a workload belongs to, best first.
const CANONICAL_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app"];
/// The label that names a workload's version.
const REVISION_LABEL: &str = "version";

/// The assignments of a service for clients at a place: for each port, all of it and each subset. A service that is found
/// by DNS has none.
pub fn assignments(name: &ObjectName, place: &Place, reader: &Reader<'_>) -> Vec<ClusterLoadAssignment> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    if matches!(service.external, External::Dns(_)) {
        return Vec::new();
    }
    let backend = reader.backend(name, place.namespace.as_deref());
    let mut assignments = Vec::new();
    for port in &service.ports {
        let candidates = candidates(service, port, reader);
        let subsets = backend.into_iter().flat_map(|b| &b.subsets);
        for (subset, labels) in std::iter::once((None, None)).chain(subsets.map(|(n, s)| (Some(&**n), Some(&s.labels))))
        {
            let wanted = candidates.iter().filter(|c| labels.is_none_or(|labels| c.has(labels)));
            let settings = load_balancing::settings(backend, subset, port.port);
            let nearness = settings.locality.as_ref().map(|stated| &*stated.value);
            let cluster = outbound_cluster(port.port, subset, &host(service));
            assignments.push(ClusterLoadAssignment {
                localities: locality::grouped(wanted, nearness, place),
                overprovisioning_percent: OVERPROVISIONING_PERCENT,
                ..ClusterLoadAssignment::empty(cluster)
            });
        }
    }
    assignments
}

/// An endpoint of one service port, with the labels by which subsets choose it.
pub(super) struct Candidate<'w> {
    pub(super) endpoint: Endpoint,
    pub(super) locality: Locality,
    pub(super) labels: &'w Labels,
}

impl Candidate<'_> {
    fn has(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// All endpoints of a port; an address counts once, whoever names it first.
fn candidates<'w>(service: &'w Service, port: &ServicePort, reader: &Reader<'w>) -> Vec<Candidate<'w>> {
    let mut found = Vec::new();
    if let External::Static(workloads) = &service.external {
        found.extend(workloads.iter().filter_map(|w| of_workload(w, external_port(w, port))));
    }
    found.extend(reader.members(&service.name).filter_map(|w| of_workload(w, member_port(w, port))));
    let slices: Vec<&EndpointSlice> = reader.slices(&service.name).collect();
    let any_ready = !found.is_empty() || slices.iter().flat_map(|s| &s.endpoints).any(|e| e.ready);
    for slice in slices {
        let Some(number) = slice_port(slice, port) else { continue };
        let usable = |e: &&SliceEndpoint| if any_ready { e.ready } else { e.serving && e.terminating };
        for endpoint in slice.endpoints.iter().filter(usable) {
            found.extend(of_slice(endpoint, number, &service.name.namespace));
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|c| seen.insert(c.endpoint.address));
    found
}

/// Where a member listens for a service port.
///
/// As in Kubernetes a number need not be declared by the workload; but an explicit sidecar listens only on the ports
/// that its workload declares, so another number would be refused there.
pub(super) fn member_port(workload: &Workload, port: &ServicePort) -> Option<u16> {
    match &port.target {
        TargetPort::Name(name) => workload.ports.iter().find(|p| p.name == *name).map(|p| p.port),
        TargetPort::Number(number) => {
            let declared = workload.ports.iter().any(|p| p.port == *number);
            (declared || workload.sidecar.is_none()).then_some(*number)
        }
    }
}

/// Where an endpoint of a service entry listens: its own port of the service port's name, else the target.
fn external_port(workload: &Workload, port: &ServicePort) -> Option<u16> {
    let named = |name: &str| workload.ports.iter().find(|p| !name.is_empty() && *p.name == *name).map(|p| p.port);
    named(&port.name).or_else(|| match &port.target {
        TargetPort::Name(name) => named(name),
        TargetPort::Number(number) => Some(*number),
    })
}

/// A slice's ports carry the names of the service's ports; a single unnamed one matches a single unnamed one.
fn slice_port(slice: &EndpointSlice, port: &ServicePort) -> Option<u16> {
    slice.ports.iter().find(|(name, _)| *name == port.name).map(|(_, number)| *number)
}

fn of_workload(workload: &Workload, port: Option<u16>) -> Option<Candidate<'_>> {
    let [region, zone, sub_zone] = workload.locality.clone();
    Some(Candidate {
        endpoint: Endpoint {
            address: SocketAddr::new(workload.address, port?),
            weight: workload.weight,
            health: Health::Healthy,
            hostname: None,
            workload: Some(workload_metadata(&workload.name.name, &workload.name.namespace, &workload.labels)),
        },
        locality: Locality { region, zone, sub_zone },
        labels: &workload.labels,
    })
}

fn of_slice<'w>(endpoint: &'w SliceEndpoint, port: u16, namespace: &str) -> impl Iterator<Item = Candidate<'w>> {
    let workload = endpoint.target.as_ref().map(|pod| workload_metadata(pod, namespace, &endpoint.labels));
    let zone = endpoint.zone.clone().unwrap_or_default();
    // The addresses of one slice endpoint are interchangeable names of one pod; Kubernetes says to use the first.
    endpoint.addresses.iter().take(1).map(move |address| Candidate {
        endpoint: Endpoint {
            address: SocketAddr::new(*address, port),
            weight: NonZeroU32::MIN,
            health: Health::Healthy,
            hostname: None,
            workload: workload.clone(),
        },
        locality: Locality { zone: zone.clone(), ..Locality::default() },
        labels: &endpoint.labels,
    })
}

/// `name;namespace;canonical name;revision;cluster`; the cluster is not known here and stays empty.
pub(super) fn workload_metadata(name: &str, namespace: &str, labels: &Labels) -> Arc<str> {
    let canonical = CANONICAL_LABELS.iter().find_map(|label| labels.get(*label)).map_or(name, |value| value);
    let revision = labels.get(REVISION_LABEL).map_or("", |value| value);
    format!("{name};{namespace};{canonical};{revision};").into()
}
