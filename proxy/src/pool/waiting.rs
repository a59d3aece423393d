//! Waits where a circuit breaker allows no further connection.
//!
//! # Whom a waiting request wakes up for
//! A connection that comes back is handed to it, or closed in its favour. Idle connections need a push: those of this
//! worker are let go here, the other workers are told to let theirs go. Without that a request could wait for a place that
//! an idle connection on another worker holds.

use std::sync::Arc;
use std::time::Duration;

use tidegate_traffic::circuit_breaker::Tripped;

use super::Terms;
use crate::balance::circuit_breaker::{Connected, Pending};
use crate::clock;
use crate::config::registry::EndpointState;
use crate::limits::PENDING_MAX;
use crate::upstream::{Fault, http1};
use crate::worker::{Order, Worker};

/// A waiting request looks for itself this often. Wakes do the work; this bounds what an estimate that was wrong for a
/// moment (how many connections are idle) can cost.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a waiting request got.
enum Turn {
    Idle(Box<http1::Connection>),
    Place(Connected),
}

/// A connection for one exchange, and whether it has carried one before: opened, or waited for inside the breaker's limits.
pub(crate) async fn http1(
    worker: &Worker,
    endpoint: &Arc<EndpointState>,
    terms: &Terms,
    may_reuse: bool,
) -> Result<(Box<http1::Connection>, bool), Fault> {
    let place = match Connected::enter(endpoint, &terms.thresholds) {
        Ok(place) => place,
        // Rare, and larger than everything else here: boxed, so that other requests do not carry it.
        Err(limit) => match Box::pin(turn(worker, endpoint, terms, may_reuse, limit)).await? {
            Turn::Idle(connection) => return Ok((connection, true)),
            Turn::Place(place) => place,
        },
    };
    Ok((worker.pools.open_http1(endpoint, place, terms).await?, false))
}

async fn turn(
    worker: &Worker,
    endpoint: &Arc<EndpointState>,
    terms: &Terms,
    may_reuse: bool,
    limit: Tripped,
) -> Result<Turn, Fault> {
    let mut pending = Pending::enter(&endpoint.breaker, &terms.thresholds, limit).map_err(Fault::Overflow)?;
    let until = clock::now() + PENDING_MAX;
    pending.queue(worker.index, endpoint.id, false);
    loop {
        // Also the first time: what came free before this request was in the queue has told nobody.
        if let Some(turn) = look(worker, endpoint, terms, may_reuse) {
            return Ok(turn);
        }
        make_room(worker, endpoint);
        let woken = tokio::time::timeout(LOOK_AGAIN, pending.woken()).await.is_ok();
        if woken {
            if let Some(turn) = look(worker, endpoint, terms, may_reuse) {
                return Ok(turn);
            }
            // Somebody was faster.
            pending.queue(worker.index, endpoint.id, true);
        } else if clock::now() >= until {
            return Err(Fault::Overflow(Tripped::PendingRequests));
        }
    }
}

fn look(worker: &Worker, endpoint: &Arc<EndpointState>, terms: &Terms, may_reuse: bool) -> Option<Turn> {
    let idle = may_reuse.then(|| worker.pools.take_http1(endpoint, terms.tls.as_ref(), false)).flatten();
    idle.map(Turn::Idle).or_else(|| Connected::enter(endpoint, &terms.thresholds).ok().map(Turn::Place))
}

/// Lets idle connections of the cluster go, as many as there are requests that wait.
fn make_room(worker: &Worker, endpoint: &EndpointState) {
    let breaker = &endpoint.breaker;
    let waiting = breaker.pending();
    let in_use = breaker.requests().saturating_sub(waiting);
    if breaker.connections() <= in_use {
        return;
    }
    let count = usize::try_from(waiting).unwrap_or(usize::MAX);
    worker.pools.let_go(breaker, count);
    let others = worker.shared.workers.get().into_iter().flatten().enumerate();
    for (_, other) in others.filter(|(index, _)| *index != worker.index) {
        // A worker that is gone holds nothing.
        drop(other.send(Order::LetGo { breaker: Arc::clone(breaker), count }));
    }
}
