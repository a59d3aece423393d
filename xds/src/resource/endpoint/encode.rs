//! Endpoint assignment to protobuf.

use super::{ClusterLoadAssignment, Endpoint, Health, LocalityEndpoints};
use crate::proto::{core, endpoint};
use crate::resource::scalar::{encode_address, encode_metadata, encode_u32};

pub(in crate::resource) fn encode(value: &ClusterLoadAssignment) -> endpoint::ClusterLoadAssignment {
    assignment(&value.cluster_name, &value.localities)
}

/// The assignment that a cluster carries with it.
pub(in crate::resource) fn assignment(
    cluster_name: &str,
    localities: &[LocalityEndpoints],
) -> endpoint::ClusterLoadAssignment {
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster_name.to_owned(),
        endpoints: localities.iter().map(locality).collect(),
        ..Default::default()
    }
}

fn locality(value: &LocalityEndpoints) -> endpoint::LocalityLbEndpoints {
    endpoint::LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: value.locality.region.to_string(),
            zone: value.locality.zone.to_string(),
            sub_zone: value.locality.sub_zone.to_string(),
        }),
        lb_endpoints: value.endpoints.iter().map(endpoint).collect(),
        // gRPC clients drop a locality without a weight, so "not said" is written as an equal share.
        load_balancing_weight: Some(encode_u32(value.weight.map_or(1, |w| w.get()))),
        priority: value.priority,
        ..Default::default()
    }
}

fn endpoint(value: &Endpoint) -> endpoint::LbEndpoint {
    let health = match value.health {
        Health::Healthy => core::HealthStatus::Unknown,
        Health::Degraded => core::HealthStatus::Degraded,
        Health::Draining => core::HealthStatus::Draining,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
    };
    let endpoint = endpoint::Endpoint {
        address: Some(encode_address(&value.address.ip().to_string(), value.address.port())),
        hostname: value.hostname.as_deref().unwrap_or_default().to_owned(),
        ..Default::default()
    };
    endpoint::LbEndpoint {
        health_status: health.into(),
        metadata: encode_metadata(super::METADATA_FILTER, super::METADATA_WORKLOAD, value.workload.as_ref()),
        load_balancing_weight: Some(encode_u32(value.weight.get())),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
    }
}
