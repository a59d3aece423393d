//! How an endpoint is chosen, as fields of a cluster.
//!
//! A subset's stanza replaces the service's whole stanza; a field left out of a stanza has the mesh's default, not the
//! value of the stanza it replaced.

use tidegate_policies::ir::load_balancing::{BackendSettings, LoadBalancing, TrafficSettings, Warmup};
use tidegate_policies::ir::session::{ConsistentHash, HashTable};
use tidegate_xds::resource::cluster::{HashFunction, LoadBalancing as XdsLoadBalancing, SlowStart};

/// Places on a ring, as Envoy bounds them.
const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;
/// The least share of a new endpoint's weight when nobody says; Envoy's default.
const WARMUP_MIN_PERCENT: f64 = 10.0;
/// Linear growth.
const WARMUP_AGGRESSION: f64 = 1.0;

/// The settings in force for a port of a service or of one of its subsets.
pub(crate) fn settings(backend: Option<&BackendSettings>, subset: Option<&str>, port: u16) -> TrafficSettings {
    backend.map(|backend| backend.effective(subset, port)).unwrap_or_default()
}

/// How an endpoint is chosen.
pub(super) fn load_balancing(settings: &TrafficSettings) -> XdsLoadBalancing {
    match settings.load_balancing.as_ref().map(|stated| &*stated.value) {
        None => XdsLoadBalancing::LEAST_REQUEST,
        Some(LoadBalancing::LeastRequest { warmup }) => match XdsLoadBalancing::LEAST_REQUEST {
            XdsLoadBalancing::LeastRequest { choices, active_request_bias, .. } => {
                XdsLoadBalancing::LeastRequest { choices, active_request_bias, slow_start: warmup.map(slow_start) }
            }
            other => other,
        },
        Some(LoadBalancing::Random) => XdsLoadBalancing::Random,
        Some(LoadBalancing::RoundRobin { warmup }) => {
            XdsLoadBalancing::RoundRobin { slow_start: warmup.map(slow_start) }
        }
        Some(LoadBalancing::ConsistentHash(ConsistentHash { table, .. })) => match *table {
            HashTable::Ring { min_size } => XdsLoadBalancing::RingHash {
                min_size: min_size.min(RING_SIZE_MAX),
                max_size: RING_SIZE_MAX,
                function: HashFunction::XxHash,
            },
            HashTable::Maglev { size } => XdsLoadBalancing::Maglev { table_size: size },
        },
    }
}

fn slow_start(warmup: Warmup) -> SlowStart {
    SlowStart {
        window: warmup.duration,
        aggression: warmup.aggression.unwrap_or(WARMUP_AGGRESSION),
        min_weight_percent: warmup.min_percent.unwrap_or(WARMUP_MIN_PERCENT),
    }
}
