//! Promise: what `tidegate explain` says would happen to a request is what the proxy does with it.
//!
//! # How it is held
//! Ten thousand random requests are explained by the control plane and sent through proxies that write access logs. Each
//! line must name the route, its place in the YAML, a cluster and an endpoint that were predicted, and the same policies;
//! and what waits at the destination's sidecar must be what that sidecar logs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::{Client, Mesh, wait};

const REQUESTS: usize = 10_000;
/// Every so many of them goes through the gateway.
const THROUGH_GATEWAY: usize = 5;
/// As many as one call explains.
const BATCH: usize = 1_000;
/// A member of a weighted choice with 5 % is missed by as many requests once in 10^8 runs.
const ENOUGH: usize = 360;
const LIMIT: Duration = Duration::from_secs(30);

const POLICIES: &str = r#"apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - name: testers
    match:
    - headers: {end-user: {exact: jason}}
      uri: {prefix: /reviews}
    - headers: {end-user: {prefix: test-}}
      queryParams: {debug: {exact: "1"}}
    fault:
      abort: {httpStatus: 418, percentage: {value: 30}}
    route:
    - destination: {host: reviews, subset: v3}
  - name: writers
    match:
    - method: {exact: POST}
      uri: {regex: "/reviews/[0-9]+"}
    - method: {exact: PUT}
    timeout: 5s
    retries: {attempts: 1, perTryTimeout: 2s, retryOn: "connect-failure,503"}
    route:
    - destination: {host: reviews, subset: v1}
      weight: 60
    - destination: {host: reviews, subset: v2}
      weight: 40
  - name: moved
    match:
    - uri: {exact: /old}
    redirect: {uri: /new, authority: reviews.example.com}
  - name: down
    match:
    - uri: {prefix: /down}
      withoutHeaders: {x-admin: {exact: "yes"}}
    directResponse: {status: 503, body: {string: "closed"}}
  - name: rewritten
    match:
    - uri: {prefix: /api/}
    rewrite: {uri: /}
    mirror: {host: ratings}
    mirrorPercentage: {value: 5}
    route:
    - destination: {host: ratings}
  - name: canary
    corsPolicy: {allowOrigins: [{exact: "https://shop.example.com"}]}
    route:
    - destination: {host: reviews, subset: v1}
      weight: 80
    - destination: {host: reviews, subset: v2}
      weight: 15
    - destination: {host: reviews, subset: v3}
      weight: 5
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
  - {name: v3, labels: {version: v3}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ratings, namespace: shop}
spec:
  parentRefs:
  - {group: "", kind: Service, name: ratings}
  rules:
  - matches:
    - path: {type: PathPrefix, value: /v1}
      headers: [{name: x-beta, value: "yes"}]
    - path: {type: Exact, value: /beta}
    backendRefs:
    - {name: details, port: 9080}
  - matches:
    - path: {type: PathPrefix, value: /v1}
      method: GET
    timeouts: {request: 10s}
    backendRefs:
    - {name: ratings, port: 9080, weight: 1}
    - {name: details, port: 9080, weight: 3}
  - matches:
    - path: {type: PathPrefix, value: /reviews}
    backendRefs:
    - {name: ratings, port: 9080}
---
apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {name: shaky, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: details}]
  permanent: true
  abort: {httpStatus: 500, percent: 20}
---
apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {name: generous, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: ratings}]
  rules:
  - name: all
    limit: {requests: 200, per: 1s, burst: 50}
---
apiVersion: tidegate.io/v1alpha1
kind: CircuitBreaker
metadata: {name: ratings, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: ratings}]
  limits: {maxConnections: 100, maxRequests: 1000}
---
apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: details, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: details}]
  timeouts: {request: 8s}
  retry: {attempts: 2, codes: [503]}
"#;

fn gateway(address: Ipv4Addr) -> String {
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: {address}}}]
  listeners:
  - {{name: http, protocol: HTTP, port: 8080}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: shop}}
spec:
  parentRefs: [{{name: front}}]
  hostnames: [shop.example.com, "*.shop.example.com"]
  rules:
  - matches:
    - path: {{type: PathPrefix, value: /reviews}}
      headers: [{{name: end-user, type: RegularExpression, value: "j.*"}}]
    backendRefs:
    - {{name: reviews, port: 9080}}
  - matches:
    - path: {{type: PathPrefix, value: /api}}
    filters:
    - type: URLRewrite
      urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /v1}}}}
    backendRefs:
    - {{name: ratings, port: 9080, weight: 2}}
    - {{name: details, port: 9080, weight: 1}}
  - matches:
    - path: {{type: PathPrefix, value: /}}
      queryParams: [{{name: debug, value: "1"}}]
    backendRefs:
    - {{name: details, port: 9080}}
"#
    )
}

/// A request as it is asked about and as it is sent.
struct Random {
    gateway: bool,
    method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
}

impl Random {
    fn draw(number: usize, random: &mut StdRng) -> Self {
        let gateway = number.is_multiple_of(THROUGH_GATEWAY);
        let hosts: &[&str] = if gateway {
            &["shop.example.com", "eu.shop.example.com:8080", "shop.example.com:8080", "other.example.com"]
        } else {
            &["reviews:9080", "reviews.shop", "Reviews:9080", "ratings:9080", "ratings", "details:9080", "nobody:9080"]
        };
        let paths = [
            "/",
            "/reviews",
            "/reviews/1",
            "/reviewsx",
            "/old",
            "/old/",
            "/down/x",
            "/api/v1",
            "/v1/a",
            "/v10",
            "/beta",
        ];
        let queries = ["", "", "?debug=1", "?debug=2", "?a=b&debug=1"];
        let methods = ["GET", "GET", "POST", "PUT", "DELETE"];
        let users = ["jason", "test-1", "james", "Jason"];
        let mut headers = Vec::new();
        if random.random_bool(0.5) {
            headers.push(("end-user", users[pick(random, users.len())]));
        }
        for (name, value) in [("x-beta", "yes"), ("x-admin", "yes"), ("origin", "https://shop.example.com")] {
            if random.random_bool(0.3) {
                headers.push((name, value));
            }
        }
        Self {
            gateway,
            method: methods[pick(random, methods.len())],
            host: hosts[pick(random, hosts.len())],
            target: format!("{}{}", paths[pick(random, paths.len())], queries[pick(random, queries.len())]),
            headers,
        }
    }

    fn asked(&self) -> Value {
        let headers: Vec<String> = self.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let mut asked = json!({
            "from": if self.gateway { "gateway shop/front" } else { "shop/web" },
            "method": self.method, "url": format!("http://{}{}", self.host, self.target), "headers": headers,
        });
        if self.gateway {
            asked["listener"] = "gateway|8080".into();
        }
        asked
    }

    fn request(&self, id: usize) -> http::request::Builder {
        let request = Request::builder().method(self.method).uri(&self.target).header("host", self.host);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.header("x-request-id", id.to_string())
    }
}

fn pick(random: &mut StdRng, length: usize) -> usize {
    usize::try_from(random.next_u64() % length as u64).expect("a small number")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `KIND FROM` of each policy in a map of an explanation.
fn kinds(policies: &Value) -> BTreeSet<String> {
    policies.as_object().into_iter().flatten().map(|(kind, from)| format!("{kind} {}", text(from))).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The line of each request, by the number that it carried.
fn by_id(lines: Vec<Value>) -> BTreeMap<String, Value> {
    lines.into_iter().map(|line| (text(&line["request_id"]).to_owned(), line)).collect()
}

async fn explain_all(mesh: &Mesh, requests: &[Random]) -> Vec<Value> {
    let mut explained = Vec::new();
    let mut api = Client::new(mesh.control.api);
    for batch in requests.chunks(BATCH) {
        let asked = Value::Array(batch.iter().map(Random::asked).collect()).to_string();
        let request = Request::post("/api/v1/explain").header("host", "localhost");
        let answer = api.send_body(request, Bytes::from(asked)).await.expect("the API answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answers: Vec<Value> = serde_json::from_slice(&answer.body).expect("the API speaks JSON");
        explained.extend(answers.into_iter().map(|answer| answer["explanation"].clone()));
    }
    explained
}

/// What is wrong with a prediction, given the line of what happened. Gives the destination that was taken.
fn compare<'e>(explanation: &'e Value, line: &Value) -> Result<Option<&'e Value>, String> {
    let flags = list(&line["flags"]);
    let Some(taken) = list(&explanation["routes"]).first() else {
        return if flags.contains(&json!("NR")) { Ok(None) } else { Err("a route was found".to_owned()) };
    };
    for (predicted, happened) in [
        (&taken["name"], &line["route"]),
        (&taken["source"], &line["source"]),
        (&explanation["virtual_host"], &line["virtual_host"]),
    ] {
        if predicted != happened {
            return Err(format!("{predicted} was predicted, {happened} happened"));
        }
    }
    let destinations = list(&taken["destinations"]);
    let mut policies = kinds(&taken["policies"]);
    let destination = destinations.iter().find(|d| d["cluster"] == line["cluster"] && d["weight"] != 0);
    match destination {
        Some(destination) => policies.extend(kinds(&destination["policies"])),
        None if destinations.is_empty() && line["cluster"].is_null() => {}
        None => return Err(format!("cluster {} was not predicted", line["cluster"])),
    }
    let acting: BTreeSet<String> = list(&line["policies"]).iter().map(|policy| text(policy).to_owned()).collect();
    if policies != acting {
        return Err(format!("policies {policies:?} were predicted, {acting:?} acted"));
    }
    let endpoints = destination.map(|d| list(&d["endpoints"])).unwrap_or_default();
    if !line["upstream"].is_null() && endpoints.iter().all(|endpoint| endpoint["address"] != line["upstream"]) {
        return Err(format!("endpoint {} was not predicted", line["upstream"]));
    }
    let stopped = flags.contains(&json!("FI"));
    let faults = list(&taken["facts"]).iter().chain(destination.map(|d| list(&d["facts"])).unwrap_or_default());
    if stopped && !faults.into_iter().any(|fact| fact["kind"] == "fault") {
        return Err("a fault that was not predicted ended it".to_owned());
    }
    let status = line["status"].as_u64().unwrap_or_default();
    let forwarded = !line["upstream"].is_null();
    match explanation["refused"].is_null() {
        true if status >= 400 && !forwarded && !stopped => Err(format!("{status} was not predicted")),
        false if status < 400 => Err(format!("a refusal was predicted, {status} happened")),
        _ => Ok(destination),
    }
}

#[tokio::test]
async fn ten_thousand_random_requests_go_where_explain_says() {
    let plan = Mesh::plan().service("reviews", &["v1", "v2", "v3"]).service("ratings", &["r1", "r2"]);
    let plan = plan.service("details", &["d1"]).policy("policies.yaml", POLICIES).access_logs();
    let address = plan.spare_host(200);
    let mut mesh = plan.policy("gateway.yaml", &gateway(address)).start().await;
    mesh.start_gateway("front", address);
    mesh.ready("front", LIMIT).await;
    mesh.control.settled(mesh.proxies.len(), LIMIT).await;
    let seed = 20_261;
    let mut random = StdRng::seed_from_u64(seed);
    let requests: Vec<Random> = (0..REQUESTS).map(|number| Random::draw(number, &mut random)).collect();

    let start = wait::now();
    let explained = explain_all(&mesh, &requests).await;
    let asking = start.elapsed();
    let (mut sidecar, mut front) = (mesh.client("web-v1"), Client::new((address, 8080).into()));
    for (id, request) in requests.iter().enumerate() {
        let client = if request.gateway { &mut front } else { &mut sidecar };
        client.send(request.request(id)).await.expect("the mesh answers");
    }
    let written = || mesh.access_log("web-v1").len() + mesh.access_log("front").len();
    wait::until("every request has its line", LIMIT, || async { written() == REQUESTS }).await;

    let mut lines = by_id(mesh.access_log("web-v1"));
    lines.extend(by_id(mesh.access_log("front")));
    let arrived: BTreeMap<&str, BTreeMap<String, Value>> =
        mesh.proxies.keys().map(|workload| (workload.as_str(), by_id(mesh.access_log(workload)))).collect();
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<String, (usize, BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    let mut on_arrival = 0;
    for (id, (request, explanation)) in requests.iter().zip(&explained).enumerate() {
        let line = &lines[&id.to_string()];
        let compared = compare(explanation, line).and_then(|destination| {
            let Some(destination) = destination else { return Ok(()) };
            count(&mut seen, explanation, line, destination);
            on_arrival += usize::from(check_arrival(destination, line, &arrived, id)?);
            Ok(())
        });
        if let Err(why) = compared {
            wrong.push(format!("{} -> {why}\n   {line}", request.asked()));
        }
    }
    println!(
        "{REQUESTS} requests (seed {seed}), explained in {asking:.1?}; {} routes and {on_arrival} arrivals compared",
        seen.len()
    );
    assert!(wrong.is_empty(), "{} of {REQUESTS}, first:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    let often: Vec<_> = seen.iter().filter(|(_, (times, ..))| *times >= ENOUGH).collect();
    assert!(often.len() >= 5 && seen.len() >= 12 && on_arrival > REQUESTS / 4, "{seen:?}");
    for (route, (times, predicted, happened)) in often {
        assert_eq!(predicted, happened, "{route}, {times} times");
    }
}

/// Where requests of a route may go, and where they went.
fn count(
    seen: &mut BTreeMap<String, (usize, BTreeSet<String>, BTreeSet<String>)>,
    explanation: &Value,
    line: &Value,
    destination: &Value,
) {
    let taken = &explanation["routes"][0];
    let key = format!("{} {} {}", line["listener"], explanation["virtual_host"], taken["source"]);
    let (times, predicted, happened) = seen.entry(key).or_default();
    *times += 1;
    predicted.extend(list(&taken["destinations"]).iter().map(|d| text(&d["cluster"]).to_owned()));
    happened.insert(text(&destination["cluster"]).to_owned());
}

/// What waits at the destination's sidecar is what it logged. `false`: the request never arrived there.
fn check_arrival(
    destination: &Value,
    line: &Value,
    arrived: &BTreeMap<&str, BTreeMap<String, Value>>,
    id: usize,
) -> Result<bool, String> {
    let endpoint = list(&destination["endpoints"]).iter().find(|endpoint| endpoint["address"] == line["upstream"]);
    let workload = endpoint.map(|endpoint| text(&endpoint["workload"]).trim_start_matches("shop/"));
    let Some(there) = workload.and_then(|workload| arrived.get(workload)?.get(&id.to_string())) else {
        return Ok(false);
    };
    let predicted: BTreeSet<String> = list(&destination["arrival"])
        .iter()
        .map(|fact| format!("{} {}", text(&fact["kind"]), text(&fact["from"])))
        .collect();
    let acted: BTreeSet<String> = list(&there["policies"]).iter().map(|policy| text(policy).to_owned()).collect();
    if predicted == acted { Ok(true) } else { Err(format!("on arrival {predicted:?} was predicted, {acted:?} acted")) }
}
