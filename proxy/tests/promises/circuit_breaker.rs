//! Circuit breakers: exact for the whole proxy, bounded queues, and a refusal that says which limit it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proxy::{Options, Proxy};
use tidegate_xds::resource::cluster::{
    RetryBudget, Thresholds,
    UpstreamProtocol::{Http1, Http2},
};
use tidegate_xds::resource::route::{RetryOn, RetryPolicy};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::backend::{Switchable, counted, scripted};
use crate::client::{Client, get, seen};
use crate::resources::{all_to, cluster, http_listener, inline, of_cluster, of_listener, proxy_with, start_with};

/// Answers one request for each permit that the test gives.
async fn slow() -> (SocketAddr, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let given = Arc::clone(&permits);
    let address = scripted(move |mut connection| {
        let given = Arc::clone(&given);
        async move {
            loop {
                connection.head().await;
                given.acquire().await.expect("open").forget();
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    (address, permits)
}

async fn in_front_of(endpoints: &[SocketAddr], thresholds: Thresholds) -> (Proxy, SocketAddr) {
    let mut limited = cluster("backend", Http1, endpoints);
    limited.circuit_breakers = thresholds;
    proxy_with(vec![of_cluster(limited), of_listener(http_listener("in", inline(all_to("r", "backend"))))]).await
}

async fn asking(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client
}

#[tokio::test]
async fn with_one_connection_and_one_place_to_wait_the_third_request_is_refused_at_once() {
    let (backend, permits) = slow().await;
    let thresholds = Thresholds { max_connections: 1, max_pending_requests: 1, ..Thresholds::default() };
    let (proxy, address) = in_front_of(&[backend], thresholds).await;
    let mut first = asking(address).await;
    seen(&proxy, "backend::cx_active::1").await;
    let mut second = asking(address).await;
    seen(&proxy, "backend::rq_pending::1").await;
    let mut third = Client::connect(address).await;

    // The machine may be busy with something else for a moment, but not ten times.
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        let refused = third.get("/").await;
        fastest = fastest.min(began.elapsed());
        assert_eq!(refused.status, 503);
        assert!(refused.head.contains("overflow{max_pending_requests}"), "{}", refused.head);
    }

    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
    permits.add_permits(2);
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 200));
    seen(&proxy, "backend::rq_pending::0").await;
    seen(&proxy, "backend::overflow::max_pending_requests::10").await;
}

#[tokio::test]
async fn a_hundred_callers_share_three_connections_and_none_is_lost() {
    let (backend, opened) = counted("one").await;
    let thresholds = Thresholds { max_connections: 3, ..Thresholds::default() };
    let (proxy, address) = in_front_of(&[backend], thresholds).await;

    let callers: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for _ in 0..10 {
                    assert_eq!(client.get("/").await.text(), "one GET / ");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("every answer");
    }

    // Places move between the two workers, so connections are replaced, but most requests use one that is open.
    let opened = opened.load(std::sync::atomic::Ordering::SeqCst);
    assert!(opened < 700, "{opened} connections for 1000 requests");
    let admin = proxy.admin_address().expect("admin");
    let page = get(admin, "/clusters").await;
    let open = page.text().lines().find_map(|line| line.strip_prefix("backend::cx_active::")).map(str::to_owned);
    assert!(open.and_then(|open| open.parse::<u32>().ok()).is_some_and(|open| open <= 3), "{}", page.text());
}

#[tokio::test]
async fn an_idle_connection_of_another_worker_does_not_keep_a_request_waiting() {
    let (backend, _) = counted("one").await;
    let thresholds = Thresholds { max_connections: 1, ..Thresholds::default() };
    let (_proxy, address) = in_front_of(&[backend], thresholds).await;
    // Two connections land on two workers.
    let (mut one, mut other) = (Client::connect(address).await, Client::connect(address).await);

    for _ in 0..20 {
        assert_eq!((one.get("/").await.status, other.get("/").await.status), (200, 200));
    }
}

#[tokio::test]
async fn a_limit_of_requests_for_each_endpoint_leaves_the_rest_to_the_others_and_then_refuses() {
    let (one, permits_one) = slow().await;
    let (two, permits_two) = slow().await;
    let thresholds = Thresholds { max_requests_per_endpoint: Some(1), ..Thresholds::default() };
    let (proxy, address) = in_front_of(&[one, two], thresholds).await;
    let mut first = asking(address).await;
    seen(&proxy, "backend::cx_active::1").await;
    let mut second = asking(address).await;
    seen(&proxy, "backend::cx_active::2").await;
    seen(&proxy, &format!("backend::{one}::rq_active::1")).await;
    seen(&proxy, &format!("backend::{two}::rq_active::1")).await;

    let refused = get(address, "/").await;

    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("overflow{max_requests_per_endpoint}"), "{}", refused.head);
    permits_one.add_permits(1);
    permits_two.add_permits(1);
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 200));
}

#[tokio::test]
async fn a_waiting_request_ends_with_its_routes_limit() {
    let (backend, _permits) = slow().await;
    let mut limited = cluster("backend", Http1, &[backend]);
    limited.circuit_breakers = Thresholds { max_connections: 1, ..Thresholds::default() };
    let mut forward = crate::resources::forward("backend");
    forward.timeout = Some(Duration::from_millis(100));
    let action = tidegate_xds::resource::route::RouteAction::Forward(Box::new(forward));
    let routes = crate::resources::routes("r", vec![crate::resources::route("/", action)]);
    let (proxy, address) =
        proxy_with(vec![of_cluster(limited), of_listener(http_listener("in", inline(routes)))]).await;
    let mut first = asking(address).await;
    seen(&proxy, "backend::cx_active::1").await;

    let waited = get(address, "/").await;

    assert_eq!((waited.status, first.answer().await.status), (504, 504));
    seen(&proxy, "backend::rq_pending::0").await;
}

/// An HTTP/2 server that takes one stream at a time and answers one request for each permit.
async fn one_stream_at_a_time() -> (SocketAddr, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let given = Arc::clone(&permits);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let given = Arc::clone(&given);
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(1);
                let handshake = builder.handshake::<_, bytes::Bytes>(stream);
                let mut connection = handshake.await.expect("an HTTP/2 client");
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let given = Arc::clone(&given);
                    tokio::spawn(async move {
                        given.acquire().await.expect("open").forget();
                        drop(respond.send_response(http::Response::new(()), true));
                    });
                }
            });
        }
    });
    (address, permits)
}

#[tokio::test]
async fn streams_above_the_endpoints_limit_wait_within_the_clusters_bound() {
    let (backend, permits) = one_stream_at_a_time().await;
    let mut limited = cluster("backend", Http2, &[backend]);
    limited.circuit_breakers = Thresholds { max_connections: 1, max_pending_requests: 1, ..Thresholds::default() };
    let resources = vec![of_cluster(limited), of_listener(http_listener("in", inline(all_to("r", "backend"))))];
    // One worker, for each may have a connection of its own.
    let options = Options { workers: std::num::NonZeroUsize::new(1), ..crate::resources::options() };
    let (proxy, address) = start_with(options, resources).await;
    // From here on the proxy knows how many streams the endpoint takes.
    permits.add_permits(1);
    assert_eq!(get(address, "/").await.status, 200);
    let mut first = asking(address).await;
    seen(&proxy, "backend::rq_active::1").await;
    let mut second = asking(address).await;
    seen(&proxy, "backend::rq_pending::1").await;

    let refused = get(address, "/").await;

    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("overflow{max_pending_requests}"), "{}", refused.head);
    permits.add_permits(2);
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 200));
    seen(&proxy, "backend::rq_pending::0").await;
    seen(&proxy, "backend::cx_active::1").await;
}

#[tokio::test]
async fn a_storm_of_retries_is_kept_within_its_budget() {
    let failing = Switchable::start("failing").await;
    failing.answer(503);
    let mut limited = cluster("backend", Http1, &[failing.address]);
    let budget = RetryBudget { percent: 20.0, min_concurrency: 0 };
    limited.circuit_breakers = Thresholds { retry_budget: Some(budget), ..Thresholds::default() };
    let mut forward = crate::resources::forward("backend");
    forward.retry = Some(RetryPolicy {
        retry_on: vec![RetryOn::FiveXx],
        num_retries: 10,
        back_off_base: Duration::from_millis(20),
        back_off_max: Duration::from_millis(20),
        ..RetryPolicy::default()
    });
    let action = tidegate_xds::resource::route::RouteAction::Forward(Box::new(forward));
    let routes = crate::resources::routes("r", vec![crate::resources::route("/", action)]);
    let (_proxy, address) =
        proxy_with(vec![of_cluster(limited), of_listener(http_listener("in", inline(routes)))]).await;

    let callers: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for _ in 0..20 {
                    assert_eq!(client.get("/").await.status, 503);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("every answer");
    }

    // Without a budget there would be 11,000. A retry holds its place while it pauses, so there are fewer than a fifth.
    let attempts = failing.requests();
    assert!((1_001..=1_200).contains(&attempts), "{attempts} attempts for 1000 requests");
}
