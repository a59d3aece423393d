//! Rate limits as descriptions of requests, and the buckets that stand behind them.
//!
//! # How a request is described
//! By the rule's name, by a mark that its conditions hold, then by each key with its value. A key that a request lacks
//! is left out of its description, and the request then counts in the bucket of those without: leaving out a header is
//! no way around a limit.
//!
//! # Who counts
//! Limits of each proxy stand in the filter's override with their own descriptions. Shared ones are described on the
//! route, where the filter for the rate limit service looks, and carry the limit itself, so that a proxy of ours can
//! keep it on leases and go on by itself while the control plane is away.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::Stated;
use tidegate_policies::ir::rate_limit::{OnDeny, OnStoreUnavailable, RateKey, RateLimit, RateScope};
use tidegate_policies::ir::route::{ClientMatch, RequestMatch};
use tidegate_policies::ir::world::Workload;
use tidegate_xds::resource::filter::{
    FilterConfig, FilterOverride, FilterOverrides, LOCAL_RATE_LIMIT, Lease, LocalDescriptor, LocalRateLimit,
    OnUnavailable, RateLimitAction, RateLimitActions, Refusal, RefusalField, TokenBucket,
};
use tidegate_xds::resource::route::Policies;

use super::filter::{ALL, LOCAL_RATE_LIMIT_SHADOW, NONE, local_rate_limit};
use super::header::{Values, header_mutations};
use super::matching::{as_headers, query_parameters};
use super::{endpoint, origin};
use crate::world::Reader;

/// The key of a rule's name in descriptions.
pub(crate) const RULE: &str = "rule";
/// The key of the mark that a rule's conditions on headers hold.
pub(crate) const MATCH: &str = "match";
/// The same for query parameters.
pub(crate) const QUERY: &str = "query";
const HOLDS: &str = "yes";
/// gRPC's `RESOURCE_EXHAUSTED`.
const RESOURCE_EXHAUSTED: u32 = 8;
/// Envoy refuses shorter intervals.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// For requests that no limit describes. Envoy refuses an override without such a bucket, and shorter intervals.
const BOUNDLESS: TokenBucket = TokenBucket { capacity: u32::MAX, refill: NonZeroU32::MAX, interval: INTERVAL_MIN };
/// Each key that may be absent doubles the buckets that must be written down. Rules with more keys than this count only
/// requests that have all.
const OPTIONAL_KEYS_MAX: usize = 4;

/// Puts limits on a route. Gives the descriptions that the rate limit service is to be asked about.
pub(super) fn apply(
    limits: &[Stated<RateLimit>],
    port: u16,
    filters: &mut FilterOverrides,
    policies: &mut Policies,
) -> Vec<RateLimitActions> {
    let mut shared = Vec::new();
    let mut enforced: Vec<&RateLimit> = Vec::new();
    let mut shadow: Vec<&RateLimit> = Vec::new();
    for stated in limits {
        let limit = &*stated.value;
        let described = descriptions(limit, port);
        if described.is_empty() {
            continue;
        }
        origin::note(policies, "rate_limit", stated);
        match limit.scope {
            RateScope::Shared => shared.extend(described),
            RateScope::PerProxy if limit.shadow => shadow.push(limit),
            RateScope::PerProxy => enforced.push(limit),
        }
    }
    for (name, limits, share) in [(LOCAL_RATE_LIMIT, enforced, ALL), (LOCAL_RATE_LIMIT_SHADOW, shadow, NONE)] {
        let Some(first) = limits.first() else { continue };
        // A filter has one answer; where rules differ, the first one's.
        let config = LocalRateLimit {
            bucket: Some(BOUNDLESS),
            status: first.on_deny.status,
            // The only other word that the filter has is UNAVAILABLE.
            resource_exhausted: first.on_deny.grpc_status == RESOURCE_EXHAUSTED,
            response_headers: header_mutations(&first.on_deny.headers, Values::Literal).add,
            enabled: ALL,
            enforced: share,
            descriptors: limits.iter().flat_map(|limit| buckets(limit, port)).collect(),
            rate_limits: limits.iter().flat_map(|limit| descriptions(limit, port)).collect(),
            ..local_rate_limit(if share == ALL { "enforced" } else { "shadow" })
        };
        let config = Some(FilterConfig::LocalRateLimit(Arc::new(config)));
        filters.insert(name.into(), FilterOverride { disabled: false, config });
    }
    shared
}

/// The limits of requests that arrive at a port of a workload: its own, those of the services that it stands behind, and
/// of the versions of them that it is.
pub(super) fn of_workload(workload: &Workload, port: u16, reader: &Reader<'_>) -> Vec<Stated<RateLimit>> {
    let mut limits: Vec<Stated<RateLimit>> = reader.limits_by_label(workload).cloned().collect();
    for name in reader.services_of(&workload.name) {
        let Some(service) = reader.service(name) else { continue };
        if !service.ports.iter().any(|p| endpoint::member_port(workload, p) == Some(port)) {
            continue;
        }
        for limit in reader.limits(name, &workload.labels) {
            // Two services may have one workload, and a rule be for both.
            if limits.iter().all(|known| known.value.name != limit.value.name) {
                limits.push(limit.clone());
            }
        }
    }
    limits
}

/// How requests are described to a limit; empty when it cannot be kept here.
fn descriptions(limit: &RateLimit, port: u16) -> Vec<RateLimitActions> {
    let Some(keys) = limit.keys.iter().map(action_of).collect::<Option<Vec<RateLimitAction>>>() else {
        return Vec::new();
    };
    let lease = (limit.scope == RateScope::Shared).then(|| Arc::new(lease(limit)));
    let conditions = conditions(limit, port).into_iter();
    conditions
        .map(|conditions| RateLimitActions {
            stage: 0,
            actions: [RateLimitAction::GenericKey { key: RULE.into(), value: limit.name.clone() }]
                .into_iter()
                .chain(conditions)
                .chain(keys.iter().cloned())
                .collect(),
            hits: 1,
            lease: lease.clone(),
        })
        .collect()
}

/// The buckets for those descriptions.
fn buckets(limit: &RateLimit, port: u16) -> Vec<LocalDescriptor> {
    let bucket = bucket(limit);
    let mut descriptors: Vec<LocalDescriptor> = Vec::new();
    for conditions in conditions(limit, port) {
        let fixed = conditions.iter().map(|action| match action {
            RateLimitAction::QueryParameterValueMatch { .. } => (QUERY.into(), HOLDS.into()),
            _ => (MATCH.into(), HOLDS.into()),
        });
        let fixed: Vec<(Arc<str>, Arc<str>)> =
            std::iter::once((RULE.into(), limit.name.clone())).chain(fixed).collect();
        for present in present_keys(&limit.keys) {
            let keys = present.into_iter().map(|key| (entry_key(key), Arc::from("")));
            let entries = fixed.iter().cloned().chain(keys).collect();
            // Alternatives of one rule are described alike and share its bucket.
            if descriptors.iter().all(|known| known.entries != entries) {
                descriptors.push(LocalDescriptor { entries, bucket });
            }
        }
    }
    descriptors
}

/// Which keys a request may have: all of them, or any choice of those that may be absent.
fn present_keys(keys: &[RateKey]) -> Vec<Vec<&RateKey>> {
    let all: Vec<&RateKey> = keys.iter().collect();
    if keys.len() > OPTIONAL_KEYS_MAX {
        return vec![all];
    }
    let choices = (0..1_u32 << keys.len()).rev().map(|mask| {
        let chosen = all.iter().enumerate().filter(|(at, key)| mask & (1 << at) != 0 || !may_be_absent(key));
        chosen.map(|(_, key)| *key).collect::<Vec<_>>()
    });
    let mut distinct: Vec<Vec<&RateKey>> = Vec::new();
    for choice in choices {
        if !distinct.contains(&choice) {
            distinct.push(choice);
        }
    }
    distinct
}

/// For each alternative of a rule's conditions that can hold at this port, what describes that it does.
fn conditions(limit: &RateLimit, port: u16) -> Vec<Vec<RateLimitAction>> {
    if limit.matches.is_empty() {
        return vec![Vec::new()];
    }
    // Who calls is not known where a request arrives; a condition on it cannot hold.
    let here = |m: &&RequestMatch| m.client == ClientMatch::default() && m.port.is_none_or(|wanted| wanted == port);
    let described = limit.matches.iter().filter(here).map(|alternative| {
        let (headers, parameters) = (as_headers(alternative), query_parameters(alternative));
        let headers = (!headers.is_empty()).then(|| RateLimitAction::HeaderValueMatch {
            key: MATCH.into(),
            value: HOLDS.into(),
            expect_match: true,
            headers,
        });
        let parameters = (!parameters.is_empty()).then(|| RateLimitAction::QueryParameterValueMatch {
            key: QUERY.into(),
            value: HOLDS.into(),
            expect_match: true,
            parameters,
        });
        headers.into_iter().chain(parameters).collect()
    });
    described.collect()
}

/// `None`: proxies cannot tell callers apart by that yet, and one bucket for all would refuse what nobody meant to limit.
fn action_of(key: &RateKey) -> Option<RateLimitAction> {
    let entry = entry_key(key);
    match key {
        RateKey::Header(header) => {
            Some(RateLimitAction::RequestHeader { header: header.clone(), key: entry, skip_if_absent: true })
        }
        RateKey::QueryParameter(parameter) => {
            Some(RateLimitAction::QueryParameter { parameter: parameter.clone(), key: entry, skip_if_absent: true })
        }
        RateKey::SourceAddress => Some(RateLimitAction::RemoteAddress),
        RateKey::SourceIdentity => None,
    }
}

fn may_be_absent(key: &RateKey) -> bool {
    matches!(key, RateKey::Header(_) | RateKey::QueryParameter(_))
}

fn entry_key(key: &RateKey) -> Arc<str> {
    match key {
        RateKey::Header(name) => format!("header:{name}").into(),
        RateKey::QueryParameter(name) => format!("query:{name}").into(),
        // As the action itself calls it.
        RateKey::SourceAddress | RateKey::SourceIdentity => "remote_address".into(),
    }
}

fn bucket(limit: &RateLimit) -> TokenBucket {
    let interval = limit.per.max(INTERVAL_MIN);
    // A shorter interval than the wire can say gains as much in a longer one.
    let factor = interval.as_nanos().div_ceil(limit.per.as_nanos().max(1));
    let refill =
        limit.requests.saturating_mul(u32::try_from(factor).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX));
    TokenBucket { capacity: limit.burst, refill, interval }
}

/// The limit itself, for whoever keeps it.
fn lease(limit: &RateLimit) -> Lease {
    Lease {
        limit: bucket(limit),
        on_unavailable: match limit.on_store_unavailable {
            OnStoreUnavailable::FallbackPerProxy => OnUnavailable::FallbackPerProxy,
            OnStoreUnavailable::Allow => OnUnavailable::Allow,
            OnStoreUnavailable::Deny => OnUnavailable::Deny,
        },
        shadow: limit.shadow,
        refusal: refusal(&limit.on_deny),
    }
}

fn refusal(on_deny: &OnDeny) -> Refusal {
    let field = |(name, value): &(Arc<str>, Arc<str>), append| RefusalField {
        name: name.clone(),
        value: value.clone(),
        append,
    };
    let set = on_deny.headers.set.iter().map(|one| field(one, false));
    let add = on_deny.headers.add.iter().map(|one| field(one, true));
    Refusal { status: on_deny.status, grpc_status: on_deny.grpc_status, fields: set.chain(add).collect() }
}
