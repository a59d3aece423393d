//! The endpoints of a cluster, laid out for choosing.
//!
//! # Pools
//! Endpoints of one priority share a pool of healthy ones and a pool of degraded ones; a priority in panic has one pool of
//! all. Load is shared out among pools as [`priority`] says. Draining endpoints and those that a control plane calls
//! unhealthy are chosen in panic only.
//!
//! # Learned health
//! What the proxy *learned* (ejections, failed checks, age) comes in when a set is built, and a change of it makes a new
//! set: [`EndpointSet::with_health`] shares everything but the pools, and of those the hash tables that did not change. So a
//! choice asks nobody about health, and shares of priorities follow it. Only what belongs to one request (endpoints tried
//! already) or changes too fast (a full endpoint) is asked of [`crate::Load`] at each choice. Positions are the same in
//! every set from one assignment, and turns are kept by the balancer, so a round robin goes on where it was.
//!
//! # Localities
//! Where localities are weighted, a locality's weight is spread over its usable endpoints by their own weights. As in Envoy
//! it counts in full until fewer than 1/1.4 of its endpoints are usable, and for hash tables always.

pub(crate) mod pool;
mod priority;
mod slow_start;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::cluster::{Cluster, LoadBalancing};
use tidegate_xds::resource::endpoint::{Endpoint, Health, LocalityEndpoints, OVERPROVISIONING_PERCENT_DEFAULT};

use crate::load_balancing::table::{Entry, Table};
use pool::Pool;
use priority::{Census, WHOLE};

/// What a cluster says about choosing among its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSettings {
    /// Below this share of usable endpoints a priority uses all of its endpoints; 0 never.
    pub panic_threshold_percent: u8,
    /// Localities are weighted.
    pub locality_weighted: bool,
    /// From the assignment.
    pub overprovisioning_percent: NonZeroU32,
    /// Decides whether hash tables are made and weights grow slowly.
    pub load_balancing: LoadBalancing,
}

impl ClusterSettings {
    /// A cluster's, with the overprovisioning of its assignment.
    pub fn of(cluster: &Cluster, overprovisioning_percent: NonZeroU32) -> Self {
        Self {
            panic_threshold_percent: cluster.panic_threshold_percent,
            locality_weighted: cluster.locality_weighted,
            overprovisioning_percent,
            load_balancing: cluster.load_balancing.clone(),
        }
    }
}

impl Default for ClusterSettings {
    /// Without panic, localities, tables and slow start.
    fn default() -> Self {
        Self {
            panic_threshold_percent: 0,
            locality_weighted: false,
            overprovisioning_percent: OVERPROVISIONING_PERCENT_DEFAULT,
            load_balancing: LoadBalancing::LEAST_REQUEST,
        }
    }
}

/// What the proxy has learned about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Thrown out by outlier detection.
    pub ejected: bool,
    /// Its active health checks fail, or the first has not ended yet.
    pub failed_check: bool,
    /// A health check called it degraded.
    pub degraded: bool,
    /// For how long it has been usable, if that is known; decides about slow start.
    pub age: Option<Duration>,
}

/// Endpoints by priority and health.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    layout: Arc<Layout>,
    /// By position.
    states: Box<[State]>,
    /// Pools by priority (healthy ones, or all in panic), then degraded pools by priority; none is empty.
    pools: Vec<Pool>,
    /// By ascending priority.
    loads: Vec<priority::Load>,
    warming: bool,
}

/// What does not change with health.
#[derive(Debug, Default)]
struct Layout {
    endpoints: Vec<Endpoint>,
    /// By ascending priority.
    localities: Vec<Span>,
    /// Positions by address.
    positions: Vec<(SocketAddr, u32)>,
    settings: ClusterSettings,
}

/// The endpoints of one locality.
#[derive(Debug)]
struct Span {
    /// The priority's place in the ascending order of priorities.
    rank: usize,
    weight: u32,
    members: Range<u32>,
}

/// Whether an endpoint may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy,
    Degraded,
    Unusable,
}

impl EndpointSet {
    /// Lays out endpoints of which nothing has been learned, for a cluster without further settings.
    pub fn build(localities: &[LocalityEndpoints]) -> Self {
        Self::new(localities, ClusterSettings::default(), |_, _| EndpointHealth::default())
    }

    /// Lays out the endpoints of all localities. `health` is asked once for each position.
    pub fn new(
        localities: &[LocalityEndpoints],
        settings: ClusterSettings,
        health: impl Fn(usize, &Endpoint) -> EndpointHealth,
    ) -> Self {
        let layout = Arc::new(Layout::new(localities, settings));
        Self { layout, ..Self::default() }.with_health(health)
    }

    /// The same endpoints at the same positions, in another state of health.
    #[must_use]
    pub fn with_health(&self, health: impl Fn(usize, &Endpoint) -> EndpointHealth) -> Self {
        let layout = &self.layout;
        let learned: Vec<EndpointHealth> = layout.endpoints.iter().enumerate().map(|(i, e)| health(i, e)).collect();
        let states: Box<[State]> =
            layout.endpoints.iter().zip(&learned).map(|(e, learned)| state(e, *learned)).collect();
        let slow_start = slow_start::of(&layout.settings.load_balancing);
        let factors: Vec<Option<f64>> = learned
            .iter()
            .zip(&states)
            .map(|(learned, state)| match (slow_start, learned.age, state) {
                (Some(slow_start), Some(age), State::Healthy) => slow_start::factor(slow_start, age),
                _ => None,
            })
            .collect();
        let warming = factors.iter().any(Option::is_some);
        let census = layout.census(&states);
        let settings = &layout.settings;
        let loads =
            priority::share_out(&census, settings.overprovisioning_percent.get(), settings.panic_threshold_percent);
        let builder = Builder { layout, states: &states, factors: &factors, before: &self.pools };
        let first = loads.iter().enumerate().map(|(rank, load)| match load.panic {
            true => builder.pool(rank, None, load.healthy + load.degraded),
            false => builder.pool(rank, Some(State::Healthy), load.healthy),
        });
        let degraded = loads.iter().enumerate().filter(|(_, load)| !load.panic);
        let degraded = degraded.map(|(rank, load)| builder.pool(rank, Some(State::Degraded), load.degraded));
        let pools = first.chain(degraded).flatten().collect();
        Self { layout: Arc::clone(layout), states, pools, loads, warming }
    }

    /// How many endpoints there are, usable or not.
    pub fn len(&self) -> usize {
        self.layout.endpoints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.layout.endpoints.is_empty()
    }

    /// The endpoint at a position below [`Self::len`].
    pub fn endpoint(&self, index: usize) -> Option<&Endpoint> {
        self.layout.endpoints.get(index)
    }

    /// All endpoints, by ascending priority. Positions are those of [`Self::endpoint`].
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.layout.endpoints
    }

    /// The position of an address.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        let positions = &self.layout.positions;
        let found = positions.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        Some(positions[found].1 as usize)
    }

    /// Whether an endpoint is healthy or degraded, whatever its priority carries.
    pub fn is_usable(&self, index: usize) -> bool {
        self.states.get(index).is_some_and(|state| *state != State::Unusable)
    }

    /// How many endpoints are healthy or degraded.
    pub fn usable(&self) -> usize {
        self.states.iter().filter(|state| **state != State::Unusable).count()
    }

    /// Whether the endpoint's priority uses all of its endpoints, good or bad.
    pub fn is_in_panic(&self, index: usize) -> bool {
        let span = self.layout.localities.iter().find(|span| (span.members.end as usize) > index);
        span.and_then(|span| self.loads.get(span.rank)).is_some_and(|load| load.panic)
    }

    /// Whether an endpoint's weight is still growing, so that the set should be built anew before long.
    pub fn is_warming(&self) -> bool {
        self.warming
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

fn state(endpoint: &Endpoint, learned: EndpointHealth) -> State {
    match endpoint.health {
        Health::Draining | Health::Unhealthy => State::Unusable,
        _ if learned.ejected || learned.failed_check => State::Unusable,
        Health::Healthy if !learned.degraded => State::Healthy,
        Health::Healthy | Health::Degraded => State::Degraded,
    }
}

impl Layout {
    fn new(localities: &[LocalityEndpoints], settings: ClusterSettings) -> Self {
        let mut by_priority: Vec<&LocalityEndpoints> = localities.iter().collect();
        by_priority.sort_by_key(|locality| locality.priority);
        let endpoints: Vec<Endpoint> = by_priority.iter().flat_map(|l| &l.endpoints).cloned().collect();
        let (mut start, mut rank) = (0, 0);
        let mut spans = Vec::with_capacity(by_priority.len());
        for (i, locality) in by_priority.iter().enumerate() {
            if i > 0 && by_priority[i - 1].priority != locality.priority {
                rank += 1;
            }
            let end = start + locality.endpoints.len() as u32;
            spans.push(Span { rank, weight: locality.weight.map_or(0, NonZeroU32::get), members: start..end });
            start = end;
        }
        let mut positions: Vec<_> = (0..).zip(&endpoints).map(|(i, endpoint)| (endpoint.address, i)).collect();
        positions.sort_unstable();
        positions.dedup_by_key(|(address, _)| *address);
        Self { endpoints, localities: spans, positions, settings }
    }

    fn census(&self, states: &[State]) -> Vec<Census> {
        let mut census = vec![Census::default(); self.localities.last().map_or(0, |span| span.rank + 1)];
        for span in &self.localities {
            let counted = &mut census[span.rank];
            for state in &states[span.members.start as usize..span.members.end as usize] {
                counted.total += 1;
                match state {
                    State::Healthy => counted.healthy += 1,
                    State::Degraded => counted.degraded += 1,
                    State::Unusable => {}
                }
            }
        }
        census
    }
}

/// What pools are made from.
struct Builder<'a> {
    layout: &'a Layout,
    states: &'a [State],
    /// Shares of weight by slow start, by position.
    factors: &'a [Option<f64>],
    /// The pools of the set before, whose tables may still be good.
    before: &'a [Pool],
}

impl Builder<'_> {
    /// The members of a priority that are in a state (`None`: in any); `None` when there is none.
    fn pool(&self, rank: usize, wanted: Option<State>, share: u32) -> Option<Pool> {
        let chosen = |position: &u32| wanted.is_none_or(|wanted| self.states[*position as usize] == wanted);
        let spans = self.layout.localities.iter().filter(|span| span.rank == rank);
        let spans: Vec<(&Span, Vec<u32>)> = spans.map(|s| (s, s.members.clone().filter(&chosen).collect())).collect();
        let settings = &self.layout.settings;
        let carries = |(span, members): &&(&Span, Vec<u32>)| span.weight > 0 && !members.is_empty();
        // When no locality with a usable endpoint has a weight, nobody would get anything.
        let by_locality = settings.locality_weighted && spans.iter().any(|span| carries(&span));
        let spans: Vec<_> = spans.iter().filter(|span| !by_locality || carries(span)).collect();
        let members: Vec<u32> = spans.iter().flat_map(|(_, members)| members).copied().collect();
        if members.is_empty() {
            return None;
        }
        let is_scaled = by_locality || members.iter().any(|m| self.factors[*m as usize].is_some());
        let weights = if is_scaled {
            let scaled: Vec<f64> = spans.iter().flat_map(|(span, m)| self.scaled(span, m, by_locality)).collect();
            pool::whole(&scaled)
        } else {
            members.iter().map(|m| u64::from(self.weight(*m))).collect()
        };
        let entries = match settings.load_balancing {
            LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. } => self.entries(&spans, by_locality),
            _ => Vec::new(),
        };
        Some(Pool::new(members, weights, share).with_table(self.table(entries)))
    }

    fn weight(&self, position: u32) -> u32 {
        self.layout.endpoints[position as usize].weight.get()
    }

    /// Weights of the members of a locality, with what locality and slow start make of them.
    fn scaled<'a>(&'a self, span: &Span, members: &'a [u32], by_locality: bool) -> impl Iterator<Item = f64> + 'a {
        let sum: f64 = members.iter().map(|m| f64::from(self.weight(*m))).sum();
        let usable = members.len() as f64 / span.members.len() as f64;
        let overprovisioning = f64::from(self.layout.settings.overprovisioning_percent.get()) / 100.0;
        let factor =
            if by_locality { f64::from(span.weight) * (overprovisioning * usable).min(1.0) / sum } else { 1.0 };
        members.iter().map(move |m| f64::from(self.weight(*m)) * factor * self.factors[*m as usize].unwrap_or(1.0))
    }

    /// Shares for hash tables: without overprovisioning, as in Envoy.
    fn entries(&self, spans: &[&(&Span, Vec<u32>)], by_locality: bool) -> Vec<Entry> {
        let sum = |members: &[u32]| members.iter().map(|m| u64::from(self.weight(*m))).sum::<u64>() as f64;
        let localities: u64 = spans.iter().map(|(span, _)| u64::from(span.weight)).sum();
        let all: f64 = spans.iter().map(|(_, members)| sum(members)).sum();
        let mut entries = Vec::new();
        for (span, members) in spans {
            // The order of operations is part of being equal to the last bit.
            let (part, sum) =
                if by_locality { (f64::from(span.weight) / localities as f64, sum(members)) } else { (1.0, all) };
            entries.extend(members.iter().map(|member| Entry {
                member: *member,
                address: self.layout.endpoints[*member as usize].address,
                share: f64::from(self.weight(*member)) * part / sum,
            }));
        }
        entries
    }

    fn table(&self, entries: Vec<Entry>) -> Option<Arc<(Vec<Entry>, Table)>> {
        let kept = self.before.iter().filter_map(Pool::shared_table).find(|table| table.0 == entries);
        if let Some(kept) = kept {
            return Some(Arc::clone(kept));
        }
        let table = Table::build(&self.layout.settings.load_balancing, &entries)?;
        Some(Arc::new((entries, table)))
    }
}

#[cfg(test)]
mod tests;
