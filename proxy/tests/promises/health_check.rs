//! Active health checks: an endpoint that says that it is not well gets nothing, until it says otherwise.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tidegate_proxy::Proxy;
use tidegate_xds::resource::cluster::{
    Cluster, HealthCheck, HealthCheckKind, HttpHealthCheck, UpstreamProtocol, UpstreamProtocol::Http1,
};
use tidegate_xds::resource::route::HeaderMutations;
use tokio::net::TcpListener;

use crate::backend::{Switchable, echo, scripted};
use crate::client::{Client, get, seen};
use crate::resources::{all_to, cluster, http_listener, inline, of_cluster, of_listener, proxy_with};

fn check(kind: HealthCheckKind) -> HealthCheck {
    HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_millis(20),
        interval_jitter: Duration::ZERO,
        no_traffic_interval: Duration::from_millis(20),
        unhealthy_interval: Duration::from_millis(20),
        unhealthy_threshold: NonZeroU32::new(2).expect("two"),
        healthy_threshold: NonZeroU32::new(2).expect("two"),
        alt_port: None,
        kind,
    }
}

fn http(path: &str) -> HealthCheckKind {
    HealthCheckKind::Http(Box::new(HttpHealthCheck {
        host: "".into(),
        path: path.into(),
        method: "GET".into(),
        expected_statuses: Vec::new(),
        retriable_statuses: Vec::new(),
        request_headers: HeaderMutations::default(),
        http2: false,
    }))
}

fn checked(endpoints: &[SocketAddr], check: HealthCheck) -> Cluster {
    let mut checked = cluster("backend", Http1, endpoints);
    checked.health_checks = vec![check];
    checked
}

async fn in_front_of(cluster: Cluster) -> (Proxy, SocketAddr) {
    proxy_with(vec![of_cluster(cluster), of_listener(http_listener("in", inline(all_to("r", "backend"))))]).await
}

#[tokio::test]
async fn an_endpoint_whose_http_check_fails_gets_nothing_until_it_passes() {
    let (steady, moody) = (Switchable::start("steady").await, Switchable::start("moody").await);
    let (proxy, address) = in_front_of(checked(&[steady.address, moody.address], check(http("/health")))).await;
    let mut client = Client::connect(address).await;
    let mut both = [false; 2];
    for _ in 0..20 {
        both[usize::from(client.get("/").await.text() == "moody")] = true;
    }
    assert_eq!(both, [true; 2], "both serve");

    moody.answer(503);
    seen(&proxy, &format!("backend::{}::check::Unhealthy::status 503", moody.address)).await;
    seen(&proxy, &format!("backend::{}::usable::false", moody.address)).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "steady");
    }
    moody.answer(200);
    seen(&proxy, &format!("backend::{}::check::Healthy", moody.address)).await;
    seen(&proxy, &format!("backend::{}::usable::true", moody.address)).await;

    while client.get("/").await.text() != "moody" {}
}

#[tokio::test]
async fn a_cluster_is_used_after_its_first_round_of_checks() {
    let (good, bad) = (Switchable::start("good").await, Switchable::start("bad").await);
    bad.answer(500);
    let (_proxy, address) = in_front_of(checked(&[good.address, bad.address], check(http("/")))).await;

    // The very first requests.
    let mut client = Client::connect(address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "good");
    }
}

#[tokio::test]
async fn a_new_endpoint_waits_for_its_first_check() {
    let (good, bad) = (Switchable::start("good").await, Switchable::start("bad").await);
    bad.answer(500);
    let (proxy, address) = in_front_of(checked(&[good.address], check(http("/")))).await;
    let mut client = Client::connect(address).await;

    assert_eq!(proxy.apply([of_cluster(checked(&[good.address, bad.address], check(http("/"))))]).await, Vec::new());
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "good");
    }
    seen(&proxy, &format!("backend::{}::check::Unhealthy", bad.address)).await;

    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "good");
    }
}

/// Serves `grpc.health.v1.Health/Check` with the status that the test sets.
async fn grpc_health(status: Arc<AtomicU8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let status = Arc::clone(&status);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("an HTTP/2 client");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let now = status.load(Ordering::SeqCst);
                    let response = Response::builder().header("content-type", "application/grpc").body(());
                    let mut out = respond.send_response(response.expect("a head"), false).expect("answers");
                    let message = if request.uri().path() == "/grpc.health.v1.Health/Check" {
                        assert_eq!(request.headers()["te"], "trailers");
                        let mut body = request.into_body();
                        let asked = body.data().await.expect("a message").expect("whole");
                        assert_eq!(&asked[5..], b"\x0a\x07reviews");
                        vec![0, 0, 0, 0, 2, 8, now]
                    } else {
                        Vec::new()
                    };
                    out.send_data(Bytes::from(message), false).expect("sends");
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    out.send_trailers(trailers).expect("sends");
                }
                Ok::<_, Infallible>(())
            });
        }
    });
    address
}

#[tokio::test]
async fn an_endpoint_that_says_not_serving_over_grpc_gets_nothing_until_it_serves() {
    let status = Arc::new(AtomicU8::new(1));
    let backend = grpc_health(Arc::clone(&status)).await;
    let kind = HealthCheckKind::Grpc { service: "reviews".into(), authority: "".into() };
    let mut checked = checked(&[backend], check(kind));
    checked.protocol = UpstreamProtocol::Http2;
    checked.panic_threshold_percent = 0;
    let (proxy, address) = in_front_of(checked).await;
    assert_eq!(get(address, "/any").await.status, 200);

    status.store(2, Ordering::SeqCst);
    seen(&proxy, &format!("backend::{backend}::check::Unhealthy::serving status 2")).await;
    seen(&proxy, &format!("backend::{backend}::usable::false")).await;
    assert_eq!(get(address, "/any").await.status, 503);
    status.store(1, Ordering::SeqCst);
    seen(&proxy, &format!("backend::{backend}::usable::true")).await;

    assert_eq!(get(address, "/any").await.status, 200);
}

#[tokio::test]
async fn a_tcp_check_wants_its_bytes_in_order() {
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let checker = scripted(move |mut connection| {
        let asked = Arc::clone(&asked);
        async move {
            if connection.bytes(4).await == b"PING" {
                connection.say(if asked.load(Ordering::SeqCst) { "..+..PONG" } else { "PONG+" }).await;
            }
        }
    })
    .await;
    let served = echo("served").await;
    let mut by_port =
        check(HealthCheckKind::Tcp { send: Arc::from(*b"PING"), receive: vec![Arc::from(*b"+"), Arc::from(*b"PONG")] });
    by_port.alt_port = Some(checker.port());
    let mut checked = checked(&[served], by_port);
    checked.panic_threshold_percent = 0;
    let (proxy, address) = in_front_of(checked).await;
    assert_eq!(get(address, "/").await.status, 200);

    well.store(false, Ordering::SeqCst);
    seen(&proxy, &format!("backend::{served}::usable::false")).await;
    assert_eq!(get(address, "/").await.status, 503);
    well.store(true, Ordering::SeqCst);
    seen(&proxy, &format!("backend::{served}::usable::true")).await;

    assert_eq!(get(address, "/").await.status, 200);
}
