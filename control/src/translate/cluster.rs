//! Services as clusters: one for each port, and one for each subset of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::ObjectName;
use tidegate_policies::ir::world::{External, Protocol, Service, ServicePort, TargetPort, Workload};
use tidegate_xds::name::{inbound_cluster, outbound_cluster};
use tidegate_xds::resource::cluster::{Cluster, Discovery, DnsEndpoint, LoadBalancing, UpstreamProtocol};
use tidegate_xds::resource::endpoint::{Endpoint, Health, Locality, LocalityEndpoints};

use super::load_balancing;
use crate::world::Reader;

/// As Envoy's own default. Within a machine or a cluster a connection that takes longer will not come at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The host by which a service is named in clusters: its first one.
pub fn host(service: &Service) -> Arc<str> {
    service.hosts.first().cloned().unwrap_or_else(|| service.name.name.clone())
}

/// The clusters of a service: for each port, all of it and each subset.
pub fn clusters(name: &ObjectName, reader: &Reader<'_>) -> Vec<Cluster> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    let backend = reader.backend(name);
    let mut clusters = Vec::new();
    for port in &service.ports {
        let subsets = backend.into_iter().flat_map(|b| b.subsets.keys());
        for subset in std::iter::once(None).chain(subsets.map(|s| Some(&**s))) {
            let settings = load_balancing::settings(backend, subset);
            let connection = settings.connection.unwrap_or_default();
            let name = outbound_cluster(port.port, subset, &host(service));
            clusters.push(Cluster {
                discovery: discovery(service, port, &name),
                name,
                load_balancing: load_balancing::load_balancing(&settings),
                connect_timeout: connection.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
                protocol: upstream_protocol(port.protocol),
                idle_timeout: connection.idle_timeout,
                max_requests_per_connection: connection.max_requests_per_connection.and_then(NonZeroU32::new),
                circuit_breakers: load_balancing::thresholds(&connection),
                outlier_detection: None,
            });
        }
    }
    clusters
}

/// The clusters that hand arriving traffic to the application beside a workload's proxy.
pub fn inbound_clusters(workload: &Workload) -> Vec<Cluster> {
    let applications = workload.ports.iter().filter_map(|port| Some((port, port.application?)));
    applications
        .map(|(port, application)| Cluster {
            name: inbound_cluster(port.port),
            discovery: Discovery::Static(vec![one_endpoint(application)]),
            load_balancing: LoadBalancing::RoundRobin,
            connect_timeout: CONNECT_TIMEOUT,
            protocol: match port.protocol {
                Protocol::Http => UpstreamProtocol::SameAsDownstream,
                Protocol::Http2 => UpstreamProtocol::Http2,
                Protocol::Tcp => UpstreamProtocol::Http1,
            },
            idle_timeout: None,
            max_requests_per_connection: None,
            circuit_breakers: load_balancing::UNLIMITED,
            outlier_detection: None,
        })
        .collect()
}

fn discovery(service: &Service, port: &ServicePort, cluster: &Arc<str>) -> Discovery {
    match &service.external {
        External::No | External::Static(_) => Discovery::Eds { service_name: cluster.clone() },
        External::Dns(hosts) => {
            let number = match port.target {
                TargetPort::Number(number) => number,
                TargetPort::Name(_) => port.port,
            };
            let endpoints = hosts.iter().map(|host| DnsEndpoint { host: host.clone(), port: number }).collect();
            Discovery::StrictDns { endpoints }
        }
    }
}

fn upstream_protocol(protocol: Protocol) -> UpstreamProtocol {
    match protocol {
        // A TCP proxy does not look at it.
        Protocol::Http | Protocol::Tcp => UpstreamProtocol::Http1,
        Protocol::Http2 => UpstreamProtocol::Http2,
    }
}

fn one_endpoint(address: SocketAddr) -> LocalityEndpoints {
    let endpoint =
        Endpoint { address, weight: NonZeroU32::MIN, health: Health::Healthy, hostname: None, workload: None };
    LocalityEndpoints {
        locality: Locality::default(),
        priority: 0,
        weight: Some(NonZeroU32::MIN),
        endpoints: vec![endpoint],
    }
}
