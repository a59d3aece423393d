//! What has happened lately: slots of time, of which the oldest makes room.
//!
//! # Only what there is
//! A slot comes into being when something is counted in it, so an edge that is idle has none, and one that is called once an
//! hour has three.
//!
//! # Why slots that are over lie in one piece
//! Nothing is added to them any more. As values each takes a quarter of a kilobyte in three pieces, and an edge that is
//! called all the time has 144. Written one after the other, as they would be on disk, a slot of two outcomes and two dozen buckets takes
//! 80 bytes, and an edge has three pieces.
//!
//! # Clocks that are set
//! Slots are numbered by wall-clock time. A clock that is set back a little finds the newest slot ahead of it and counts there; one
//! that is set back beyond the ring begins it anew.

use tidegate_xds::report_service::Protocol;

use super::counts::Counts;
use super::packed::{put, take};

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
/// What is set aside for slots to come, as a part of what there is: little, since there are ten thousands of rings.
const SPARE_PART: usize = 8;

/// One ring for each scale.
#[derive(Debug, Default)]
pub(super) struct Rings([Ring; SCALES.len()]);

#[derive(Debug, Default)]
struct Ring {
    /// Slots that are over, oldest first. Of each: the distance to the slot before, its length, what was counted.
    over: Vec<u8>,
    /// The number of the first of them.
    oldest: u64,
    /// The number of the last.
    last: u64,
    newest: Option<Box<Newest>>,
}

/// The slot that is added to.
#[derive(Debug, Default)]
struct Newest {
    number: u64,
    counts: Counts,
}

/// What was counted in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot<'r> {
    /// It is over: its counts as [`Counts::write`] wrote them.
    Over(&'r [u8]),
    Newest(&'r Counts),
}

impl Rings {
    /// Counts what came together during the last `gap_ms`, where a slot is long enough to say when that was. `coarse`: slots that
    /// end now keep their times by octaves only.
    pub(super) fn add(&mut self, now_ms: u64, gap_ms: u64, more: &Counts, protocol: Protocol, coarse: bool) {
        for (ring, scale) in self.0.iter_mut().zip(SCALES) {
            if gap_ms <= SLOTS_BRIDGED_MAX * scale.step_ms {
                ring.slot(now_ms / scale.step_ms, scale, coarse).add(more, protocol);
            }
        }
    }

    /// Slots of a scale from number `first` on, oldest first.
    pub(super) fn since(&self, scale: Scale, first: u64) -> impl Iterator<Item = (u64, Slot<'_>)> {
        self.of(scale).into_iter().flat_map(move |ring| ring.since(first))
    }

    /// Whether there is a slot of a scale from number `first` on.
    pub(super) fn is_active(&self, scale: Scale, first: u64) -> bool {
        self.of(scale).and_then(Ring::last).is_some_and(|last| last >= first)
    }

    fn of(&self, scale: Scale) -> Option<&Ring> {
        self.0.iter().zip(SCALES).find(|(_, of)| *of == scale).map(|(ring, _)| ring)
    }

    /// Lets go of slots that nobody can ask for any more.
    pub(super) fn sweep(&mut self, now_ms: u64, coarse: bool) {
        for (ring, scale) in self.0.iter_mut().zip(SCALES) {
            let number = now_ms / scale.step_ms;
            if ring.newest.as_ref().is_some_and(|newest| newest.number < number) {
                ring.end_newest(coarse);
                ring.newest = None;
            }
            ring.forget(number, scale);
            if ring.over.capacity() > ring.over.len() + ring.over.len() / SPARE_PART {
                ring.over.shrink_to_fit();
            }
        }
    }

    /// The bytes of all slots that are over.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|ring| ring.over.capacity()).sum()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.0.iter().map(|ring| ring.since(0).count()).sum()
    }
}

impl Ring {
    fn slot(&mut self, number: u64, scale: Scale, coarse: bool) -> &mut Counts {
        self.forget(number, scale);
        if self.newest.as_ref().is_some_and(|newest| newest.number < number) {
            self.end_newest(coarse);
        }
        // A clock that was set back finds the last slot ahead of it.
        let number = self.last().map_or(number, |last| last.max(number));
        let newest = self.newest.get_or_insert_with(|| Box::new(Newest { number, ..Newest::default() }));
        newest.number = number;
        &mut newest.counts
    }

    /// The number of the newest slot there is.
    fn last(&self) -> Option<u64> {
        self.newest.as_ref().map(|newest| newest.number).or_else(|| (!self.over.is_empty()).then_some(self.last))
    }

    /// Puts the newest slot to those that are over. Its place stays, empty.
    fn end_newest(&mut self, coarse: bool) {
        let Some(newest) = &mut self.newest else { return };
        let mut counts = std::mem::take(&mut newest.counts);
        if coarse {
            counts.times.coarsen();
        }
        let mut written = Vec::new();
        counts.write(&mut written);
        if self.over.is_empty() {
            (self.oldest, self.last) = (newest.number, newest.number);
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        put(&mut head, newest.number.saturating_sub(self.last));
        put(&mut head, written.len() as u64);
        let wanted = head.len() + written.len();
        if self.over.capacity() - self.over.len() < wanted {
            self.over.reserve_exact(wanted + self.over.len() / SPARE_PART);
        }
        self.over.extend_from_slice(&head);
        self.over.extend_from_slice(&written);
        self.last = newest.number;
    }

    fn since(&self, first: u64) -> impl Iterator<Item = (u64, Slot<'_>)> {
        let (mut rest, mut number, mut is_first) = (&*self.over, self.oldest, true);
        let over = std::iter::from_fn(move || {
            let (distance, counts, after) = split(rest)?;
            // What the oldest of all says is the distance to one that is gone.
            number = if std::mem::take(&mut is_first) { number } else { number.saturating_add(distance) };
            rest = after;
            Some((number, Slot::Over(counts)))
        });
        let newest = self.newest.iter().map(|newest| (newest.number, Slot::Newest(&newest.counts)));
        over.chain(newest).skip_while(move |(number, _)| *number < first)
    }

    fn forget(&mut self, number: u64, scale: Scale) {
        if self.last().is_some_and(|last| last >= number.saturating_add(scale.slots)) {
            *self = Self::default();
        }
        if self.newest.as_ref().is_some_and(|newest| newest.number.saturating_add(scale.slots) <= number) {
            *self = Self::default();
        }
        let (mut rest, mut oldest) = (&*self.over, self.oldest);
        while oldest.saturating_add(scale.slots) <= number
            && let Some((_, _, after)) = split(rest)
        {
            rest = after;
            oldest = split(rest).map_or(oldest, |(distance, ..)| oldest.saturating_add(distance));
        }
        let gone = self.over.len() - rest.len();
        self.oldest = oldest;
        self.over.drain(..gone);
    }
}

/// Of a slot that is over: two numbers of variable length.
const HEAD_BYTES: usize = 12;

/// The first slot of those that are over: its distance to the one before, what was counted, and what follows.
fn split(over: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let mut rest = over;
    let distance = take(&mut rest)?;
    let length = usize::try_from(take(&mut rest)?).ok()?;
    let (counts, rest) = rest.split_at_checked(length)?;
    Some((distance, counts, rest))
}

#[cfg(test)]
mod tests {
    use super::super::sum::Sum;
    use super::*;

    const SECONDS: Scale = SCALES[0];

    fn bytes(sent: u64) -> Counts {
        Counts { bytes_sent: sent, ..Counts::default() }
    }

    fn sent(rings: &Rings, scale: Scale, first: u64) -> Vec<(u64, u64)> {
        let of = |slot: Slot<'_>| {
            let mut sum = Sum::new();
            sum.add_slot(slot);
            sum.bytes_sent
        };
        rings.since(scale, first).map(|(number, slot)| (number, of(slot))).collect()
    }

    fn add(rings: &mut Rings, now_ms: u64, sent: u64) {
        rings.add(now_ms, 0, &bytes(sent), Protocol::Http, false);
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

        rings.sweep(300_000, false);
        assert_eq!(rings.slots(), 2);
        rings.sweep(24 * 3_600_000, false);
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

        rings.add(600_000, 90_000, &bytes(1), Protocol::Http, false);

        assert_eq!(sent(&rings, SECONDS, 0), []);
        assert_eq!((sent(&rings, SCALES[1], 0), sent(&rings, SCALES[2], 0)), (vec![(10, 1)], vec![(0, 1)]));
    }

    #[test]
    fn slots_that_are_over_are_read_as_they_were_counted_also_when_older_ones_are_gone() {
        let mut rings = Rings::default();
        // A gap of one slot after each third.
        let at = |slot: u64| (slot + slot / 3) * SECONDS.step_ms;
        for slot in 0..200 {
            add(&mut rings, at(slot), slot + 1);
            let newest = at(slot) / SECONDS.step_ms;
            let kept = (0..=slot).filter(|slot| at(*slot) / SECONDS.step_ms + SECONDS.slots > newest);
            let expected: Vec<_> = kept.map(|slot| (at(slot) / SECONDS.step_ms, slot + 1)).collect();
            assert_eq!(sent(&rings, SECONDS, 0), expected, "{slot}");
        }
        let before = sent(&rings, SECONDS, 0);
        let newest = before.last().unwrap().0;
        assert!(rings.is_active(SECONDS, newest) && !rings.is_active(SECONDS, newest + 1));

        // The newest is over as well; nothing else changes.
        rings.sweep((newest + 1) * SECONDS.step_ms, false);
        assert_eq!(
            sent(&rings, SECONDS, 0),
            before.iter().copied().filter(|(n, _)| n + 60 > newest + 1).collect::<Vec<_>>()
        );
        assert!(rings.is_active(SECONDS, newest) && !rings.is_active(SECONDS, newest + 1));
    }
}
