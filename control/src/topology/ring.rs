//! What has happened lately: slots of time, of which the oldest makes room.
//!
//! # Only what there is
//! A slot comes into being when something is counted in it, so an edge that is idle has none, and one that is called once an
//! hour has three.
//!
//! # Clocks that are set
//! Slots are numbered by wall-clock time. A clock that is set back a little finds the newest slot ahead of it and counts there; one
//! that is set back beyond the ring begins it anew.

use std::collections::VecDeque;

use tidegate_xds::report_service::Protocol;

use super::counts::Counts;

/// How long a slot is, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) step_ms: u64,
    pub(super) slots: u64,
}

/// Five minutes by five seconds, an hour by minutes, a day by hours.
pub(super) const SCALES: [Scale; 3] = [
    Scale { step_ms: 5_000, slots: 60 },
    Scale { step_ms: 60_000, slots: 60 },
    Scale { step_ms: 3_600_000, slots: 24 },
];
/// A difference that came together over more slots than this says nothing about the newest of them.
const SLOTS_BRIDGED_MAX: u64 = 2;

/// One ring for each scale.
#[derive(Clone, Debug, Default)]
pub(super) struct Rings([Ring; SCALES.len()]);

#[derive(Clone, Debug, Default)]
struct Ring(VecDeque<(u64, Counts)>);

impl Rings {
    /// Counts what came together during the last `gap_ms`, where a slot is long enough to say when that was.
    pub(super) fn add(&mut self, now_ms: u64, gap_ms: u64, more: &Counts, protocol: Protocol) {
        for (ring, scale) in self.0.iter_mut().zip(SCALES) {
            if gap_ms <= SLOTS_BRIDGED_MAX * scale.step_ms {
                ring.slot(now_ms / scale.step_ms, scale).add(more, protocol);
            }
        }
    }

    /// Slots of a scale from number `first` on, oldest first.
    pub(super) fn since(&self, scale: Scale, first: u64) -> impl Iterator<Item = (u64, &Counts)> {
        let ring = self.0.iter().zip(SCALES).find(|(_, of)| *of == scale).map(|(ring, _)| ring);
        let slots = ring.into_iter().flat_map(|ring| &ring.0);
        slots.skip_while(move |(number, _)| *number < first).map(|(number, counts)| (*number, counts))
    }

    /// Lets go of slots that nobody can ask for any more.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for (ring, scale) in self.0.iter_mut().zip(SCALES) {
            ring.forget(now_ms / scale.step_ms, scale);
            if ring.0.is_empty() {
                ring.0 = VecDeque::new();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.0.iter().map(|ring| ring.0.len()).sum()
    }
}

impl Ring {
    fn slot(&mut self, number: u64, scale: Scale) -> &mut Counts {
        self.forget(number, scale);
        let newest = self.0.back().map_or(0, |(newest, _)| *newest);
        if self.0.is_empty() || newest < number {
            self.0.push_back((number, Counts::default()));
        }
        let (_, counts) = self.0.back_mut().expect("one was pushed if there was none");
        counts
    }

    fn forget(&mut self, number: u64, scale: Scale) {
        if self.0.back().is_some_and(|(newest, _)| *newest >= number.saturating_add(scale.slots)) {
            self.0.clear();
        }
        while self.0.front().is_some_and(|(oldest, _)| oldest.saturating_add(scale.slots) <= number) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Scale = SCALES[0];

    fn bytes(sent: u64) -> Counts {
        Counts { bytes_sent: sent, ..Counts::default() }
    }

    fn sent(rings: &Rings, scale: Scale, first: u64) -> Vec<(u64, u64)> {
        rings.since(scale, first).map(|(number, counts)| (number, counts.bytes_sent)).collect()
    }

    fn add(rings: &mut Rings, now_ms: u64, sent: u64) {
        rings.add(now_ms, 0, &bytes(sent), Protocol::Http);
    }

    #[test]
    fn what_falls_into_the_same_slot_is_added_and_the_oldest_makes_room() {
        let mut rings = Rings::default();

        [(0, 1), (4_999, 2), (5_000, 4), (299_999, 8), (300_000, 16)]
            .into_iter()
            .for_each(|(at, n)| add(&mut rings, at, n));

        assert_eq!(sent(&rings, SECONDS, 0), [(1, 4), (59, 8), (60, 16)]);
        assert_eq!(sent(&rings, SECONDS, 59), [(59, 8), (60, 16)]);
        assert_eq!(sent(&rings, SCALES[1], 0), [(0, 7), (4, 8), (5, 16)]);
        assert_eq!(sent(&rings, SCALES[2], 0), [(0, 31)]);
    }

    #[test]
    fn an_idle_edge_keeps_no_slot() {
        let mut rings = Rings::default();
        add(&mut rings, 1_000, 1);

        rings.sweep(300_000);
        assert_eq!(rings.slots(), 2);
        rings.sweep(24 * 3_600_000);
        assert_eq!(rings.slots(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_counts_on_and_one_that_was_far_ahead_begins_anew() {
        let mut rings = Rings::default();
        [(60_000, 1), (50_000, 2)].into_iter().for_each(|(at, n)| add(&mut rings, at, n));
        assert_eq!(sent(&rings, SECONDS, 0), [(12, 3)]);

        add(&mut rings, 999_999_999, 4);
        add(&mut rings, 60_000, 8);
        assert_eq!(sent(&rings, SECONDS, 0), [(12, 8)]);
    }

    #[test]
    fn what_came_together_over_an_outage_is_put_only_where_a_slot_is_that_long() {
        let mut rings = Rings::default();

        rings.add(600_000, 90_000, &bytes(1), Protocol::Http);

        assert_eq!(sent(&rings, SECONDS, 0), []);
        assert_eq!((sent(&rings, SCALES[1], 0), sent(&rings, SCALES[2], 0)), (vec![(10, 1)], vec![(0, 1)]));
    }
}
