//! What a control plane counts of its proxies, for its metrics.

use std::collections::BTreeMap;

use tidegate_xds::name::ResourceType;

/// Upper bounds of the propagation histogram, in seconds: around the tens of milliseconds that a change should take, and out to
/// the point where a proxy counts as stuck.
pub const PROPAGATION_BUCKETS_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counters of a process's life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Streams opened.
    pub streams: u64,
    /// Configurations applied.
    pub applied: u64,
    /// Configurations rejected.
    pub rejected: u64,
    /// Responses that were sent, by type.
    pub pushes: BTreeMap<ResourceType, u64>,
    /// Those that a proxy refused.
    pub nacks: BTreeMap<ResourceType, u64>,
    /// Changes that went out before what they depend on was acknowledged.
    pub gates_expired: u64,
    /// Streams closed because the proxy did not answer.
    pub stalls: u64,
    /// Answers by propagation time: one count for each bucket, cumulative.
    pub propagation: [u64; PROPAGATION_BUCKETS_SECONDS.len()],
    /// Their sum in seconds.
    pub propagation_seconds: f64,
    /// Their number.
    pub propagation_count: u64,
}

impl Counts {
    pub(super) fn propagated(&mut self, took_ms: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds is far below 2^52")]
        let seconds = took_ms as f64 / 1_000.0;
        for (bucket, bound) in self.propagation.iter_mut().zip(PROPAGATION_BUCKETS_SECONDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.propagation_seconds += seconds;
        self.propagation_count += 1;
    }
}
