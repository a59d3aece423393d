//! Promise: the topology counts each request once, whatever is restarted on the way, and knows how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::moving::canary;
use crate::harness::{Mesh, wait};

/// Reports come each second, and a busy machine.
const REPORT_LIMIT: Duration = Duration::from_secs(20);
/// A proxy that drains at once, with its farewell.
const END_LIMIT: Duration = Duration::from_secs(20);
/// Callers' own errors and faults, so that not everything is a 200.
const FAULT: &str = "apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {name: teapot, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: reviews}
  permanent: true
  abort: {httpStatus: 503, percent: 10}
";

/// Requests and errors by `SOURCE>DESTINATION`.
type Counts = BTreeMap<String, (u64, u64)>;

/// Sends requests through `workload`'s sidecar; each of them is answered.
async fn calls(mesh: &Mesh, workload: &str, count: usize) {
    let mut client = mesh.client(workload);
    for number in 0..count {
        let path = format!("/reviews/{number}");
        client.get("reviews:9080", &path).await.expect("the mesh answers");
    }
}

/// Ends the sidecar of `workload` in order and starts it again.
async fn restart(mesh: &mut Mesh, workload: &str) {
    let mut old = mesh.proxies.remove(workload).expect("it runs");
    old.signal("INT");
    let ended = tokio::task::block_in_place(|| old.ended(END_LIMIT));
    assert!(ended.success(), "{ended}\n{}", old.log());
    mesh.restart_proxy(workload, &[]).await;
}

/// What the logs of the callers' sidecars say, line by line.
fn logged(mesh: &Mesh, callers: &[&str]) -> Counts {
    let workloads = ["reviews-v1", "reviews-v2"];
    let mut counts = Counts::new();
    for caller in callers {
        for line in mesh.access_log(caller) {
            if line["listener"] != "outbound" {
                continue;
            }
            let upstream = line["upstream"].as_str().unwrap_or_default();
            let host = |workload: &&&str| {
                upstream.split_once(':').is_some_and(|(ip, _)| ip == mesh.application(workload).ip().to_string())
            };
            let destination = workloads.iter().find(host).map_or("unreached", |workload| workload);
            let entry = counts.entry(format!("{caller}>{destination}")).or_default();
            entry.0 += 1;
            entry.1 += u64::from(line["status"].as_u64().is_none_or(|status| status == 0 || status >= 500));
        }
    }
    counts
}

/// What the topology says of all time, in the eyes of `reporter`.
async fn counted(mesh: &Mesh, reporter: &str) -> Counts {
    let topology = mesh.control.get("/api/v1/topology?window=total&type=workload").await;
    let mut counts = Counts::new();
    for edge in topology["edges"].as_array().expect("edges") {
        let name = |end: &str| {
            let id = edge[end].as_str().expect("an id");
            let name = id.rsplit('/').next().unwrap_or_default();
            // A service that was asked for where nobody was reached.
            if name.starts_with("reviews-") || end == "source" { name.to_owned() } else { "unreached".to_owned() }
        };
        let seen = &edge["reporters"][reporter];
        let number = |field: &str| seen[field].as_u64().expect(field);
        if number("requests") > 0 {
            let entry = counts.entry(format!("{}>{}", name("source"), name("destination"))).or_default();
            entry.0 += number("requests");
            entry.1 += number("errors");
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_equal_the_logs_of_requests_whatever_is_restarted_on_the_way() {
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).service("cart", &["v1"]);
    let plan = plan.policy("reviews.yaml", &canary(80, 20)).policy("fault.yaml", FAULT);
    let mut mesh = plan.access_logs().start().await;
    let callers = ["web-v1", "cart-v1"];

    calls(&mesh, "web-v1", 300).await;
    calls(&mesh, "cart-v1", 200).await;
    restart(&mut mesh, "web-v1").await;
    calls(&mesh, "web-v1", 150).await;
    mesh.control.kill();
    calls(&mesh, "cart-v1", 120).await;
    mesh.control.restart().await;
    calls(&mesh, "web-v1", 80).await;
    restart(&mut mesh, "reviews-v1").await;
    restart(&mut mesh, "cart-v1").await;
    calls(&mesh, "cart-v1", 70).await;
    mesh.control.kill();
    mesh.control.restart().await;

    let wanted = logged(&mesh, &callers);
    let requests: u64 = wanted.values().map(|(requests, _)| requests).sum();
    assert_eq!(requests, 920, "{wanted:?}");
    // Those that reached a workload were counted there as well: a fault is one of the caller's proxy.
    let reached = wanted.iter().filter(|(name, _)| !name.ends_with(">unreached"));
    let reached: Counts = reached.map(|(name, counts)| (name.clone(), *counts)).collect();
    let start = wait::now();
    loop {
        let seen = (counted(&mesh, "source").await, counted(&mesh, "destination").await);
        if seen == (wanted.clone(), reached.clone()) {
            break;
        }
        assert!(start.elapsed() < REPORT_LIMIT, "seen by callers and called:\n{seen:?}\nin the logs:\n{wanted:?}");
        wait::pass(Duration::from_millis(100)).await;
    }
    for (name, (requests, errors)) in &wanted {
        println!("{name}: {requests} requests, {errors} errors, in the log and in the topology");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantile_is_within_a_hundredth_of_what_the_log_says() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).access_logs().start().await;
    let mut client = mesh.client("web-v1");
    for number in 0_u64..200 {
        let delay = (20 + number * number % 97).to_string();
        let request = hyper::Request::get("/reviews/0").header("host", "reviews:9080").header("x-delay-ms", delay);
        client.send(request).await.expect("the mesh answers");
    }

    let lines = mesh.access_log("web-v1");
    let mut exact: Vec<f64> = lines.iter().map(|line| line["duration_ns"].as_f64().expect("a time") / 1e6).collect();
    exact.sort_by(f64::total_cmp);
    let of = |share: f64| exact[((exact.len() as f64 * share).ceil() as usize).saturating_sub(1)];
    wait::until("the topology has heard of all requests", REPORT_LIMIT, || async {
        let topology = mesh.control.get("/api/v1/topology?window=10m&type=workload").await;
        topology["edges"][0]["reporters"]["source"]["requests"] == 200
    })
    .await;
    let edge = mesh.control.get("/api/v1/topology?window=10m&type=workload").await["edges"][0].take();

    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        let said = edge["reporters"]["source"]["latency_ms"][name].as_f64().expect(name);
        println!("{name}: {said:.2} ms in the topology, {:.2} ms in the log", of(share));
        assert!((said - of(share)).abs() <= of(share) / 100.0, "{name}: {said} instead of {}", of(share));
    }
}
