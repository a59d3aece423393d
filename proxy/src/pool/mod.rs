//! Connections kept for the next request. Per worker, so without locks.
//!
//! # Why the last one in is the first one out
//! The most recently used connection is the least likely to have been closed by its peer, and the rest grow old together
//! and can be let go: the pool shrinks to what the traffic needs.
//!
//! HTTP/1.1 connections are taken out and given back; an HTTP/2 connection is shared by as many streams as its peer
//! allows, and another one is opened when they run out.
//!
//! # Endpoints that are out
//! An endpoint that left the configuration takes its idle connections with it. One that is ejected or unhealthy keeps
//! them: nothing is sent to it, they grow old like any others, and if it comes back in time they are still good.

pub(crate) mod waiting;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use tidegate_xds::resource::cluster::Thresholds;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::balance::circuit_breaker::{Breaker, Connected, HandOver};
use crate::clock;
use crate::config::registry::EndpointState;
use crate::limits::{HTTP2_CONNECTIONS_PER_ENDPOINT_MAX, Limits};
use crate::tls::client::{ClientTls, Inside};
use crate::upstream::connect::connect;
use crate::upstream::{Fault, http1, http2};
use crate::wire::buffer::Buffers;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// The pools of one worker.
#[derive(Debug)]
pub(crate) struct Pools {
    /// Of the worker.
    index: usize,
    buffers: Rc<Buffers>,
    http1: RefCell<HashMap<u64, Shelf>>,
    http2: RefCell<HashMap<u64, Rc<Shared>>>,
    /// There is something to sweep.
    filled: Notify,
}

#[derive(Debug)]
struct Shelf {
    endpoint: Arc<EndpointState>,
    /// The oldest first.
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<http1::Connection>,
    until: Instant,
}

#[derive(Debug)]
struct Shared {
    endpoint: Arc<EndpointState>,
    connections: RefCell<Vec<Rc<http2::Connection>>>,
    /// One opens at a time: callers that wait for it find room on what it opened.
    opening: tokio::sync::Mutex<()>,
}

/// What opening a connection needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) connect_timeout: Duration,
    pub(crate) idle: Duration,
    pub(crate) requests_max: u32,
    pub(crate) thresholds: Thresholds,
    /// How connections are encrypted.
    pub(crate) tls: Option<Arc<ClientTls>>,
}

/// How long a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    /// Without an exchange.
    pub(crate) idle: Duration,
    /// For so many exchanges.
    pub(crate) requests_max: u32,
}

impl Terms {
    pub(crate) fn keeping(&self) -> Keeping {
        Keeping { idle: self.idle, requests_max: self.requests_max }
    }
}

/// Under which connections are encrypted; 0: they are not.
fn tls_id(tls: Option<&Arc<ClientTls>>) -> u64 {
    tls.map_or(0, |tls| tls.id)
}

impl Pools {
    pub(crate) fn new(index: usize, buffers: &Rc<Buffers>) -> Self {
        Self {
            index,
            buffers: Rc::clone(buffers),
            http1: RefCell::new(HashMap::new()),
            http2: RefCell::new(HashMap::new()),
            filled: Notify::new(),
        }
    }

    /// An idle connection, if there is a live one. `only_once`: the request must not be sent twice, so the kernel is asked
    /// whether the peer has hung up.
    pub(crate) fn take_http1(
        &self,
        endpoint: &EndpointState,
        tls: Option<&Arc<ClientTls>>,
        only_once: bool,
    ) -> Option<Box<http1::Connection>> {
        let mut shelves = self.http1.borrow_mut();
        let shelf = shelves.get_mut(&endpoint.id)?;
        while let Some(idle) = shelf.idle.pop() {
            // One under an earlier certificate is let go: whoever asks now means the new one.
            if idle.connection.tls == tls_id(tls) && !idle.connection.is_stirring(only_once) {
                return Some(idle.connection);
            }
        }
        None
    }

    /// A fresh connection in its place.
    async fn open_http1(
        &self,
        endpoint: &EndpointState,
        place: Connected,
        terms: &Terms,
    ) -> Result<Box<http1::Connection>, Fault> {
        let tls = terms.tls.as_deref();
        let socket = connect(endpoint.address, terms.connect_timeout, tls, Inside::Http1).await?;
        Ok(Box::new(http1::Connection::new(socket, tls_id(terms.tls.as_ref()), &self.buffers, place)))
    }

    /// Keeps a connection for the next request, unless it or its endpoint is through, or somebody waits for its place.
    pub(crate) fn give_back(
        &self,
        endpoint: &Arc<EndpointState>,
        connection: Box<http1::Connection>,
        keeping: Keeping,
        limits: &Limits,
    ) {
        if !connection.is_clean()
            || connection.requests >= keeping.requests_max
            || endpoint.retired.load(Ordering::Relaxed)
        {
            return;
        }
        let told = match endpoint.breaker.hand_over(self.index, endpoint.id) {
            HandOver::Keep => None,
            HandOver::Tell(waiter) => Some(waiter),
            HandOver::Close => return,
        };
        let mut shelves = self.http1.borrow_mut();
        if shelves.is_empty() {
            self.filled.notify_one();
        }
        let shelf =
            shelves.entry(endpoint.id).or_insert_with(|| Shelf { endpoint: Arc::clone(endpoint), idle: Vec::new() });
        if shelf.idle.len() < limits.pooled_per_endpoint_max {
            shelf.idle.push(Idle { connection, until: clock::now() + keeping.idle });
        }
        if let Some(told) = told {
            // The waiter is a task of this very thread, so it cannot have gone since it was taken from the queue.
            told.send(()).ok();
        }
    }

    /// Closes up to `count` idle connections of a cluster, the oldest first, to make room for requests that wait.
    pub(crate) fn let_go(&self, breaker: &Arc<Breaker>, count: usize) {
        let mut shelves = self.http1.borrow_mut();
        let of_cluster = shelves.values_mut().filter(|shelf| Arc::ptr_eq(&shelf.endpoint.breaker, breaker));
        let mut left = count;
        for shelf in of_cluster {
            let some = left.min(shelf.idle.len());
            shelf.idle.drain(..some);
            left -= some;
        }
    }

    /// A connection with room for a stream that is open already.
    pub(crate) fn open_http2(&self, endpoint: &EndpointState, terms: &Terms) -> Option<Rc<http2::Connection>> {
        self.http2.borrow().get(&endpoint.id)?.with_room(terms)
    }

    /// A connection with room for a stream, opened if need be. `fresh`: one that has carried nothing.
    pub(crate) async fn http2(
        &self,
        endpoint: &Arc<EndpointState>,
        terms: &Terms,
        limits: &Limits,
    ) -> Result<(Rc<http2::Connection>, bool), Fault> {
        let shared = {
            let mut all = self.http2.borrow_mut();
            if all.is_empty() {
                self.filled.notify_one();
            }
            let shared = all.entry(endpoint.id).or_insert_with(|| {
                Rc::new(Shared {
                    endpoint: Arc::clone(endpoint),
                    connections: RefCell::default(),
                    opening: tokio::sync::Mutex::new(()),
                })
            });
            Rc::clone(shared)
        };
        if let Some(connection) = shared.with_room(terms) {
            return Ok((connection, true));
        }
        let _opening = shared.opening.lock().await;
        if let Some(connection) = shared.with_room(terms) {
            return Ok((connection, true));
        }
        let open = shared.connections.borrow().len();
        let place = match open {
            // Connections for many streams live long and belong to one worker, so each worker must be able to have one.
            0 => Some(Connected::enter(endpoint, &terms.thresholds).unwrap_or_else(|_| Connected::force(endpoint))),
            1..HTTP2_CONNECTIONS_PER_ENDPOINT_MAX => Connected::enter(endpoint, &terms.thresholds).ok(),
            _ => None,
        };
        let Some(place) = place else {
            // All are full: the request waits on one of them.
            let fullest = shared.connections.borrow().last().cloned();
            return fullest.map(|connection| (connection, true)).ok_or(Fault::Unprocessed);
        };
        let tls = terms.tls.as_deref();
        let socket = connect(endpoint.address, terms.connect_timeout, tls, Inside::Http2).await?;
        let socket = (socket, tls_id(terms.tls.as_ref()));
        let connection =
            http2::Connection::open(socket, (terms.connect_timeout, limits.http2_ping), place, &self.buffers).await?;
        shared.connections.borrow_mut().push(Rc::clone(&connection));
        Ok((connection, false))
    }

    /// Lets connections to endpoints go that have left the configuration.
    pub(crate) fn drop_retired(&self) {
        self.http1.borrow_mut().retain(|_, shelf| !shelf.endpoint.retired.load(Ordering::Relaxed));
        // Streams in flight hold their connection.
        self.http2.borrow_mut().retain(|_, shared| !shared.endpoint.retired.load(Ordering::Relaxed));
    }

    /// Lets go what is old or was closed by its peer; and what a request that was under way has opened to an endpoint that had
    /// left meanwhile.
    fn sweep(&self, now: Instant, idle: Duration) {
        self.drop_retired();
        self.http1.borrow_mut().retain(|_, shelf| {
            shelf.idle.retain(|idle| idle.until > now && !idle.connection.is_stirring(false));
            !shelf.idle.is_empty()
        });
        self.http2.borrow_mut().retain(|_, shared| {
            shared
                .connections
                .borrow_mut()
                .retain(|connection| !connection.is_closed() && !connection.is_stale(now, idle));
            !shared.connections.borrow().is_empty() || Rc::strong_count(shared) > 1
        });
    }

    /// Runs as long as the worker. `idle`: for HTTP/2 connections, which are shared and so have no terms of their own.
    pub(crate) async fn sweep_for_ever(&self, idle: Duration) {
        loop {
            // A worker without connections does not wake up to look at none.
            while self.http1.borrow().is_empty() && self.http2.borrow().is_empty() {
                self.filled.notified().await;
            }
            tokio::time::sleep(SWEEP).await;
            self.sweep(clock::now(), idle);
        }
    }
}

impl Shared {
    fn with_room(&self, terms: &Terms) -> Option<Rc<http2::Connection>> {
        let mut connections = self.connections.borrow_mut();
        // One that has carried its share is let go by the pool and ends with its last stream.
        let tls = tls_id(terms.tls.as_ref());
        connections.retain(|connection| {
            !connection.is_closed() && connection.requests.get() < terms.requests_max && connection.tls == tls
        });
        connections.iter().find(|connection| connection.has_room()).cloned()
    }
}

#[cfg(test)]
mod tests;
