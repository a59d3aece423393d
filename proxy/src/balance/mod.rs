//! Chooses an endpoint, and counts what is on its way to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_traffic::Load;

use crate::config::registry::{ClusterState, EndpointState};
use crate::config::snapshot::ActiveCluster;
use crate::worker::Worker;

/// What the balancer asks of the endpoints of a cluster.
struct Seen<'a> {
    states: &'a [Arc<EndpointState>],
    /// Tried for this request already.
    tried: &'a [u64],
}

impl Load for Seen<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        self.states.get(index).map_or(0, |state| state.in_flight.load(Ordering::Relaxed))
    }

    fn usable(&self, index: usize) -> bool {
        self.states.get(index).is_some_and(|state| !self.tried.contains(&state.id))
    }
}

/// An endpoint for one attempt. When every endpoint has been tried, they may be tried again.
pub(crate) fn choose(cluster: &ActiveCluster, tried: &[u64], worker: &Worker) -> Option<usize> {
    let mut random = || worker.random();
    let choose = |tried: &[u64], random: &mut dyn FnMut() -> u64| {
        let seen = Seen { states: &cluster.states, tried };
        cluster.balancer.choose(&cluster.endpoints, &seen, &mut || random())
    };
    match choose(tried, &mut random) {
        None if !tried.is_empty() => choose(&[], &mut random),
        chosen => chosen,
    }
}

/// A request on its way to an endpoint, counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<EndpointState>);

impl InFlight {
    pub(crate) fn count(endpoint: &Arc<EndpointState>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request inside a cluster's circuit breaker, counted until dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<ClusterState>);

impl Admitted {
    /// `None`: the breaker's limit of requests in flight is reached.
    pub(crate) fn enter(cluster: &ActiveCluster) -> Option<Self> {
        let admitted = Self(Arc::clone(&cluster.state));
        let before = cluster.state.active_requests.fetch_add(1, Ordering::Relaxed);
        (before < cluster.config.circuit_breakers.max_requests).then_some(admitted)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.active_requests.fetch_sub(1, Ordering::Relaxed);
    }
}
