//! Chooses an endpoint, and counts what is on its way to it.

pub(crate) mod circuit_breaker;
pub(crate) mod outlier;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_traffic::circuit_breaker::Tripped;
use tidegate_traffic::session::Override;
use tidegate_traffic::{Load, Sessions};

use self::circuit_breaker::Admitted;
pub(crate) use self::circuit_breaker::InFlight;
use crate::config::registry::EndpointState;
use crate::config::snapshot::ActiveCluster;
use crate::http::rejection::Rejection;
use crate::worker::Worker;

/// What the balancer asks of the endpoints of a cluster.
struct Seen<'a> {
    states: &'a [Arc<EndpointState>],
    /// Tried for this request already.
    tried: &'a [u64],
    /// Requests that an endpoint may have.
    requests_max: u32,
    /// Outlier detection is on.
    watched: bool,
}

impl Seen<'_> {
    fn is_full(&self, state: &EndpointState) -> bool {
        state.in_flight.load(Ordering::Relaxed) >= self.requests_max
    }
}

impl Load for Seen<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        self.states.get(index).map_or(0, |state| state.in_flight.load(Ordering::Relaxed))
    }

    fn usable(&self, index: usize) -> bool {
        let Some(state) = self.states.get(index) else { return false };
        !self.tried.contains(&state.id) && !self.is_full(state) && (!self.watched || state.learned.may_serve())
    }
}

/// A place inside the cluster's circuit breaker, for all attempts of a request; or why it has none.
pub(crate) fn admit<'a>(cluster: &'a ActiveCluster, worker: &Worker) -> Result<Admitted<'a>, Rejection> {
    let drops = cluster.assignment.as_ref().map_or(&[][..], |assignment| &assignment.drop_overloads);
    if drops.iter().any(|(_, share)| worker.random() % u64::from(share.denominator.max(1)) < u64::from(share.numerator))
    {
        cluster.state.cells.of(worker.index).dropped.increment();
        return Err(Rejection::DROP_OVERLOAD);
    }
    Admitted::enter(cluster).map_err(Rejection::overflow)
}

/// A request's session: how it is kept, and the endpoint that the caller carries.
#[derive(Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) sessions: &'a Sessions,
    pub(crate) carried: Option<SocketAddr>,
}

/// What a request brings to the choice of an endpoint.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Endpoints that have been tried for it already.
    pub(crate) tried: &'a [u64],
    /// Of what the route's hash policy names, for balancers that place requests by it.
    pub(crate) hash: Option<u64>,
    pub(crate) session: Option<Session<'a>>,
}

/// An endpoint for one attempt. When every endpoint has been tried, they may be tried again.
pub(crate) fn choose(cluster: &ActiveCluster, wish: Wish<'_>, worker: &Worker) -> Result<usize, Rejection> {
    let requests_max = cluster.config.circuit_breakers.max_requests_per_endpoint.unwrap_or(u32::MAX);
    let watched = cluster.outlier.is_some();
    let endpoints = cluster.live.load();
    let seen = |tried| Seen { states: &cluster.states, tried, requests_max, watched };
    if let Some(Session { sessions, carried }) = wish.session {
        match sessions.locate(&endpoints, carried, &seen(wish.tried)) {
            Override::Endpoint(index) => return Ok(index),
            Override::Gone => return Err(Rejection { kind: Some("session"), ..Rejection::NO_ENDPOINT }),
            Override::Free => {}
        }
    }
    let choose = |tried| cluster.balancer.choose(&endpoints, &seen(tried), wish.hash, &mut || worker.random());
    let chosen = choose(wish.tried).or_else(|| if wish.tried.is_empty() { None } else { choose(&[]) });
    chosen.ok_or_else(|| nothing(cluster, requests_max))
}

/// Why there is no endpoint: none is good, or those that are have all they may.
fn nothing(cluster: &ActiveCluster, requests_max: u32) -> Rejection {
    let seen = Seen { states: &cluster.states, tried: &[], requests_max, watched: false };
    if cluster.states.iter().any(|state| seen.is_full(state)) {
        return Rejection::overflow(cluster.state.breaker.trip(Tripped::RequestsPerEndpoint));
    }
    Rejection::NO_ENDPOINT
}
