//! Promise: a backend in trouble is spared: limits are exact and answered at once, failing endpoints are left out, and
//! retries do not make an outage worse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::load::Load;
use crate::harness::{Backend, Mesh, wait};

const SLOW: Duration = Duration::from_millis(800);
/// A refusal is made here and now.
const REFUSAL_MAX: Duration = Duration::from_millis(5);

fn breaker(spec: &str) -> String {
    format!(
        "apiVersion: tidegate.io/v1alpha1
kind: CircuitBreaker
metadata: {{name: spare, namespace: shop}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: reviews}}
{spec}"
    )
}

#[tokio::test]
async fn the_request_above_the_limit_is_refused_at_once_and_says_why() {
    let text = breaker("  limits: {maxConnections: 1, maxPendingRequests: 1}\n");
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("breaker.yaml", &text).start().await;
    // One in flight, one waiting for the connection.
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut client = mesh.client("web-v1");
            tokio::spawn(async move {
                let delay = SLOW.as_millis() as u64;
                client.send(Request::get("/").header("host", "reviews:9080").header("x-delay-ms", delay)).await
            })
        })
        .collect();
    let mut client = mesh.client("web-v1");
    client.get("nobody:9080", "/").await.expect("the sidecar answers");
    wait::pass(SLOW / 4).await;

    // The fastest of a few: a busy machine may stop any one of them for longer.
    let mut took = Duration::MAX;
    let mut refused = client.get("reviews:9080", "/").await.expect("the sidecar answers");
    for _ in 0..5 {
        let start = wait::now();
        refused = client.get("reviews:9080", "/").await.expect("the sidecar answers");
        took = took.min(start.elapsed());
    }

    println!("the third request was refused after {took:.2?}");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(took < REFUSAL_MAX, "{took:?}");
    let header = |name: &str| refused.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!(header("x-envoy-overloaded"), "true");
    let why = header("x-mesh-error");
    assert!(why.contains("UO") && why.contains("shop/spare") && why.contains("breaker.yaml:"), "{why:?}");
    for request in slow {
        let answer = request.await.expect("no panic").expect("the mesh answers");
        assert_eq!(answer.status, 200, "the requests within the limits are served: {}", answer.text());
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_left_out_longer_each_time_and_comes_back() {
    let outlier = breaker(
        "  outlier: {consecutive5xx: 5, interval: 100ms, baseEjection: 1s, maxEjectionPercent: 50, alwaysEjectOne: true}\n",
    );
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).own_backends().policy("breaker.yaml", &outlier);
    let mesh = plan.start().await;
    let _good = Backend::echo(mesh.application("reviews-v1"), "v1").await;
    let bad = Backend::broken(mesh.application("reviews-v2")).await;
    let mut client = mesh.client("web-v1");
    let mut failures = 0;
    let mut out: Vec<Duration> = Vec::new();
    let mut last_failure = wait::now();
    let start = wait::now();
    while start.elapsed() < Duration::from_millis(6_500) {
        let answer = client.get("reviews:9080", "/").await.expect("the mesh answers");
        if answer.status == 500 {
            let gap = last_failure.elapsed();
            if gap > Duration::from_millis(700) {
                out.push(gap);
            }
            failures += 1;
            last_failure = wait::now();
        }
        wait::pass(Duration::from_millis(2)).await;
    }

    println!("{failures} failures in 6.5 s; the endpoint was out for {out:.1?}");
    assert!(out.len() >= 2, "ejected and tried again: {out:?}");
    assert!(out[0] >= Duration::from_millis(900), "the first time for the base time: {out:?}");
    assert!(out[1] >= out[0] + Duration::from_millis(500), "the second time for longer: {out:?}");
    assert!(failures < 40, "{failures} failures reached callers");
    assert!(bad.requests() >= 5);
}

#[tokio::test]
async fn retries_during_an_outage_stay_within_the_budget() {
    let retry = "apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: again, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: reviews}
  retry: {attempts: 3, on: [5xx]}
---
";
    let text =
        retry.to_owned() + &breaker("  outlier: {consecutive5xx: 0, consecutiveGateway: 0, consecutiveLocal: 0}\n");
    let plan = Mesh::plan().service("reviews", &["v1"]).own_backends().policy("retry.yaml", &text);
    let mesh = plan.start().await;
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let _down = Backend::raw(mesh.application("reviews-v1"), move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let mut bytes = vec![0; 4096];
            while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                count.fetch_add(1, Ordering::Relaxed);
                wait::pass(Duration::from_millis(20)).await;
                stream.write_all(b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n").await.ok();
            }
        }
    })
    .await;

    // Forty at a time: a budget of a fifth is eight retries at a time.
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/", 40, 0);
    wait::pass(Duration::from_secs(4)).await;
    let seen = load.stop().await;

    let asked = asked.load(Ordering::Relaxed);
    let factor = asked as f64 / seen.requests as f64;
    println!("{} requests during an outage, {asked} attempts: {factor:.3} x", seen.requests);
    assert_eq!(seen.failed, seen.requests, "nobody can succeed");
    assert!(factor > 1.02, "there are retries at all: {factor:.3}");
    assert!(factor <= 1.2 + 0.02, "{factor:.3} x");
}
