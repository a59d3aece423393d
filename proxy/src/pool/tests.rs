//! The pools over real connections.

use std::net::SocketAddr;

use tidegate_http1::{HeadEdits, RequestHead};
use tokio::net::{TcpListener, TcpStream};

use super::*;

static TERMS: Terms = Terms {
    connect_timeout: Duration::from_secs(1),
    idle: Duration::from_secs(10),
    requests_max: u32::MAX,
    thresholds: THRESHOLDS,
    tls: None,
};

const THRESHOLDS: Thresholds = Thresholds {
    max_connections: 1024,
    max_pending_requests: 1024,
    max_requests: 1024,
    max_retries: 3,
    retry_budget: None,
    max_connections_per_endpoint: None,
    max_requests_per_endpoint: None,
};

fn endpoint(address: SocketAddr) -> Arc<EndpointState> {
    Arc::new(EndpointState::new(1, address, Arc::default()))
}

async fn listen() -> (TcpListener, Arc<EndpointState>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let endpoint = endpoint(listener.local_addr().expect("bound"));
    (listener, endpoint)
}

async fn open(
    pools: &Pools,
    listener: &TcpListener,
    endpoint: &Arc<EndpointState>,
) -> (Box<http1::Connection>, TcpStream) {
    let place = Connected::enter(endpoint, &THRESHOLDS).expect("a place");
    let (connection, accepted) = tokio::join!(pools.open_http1(endpoint, place, &TERMS), listener.accept());
    (connection.expect("opens"), accepted.expect("accepts").0)
}

fn pools() -> Pools {
    Pools::new(0, &Rc::new(Buffers::default()))
}

#[tokio::test]
async fn the_last_connection_in_is_the_first_one_out() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (mut first, _far_first) = open(&pools, &listener, &endpoint).await;
    let (mut second, _far_second) = open(&pools, &listener, &endpoint).await;
    (first.requests, second.requests) = (1, 2);
    let limits = Limits::default();

    pools.give_back(&endpoint, first, TERMS.keeping(), &limits);
    pools.give_back(&endpoint, second, TERMS.keeping(), &limits);

    assert_eq!(pools.take_http1(&endpoint, None, false).map(|taken| taken.requests), Some(2));
    assert_eq!(pools.take_http1(&endpoint, None, false).map(|taken| taken.requests), Some(1));
    assert!(pools.take_http1(&endpoint, None, false).is_none());
}

#[tokio::test]
async fn a_connection_that_its_peer_closed_is_not_given_out() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (connection, far) = open(&pools, &listener, &endpoint).await;
    pools.give_back(&endpoint, connection, TERMS.keeping(), &Limits::default());

    drop(far);
    // The kernel knows as soon as the peer's end has arrived; on loopback that is at once.
    assert!(pools.take_http1(&endpoint, None, true).is_none());
}

#[tokio::test]
async fn a_connection_with_stray_bytes_is_not_given_out() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (connection, far) = open(&pools, &listener, &endpoint).await;
    pools.give_back(&endpoint, connection, TERMS.keeping(), &Limits::default());

    far.writable().await.expect("writable");
    assert_eq!(far.try_write(b"HTTP/1.1 200 OK\r\n\r\n").expect("writes"), 19);

    assert!(pools.take_http1(&endpoint, None, true).is_none());
}

#[tokio::test]
async fn a_connection_that_has_carried_its_share_is_let_go() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (mut connection, _far) = open(&pools, &listener, &endpoint).await;
    let head = RequestHead::builder().authority("a").build(&tidegate_http1::Limits::default()).expect("a head");
    connection.begin(&head, &HeadEdits::new(), None).expect("writable");
    let once = Terms { requests_max: 1, ..TERMS.clone() };

    pools.give_back(&endpoint, connection, once.keeping(), &Limits::default());

    assert!(pools.take_http1(&endpoint, None, false).is_none());
}

#[tokio::test]
async fn connections_to_a_retired_endpoint_are_dropped() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (connection, far) = open(&pools, &listener, &endpoint).await;
    pools.give_back(&endpoint, connection, TERMS.keeping(), &Limits::default());

    endpoint.retired.store(true, Ordering::Relaxed);
    pools.drop_retired();

    far.readable().await.expect("readable");
    assert_eq!(far.try_read(&mut [0; 1]).expect("an end"), 0);
}

#[tokio::test]
async fn what_was_kept_for_an_endpoint_that_had_left_is_swept() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (connection, far) = open(&pools, &listener, &endpoint).await;
    pools.drop_retired();
    pools.give_back(&endpoint, connection, TERMS.keeping(), &Limits::default());
    endpoint.retired.store(true, Ordering::Relaxed);

    pools.sweep(clock::now(), TERMS.idle);

    far.readable().await.expect("readable");
    assert_eq!(far.try_read(&mut [0; 1]).expect("an end"), 0);
}

#[tokio::test]
async fn connections_that_were_idle_for_too_long_are_swept() {
    let pools = pools();
    let (listener, endpoint) = listen().await;
    let (connection, far) = open(&pools, &listener, &endpoint).await;
    pools.give_back(&endpoint, connection, TERMS.keeping(), &Limits::default());

    pools.sweep(clock::now() + TERMS.idle / 2, TERMS.idle);
    assert_eq!(pools.http1.borrow().len(), 1);
    pools.sweep(clock::now() + TERMS.idle * 2, TERMS.idle);

    far.readable().await.expect("readable");
    assert!(pools.http1.borrow().is_empty());
}
