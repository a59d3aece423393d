//! Promise: what the panels of KubeSphere's console write acts, or somebody is told that it does not.

use std::time::Duration;

use crate::harness::{Backend, Mesh, wait};

/// From a write to the verdict on it.
const VERDICT_LIMIT: Duration = Duration::from_secs(10);

/// A ServicePolicy's template as the console's forms fill it in.
fn panel(traffic_policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: reviews
  trafficPolicy:
{traffic_policy}"
    )
}

/// The form writes `consecutiveErrors`, which Istio only warns of: the number is shown and has no effect.
#[tokio::test]
async fn the_number_of_errors_in_a_row_is_the_number_that_the_form_shows() {
    const ERRORS: u64 = 3;
    let breaker = format!(
        "    outlierDetection: {{consecutiveErrors: {ERRORS}, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 10}}\n"
    );
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).own_backends().policy("panel.yaml", &panel(&breaker));
    let mesh = plan.start().await;
    let _good = Backend::echo(mesh.application("reviews-v1"), "v1").await;
    let bad = Backend::broken(mesh.application("reviews-v2")).await;
    let mut client = mesh.client("web-v1");

    let mut failures = 0;
    for _ in 0..300 {
        failures += u64::from(client.get("reviews:9080", "/").await.expect("the mesh answers").status == 500);
    }

    assert_eq!((failures, bad.requests()), (ERRORS, ERRORS));
}

/// Turning the connection pool on writes one request for each connection: keep-alive is off, and nobody asked for that.
#[tokio::test]
async fn a_pool_that_keeps_no_connection_is_warned_of() {
    let pool =
        "    connectionPool: {http: {http1MaxPendingRequests: 1024, maxRequestsPerConnection: 1, maxRetries: 3}}\n";
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("panel.yaml", &panel(pool)).start().await;

    let status = mesh.control.status().await.to_string();

    assert!(status.contains("`maxRequestsPerConnection`, or raise it, to keep connections"), "{status}");
}

/// The form stores a cookie's pairs as fields. Istio refuses the object without saying what to write instead.
#[tokio::test]
async fn a_cookie_that_the_form_took_apart_is_refused_with_what_to_write() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let mut client = mesh.client("web-v1");

    let affinity = "    loadBalancer: {consistentHash: {httpCookie: {JSESSIONID: abc}}}\n";
    mesh.control.write("panel.yaml", panel(affinity));
    wait::until("the status names the file and the cure", VERDICT_LIMIT, || async {
        let status = mesh.control.status().await;
        let config = status["config"].to_string();
        status["config"]["state"] == "rejected"
            && config.contains("panel.yaml")
            && config.contains("write `name: JSESSIONID`")
    })
    .await;

    assert_eq!(client.get("reviews:9080", "/").await.expect("what was in force stays").status, 200);
}
