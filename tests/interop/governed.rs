//! What governs traffic governs a real Envoy too: the same YAML, our control plane, and both proxies say the same.
//!
//! # Why over the control plane
//! That Envoy takes whatever our types can say is asked elsewhere ([`super::accepted`]). Here it is asked whether it takes
//! what the compiler makes of policies, and whether it then does what they say.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http::request::Builder;

use super::envoy::{Envoy, Variant};
use crate::harness::{Client, Mesh};

const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// A gateway for each proxy, one set of routes, and a policy of every kind.
fn policies(gateways: [(&str, std::net::Ipv4Addr); 2]) -> String {
    let mut text = String::new();
    for (name, address) in gateways {
        text.push_str(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: shop}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: {address}}}]
  listeners: [{{name: http, protocol: HTTP, port: 8080}}]
---
"
        ));
    }
    text + ROUTES
}

const ROUTES: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: ours}, {name: envoy}]
  rules:
  - name: limited
    matches: [{path: {type: PathPrefix, value: /limited}}]
    backendRefs: [{name: reviews, port: 9080}]
  - name: faulty
    matches: [{path: {type: PathPrefix, value: /faulty}}]
    backendRefs: [{name: reviews, port: 9080}]
  - name: slow
    matches: [{path: {type: PathPrefix, value: /slow}}]
    timeouts: {request: 200ms}
    retry: {codes: [503], attempts: 2, backoff: 10ms}
    backendRefs: [{name: reviews, port: 9080}]
  - name: shared
    matches: [{path: {type: PathPrefix, value: /cors}}]
    filters:
    - type: CORS
      cors: {allowOrigins: [\"https://shop.example.com\"], allowMethods: [GET, PUT], maxAge: 600}
    - type: RequestMirror
      requestMirror: {backendRef: {name: copies, port: 9080}}
    backendRefs:
    - {group: tidegate.io, kind: Version, name: reviews/v1, port: 9080, weight: 1}
    - {group: tidegate.io, kind: Version, name: reviews/v2, port: 9080, weight: 0}
---
apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {name: fair, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: limited}]
  rules:
  - {name: each, key: [{header: x-user}], limit: {requests: 1, per: 1h, burst: 2}}
  - {name: counted, limit: {requests: 1, per: 1h, burst: 1}, mode: Shadow}
---
apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {name: arriving, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: beside}]
  rules:
  - {name: all, limit: {requests: 1, per: 1h, burst: 3}, onDeny: {status: 503}}
---
apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {name: teapot, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: faulty}]
  match: {headers: [{name: x-fault, value: \"yes\"}]}
  permanent: true
  abort: {httpStatus: 418, percent: 100}
---
apiVersion: tidegate.io/v1alpha1
kind: CircuitBreaker
metadata: {name: spare, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: reviews}]
  limits: {maxConnections: 100, maxPendingRequests: 100, maxRequests: 100, retryBudget: {percent: 20, minConcurrency: 3}}
  outlier: {consecutive5xx: 50, interval: 1s, baseEjection: 1s}
---
apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: careful, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: reviews}]
  loadBalancer: {policy: LeastRequest, warmup: {duration: 1s}}
  sessionPersistence: {type: Cookie, sessionName: whose}
  timeouts: {connect: 1s}
";

/// A question, and what is compared of its answer beside the status.
struct Question {
    asked: fn() -> Builder,
    status: u16,
    header: Option<(&'static str, &'static str)>,
}

const fn plain(asked: fn() -> Builder, status: u16) -> Question {
    Question { asked, status, header: None }
}

fn limited(user: &str) -> Builder {
    Request::get("/limited").header("x-user", user)
}

fn preflight() -> Builder {
    let request = Request::options("/cors").header("origin", "https://shop.example.com");
    request.header("access-control-request-method", "PUT")
}

const QUESTIONS: &[Question] = &[
    plain(|| limited("jason"), 200),
    plain(|| limited("jason"), 200),
    Question { asked: || limited("jason"), status: 429, header: Some(("retry-after", "3600")) },
    plain(|| limited("julia"), 200),
    plain(|| Request::get("/limited"), 200),
    plain(|| Request::get("/limited"), 200),
    plain(|| Request::get("/limited"), 429),
    plain(|| Request::get("/faulty"), 200),
    plain(|| Request::get("/faulty").header("x-fault", "yes"), 418),
    plain(|| Request::get("/slow"), 200),
    plain(|| Request::get("/slow").header("x-delay-ms", "1000"), 504),
    Question {
        asked: preflight,
        status: 200,
        header: Some(("access-control-allow-origin", "https://shop.example.com")),
    },
    Question {
        asked: || Request::get("/cors").header("origin", "https://shop.example.com"),
        status: 200,
        header: Some(("x-version", "v1")),
    },
    plain(|| Request::get("/nowhere"), 404),
];

async fn ask(who: &str, target: SocketAddr) {
    let mut client = Client::new(target);
    for (number, question) in QUESTIONS.iter().enumerate() {
        let request = (question.asked)().header("host", "shop.example.com");
        let answer = client.send(request).await.unwrap_or_else(|error| panic!("{who}, question {number}: {error}"));
        assert_eq!(answer.status, question.status, "{who}, question {number}: {}", answer.text());
        if let Some((name, value)) = question.header {
            let seen = answer.headers.get(name).and_then(|v| v.to_str().ok());
            assert_eq!(seen, Some(value), "{who}, question {number}: {:?}", answer.headers);
        }
    }
}

#[tokio::test]
async fn policies_are_obeyed_by_ours_and_by_envoy() {
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).service("copies", &["v1"]).service("beside", &["v1"]);
    let plan = plan.without_proxies("beside");
    let gateways = [("ours", plan.spare_host(200)), ("envoy", plan.spare_host(201))];
    let mut mesh = plan.policy("policies.yaml", &policies(gateways)).start().await;
    let [ours, envoys] = gateways.map(|(_, address)| SocketAddr::from((address, 8080)));
    mesh.start_gateway("ours", gateways[0].1);
    mesh.ready("ours", SETTLE_LIMIT).await;
    let (xds, folder) = (mesh.control.xds, mesh.folder());
    let admin = SocketAddr::from((gateways[1].1, 15000));
    let gateway = Envoy::start("envoy.shop", xds, admin, Variant::Delta, folder).await;
    let sidecar = Envoy::start("beside-v1.shop", xds, mesh.admin("beside-v1"), Variant::Sotw, folder).await;
    mesh.control.settled(mesh.proxies.len() + 2, SETTLE_LIMIT).await;
    for envoy in [&gateway, &sidecar] {
        assert_eq!(envoy.refusals().await, 0, "{}", envoy.log());
    }

    ask("ours", ours).await;
    ask("Envoy", envoys).await;
    // What a service allows is kept where its requests arrive.
    let mut client = mesh.client("web-v1");
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(client.get("beside:9080", "/").await.expect("the mesh answers").status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 503, 503], "Envoy as a sidecar");
    assert!(mesh.backends["copies-v1"].requests() >= 2, "both sent copies");
}
