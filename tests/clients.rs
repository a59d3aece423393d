//! Promise: a DestinationRule of a client's namespace acts for the clients of that namespace, and for nobody else.
//!
//! # Who asks
//! `web` is in the namespace of what it calls, `cart` and a real Envoy are in another. All ask at the same time, so that none of
//! it may be a state that passes.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Request;
use serde_json::Value;

use crate::harness::load::Load;
use crate::harness::{Client, Mesh};
use crate::interop::envoy::{Envoy, Variant};

const LIMIT: Duration = Duration::from_secs(10);
const SLOW_MS: u64 = 600;
const WHO: [&str; 3] = ["web-v1", "cart-v1", "envoy-v1"];

/// What everybody is under.
const EVERYBODY: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: shop}
spec:
  host: ratings
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
";

/// What clients of `gamma` are under: another version 1, the same endpoint for each user, one connection.
fn of_gamma(version: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: gamma}}
spec:
  host: reviews.shop.svc.cluster.local
  subsets: [{{name: v1, labels: {{version: {version}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: ratings, namespace: gamma}}
spec:
  host: ratings.shop.svc.cluster.local
  trafficPolicy: {{loadBalancer: {{consistentHash: {{httpHeaderName: x-user}}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: details, namespace: gamma}}
spec:
  host: details.shop.svc.cluster.local
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 1}}, http: {{http1MaxPendingRequests: 1}}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: details, namespace: omega}}
spec:
  host: details.shop.svc.cluster.local
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}
"
    )
}

/// The versions that answer `requests` requests of one user.
async fn versions(mesh: &Mesh, who: &str, host: &str, requests: usize) -> BTreeSet<String> {
    let mut client = mesh.client(who);
    let mut seen = BTreeSet::new();
    for _ in 0..requests {
        let request = Request::get("/").header("host", format!("{host}.shop:9080")).header("x-user", "anna");
        let answer = client.send(request).await.expect("the mesh answers");
        assert_eq!(answer.status, 200, "{who}: {}", answer.text());
        seen.insert(answer.version().to_owned());
    }
    seen
}

/// How many of `requests` slow requests at the same time are refused.
async fn refused(mesh: &Mesh, who: &str, requests: usize) -> usize {
    let slow: Vec<_> = (0..requests)
        .map(|_| {
            let mut client = mesh.client(who);
            let request = Request::get("/").header("host", "details.shop:9080").header("x-delay-ms", SLOW_MS);
            tokio::spawn(async move { client.send(request).await.expect("the mesh answers").status.as_u16() })
        })
        .collect();
    let mut count = 0;
    for request in slow {
        let status = request.await.expect("a request does not panic");
        assert!(status == 200 || status == 503, "{who}: {status}");
        count += usize::from(status == 503);
    }
    count
}

/// Who stands behind each kind of settings of the cluster that a request of `from` goes to, and the addresses there.
async fn explained(mesh: &Mesh, from: &str, host: &str) -> (Vec<String>, Vec<String>) {
    let answer = mesh.control.get(&format!("/api/v1/explain?from={from}&url=http://{host}.shop:9080/")).await;
    let destination = &answer["routes"][0]["destinations"][0];
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let policies = destination["policies"].as_object().into_iter().flatten();
    let endpoints = destination["endpoints"].as_array().into_iter().flatten();
    (
        policies.map(|(kind, from)| format!("{kind} {}", said(from))).collect(),
        endpoints.map(|endpoint| said(&endpoint["workload"])).collect(),
    )
}

fn condition<'s>(status: &'s Value, namespace: &str, name: &str, of_type: &str) -> Option<&'s Value> {
    let object = status["objects"].as_array()?.iter().find(|object| {
        object["kind"] == "DestinationRule" && object["namespace"] == namespace && object["name"] == name
    })?;
    object["conditions"].as_array()?.iter().find(|condition| condition["type"] == of_type)
}

fn set(versions: &[&str]) -> BTreeSet<String> {
    versions.iter().map(|version| (*version).to_owned()).collect()
}

async fn mesh_with_envoy() -> (Mesh, Envoy) {
    let plan = Mesh::plan().service("reviews", &["v1", "v2", "v3"]).service("ratings", &["r1", "r2"]);
    let plan = plan.service("details", &["d1"]).service("cart", &["v1"]).namespace("cart", "gamma");
    let plan = plan.service("envoy", &["v1"]).namespace("envoy", "gamma").without_proxies("envoy");
    let mesh = plan.policy("everybody.yaml", EVERYBODY).start().await;
    let (xds, admin) = (mesh.control.xds, mesh.admin("envoy-v1"));
    let envoy = Envoy::start("envoy-v1.gamma", xds, admin, Variant::Delta, mesh.folder()).await;
    (mesh, envoy)
}

/// Waits until Envoy has it as well.
async fn apply(mesh: &Mesh, text: &str) {
    mesh.apply("gamma.yaml", text).await;
    mesh.control.settled(mesh.proxies.len() + 1, LIMIT).await;
}

#[tokio::test]
async fn clients_of_two_namespaces_call_a_service_in_two_ways_at_the_same_time() {
    let (mesh, envoy) = mesh_with_envoy().await;
    for who in WHO {
        assert_eq!(versions(&mesh, who, "reviews", 50).await, set(&["v1"]), "{who} before");
    }
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/", 2, 1);

    apply(&mesh, &of_gamma("v2")).await;

    for (who, version) in WHO.into_iter().zip(["v1", "v2", "v2"]) {
        assert_eq!(versions(&mesh, who, "reviews", 100).await, set(&[version]), "{who}");
    }
    assert_eq!(versions(&mesh, "web-v1", "ratings", 20).await, set(&["r1", "r2"]), "in turn");
    for who in ["cart-v1", "envoy-v1"] {
        assert_eq!(versions(&mesh, who, "ratings", 20).await.len(), 1, "{who}: one user, one endpoint");
    }
    // One is answered and one waits. While Envoy opens the connection, the first waits as well, so there is one already.
    for (who, expected) in WHO.into_iter().zip([0, 3, 3]) {
        assert_eq!(versions(&mesh, who, "details", 1).await, set(&["d1"]), "{who}");
        assert_eq!(refused(&mesh, who, 5).await, expected, "{who}");
    }

    apply(&mesh, &of_gamma("v3")).await;
    for (who, version) in WHO.into_iter().zip(["v1", "v3", "v3"]) {
        assert_eq!(versions(&mesh, who, "reviews", 100).await, set(&[version]), "{who} after the change");
    }
    mesh.apply("gamma.yaml", "# gone\napiVersion: v1\nkind: Namespace\nmetadata: {name: gamma}\n").await;
    mesh.control.settled(mesh.proxies.len() + 1, LIMIT).await;
    for who in WHO {
        assert_eq!(versions(&mesh, who, "reviews", 50).await, set(&["v1"]), "{who} afterwards");
    }
    let seen = load.stop().await;
    println!("{} requests of another namespace meanwhile: {:?}", seen.requests, seen.versions);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.versions.keys().eq(["v1"]) && seen.requests > 100, "{seen:?}");
    assert_eq!(envoy.refusals().await, 0, "{}", envoy.log());
}

#[tokio::test]
async fn explain_and_status_say_which_rule_a_client_is_under() {
    let (mesh, _envoy) = mesh_with_envoy().await;
    apply(&mesh, &of_gamma("v2")).await;

    let (_, web) = explained(&mesh, "shop/web", "reviews").await;
    let (_, cart) = explained(&mesh, "gamma/cart", "reviews").await;
    assert_eq!((web.len(), cart.len()), (1, 1));
    assert!(web[0].starts_with("shop/reviews-v1") && cart[0].starts_with("shop/reviews-v2"), "{web:?} {cart:?}");
    let (web, _) = explained(&mesh, "shop/web", "ratings").await;
    let (cart, _) = explained(&mesh, "gamma/cart", "ratings").await;
    assert!(web.iter().any(|one| one == "load_balancing shop/ratings everybody.yaml:21"), "{web:?}");
    assert!(cart.iter().any(|one| one == "load_balancing gamma/ratings gamma.yaml:13"), "{cart:?}");

    let proxies = mesh.proxies.len();
    let status = mesh.control.status().await;
    let programmed = |namespace: &str, name: &str| {
        let said = condition(&status, namespace, name, "Programmed").expect("every rule has it");
        (
            said["status"].as_str().unwrap_or_default().to_owned(),
            said["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    // The sidecar of cart and Envoy; the others.
    for (namespace, count) in [("gamma", 2), ("shop", proxies - 1)] {
        let (holds, message) = programmed(namespace, "ratings");
        assert_eq!(holds, "True", "{message}");
        assert!(message.starts_with(&format!("{count}/{count} proxies")), "{namespace}: {message}");
    }
    assert_eq!(programmed("omega", "details").0, "Unknown");
    let idle = condition(&status, "omega", "details", "Ineffective").expect("nobody is in omega");
    assert!(idle["message"].as_str().is_some_and(|why| why.contains("namespace `omega` alone")), "{idle}");
    assert!(condition(&status, "gamma", "details", "Ineffective").is_none());

    let mut own = Client::new(mesh.admin("cart-v1"));
    let answer = own.get("localhost", "/explain?host=ratings.shop:9080&path=/").await.expect("the proxy answers");
    assert!(answer.text().contains("gamma/ratings gamma.yaml:13"), "{}", answer.text());
}
