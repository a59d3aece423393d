//! Promise: a Gateway with HTTPRoutes lets in what it says, where it says, changed as it says.

use std::net::Ipv4Addr;
use std::time::Duration;

use http::Request;
use hyper::StatusCode;

use crate::harness::client::Answer;
use crate::harness::load::assert_share;
use crate::harness::{Client, Mesh};

const READY_LIMIT: Duration = Duration::from_secs(10);

fn gateway_of(address: Ipv4Addr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec:
  gatewayClassName: tidegate
  addresses:
  - {{type: IPAddress, value: {address}}}
  listeners:
  - {{name: public, protocol: HTTP, port: 8080}}
  - {{name: staff, protocol: HTTP, port: 8081, hostname: staff.example.com}}
---
{ROUTES}"
    )
}

const ROUTES: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs:
  - {name: front, sectionName: public}
  hostnames: [shop.example.com]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /reviews}
    backendRefs:
    - {name: reviews, port: 9080}
  - matches:
    - path: {type: PathPrefix, value: /details}
    backendRefs:
    - {name: details, port: 9080}
  - matches:
    - path: {type: PathPrefix, value: /details}
      headers:
      - {name: x-beta, value: \"yes\"}
    backendRefs:
    - {name: ratings, port: 9080}
  - matches:
    - path: {type: Exact, value: /details/exactly}
      method: GET
    backendRefs:
    - {name: reviews, port: 9080}
  - matches:
    - path: {type: PathPrefix, value: /old}
    filters:
    - type: RequestRedirect
      requestRedirect:
        scheme: https
        hostname: new.example.com
        port: 8443
        statusCode: 301
        path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}
  - matches:
    - path: {type: PathPrefix, value: /api}
    filters:
    - type: URLRewrite
      urlRewrite:
        hostname: internal.example.com
        path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set:
        - {name: x-set, value: by-gateway}
        add:
        - {name: x-add, value: two}
        remove: [x-secret]
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set:
        - {name: x-answer, value: seen}
        remove: [x-version]
    backendRefs:
    - {name: reviews, port: 9080}
  - matches:
    - path: {type: PathPrefix, value: /split}
    backendRefs:
    - {name: reviews, port: 9080, weight: 1}
    - {name: details, port: 9080, weight: 3}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: staff, namespace: shop}
spec:
  parentRefs:
  - {name: front, sectionName: staff}
  rules:
  - backendRefs:
    - {name: ratings, port: 9080}
";

/// A mesh of `reviews` (version r1), `details` (d1) and `ratings` (s1) behind the gateway, and clients of its two ports.
async fn gateway() -> (Mesh, Client, Client) {
    let plan = Mesh::plan().service("reviews", &["r1"]).service("details", &["d1"]).service("ratings", &["s1"]);
    let address = plan.spare_host(200);
    let mut mesh = plan.policy("gateway.yaml", &gateway_of(address)).start().await;
    mesh.start_gateway("front", address);
    mesh.ready("front", READY_LIMIT).await;
    mesh.control.settled(mesh.proxies.len(), READY_LIMIT).await;
    (mesh, Client::new((address, 8080).into()), Client::new((address, 8081).into()))
}

async fn ask(client: &mut Client, host: &str, path: &str) -> Answer {
    client.get(host, path).await.unwrap_or_else(|error| panic!("{host}{path}: {error}"))
}

#[tokio::test]
async fn requests_are_told_apart_by_host_path_and_header() {
    let (_mesh, mut public, _) = gateway().await;

    for (path, version) in [
        ("/reviews", "r1"),
        ("/reviews/1?q=2", "r1"),
        ("/details/1", "d1"),
        // Exact wins over the longer list of rules before it.
        ("/details/exactly", "r1"),
    ] {
        let answer = ask(&mut public, "shop.example.com", path).await;
        assert_eq!((answer.status, answer.version()), (StatusCode::OK, version), "{path}: {}", answer.text());
    }
    let beta = Request::get("/details/1").header("host", "shop.example.com").header("x-beta", "yes");
    assert_eq!(public.send(beta).await.expect("the gateway answers").version(), "s1", "a header is more specific");
    let port = ask(&mut public, "shop.example.com:8080", "/reviews").await;
    assert_eq!(port.version(), "r1", "a port in Host does not matter");
    for (host, path) in [
        ("shop.example.com", "/reviewsandmore"),
        ("shop.example.com", "/"),
        ("unknown.example.com", "/reviews"),
        ("staff.example.com", "/reviews"),
    ] {
        let answer = ask(&mut public, host, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{host}{path} was answered by {}", answer.version());
    }
}

#[tokio::test]
async fn each_listener_has_its_own_hosts() {
    let (_mesh, _, mut staff) = gateway().await;

    assert_eq!(ask(&mut staff, "staff.example.com", "/anything").await.version(), "s1");
    let stranger = ask(&mut staff, "shop.example.com", "/reviews").await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND, "answered by {}", stranger.version());
}

#[tokio::test]
async fn a_redirect_is_built_from_the_request_and_the_filter() {
    let (mesh, mut public, _) = gateway().await;

    let answer = ask(&mut public, "shop.example.com", "/old/page?q=1").await;

    assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
    let location = answer.headers.get("location").and_then(|v| v.to_str().ok());
    assert_eq!(location, Some("https://new.example.com:8443/new/page?q=1"));
    assert!(mesh.backends.values().all(|b| b.requests() == 0), "the gateway answers by itself");
}

#[tokio::test]
async fn heads_are_rewritten_on_the_way_in_and_out() {
    let (_mesh, mut public, _) = gateway().await;
    let request = Request::get("/api/items?q=1").header("host", "shop.example.com");
    let request = request.header("x-secret", "s").header("x-set", "by-caller").header("x-add", "one");

    let answer = public.send(request).await.expect("the gateway answers");

    let page = answer.text();
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(answer.status, StatusCode::OK, "{page}");
    assert_eq!(lines[0], "GET /v2/items?q=1");
    assert!(lines.contains(&"host: internal.example.com"), "{page}");
    assert!(lines.contains(&"x-set: by-gateway") && !page.contains("by-caller"), "{page}");
    let added: Vec<&str> = lines.iter().filter_map(|l| l.strip_prefix("x-add: ")).collect();
    assert_eq!(added.join(","), "one,two", "{page}");
    assert!(!page.contains("x-secret"), "{page}");
    assert_eq!(answer.headers.get("x-answer").and_then(|v| v.to_str().ok()), Some("seen"));
    assert!(!answer.headers.contains_key("x-version"), "removed on the way out");
}

#[tokio::test]
async fn weights_of_backends_are_shares() {
    let (_mesh, mut public, _) = gateway().await;

    let mut reviews = 0;
    for _ in 0..1_000 {
        let answer = ask(&mut public, "shop.example.com", "/split").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        reviews += u64::from(answer.version() == "r1");
    }

    assert_share("reviews of 1:3", reviews, 1_000, 0.25);
}
