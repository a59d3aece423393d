//! Retries as a route's policy asks for them, and what is never sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_xds::resource::cluster::UpstreamProtocol::{Http1, Http2};
use tidegate_xds::resource::cluster::{RetryBudget, Thresholds};
use tidegate_xds::resource::matcher::{HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::{RetryOn, RetryPolicy, Route, RouteAction};
use tokio::time::Instant;

use crate::backend::{Scripted, scripted};
use crate::client::{Client, get};
use crate::resources::{cluster, forward, http_listener, inline, of_cluster, of_listener, proxy_with, route, routes};

fn policy(retry_on: &[RetryOn]) -> RetryPolicy {
    RetryPolicy {
        retry_on: retry_on.to_vec(),
        num_retries: 3,
        back_off_base: Duration::from_millis(1),
        back_off_max: Duration::from_millis(5),
        ..RetryPolicy::default()
    }
}

fn route_with(retry: RetryPolicy) -> Route {
    let mut forward = forward("backend");
    forward.retry = Some(retry);
    route("/", RouteAction::Forward(Box::new(forward)))
}

/// A backend that runs the answer with the number of the request, and the number of requests it has seen.
async fn numbered<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(usize, Scripted, String) -> F + Clone + Send + Sync + 'static,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let backend = scripted(move |mut connection| {
        let (counter, answer) = (Arc::clone(&counter), answer.clone());
        async move {
            let head = connection.head().await;
            let number = counter.fetch_add(1, Ordering::SeqCst);
            answer(number, connection, head).await;
        }
    });
    (backend.await, seen)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nnope";

async fn proxy(retry: RetryPolicy, backend: std::net::SocketAddr) -> (tidegate_proxy::Proxy, std::net::SocketAddr) {
    proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(http_listener("in", inline(routes("r", vec![route_with(retry)])))),
    ])
    .await
}

#[tokio::test]
async fn an_answer_that_the_policy_names_is_tried_again_until_it_is_good() {
    // All on one connection: what is given up is read, so that the connection can be kept.
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let backend = scripted(move |mut connection| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            connection.head().await;
            connection.say(UNAVAILABLE).await;
            connection.head().await;
            connection.say(UNAVAILABLE).await;
            connection.head().await;
            connection.say(OK).await;
        }
    })
    .await;
    let (_proxy, address) = proxy(policy(&[RetryOn::FiveXx]), backend).await;

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.text()), (200, "ok"));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn when_all_attempts_are_spent_the_last_answer_is_the_callers() {
    let (backend, seen) = numbered(|_, mut connection, _| async move { connection.say(UNAVAILABLE).await }).await;
    let (proxy, address) = proxy(policy(&[RetryOn::FiveXx]), backend).await;

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.text()), (503, "nope"));
    assert_eq!(seen.load(Ordering::SeqCst), 4);
    let metrics = get(proxy.admin_address().expect("admin"), "/stats/prometheus").await;
    assert!(metrics.text().contains("tidegate_rejections_total{flag=\"URX\"} 1\n"), "{}", metrics.text());
}

#[tokio::test]
async fn a_body_is_sent_again_from_its_first_byte() {
    for (framing, body) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")]
    {
        let (backend, _) = numbered(move |number, mut connection, _| async move {
            assert_eq!(connection.bytes(body.len()).await, body.as_bytes());
            connection.say(if number < 2 { UNAVAILABLE } else { OK }).await;
        })
        .await;
        let (_proxy, address) = proxy(policy(&[RetryOn::GatewayError]), backend).await;
        let mut client = Client::connect(address).await;

        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}")).await;

        assert_eq!(client.answer().await.text(), "ok", "{framing}");
    }
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_sent_once() {
    const LENGTH: usize = 200 * 1024;
    let (backend, seen) = numbered(|_, mut connection, _| async move {
        connection.bytes(LENGTH).await;
        connection.say(UNAVAILABLE).await;
    })
    .await;
    let (_proxy, address) = proxy(policy(&[RetryOn::FiveXx]), backend).await;
    let mut client = Client::connect(address).await;

    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    client.send(vec![b'x'; LENGTH]).await;

    assert_eq!(client.answer().await.status, 503);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn methods_that_the_policy_leaves_out_are_sent_once() {
    let (backend, seen) = numbered(|_, mut connection, _| async move {
        connection.bytes(5).await;
        // The request was read, and the connection ends without an answer.
    })
    .await;
    let only_get = HeaderMatcher {
        name: ":method".into(),
        condition: HeaderCondition::Value(StringMatcher::Exact { value: "GET".into(), ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    };
    let retry = RetryPolicy { retriable_request_headers: vec![only_get], ..policy(&[RetryOn::Reset]) };
    let (_proxy, address) = proxy(retry, backend).await;
    let mut client = Client::connect(address).await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nmoney").await;

    assert_eq!(client.answer().await.status, 503);
    assert_eq!(seen.load(Ordering::SeqCst), 1, "a payment is made once");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_gives_way_to_the_next() {
    let (backend, seen) = numbered(|number, mut connection, _| async move {
        if number == 0 {
            connection.ended().await;
        } else {
            connection.say(OK).await;
        }
    })
    .await;
    let retry = RetryPolicy { per_try_timeout: Some(Duration::from_millis(100)), ..policy(&[RetryOn::GatewayError]) };
    let (_proxy, address) = proxy(retry, backend).await;

    let answer = get(address, "/").await;

    assert_eq!((answer.text(), seen.load(Ordering::SeqCst)), ("ok", 2));
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_without_another_is_a_504() {
    let (backend, _) = numbered(|_, mut connection, _| async move { assert!(connection.ended().await) }).await;
    let retry =
        RetryPolicy { num_retries: 1, per_try_timeout: Some(Duration::from_millis(50)), ..policy(&[RetryOn::FiveXx]) };
    let (_proxy, address) = proxy(retry, backend).await;
    let started = Instant::now();

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.text()), (504, "upstream request timeout"));
    assert_eq!(answer.field("x-mesh-error"), Some("UT,URX; details=upstream_per_try_timeout"));
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn the_limit_of_an_attempt_ends_with_it_and_not_the_callers_connection() {
    const LIMIT: Duration = Duration::from_millis(50);
    let (backend, _) = numbered(|number, mut connection, _| async move {
        // The first connections end without an answer.
        if number > 1 {
            connection.say(OK).await;
        }
    })
    .await;
    let retry = RetryPolicy { num_retries: 1, per_try_timeout: Some(LIMIT), ..policy(&[RetryOn::Reset]) };
    let (_proxy, address) = proxy(retry, backend).await;
    let mut client = Client::connect(address).await;

    let refused = client.get("/").await;
    client.quiet_for(5 * LIMIT).await;
    let served = client.get("/").await;

    let why = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination";
    assert_eq!((refused.status, refused.text()), (503, why));
    assert_eq!((served.status, served.text()), (200, "ok"));
}

#[tokio::test]
async fn the_routes_limit_holds_for_all_attempts_together() {
    let (backend, _) = numbered(|_, mut connection, _| async move { connection.say(UNAVAILABLE).await }).await;
    let retry = RetryPolicy {
        num_retries: 1_000,
        back_off_base: Duration::from_millis(50),
        back_off_max: Duration::from_millis(50),
        ..policy(&[RetryOn::FiveXx])
    };
    let mut route = route_with(retry);
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.timeout = Some(Duration::from_millis(300));
    }
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(http_listener("in", inline(routes("r", vec![route])))),
    ])
    .await;
    let started = Instant::now();

    let answer = get(address, "/").await;

    assert_eq!(answer.status, 504);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn a_budget_that_is_spent_passes_the_answer_on() {
    let (backend, seen) = numbered(|_, mut connection, _| async move { connection.say(UNAVAILABLE).await }).await;
    let mut tight = cluster("backend", Http1, &[backend]);
    tight.circuit_breakers =
        Thresholds { retry_budget: Some(RetryBudget { percent: 0.0, min_concurrency: 0 }), ..Thresholds::default() };
    let (_proxy, address) = proxy_with(vec![
        of_cluster(tight),
        of_listener(http_listener("in", inline(routes("r", vec![route_with(policy(&[RetryOn::FiveXx]))])))),
    ])
    .await;

    assert_eq!(get(address, "/").await.status, 503);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_over_http2_is_tried_again_too() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let backend = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("an HTTP/2 client");
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let number = counter.fetch_add(1, Ordering::SeqCst);
                    let status = if number < 2 { 503 } else { 204 };
                    let response = http::Response::builder().status(status).body(()).expect("a response");
                    drop(respond.send_response(response, true));
                }
            });
        }
    });
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http2, &[backend])),
        of_listener(http_listener("in", inline(routes("r", vec![route_with(policy(&[RetryOn::FiveXx]))])))),
    ])
    .await;

    assert_eq!(get(address, "/").await.status, 204);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_caller_at_the_edge_cannot_ask_for_retries() {
    let (backend, seen) = numbered(|_, mut connection, head| async move {
        assert!(!head.to_ascii_lowercase().contains("x-envoy-"), "{head}");
        connection.say(UNAVAILABLE).await;
    })
    .await;
    for (edge, attempts) in [(false, 3), (true, 1)] {
        seen.store(0, Ordering::SeqCst);
        let mut listener = crate::resources::manager(inline(crate::resources::all_to("r", "backend")));
        listener.use_remote_address = edge;
        let (_proxy, address) = proxy_with(vec![
            of_cluster(cluster("backend", Http1, &[backend])),
            of_listener(crate::resources::listener_with(
                "in",
                tidegate_xds::resource::listener::NetworkFilter::Http(Box::new(listener)),
            )),
        ])
        .await;
        let mut client = Client::connect(address).await;

        client.send("GET / HTTP/1.1\r\nHost: a\r\nx-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 2\r\n\r\n").await;

        assert_eq!(client.answer().await.status, 503);
        assert_eq!(seen.load(Ordering::SeqCst), attempts, "edge: {edge}");
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_tried_again() {
    let (backend, seen) = numbered(|_, mut connection, _| async move {
        connection.say("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        connection.say(UNAVAILABLE).await;
    })
    .await;
    let (_proxy, address) = proxy(policy(&[RetryOn::FiveXx]), backend).await;
    let mut client = Client::connect(address).await;

    assert_eq!(client.get("/").await.status, 103);
    assert_eq!(client.answer().await.status, 503);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}
