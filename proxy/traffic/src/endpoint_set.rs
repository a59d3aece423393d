//! The endpoints of a cluster, laid out for choosing.
//!
//! # Health and priorities
//! Endpoints of one priority share a pool of healthy ones and a pool of degraded ones. As in Envoy a priority can carry
//! its full load until fewer than 1/1.4 of its endpoints are healthy (the overprovisioning factor); beyond that, load
//! spills: over the healthy pools in order of priority, then over the degraded pools.
//!
//! # No panic mode
//! Envoy by default sends traffic to endpoints known to be bad when fewer than half are good. Istio switches that off,
//! and so do we: no usable endpoint is an answer (503) and not a gamble.
//!
//! # What is not here
//! What the proxy *learned* (ejections, requests in flight) is asked of [`crate::Load`] at each choice. It does not
//! move load between priorities until a pool has no usable endpoint left.

use tidegate_xds::resource::endpoint::{Endpoint, Health, LocalityEndpoints};

use crate::load_balancing::Load;

/// A priority carries its full load while at least 100/140 of it is healthy.
const OVERPROVISIONING_PERCENT: u64 = 140;

/// Shares of pools are in percent.
const WHOLE: u32 = 100;

/// Endpoints by priority and health.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    endpoints: Vec<Endpoint>,
    /// Healthy pools by priority, then degraded pools by priority; none is empty.
    pools: Vec<Pool>,
}

/// Endpoints that are chosen from together.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Positions in [`EndpointSet::endpoints`].
    members: Vec<u32>,
    /// Exclusive ends of the members' intervals, laid end to end; empty when all weights are equal.
    ends: Vec<u64>,
    /// Sum of the weights after division by their greatest common divisor, or the number of members.
    total: u64,
    /// See [`spread`].
    stride: u64,
    /// In percent of the cluster's load.
    share: u32,
}

impl EndpointSet {
    /// Lays out the endpoints of all localities.
    pub fn build(localities: &[LocalityEndpoints]) -> Self {
        let mut by_priority: Vec<&LocalityEndpoints> = localities.iter().collect();
        by_priority.sort_by_key(|locality| locality.priority);
        let endpoints: Vec<Endpoint> = by_priority.iter().flat_map(|l| &l.endpoints).cloned().collect();
        let mut priorities: Vec<Priority> = Vec::new();
        let mut position = 0_u32;
        for (i, locality) in by_priority.iter().enumerate() {
            if i == 0 || by_priority[i - 1].priority != locality.priority {
                priorities.push(Priority::default());
            }
            let Some(priority) = priorities.last_mut() else { continue };
            for endpoint in &locality.endpoints {
                priority.add(endpoint.health, position);
                position += 1;
            }
        }
        let (healthy, degraded) = shares(&priorities);
        let (healthy_members, degraded_members): (Vec<_>, Vec<_>) =
            priorities.into_iter().map(|p| (p.healthy, p.degraded)).unzip();
        let all = healthy_members.into_iter().zip(healthy).chain(degraded_members.into_iter().zip(degraded));
        let pools = all
            .filter(|(members, _)| !members.is_empty())
            .map(|(members, share)| Pool::new(members, &endpoints, share))
            .collect();
        Self { endpoints, pools }
    }

    /// How many endpoints there are, usable or not.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The endpoint at a position below [`Self::len`].
    pub fn endpoint(&self, index: usize) -> Option<&Endpoint> {
        self.endpoints.get(index)
    }

    /// All endpoints, by ascending priority. Positions are those of [`Self::endpoint`].
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The position of the pool that a draw falls to. Nothing is drawn while one pool carries everything.
    pub(crate) fn pool_for(&self, draw: impl FnOnce() -> u64) -> usize {
        let carrying = self.pools.iter().position(|pool| pool.share > 0).unwrap_or(0);
        if self.pools.get(carrying).is_none_or(|pool| pool.share == WHOLE) {
            return carrying;
        }
        let drawn = (draw() % u64::from(WHOLE)) as u32;
        let mut end = 0;
        let chosen = self.pools.iter().position(|pool| {
            end += pool.share;
            drawn < end
        });
        chosen.unwrap_or(carrying)
    }

    /// The pools in the order in which they are tried: this one, then the others in order.
    pub(crate) fn pools_from(&self, first: usize) -> impl Iterator<Item = &Pool> {
        let others = self.pools.iter().enumerate().filter(move |(i, _)| *i != first).map(|(_, pool)| pool);
        self.pools.get(first).into_iter().chain(others)
    }
}

/// Members of one priority by health.
#[derive(Default)]
struct Priority {
    healthy: Vec<u32>,
    degraded: Vec<u32>,
    total: u64,
}

impl Priority {
    fn add(&mut self, health: Health, position: u32) {
        self.total += 1;
        match health {
            Health::Healthy => self.healthy.push(position),
            Health::Degraded => self.degraded.push(position),
            Health::Draining | Health::Unhealthy => {}
        }
    }
}

/// The load of each healthy pool and of each degraded pool, in percent. The sum is 100 when any endpoint is usable.
fn shares(priorities: &[Priority]) -> (Vec<u32>, Vec<u32>) {
    let availability = |members: &Vec<u32>, total: u64| match total {
        0 => 0,
        total => (OVERPROVISIONING_PERCENT * members.len() as u64 / total).min(u64::from(WHOLE)),
    };
    let healthy: Vec<u64> = priorities.iter().map(|p| availability(&p.healthy, p.total)).collect();
    let degraded: Vec<u64> = priorities.iter().map(|p| availability(&p.degraded, p.total)).collect();
    let normal = healthy.iter().chain(&degraded).sum::<u64>().min(u64::from(WHOLE));
    let mut left = u64::from(WHOLE);
    let mut loads = Vec::with_capacity(2 * priorities.len());
    for available in healthy.iter().chain(&degraded) {
        // Rounded to the nearest.
        let load = (available * u64::from(WHOLE) + normal / 2).checked_div(normal).unwrap_or(0).min(left);
        left -= load;
        loads.push(load as u32);
    }
    // What rounding left over goes to the first that carries anything.
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left as u32;
    }
    let degraded = loads.split_off(priorities.len());
    (loads, degraded)
}

impl Pool {
    fn new(members: Vec<u32>, endpoints: &[Endpoint], share: u32) -> Self {
        let weights: Vec<u64> = members.iter().map(|m| u64::from(endpoints[*m as usize].weight.get())).collect();
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let mut ends = Vec::new();
        let mut total = members.len() as u64;
        if weights.iter().any(|w| *w != weights[0]) {
            total = 0;
            ends = weights
                .iter()
                .map(|weight| {
                    total += weight / divisor;
                    total
                })
                .collect();
        }
        Self { members, stride: if ends.is_empty() { 1 } else { spread(total) }, ends, total, share }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn member(&self, i: usize) -> usize {
        self.members[i % self.members.len()] as usize
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

    /// Whether `a` has fewer requests in flight for its weight than `b`.
    pub(crate) fn is_less_busy(&self, set: &EndpointSet, a: usize, b: usize, load: &impl Load) -> bool {
        let busy = |i: usize| u64::from(load.in_flight(i));
        if self.ends.is_empty() {
            return busy(a) < busy(b);
        }
        let weight = |i: usize| u64::from(set.endpoints[i].weight.get());
        // Cross-multiplied; both factors are below 2^32.
        busy(a) * weight(b) < busy(b) * weight(a)
    }

    fn at(&self, slot: u64) -> usize {
        if self.ends.is_empty() {
            return self.members[slot as usize] as usize;
        }
        self.members[self.ends.partition_point(|end| *end <= slot)] as usize
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
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
fn spread(total: u64) -> u64 {
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
fn unevenness(step: u64, total: u64) -> Option<u64> {
    let (mut a, mut b, mut sum) = (total, step % total, 0);
    while b != 0 {
        sum += a / b;
        (a, b) = (b, a % b);
    }
    (a == 1).then_some(sum)
}

#[cfg(test)]
mod tests;
