//! Promise: a rate limit lets through what it says, no more and no less, by whatever tells callers apart, for one proxy or
//! for all together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Request};

use crate::harness::process::resident_kib;
use crate::harness::{Client, Mesh, wait};

pub(crate) const OFFER: Duration = Duration::from_secs(10);
pub(crate) const BURST: u64 = 50;
pub(crate) const RATE: u64 = 100;

pub(crate) fn limit(rule: &str) -> String {
    format!(
        "apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {{name: fair, namespace: shop}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: reviews}}
  rules:
  - name: all
{rule}"
    )
}

/// Offers `per_second` requests for `time`; the answers by status.
pub(crate) async fn offer(proxy: SocketAddr, per_second: u32, time: Duration) -> BTreeMap<u16, u64> {
    let mut seen = BTreeMap::new();
    let mut client = Client::new(proxy);
    let start = wait::now();
    let gap = Duration::from_secs(1) / per_second;
    let mut due = Duration::ZERO;
    while start.elapsed() < time {
        if let Some(early) = due.checked_sub(start.elapsed()) {
            wait::pass(early).await;
        }
        due += gap;
        let status = client.get("reviews:9080", "/").await.map_or(0, |answer| answer.status.as_u16());
        *seen.entry(status).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn three_times_the_limit_is_offered_and_exactly_the_limit_gets_through() {
    let text = limit("    limit: {requests: 100, per: 1s, burst: 50}\n");
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limit.yaml", &text).start().await;

    let seen = offer(mesh.outbound("web-v1"), 300, OFFER).await;

    println!("100/s with a burst of 50, 300/s offered for 10 s: {seen:?}");
    let wanted = RATE * OFFER.as_secs() + BURST;
    let accepted = seen[&200];
    assert!(accepted.abs_diff(wanted) * 100 <= wanted, "{accepted} of {wanted}");
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [200, 429]);
}

#[tokio::test]
async fn a_refusal_says_whose_limit_it_was_and_when_to_come_back() {
    let text = limit("    limit: {requests: 1, per: 1h, burst: 1}\n");
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limit.yaml", &text).start().await;
    let mut client = mesh.client("web-v1");
    assert_eq!(client.get("reviews:9080", "/").await.expect("the mesh answers").status, 200);

    let refused = client.get("reviews:9080", "/").await.expect("the mesh answers");

    assert_eq!(refused.status, 429);
    let header = |name: &str| refused.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let why = header("x-mesh-error");
    assert!(why.contains("RL") && why.contains("shop/fair") && why.contains("limit.yaml:"), "{why:?}");
    assert!(header("retry-after").parse::<u64>().is_ok_and(|s| s > 3_000), "{:?}", header("retry-after"));
    assert_eq!(header("x-envoy-ratelimited"), "true");
}

#[tokio::test]
async fn ten_thousand_callers_do_not_see_each_other() {
    let text = limit("    key: [{header: end-user}]\n    limit: {requests: 1, per: 1h, burst: 2}\n");
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limit.yaml", &text).start().await;
    let pid = mesh.proxies["reviews-v1"].id();
    let mut client = mesh.client("web-v1");
    client.get("reviews:9080", "/").await.expect("the mesh answers");
    let before = resident_kib(pid);

    for round in 0..3 {
        for user in 0..10_000 {
            let request = Request::get("/").header("host", "reviews:9080").header("end-user", format!("user-{user}"));
            let status = client.send(request).await.expect("the mesh answers").status;
            assert_eq!(status, if round < 2 { 200 } else { 429 }, "user {user}, round {round}");
        }
    }

    let growth = resident_kib(pid).saturating_sub(before);
    println!("10000 keys cost {growth} KiB");
    assert!(growth < 8 * 1024, "{growth} KiB");
}

#[tokio::test]
async fn a_limit_in_shadow_mode_refuses_nobody() {
    let text = limit("    limit: {requests: 1, per: 1h, burst: 1}\n    mode: Shadow\n");
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limit.yaml", &text).start().await;
    let mut client = mesh.client("web-v1");

    for _ in 0..20 {
        assert_eq!(client.get("reviews:9080", "/").await.expect("the mesh answers").status, 200);
    }
}

#[tokio::test]
async fn a_shared_limit_refuses_in_its_own_words() {
    let on_deny = "{status: 503, grpcStatus: UNAVAILABLE, headers: {set: [{name: retry-after, value: \"7\"}], \
                   add: [{name: x-plan, value: 100% free}]}}";
    let rule = format!("    scope: Shared\n    limit: {{requests: 1, per: 1h, burst: 1}}\n    onDeny: {on_deny}\n");
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limit.yaml", &limit(&rule)).start().await;
    let mut client = mesh.client("web-v1");
    // The lease may be a moment behind.
    wait::until("a request is refused", Duration::from_secs(5), || async {
        mesh.client("web-v1").get("reviews:9080", "/").await.is_ok_and(|answer| answer.status != 200)
    })
    .await;

    let refused = client.get("reviews:9080", "/").await.expect("the mesh answers");
    let request = Request::post("/a.B/C").header("host", "reviews:9080").header("content-type", "application/grpc");
    let of_grpc = client.send(request).await.expect("the mesh answers");

    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.headers.get_all("retry-after").iter().collect::<Vec<_>>(), ["7"]);
    assert_eq!(refused.headers["x-plan"], "100% free");
    assert_eq!((of_grpc.status.as_u16(), &of_grpc.headers["grpc-status"]), (200, &HeaderValue::from_static("14")));
}

/// Three proxies (one for each version of reviews) share one limit.
async fn shared_over_three(control_dies: bool) {
    let text = limit("    scope: Shared\n    limit: {requests: 100, per: 1s, burst: 50}\n");
    let mut mesh = Mesh::plan().service("reviews", &["v1", "v2", "v3"]).policy("limit.yaml", &text).start().await;
    // Leases are there before traffic is.
    wait::pass(Duration::from_millis(500)).await;
    let offers: Vec<_> = (0..3).map(|_| tokio::spawn(offer(mesh.outbound("web-v1"), 120, OFFER))).collect();
    if control_dies {
        wait::pass(OFFER / 3).await;
        mesh.control.kill();
        wait::pass(OFFER / 3).await;
        mesh.control.restart().await;
    }
    let mut accepted = 0;
    for offer in offers {
        let seen = offer.await.expect("no panic");
        accepted += seen[&200];
        assert!(seen.keys().all(|status| [200, 429].contains(status)), "{seen:?}");
    }
    let wanted = RATE * OFFER.as_secs() + BURST;
    println!("100/s shared by 3 proxies, control plane dies: {control_dies}: {accepted} of {wanted}");
    assert!(accepted.abs_diff(wanted) * 100 <= wanted * 5, "{accepted} of {wanted}");
}

#[tokio::test]
async fn three_proxies_share_one_limit() {
    shared_over_three(false).await;
}

#[tokio::test]
async fn three_proxies_share_one_limit_while_the_control_plane_is_killed() {
    shared_over_three(true).await;
}
