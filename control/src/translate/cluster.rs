//! Services as clusters: one for each port, and one for each subset of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::load_balancing::TrafficSettings;
use tidegate_policies::ir::world::{External, Protocol, Service, ServicePort, TargetPort, Workload};
use tidegate_policies::ir::{ObjectName, Origin, Stated};
use tidegate_xds::name::{inbound_cluster, outbound_cluster};
use tidegate_xds::resource::cluster::{Cluster, Discovery, DnsEndpoint, LoadBalancing, ServiceName, UpstreamProtocol};
use tidegate_xds::resource::endpoint::{Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::route::Policies;

use super::endpoint::member_port;
use super::filter::RATE_LIMIT_CLUSTER;
use super::{circuit_breaker, health_check, load_balancing, tls};
use crate::world::Reader;

/// As Envoy's own default. Within a machine or a cluster a connection that takes longer will not come at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The host by which a service is named in clusters: its first one.
pub fn host(service: &Service) -> Arc<str> {
    service.hosts.first().cloned().unwrap_or_else(|| service.name.name.clone())
}

/// The clusters of a service for clients of a namespace: for each port, all of it and each subset.
pub fn clusters(name: &ObjectName, client: Option<&str>, reader: &Reader<'_>) -> Vec<Cluster> {
    let Some(service) = reader.service(name) else { return Vec::new() };
    let backend = reader.backend(name, client);
    let mut clusters = Vec::new();
    for port in &service.ports {
        let subsets = backend.into_iter().flat_map(|b| b.subsets.keys());
        for subset in std::iter::once(None).chain(subsets.map(|s| Some(&**s))) {
            let settings = load_balancing::settings(backend, subset, port.port);
            let connection = settings.connection.as_ref().map(|stated| *stated.value).unwrap_or_default();
            let name = outbound_cluster(port.port, subset, &host(service));
            let discovery = discovery(service, port, &name);
            let outlier = settings.outlier.as_ref().map(|stated| &*stated.value);
            let locality = settings.locality.as_ref().map(|stated| &*stated.value);
            let http2 = port.protocol == Protocol::Http2 || connection.http2 == Some(true);
            clusters.push(Cluster {
                load_balancing: load_balancing::load_balancing(&settings),
                connect_timeout: connection.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
                protocol: upstream_protocol(port.protocol, http2),
                idle_timeout: connection.idle_timeout,
                max_requests_per_connection: connection.max_requests_per_connection.and_then(NonZeroU32::new),
                circuit_breakers: circuit_breaker::thresholds(settings.limits.as_ref().map(|stated| &*stated.value)),
                outlier_detection: Some(circuit_breaker::outlier(outlier)),
                health_checks: settings
                    .health_check
                    .iter()
                    .map(|s| health_check::check(&s.value, &host(service), http2))
                    .collect(),
                panic_threshold_percent: circuit_breaker::panic_threshold(outlier),
                locality_weighted: locality.is_some_and(|l| l.enabled && !l.distribute.is_empty()),
                tls: settings.tls.as_ref().and_then(|stated| tls::upstream(&stated.value, &host(service))),
                policies: behind(&settings, |origin| origin.object.to_string().into()),
                service: Some(service_name(service)),
                ..Cluster::new(name, discovery)
            });
        }
    }
    clusters
}

/// Who stands behind a cluster's settings, by kind, as `say` says it.
pub fn behind(settings: &TrafficSettings, say: impl Fn(&Origin) -> Arc<str>) -> Policies {
    let TrafficSettings {
        load_balancing,
        connection,
        limits,
        outlier,
        health_check,
        locality,
        tls,
        // Taken into account by who asked for the settings of a port.
        tls_of_ports: _,
        // A matter of routes, and of what arrives.
        session: _,
        retry: _,
        timeouts: _,
        fault: _,
        rate_limits: _,
    } = settings;
    fn of<T>(stated: &Option<Stated<T>>) -> Option<&Origin> {
        stated.as_ref().map(|stated| &*stated.origin)
    }
    let origins = [
        ("load_balancing", of(load_balancing)),
        ("circuit_breaker", of(limits)),
        ("outlier", of(outlier)),
        ("health_check", of(health_check)),
        ("locality", of(locality)),
        ("connection", of(connection)),
        ("tls", of(tls)),
    ];
    origins.into_iter().filter_map(|(kind, origin)| Some((kind.into(), say(origin?)))).collect()
}

/// The clusters that hand arriving traffic to the application beside a workload's proxy.
pub fn inbound_clusters(workload: &Workload, reader: &Reader<'_>) -> Vec<Cluster> {
    let applications = workload.ports.iter().filter_map(|port| Some((port, port.application?)));
    applications
        .map(|(port, application)| Cluster {
            load_balancing: LoadBalancing::ROUND_ROBIN,
            connect_timeout: CONNECT_TIMEOUT,
            protocol: match port.protocol {
                Protocol::Http => UpstreamProtocol::SameAsDownstream,
                Protocol::Http2 => UpstreamProtocol::Http2,
                Protocol::Tcp => UpstreamProtocol::Http1,
            },
            circuit_breakers: circuit_breaker::UNLIMITED,
            service: service_behind(workload, port.port, reader),
            ..Cluster::new(inbound_cluster(port.port), Discovery::Static(vec![one_endpoint(application)]))
        })
        .collect()
}

/// What reports call a service.
fn service_name(service: &Service) -> ServiceName {
    let ObjectName { name, namespace } = &service.name;
    ServiceName { host: host(service), name: name.clone(), namespace: namespace.clone() }
}

/// The service as which arriving traffic counts that does not say which one it means: the first, by name, that leads to this
/// port of the workload.
fn service_behind(workload: &Workload, port: u16, reader: &Reader<'_>) -> Option<ServiceName> {
    let leads_here = |service: &&Service| service.ports.iter().any(|p| member_port(workload, p) == Some(port));
    let services = reader.services_of(&workload.name).iter().filter_map(|name| reader.service(name));
    services.filter(leads_here).min_by(|a, b| a.name.cmp(&b.name)).map(service_name)
}

/// The rate limit service, for proxies that keep no leases: the control plane.
pub fn rate_limit_service(address: SocketAddr) -> Cluster {
    Cluster {
        connect_timeout: CONNECT_TIMEOUT,
        protocol: UpstreamProtocol::Http2,
        circuit_breakers: circuit_breaker::UNLIMITED,
        ..Cluster::new(RATE_LIMIT_CLUSTER.into(), Discovery::Static(vec![one_endpoint(address)]))
    }
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

fn upstream_protocol(protocol: Protocol, http2: bool) -> UpstreamProtocol {
    match protocol {
        Protocol::Http if http2 => UpstreamProtocol::Http2,
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
