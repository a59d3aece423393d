//! Outlier detection: exactly the failing endpoint goes, for its time, and comes back by way of one request.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use tidegate_proxy::Proxy;
use tidegate_xds::resource::cluster::{OutlierDetection, UpstreamProtocol::Http1};
use tokio::time::Instant;

use crate::backend::{Switchable, nobody};
use crate::client::{Client, get, seen};
use crate::resources::{all_to, cluster, http_listener, inline, of_cluster, of_listener, proxy_with};

/// Three failures in a row, and times that a test can wait for.
fn strict() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: NonZeroU32::new(3),
        interval: Duration::from_millis(50),
        base_ejection_time: Duration::from_millis(300),
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    }
}

async fn in_front_of(endpoints: &[SocketAddr], outlier: OutlierDetection) -> (Proxy, SocketAddr) {
    let mut watched = cluster("backend", Http1, endpoints);
    watched.outlier_detection = Some(outlier);
    proxy_with(vec![of_cluster(watched), of_listener(http_listener("in", inline(all_to("r", "backend"))))]).await
}

/// Asks until an endpoint is out.
async fn until_ejected(proxy: &Proxy, client: &mut Client, endpoint: SocketAddr) {
    let admin = proxy.admin_address().expect("admin");
    let ejected = format!("backend::{endpoint}::ejected::");
    while !get(admin, "/clusters").await.text().lines().any(|line| line.starts_with(&ejected)) {
        client.get("/").await;
    }
}

#[tokio::test]
async fn exactly_the_failing_endpoint_is_ejected_for_its_time() {
    let (good, bad) = (Switchable::start("good").await, Switchable::start("bad").await);
    let (proxy, address) = in_front_of(&[good.address, bad.address], strict()).await;
    let mut client = Client::connect(address).await;

    bad.answer(500);
    let before = Instant::now();
    until_ejected(&proxy, &mut client, bad.address).await;
    assert_eq!(bad.requests(), 3);
    bad.answer(200);
    while bad.requests() == 3 {
        assert_eq!(client.get("/").await.text(), if bad.requests() == 3 { "good" } else { "bad" });
    }

    assert!(before.elapsed() >= Duration::from_millis(300), "{:?}", before.elapsed());
    seen(&proxy, "backend::outlier::ejections_total::CONSECUTIVE_5XX::1").await;
    seen(&proxy, "backend::outlier::ejections_active::0").await;
    let page = get(proxy.admin_address().expect("admin"), "/clusters").await;
    assert_eq!(page.text().matches("::ejections::").count(), 1, "{}", page.text());
}

#[tokio::test]
async fn an_endpoint_that_fails_its_first_request_after_an_ejection_goes_at_once_and_for_longer() {
    let (good, bad) = (Switchable::start("good").await, Switchable::start("bad").await);
    let (proxy, address) = in_front_of(&[good.address, bad.address], strict()).await;
    let mut client = Client::connect(address).await;
    bad.answer(500);
    let before = Instant::now();
    until_ejected(&proxy, &mut client, bad.address).await;

    while bad.requests() == 3 {
        client.get("/").await;
    }
    seen(&proxy, "backend::outlier::ejections_total::PROBE_FAILED::1").await;
    assert_eq!(bad.requests(), 4, "one request was enough");
    bad.answer(200);
    while bad.requests() == 4 {
        assert_eq!(client.get("/").await.status, 200);
    }

    // One base time, then two.
    assert!(before.elapsed() >= Duration::from_millis(900), "{:?}", before.elapsed());
}

#[tokio::test]
async fn the_last_endpoint_that_can_serve_stays() {
    let (one, two) = (Switchable::start("one").await, Switchable::start("two").await);
    let mut outlier = strict();
    outlier.base_ejection_time = Duration::from_secs(60);
    let (proxy, address) = in_front_of(&[one.address, two.address], outlier).await;
    let mut client = Client::connect(address).await;
    one.answer(500);
    two.answer(500);

    for _ in 0..50 {
        // An answer of the application, not one of the proxy.
        assert_eq!(client.get("/").await.status, 500);
    }

    seen(&proxy, "backend::outlier::ejections_active::1").await;
    seen(&proxy, "backend::outlier::ejections_refused::").await;
    assert!(one.requests().max(two.requests()) > 40);
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_are_ejected_by_their_own_signal() {
    let (good, dead) = (Switchable::start("good").await, nobody().await);
    let outlier = OutlierDetection {
        consecutive_5xx: None,
        consecutive_local_origin_failure: NonZeroU32::new(2),
        split_local_origin: true,
        base_ejection_time: Duration::from_secs(60),
        ..strict()
    };
    let (proxy, address) = in_front_of(&[good.address, dead], outlier).await;
    let mut client = Client::connect(address).await;

    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "good");
    }

    let line = seen(&proxy, &format!("backend::{dead}::ejected::")).await;
    assert!(line.contains("CONSECUTIVE_LOCAL_ORIGIN_FAILURE"), "{line}");
    let admin = proxy.admin_address().expect("admin");
    let metrics = get(admin, "/stats/prometheus").await;
    let failures = metrics.text().lines().find(|line| line.starts_with("tidegate_upstream_connect_failures_total"));
    assert_eq!(failures, Some("tidegate_upstream_connect_failures_total{cluster=\"backend\"} 2"));
}

#[tokio::test]
async fn an_ejection_outlives_a_change_of_configuration() {
    let (good, bad) = (Switchable::start("good").await, Switchable::start("bad").await);
    let mut outlier = strict();
    outlier.base_ejection_time = Duration::from_secs(60);
    let (proxy, address) = in_front_of(&[good.address, bad.address], outlier.clone()).await;
    let mut client = Client::connect(address).await;
    bad.answer(500);
    until_ejected(&proxy, &mut client, bad.address).await;

    let third = Switchable::start("third").await;
    let mut wider = cluster("backend", Http1, &[good.address, bad.address, third.address]);
    wider.outlier_detection = Some(outlier);
    assert_eq!(proxy.apply([of_cluster(wider)]).await, Vec::new());

    let asked = bad.requests();
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(bad.requests(), asked);
    assert!(third.requests() > 0);
}
