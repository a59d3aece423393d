//! What the proxy has *learned*, kept by key outside of the snapshot.
//!
//! A snapshot is replaced whenever the configuration changes. Requests in flight, counters and connections must not start
//! from zero each time, so they live here, under the name of their cluster or listener, and the snapshot holds handles.
//! An entry is dropped when its key leaves the configuration.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::{HashMap, HashMapExt as _};
use tidegate_traffic::Limiters;
use tidegate_xds::resource::cluster::Cluster;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::balance::circuit_breaker::Breaker;
use crate::balance::outlier::Ejections;
use crate::clock;
use crate::filter::asking::Services;
use crate::filter::lease::Leases;
use crate::health::Learned;
use crate::pressure::Pressure;
use crate::telemetry::edges::Edges;
use crate::telemetry::edges::place::Ways;
use crate::telemetry::{ClusterCells, ListenerCells, Sharded, WorkerCells};

/// The learned state of the process.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    /// What each worker counts for itself.
    pub(crate) cells: Sharded<WorkerCells>,
    /// The tokens of local rate limits.
    pub(crate) limiters: Limiters,
    /// The tokens of limits that are shared with other proxies.
    pub(crate) leases: Arc<Leases>,
    /// Who keeps limits for many proxies.
    pub(crate) services: Services,
    pub(crate) config_applied: AtomicU64,
    /// By [`tidegate_xds::name::ResourceType`], in the order of its `ALL`.
    pub(crate) config_rejected: [AtomicU64; 5],
    pub(crate) control_connected: AtomicBool,
    /// A whole configuration has been visible once.
    pub(crate) ready: AtomicBool,
    /// How scarce memory is.
    pub(crate) pressure: Pressure,
    /// Who called whom.
    pub(crate) edges: Edges,
    /// An endpoint was ejected: the control thread has something to lay out.
    pub(crate) learned: Notify,
    clusters: Mutex<HashMap<Arc<str>, Arc<ClusterState>>>,
    listeners: Mutex<HashMap<Arc<str>, Arc<ListenerState>>>,
    next_endpoint_id: AtomicU64,
}

/// What is known of a cluster beyond its configuration.
#[derive(Debug)]
pub(crate) struct ClusterState {
    pub(crate) name: Arc<str>,
    pub(crate) cells: Sharded<ClusterCells>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) ejections: Ejections,
    /// When it was first seen: outlier detection counts from here.
    pub(crate) born: Instant,
    deciding: Mutex<()>,
    /// The first round of its active checks has ended.
    pub(crate) checked_once: AtomicBool,
    /// Copies in flight, outside of the circuit breaker.
    pub(crate) active_mirrors: AtomicU32,
    endpoints: Mutex<HashMap<SocketAddr, Arc<EndpointState>>>,
}

/// What is known of an endpoint of a cluster.
#[derive(Debug)]
pub(crate) struct EndpointState {
    /// Unique in the process and never used again: pools key on it.
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    /// The counts of its cluster.
    pub(crate) breaker: Arc<Breaker>,
    /// Requests in flight, over all workers: what a least-request balancer compares.
    pub(crate) in_flight: AtomicU32,
    /// Connections open, over all workers.
    pub(crate) connections: AtomicU32,
    /// The endpoint has left the configuration; pools drop its connections.
    pub(crate) retired: AtomicBool,
    pub(crate) learned: Learned,
}

/// What is counted for a listener.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) name: Arc<str>,
    pub(crate) cells: Sharded<ListenerCells>,
    /// Requests under a fault that is injected on purpose.
    pub(crate) active_faults: AtomicU32,
    /// Where requests are counted that lead nowhere.
    pub(crate) ways: Ways,
}

impl ClusterState {
    /// Whether it may be used: its endpoints have been checked once, if they are checked at all.
    pub(crate) fn is_warm(&self, config: &Cluster) -> bool {
        config.health_checks.is_empty() || self.checked_once.load(Ordering::Relaxed)
    }

    /// Endpoints that are ejected now.
    pub(crate) fn ejected(&self) -> u64 {
        lock(&self.endpoints).values().filter(|state| state.learned.outlier.is_ejected()).count() as u64
    }

    /// Held while it is decided whether the cluster can do without an endpoint: two workers that decide at once could
    /// eject the last two.
    pub(crate) fn deciding(&self) -> MutexGuard<'_, ()> {
        lock(&self.deciding)
    }
}

impl EndpointState {
    pub(crate) fn new(id: u64, address: SocketAddr, breaker: Arc<Breaker>) -> Self {
        Self {
            id,
            address,
            breaker,
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            learned: Learned::new(clock::now()),
        }
    }
}

/// A poisoned lock means that a thread panicked while it held plain maps, which are whole between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            cells: Sharded::new(workers),
            limiters: Limiters::default(),
            leases: Arc::default(),
            services: Services::default(),
            config_applied: AtomicU64::new(0),
            config_rejected: Default::default(),
            control_connected: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            pressure: Pressure::default(),
            edges: Edges::new(workers),
            learned: Notify::new(),
            clusters: Mutex::new(HashMap::new()),
            listeners: Mutex::new(HashMap::new()),
            next_endpoint_id: AtomicU64::new(1),
        }
    }

    /// The state of a cluster, made at first sight.
    pub(crate) fn cluster(&self, name: &Arc<str>) -> Arc<ClusterState> {
        let mut clusters = lock(&self.clusters);
        let state = clusters.entry(Arc::clone(name)).or_insert_with(|| {
            Arc::new(ClusterState {
                name: Arc::clone(name),
                cells: Sharded::new(self.workers),
                breaker: Arc::default(),
                ejections: Ejections::default(),
                born: clock::now(),
                deciding: Mutex::default(),
                checked_once: AtomicBool::new(false),
                active_mirrors: AtomicU32::new(0),
                endpoints: Mutex::new(HashMap::new()),
            })
        });
        Arc::clone(state)
    }

    /// The states of exactly these endpoints; others of the cluster are retired.
    pub(crate) fn endpoints(&self, cluster: &ClusterState, addresses: &[SocketAddr]) -> Vec<Arc<EndpointState>> {
        let mut known = lock(&cluster.endpoints);
        let mut kept = HashMap::with_capacity(addresses.len());
        let states = addresses
            .iter()
            .map(|address| {
                let state = kept.entry(*address).or_insert_with(|| {
                    known.remove(address).unwrap_or_else(|| Arc::new(self.endpoint(cluster, *address)))
                });
                Arc::clone(state)
            })
            .collect();
        for gone in known.values() {
            gone.retired.store(true, Ordering::Relaxed);
        }
        *known = kept;
        states
    }

    fn endpoint(&self, cluster: &ClusterState, address: SocketAddr) -> EndpointState {
        let id = self.next_endpoint_id.fetch_add(1, Ordering::Relaxed);
        EndpointState::new(id, address, Arc::clone(&cluster.breaker))
    }

    pub(crate) fn listener(&self, name: &Arc<str>) -> Arc<ListenerState> {
        let mut listeners = lock(&self.listeners);
        let state = listeners.entry(Arc::clone(name)).or_insert_with(|| {
            Arc::new(ListenerState {
                name: Arc::clone(name),
                cells: Sharded::new(self.workers),
                active_faults: AtomicU32::new(0),
                ways: Ways::new(0),
            })
        });
        Arc::clone(state)
    }

    /// Drops what the configuration no longer names.
    pub(crate) fn keep(&self, cluster: impl Fn(&str) -> bool, listener: impl Fn(&str) -> bool) {
        lock(&self.clusters).retain(|name, state| {
            let kept = cluster(name);
            if !kept {
                for gone in lock(&state.endpoints).values() {
                    gone.retired.store(true, Ordering::Relaxed);
                }
            }
            kept
        });
        lock(&self.listeners).retain(|name, _| listener(name));
    }

    /// All clusters by name, for reports.
    pub(crate) fn all_clusters(&self) -> Vec<Arc<ClusterState>> {
        let mut all: Vec<_> = lock(&self.clusters).values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// All listeners by name, for reports.
    pub(crate) fn all_listeners(&self) -> Vec<Arc<ListenerState>> {
        let mut all: Vec<_> = lock(&self.listeners).values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Takes so many bytes of the process's memory; `false`: they are not there.
    pub(crate) fn take_memory(&self, bytes: usize) -> bool {
        self.pressure.take(bytes, || self.connections())
    }

    /// Connections open now, over all workers.
    pub(crate) fn connections(&self) -> u64 {
        self.cells.rows().map(|row| row.connections.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_state_and_one_that_leaves_is_retired() {
        let registry = Registry::new(1);
        let cluster = registry.cluster(&"c".into());
        let before = registry.endpoints(&cluster, &[address(1), address(2)]);
        before[0].in_flight.store(7, Ordering::Relaxed);

        let after = registry.endpoints(&cluster, &[address(1), address(3)]);

        assert_eq!(after[0].in_flight.load(Ordering::Relaxed), 7);
        assert!(before[1].retired.load(Ordering::Relaxed));
        assert!(!after[1].retired.load(Ordering::Relaxed));
        assert_ne!(after[1].id, before[1].id);
    }

    #[test]
    fn a_cluster_that_leaves_retires_its_endpoints() {
        let registry = Registry::new(1);
        let cluster = registry.cluster(&"c".into());
        let endpoints = registry.endpoints(&cluster, &[address(1)]);

        registry.keep(|_| false, |_| true);

        assert!(endpoints[0].retired.load(Ordering::Relaxed));
        assert!(registry.all_clusters().is_empty());
    }
}
