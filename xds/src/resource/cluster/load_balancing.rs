//! Protobuf to load balancing. There are two ways to write it; the newer one wins when both are there.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::num::NonZeroU32;

use super::{Discovery, LoadBalancing};
use crate::proto::{Any, UInt32Value, cluster, least_request, random, round_robin};
use crate::resource::extension::{configuration, holds, message};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::if_true;

/// How many endpoints are compared when the policy does not say; Envoy's default.
const CHOICES_DEFAULT: NonZeroU32 = NonZeroU32::new(2).expect("2 is not zero");

/// The fields of a cluster that say how an endpoint is chosen.
pub(super) struct Policies {
    pub(super) lb_policy: i32,
    pub(super) lb_config: Option<cluster::cluster::LbConfig>,
    pub(super) load_balancing_policy: Option<cluster::LoadBalancingPolicy>,
}

pub(super) fn decode(at: &At<'_>, discovery: &Discovery, policies: Policies) -> Checked<LoadBalancing> {
    match discovery {
        // The destination is given; there is nothing to choose.
        Discovery::OriginalDestination => given(at, policies),
        Discovery::Eds { .. } | Discovery::Static(_) | Discovery::StrictDns { .. } => chosen(at, policies),
    }
}

fn chosen(at: &At<'_>, policies: Policies) -> Checked<LoadBalancing> {
    use cluster::cluster::LbPolicy;
    let Policies { lb_policy, lb_config, load_balancing_policy } = policies;
    if let Some(policy) = load_balancing_policy {
        // Envoy, too, forgets the older fields then.
        return typed(&at.field("load_balancing_policy"), policy);
    }
    let at_policy = &at.field("lb_policy");
    match LbPolicy::try_from(lb_policy) {
        Ok(LbPolicy::RoundRobin) => {
            slow_start(at, lb_config.as_ref());
            Ok(LoadBalancing::RoundRobin)
        }
        Ok(LbPolicy::Random) => Ok(LoadBalancing::Random),
        Ok(LbPolicy::LeastRequest) => match lb_config {
            Some(cluster::cluster::LbConfig::LeastRequestLbConfig(config)) => {
                let at = &at.field("least_request_lb_config");
                let cluster::cluster::LeastRequestLbConfig { choice_count, active_request_bias, slow_start_config } =
                    config;
                ignored!(at; active_request_bias, slow_start_config);
                Ok(LoadBalancing::LeastRequest { choices: choices(at, choice_count)? })
            }
            _ => Ok(LoadBalancing::LeastRequest { choices: CHOICES_DEFAULT }),
        },
        Ok(LbPolicy::RingHash) => Err(at_policy.error("RING_HASH is not supported yet")),
        Ok(LbPolicy::Maglev) => Err(at_policy.error("MAGLEV is not supported yet")),
        Ok(LbPolicy::ClusterProvided) => Err(at_policy.error("CLUSTER_PROVIDED is for ORIGINAL_DST clusters only")),
        Ok(LbPolicy::LoadBalancingPolicyConfig) => Err(at.field("load_balancing_policy").missing()),
        Err(_) => Err(at_policy.error(format_args!("{lb_policy} is not known"))),
    }
}

fn slow_start(at: &At<'_>, config: Option<&cluster::cluster::LbConfig>) {
    if let Some(cluster::cluster::LbConfig::RoundRobinLbConfig(cluster::cluster::RoundRobinLbConfig {
        slow_start_config: Some(_),
    })) = config
    {
        at.field("round_robin_lb_config").ignore("slow_start_config");
    }
}

fn choices(at: &At<'_>, count: Option<UInt32Value>) -> Checked<NonZeroU32> {
    match count {
        None => Ok(CHOICES_DEFAULT),
        Some(UInt32Value { value }) => NonZeroU32::new(value)
            .filter(|n| *n >= CHOICES_DEFAULT)
            .ok_or_else(|| at.field("choice_count").error(format_args!("{value} is below 2"))),
    }
}

/// A cluster that goes where the connection was going; its policy can only be that one.
fn given(at: &At<'_>, policies: Policies) -> Checked<LoadBalancing> {
    use cluster::cluster::{LbConfig, LbPolicy, OriginalDstLbConfig};
    let Policies { lb_policy, lb_config, load_balancing_policy } = policies;
    refused!(at; load_balancing_policy);
    // Old control planes leave the field at its default.
    if lb_policy != LbPolicy::ClusterProvided as i32 && lb_policy != LbPolicy::RoundRobin as i32 {
        return Err(at.field("lb_policy").error("an ORIGINAL_DST cluster has no policy but CLUSTER_PROVIDED"));
    }
    if let Some(LbConfig::OriginalDstLbConfig(config)) = lb_config {
        let at = &at.field("original_dst_lb_config");
        let OriginalDstLbConfig { use_http_header, http_header_name, upstream_port_override, metadata_key } = config;
        refused!(at; use_http_header, upstream_port_override, metadata_key);
        ignored!(at; http_header_name);
    }
    Ok(LoadBalancing::RoundRobin)
}

/// The first policy of the list that we have. The list exists so that a reader may pass over what it does not know.
fn typed(at: &At<'_>, policy: cluster::LoadBalancingPolicy) -> Checked<LoadBalancing> {
    let cluster::LoadBalancingPolicy { policies } = policy;
    let mut unknown = Vec::new();
    for (i, policy) in policies.into_iter().enumerate() {
        let at = &at.item("policies", i);
        let cluster::load_balancing_policy::Policy { typed_extension_config } = policy;
        let at = &at.field("typed_extension_config");
        let any = configuration(at, typed_extension_config)?;
        if let Some(found) = one(&at.field("typed_config"), &any)? {
            return Ok(found);
        }
        at.ignore_here();
        unknown.push(any.type_url);
    }
    Err(at.field("policies").error(format_args!("none of them is supported: {unknown:?}")))
}

fn one(at: &At<'_>, any: &Any) -> Checked<Option<LoadBalancing>> {
    if holds::<round_robin::RoundRobin>(any) {
        let round_robin::RoundRobin { slow_start_config, locality_lb_config } = message(at, &any.value)?;
        ignored!(at; slow_start_config, locality_lb_config);
        return Ok(Some(LoadBalancing::RoundRobin));
    }
    if holds::<random::Random>(any) {
        let random::Random { locality_lb_config } = message(at, &any.value)?;
        ignored!(at; locality_lb_config);
        return Ok(Some(LoadBalancing::Random));
    }
    if holds::<least_request::LeastRequest>(any) {
        let least_request::LeastRequest {
            choice_count,
            active_request_bias,
            slow_start_config,
            locality_lb_config,
            enable_full_scan,
            selection_method,
        } = message(at, &any.value)?;
        let enable_full_scan = if_true(enable_full_scan);
        refused!(at; enable_full_scan, selection_method);
        ignored!(at; active_request_bias, slow_start_config, locality_lb_config);
        return Ok(Some(LoadBalancing::LeastRequest { choices: choices(at, choice_count)? }));
    }
    Ok(None)
}
