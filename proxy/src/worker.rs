//! A worker: one thread, one runtime, and everything that a request needs on it.
//!
//! # Why nothing is shared on a request's way
//! Pools, buffers, timers and random state belong to the worker, so a request takes no lock and moves no cache line between
//! cores. What must be exact for the whole process (requests in flight, the turn of a round robin) is an atomic in the
//! registry, touched once per request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use futures_util::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::{debug, error};

use crate::balance::circuit_breaker::Breaker;
use crate::clock::{self, Stamp, Wheel};
use crate::config::registry::Registry;
use crate::config::snapshot::Snapshot;
use crate::drain::Drain;
use crate::limits::Limits;
use crate::listener::accept::Acceptor;
use crate::listener::connection;
use crate::pool::Pools;
use crate::pressure::Step;
use crate::telemetry::WorkerCells;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::trace::Traces;
use crate::wire::buffer::Buffers;

/// What all threads of the process know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) drain: Drain,
    /// A line for each request, where they are wanted.
    pub(crate) access_log: Option<AccessLog>,
    /// Who calls whom is counted.
    pub(crate) counts_edges: bool,
    /// Spans of sampled requests, where they are wanted.
    pub(crate) traces: Option<Traces>,
    /// Orders to each worker. Unbounded, but fed only by the control thread and by acceptors, which stop at the limit of
    /// connections.
    pub(crate) workers: OnceLock<Vec<UnboundedSender<Order>>>,
}

impl Shared {
    /// Tells every worker.
    pub(crate) fn tell_all(&self, order: impl Fn() -> Order) {
        for worker in self.workers.get().into_iter().flatten() {
            // A worker that is gone needs no orders.
            drop(worker.send(order()));
        }
    }

    /// The worker with the fewest connections takes the next one. `false`: the limit is reached.
    pub(crate) fn hand_over(&self, arrival: Arrival) -> bool {
        if self.registry.connections() >= self.limits.connections_max {
            return false;
        }
        let Some(workers) = self.workers.get() else { return false };
        let load = |index: usize| self.registry.cells.of(index).connections.load(Ordering::Relaxed);
        let Some(least) = (0..workers.len()).min_by_key(|index| load(*index)) else { return false };
        self.registry.cells.of(least).connections.fetch_add(1, Ordering::Relaxed);
        if workers[least].send(Order::Serve(arrival)).is_err() {
            self.registry.cells.of(least).connections.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve a connection.
    Serve(Arrival),
    /// Accept connections for a listener.
    Accept(Acceptor),
    /// The snapshot changed.
    Refresh,
    /// Close so many idle connections of a cluster: requests on another worker wait for their places.
    LetGo { breaker: Arc<Breaker>, count: usize },
    /// The phase of the drain changed.
    Drain,
    /// End, whatever is open.
    Stop,
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Key of the listener it arrived at.
    pub(crate) listener: Arc<str>,
}

/// The context of everything that runs on a worker's thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) pools: Pools,
    /// Copies to mirrors in flight.
    pub(crate) mirrors: Cell<u32>,
    snapshots: RefCell<Snapshots>,
    random: RefCell<SmallRng>,
    /// The same moment on both clocks, so that a request needs to read only one.
    began: (Stamp, SystemTime),
}

#[derive(Debug)]
struct Snapshots {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    view: View,
}

/// The snapshot as one worker holds it: cloning it moves no cache line between cores.
#[derive(Clone, Debug)]
#[expect(
    clippy::redundant_allocation,
    reason = "the outer count is this worker's own, so requests do not share a cache line"
)]
pub(crate) struct View(Rc<Arc<Snapshot>>);

impl View {
    /// Whether both show the same snapshot.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        let mut cache = Cache::new(Arc::clone(&shared.snapshot));
        let view = View(Rc::new(Arc::clone(cache.load())));
        let of_process = Arc::clone(&shared);
        let buffers = Rc::new(Buffers::within(move |bytes| of_process.registry.take_memory(bytes)));
        let wheel = Wheel::new();
        Rc::new(Self {
            index,
            pools: Pools::new(index, &buffers),
            buffers,
            mirrors: Cell::new(0),
            snapshots: RefCell::new(Snapshots { cache, view }),
            random: RefCell::new(seeded()),
            began: (wheel.stamp_now(), clock::wall()),
            wheel,
            shared,
        })
    }

    /// The configuration as of now: one atomic load and a comparison when it has not changed.
    pub(crate) fn view(&self) -> View {
        let mut snapshots = self.snapshots.borrow_mut();
        let Snapshots { cache, view } = &mut *snapshots;
        let current = cache.load();
        if !Arc::ptr_eq(current, &view.0) {
            *view = View(Rc::new(Arc::clone(current)));
            self.pools.drop_retired();
        }
        view.clone()
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// The wall clock's time at a moment, for reports.
    pub(crate) fn wall(&self, at: Stamp) -> SystemTime {
        self.began.1 + at.since(self.began.0)
    }

    /// Connections end with their exchange: the process leaves, or memory is scarce.
    pub(crate) fn is_parting(&self) -> bool {
        self.shared.drain.is_closing() || self.shared.registry.pressure.is_at(Step::Closing)
    }

    /// This worker's own counters.
    pub(crate) fn cells(&self) -> &WorkerCells {
        self.shared.registry.cells.of(self.index)
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(self: Rc<Self>, mut orders: UnboundedReceiver<Order>) {
        let wheel = Rc::clone(&self.wheel);
        let timers = tokio::task::spawn_local(async move { wheel.drive().await });
        let sweeper = Rc::clone(&self);
        let sweeps =
            tokio::task::spawn_local(
                async move { sweeper.pools.sweep_for_ever(sweeper.shared.limits.upstream_idle).await },
            );
        while let Some(order) = orders.recv().await {
            match order {
                Order::Serve(arrival) => self.serve(arrival),
                Order::Accept(acceptor) => {
                    let shared = Arc::clone(&self.shared);
                    let index = self.index;
                    // Owned by its handle on the control thread: dropping that ends it.
                    drop(tokio::task::spawn_local(async move { acceptor.run(&shared, index).await }));
                }
                Order::Refresh => self.refresh(),
                Order::LetGo { breaker, count } => self.pools.let_go(&breaker, count),
                Order::Drain => self.wheel.poke(),
                Order::Stop => break,
            }
        }
        timers.abort();
        sweeps.abort();
    }

    /// Takes the new snapshot at once, so that the old one is freed even on an idle worker, and wakes connections whose
    /// listener has gone.
    fn refresh(&self) {
        let before = self.snapshots.borrow().view.clone();
        let now = self.view();
        if before.listeners.keys().any(|key| !now.listeners.contains_key(key)) {
            self.wheel.poke();
        }
    }

    /// One task per connection. A panic in it is counted and ends that connection only.
    fn serve(self: &Rc<Self>, arrival: Arrival) {
        let worker = Rc::clone(self);
        self.guard(async move { connection::run(&worker, arrival).await });
    }

    fn guard(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let worker = Rc::clone(self);
        // Boxed, because a future that another one takes and pins has its place in it twice.
        let mut serving = Box::pin(AssertUnwindSafe(task).catch_unwind());
        let connection = async move {
            let _open = Open(Rc::clone(&worker));
            let served = poll_fn(|cx| worker.wheel.at_one_moment(|| serving.as_mut().poll(cx))).await;
            if served.is_err() {
                worker.cells().panics.increment();
                error!(worker = worker.index, "a connection's task panicked; the connection is closed");
            }
        };
        // The runtime owns it: it ends by its own deadlines, or with the worker.
        drop(tokio::task::spawn_local(connection));
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.cells().connections.fetch_sub(1, Ordering::Relaxed);
        if self.0.shared.drain.is_closing() {
            self.0.shared.drain.connection_ended.notify_one();
        }
    }
}

/// Random numbers decide shares and endpoints, never secrets; a clock-free fixed seed is the fallback when the system has
/// none to give.
fn seeded() -> SmallRng {
    let mut seed = [0; 32];
    match rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut seed) {
        Ok(()) => {}
        Err(error) => debug!(%error, "no system randomness, using a fixed seed"),
    }
    SmallRng::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            limits: Limits::default(),
            registry: Registry::new(2),
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            drain: Drain::default(),
            access_log: None,
            counts_edges: true,
            traces: None,
            workers: OnceLock::new(),
        })
    }

    fn arrival() -> Arrival {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let socket = TcpStream::connect(address).expect("connects");
        Arrival { socket, peer: address, listener: "l".into() }
    }

    #[tokio::test]
    async fn a_connection_that_waits_is_small() {
        let worker = Worker::new(0, shared());

        let connection = connection::run(&worker, arrival());

        // A sidecar holds thousands of idle connections, and each of them is this future.
        let bytes = size_of_val(&connection);
        assert!(bytes <= 2_048, "{bytes} bytes");
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_that_has_fewest() {
        let shared = shared();
        let (orders, mut received): (Vec<_>, Vec<_>) = (0..2).map(|_| tokio::sync::mpsc::unbounded_channel()).unzip();
        shared.workers.set(orders).expect("set once");
        shared.registry.cells.of(0).connections.store(3, Ordering::Relaxed);
        shared.registry.cells.of(1).connections.store(2, Ordering::Relaxed);

        assert!(shared.hand_over(arrival()));

        assert!(matches!(received[1].try_recv(), Ok(Order::Serve(_))));
        assert!(received[0].try_recv().is_err());
        assert_eq!(shared.registry.connections(), 6);
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_and_nothing_else() {
        let worker = Worker::new(0, shared());
        worker.cells().connections.store(2, Ordering::Relaxed);
        let (said, heard) = tokio::sync::oneshot::channel();
        let together = tokio::task::LocalSet::new();

        let heard = together.run_until(async {
            worker.guard(async { panic!("on purpose") });
            worker.guard(async move { said.send("served").expect("the test listens") });
            heard.await
        });
        assert_eq!(heard.await, Ok("served"));
        together.await;

        assert_eq!(worker.cells().panics.value(), 1);
        assert_eq!(worker.shared.registry.connections(), 0, "both have ended");
    }

    #[tokio::test]
    async fn a_view_changes_only_with_the_snapshot() {
        let shared = shared();
        let worker = Worker::new(0, Arc::clone(&shared));

        let first = worker.view();
        assert!(first.is(&worker.view()));
        shared.snapshot.store(Arc::new(Snapshot::default()));

        assert!(!first.is(&worker.view()));
    }
}
