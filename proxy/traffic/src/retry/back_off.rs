//! How long to wait before the next attempt.
//!
//! # Why at random from zero
//! What fails for many at once would come back for many at once. A pause drawn evenly from zero to a bound that doubles
//! spreads the second wave over the whole bound, and half of the callers wait less than half of it.

use std::time::Duration;

/// Envoy's least base. A pause of zero would make of an outage a loop.
const BASE_MIN: Duration = Duration::from_millis(1);

/// `[0, (2^n - 1) * base)` before the n-th retry, and never `max` or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackOff {
    base: Duration,
    max: Duration,
}

impl Default for BackOff {
    /// Envoy's.
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl BackOff {
    pub(super) fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(BASE_MIN);
        Self { base, max: max.max(base) }
    }

    /// The pause before the `nth` retry, which counts from 1.
    pub(super) fn pause(self, nth: u32, draw: u64) -> Duration {
        let factor = 1_u32.checked_shl(nth).map_or(u32::MAX, |power| power - 1);
        drawn(self.base.checked_mul(factor).map_or(self.max, |bound| bound.min(self.max)), draw)
    }
}

/// The pause that an answer asked for, or up to half as much again, so that not everybody comes back at the same
/// moment.
pub(super) fn at_least(wait: Duration, draw: u64) -> Duration {
    wait + drawn(wait / 2, draw)
}

/// Evenly from zero up to, and without, the bound.
fn drawn(bound: Duration, draw: u64) -> Duration {
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(draw.checked_rem(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests;
