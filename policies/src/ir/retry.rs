//! Which failures are tried again.

use std::sync::Arc;
use std::time::Duration;

/// A retry policy. What was never sent is tried again whatever this says.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Further attempts; zero switches retries of this policy off.
    pub attempts: u32,
    /// Conditions in xDS's spelling (`5xx`, `connect-failure`, `retriable-status-codes`, …), in order, without repeats.
    pub on: Vec<Arc<str>>,
    /// Statuses that are tried again.
    pub codes: Vec<u16>,
    /// Methods that may run twice. `None`: the idempotent ones. Empty: all (Istio and Gateway API, which do not ask).
    pub methods: Option<Vec<Arc<str>>>,
    /// Limit of each attempt.
    pub per_try: Option<Duration>,
    /// First pause; 25 ms when absent.
    pub backoff: Option<Duration>,
    /// Longest pause; ten times the first when absent.
    pub backoff_max: Option<Duration>,
    /// Prefer endpoints that were not tried.
    pub avoid_previous_hosts: bool,
    /// Endpoints of other localities may be tried (Istio `retryRemoteLocalities`).
    pub remote_localities: bool,
}
