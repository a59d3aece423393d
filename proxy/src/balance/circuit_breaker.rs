//! The circuit breaker of a cluster: what may be in flight, waiting, connected and retried, over all workers.
//!
//! # Why one count for the process
//! A limit that every worker keeps for itself is wrong by the number of workers, and a service behind it does not know how
//! many workers there are. The counts are therefore atomics, taken and given back once per request or connection, and a
//! place is taken by compare-and-swap: the limit is never exceeded, and nobody is refused because of somebody who was.
//!
//! # Waiting
//! A request that may not open a connection waits in the cluster's queue, which is bounded by `max_pending_requests`. The
//! queue has a lock, but only requests at the limit and connections that come back while somebody waits ever take it.
//! A connection that comes back is handed to a request on the same worker for the same endpoint if one of the first in the
//! queue is such; otherwise it is closed, and the first in the queue opens one of its own.
//!
//! # What is counted as waiting
//! Requests that are held up by a limit. A request whose own connection is being opened is not waiting: it is in flight.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_traffic::circuit_breaker::{Counters, Tripped, retries_max};
use tidegate_xds::resource::cluster::Thresholds;
use tokio::sync::oneshot;

use crate::config::registry::EndpointState;
use crate::config::snapshot::ActiveCluster;

/// How far down the queue a connection that came back looks for a request that can use it as it is.
const HAND_OVER_WINDOW: usize = 8;

/// How often the first in the queue may be passed over for one that can use a connection as it is.
const PASSED_OVER_MAX: u32 = 8;

/// Every limit, in the order in which refusals are counted.
pub(crate) const LIMITS: [Tripped; 7] = [
    Tripped::Connections,
    Tripped::PendingRequests,
    Tripped::Requests,
    Tripped::Retries,
    Tripped::RetryBudget,
    Tripped::ConnectionsPerEndpoint,
    Tripped::RequestsPerEndpoint,
];

/// The counts of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    requests: AtomicU32,
    connections: AtomicU32,
    pending: AtomicU32,
    retries: AtomicU32,
    trips: [AtomicU64; LIMITS.len()],
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    next_id: u64,
    /// How often the first has been passed over.
    passed_over: u32,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    worker: usize,
    endpoint: u64,
    wake: oneshot::Sender<()>,
}

/// What becomes of a connection that came back.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// Nobody waits: it is kept.
    Keep,
    /// It is kept, and then this request is told.
    Tell(oneshot::Sender<()>),
    /// It is closed: whoever waits needs its place, not it.
    Close,
}

/// One more, unless there are `max`; how many there were before.
fn take(count: &AtomicU32, max: u32) -> Option<u32> {
    // Sequentially consistent, here and wherever somebody looks for waiters: whoever gives a place back must see a waiter
    // that did not see the place. The load by which nobody takes anything is one of these looks.
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count < max).then(|| count + 1)).ok()
}

fn give(count: &AtomicU32) {
    count.fetch_sub(1, Ordering::SeqCst);
}

impl Breaker {
    /// Requests in flight or waiting.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending.load(Ordering::SeqCst)
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// How often a limit has refused something.
    pub(crate) fn trips(&self, limit: Tripped) -> u64 {
        self.of(limit).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn trip(&self, limit: Tripped) -> Tripped {
        if let Some(count) = self.of(limit) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        limit
    }

    fn of(&self, limit: Tripped) -> Option<&AtomicU64> {
        LIMITS.iter().position(|known| *known == limit).and_then(|index| self.trips.get(index))
    }

    /// How many retries may be in flight now. Whoever waits is among the requests.
    fn retries_max(&self, thresholds: &Thresholds) -> u32 {
        retries_max(thresholds, Counters { requests: self.requests(), ..Counters::default() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole between two statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do with a connection of a worker to an endpoint that can carry another request.
    pub(crate) fn hand_over(&self, worker: usize, endpoint: u64) -> HandOver {
        if self.pending() == 0 {
            return HandOver::Keep;
        }
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            return HandOver::Keep;
        }
        let fits = |waiter: &Waiter| waiter.worker == worker && waiter.endpoint == endpoint;
        match queue.waiting.iter().take(HAND_OVER_WINDOW).position(fits) {
            Some(index) if index == 0 || queue.passed_over < PASSED_OVER_MAX => {
                queue.passed_over = if index == 0 { 0 } else { queue.passed_over + 1 };
                queue.waiting.remove(index).map_or(HandOver::Keep, |waiter| HandOver::Tell(waiter.wake))
            }
            Some(_) | None => HandOver::Close,
        }
    }

    /// Tells the first in the queue that there is a place.
    fn wake_first(&self) {
        if self.pending() == 0 {
            return;
        }
        let mut queue = self.queue();
        while let Some(waiter) = queue.waiting.pop_front() {
            queue.passed_over = 0;
            // One that has given up meanwhile is passed over.
            if waiter.wake.send(()).is_ok() {
                return;
            }
        }
    }
}

/// A request inside the breaker, counted until dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a>(&'a Breaker);

impl<'a> Admitted<'a> {
    /// Refused when the cluster has as many requests as it may.
    pub(crate) fn enter(cluster: &'a ActiveCluster) -> Result<Self, Tripped> {
        let breaker = &cluster.state.breaker;
        if take(&breaker.requests, cluster.config.circuit_breakers.max_requests).is_some() {
            Ok(Self(breaker))
        } else {
            Err(breaker.trip(Tripped::Requests))
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        give(&self.0.requests);
    }
}

/// A retry, counted until dropped.
#[derive(Debug)]
pub(crate) struct ActiveRetry(Arc<Breaker>);

impl ActiveRetry {
    /// `None`: as many retries are in flight as may be. The failure is answered as it is.
    pub(crate) fn enter(cluster: &ActiveCluster) -> Option<Self> {
        Self::within(&cluster.state.breaker, &cluster.config.circuit_breakers)
    }

    fn within(breaker: &Arc<Breaker>, thresholds: &Thresholds) -> Option<Self> {
        if take(&breaker.retries, breaker.retries_max(thresholds)).is_some() {
            Some(Self(Arc::clone(breaker)))
        } else {
            breaker.trip(if thresholds.retry_budget.is_some() { Tripped::RetryBudget } else { Tripped::Retries });
            None
        }
    }
}

impl Drop for ActiveRetry {
    fn drop(&mut self) {
        give(&self.0.retries);
    }
}

/// A request on its way to an endpoint, counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a EndpointState);

impl<'a> InFlight<'a> {
    /// Refused when the endpoint has as many requests as it may.
    pub(crate) fn enter(endpoint: &'a EndpointState, thresholds: &Thresholds) -> Result<Self, Tripped> {
        match thresholds.max_requests_per_endpoint {
            None => {
                endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
            }
            Some(max) if take(&endpoint.in_flight, max).is_some() => {}
            Some(_) => return Err(endpoint.breaker.trip(Tripped::RequestsPerEndpoint)),
        }
        Ok(Self(endpoint))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        give(&self.0.in_flight);
    }
}

/// A connection's place, counted until dropped.
#[derive(Debug)]
pub(crate) struct Connected(Arc<EndpointState>);

impl Connected {
    /// A place for a connection to an endpoint. Every endpoint may have one, however many others have: a cluster with more
    /// endpoints than connections would otherwise have endpoints that nobody can reach. Where the first two connections of an
    /// endpoint are opened at the same moment, it may get both: the limit can be passed by one for each endpoint, no more.
    pub(crate) fn enter(endpoint: &Arc<EndpointState>, thresholds: &Thresholds) -> Result<Self, Tripped> {
        let breaker = &endpoint.breaker;
        let max = thresholds.max_connections_per_endpoint.unwrap_or(u32::MAX);
        let Some(before) = take(&endpoint.connections, max) else { return Err(Tripped::ConnectionsPerEndpoint) };
        if take(&breaker.connections, thresholds.max_connections).is_some() {
            return Ok(Self(Arc::clone(endpoint)));
        }
        if before == 0 {
            breaker.connections.fetch_add(1, Ordering::SeqCst);
            return Ok(Self(Arc::clone(endpoint)));
        }
        give(&endpoint.connections);
        Err(Tripped::Connections)
    }

    /// A place that is taken whatever the limits say.
    pub(crate) fn force(endpoint: &Arc<EndpointState>) -> Self {
        endpoint.connections.fetch_add(1, Ordering::SeqCst);
        endpoint.breaker.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(endpoint))
    }

    pub(crate) fn breaker(&self) -> &Arc<Breaker> {
        &self.0.breaker
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        give(&self.0.connections);
        give(&self.0.breaker.connections);
        self.0.breaker.wake_first();
    }
}

/// A request that a limit holds up, counted until dropped.
#[derive(Debug)]
pub(crate) struct Pending {
    breaker: Arc<Breaker>,
    place: Option<(u64, oneshot::Receiver<()>)>,
}

impl Pending {
    /// Refused when as many wait as may. `held_by`: the limit that holds the request up, which is the one to name if
    /// nothing may wait at all.
    pub(crate) fn enter(breaker: &Arc<Breaker>, thresholds: &Thresholds, held_by: Tripped) -> Result<Self, Tripped> {
        if take(&breaker.pending, thresholds.max_pending_requests).is_some() {
            return Ok(Self { breaker: Arc::clone(breaker), place: None });
        }
        let named = if thresholds.max_pending_requests == 0 { held_by } else { Tripped::PendingRequests };
        Err(breaker.trip(named))
    }

    /// Takes a place in the queue: the last one, or after a wake that came to nothing the first one.
    pub(crate) fn queue(&mut self, worker: usize, endpoint: u64, again: bool) {
        self.leave();
        let (wake, woken) = oneshot::channel();
        let mut queue = self.breaker.queue();
        let id = queue.next_id;
        queue.next_id += 1;
        let waiter = Waiter { id, worker, endpoint, wake };
        if again {
            queue.waiting.push_front(waiter);
        } else {
            queue.waiting.push_back(waiter);
        }
        drop(queue);
        self.place = Some((id, woken));
    }

    /// Ready when there is a connection or a place for one; at once without a place in the queue.
    pub(crate) async fn woken(&mut self) {
        if let Some((_, woken)) = &mut self.place {
            // A sender that is dropped without a word is a wake, too: the waiter looks for itself.
            woken.await.ok();
            self.place = None;
        }
    }

    /// Leaves the queue. A wake that has come already is passed on.
    fn leave(&mut self) {
        let Some((id, mut woken)) = self.place.take() else { return };
        let mut queue = self.breaker.queue();
        if let Some(index) = queue.waiting.iter().position(|waiter| waiter.id == id) {
            queue.waiting.remove(index);
            return;
        }
        drop(queue);
        if woken.try_recv().is_ok() {
            self.breaker.wake_first();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.leave();
        give(&self.breaker.pending);
    }
}

#[cfg(test)]
mod tests;
