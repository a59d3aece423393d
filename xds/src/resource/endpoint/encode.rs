//! Endpoint assignment to protobuf.

use super::{ClusterLoadAssignment, Endpoint, Health, LocalityEndpoints, OVERPROVISIONING_PERCENT_DEFAULT};
use crate::proto::endpoint::cluster_load_assignment::{Policy, policy::DropOverload};
use crate::proto::{core, endpoint};
use crate::resource::metadata;
use crate::resource::scalar::{encode_address, encode_percent, encode_u32};

pub(in crate::resource) fn encode(value: &ClusterLoadAssignment) -> endpoint::ClusterLoadAssignment {
    let overloads = value.drop_overloads.iter().map(|(category, share)| DropOverload {
        category: category.to_string(),
        drop_percentage: Some(encode_percent(*share)),
    });
    let factor = value.overprovisioning_percent;
    let policy = Policy {
        drop_overloads: overloads.collect(),
        overprovisioning_factor: (factor != OVERPROVISIONING_PERCENT_DEFAULT).then(|| encode_u32(factor.get())),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        policy: (policy != Policy::default()).then_some(policy),
        ..assignment(&value.cluster_name, &value.localities)
    }
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
        load_balancing_weight: value.weight.map(|weight| encode_u32(weight.get())),
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
    let workload = value.workload.as_deref().map(|name| (metadata::WORKLOAD, metadata::encode_text(name)));
    endpoint::LbEndpoint {
        health_status: health.into(),
        metadata: metadata::encode(metadata::ISTIO, workload.into_iter().collect()),
        load_balancing_weight: Some(encode_u32(value.weight.get())),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
    }
}
