//! Promise: route changes are free. A thousand in a row lose no request, skip no version, and act on open connections.

use std::time::Duration;

use serde_json::Value;

use crate::harness::load::Load;
use crate::harness::moving::numbered;
use crate::harness::{Mesh, wait};

const CHANGES: u64 = 1_000;
/// A single change that takes longer is lost.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);
/// The goal on two idle cores is 50 ms; a machine that also runs other tests may take longer.
const P99_MS_MAX: u64 = 250;

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_thousand_changes_under_load_lose_nothing() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &numbered(0)).start().await;
    let proxies = mesh.proxies.len() as u64;
    let mut client = mesh.client("web-v1");
    client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/reviews/0", 4, 2);
    let mut generation = mesh.control.generation().await;
    let mut last_ack_ms = Vec::new();
    let start = wait::now();

    for number in 1..=CHANGES {
        mesh.control.write("reviews.yaml", numbered(number));
        let change = mesh.control.change_after(generation, proxies, CHANGE_LIMIT).await;
        assert_eq!(change["result"], "applied", "change {number}: {change}");
        generation = change["generation"].as_u64().expect("a change has a generation");
        last_ack_ms.push(change["last_ack_ms"].as_u64().unwrap_or_else(|| panic!("nobody applied it: {change}")));

        let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        let route = answer.headers.get("x-route").and_then(|v| v.to_str().ok());
        assert_eq!(
            route,
            Some(number.to_string().as_str()),
            "the open connection uses the route that was acknowledged"
        );
    }
    let took = start.elapsed();
    let seen = load.stop().await;

    last_ack_ms.sort_unstable();
    let p99 = percentile(&last_ack_ms, 99);
    println!(
        "{CHANGES} route changes in {took:.1?}, {} requests beside them; from the file's write to the last ACK: p50 {} ms, p99 {p99} ms, max {} ms",
        seen.requests,
        percentile(&last_ack_ms, 50),
        percentile(&last_ack_ms, 100),
    );
    assert_eq!(seen.failed, 0, "{} requests: {:?}", seen.requests, seen.failures);
    assert!(seen.requests > CHANGES, "{} requests are no load", seen.requests);
    assert!(p99 <= P99_MS_MAX, "p99 is {p99} ms");
    let status: Value = mesh.control.status().await;
    assert_eq!(status["config"]["state"], "current", "{status}");
}
