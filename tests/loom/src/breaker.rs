//! The counts of a circuit breaker.

use tidegate_traffic::circuit_breaker::Tripped;
use tidegate_xds::resource::cluster::{Cluster, Discovery, Thresholds};

use crate::balance::circuit_breaker::{Admitted, Breaker, Connected, Pending};
use crate::explore;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, Ordering};

/// As much of an endpoint as the breaker touches.
#[derive(Debug)]
pub(crate) struct EndpointState {
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) in_flight: AtomicU32,
    pub(crate) connections: AtomicU32,
}

/// The same of a cluster.
#[derive(Debug)]
pub(crate) struct ActiveCluster {
    pub(crate) config: Arc<Cluster>,
    pub(crate) state: Arc<ClusterState>,
}

#[derive(Debug)]
pub(crate) struct ClusterState {
    pub(crate) breaker: Arc<Breaker>,
}

fn thresholds(max: u32) -> Thresholds {
    Thresholds { max_requests: max, max_connections: max, ..Thresholds::default() }
}

fn cluster(max: u32) -> Arc<ActiveCluster> {
    let config =
        Cluster { circuit_breakers: thresholds(max), ..Cluster::new("c".into(), Discovery::Static(Vec::new())) };
    Arc::new(ActiveCluster { config: Arc::new(config), state: Arc::new(ClusterState { breaker: Arc::default() }) })
}

/// Three requests where one may be: never are there two, and afterwards there is none.
pub fn a_limit_is_never_exceeded_and_every_place_comes_back() {
    explore(|| {
        let cluster = cluster(1);
        let inside = Arc::new(AtomicU32::new(0));
        let request = |cluster: &Arc<ActiveCluster>, inside: &Arc<AtomicU32>| {
            let (cluster, inside) = (Arc::clone(cluster), Arc::clone(inside));
            move || {
                if let Ok(admitted) = Admitted::enter(&cluster) {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two requests where one may be");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(admitted);
                }
            }
        };

        let others = [request(&cluster, &inside), request(&cluster, &inside)].map(loom::thread::spawn);
        request(&cluster, &inside)();
        for other in others {
            other.join().expect("the thread ended");
        }

        assert_eq!(cluster.state.breaker.requests(), 0);
    });
}

/// Two endpoints of a cluster with one connection, and three who want one: nobody's endpoint is left without, and all places
/// come back. The cluster's limit may be passed by one for each endpoint: its count and an endpoint's are two words.
pub fn every_endpoint_has_a_connection_and_every_place_comes_back() {
    explore(|| {
        let breaker: Arc<Breaker> = Arc::default();
        let endpoint = || {
            let (in_flight, connections) = (AtomicU32::new(0), AtomicU32::new(0));
            Arc::new(EndpointState { breaker: Arc::clone(&breaker), in_flight, connections })
        };
        let (busy, other) = (endpoint(), endpoint());
        let connect = |endpoint: &Arc<EndpointState>| {
            let endpoint = Arc::clone(endpoint);
            move || Connected::enter(&endpoint, &thresholds(1)).ok()
        };

        let threads = [connect(&busy), connect(&busy)].map(loom::thread::spawn);
        let alone = Connected::enter(&other, &thresholds(1));
        let places = threads.map(|thread| thread.join().expect("the thread ended"));

        assert!(alone.is_ok(), "an endpoint that nobody can reach");
        assert!((1..=2).contains(&places.iter().flatten().count()), "{places:?}");
        assert!(breaker.connections() <= 3, "more than one, and one for each endpoint");
        drop((alone, places));
        assert_eq!(breaker.connections(), 0);
        assert_eq!(busy.connections.load(Ordering::Relaxed) + other.connections.load(Ordering::Relaxed), 0);
    });
}

/// An endpoint of a cluster with one connection, which is taken.
fn taken() -> (Arc<EndpointState>, Connected) {
    let breaker: Arc<Breaker> = Arc::default();
    let (in_flight, connections) = (AtomicU32::new(0), AtomicU32::new(0));
    let endpoint = Arc::new(EndpointState { breaker, in_flight, connections });
    let place = Connected::enter(&endpoint, &thresholds(1)).expect("the first");
    (endpoint, place)
}

/// What a request does that waits, up to the wait: its place in the queue, and a look for itself. `Ok`: it has a connection.
fn wait_for(endpoint: &Arc<EndpointState>, max: u32) -> Result<Connected, Pending> {
    let mut pending = Pending::enter(&endpoint.breaker, &thresholds(2), Tripped::Connections).expect("two may wait");
    pending.queue(0, 1, false);
    Connected::enter(endpoint, &thresholds(max)).map_err(|_| pending)
}

/// Whether a wait would end now.
fn is_woken(pending: &mut Pending) -> bool {
    let mut wait = crate::real::pin::pin!(pending.woken());
    let waker = crate::real::task::Waker::noop();
    wait.as_mut().poll(&mut crate::real::task::Context::from_waker(waker)).is_ready()
}

/// A request for one endpoint looks for a connection while one of another endpoint goes: it finds the place, or is told of it. The
/// two have nothing in common but the counts of the cluster.
pub fn a_waiter_and_a_place_that_comes_free_do_not_miss_each_other() {
    explore(|| {
        let (elsewhere, place) = taken();
        let (in_flight, connections) = (AtomicU32::new(0), AtomicU32::new(0));
        let endpoint = Arc::new(EndpointState { breaker: Arc::clone(&elsewhere.breaker), in_flight, connections });
        let busy = Connected::enter(&endpoint, &thresholds(2)).expect("the second");
        let waiter = {
            let endpoint = Arc::clone(&endpoint);
            loom::thread::spawn(move || wait_for(&endpoint, 2))
        };
        drop(place);

        let waited = waiter.join().expect("the thread ended");

        if let Err(mut pending) = waited {
            assert!(is_woken(&mut pending), "it would wait for a place that is free");
        }
        drop(busy);
    });
}

/// Of two that wait, the one that is told gives up at that moment: the other one is told, or finds the place itself.
pub fn a_wake_that_nobody_takes_is_passed_on() {
    explore(|| {
        let (endpoint, place) = taken();
        let impatient = wait_for(&endpoint, 1).expect_err("there is no place");
        let mut patient = wait_for(&endpoint, 1).expect_err("there is no place");
        let leaver = loom::thread::spawn(move || drop(impatient));
        drop(place);

        leaver.join().expect("the thread ended");

        assert!(is_woken(&mut patient), "the place is free, and nobody who waits knows");
    });
}
