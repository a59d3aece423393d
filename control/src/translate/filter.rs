//! The filters that listeners list.
//!
//! # Why always all of them
//! A filter that is listed and told nothing costs a look into an empty table. One that is listed only when a policy
//! wants it makes the first policy of its kind a change of every listener, and a changed listener is the most that a
//! proxy can be asked to do. So policies only ever change routes.

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::filter::{
    CORS, FAULT, Fault, FilterConfig, HttpFilter, LOCAL_RATE_LIMIT, LocalRateLimit, RATE_LIMIT, RateLimitService,
    RequestType, STATEFUL_SESSION, VirtualHostLimits,
};
use tidegate_xds::resource::matcher::Fraction;

/// The local rate limit that counts and never refuses: whether a limit is enforced is said of a whole filter, so limits
/// on trial need one of their own.
pub const LOCAL_RATE_LIMIT_SHADOW: &str = "tidegate.local_ratelimit.shadow";
/// The cluster of the rate limit service: the control plane.
pub const RATE_LIMIT_CLUSTER: &str = "tidegate-rate-limit";
/// The namespace of descriptors at the rate limit service.
pub const RATE_LIMIT_DOMAIN: &str = "tidegate";
/// How long the rate limit service may take, which is on this machine or near.
const RATE_LIMIT_TIMEOUT: Duration = Duration::from_millis(100);
/// Buckets that one route may make for distinct values. Each takes some hundred bytes; a caller who invents values
/// drives out the least recently used.
const DYNAMIC_BUCKETS_MAX: u32 = 20_000;

pub(super) const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };
pub(super) const NONE: Fraction = Fraction { numerator: 0, denominator: 100 };

/// The filters of a proxy's listener, in the order in which requests pass them; none does anything by itself.
pub(super) fn of_proxies() -> Vec<HttpFilter> {
    vec![
        filter(CORS, FilterConfig::Cors(None)),
        filter(FAULT, FilterConfig::Fault(Arc::new(Fault::default()))),
        filter(LOCAL_RATE_LIMIT, FilterConfig::LocalRateLimit(Arc::new(local_rate_limit("enforced")))),
        filter(LOCAL_RATE_LIMIT_SHADOW, FilterConfig::LocalRateLimit(Arc::new(local_rate_limit("shadow")))),
        filter(RATE_LIMIT, FilterConfig::RateLimit(Arc::new(rate_limit_service()))),
        filter(STATEFUL_SESSION, FilterConfig::StatefulSession(None)),
    ]
}

/// The filters of a proxyless gRPC client, which refuses what it does not know.
pub(super) fn of_grpc_clients() -> Vec<HttpFilter> {
    vec![filter(FAULT, FilterConfig::Fault(Arc::new(Fault::default())))]
}

/// A local rate limit without limits.
pub(super) fn local_rate_limit(stat_prefix: &str) -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: stat_prefix.into(),
        status: 429,
        bucket: None,
        enabled: NONE,
        enforced: NONE,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        descriptors: Vec::new(),
        stage: 0,
        per_connection: false,
        ratelimit_headers: false,
        always_consume_default: false,
        resource_exhausted: true,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: DYNAMIC_BUCKETS_MAX,
        retry_after: true,
        virtual_host_limits: VirtualHostLimits::Override,
    }
}

fn rate_limit_service() -> RateLimitService {
    RateLimitService {
        domain: RATE_LIMIT_DOMAIN.into(),
        stage: 0,
        request_type: RequestType::Both,
        timeout: RATE_LIMIT_TIMEOUT,
        // Who cannot be asked does not stop traffic; a limit that must is kept by the proxy itself (`Lease`).
        failure_mode_deny: false,
        resource_exhausted: true,
        cluster: RATE_LIMIT_CLUSTER.into(),
        ratelimit_headers: false,
        without_ratelimited_header: false,
        status: 429,
        response_headers: Vec::new(),
        status_on_error: 500,
        retry_after: true,
        enabled: ALL,
        enforced: ALL,
        rate_limits: Vec::new(),
    }
}

fn filter(name: &str, config: FilterConfig) -> HttpFilter {
    HttpFilter { name: name.into(), disabled: false, config }
}
