//! Endpoints that are chosen from together: turns, draws and tables over one list of members.

use std::sync::Arc;

use crate::load_balancing::table::{Entry, Table};

/// Members of one priority in one state of health, with what is needed to choose among them.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Positions of endpoints in their set.
    members: Vec<u32>,
    /// Exclusive ends of the members' intervals, laid end to end; empty when all weights are equal.
    ends: Vec<u64>,
    /// Sum of the weights after division by their greatest common divisor, or the number of members.
    total: u64,
    /// See [`spread`].
    stride: u64,
    /// In percent of the cluster's load.
    pub(super) share: u32,
    /// Endpoints by hash, with what they were made from; shared with sets in which this pool has not changed.
    table: Option<Arc<(Vec<Entry>, Table)>>,
}

impl Pool {
    /// Members with their weights, none of which is zero. There is at least one.
    pub(super) fn new(members: Vec<u32>, mut weights: Vec<u64>, share: u32) -> Self {
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let mut total = members.len() as u64;
        let mut ends = Vec::new();
        if weights.iter().any(|w| *w != weights[0]) {
            total = 0;
            for weight in &mut weights {
                total += *weight / divisor;
                *weight = total;
            }
            ends = weights;
        }
        Self { members, stride: if ends.is_empty() { 1 } else { spread(total) }, ends, total, share, table: None }
    }

    pub(super) fn with_table(self, table: Option<Arc<(Vec<Entry>, Table)>>) -> Self {
        Self { table, ..self }
    }

    pub(super) fn shared_table(&self) -> Option<&Arc<(Vec<Entry>, Table)>> {
        self.table.as_ref()
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref().map(|table| &table.1)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The one member, if there is but one.
    pub(crate) fn only(&self) -> Option<usize> {
        if let [only] = *self.members { Some(only as usize) } else { None }
    }

    pub(crate) fn member(&self, i: usize) -> usize {
        self.members[i % self.members.len()] as usize
    }

    /// The weight of the member at `i` below [`Self::len`], relative to the others.
    pub(crate) fn weight(&self, i: usize) -> u64 {
        match self.ends.get(i) {
            None => 1,
            Some(end) => end - if i == 0 { 0 } else { self.ends[i - 1] },
        }
    }

    /// Whether nobody has a greater weight than another.
    pub(crate) fn is_equal(&self) -> bool {
        self.ends.is_empty()
    }

    /// The member whose turn a position is. Over any `total` consecutive positions each has exactly its weight in turns.
    pub(crate) fn turn(&self, position: u64) -> usize {
        // The product of two numbers below 2^64 needs twice the width.
        let slot = u128::from(position % self.total) * u128::from(self.stride) % u128::from(self.total);
        self.at(slot as u64)
    }

    /// A member by a random draw, by weight.
    pub(crate) fn draw(&self, random: u64) -> usize {
        self.at(random % self.total)
    }

    fn at(&self, slot: u64) -> usize {
        if self.ends.is_empty() {
            return self.members[slot as usize] as usize;
        }
        self.members[self.ends.partition_point(|end| *end <= slot)] as usize
    }

    #[cfg(test)]
    pub(super) fn members(&self) -> &[u32] {
        &self.members
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

/// Whole numbers in the ratio of these weights: exactly where small numbers will do, else to a millionth of the sum.
///
/// Turns need whole numbers. Weights that localities or slow start have scaled are mostly ratios of small ones, and for
/// those a round stays exact.
pub(super) fn whole(weights: &[f64]) -> Vec<u64> {
    /// A round of turns is at most so many times the members; beyond that nobody would notice that it is exact.
    const MULTIPLE_MAX: u32 = 1_000;
    /// The sum where ratios are odd.
    const TOTAL: f64 = (1 << 22) as f64;
    /// The greatest sum that is worth being exact: that of 4 096 endpoints of the greatest weight. Beyond, every floating
    /// point number would pass for a whole one.
    const TOTAL_MAX: f64 = (1_u64 << 44) as f64;
    let least = weights.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = weights.iter().sum();
    let is_whole = |n: f64| (n - n.round()).abs() < 1e-6 * n;
    let fits = |multiple: &u32| sum / least * f64::from(*multiple) <= TOTAL_MAX;
    let mut multiples = (1..=MULTIPLE_MAX).take_while(fits);
    let multiple = multiples.find(|m| weights.iter().all(|w| is_whole(w / least * f64::from(*m))));
    let scale = match multiple {
        Some(multiple) => f64::from(multiple) / least,
        None => TOTAL / sum,
    };
    weights.iter().map(|weight| ((weight * scale).round() as u64).max(1)).collect()
}

pub(super) fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A step through `total` slots that visits each once per round and spreads any run of visits evenly.
///
/// Steps of the golden section leave the most even gaps of all fixed steps (the three-distance theorem), and a step
/// without a common divisor visits every slot. Both at once is a compromise: among the steps near the golden section
/// the most even one is taken. So weighted turns need no queue: the position alone says whose turn it is, which is what
/// makes them exact across threads.
pub(super) fn spread(total: u64) -> u64 {
    // 2^64 divided by the golden ratio.
    const GOLDEN: u128 = 0x9E37_79B9_7F4A_7C15;
    // Even totals with many divisors leave few steps; this many neighbours always hold a good one.
    const NEIGHBOURS: u64 = 64;
    let golden = ((u128::from(total) * GOLDEN) >> 64) as u64;
    let near = golden.saturating_sub(NEIGHBOURS / 2).max(1)..=golden.saturating_add(NEIGHBOURS / 2);
    near.filter_map(|step| Some((unevenness(step, total)?, step))).min().map_or(1, |(_, step)| step)
}

/// How unevenly a step fills a circle of slots: the sum of the quotients of Euclid's algorithm (the partial quotients
/// of their continued fraction), which bounds the discrepancy. `None` when the step misses slots.
pub(super) fn unevenness(step: u64, total: u64) -> Option<u64> {
    let (mut a, mut b, mut sum) = (total, step % total, 0);
    while b != 0 {
        sum += a / b;
        (a, b) = (b, a % b);
    }
    (a == 1).then_some(sum)
}
