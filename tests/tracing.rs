//! Promise: one request through several sidecars is one tree in every collector, whichever fields the applications copy; and a
//! collector that is gone costs no request anything.

mod application;
mod collectors;
mod costs;
mod span;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use hyper::Request;

use self::application::DIALECTS;
use self::collectors::{Collector, Collectors};
use self::span::{Span, assert_tags, assert_times, text, tree};
use crate::harness::client::Answer;
use crate::harness::mesh::Plan;
use crate::harness::process::{root, tool};
use crate::harness::{Backend, Mesh, wait};

/// A batch gathers for half a second; then it is read.
const SPANS_LIMIT: Duration = Duration::from_secs(30);

const CHAIN: &str = "\
web-v1 CLIENT 200 -> front-v1
  front-v1 SERVER 200
    front-v1 CLIENT 200 -> reviews-v1
      reviews-v1 SERVER 200
        reviews-v1 CLIENT 200 -> ratings-v1
          ratings-v1 SERVER 200
";
const RETRIED: &str = "\
web-v1 CLIENT 200 -> front-v1
  front-v1 SERVER 200
    front-v1 CLIENT 200 -> reviews-v1
      reviews-v1 SERVER 200
        reviews-v1 CLIENT 503 -> ratings-v1
          ratings-v1 SERVER 503
        reviews-v1 CLIENT 200 -> ratings-v1
          ratings-v1 SERVER 200
";
const RETRY: &str = "apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: again, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: ratings}
  retry: {attempts: 2, on: [5xx], budget: {percent: 100, minConcurrency: 10}}
";
/// What makes proxies speak a format that nobody has spoken yet. `traceparent` is always spoken, and `sw8` with a collector of
/// SkyWalking.
const HINTS: [(&str, Option<(&str, &str)>); 4] =
    [("w3c", None), ("sw8", None), ("b3", Some(("b3", "1"))), ("x-b3", Some(("x-b3-sampled", "1")))];
/// The same formats, saying that nobody wants to know.
const UNSAMPLED: [(&str, &str, &str); 4] = [
    ("w3c", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    // `t`, `s`, and `a` four times.
    ("sw8", "sw8", "0-dA==-cw==-0-YQ==-YQ==-YQ==-YQ=="),
    ("b3", "b3", "0"),
    ("x-b3", "x-b3-sampled", "0"),
];

/// web asks front, front asks reviews, reviews asks ratings.
struct Chain {
    mesh: Mesh,
    addresses: BTreeMap<String, String>,
    _applications: Vec<Backend>,
}

fn plan() -> Plan {
    let plan = Mesh::plan().service("front", &["v1"]).service("reviews", &["v1"]).service("ratings", &["v1"]);
    plan.own_backends().policy("retry.yaml", RETRY)
}

impl Chain {
    async fn start(plan: Plan) -> Self {
        let mesh = plan.start().await;
        let mut applications = Vec::new();
        let mut addresses = BTreeMap::new();
        for (workload, next) in [("front-v1", Some("reviews")), ("reviews-v1", Some("ratings")), ("ratings-v1", None)] {
            let address = mesh.application(workload);
            applications.push(application::start(address, mesh.outbound(workload), next).await);
            addresses.insert(format!("{}:9080", address.ip()), workload.to_owned());
        }
        Self { mesh, addresses, _applications: applications }
    }

    /// Asks for a path; the answer is what ratings received.
    async fn ask(&self, path: &str, field: Option<(&str, &str)>) -> Answer {
        let mut request = Request::get(path).header("host", "front:9080");
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        let answer = self.mesh.client("web-v1").send(request).await.expect("the mesh answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }
}

/// The trace that ratings was told of.
fn trace(answer: &Answer) -> String {
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix("traceparent: ")).expect("it is always sent");
    line.split('-').nth(1).expect("it is sound").to_owned()
}

/// The trace in each collector is this tree.
async fn assert_tree(chain: &Chain, collectors: &Collectors, trace: &str, wanted: &str) {
    for collector in Collector::ALL {
        let what = format!("{} spans of {trace} at {collector:?}", wanted.lines().count());
        wait::until(&what, SPANS_LIMIT, || async {
            collectors.trace(collector, &chain.mesh, trace).await.len() >= wanted.lines().count()
        })
        .await;
        let spans = collectors.trace(collector, &chain.mesh, trace).await;
        let seen = tree(&spans, &chain.addresses);
        println!("{trace} at {collector:?}:\n{seen}");
        assert_eq!(seen, wanted, "{collector:?}: {spans:#?}");
        assert_times(&spans);
        assert_tags(&spans);
    }
}

/// Each reference of a segment names its caller in the words of the caller's own segment.
fn assert_references(collectors: &Collectors, trace: &str) {
    let lines = collectors.segments_and_spans();
    let segments: Vec<_> =
        lines.iter().filter(|line| line["collector"] == "skywalking" && line["traceId"] == *trace).collect();
    for segment in &segments {
        let span = &segment["spans"][0];
        let Some(reference) = span["refs"].get(0).filter(|_| span["spanType"] == "Entry") else { continue };
        let is_parent = |other: &&&serde_json::Value| other["traceSegmentId"] == reference["parentTraceSegmentId"];
        let parent = segments.iter().find(is_parent).expect("its parent is there");
        let exit = &parent["spans"][0];
        assert_eq!(reference["parentService"], parent["service"], "{segment}");
        assert_eq!(reference["parentServiceInstance"], parent["serviceInstance"], "{segment}");
        assert_eq!(reference["parentEndpoint"], exit["operationName"], "{segment}");
        assert_eq!(reference["networkAddressUsedAtPeer"], exit["peer"], "{segment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_through_three_sidecars_is_one_tree_in_every_collector_whichever_fields_applications_copy() {
    let plan = plan();
    let host = plan.spare_host(200);
    let collectors = Collectors::start(host).await;
    let chain = Chain::start(plan.proxy_arguments(&collectors::flags(host))).await;
    let mut sampled = BTreeSet::new();
    let mut unsampled = BTreeSet::new();

    for (dialect, name, value) in UNSAMPLED {
        unsampled.insert(trace(&chain.ask(&format!("/{dialect}/unsampled"), Some((name, value))).await));
    }
    for ((dialect, fields), (_, hint)) in DIALECTS.into_iter().zip(HINTS) {
        let answer = chain.ask(&format!("/{dialect}/chain"), hint).await;
        let trace = trace(&answer);
        println!("applications copy {fields:?}");
        assert_tree(&chain, &collectors, &trace, CHAIN).await;
        assert_references(&collectors, &trace);
        sampled.insert(trace);
    }
    let retried = trace(&chain.ask("/w3c/flaky", None).await);
    assert_tree(&chain, &collectors, &retried, RETRIED).await;
    assert_references(&collectors, &retried);
    sampled.insert(retried);

    assert_eq!((sampled.len(), unsampled.len()), (5, 4), "each request is a trace of its own");
    for collector in Collector::ALL {
        // Whatever was sent before the last trace has arrived before it.
        assert_eq!(collectors.traces(collector, &chain.mesh).await, sampled, "{collector:?}; not {unsampled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_and_an_agent_of_skywalking_are_in_one_tree() {
    let plan = plan();
    let flags = ["--trace-to", "control", "--trace-sample", "0"].map(str::to_owned);
    let chain = Chain::start(plan.proxy_arguments(&flags)).await;
    // It tells the control plane of its own span, and prints what it sends along with its call.
    let mut agent = Command::new(tool("python/bin/python"));
    agent.arg(root().join("tests/tracing/agent.py")).arg(chain.mesh.control.xds.to_string());
    let said = tokio::task::block_in_place(|| agent.output()).expect("python can be started");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let field = String::from_utf8(said.stdout).expect("base64 is text");

    chain.ask("/sw8/chain", Some(("sw8", field.trim()))).await;

    let indented: String = CHAIN.lines().map(|line| format!("  {line}\n")).collect();
    let wanted = format!("shopper CLIENT - -> the mesh:-\n{indented}");
    let spans = || async {
        let found = chain.mesh.control.get("/api/traces?service=shopper").await;
        let traces = found["data"].as_array().expect("traces").clone();
        assert!(traces.len() <= 1, "{found}");
        traces.iter().flat_map(collectors::jaeger).collect::<Vec<Span>>()
    };
    wait::until("the agent's trace is whole", SPANS_LIMIT, || async { spans().await.len() >= 7 }).await;
    let spans = spans().await;
    let seen = tree(&spans, &chain.addresses);
    println!("{seen}");
    assert_eq!(seen, wanted, "{spans:#?}");
    // The agent's and the proxies' services, and nothing else.
    let services = chain.mesh.control.get("/api/services").await;
    let mut services: BTreeSet<String> = services["data"].as_array().expect("services").iter().map(text).collect();
    assert!(services.remove(collectors::CONTROL));
    assert_eq!(services.len(), 5, "{services:?}");
}
