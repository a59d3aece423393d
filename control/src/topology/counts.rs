//! What has happened on an edge, as numbers that can be added and taken away.
//!
//! One form for all: what a proxy says of its life, what has come since it spoke last, a slot of a ring, a total.

use tidegate_report::sketch::BUCKETS;
use tidegate_xds::report_service::{Edge, Protocol};

use super::outcome::Outcome;
use super::packed::{Packed, put, take};

/// Ways to end that one edge of one process may have. Some dozens of statuses, times a few flags that go with each.
const OUTCOMES_SAID_MAX: usize = 1_024;
/// Ways to end that are kept apart in a sum; beyond it only classes are.
const OUTCOMES_KEPT_MAX: usize = 128;
/// No process counts this far in its life, and JSON's readers know whole numbers up to here.
const NUMBER_MAX: u64 = 1 << 53;

/// Numbers of one edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// By how requests ended, in order of [`Outcome`], none of them zero.
    pub(super) outcomes: Vec<(Outcome, u64)>,
    pub(super) times: Packed,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) opened: u64,
    pub(super) closed: u64,
}

impl Counts {
    /// As a proxy says them. `Err`: what is wrong with that.
    pub(super) fn of(edge: &Edge) -> Result<Self, String> {
        if edge.outcomes.len() > OUTCOMES_SAID_MAX {
            return Err(format!("{} outcomes, more than {OUTCOMES_SAID_MAX}", edge.outcomes.len()));
        }
        let mut said = Vec::with_capacity(edge.outcomes.len());
        for outcome in &edge.outcomes {
            said.push((Outcome::new(outcome.code, &outcome.flags, outcome.grpc_status)?, outcome.count));
        }
        let numbers = [edge.bytes_sent, edge.bytes_received, edge.connections_opened, edge.connections_closed];
        let [bytes_sent, bytes_received, opened, closed] = numbers;
        let all = numbers.iter().chain(&edge.counts).copied().chain(said.iter().map(|(_, count)| *count));
        if let Some(number) = all.into_iter().find(|number| *number > NUMBER_MAX) {
            return Err(format!("the number {number}, which is more than anything counts"));
        }
        Ok(Self { outcomes: ordered(said), times: times(edge)?, bytes_sent, bytes_received, opened, closed })
    }

    pub(super) fn is_zero(&self) -> bool {
        self.outcomes.is_empty()
            && self.times.is_empty()
            && [self.bytes_sent, self.bytes_received, self.opened, self.closed] == [0; 4]
    }

    /// Adds to a sum. Says how many times moved to another bucket because there are too many.
    pub(super) fn add(&mut self, more: &Self, protocol: Protocol) -> u64 {
        for (outcome, count) in &more.outcomes {
            self.count(*outcome, *count, protocol);
        }
        let collapsed = if more.times.is_empty() {
            0
        } else {
            self.times = self.times.plus(&more.times);
            self.times.collapse()
        };
        self.bytes_sent = self.bytes_sent.saturating_add(more.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(more.bytes_received);
        self.opened = self.opened.saturating_add(more.opened);
        self.closed = self.closed.saturating_add(more.closed);
        collapsed
    }

    fn count(&mut self, outcome: Outcome, count: u64, protocol: Protocol) {
        let mut place = self.outcomes.binary_search_by_key(&outcome, |(outcome, _)| *outcome);
        let mut outcome = outcome;
        if place.is_err() && self.outcomes.len() >= OUTCOMES_KEPT_MAX {
            // Coarse ones are few, so this ends.
            outcome = outcome.coarse(protocol);
            place = self.outcomes.binary_search_by_key(&outcome, |(outcome, _)| *outcome);
        }
        match place {
            Ok(at) => {
                if let Some((_, counted)) = self.outcomes.get_mut(at) {
                    *counted = counted.saturating_add(count);
                }
            }
            Err(at) => self.outcomes.insert(at, (outcome, count)),
        }
    }

    /// What has happened since `earlier`. `Err`: what has become less.
    pub(super) fn since(&self, earlier: &Self) -> Result<Self, String> {
        let less = |what: &str, now: u64, before: u64| format!("{what} went back from {before} to {now}");
        let grown = |what: &str, now: u64, before: u64| now.checked_sub(before).ok_or_else(|| less(what, now, before));
        let mut outcomes = Vec::with_capacity(self.outcomes.len());
        let mut before = earlier.outcomes.iter().peekable();
        for (outcome, now) in &self.outcomes {
            let missing = before.next_if(|(earlier, _)| earlier < outcome);
            if let Some((_, count)) = missing {
                return Err(less("requests of an outcome", 0, *count));
            }
            let had = before.next_if(|(earlier, _)| earlier == outcome).map_or(0, |(_, count)| *count);
            let more = grown("requests of an outcome", *now, had)?;
            if more > 0 {
                outcomes.push((*outcome, more));
            }
        }
        if let Some((_, count)) = before.next() {
            return Err(less("requests of an outcome", 0, *count));
        }
        let times = self.times.since(&earlier.times).map_err(|bucket| format!("bucket {bucket} of times went back"))?;
        Ok(Self {
            outcomes,
            times,
            bytes_sent: grown("bytes sent", self.bytes_sent, earlier.bytes_sent)?,
            bytes_received: grown("bytes received", self.bytes_received, earlier.bytes_received)?,
            opened: grown("connections opened", self.opened, earlier.opened)?,
            closed: grown("connections closed", self.closed, earlier.closed)?,
        })
    }

    pub(super) fn requests(&self) -> u64 {
        self.outcomes.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// For the disk.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        for number in [self.bytes_sent, self.bytes_received, self.opened, self.closed, self.outcomes.len() as u64] {
            put(bytes, number);
        }
        for (outcome, count) in &self.outcomes {
            put(bytes, outcome.number());
            put(bytes, *count);
        }
        put(bytes, self.times.bytes().len() as u64);
        bytes.extend_from_slice(self.times.bytes());
    }

    /// The opposite. `None`: nobody wrote this.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let [bytes_sent, bytes_received, opened, closed] = [take(bytes)?, take(bytes)?, take(bytes)?, take(bytes)?];
        let mut outcomes = Vec::new();
        for _ in 0..take(bytes)? {
            outcomes.push((Outcome::of_number(take(bytes)?)?, take(bytes)?));
        }
        let length = usize::try_from(take(bytes)?).ok()?;
        let (times, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        let times = Packed::read(times)?;
        Some(Self { outcomes: ordered(outcomes), times, bytes_sent, bytes_received, opened, closed })
    }
}

/// In order, each once, none zero: two that a proxy tells apart may be one here.
fn ordered(mut said: Vec<(Outcome, u64)>) -> Vec<(Outcome, u64)> {
    said.retain(|(_, count)| *count > 0);
    said.sort_unstable();
    said.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.saturating_add(next.1);
        }
        same
    });
    said
}

fn times(edge: &Edge) -> Result<Packed, String> {
    let Edge { buckets, counts, .. } = edge;
    if buckets.len() != counts.len() {
        return Err(format!("{} buckets of times and {} counts", buckets.len(), counts.len()));
    }
    if buckets.len() > BUCKETS {
        return Err(format!("{} buckets of times, and there are {BUCKETS}", buckets.len()));
    }
    let (mut said, mut last) = (Vec::with_capacity(buckets.len()), 0_usize);
    for (index, (distance, count)) in buckets.iter().zip(counts).enumerate() {
        if *distance == 0 && index > 0 {
            return Err(format!("bucket {last} of times twice"));
        }
        let next = usize::try_from(*distance).ok().and_then(|distance| last.checked_add(distance));
        last = next.filter(|bucket| *bucket < BUCKETS).ok_or_else(|| format!("a bucket of times above {BUCKETS}"))?;
        said.push((last, *count));
    }
    Ok(Packed::of(said))
}
