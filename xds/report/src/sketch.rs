//! How long requests took, so that any quantile is known to within one part in a hundred.
//!
//! # Why buckets of our own
//! A proxy counts into them on a request's way and says cumulative numbers, of which the control plane takes differences. Both
//! ask for buckets whose number follows from a value by a shift and a mask, the same for ever and everywhere: then sketches are
//! added and *subtracted* bucket by bucket, without loss. Sketches that choose or collapse their buckets as values come
//! cannot be subtracted.
//!
//! # The buckets
//! Microseconds below 64 have a bucket each. Above, each power of two is cut into 64 equal parts, so a bucket is at most 1/64 of its
//! lower bound wide, and its middle is within 1/128 (0.78 %) of whatever fell into it.

use std::collections::BTreeMap;
use std::time::Duration;

/// Parts of a power of two, as a power of two.
const PART_BITS: u32 = 6;
/// Times from here on (71 minutes) share the last bucket.
const MICROS_MAX: u64 = u32::MAX as u64;
/// How many buckets there are.
pub const BUCKETS: usize = bucket_of_micros(MICROS_MAX) + 1;

/// The bucket of a time.
#[inline]
pub fn bucket_of(time: Duration) -> usize {
    bucket_of_micros(u64::try_from(time.as_micros()).unwrap_or(MICROS_MAX))
}

/// The bucket of a time in microseconds.
#[inline]
pub const fn bucket_of_micros(micros: u64) -> usize {
    let micros = if micros > MICROS_MAX { MICROS_MAX } else { micros };
    // Below 2^PART_BITS the shift is zero, and a bucket's number is its value.
    let octave = (micros | 1 << PART_BITS).ilog2() - PART_BITS;
    ((octave as usize) << PART_BITS) + (micros >> octave) as usize
}

/// The middle of a bucket, in microseconds: what a quantile that falls into it is said to be.
pub fn middle_of(bucket: usize) -> f64 {
    let bucket = u32::try_from(bucket.min(BUCKETS - 1)).unwrap_or(u32::MAX);
    let parts = 1 << PART_BITS;
    let octave = (bucket / parts).saturating_sub(1);
    let lower = u64::from(bucket - octave * parts) << octave;
    let width = 1_u64 << octave;
    #[expect(clippy::cast_precision_loss, reason = "both are below 2^33")]
    let middle = lower as f64 + (width - 1) as f64 / 2.0;
    middle
}

/// Counts by bucket; what is not there is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch(BTreeMap<u16, u64>);

impl Sketch {
    /// Counts a time.
    pub fn record(&mut self, time: Duration) {
        self.add(bucket_of(time), 1);
    }

    /// Adds to a bucket. Numbers that no bucket has are counted in the last.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if count > 0 {
            let bucket = u16::try_from(bucket.min(BUCKETS - 1)).unwrap_or(u16::MAX);
            let counted = self.0.entry(bucket).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Adds all that another has counted.
    pub fn merge(&mut self, other: &Self) {
        other.buckets().for_each(|(bucket, count)| self.add(bucket, count));
    }

    /// What has been counted since `earlier`, of which this is a later state. A bucket that has shrunk has not grown.
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = self.0.iter().map(|(bucket, count)| {
            let before = earlier.0.get(bucket).copied().unwrap_or(0);
            (*bucket, count.saturating_sub(before))
        });
        Self(grown.filter(|(_, count)| *count > 0).collect())
    }

    /// Buckets that are not empty, in order.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().map(|(bucket, count)| (usize::from(*bucket), *count))
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The time in milliseconds below or at which a share of all lies: the nearest rank, as when a sorted list is asked at
    /// `⌈share · n⌉`. `None` when nothing was counted.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are past telling apart")]
        let rank = (share.clamp(0.0, 1.0) * count as f64).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a count")]
        let rank = (rank as u64).clamp(1, count);
        let mut below = 0_u64;
        let found = self.buckets().find(|(_, count)| {
            below = below.saturating_add(*count);
            below >= rank
        });
        found.map(|(bucket, _)| middle_of(bucket) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_bucket_is_within_one_hundredth_of_all_that_falls_into_it() {
        let mut micros = 1_u64;
        while micros < MICROS_MAX {
            #[expect(clippy::cast_precision_loss, reason = "below 2^33")]
            let exact = micros as f64;
            let said = middle_of(bucket_of_micros(micros));
            assert!((said - exact).abs() <= exact / 128.0, "{micros} is said to be {said}");
            micros += 1 + micros / 999;
        }
    }

    #[test]
    fn buckets_are_in_the_order_of_times_without_a_gap() {
        let mut last = 0;
        for micros in 0..200_000 {
            let bucket = bucket_of_micros(micros);
            assert!(bucket == last || bucket == last + 1, "{micros}");
            last = bucket;
        }
        assert_eq!(bucket_of_micros(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_was_added_can_be_taken_away_again() {
        let (mut early, mut late) = (Sketch::default(), Sketch::default());
        for ms in [1, 5, 5, 90] {
            early.record(Duration::from_millis(ms));
            late.record(Duration::from_millis(ms));
        }
        late.record(Duration::from_millis(5));
        late.record(Duration::from_secs(3));

        let grown = late.since(&early);
        assert_eq!(grown.count(), 2);
        early.merge(&grown);
        assert_eq!(early, late);
    }

    #[test]
    fn a_quantile_is_the_value_at_its_rank() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile_ms(0.5), None);
        (1..=1_000).for_each(|ms| sketch.record(Duration::from_millis(ms)));

        for (share, exact) in [(0.0, 1.0), (0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let said = sketch.quantile_ms(share).unwrap();
            assert!((said - exact).abs() <= exact / 100.0, "{share}: {said} instead of {exact}");
        }
    }
}
