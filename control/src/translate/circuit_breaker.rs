//! Limits of what is under way, and ejection of endpoints that fail, as fields of a cluster.
//!
//! # Ejection is on unless somebody switches it off
//! A client that goes on calling a dead endpoint is what a mesh is there to prevent, and nobody should have to ask for
//! it. The values are for meshes of any size, also of two endpoints:
//! - Three failures in a row that the proxy met itself (refused, reset, timed out) eject: one may be an accident, and a
//!   dead endpoint has failed three times within a moment. Retries hide these three.
//! - Five 5xx in a row eject: answers say less about an endpoint than its silence does.
//! - 5 s at first, because what was restarted is back in seconds; each further ejection is 5 s longer, up to a minute.
//!   Reviewed each second, or a short ejection would last until a long review.
//! - At most half of the endpoints are out at once, or the rest would bear more than twice their load; one may always
//!   be, and the last never is.

use std::num::NonZeroU32;
use std::time::Duration;

use tidegate_policies::ir::circuit_breaker::{BreakerLimits, FailurePercentage, Outlier};
use tidegate_xds::resource::cluster::{
    FailurePercentage as XdsFailurePercentage, OutlierDetection, RetryBudget, Thresholds,
};

const CONSECUTIVE_5XX: u32 = 5;
const CONSECUTIVE_LOCAL: u32 = 3;
const INTERVAL: Duration = Duration::from_secs(1);
const BASE_EJECTION: Duration = Duration::from_secs(5);
const MAX_EJECTION: Duration = Duration::from_secs(60);
const MAX_EJECTION_PERCENT: u32 = 50;
/// Two endpoints can be compared with each other.
const PERCENTAGE_HOSTS: u32 = 2;
/// As in Envoy.
const PERCENTAGE_REQUESTS: u32 = 50;
/// Only when no endpoint is well, all are tried: a health check that is wrong must not be an outage.
const PANIC_THRESHOLD_PERCENT: u8 = 1;

/// No limit: what a field says that nobody set. Envoy's own 1024 would reject traffic that nobody asked to limit.
pub(super) const UNLIMITED: Thresholds = Thresholds {
    max_connections: u32::MAX,
    max_pending_requests: u32::MAX,
    max_requests: u32::MAX,
    max_retries: u32::MAX,
    retry_budget: None,
    max_connections_per_endpoint: None,
    max_requests_per_endpoint: None,
};
/// Retries that nobody limited: a fifth more load on a backend that fails already is what it may be asked to bear, and
/// three at once let a quiet caller retry at all.
const RETRY_BUDGET: RetryBudget = RetryBudget { percent: 20.0, min_concurrency: 3 };

/// The limits of a cluster. An explicit zero is a limit of zero.
pub(super) fn thresholds(limits: Option<&BreakerLimits>) -> Thresholds {
    let limits = limits.copied().unwrap_or_default();
    // Whoever counts retries in whole numbers does not want them counted as a share: on the wire a budget wins.
    let budget = limits
        .retry_budget
        .map(|budget| RetryBudget { percent: budget.percent, min_concurrency: budget.min_concurrency })
        .or_else(|| limits.max_retries.is_none().then_some(RETRY_BUDGET));
    Thresholds {
        max_connections: limits.max_connections.unwrap_or(UNLIMITED.max_connections),
        max_pending_requests: limits.max_pending_requests.unwrap_or(UNLIMITED.max_pending_requests),
        max_requests: limits.max_requests.unwrap_or(UNLIMITED.max_requests),
        max_retries: limits.max_retries.unwrap_or(UNLIMITED.max_retries),
        retry_budget: budget,
        max_connections_per_endpoint: None,
        max_requests_per_endpoint: limits.max_requests_per_endpoint,
    }
}

/// When endpoints are ejected. A field that is left out has the mesh's default; a signal of zero is off.
pub(super) fn outlier(outlier: Option<&Outlier>) -> OutlierDetection {
    let nothing_said = Outlier::default();
    let said = outlier.unwrap_or(&nothing_said);
    let base = said.base_ejection.unwrap_or(BASE_EJECTION);
    OutlierDetection {
        consecutive_5xx: NonZeroU32::new(said.consecutive_5xx.unwrap_or(CONSECUTIVE_5XX)),
        // Nobody's default: each such answer is a 5xx as well.
        consecutive_gateway_failure: said.consecutive_gateway.and_then(NonZeroU32::new),
        consecutive_local_origin_failure: NonZeroU32::new(said.consecutive_local.unwrap_or(CONSECUTIVE_LOCAL)),
        split_local_origin: true,
        success_rate: None,
        failure_percentage: said.failure_percentage.map(percentage),
        interval: said.interval.unwrap_or(INTERVAL),
        base_ejection_time: base,
        max_ejection_time: said.max_ejection.unwrap_or(MAX_EJECTION).max(base),
        max_ejection_jitter: Duration::ZERO,
        max_ejection_percent: said.max_ejection_percent.unwrap_or(MAX_EJECTION_PERCENT),
        always_eject_one: said.always_eject_one.unwrap_or(true),
        uneject_on_healthy: true,
        failure_codes: said.codes.clone(),
    }
}

/// Below this share of healthy endpoints all are used.
pub(super) fn panic_threshold(outlier: Option<&Outlier>) -> u8 {
    let said = outlier.and_then(|outlier| outlier.panic_threshold_percent);
    said.map_or(PANIC_THRESHOLD_PERCENT, |percent| u8::try_from(percent.min(100)).unwrap_or(100))
}

fn percentage(percentage: FailurePercentage) -> XdsFailurePercentage {
    XdsFailurePercentage {
        threshold: percentage.threshold,
        min_hosts: percentage.min_hosts.map_or(PERCENTAGE_HOSTS, NonZeroU32::get),
        request_volume: percentage.min_requests.map_or(PERCENTAGE_REQUESTS, NonZeroU32::get),
    }
}
