//! Sketches at rest: the same buckets as `tidegate_report::Sketch`, in a few bytes each.
//!
//! # Why not the sketch itself
//! An edge keeps up to 144 of them, one for each slot of its rings, and there are ten thousands of edges. As a tree of numbers
//! a bucket takes some 20 bytes, as the distance to the bucket before and a count, both of variable length, mostly two.

use tidegate_report::sketch::BUCKETS;

/// Buckets that an aggregate keeps. From 1 ms on, 512 buckets reach to 256 ms, and further with gaps; only what is fastest of all
/// loses precision beyond that.
pub(super) const BUCKETS_KEPT_MAX: usize = 512;
/// Buckets of one octave.
const OCTAVE: usize = 64;
/// Of a number of variable length: 7 bits a byte.
const NUMBER_BYTES_MAX: usize = 10;

/// Counts by bucket, in order, none of them zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// Packs buckets that come in order. Empty ones are left out.
    pub(super) fn of(buckets: impl IntoIterator<Item = (usize, u64)>) -> Self {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (bucket, count) in buckets.into_iter().filter(|(_, count)| *count > 0) {
            put(&mut bytes, (bucket - last) as u64);
            put(&mut bytes, count);
            last = bucket;
        }
        Self(bytes.into())
    }

    /// Reads what [`Self::bytes`] gave; `None` if that cannot have been it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut buckets, mut last) = (bytes, Vec::new(), 0_usize);
        while !rest.is_empty() {
            let distance = usize::try_from(take(&mut rest)?).ok()?;
            last = last.checked_add(distance).filter(|bucket| *bucket < BUCKETS)?;
            if distance == 0 && !buckets.is_empty() {
                return None;
            }
            buckets.push((last, take(&mut rest)?));
        }
        Some(Self::of(buckets))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its buckets, in order.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        buckets_of(&self.0)
    }

    /// Keeps one bucket of each octave, its middle: a time is shown as at most half as much again as it was, or a quarter less.
    pub(super) fn coarsen(&mut self) {
        let mut octaves: Vec<(usize, u64)> = Vec::new();
        for (bucket, count) in self.buckets() {
            let middle = (bucket / OCTAVE * OCTAVE + OCTAVE / 2).min(BUCKETS - 1);
            match octaves.last_mut() {
                Some((last, sum)) if *last == middle => *sum = sum.saturating_add(count),
                Some(_) | None => octaves.push((middle, count)),
            }
        }
        *self = Self::of(octaves);
    }

    /// Both together.
    pub(super) fn plus(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self::of(Pairs::of(self.buckets(), other.buckets()).map(|(bucket, a, b)| (bucket, a.saturating_add(b))))
    }

    /// What has been counted since `earlier`. `Err`: the bucket that has fewer than it had.
    pub(super) fn since(&self, earlier: &Self) -> Result<Self, usize> {
        let mut grown = Vec::new();
        for (bucket, now, before) in Pairs::of(self.buckets(), earlier.buckets()) {
            grown.push((bucket, now.checked_sub(before).ok_or(bucket)?));
        }
        Ok(Self::of(grown))
    }

    /// Moves what is in the lowest buckets up, so that at most [`BUCKETS_KEPT_MAX`] are left. Says how many counts were moved.
    pub(super) fn collapse(&mut self) -> u64 {
        // A bucket takes at least two bytes, so most sketches need not be counted.
        if self.0.len() <= 2 * BUCKETS_KEPT_MAX {
            return 0;
        }
        let buckets: Vec<_> = self.buckets().collect();
        let Some(surplus) = buckets.len().checked_sub(BUCKETS_KEPT_MAX).filter(|surplus| *surplus > 0) else {
            return 0;
        };
        let (low, kept) = buckets.split_at(surplus);
        let moved = low.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let mut kept = kept.to_vec();
        if let Some((_, lowest)) = kept.first_mut() {
            *lowest = lowest.saturating_add(moved);
        }
        *self = Self::of(kept);
        moved
    }
}

/// The buckets in what [`Packed::bytes`] gave, in order.
pub(super) fn buckets_of(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let (mut rest, mut last) = (bytes, 0_usize);
    std::iter::from_fn(move || {
        let distance = usize::try_from(take(&mut rest)?).unwrap_or(0);
        last = last.saturating_add(distance);
        Some((last, take(&mut rest)?))
    })
}

/// Two lists of buckets side by side; what one has not is zero there.
struct Pairs<A: Iterator, B: Iterator>(std::iter::Peekable<A>, std::iter::Peekable<B>);

impl<A: Iterator<Item = (usize, u64)>, B: Iterator<Item = (usize, u64)>> Pairs<A, B> {
    fn of(a: A, b: B) -> Self {
        Self(a.peekable(), b.peekable())
    }
}

impl<A: Iterator<Item = (usize, u64)>, B: Iterator<Item = (usize, u64)>> Iterator for Pairs<A, B> {
    type Item = (usize, u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let bucket = match (self.0.peek(), self.1.peek()) {
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((a, _)), None) => *a,
            (None, Some((b, _))) => *b,
            (None, None) => return None,
        };
        let a = self.0.next_if(|(at, _)| *at == bucket).map_or(0, |(_, count)| count);
        let b = self.1.next_if(|(at, _)| *at == bucket).map_or(0, |(_, count)| count);
        Some((bucket, a, b))
    }
}

/// Writes a number, 7 bits a byte, the lowest first.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Reads one and moves on. `None`: the bytes end too early, or it is longer than any number.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    // Most numbers are small.
    if let Some((byte, rest)) = bytes.split_first()
        && *byte < 0x80
    {
        *bytes = rest;
        return Some(u64::from(*byte));
    }
    let mut number = 0_u64;
    for place in 0..NUMBER_BYTES_MAX {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(place).ok()?;
        if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_found_again_added_and_taken_away() {
        let early = Packed::of([(0, 1), (64, 300), (BUCKETS - 1, u64::from(u32::MAX))]);
        let late = Packed::of([(0, 1), (7, 5), (64, 301), (BUCKETS - 1, u64::from(u32::MAX))]);

        let grown = late.since(&early).unwrap();

        assert_eq!(grown.buckets().collect::<Vec<_>>(), [(7, 5), (64, 1)]);
        assert_eq!(early.plus(&grown), late);
        assert_eq!(early.since(&late), Err(7));
        assert_eq!(Packed::read(late.bytes()), Some(late));
    }

    #[test]
    fn coarse_times_keep_their_count_and_lie_within_their_octave() {
        let mut wide = Packed::of((0..BUCKETS).map(|bucket| (bucket, 2)));

        wide.coarsen();

        let kept: Vec<_> = wide.buckets().collect();
        assert_eq!(kept.len(), BUCKETS.div_ceil(OCTAVE));
        assert_eq!(kept.iter().map(|(_, count)| count).sum::<u64>(), 2 * BUCKETS as u64);
        assert_eq!(kept[..2], [(32, 128), (96, 128)]);
    }

    #[test]
    fn bytes_that_nobody_packed_are_refused() {
        for bytes in [&[0x80][..], &[1], &[1, 1, 0, 1], &[0xff; 11], &[0xff, 0xff, 0x7f, 1]] {
            assert_eq!(Packed::read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn beyond_the_bound_the_lowest_buckets_become_one_and_no_count_is_lost() {
        let mut wide = Packed::of((0..BUCKETS).map(|bucket| (bucket, 2)));
        let surplus = BUCKETS - BUCKETS_KEPT_MAX;

        let moved = wide.collapse();

        assert_eq!(moved, 2 * surplus as u64);
        let kept: Vec<_> = wide.buckets().collect();
        assert_eq!((kept.len(), kept[0]), (BUCKETS_KEPT_MAX, (surplus, moved + 2)));
        assert_eq!(wide.collapse(), 0);
    }
}
