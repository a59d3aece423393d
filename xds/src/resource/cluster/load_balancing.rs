//! Protobuf to load balancing. There are two ways to write it; the newer one wins when both are there.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::num::NonZeroU32;

use super::{Discovery, HashFunction, LoadBalancing, PANIC_THRESHOLD_PERCENT_DEFAULT, SlowStart};
use crate::proto::cluster::cluster as parts;
use crate::proto::{
    Any, Duration, UInt32Value, UInt64Value, cluster, core, lb_common, least_request, maglev, random, ring_hash,
    round_robin, types,
};
use crate::resource::extension::{configuration, holds, message};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{if_true, optional_duration, percentage, unless_zero};

/// How many endpoints are compared when the policy does not say; Envoy's default.
const CHOICES_DEFAULT: NonZeroU32 = NonZeroU32::new(2).expect("2 is not zero");
/// The share that a warming endpoint gets at least when the policy does not say; Envoy's default.
const MIN_WEIGHT_PERCENT_DEFAULT: f64 = 10.0;
/// Sizes of a ring when the policy does not say, and the largest there may be: Envoy's.
const RING_SIZE_MIN_DEFAULT: u64 = 1024;
const RING_SIZE_MAX: u64 = 8 << 20;
/// The size of a table when the policy does not say, and the largest there may be: Envoy's.
const TABLE_SIZE_DEFAULT: u64 = 65_537;
const TABLE_SIZE_MAX: u64 = 5_000_011;

/// The fields of a cluster that say how an endpoint is chosen.
pub(super) struct Policies {
    pub(super) lb_policy: i32,
    pub(super) lb_config: Option<parts::LbConfig>,
    pub(super) load_balancing_policy: Option<cluster::LoadBalancingPolicy>,
    pub(super) common_lb_config: Option<parts::CommonLbConfig>,
}

/// What they say.
#[derive(Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) load_balancing: LoadBalancing,
    pub(super) panic_threshold_percent: u8,
    pub(super) locality_weighted: bool,
}

pub(super) fn decode(at: &At<'_>, discovery: &Discovery, policies: Policies) -> Checked<Choice> {
    let Policies { lb_policy, lb_config, load_balancing_policy, common_lb_config } = policies;
    let (panic_threshold_percent, weighted_by_common) = common(&at.field("common_lb_config"), common_lb_config)?;
    let (load_balancing, locality_weighted) = match (discovery, load_balancing_policy) {
        // The destination is given; there is nothing to choose.
        (Discovery::OriginalDestination, typed) => (given(at, lb_policy, lb_config, typed)?, weighted_by_common),
        // Envoy, too, forgets the older fields then.
        (_, Some(policy)) => {
            let (load_balancing, weighted) = typed(&at.field("load_balancing_policy"), policy)?;
            if weighted_by_common && !weighted {
                at.field("common_lb_config").ignore("locality_weighted_lb_config");
            }
            (load_balancing, weighted)
        }
        (_, None) => (written(at, lb_policy, lb_config)?, weighted_by_common),
    };
    Ok(Choice { load_balancing, panic_threshold_percent, locality_weighted })
}

/// The panic threshold, and whether localities are weighted.
fn common(at: &At<'_>, config: Option<parts::CommonLbConfig>) -> Checked<(u8, bool)> {
    use parts::common_lb_config::{LocalityConfigSpecifier as Specifier, LocalityWeightedLbConfig};
    let Some(config) = config else { return Ok((PANIC_THRESHOLD_PERCENT_DEFAULT, false)) };
    let parts::CommonLbConfig {
        healthy_panic_threshold,
        update_merge_window,
        ignore_new_hosts_until_first_hc,
        close_connections_on_host_set_change,
        consistent_hashing_lb_config,
        override_host_status,
        locality_config_specifier,
    } = config;
    let update_merge_window = unless_zero(update_merge_window);
    ignored!(at;
        update_merge_window, ignore_new_hosts_until_first_hc, close_connections_on_host_set_change,
        override_host_status
    );
    if let Some(parts::common_lb_config::ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor }) =
        consistent_hashing_lb_config
    {
        let at = &at.field("consistent_hashing_lb_config");
        let hash_balance_factor = some_load(hash_balance_factor);
        refused!(at; use_hostname_for_hashing, hash_balance_factor);
    }
    let weighted = match locality_config_specifier {
        None => false,
        Some(Specifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})) => true,
        Some(Specifier::ZoneAwareLbConfig(_)) => {
            at.ignore("zone_aware_lb_config");
            false
        }
    };
    let default = f64::from(PANIC_THRESHOLD_PERCENT_DEFAULT);
    let percent = percentage(at, "healthy_panic_threshold", healthy_panic_threshold, default)?;
    // Envoy rounds as well. Between 0 and 100 by the check.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
    let percent = percent.round() as u8;
    Ok((percent, weighted))
}

/// Zero switches bounded loads off.
fn some_load(factor: Option<UInt32Value>) -> Option<UInt32Value> {
    factor.filter(|factor| factor.value != 0)
}

fn written(at: &At<'_>, lb_policy: i32, lb_config: Option<parts::LbConfig>) -> Checked<LoadBalancing> {
    use parts::{LbConfig, LbPolicy};
    let at_policy = &at.field("lb_policy");
    // A configuration for another policy than the chosen one says nothing, as in Envoy.
    match LbPolicy::try_from(lb_policy) {
        Ok(LbPolicy::RoundRobin) => {
            let Some(LbConfig::RoundRobinLbConfig(config)) = lb_config else { return Ok(LoadBalancing::ROUND_ROBIN) };
            let parts::RoundRobinLbConfig { slow_start_config } = config;
            let slow_start =
                slow_start(&at.field("round_robin_lb_config"), slow_start_config.map(SlowStartFields::from))?;
            Ok(LoadBalancing::RoundRobin { slow_start })
        }
        Ok(LbPolicy::Random) => Ok(LoadBalancing::Random),
        Ok(LbPolicy::LeastRequest) => {
            let Some(LbConfig::LeastRequestLbConfig(config)) = lb_config else {
                return Ok(LoadBalancing::LEAST_REQUEST);
            };
            let at = &at.field("least_request_lb_config");
            let parts::LeastRequestLbConfig { choice_count, active_request_bias, slow_start_config } = config;
            Ok(LoadBalancing::LeastRequest {
                choices: choices(at, choice_count)?,
                active_request_bias: bias(at, active_request_bias)?,
                slow_start: slow_start(at, slow_start_config.map(SlowStartFields::from))?,
            })
        }
        Ok(LbPolicy::RingHash) => {
            let config = match lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => config,
                _ => parts::RingHashLbConfig::default(),
            };
            let at = &at.field("ring_hash_lb_config");
            let parts::RingHashLbConfig { minimum_ring_size, hash_function, maximum_ring_size } = config;
            let function = match parts::ring_hash_lb_config::HashFunction::try_from(hash_function) {
                Ok(parts::ring_hash_lb_config::HashFunction::XxHash) => HashFunction::XxHash,
                Ok(parts::ring_hash_lb_config::HashFunction::MurmurHash2) => HashFunction::Murmur2,
                Err(_) => return Err(at.field("hash_function").error(format_args!("{hash_function} is not known"))),
            };
            ring(at, minimum_ring_size, maximum_ring_size, function)
        }
        Ok(LbPolicy::Maglev) => {
            let size = match lb_config {
                Some(LbConfig::MaglevLbConfig(parts::MaglevLbConfig { table_size })) => table_size,
                _ => None,
            };
            table(&at.field("maglev_lb_config"), size)
        }
        Ok(LbPolicy::ClusterProvided) => Err(at_policy.error("CLUSTER_PROVIDED is for ORIGINAL_DST clusters only")),
        Ok(LbPolicy::LoadBalancingPolicyConfig) => Err(at.field("load_balancing_policy").missing()),
        Err(_) => Err(at_policy.error(format_args!("{lb_policy} is not known"))),
    }
}

fn ring(
    at: &At<'_>,
    min: Option<UInt64Value>,
    max: Option<UInt64Value>,
    function: HashFunction,
) -> Checked<LoadBalancing> {
    let size = |field: &str, value: Option<UInt64Value>, default: u64| match value.map_or(default, |v| v.value) {
        size if size > RING_SIZE_MAX => Err(at.field(field).error(format_args!("{size} is above {RING_SIZE_MAX}"))),
        size => Ok(size),
    };
    let min_size = size("minimum_ring_size", min, RING_SIZE_MIN_DEFAULT)?;
    let max_size = size("maximum_ring_size", max, RING_SIZE_MAX)?;
    if min_size > max_size {
        let at = at.field("minimum_ring_size");
        return Err(at.error(format_args!("{min_size} is above maximum_ring_size, {max_size}")));
    }
    Ok(LoadBalancing::RingHash { min_size, max_size, function })
}

fn table(at: &At<'_>, size: Option<UInt64Value>) -> Checked<LoadBalancing> {
    let table_size = size.map_or(TABLE_SIZE_DEFAULT, |size| size.value);
    let at = at.field("table_size");
    if table_size > TABLE_SIZE_MAX {
        return Err(at.error(format_args!("{table_size} is above {TABLE_SIZE_MAX}")));
    }
    if !is_prime(table_size) {
        return Err(at.error(format_args!("{table_size} is not a prime")));
    }
    Ok(LoadBalancing::Maglev { table_size })
}

/// By trial; the bound above keeps it to some two thousand divisions.
fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn choices(at: &At<'_>, count: Option<UInt32Value>) -> Checked<NonZeroU32> {
    match count {
        None => Ok(CHOICES_DEFAULT),
        Some(UInt32Value { value }) => NonZeroU32::new(value)
            .filter(|n| *n >= CHOICES_DEFAULT)
            .ok_or_else(|| at.field("choice_count").error(format_args!("{value} is below 2"))),
    }
}

/// A number that a runtime key could change; the default acts.
fn number(at: &At<'_>, value: core::RuntimeDouble) -> f64 {
    let core::RuntimeDouble { default_value, runtime_key } = value;
    ignored!(at; runtime_key);
    default_value
}

fn bias(at: &At<'_>, value: Option<core::RuntimeDouble>) -> Checked<f64> {
    let Some(value) = value else { return Ok(1.0) };
    let at = &at.field("active_request_bias");
    let bias = number(at, value);
    if bias.is_finite() && bias >= 0.0 {
        Ok(bias)
    } else {
        Err(at.error(format_args!("{bias} is below zero or not finite")))
    }
}

/// Two messages of equal content have this configuration.
struct SlowStartFields {
    slow_start_window: Option<Duration>,
    aggression: Option<core::RuntimeDouble>,
    min_weight_percent: Option<types::Percent>,
}

impl From<parts::SlowStartConfig> for SlowStartFields {
    fn from(config: parts::SlowStartConfig) -> Self {
        let parts::SlowStartConfig { slow_start_window, aggression, min_weight_percent } = config;
        Self { slow_start_window, aggression, min_weight_percent }
    }
}

impl From<lb_common::SlowStartConfig> for SlowStartFields {
    fn from(config: lb_common::SlowStartConfig) -> Self {
        let lb_common::SlowStartConfig { slow_start_window, aggression, min_weight_percent } = config;
        Self { slow_start_window, aggression, min_weight_percent }
    }
}

/// `None` for no window and for one of no length.
fn slow_start(at: &At<'_>, config: Option<SlowStartFields>) -> Checked<Option<SlowStart>> {
    let Some(SlowStartFields { slow_start_window, aggression, min_weight_percent }) = config else { return Ok(None) };
    let at = &at.field("slow_start_config");
    let window = optional_duration(at, "slow_start_window", slow_start_window)?.unwrap_or_default();
    let at_aggression = &at.field("aggression");
    let aggression = aggression.map_or(1.0, |value| number(at_aggression, value));
    if !(aggression.is_finite() && aggression > 0.0) {
        return Err(at_aggression.error(format_args!("{aggression} is not above zero")));
    }
    let min_weight_percent = percentage(at, "min_weight_percent", min_weight_percent, MIN_WEIGHT_PERCENT_DEFAULT)?;
    Ok((!window.is_zero()).then_some(SlowStart { window, aggression, min_weight_percent }))
}

/// A cluster that goes where the connection was going; its policy can only be that one.
fn given(
    at: &At<'_>,
    lb_policy: i32,
    lb_config: Option<parts::LbConfig>,
    load_balancing_policy: Option<cluster::LoadBalancingPolicy>,
) -> Checked<LoadBalancing> {
    use parts::{LbConfig, LbPolicy, OriginalDstLbConfig};
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
    Ok(LoadBalancing::ROUND_ROBIN)
}

/// The first policy of the list that we have. The list exists so that a reader may pass over what it does not know.
fn typed(at: &At<'_>, policy: cluster::LoadBalancingPolicy) -> Checked<(LoadBalancing, bool)> {
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

/// One policy, and whether it weights localities; `None` when we do not have it.
fn one(at: &At<'_>, any: &Any) -> Checked<Option<(LoadBalancing, bool)>> {
    if holds::<round_robin::RoundRobin>(any) {
        let round_robin::RoundRobin { slow_start_config, locality_lb_config } = message(at, &any.value)?;
        let slow_start = slow_start(at, slow_start_config.map(SlowStartFields::from))?;
        return Ok(Some((LoadBalancing::RoundRobin { slow_start }, locality(at, locality_lb_config))));
    }
    if holds::<random::Random>(any) {
        let random::Random { locality_lb_config } = message(at, &any.value)?;
        return Ok(Some((LoadBalancing::Random, locality(at, locality_lb_config))));
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
        let load_balancing = LoadBalancing::LeastRequest {
            choices: choices(at, choice_count)?,
            active_request_bias: bias(at, active_request_bias)?,
            slow_start: slow_start(at, slow_start_config.map(SlowStartFields::from))?,
        };
        return Ok(Some((load_balancing, locality(at, locality_lb_config))));
    }
    if holds::<ring_hash::RingHash>(any) {
        return typed_ring(at, message(at, &any.value)?).map(Some);
    }
    if holds::<maglev::Maglev>(any) {
        let maglev::Maglev { table_size, consistent_hashing_lb_config, locality_weighted_lb_config } =
            message(at, &any.value)?;
        consistent_hashing(at, consistent_hashing_lb_config)?;
        return Ok(Some((table(at, table_size)?, locality_weighted_lb_config.is_some())));
    }
    Ok(None)
}

fn typed_ring(at: &At<'_>, message: ring_hash::RingHash) -> Checked<(LoadBalancing, bool)> {
    let ring_hash::RingHash {
        hash_function,
        minimum_ring_size,
        maximum_ring_size,
        use_hostname_for_hashing,
        hash_balance_factor,
        consistent_hashing_lb_config,
        locality_weighted_lb_config,
    } = message;
    let hash_balance_factor = some_load(hash_balance_factor);
    refused!(at; use_hostname_for_hashing, hash_balance_factor);
    consistent_hashing(at, consistent_hashing_lb_config)?;
    let function = match ring_hash::ring_hash::HashFunction::try_from(hash_function) {
        Ok(ring_hash::ring_hash::HashFunction::DefaultHash | ring_hash::ring_hash::HashFunction::XxHash) => {
            HashFunction::XxHash
        }
        Ok(ring_hash::ring_hash::HashFunction::MurmurHash2) => HashFunction::Murmur2,
        Err(_) => return Err(at.field("hash_function").error(format_args!("{hash_function} is not known"))),
    };
    Ok((ring(at, minimum_ring_size, maximum_ring_size, function)?, locality_weighted_lb_config.is_some()))
}

fn consistent_hashing(at: &At<'_>, config: Option<lb_common::ConsistentHashingLbConfig>) -> Checked<()> {
    let Some(config) = config else { return Ok(()) };
    let at = &at.field("consistent_hashing_lb_config");
    let lb_common::ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor, hash_policy } = config;
    let hash_balance_factor = some_load(hash_balance_factor);
    refused!(at; use_hostname_for_hashing, hash_balance_factor, hash_policy);
    Ok(())
}

/// Whether localities are weighted. Zones are not asked about.
fn locality(at: &At<'_>, config: Option<lb_common::LocalityLbConfig>) -> bool {
    use lb_common::locality_lb_config::{LocalityConfigSpecifier as Specifier, LocalityWeightedLbConfig};
    let Some(lb_common::LocalityLbConfig { locality_config_specifier }) = config else { return false };
    match locality_config_specifier {
        None => false,
        Some(Specifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})) => true,
        Some(Specifier::ZoneAwareLbConfig(_)) => {
            at.field("locality_lb_config").ignore("zone_aware_lb_config");
            false
        }
    }
}
