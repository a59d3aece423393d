//! Strategies for filters and for what describes requests to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{
    additions, duration, fraction, header, header_matcher, maybe_empty, name, positive, positive_u32, query_matcher,
    string_matcher, text,
};
use crate::resource::filter::{
    self, Cors, Fault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay, FilterConfig, FilterOverride,
    FilterOverrides, HttpFilter, Lease, LocalDescriptor, LocalRateLimit, OnUnavailable, RateLimitAction,
    RateLimitActions, RateLimitPerRoute, RateLimitService, Refusal, RefusalField, RequestType, SessionCarrier,
    StatefulSession, TokenBucket, VirtualHostLimits,
};

fn cors() -> BoxedStrategy<Cors> {
    let texts = (maybe_empty(), maybe_empty(), maybe_empty(), maybe_empty());
    (vec(string_matcher(), 0..3), texts, fraction(), any::<[bool; 3]>())
        .prop_map(|(allow_origins, texts, enabled, flags)| Cors {
            allow_origins,
            allow_methods: texts.0,
            allow_headers: texts.1,
            expose_headers: texts.2,
            max_age: texts.3,
            allow_credentials: flags[0],
            enabled,
            forward_not_matching_preflights: flags[1],
            allow_private_network_access: flags[2],
        })
        .boxed()
}

fn fault() -> BoxedStrategy<Fault> {
    let delay = (of(positive()), fraction()).prop_map(|(fixed, percentage)| FaultDelay { fixed, percentage });
    let answer = prop_oneof![
        (200_u16..600).prop_map(FaultAnswer::Http),
        any::<u32>().prop_map(FaultAnswer::Grpc),
        Just(FaultAnswer::Header),
        Just(FaultAnswer::Reset),
    ];
    let abort = (answer, fraction()).prop_map(|(with, percentage)| FaultAbort { with, percentage });
    let bandwidth = (of(1_u64..), fraction())
        .prop_map(|(kib_per_second, percentage)| FaultBandwidth { kib_per_second, percentage });
    let filters = (vec(header_matcher(), 0..2), of(name()), vec(name(), 0..2), of(any::<u32>()));
    (of(delay), of(abort), of(bandwidth), filters, of(0_u64..1 << 53), any::<bool>())
        .prop_map(|(delay, abort, bandwidth, filters, expires_at_unix_s, per_attempt)| Fault {
            delay,
            abort,
            bandwidth,
            headers: filters.0,
            upstream_cluster: filters.1,
            downstream_nodes: filters.2,
            active_max: filters.3,
            expires_at_unix_s,
            per_attempt,
        })
        .boxed()
}

fn bucket() -> impl Strategy<Value = TokenBucket> {
    (any::<u32>(), positive_u32(), duration()).prop_map(|(capacity, refill, more)| TokenBucket {
        capacity,
        refill,
        interval: Duration::from_millis(50) + more,
    })
}

fn limits() -> impl Strategy<Value = VirtualHostLimits> {
    select(vec![VirtualHostLimits::Override, VirtualHostLimits::Include, VirtualHostLimits::Ignore])
}

fn local_rate_limit() -> BoxedStrategy<LocalRateLimit> {
    let entries = vec((name(), maybe_empty()), 1..3);
    let descriptors = btree_map(entries, bucket(), 0..3).prop_map(|descriptors| {
        descriptors.into_iter().map(|(entries, bucket)| LocalDescriptor { entries, bucket }).collect()
    });
    let shares = (fraction(), fraction(), additions(), additions());
    let numbers = (400_u16..600, 0_u32..=10, 1_u32..100, limits());
    (name(), of(bucket()), shares, descriptors, numbers, any::<[bool; 5]>(), actions())
        .prop_map(|(stat_prefix, bucket, shares, descriptors, numbers, flags, rate_limits)| LocalRateLimit {
            stat_prefix,
            status: numbers.0,
            bucket,
            enabled: shares.0,
            enforced: shares.1,
            request_headers_when_not_enforced: shares.2,
            response_headers: shares.3,
            descriptors,
            stage: numbers.1,
            per_connection: flags[0],
            ratelimit_headers: flags[1],
            always_consume_default: flags[2],
            resource_exhausted: flags[3],
            rate_limits,
            dynamic_descriptors_max: numbers.2,
            retry_after: flags[4],
            virtual_host_limits: numbers.3,
        })
        .boxed()
}

fn rate_limit() -> BoxedStrategy<RateLimitService> {
    let request_type = select(vec![RequestType::Both, RequestType::Internal, RequestType::External]);
    let statuses = (400_u16..600, 400_u16..600, 0_u32..=10);
    let shares = (fraction(), fraction(), additions(), actions());
    (name(), name(), request_type, duration(), statuses, shares, any::<[bool; 5]>())
        .prop_map(|(domain, cluster, request_type, timeout, statuses, shares, flags)| RateLimitService {
            domain,
            stage: statuses.2,
            request_type,
            timeout,
            failure_mode_deny: flags[0],
            resource_exhausted: flags[1],
            cluster,
            ratelimit_headers: flags[2],
            without_ratelimited_header: flags[3],
            status: statuses.0,
            response_headers: shares.2,
            status_on_error: statuses.1,
            retry_after: flags[4],
            enabled: shares.0,
            enforced: shares.1,
            rate_limits: shares.3,
        })
        .boxed()
}

fn session() -> BoxedStrategy<StatefulSession> {
    let carrier = prop_oneof![
        (text("[a-z]{1,5}"), text("[a-z/]{0,5}"), of(duration()))
            .prop_map(|(name, path, ttl)| SessionCarrier::Cookie { name, path, ttl }),
        header().prop_map(|name| SessionCarrier::Header { name }),
    ];
    (carrier, any::<bool>()).prop_map(|(carrier, strict)| StatefulSession { carrier, strict }).boxed()
}

fn action() -> BoxedStrategy<RateLimitAction> {
    let headers = vec(header_matcher(), 1..3);
    let parameters = vec(query_matcher(), 1..3);
    prop_oneof![
        Just(RateLimitAction::SourceCluster),
        Just(RateLimitAction::DestinationCluster),
        Just(RateLimitAction::RemoteAddress),
        (header(), name(), any::<bool>()).prop_map(|(header, key, skip_if_absent)| RateLimitAction::RequestHeader {
            header,
            key,
            skip_if_absent
        }),
        (name(), name(), any::<bool>()).prop_map(|(parameter, key, skip_if_absent)| RateLimitAction::QueryParameter {
            parameter,
            key,
            skip_if_absent
        }),
        (0_u8..=32, 0_u8..=128)
            .prop_map(|(v4_prefix, v6_prefix)| RateLimitAction::MaskedRemoteAddress { v4_prefix, v6_prefix }),
        (name(), name()).prop_map(|(key, value)| RateLimitAction::GenericKey { key, value }),
        (name(), name(), any::<bool>(), headers).prop_map(|(key, value, expect_match, headers)| {
            RateLimitAction::HeaderValueMatch { key, value, expect_match, headers }
        }),
        (name(), name(), any::<bool>(), parameters).prop_map(|(key, value, expect_match, parameters)| {
            RateLimitAction::QueryParameterValueMatch { key, value, expect_match, parameters }
        }),
    ]
    .boxed()
}

/// Descriptions without leases, which only routes and hosts can carry.
fn actions() -> BoxedStrategy<Vec<RateLimitActions>> {
    let one = (0_u32..=10, vec(action(), 1..4), any::<u32>());
    vec(one.prop_map(|(stage, actions, hits)| RateLimitActions { stage, actions, hits, lease: None }), 0..3).boxed()
}

fn lease() -> impl Strategy<Value = Lease> {
    let on_unavailable = select(vec![OnUnavailable::FallbackPerProxy, OnUnavailable::Allow, OnUnavailable::Deny]);
    let limit = (any::<u32>(), positive_u32(), 1_u64..100_000).prop_map(|(capacity, refill, interval_ms)| {
        TokenBucket { capacity, refill, interval: Duration::from_millis(interval_ms) }
    });
    (limit, on_unavailable, any::<bool>(), refusal()).prop_map(|(limit, on_unavailable, shadow, refusal)| Lease {
        limit,
        on_unavailable,
        shadow,
        refusal,
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let field = ("[a-z][a-z0-9-]{0,8}", "[!-~]{0,9}", any::<bool>()).prop_map(|(name, value, append)| RefusalField {
        name: name.into(),
        value: value.into(),
        append,
    });
    (400_u16..600, 0_u32..=16, vec(field, 0..3)).prop_map(|(status, grpc_status, fields)| Refusal {
        status,
        grpc_status,
        fields,
    })
}

/// Descriptions of which some have leases. Those begin with a constant of a kind that no other one begins with.
pub(super) fn leased_actions() -> BoxedStrategy<Vec<RateLimitActions>> {
    let leased =
        (lease(), vec(action(), 0..2), any::<u32>()).prop_map(|(lease, rest, hits)| (Arc::new(lease), rest, hits));
    (actions(), vec(leased, 0..4))
        .prop_map(|(mut plain, leased)| {
            for (i, (lease, rest, hits)) in leased.into_iter().enumerate() {
                let mut actions =
                    vec![RateLimitAction::GenericKey { key: "rule".into(), value: format!("R{i}").into() }];
                actions.extend(rest);
                plain.push(RateLimitActions { stage: 0, actions, hits, lease: Some(lease) });
            }
            plain
        })
        .boxed()
}

pub(super) fn listed() -> BoxedStrategy<Vec<HttpFilter>> {
    let config = prop_oneof![
        Just(FilterConfig::Cors(None)),
        fault().prop_map(|config| FilterConfig::Fault(Arc::new(config))),
        local_rate_limit().prop_map(|config| FilterConfig::LocalRateLimit(Arc::new(config))),
        rate_limit().prop_map(|config| FilterConfig::RateLimit(Arc::new(config))),
        of(session()).prop_map(|config| FilterConfig::StatefulSession(config.map(Arc::new))),
    ];
    // Names are unique in a list.
    btree_map(name(), (any::<bool>(), config), 0..4)
        .prop_map(|filters| {
            filters.into_iter().map(|(name, (disabled, config))| HttpFilter { name, disabled, config }).collect()
        })
        .boxed()
}

pub(super) fn overrides() -> BoxedStrategy<FilterOverrides> {
    let per_route = (limits(), actions(), of(name())).prop_map(|(virtual_host_limits, rate_limits, domain)| {
        RateLimitPerRoute { virtual_host_limits, rate_limits, domain }
    });
    let config = prop_oneof![
        cors().prop_map(|config| FilterConfig::Cors(Some(Arc::new(config)))),
        fault().prop_map(|config| FilterConfig::Fault(Arc::new(config))),
        local_rate_limit().prop_map(|config| FilterConfig::LocalRateLimit(Arc::new(config))),
        per_route.prop_map(|config| FilterConfig::RateLimitPerRoute(Arc::new(config))),
        of(session()).prop_map(|config| FilterConfig::StatefulSession(config.map(Arc::new))),
    ];
    let one = prop_oneof![
        4 => config.prop_map(|config| FilterOverride { disabled: false, config: Some(config) }),
        1 => any::<bool>().prop_map(|disabled| FilterOverride { disabled, config: None }),
    ];
    let names = select(vec![
        filter::CORS,
        filter::FAULT,
        filter::LOCAL_RATE_LIMIT,
        filter::RATE_LIMIT,
        filter::STATEFUL_SESSION,
        "another",
    ]);
    // Most levels say nothing; a few say much, so that maps have an order to lose.
    prop_oneof![
        3 => Just(BTreeMap::new()),
        1 => btree_map(names.prop_map(Arc::from), one, 1..5),
    ]
    .boxed()
}

pub(super) fn policies() -> BoxedStrategy<BTreeMap<Arc<str>, Arc<str>>> {
    btree_map(select(vec!["fault", "retry", "rate_limit", "cors"]).prop_map(Arc::from), maybe_empty(), 0..4).boxed()
}
