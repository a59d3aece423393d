//! What outlier detection remembers of one endpoint.
//!
//! # Why two halves
//! A request counts its outcome with a few atomic operations and never waits. What only ejections and reviews touch stands
//! behind a lock that the request path does not take.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Reason;

/// Counts of one endpoint. Lives as long as the endpoint's address is known, whatever configurations come and go.
#[derive(Debug, Default)]
pub struct EndpointOutlier {
    pub(super) failures: Run,
    pub(super) gateway_failures: Run,
    pub(super) local_failures: Run,
    pub(super) external: Window,
    pub(super) local: Window,
    gate: AtomicU8,
    pub(super) past: Mutex<Past>,
}

/// What ejections of one endpoint have been.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Since when and why it is out.
    pub(super) ejection: Option<Ejection>,
    /// When the last ejection ended.
    pub(super) returned_at: Option<Duration>,
    /// How many base times the next ejection lasts, before it is counted up. Shrinks with healthy intervals.
    pub(super) multiplier: u32,
    /// All ejections.
    pub(super) ejections: u64,
    /// The review at which a probe was seen under way.
    pub(super) probe_seen: bool,
}

/// An endpoint that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Why.
    pub reason: Reason,
    /// Since when, on the caller's clock.
    pub since: Duration,
    /// For how long at least. It ends at the first review after that.
    pub lasts: Duration,
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Run(AtomicU32);

impl Run {
    pub(super) fn clear(&self) {
        // Written only when there is something to clear: successes share the cache line then.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Counts one more, and whether it is the one that reaches the limit.
    pub(super) fn reaches(&self, limit: Option<std::num::NonZeroU32>) -> bool {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        limit.is_some_and(|limit| before.wrapping_add(1) == limit.get())
    }
}

/// Outcomes since the last review.
#[derive(Debug, Default)]
pub(super) struct Window {
    total: AtomicU64,
    successes: AtomicU64,
}

impl Window {
    pub(super) fn count(&self, success: bool) {
        // A review between the two may see one more success than there are outcomes; it caps the share.
        self.successes.fetch_add(success.into(), Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// Total and successes, counted anew from here on.
    pub(super) fn take(&self) -> (u64, u64) {
        let total = self.total.swap(0, Ordering::Relaxed);
        (total, self.successes.swap(0, Ordering::Relaxed).min(total))
    }
}

/// Whether requests may pass.
const OPEN: u8 = 0;
/// Ejected.
const SHUT: u8 = 1;
/// Back after an ejection: the next request is the probe.
const HALF_OPEN: u8 = 2;
/// The probe is under way.
const PROBING: u8 = 3;

impl EndpointOutlier {
    /// Whether a request may go there: not while a probe is under way. A balancer asks it of endpoints it has drawn; when
    /// none may, they should be asked for again without this question.
    ///
    /// Ejected ones say yes: they are not in a set, unless its priority is in panic and uses all on purpose.
    pub fn may_serve(&self) -> bool {
        self.gate.load(Ordering::Relaxed) != PROBING
    }

    /// A request goes there. `true`: it is the probe, and its outcome must be recorded as such or [abandoned].
    ///
    /// [abandoned]: Self::abandon_probe
    pub fn enter(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == HALF_OPEN
            && self.gate.compare_exchange(HALF_OPEN, PROBING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The probe ended without an outcome (its caller went away): the next request is one.
    pub fn abandon_probe(&self) {
        let _was_probing = self.gate.compare_exchange(PROBING, HALF_OPEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why and since when it is out, if it is.
    pub fn ejection(&self) -> Option<Ejection> {
        self.past().ejection
    }

    /// Whether it is out.
    pub fn is_ejected(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == SHUT
    }

    /// How often it has been ejected.
    pub fn ejections(&self) -> u64 {
        self.past().ejections
    }

    pub(super) fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        // Nothing that is done under the lock can leave it half done.
        self.past.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn shut(&self) {
        self.gate.store(SHUT, Ordering::Relaxed);
    }

    pub(super) fn half_open(&self) {
        self.gate.store(HALF_OPEN, Ordering::Relaxed);
    }

    /// Open to all requests, from whatever was before.
    pub(super) fn open(&self) {
        self.gate.store(OPEN, Ordering::Relaxed);
    }

    /// The probe has passed.
    pub(super) fn probe_passed(&self) {
        let _was_probing = self.gate.compare_exchange(PROBING, OPEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Forgets an ejection, e.g. because the cluster has no outlier detection any more.
    pub fn pardon(&self) {
        let mut past = self.past();
        *past = Past { ejections: past.ejections, ..Past::default() };
        self.open();
        self.clear_runs();
    }

    pub(super) fn is_open(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == OPEN
    }

    pub(super) fn is_probing(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == PROBING
    }

    pub(super) fn clear_runs(&self) {
        self.failures.clear();
        self.gateway_failures.clear();
        self.local_failures.clear();
    }
}
