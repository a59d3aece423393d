//! Promise: a service's load balancing is what its DestinationRule says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::load::{Load, assert_share};
use crate::harness::{Backend, Mesh, wait};

const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];

fn balanced(how: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {{simple: {how}}}
"
    )
}

async fn mesh(how: &str) -> Mesh {
    Mesh::plan().service("reviews", &VERSIONS).policy("balance.yaml", &balanced(how)).start().await
}

/// Who answers `requests` requests, one after the other.
async fn answers(mesh: &Mesh, requests: u64) -> BTreeMap<String, u64> {
    let mut client = mesh.client("web-v1");
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        *seen.entry(answer.version().to_owned()).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn round_robin_gives_each_endpoint_the_same_number() {
    let mesh = mesh("ROUND_ROBIN").await;

    let seen = answers(&mesh, 300).await;

    let equal = VERSIONS.map(|v| (v.to_owned(), 100)).into();
    assert_eq!(seen, equal, "300 requests over three endpoints in turn");
}

#[tokio::test]
async fn random_is_fair_but_not_in_turn() {
    let mesh = mesh("RANDOM").await;

    let seen = answers(&mesh, 900).await;

    for version in VERSIONS {
        assert_share(version, seen.get(version).copied().unwrap_or(0), 900, 1.0 / 3.0);
    }
}

/// How many of the answers under concurrent load came from v1, which is slow, and how many there were.
async fn load_on_a_slow_endpoint(how: &str) -> (u64, u64) {
    let plan = Mesh::plan().service("reviews", &VERSIONS).own_backends();
    let mesh = plan.policy("balance.yaml", &balanced(how)).start().await;
    let application = |version: &str| -> SocketAddr { mesh.application(&format!("reviews-{version}")) };
    let _slow = Backend::slow_echo(application("v1"), "v1", Duration::from_millis(100)).await;
    let _quick = (Backend::echo(application("v2"), "v2").await, Backend::echo(application("v3"), "v3").await);

    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/reviews/0", 10, 0);
    wait::pass(Duration::from_secs(4)).await;
    let seen = load.stop().await;

    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    (seen.versions.get("v1").copied().unwrap_or(0), seen.requests)
}

#[tokio::test]
async fn least_request_spares_an_endpoint_that_is_slow() {
    let (slow, requests) = load_on_a_slow_endpoint("LEAST_REQUEST").await;

    // Two draws with replacement take the slow one of three when both draws are it: a ninth.
    assert!(slow > 0, "the slow endpoint still serves, and is found again when it has recovered");
    assert!((slow as f64) < 0.2 * requests as f64, "{slow} of {requests} requests went to the slow endpoint");
}

#[tokio::test]
async fn round_robin_does_not_spare_it() {
    let (slow, requests) = load_on_a_slow_endpoint("ROUND_ROBIN").await;

    let share = slow as f64 / requests as f64;
    assert!((0.25..0.42).contains(&share), "{slow} of {requests}: in turn means a third, slow or not");
}
