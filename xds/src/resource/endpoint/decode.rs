//! Protobuf to endpoint assignment.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints, OVERPROVISIONING_PERCENT_DEFAULT};
use crate::proto::endpoint::cluster_load_assignment::{Policy, policy::DropOverload};

use crate::proto::{UInt32Value, core, endpoint};
use crate::resource::matcher::Fraction;
use crate::resource::metadata;
use crate::resource::path::{At, Checked, each, ignored, refused};
use crate::resource::scalar::{label, name, percent, port_not_zero, socket_address};

/// Envoy's limit; a table by priority is as long as the largest number in it.
const PRIORITY_MAX: u32 = 128;

/// An answer of EDS.
pub(in crate::resource) fn decode(
    at: &At<'_>,
    message: endpoint::ClusterLoadAssignment,
) -> Checked<ClusterLoadAssignment> {
    let (cluster_name, localities, policy) = parts(at, message)?;
    let (overprovisioning_percent, drop_overloads) = self::policy(&at.field("policy"), policy.unwrap_or_default())?;
    Ok(ClusterLoadAssignment {
        cluster_name: name(at, "cluster_name", cluster_name)?,
        localities: self::localities(at, localities)?,
        overprovisioning_percent,
        drop_overloads,
    })
}

/// What a cluster carries with it: there the name is the cluster's own, whatever is written.
pub(in crate::resource) fn embedded(
    at: &At<'_>,
    message: endpoint::ClusterLoadAssignment,
) -> Checked<Vec<LocalityEndpoints>> {
    let localities = without_policy(at, message)?;
    self::localities(at, localities)
}

/// The localities of an assignment that a cluster carries with it, where there is no place for a policy.
pub(in crate::resource) fn without_policy(
    at: &At<'_>,
    message: endpoint::ClusterLoadAssignment,
) -> Checked<Vec<endpoint::LocalityLbEndpoints>> {
    let (_, localities, policy) = parts(at, message)?;
    let at = &at.field("policy");
    let (overprovisioning_percent, drop_overloads) = self::policy(at, policy.unwrap_or_default())?;
    if overprovisioning_percent != OVERPROVISIONING_PERCENT_DEFAULT {
        at.ignore("overprovisioning_factor");
    }
    match drop_overloads.iter().position(|(_, share)| share.numerator > 0) {
        Some(i) => Err(at.item("drop_overloads", i).unsupported()),
        None => Ok(localities),
    }
}

type Overloads = Vec<(Arc<str>, Fraction)>;

type Parts = (String, Vec<endpoint::LocalityLbEndpoints>, Option<Policy>);

/// Name, localities and policy of an assignment, the rest decided on.
fn parts(at: &At<'_>, message: endpoint::ClusterLoadAssignment) -> Checked<Parts> {
    let endpoint::ClusterLoadAssignment { cluster_name, endpoints, named_endpoints, policy } = message;
    refused!(at; named_endpoints);
    Ok((cluster_name, endpoints, policy))
}

/// Overprovisioning, and the shares that are dropped.
fn policy(at: &At<'_>, policy: Policy) -> Checked<(NonZeroU32, Overloads)> {
    let Policy { drop_overloads, overprovisioning_factor, endpoint_stale_after, weighted_priority_health } = policy;
    ignored!(at; endpoint_stale_after, weighted_priority_health);
    let factor = match overprovisioning_factor {
        None => OVERPROVISIONING_PERCENT_DEFAULT,
        Some(UInt32Value { value }) => NonZeroU32::new(value)
            .ok_or_else(|| at.field("overprovisioning_factor").error("must be greater than zero"))?,
    };
    let overload = |(i, overload): (usize, DropOverload)| {
        let at = &at.item("drop_overloads", i);
        let DropOverload { category, drop_percentage } = overload;
        Ok((name(at, "category", category)?, percent(at, "drop_percentage", drop_percentage)?))
    };
    Ok((factor, drop_overloads.into_iter().enumerate().map(overload).collect::<Checked<_>>()?))
}

fn localities(at: &At<'_>, messages: Vec<endpoint::LocalityLbEndpoints>) -> Checked<Vec<LocalityEndpoints>> {
    let localities = each(at, "endpoints", messages, locality)?;
    // Balancers add weights up in 32 bits, ours and Envoy's.
    let mut sums: HashMap<u32, u64> = HashMap::new();
    for (i, locality) in localities.iter().enumerate() {
        let sum = sums.entry(locality.priority).or_default();
        *sum += locality.weight.map_or(0, |w| u64::from(w.get()));
        if *sum > u64::from(u32::MAX) {
            let at = &at.item("endpoints", i);
            return Err(at.field("load_balancing_weight").error("the weights of this priority exceed 2^32 - 1"));
        }
    }
    Ok(localities)
}

fn locality(at: &At<'_>, message: endpoint::LocalityLbEndpoints) -> Checked<LocalityEndpoints> {
    let (header, endpoints) = locality_parts(at, message)?;
    let endpoints = each(at, "lb_endpoints", endpoints, endpoint)?;
    let sum: u64 = endpoints.iter().map(|e| u64::from(e.weight.get())).sum();
    if sum > u64::from(u32::MAX) {
        return Err(at.field("lb_endpoints").error("the weights add up to more than 2^32 - 1"));
    }
    Ok(LocalityEndpoints { endpoints, ..header })
}

/// A locality without its endpoints, and those still as messages.
pub(in crate::resource) fn locality_parts(
    at: &At<'_>,
    message: endpoint::LocalityLbEndpoints,
) -> Checked<(LocalityEndpoints, Vec<endpoint::LbEndpoint>)> {
    use endpoint::locality_lb_endpoints::LbConfig;
    let endpoint::LocalityLbEndpoints {
        locality,
        metadata,
        mut lb_endpoints,
        load_balancing_weight,
        priority,
        proximity,
        lb_config,
    } = message;
    ignored!(at; metadata, proximity);
    match lb_config {
        None => {}
        // The newer place of the same list.
        Some(LbConfig::LoadBalancerEndpoints(list)) => {
            let endpoint::locality_lb_endpoints::LbEndpointList { lb_endpoints: listed } = list;
            lb_endpoints = listed;
        }
        Some(LbConfig::LedsClusterLocalityConfig(_)) => {
            return Err(at.field("leds_cluster_locality_config").unsupported());
        }
    }
    if priority > PRIORITY_MAX {
        return Err(at.field("priority").error(format_args!("{priority} is above {PRIORITY_MAX}")));
    }
    let core::Locality { region, zone, sub_zone } = locality.unwrap_or_default();
    let at_locality = &at.field("locality");
    let locality = Locality {
        region: label(at_locality, "region", region)?,
        zone: label(at_locality, "zone", zone)?,
        sub_zone: label(at_locality, "sub_zone", sub_zone)?,
    };
    let weight = weight(at, load_balancing_weight)?;
    Ok((LocalityEndpoints { locality, priority, weight, endpoints: Vec::new() }, lb_endpoints))
}

fn weight(at: &At<'_>, value: Option<UInt32Value>) -> Checked<Option<NonZeroU32>> {
    let one = |UInt32Value { value }| {
        NonZeroU32::new(value).ok_or_else(|| at.field("load_balancing_weight").error("must be at least 1"))
    };
    value.map(one).transpose()
}

fn endpoint(at: &At<'_>, message: endpoint::LbEndpoint) -> Checked<Endpoint> {
    let parts = endpoint_parts(at, message)?;
    let at = &at.field("endpoint");
    let address = socket_address(at, parts.address)?;
    port_not_zero(at, address.port())?;
    Ok(Endpoint {
        address,
        weight: parts.weight.unwrap_or(NonZeroU32::MIN),
        health: parts.health,
        hostname: Some(parts.hostname).filter(|h| !h.is_empty()).map(|h| label(at, "hostname", h)).transpose()?,
        workload: parts.workload,
    })
}

/// An endpoint whose address has not been looked at: it may be a name.
pub(in crate::resource) struct EndpointParts {
    pub(in crate::resource) address: Option<core::Address>,
    pub(in crate::resource) weight: Option<NonZeroU32>,
    pub(in crate::resource) health: Health,
    pub(in crate::resource) hostname: String,
    pub(in crate::resource) workload: Option<Arc<str>>,
}

pub(in crate::resource) fn endpoint_parts(at: &At<'_>, message: endpoint::LbEndpoint) -> Checked<EndpointParts> {
    use endpoint::lb_endpoint::HostIdentifier;
    let endpoint::LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } = message;
    let health = match core::HealthStatus::try_from(health_status) {
        Ok(core::HealthStatus::Unknown | core::HealthStatus::Healthy) => Health::Healthy,
        Ok(core::HealthStatus::Unhealthy | core::HealthStatus::Timeout) => Health::Unhealthy,
        Ok(core::HealthStatus::Draining) => Health::Draining,
        Ok(core::HealthStatus::Degraded) => Health::Degraded,
        Err(_) => return Err(at.field("health_status").error(format_args!("{health_status} is not known"))),
    };
    let weight = weight(at, load_balancing_weight)?;
    let mut workload = None;
    metadata::decode(at, metadata, metadata::ISTIO, |at, field, kind| {
        if field == metadata::WORKLOAD { metadata::workload(at, kind, &mut workload) } else { Ok(false) }
    })?;
    let endpoint = match host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(HostIdentifier::EndpointName(_)) => return Err(at.field("endpoint_name").unsupported()),
        None => return Err(at.field("endpoint").missing()),
    };
    let endpoint::Endpoint { address, health_check_config, hostname, additional_addresses, observability_name } =
        endpoint;
    let at = &at.field("endpoint");
    ignored!(at; health_check_config, additional_addresses, observability_name);
    Ok(EndpointParts { address, weight, health, hostname, workload })
}
