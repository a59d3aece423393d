//! Which endpoint gets a request.
//!
//! # Turns without a queue
//! The turn of a round robin is a function of one position, and the position is one atomic counter. So the promise
//! "over N equal endpoints and k·N requests each gets exactly k" holds for the whole proxy and not only for each
//! thread. An endpoint that is not usable gives up its turn to the next *position*; taking its neighbour instead would
//! double the neighbour's load.
//!
//! # Least request
//! Among equal endpoints the least busy of some drawn at random gets the request, the first drawn winning a tie. Where
//! weights differ, each gets requests in the ratio of `weight / (in flight + 1)^bias`, Envoy's dynamic weight. Envoy keeps a
//! queue of deadlines for it, in each thread; here one draw among (at most sixteen) candidates gives the same shares
//! without a queue that threads would have to share. A bias of zero is a weighted draw.
//!
//! # Hashes
//! Tables belong to the set ([`table`]); a request without a hash gets a random one.

mod position;
pub(crate) mod table;

use std::num::NonZeroU32;

use tidegate_xds::resource::cluster::LoadBalancing;

pub use self::position::RoundRobin;
use crate::endpoint_set::EndpointSet;
use crate::endpoint_set::pool::Pool;

/// How often another endpoint is drawn when one is not usable, before all are asked in turn. With half of a large
/// cluster ejected, all eight draws fail once in 256 requests.
const DRAWS_MAX: u32 = 8;

/// How many endpoints of different weights are compared. A cluster of so many is compared whole; in a greater one, as many
/// drawn by weight stand for all.
const CANDIDATES_MAX: usize = 16;

/// What belongs to one request or changes too fast for a set.
pub trait Load {
    /// Requests on their way to the endpoint.
    fn in_flight(&self, index: usize) -> u32;
    /// Not excluded by a retry, not full, not busy with its probe after an ejection. Health is *not* asked here: it is in
    /// the set, and a priority in panic uses unhealthy endpoints on purpose.
    fn usable(&self, index: usize) -> bool;
}

/// A way of choosing endpoints.
#[derive(Debug)]
pub enum Balancer {
    /// In turn.
    RoundRobin(RoundRobin),
    /// The least busy.
    LeastRequest {
        /// How many are drawn, with replacement, among equals.
        choices: NonZeroU32,
        /// How strongly requests in flight count where weights differ.
        bias: f64,
    },
    /// At random.
    Random,
    /// By the request's hash, in the tables of the set (a ring or Maglev).
    Hash,
}

impl Balancer {
    /// The balancer that a cluster asks for. `random` is where a round robin begins.
    pub fn new(load_balancing: &LoadBalancing, random: u64) -> Self {
        match load_balancing {
            LoadBalancing::RoundRobin { .. } => Self::RoundRobin(RoundRobin::starting_at(random)),
            LoadBalancing::LeastRequest { choices, active_request_bias, .. } => {
                Self::LeastRequest { choices: *choices, bias: active_request_bias.max(0.0) }
            }
            LoadBalancing::Random => Self::Random,
            LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. } => Self::Hash,
        }
    }

    /// The position of an endpoint in `set`; `None` when none is usable. `hash` counts for [`Self::Hash`] only.
    pub fn choose(
        &self,
        set: &EndpointSet,
        load: &impl Load,
        hash: Option<u64>,
        random: &mut impl FnMut() -> u64,
    ) -> Option<usize> {
        if matches!(self, Self::Hash) {
            // The hash chooses the priority as well: it has to lead to the same endpoint while load is spilling.
            let hash = hash.unwrap_or_else(&mut *random);
            let first = set.pool_for(|| hash);
            return set.pools_from(first).find_map(|pool| find_usable(pool, load, hash));
        }
        let first = set.pool_for(&mut *random);
        set.pools_from(first).find_map(|pool| self.choose_in(pool, load, random))
    }

    fn choose_in(&self, pool: &Pool, load: &impl Load, random: &mut impl FnMut() -> u64) -> Option<usize> {
        // Subsets are often of one endpoint; then there is nothing to choose.
        if let Some(only) = pool.only() {
            return Some(only).filter(|only| load.usable(*only));
        }
        match self {
            Self::RoundRobin(turns) => {
                // Other threads take turns in between, so a full round may still miss an endpoint; hence the last resort.
                let turn = (0..pool.len()).map(|_| pool.turn(turns.next())).find(|i| load.usable(*i));
                turn.or_else(|| any_usable(pool, load, turns.next()))
            }
            Self::LeastRequest { choices, .. } if pool.is_equal() => {
                let mut best = draw_usable(pool, load, random)?;
                for _ in 1..choices.get() {
                    let Some(other) = draw_usable(pool, load, random) else { break };
                    if load.in_flight(other) < load.in_flight(best) {
                        best = other;
                    }
                }
                Some(best)
            }
            Self::LeastRequest { bias, .. } => draw_least_busy(pool, load, *bias, random),
            Self::Random | Self::Hash => draw_usable(pool, load, random),
        }
    }
}

/// Where a hash leads; when nothing near it is usable, anywhere.
fn find_usable(pool: &Pool, load: &impl Load, hash: u64) -> Option<usize> {
    let found = pool.table().and_then(|table| table.find(hash, |member| load.usable(member as usize)));
    found.map(|member| member as usize).or_else(|| any_usable(pool, load, hash))
}

/// A draw by `weight / (in flight + 1)^bias`.
fn draw_least_busy(pool: &Pool, load: &impl Load, bias: f64, random: &mut impl FnMut() -> u64) -> Option<usize> {
    let mut candidates = [(0_usize, 0.0_f64); CANDIDATES_MAX];
    let is_whole = pool.len() <= CANDIDATES_MAX;
    let mut sum = 0.0;
    let count = pool.len().min(CANDIDATES_MAX);
    for (i, candidate) in candidates.iter_mut().enumerate().take(count) {
        // Drawn by weight, a candidate must not be weighed by it again.
        let (member, weight) =
            if is_whole { (pool.member(i), pool.weight(i) as f64) } else { (pool.draw(random()), 1.0) };
        if load.usable(member) {
            sum += weight / (f64::from(load.in_flight(member)) + 1.0).powf(bias);
        }
        *candidate = (member, sum);
    }
    if sum <= 0.0 {
        return any_usable(pool, load, random());
    }
    // The upper 53 bits make a number in [0, 1).
    let drawn = (random() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
    candidates[..count].iter().find(|(_, end)| drawn < *end).map(|(member, _)| *member)
}

fn draw_usable(pool: &Pool, load: &impl Load, random: &mut impl FnMut() -> u64) -> Option<usize> {
    let drawn = (0..DRAWS_MAX).map(|_| pool.draw(random())).find(|i| load.usable(*i));
    drawn.or_else(|| any_usable(pool, load, random()))
}

/// The first usable member from `start` on.
fn any_usable(pool: &Pool, load: &impl Load, start: u64) -> Option<usize> {
    let start = (start % pool.len() as u64) as usize;
    (start..start + pool.len()).map(|i| pool.member(i)).find(|i| load.usable(*i))
}

#[cfg(test)]
mod tests;
