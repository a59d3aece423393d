//! When a backend is spared: limits of what is under way, and ejection of endpoints that fail.

use std::num::NonZeroU32;
use std::time::Duration;

/// Limits for each client proxy. `None` is the mesh's default; an explicit zero is a limit of zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BreakerLimits {
    /// Connections to all endpoints.
    pub max_connections: Option<u32>,
    /// Requests waiting for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests in flight.
    pub max_requests: Option<u32>,
    /// Retries in flight.
    pub max_retries: Option<u32>,
    /// Retries in flight as a share of requests. The mesh's default is 20 %, 3.
    pub retry_budget: Option<RetryBudget>,
    /// Requests in flight to each endpoint.
    pub max_requests_per_endpoint: Option<u32>,
}

/// Retries in flight may be this share of the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// 0 to 100.
    pub percent: f64,
    /// So many may be in flight always.
    pub min_concurrency: u32,
}

/// When an endpoint is taken out. `None` in a field: the mesh's default; a signal of zero: off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlier {
    /// 5xx in a row.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway: Option<u32>,
    /// Failures in a row that the proxy met itself (refused, reset, timed out), counted apart.
    pub consecutive_local: Option<u32>,
    /// A share of failures.
    pub failure_percentage: Option<FailurePercentage>,
    /// Statuses that count as failures instead of all 5xx.
    pub codes: Vec<u16>,
    /// How often ejections are reviewed.
    pub interval: Option<Duration>,
    /// How long the first lasts; each further one as much longer.
    pub base_ejection: Option<Duration>,
    /// The longest.
    pub max_ejection: Option<Duration>,
    /// At most this share is out at once.
    pub max_ejection_percent: Option<u32>,
    /// Below this share of healthy endpoints all are used.
    pub panic_threshold_percent: Option<u32>,
    /// One endpoint may be ejected whatever the share says, unless it is the last.
    pub always_eject_one: Option<bool>,
}

/// A share of failures that is too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// From this share on.
    pub threshold: u32,
    /// Requests in an interval that make an endpoint count.
    pub min_requests: Option<NonZeroU32>,
    /// Endpoints that must count.
    pub min_hosts: Option<NonZeroU32>,
}
