//! A token bucket in one word, shared by all workers without a lock.
//!
//! # How
//! Seen from the start of the clock, a bucket gains `refill` per `interval` for ever; what has been gained at a moment
//! is one multiplication and one division, computed anew each time, so that no rounding ever adds up. The word holds
//! how much has been *used*, with everything counted as used that ran over the brim while the bucket was full. A take
//! adds to it, if what is used then does not exceed what was gained plus one capacity:
//!
//! ```text
//! used' = max(used, gained(now)) + tokens      if  used' <= gained(now) + capacity
//! ```
//!
//! Both are counted in parts of a token ([`Rate`] says how small), so that a token taken now comes back one interval
//! from now and not at the next mark of some invisible grid.
//!
//! # What holds
//! - Between any two moments at most `capacity + rate * time` tokens are taken, to within a part of one, and someone
//!   who asks all the time gets all of them but one at most.
//! - A new bucket is full, whenever it is made.
//! - A clock that goes backwards gains nothing: the bucket waits until the clock is back where it was.
//!
//! Tokens flow in continuously, as in Envoy; a burst at each tick of the interval would let twice the capacity pass
//! around it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_xds::resource::filter::TokenBucket;

/// For how long a process may count before the word is full. Longer than any process lives.
const LIFE_NANOS: u128 = 100 * 365 * 24 * 3600 * 1_000_000_000;

/// What the word may reach within [`LIFE_NANOS`]; as much again is left for what is used above what is gained.
const GAINED_MAX: u128 = 1 << 62;

/// A capacity and a speed, prepared for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    capacity: u32,
    /// A token is 2 to this power parts: as many as [`LIFE_NANOS`] of this rate leave room for.
    part_bits: u32,
    /// Parts gained in an interval.
    gain: u64,
    interval_nanos: u64,
}

impl Rate {
    /// More than one token a nanosecond is cut to that; nobody can ask so often.
    pub fn new(bucket: TokenBucket) -> Self {
        let interval_nanos = u64::try_from(bucket.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let refill = u64::from(bucket.refill.get()).min(interval_nanos);
        let tokens = (LIFE_NANOS * u128::from(refill)).div_ceil(interval_nanos.into()) + u128::from(bucket.capacity);
        let part_bits = (GAINED_MAX / tokens).max(1).ilog2();
        Self { capacity: bucket.capacity, part_bits, gain: refill << part_bits, interval_nanos }
    }

    /// Most tokens at once.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Parts gained since the clock's start, saturating.
    fn gained(&self, now_nanos: u64) -> u64 {
        let gained = u128::from(now_nanos) * u128::from(self.gain) / u128::from(self.interval_nanos);
        gained.min(GAINED_MAX) as u64
    }

    fn parts(&self, tokens: u32) -> u64 {
        u64::from(tokens) << self.part_bits
    }
}

/// The tokens. Its speed is given with each question, so that a bucket among ten thousand is one word.
#[derive(Debug, Default)]
pub struct Bucket {
    used: AtomicU64,
}

impl Bucket {
    /// Takes tokens if they are all there. Taking none always succeeds.
    pub fn try_take(&self, rate: &Rate, tokens: u32, now_nanos: u64) -> bool {
        if tokens == 0 || tokens > rate.capacity {
            return tokens == 0;
        }
        let gained = rate.gained(now_nanos);
        let brim = gained + rate.parts(rate.capacity);
        let take = |used: u64| Some(used.max(gained) + rate.parts(tokens)).filter(|after| *after <= brim);
        // Relaxed: the word guards nothing but itself.
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Whole tokens that are there.
    pub fn remaining(&self, rate: &Rate, now_nanos: u64) -> u64 {
        let gained = rate.gained(now_nanos);
        let used = self.used.load(Ordering::Relaxed).max(gained);
        (gained + rate.parts(rate.capacity)).saturating_sub(used) >> rate.part_bits
    }

    /// How long until so many tokens are there if nobody takes any; `None` if they never are.
    pub fn wait(&self, rate: &Rate, tokens: u32, now_nanos: u64) -> Option<Duration> {
        if tokens > rate.capacity {
            return None;
        }
        let gained = rate.gained(now_nanos);
        let used = self.used.load(Ordering::Relaxed).max(gained);
        let lacking = (used + rate.parts(tokens)).saturating_sub(gained + rate.parts(rate.capacity));
        if lacking == 0 {
            return Some(Duration::ZERO);
        }
        // The moment at which `gained` has grown by what is lacking, to the nanosecond.
        let wanted = u128::from(gained) + u128::from(lacking);
        let at = (wanted * u128::from(rate.interval_nanos)).div_ceil(rate.gain.into());
        let nanos = at.saturating_sub(now_nanos.into());
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests;
