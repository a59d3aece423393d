//! Promise: what hurts users of other meshes most does not hurt here. One test for each pain that no other promise names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use tokio::io::AsyncReadExt;

use crate::harness::load::Load;
use crate::harness::{Backend, Mesh, wait};
use crate::split::canary;

/// A route of reviews by path, as an object of its own.
fn by_path(name: &str, path: &str, status: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [reviews]
  http:
  - match: [{{uri: {{prefix: {path}}}}}]
    directResponse: {{status: {status}, body: {{string: {name}}}}}
"
    )
}

/// Elsewhere a rate limit takes sixty lines of another product's configuration, and two limits on two paths do not add up.
#[tokio::test]
async fn two_paths_have_two_limits_in_eight_lines_each() {
    let rule = |name: &str, path: &str, burst: u32| {
        format!(
            "  - name: {name}
    match: {{path: {{type: PathPrefix, value: {path}}}}}
    limit: {{requests: 1, per: 1h, burst: {burst}}}
"
        )
    };
    let text = format!(
        "apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {{name: paths, namespace: shop}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: reviews}}]
  rules:
{}{}",
        rule("cheap", "/cheap", 3),
        rule("dear", "/dear", 1)
    );
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limits.yaml", &text).start().await;
    let mut client = mesh.client("web-v1");
    let mut statuses = Vec::new();
    for path in ["/cheap", "/cheap", "/cheap", "/cheap", "/dear", "/dear", "/free"] {
        statuses.push(client.get("reviews:9080", path).await.expect("the mesh answers").status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 200, 429, 200]);
}

/// Elsewhere only the oldest of several VirtualServices for a host counts in a sidecar.
#[tokio::test]
async fn two_files_for_one_host_both_count() {
    let plan = Mesh::plan().service("reviews", &["v1"]);
    let plan =
        plan.policy("a.yaml", &by_path("first", "/first", 418)).policy("b.yaml", &by_path("second", "/second", 404));
    let mesh = plan.start().await;
    let mut client = mesh.client("web-v1");
    assert_eq!(client.get("reviews:9080", "/first").await.expect("the mesh answers").status, 418);
    assert_eq!(client.get("reviews:9080", "/second").await.expect("the mesh answers").text(), "second");
}

/// Elsewhere a route that names a subset before the subset is there, or after it has gone, answers 503.
#[tokio::test]
async fn a_route_that_comes_before_its_subsets_or_outlives_them_costs_no_request() {
    let text = canary(50, 50);
    let (route, subsets) = text.split_once("---\n").expect("two documents");
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).start().await;
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/", 4, 2);

    // Refused until its subsets are there; what was in force stays.
    mesh.control.write("route.yaml", route);
    wait::pass(Duration::from_millis(500)).await;
    mesh.apply("subsets.yaml", subsets).await;
    wait::pass(Duration::from_millis(500)).await;
    mesh.control.write("subsets.yaml", "# gone\napiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n");
    wait::pass(Duration::from_millis(500)).await;

    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{} requests: {:?}", seen.requests, seen.failures);
    assert!(seen.versions.len() == 2 && seen.requests > 500, "{seen:?}");
}

/// Elsewhere the default retries send a payment twice.
#[tokio::test]
async fn a_payment_that_may_have_been_made_is_not_sent_again() {
    let plan = Mesh::plan().service("reviews", &["v1"]).own_backends();
    let mesh = plan.start().await;
    let deliveries = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&deliveries);
    // Takes the request and dies with it.
    let _dies = Backend::raw(mesh.application("reviews-v1"), move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let mut bytes = vec![0; 4096];
            if stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let mut client = mesh.client("web-v1");
    for sent in 1..=5 {
        let request = Request::post("/pay").header("host", "reviews:9080");
        let answer = client.send_body(request, "100".into()).await.expect("the sidecar answers");
        assert!(answer.status.is_server_error(), "{}", answer.status);
        assert!(deliveries.load(Ordering::Relaxed) <= sent, "delivered more often than it was sent");
    }
}

/// Elsewhere a field that cannot act is dropped without a word.
#[tokio::test]
async fn a_field_that_cannot_act_is_said_to_be_ineffective() {
    let text = "apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {name: whose, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: reviews}]
  rules:
  - {name: all, key: [{sourceIdentity: true}], limit: {requests: 1, per: 1s, burst: 1}}
";
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("limits.yaml", text).start().await;
    let status = mesh.control.status().await.to_string();
    assert!(status.contains("Ineffective") && status.contains("sourceIdentity"), "{status}");
}

/// Elsewhere a short host name means another service in another namespace, and nobody says which.
#[tokio::test]
async fn a_short_name_means_the_service_of_the_same_namespace() {
    let elsewhere = "apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: other}
spec:
  ports: [{name: http, port: 9080}]
";
    let plan = Mesh::plan().service("reviews", &["v1"]);
    let plan = plan.policy("other.yaml", elsewhere).policy("route.yaml", &by_path("short", "/short", 418));
    let mesh = plan.start().await;
    let mut client = mesh.client("web-v1");
    for host in ["reviews:9080", "reviews.shop:9080", "reviews.shop.svc.cluster.local:9080"] {
        assert_eq!(client.get(host, "/short").await.expect("the mesh answers").status, 418, "{host}");
    }
    let other = client.get("reviews.other:9080", "/short").await.expect("the sidecar answers");
    assert_eq!(other.status, 503, "nobody runs there, and the route is not for it");
}
