//! Promise: a route's timeout ends a slow exchange with 504 when it is due, and a route without one waits.

use std::time::Duration;

use http::Request;
use hyper::StatusCode;

use crate::harness::client::Answer;
use crate::harness::{Client, Mesh, wait};

/// `reviews` has 300 ms by VirtualService, `details` has 300 ms by HTTPRoute, `ratings` has no limit.
const LIMITS: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - timeout: 300ms
    route:
    - destination: {host: reviews}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: details, namespace: shop}
spec:
  parentRefs:
  - {group: \"\", kind: Service, name: details, port: 9080}
  rules:
  - timeouts: {request: 300ms}
    backendRefs:
    - {name: details, port: 9080}
";
const LIMIT: Duration = Duration::from_millis(300);
/// What a busy machine may add.
const LATE_MAX: Duration = Duration::from_millis(700);

/// Asks `host` for an answer that its application makes after `delay_ms`, and how long that took.
async fn ask(client: &mut Client, host: &str, delay_ms: u64) -> (Answer, Duration) {
    let start = wait::now();
    let request = Request::get("/slow").header("host", format!("{host}:9080")).header("x-delay-ms", delay_ms);
    let answer = client.send(request).await.expect("the mesh answers");
    (answer, start.elapsed())
}

async fn mesh() -> Mesh {
    let plan = Mesh::plan().service("reviews", &["v1"]).service("details", &["v1"]).service("ratings", &["v1"]);
    plan.policy("limits.yaml", LIMITS).start().await
}

#[tokio::test]
async fn a_slow_answer_is_replaced_by_504_when_the_time_is_up() {
    let mesh = mesh().await;
    let mut client = mesh.client("web-v1");

    for host in ["reviews", "details"] {
        let (answer, took) = ask(&mut client, host, 5_000).await;

        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{host}: {}", answer.text());
        assert!(took >= LIMIT, "{host}: 504 after {took:?}, too early");
        assert!(took < LIMIT + LATE_MAX, "{host}: 504 after {took:?}, too late");
    }
}

#[tokio::test]
async fn answers_in_time_and_routes_without_a_timeout_are_left_alone() {
    let mesh = mesh().await;
    let mut client = mesh.client("web-v1");

    for (host, delay_ms) in [("reviews", 50), ("details", 50), ("ratings", 1_500)] {
        let (answer, took) = ask(&mut client, host, delay_ms).await;

        assert_eq!(answer.status, StatusCode::OK, "{host} after {took:?}: {}", answer.text());
        assert!(took >= Duration::from_millis(delay_ms), "{host} answered after {took:?}, before its application did");
    }
}

#[tokio::test]
async fn a_connection_outlives_the_timeouts_of_its_requests() {
    let mesh = mesh().await;
    let mut client = mesh.client("web-v1");

    for round in 0..5 {
        let (slow, _) = ask(&mut client, "reviews", 5_000).await;
        let (quick, took) = ask(&mut client, "reviews", 0).await;

        assert_eq!(slow.status, StatusCode::GATEWAY_TIMEOUT, "round {round}");
        assert_eq!(quick.status, StatusCode::OK, "round {round}: {}", quick.text());
        assert!(took < LIMIT, "round {round}: the answer of a request that timed out holds up the next one, {took:?}");
    }
}
