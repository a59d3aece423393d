//! Active health checks: what an answer means, what a run of answers means, and when to ask again.
//!
//! # As Envoy does it
//! An endpoint is unhealthy until its first check has ended; that one makes it healthy at once. Later it takes a run of
//! successes to become healthy and a run of failures to become unhealthy, except that an endpoint that answers and says no
//! (a status that is neither expected nor retriable, `NOT_SERVING`) is believed at once: the run is for broken networks.
//!
//! # What this module does not do
//! It opens no connection and knows no clock; whoever checks asks [`next_in`](Checked::next_in) how long to wait.

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::cluster::{HealthCheck, HttpHealthCheck};

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// It serves.
    Passed,
    /// It serves, and asks for less (`x-envoy-degraded`).
    Degraded,
    /// It answered, and not well: believed at once.
    Refused,
    /// No connection, no answer in time, not the right bytes, or a status that is retriable: counted.
    Failed,
}

/// What the checks of one endpoint have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    healthy: bool,
    degraded: bool,
    /// A check has ended.
    known: bool,
    /// Results in a row against the present state.
    run: u32,
}

impl Checked {
    /// Whether its endpoint passes. `false` until the first check has ended.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Whether it asked for less at its last check.
    pub fn is_degraded(&self) -> bool {
        self.healthy && self.degraded
    }

    /// Whether any check has ended.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Takes a result in. Whether the endpoint's health is another one now, so that sets must be built anew.
    pub fn observe(&mut self, check: &HealthCheck, result: CheckResult) -> bool {
        let before = (self.is_healthy(), self.is_degraded());
        match result {
            CheckResult::Passed | CheckResult::Degraded => {
                self.degraded = result == CheckResult::Degraded;
                let enough = !self.known || self.run.saturating_add(1) >= check.healthy_threshold.get();
                self.turn(true, enough);
            }
            CheckResult::Refused => self.turn(false, true),
            CheckResult::Failed => {
                let enough = self.run.saturating_add(1) >= check.unhealthy_threshold.get();
                self.turn(false, enough);
            }
        }
        self.known = true;
        before != (self.is_healthy(), self.is_degraded())
    }

    fn turn(&mut self, healthy: bool, enough: bool) {
        if self.healthy == healthy {
            self.run = 0;
        } else if enough {
            (self.healthy, self.run) = (healthy, 0);
        } else {
            self.run = self.run.saturating_add(1);
        }
    }

    /// How long to wait before the next check begins. `traffic`: the cluster has had any.
    pub fn next_in(&self, check: &HealthCheck, traffic: bool, random: u64) -> Duration {
        let base = match (traffic, self.healthy) {
            (false, _) => check.no_traffic_interval,
            (true, true) => check.interval,
            (true, false) => check.unhealthy_interval,
        };
        base.saturating_add(jitter(check.interval_jitter, random))
    }
}

/// How long to wait before the very first check: checks of many endpoints should not all begin at once.
pub fn first_in(check: &HealthCheck, random: u64) -> Duration {
    jitter(check.interval_jitter, random)
}

/// At most `max`, in whole milliseconds as in Envoy.
fn jitter(max: Duration, random: u64) -> Duration {
    let max_ms = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % max_ms.saturating_add(1))
}

/// What an answer to an HTTP check means. `degraded`: it has `x-envoy-degraded`; `fail`: it has
/// `x-envoy-immediate-health-check-fail`.
pub fn http_result(check: &HttpHealthCheck, status: u16, degraded: bool, fail: bool) -> CheckResult {
    let among = |ranges: &[(u16, u16)]| ranges.iter().any(|(start, end)| (*start..*end).contains(&status));
    if fail {
        return CheckResult::Refused;
    }
    let expected = if check.expected_statuses.is_empty() { status == 200 } else { among(&check.expected_statuses) };
    match (expected, degraded) {
        (true, false) => CheckResult::Passed,
        (true, true) => CheckResult::Degraded,
        _ if among(&check.retriable_statuses) => CheckResult::Failed,
        _ => CheckResult::Refused,
    }
}

/// `grpc.health.v1.HealthCheckResponse.SERVING`
const SERVING: u32 = 1;

/// What an answer to a gRPC check means: the call's status and, if it is 0, the message's.
pub fn grpc_result(grpc_status: u32, serving_status: Option<u32>) -> CheckResult {
    match (grpc_status, serving_status) {
        (0, Some(SERVING)) => CheckResult::Passed,
        _ => CheckResult::Refused,
    }
}

/// Whether the bytes received so far satisfy a TCP check: each text is found, in order, whatever stands between them.
/// Without texts a connection is enough.
pub fn tcp_matches(receive: &[Arc<[u8]>], mut received: &[u8]) -> bool {
    receive.iter().all(|text| {
        if text.is_empty() {
            return true;
        }
        match received.windows(text.len()).position(|window| window == &**text) {
            Some(start) => {
                received = &received[start + text.len()..];
                true
            }
            None => false,
        }
    })
}

#[cfg(test)]
mod tests;
