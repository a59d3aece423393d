//! Which endpoint gets a request.
//!
//! # Turns without a queue
//! The turn of a round robin is a function of one position, and the position is one atomic counter. So the promise
//! "over N equal endpoints and k·N requests each gets exactly k" holds for the whole proxy and not only for each
//! thread. An endpoint that is not usable gives up its turn to the next *position*; taking its neighbour instead would
//! double the neighbour's load.
//!
//! # Least request with weights
//! Candidates are drawn in proportion to their weights and compared by requests in flight per weight, the first drawn
//! winning a tie. An idle cluster therefore splits by weight, a busy one fills up evenly relative to weight.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_xds::resource::cluster::LoadBalancing;

use crate::endpoint_set::{EndpointSet, Pool};

/// How often another endpoint is drawn when one is not usable, before all are asked in turn. With half of a large
/// cluster ejected, all eight draws fail once in 256 requests.
const DRAWS_MAX: u32 = 8;

/// What the proxy has learned about the endpoints of a set.
pub trait Load {
    /// Requests on their way to the endpoint.
    fn in_flight(&self, index: usize) -> u32;
    /// Neither ejected nor excluded by a retry.
    fn usable(&self, index: usize) -> bool;
}

/// A way of choosing endpoints.
#[derive(Debug)]
pub enum Balancer {
    /// In turn.
    RoundRobin(RoundRobin),
    /// The least busy of some drawn at random.
    LeastRequest {
        /// How many are drawn, with replacement.
        choices: NonZeroU32,
    },
    /// At random.
    Random,
}

/// The position of a round robin. Kept when endpoints change.
#[derive(Debug, Default)]
pub struct RoundRobin {
    position: AtomicU64,
}

impl RoundRobin {
    /// A round robin that begins anywhere, so that many proxies do not all begin with the same endpoint.
    pub fn starting_at(position: u64) -> Self {
        Self { position: AtomicU64::new(position) }
    }

    fn next(&self) -> u64 {
        // The count is all that matters; it orders nothing else.
        self.position.fetch_add(1, Ordering::Relaxed)
    }
}

impl Balancer {
    /// The balancer that a cluster asks for. `random` is where a round robin begins.
    pub fn new(load_balancing: &LoadBalancing, random: u64) -> Self {
        match load_balancing {
            LoadBalancing::RoundRobin => Self::RoundRobin(RoundRobin::starting_at(random)),
            LoadBalancing::LeastRequest { choices } => Self::LeastRequest { choices: *choices },
            LoadBalancing::Random => Self::Random,
        }
    }

    /// The position of an endpoint in `set`; `None` when none is usable.
    pub fn choose(&self, set: &EndpointSet, load: &impl Load, random: &mut impl FnMut() -> u64) -> Option<usize> {
        let first = set.pool_for(&mut *random);
        set.pools_from(first).find_map(|pool| self.choose_in(set, pool, load, random))
    }

    fn choose_in(
        &self,
        set: &EndpointSet,
        pool: &Pool,
        load: &impl Load,
        random: &mut impl FnMut() -> u64,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(turns) => {
                // Other threads take turns in between, so a full round may still miss an endpoint; hence the last resort.
                let turn = (0..pool.len()).map(|_| pool.turn(turns.next())).find(|i| load.usable(*i));
                turn.or_else(|| any_usable(pool, load, turns.next()))
            }
            Self::Random => draw_usable(pool, load, random),
            Self::LeastRequest { choices } => {
                let mut best = draw_usable(pool, load, random)?;
                for _ in 1..choices.get() {
                    let Some(other) = draw_usable(pool, load, random) else { break };
                    if pool.is_less_busy(set, other, best, load) {
                        best = other;
                    }
                }
                Some(best)
            }
        }
    }
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
