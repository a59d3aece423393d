//! Adds up many counts for one answer.
//!
//! # Why a plain array
//! An answer adds up to a million buckets. In an array that is cleared where it was written, each costs a nanosecond; as sketches
//! merged one by one it was sixty.

use std::collections::BTreeMap;

use tidegate_report::sketch::{BUCKETS, middle_of};
use tidegate_xds::report_service::Protocol;

use super::counts::Counts;
use super::model::{Latency, Reported};
use super::outcome::Outcome;
use super::packed::{buckets_of, take};
use super::ring::Slot;

/// A sum in the making.
#[derive(Debug)]
pub(super) struct Sum {
    /// In order. Mostly two or three, which a map would allocate anew for each sum.
    outcomes: Vec<(Outcome, u64)>,
    buckets: Vec<u64>,
    /// The lowest bucket that was written, and the one after the highest.
    written: (usize, usize),
    protocol: Protocol,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) opened: u64,
    pub(super) closed: u64,
}

impl Sum {
    pub(super) fn new() -> Self {
        Self {
            outcomes: Vec::new(),
            buckets: vec![0; BUCKETS],
            written: (BUCKETS, 0),
            protocol: Protocol::Unspecified,
            bytes_sent: 0,
            bytes_received: 0,
            opened: 0,
            closed: 0,
        }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self, protocol: Protocol) {
        let (low, high) = self.written;
        if let Some(written) = self.buckets.get_mut(low..high) {
            written.fill(0);
        }
        self.written = (BUCKETS, 0);
        self.outcomes.clear();
        self.protocol = protocol;
        (self.bytes_sent, self.bytes_received, self.opened, self.closed) = (0, 0, 0, 0);
    }

    pub(super) fn add(&mut self, counts: &Counts) {
        counts.outcomes.iter().for_each(|(outcome, count)| self.count(*outcome, *count));
        self.time(counts.times.buckets());
        self.number([counts.bytes_sent, counts.bytes_received, counts.opened, counts.closed]);
    }

    /// A slot that is over is added as it lies there.
    pub(super) fn add_slot(&mut self, slot: Slot<'_>) {
        match slot {
            Slot::Newest(counts) => self.add(counts),
            Slot::Over(bytes) => {
                let whole = self.add_written(bytes);
                debug_assert!(whole.is_some(), "only what was written is read");
            }
        }
    }

    fn add_written(&mut self, mut bytes: &[u8]) -> Option<()> {
        let rest = &mut bytes;
        self.number([take(rest)?, take(rest)?, take(rest)?, take(rest)?]);
        for _ in 0..take(rest)? {
            self.count(Outcome::of_number(take(rest)?)?, take(rest)?);
        }
        let length = usize::try_from(take(rest)?).ok()?;
        self.time(buckets_of(rest.get(..length)?));
        Some(())
    }

    fn number(&mut self, [sent, received, opened, closed]: [u64; 4]) {
        self.bytes_sent = self.bytes_sent.saturating_add(sent);
        self.bytes_received = self.bytes_received.saturating_add(received);
        self.opened = self.opened.saturating_add(opened);
        self.closed = self.closed.saturating_add(closed);
    }

    fn count(&mut self, outcome: Outcome, count: u64) {
        match self.outcomes.binary_search_by_key(&outcome, |(outcome, _)| *outcome) {
            Ok(at) => {
                if let Some((_, sum)) = self.outcomes.get_mut(at) {
                    *sum = sum.saturating_add(count);
                }
            }
            Err(at) => self.outcomes.insert(at, (outcome, count)),
        }
    }

    fn time(&mut self, buckets: impl Iterator<Item = (usize, u64)>) {
        for (bucket, count) in buckets {
            if let Some(sum) = self.buckets.get_mut(bucket) {
                *sum = sum.saturating_add(count);
                self.written = (self.written.0.min(bucket), self.written.1.max(bucket + 1));
            }
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.outcomes.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub(super) fn errors(&self) -> u64 {
        let errors = self.outcomes.iter().filter(|(outcome, _)| outcome.is_error(self.protocol));
        errors.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// What may have gone wrong: requests, or connections where nothing is asked on them.
    pub(super) fn happened(&self) -> u64 {
        self.requests().max(self.opened)
    }

    pub(super) fn codes(&self) -> BTreeMap<String, u64> {
        let mut codes = BTreeMap::new();
        for (outcome, count) in &self.outcomes {
            let sum: &mut u64 = codes.entry(outcome.class().to_owned()).or_default();
            *sum = sum.saturating_add(*count);
        }
        codes
    }

    pub(super) fn flags(&self) -> BTreeMap<String, u64> {
        let mut flags = BTreeMap::new();
        for (outcome, count) in &self.outcomes {
            for flag in outcome.flags() {
                let sum: &mut u64 = flags.entry(flag.to_owned()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        flags
    }

    /// Quantiles by the nearest rank, all of them in one walk.
    pub(super) fn latency(&self) -> Latency {
        let written = self.buckets.get(self.written.0..self.written.1).unwrap_or_default();
        let count = written.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        if count == 0 {
            return Latency::default();
        }
        // `⌈share · n⌉` in whole numbers.
        let rank = |percent: u64| (u128::from(count) * u128::from(percent)).div_ceil(100).max(1);
        let ranks = [50, 90, 95, 99].map(rank);
        let (mut found, mut below, mut at) = ([None; 4], 0_u128, 0);
        for (bucket, count) in (self.written.0..).zip(written) {
            below += u128::from(*count);
            while ranks.get(at).is_some_and(|rank| below >= *rank) {
                found[at] = Some(middle_of(bucket) / 1_000.0);
                at += 1;
            }
        }
        let [p50, p90, p95, p99] = found;
        Latency { p50, p90, p95, p99 }
    }

    pub(super) fn reported(&self) -> Reported {
        Reported {
            requests: self.requests(),
            errors: self.errors(),
            latency_ms: self.latency(),
            request_bytes: self.bytes_sent,
            response_bytes: self.bytes_received,
            connections_opened: self.opened,
            connections_closed: self.closed,
        }
    }
}

/// How often anything happened, and nothing of how or how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) requests: u64,
    pub(super) opened: u64,
}

impl Numbers {
    pub(super) fn of(slot: Slot<'_>) -> Self {
        match slot {
            Slot::Newest(counts) => {
                let requests = counts.outcomes.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
                Self { requests, opened: counts.opened }
            }
            Slot::Over(bytes) => {
                let read = Self::read(bytes);
                debug_assert!(read.is_some(), "only what was written is read");
                read.unwrap_or_default()
            }
        }
    }

    /// The beginning of what [`Sum::add_slot`] reads.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let [_sent, _received, opened, _closed] = [take(rest)?, take(rest)?, take(rest)?, take(rest)?];
        let mut requests = 0_u64;
        for _ in 0..take(rest)? {
            let _outcome = take(rest)?;
            requests = requests.saturating_add(take(rest)?);
        }
        Some(Self { requests, opened })
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            opened: self.opened.saturating_add(other.opened),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_report::Sketch;

    use super::super::packed::Packed;
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sketch_and_nothing_is_left_of_the_sum_before() {
        let mut sum = Sum::new();
        for times in [1_u64, 7, 1_000] {
            let mut sketch = Sketch::default();
            (1..=times).for_each(|ms| sketch.record(Duration::from_millis(ms)));
            sum.clear(Protocol::Http);

            sum.add(&Counts { times: Packed::of(sketch.buckets()), ..Counts::default() });

            let of = |share| sketch.quantile_ms(share);
            let expected = Latency { p50: of(0.5), p90: of(0.9), p95: of(0.95), p99: of(0.99) };
            assert_eq!(sum.latency(), expected, "{times}");
        }
        sum.clear(Protocol::Http);
        assert_eq!(sum.latency(), Latency::default());
    }
}
