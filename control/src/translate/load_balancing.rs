//! Balancing and connection settings of a backend as fields of its cluster.
//!
//! A subset's stanza replaces the service's whole stanza; a field left out of a stanza has the mesh's default, not the
//! value of the stanza it replaced.

use std::num::NonZeroU32;

use tidegate_policies::ir::load_balancing::{BackendSettings, ConnectionSettings, LoadBalancing, TrafficSettings};
use tidegate_xds::resource::cluster::{LoadBalancing as XdsLoadBalancing, Thresholds};

/// Two draws: the load of the busiest endpoint already falls from `log n / log log n` to `log log n`; a third gains little.
const CHOICES: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

/// No limit: what a field says that nobody set. Envoy's own 1024 would reject traffic that nobody asked to limit.
pub(super) const UNLIMITED: Thresholds = Thresholds {
    max_connections: u32::MAX,
    max_pending_requests: u32::MAX,
    max_requests: u32::MAX,
    max_retries: u32::MAX,
};

/// The settings in force for a service or one of its subsets.
pub(super) fn settings(backend: Option<&BackendSettings>, subset: Option<&str>) -> TrafficSettings {
    let Some(backend) = backend else { return TrafficSettings::default() };
    let own = subset.and_then(|name| backend.subsets.get(name)).map(|s| &s.traffic);
    TrafficSettings {
        load_balancing: own.and_then(|t| t.load_balancing).or(backend.traffic.load_balancing),
        connection: own.and_then(|t| t.connection).or(backend.traffic.connection),
    }
}

/// How an endpoint is chosen.
pub(super) fn load_balancing(settings: &TrafficSettings) -> XdsLoadBalancing {
    match settings.load_balancing.unwrap_or(LoadBalancing::LeastRequest) {
        LoadBalancing::LeastRequest => XdsLoadBalancing::LeastRequest { choices: CHOICES },
        LoadBalancing::Random => XdsLoadBalancing::Random,
        LoadBalancing::RoundRobin => XdsLoadBalancing::RoundRobin,
    }
}

/// The circuit breaker's limits.
pub(super) fn thresholds(connection: &ConnectionSettings) -> Thresholds {
    Thresholds {
        max_connections: connection.max_connections.unwrap_or(UNLIMITED.max_connections),
        max_pending_requests: connection.max_pending_requests.unwrap_or(UNLIMITED.max_pending_requests),
        max_requests: connection.max_requests.unwrap_or(UNLIMITED.max_requests),
        max_retries: connection.max_retries.unwrap_or(UNLIMITED.max_retries),
    }
}
