//! The breaker's counts and its queue.

use std::net::SocketAddr;

use tidegate_xds::resource::cluster::RetryBudget;

use super::*;

fn endpoint(id: u64, breaker: &Arc<Breaker>) -> Arc<EndpointState> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Arc::new(EndpointState::new(id, address, Arc::clone(breaker)))
}

fn connections(max: u32) -> Thresholds {
    Thresholds { max_connections: max, max_pending_requests: 2, ..Thresholds::default() }
}

#[test]
fn every_endpoint_may_have_one_connection_whatever_the_cluster_has() {
    let breaker = Arc::default();
    let (a, b) = (endpoint(1, &breaker), endpoint(2, &breaker));
    let thresholds = connections(1);

    let _first = Connected::enter(&a, &thresholds).expect("within the limit");
    assert_eq!(Connected::enter(&a, &thresholds).err(), Some(Tripped::Connections));
    let _second = Connected::enter(&b, &thresholds).expect("the first of its endpoint");

    assert_eq!(Connected::enter(&b, &thresholds).err(), Some(Tripped::Connections));
    assert_eq!(breaker.connections(), 2);
}

#[test]
fn the_limit_of_an_endpoint_is_its_own() {
    let breaker = Arc::default();
    let (a, b) = (endpoint(1, &breaker), endpoint(2, &breaker));
    let thresholds = Thresholds { max_connections_per_endpoint: Some(1), ..Thresholds::default() };

    let first = Connected::enter(&a, &thresholds).expect("within the limit");
    assert_eq!(Connected::enter(&a, &thresholds).err(), Some(Tripped::ConnectionsPerEndpoint));
    let _other = Connected::enter(&b, &thresholds).expect("another endpoint");
    drop(first);

    assert!(Connected::enter(&a, &thresholds).is_ok());
}

#[test]
fn a_limit_of_zero_lets_nothing_through_and_names_itself() {
    let breaker = Arc::default();
    let thresholds = Thresholds { max_pending_requests: 0, max_retries: 0, ..Thresholds::default() };

    assert_eq!(Pending::enter(&breaker, &thresholds, Tripped::Connections).err(), Some(Tripped::Connections));
    assert!(ActiveRetry::within(&breaker, &thresholds).is_none());
    assert_eq!((breaker.trips(Tripped::Connections), breaker.trips(Tripped::Retries)), (1, 1));
}

#[test]
fn the_budget_of_retries_grows_with_the_requests_in_flight() {
    let breaker: Arc<Breaker> = Arc::default();
    let budget = Some(RetryBudget { percent: 20.0, min_concurrency: 3 });
    let thresholds = Thresholds { max_retries: 0, retry_budget: budget, ..Thresholds::default() };
    let enter = || ActiveRetry::within(&breaker, &thresholds);

    let few: Vec<_> = std::iter::from_fn(enter).collect();
    breaker.requests.store(100, Ordering::Relaxed);
    let more: Vec<_> = std::iter::from_fn(enter).collect();

    assert_eq!((few.len(), more.len()), (3, 17));
}

#[test]
fn a_connection_that_comes_back_goes_to_a_waiter_that_can_use_it_or_makes_room() {
    let breaker: Arc<Breaker> = Arc::default();
    let thresholds = connections(1);
    let mut waiting = Pending::enter(&breaker, &thresholds, Tripped::Connections).expect("a place");

    assert!(matches!(breaker.hand_over(0, 7), HandOver::Keep), "nobody is in the queue");
    waiting.queue(0, 7, false);
    assert!(matches!(breaker.hand_over(1, 7), HandOver::Close), "another worker");
    assert!(matches!(breaker.hand_over(0, 8), HandOver::Close), "another endpoint");

    assert!(matches!(breaker.hand_over(0, 7), HandOver::Tell(_)));
}

#[test]
fn the_first_in_the_queue_is_not_passed_over_for_ever() {
    let breaker: Arc<Breaker> = Arc::default();
    let thresholds = Thresholds::default();
    let mut waiters: Vec<_> =
        (0..20).map(|_| Pending::enter(&breaker, &thresholds, Tripped::Connections).expect("a place")).collect();
    for (index, waiter) in waiters.iter_mut().enumerate() {
        waiter.queue(usize::from(index > 0), 1, false);
    }

    let handed = (0..20).take_while(|_| matches!(breaker.hand_over(1, 1), HandOver::Tell(_))).count();

    assert_eq!(handed, 8);
}

#[tokio::test]
async fn a_place_that_comes_free_wakes_the_first_and_one_who_leaves_passes_it_on() {
    let breaker = Arc::default();
    let endpoint = endpoint(1, &breaker);
    let thresholds = connections(1);
    let held = Connected::enter(&endpoint, &thresholds).expect("within the limit");
    let mut first = Pending::enter(&breaker, &thresholds, Tripped::Connections).expect("a place");
    let mut second = Pending::enter(&breaker, &thresholds, Tripped::Connections).expect("a place");
    assert_eq!(Pending::enter(&breaker, &thresholds, Tripped::Connections).err(), Some(Tripped::PendingRequests));
    first.queue(0, 1, false);
    second.queue(1, 1, false);

    drop(held);
    drop(first);
    second.woken().await;

    assert!(Connected::enter(&endpoint, &thresholds).is_ok());
    assert_eq!(breaker.pending(), 1);
}
