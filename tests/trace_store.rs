//! Promise: what applications send with OpenTelemetry's own SDK, with Zipkin's JSON and with SkyWalking's protocol can be looked at
//! through the APIs of Jaeger and Zipkin; and what is hostile is refused, counted, and leaves memory bounded.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::address::Subnet;
use crate::harness::process::{Process, binary, resident_kib, root, tool};
use crate::harness::{Client, wait};

const LIMIT: Duration = Duration::from_secs(20);

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  ports: [{name: http, port: 9080}]
";

/// `tidegate serve` without a mesh.
struct Serving {
    process: Process,
    xds: SocketAddr,
    api: SocketAddr,
    telemetry: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Serving {
    async fn start(memory_mib: u32) -> Self {
        let (folder, host) = (tempfile::tempdir().unwrap(), Subnet::take().host(1));
        let config = folder.path().join("config");
        std::fs::create_dir(&config).unwrap();
        // The port of proxies is served when there is a configuration.
        std::fs::write(config.join("reviews.yaml"), SERVICE).unwrap();
        let [xds, api, telemetry] = [15010, 15014, 4317].map(|port| SocketAddr::from((host, port)));
        let mut command = Command::new(binary("tidegate"));
        command.arg("serve").arg("--config").arg(config).arg("--state").arg(folder.path().join("state"));
        command.args(["--xds", &xds.to_string(), "--api", &api.to_string(), "--telemetry", &telemetry.to_string()]);
        command.args(["--trace-memory", &memory_mib.to_string()]);
        let process = Process::start("control", folder.path(), &mut command);
        let serving = Self { process, xds, api, telemetry, _folder: folder };
        wait::until("the control plane is ready", LIMIT, || async {
            matches!(Client::new(serving.api).get("localhost", "/ready").await, Ok(a) if a.status == 200)
        })
        .await;
        serving
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = Client::new(self.api).get("localhost", path).await.expect("the API answers");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("the API speaks JSON")
    }

    async fn post(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> (u16, String) {
        let request = Request::post(path).header("host", "localhost").header("content-type", kind);
        let answer = Client::new(self.api).send_body(request, body.into()).await.expect("the API answers");
        (answer.status.as_u16(), answer.text())
    }

    async fn metric(&self, name: &str) -> f64 {
        let page = Client::new(self.api).get("localhost", "/metrics").await.expect("metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("tidegate_control_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is missing in {page}"))
    }

    /// Runs the real SDK against this port. Gives the id of its trace.
    async fn send(&self, target: SocketAddr, segment: &Segment) -> String {
        let mut python = Command::new(tool("python/bin/python"));
        python.arg(root().join("tests/trace_store/send.py")).arg(target.to_string());
        python.arg(format!("http://{}", self.api));
        python.arg(segment.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let sent = tokio::task::spawn_blocking(move || python.output()).await.unwrap().expect("python can be started");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        String::from_utf8(sent.stdout).unwrap().trim().to_owned()
    }
}

/// `skywalking.v3.SegmentObject`, encoded by somebody else than who decodes it.
#[derive(Clone, PartialEq, prost::Message)]
struct Segment {
    #[prost(string, tag = "1")]
    trace_id: String,
    #[prost(string, tag = "2")]
    trace_segment_id: String,
    #[prost(message, repeated, tag = "3")]
    spans: Vec<SegmentSpan>,
    #[prost(string, tag = "4")]
    service: String,
    #[prost(string, tag = "5")]
    service_instance: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SegmentSpan {
    #[prost(int32, tag = "1")]
    span_id: i32,
    #[prost(int32, tag = "2")]
    parent_span_id: i32,
    #[prost(int64, tag = "3")]
    start_time: i64,
    #[prost(int64, tag = "4")]
    end_time: i64,
    #[prost(string, tag = "6")]
    operation_name: String,
    #[prost(string, tag = "7")]
    peer: String,
    #[prost(int32, tag = "8")]
    span_type: i32,
    #[prost(int32, tag = "9")]
    span_layer: i32,
    #[prost(bool, tag = "11")]
    is_error: bool,
}

fn segment(trace_id: &str) -> Segment {
    let span = |span_id, operation_name: &str, span_type| SegmentSpan {
        span_id,
        parent_span_id: span_id - 1,
        start_time: 1_700_000_000_000,
        end_time: 1_700_000_000_020,
        operation_name: operation_name.to_owned(),
        peer: "10.0.0.9:9080".to_owned(),
        span_type,
        span_layer: 3,
        is_error: false,
    };
    Segment {
        trace_id: trace_id.to_owned(),
        trace_segment_id: "segment-1".to_owned(),
        spans: vec![span(0, "/ratings", 0), span(1, "/ratings/db", 1)],
        service: "ratings".to_owned(),
        service_instance: "ratings-1".to_owned(),
    }
}

#[tokio::test]
async fn applications_with_real_sdks_are_seen_through_jaegers_and_zipkins_apis() {
    let serving = Serving::start(64).await;

    let otlp = serving.send(serving.telemetry, &segment("a text of SkyWalking's own")).await;
    let zipkin = json!([{"traceId": otlp, "id": "00000000000000aa", "name": "get /cart", "kind": "CLIENT",
        "timestamp": 1_700_000_000_000_000_u64, "duration": 1000, "localEndpoint": {"serviceName": "cart"}}]);
    let (status, body) = serving.post("/api/v2/spans", "application/json", zipkin.to_string()).await;
    assert_eq!(status, 202, "{body}");

    let services = serving.ask("/api/services").await;
    assert_eq!(services["data"], json!(["cart", "front", "ratings", "reviews", "tidegate"]));
    let found = serving.ask("/api/traces?service=reviews&tags=%7B%22http.response.status_code%22%3A%22503%22%7D").await;
    assert_eq!(found["data"][0]["traceID"], json!(otlp), "{found}");
    let trace = serving.ask(&format!("/api/traces/{otlp}")).await;
    let spans = trace["data"][0]["spans"].as_array().unwrap();
    let named = |name: &str| spans.iter().find(|span| span["operationName"] == name).unwrap();
    let (caller, called) = (named("GET /"), named("GET /reviews"));
    assert_eq!(called["references"][0]["spanID"], caller["spanID"]);
    assert_eq!(called["logs"][0]["fields"][0]["value"], "retry");
    let tag = |span: &Value, key: &str| {
        span["tags"].as_array().unwrap().iter().find(|tag| tag["key"] == key).map(|tag| tag["value"].clone())
    };
    assert_eq!(tag(caller, "sizes"), Some(json!("[1,2]")));
    assert_eq!(tag(called, "error"), Some(json!(true)));
    assert_eq!(tag(called, "otel.scope.name"), Some(json!("shop.tracer")));
    assert_eq!(spans.len(), 3, "the span that came as Zipkin's is of the same trace");
    // The span of Zipkin says that the trace began years ago.
    let links = serving.ask("/api/dependencies?lookback=315360000000").await;
    assert!(links["data"].as_array().unwrap().iter().any(|l| l["parent"] == "front" && l["child"] == "reviews"));

    let segment = serving.ask("/api/v2/traces?serviceName=ratings&endTs=1700000001000&lookback=10000").await;
    assert_eq!(segment[0][1]["parentId"], segment[0][0]["id"], "{segment}");
    assert_eq!(segment[0][1]["remoteEndpoint"]["ipv4"], "10.0.0.9");
    let summaries = serving.ask("/api/v3/trace-summaries?query.serviceName=front").await;
    assert_eq!(summaries["summaries"][0]["errorSpanCount"], 1);
}

#[tokio::test]
async fn a_trace_that_is_sent_in_several_formats_to_the_port_of_proxies_is_one() {
    let serving = Serving::start(64).await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";

    serving.send(serving.xds, &segment(id)).await;
    let span = json!({"traceId": id, "spanId": "00000000000000bb", "name": "otlp", "startTimeUnixNano": "1700000000000000000"});
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let (status, body) = serving.post("/v1/traces", "application/json", request).await;

    assert_eq!((status, body.as_str()), (200, "{}"));
    assert_eq!(serving.ask(&format!("/api/v2/trace/{id}")).await.as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_memory_stays_bounded() {
    let serving = Serving::start(8).await;
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let bodies = [
        ("/v1/traces", "application/json", format!(r#"{{"resourceSpans":{deep}}}"#).into_bytes(), 400),
        ("/v1/traces", "application/json", b"garbage".to_vec(), 400),
        ("/v1/traces", "application/x-protobuf", vec![0xff; 100_000], 400),
        ("/v1/traces", "application/x-protobuf", vec![0; (4 << 20) + 1], 413),
        ("/v1/traces", "text/html", b"<p>".to_vec(), 415),
        ("/api/v2/spans", "application/json", deep.into_bytes(), 400),
        ("/api/v2/spans", "application/json", b"{\"not\":\"a list\"}".to_vec(), 400),
    ];
    for (path, kind, body, expected) in bodies {
        let (status, answer) = serving.post(path, kind, body).await;
        assert_eq!(status, expected, "{path} {kind}: {answer}");
        assert!(!answer.is_empty(), "{path}: a refusal says why");
    }
    // Two bytes each: what a decoder into structures would make half a gigabyte of.
    let mut spans = Vec::new();
    (0..2_000_000).for_each(|_| spans.extend_from_slice(&[0x12, 0]));
    let request = [length_delimited(1, &length_delimited(2, &spans))].concat();
    let (status, answer) = serving.post("/v1/traces", "application/x-protobuf", request).await;
    assert_eq!(status, 200, "{answer}");
    for round in 0..40_u32 {
        let (status, answer) = serving.post("/api/v2/spans", "application/json", flood(round)).await;
        assert_eq!(status, 202, "{answer}");
    }

    let (bytes, bytes_max) = (serving.metric("trace_store_bytes").await, serving.metric("trace_store_bytes_max").await);
    assert!(bytes <= bytes_max, "{bytes} of {bytes_max}");
    assert!(serving.metric("trace_traces_evicted_total").await > 0.0);
    assert!(serving.metric("trace_refused_total{reason=\"malformed\"}").await >= 2_000_000.0);
    let resident_mib = resident_kib(serving.process.id()) / 1024;
    eprintln!("with 8 MiB of traces the control plane has {resident_mib} MiB");
    assert!(resident_mib < 128, "{resident_mib} MiB");
}

/// A field of a message.
fn length_delimited(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// 2,000 traces of a span each, with names that nobody else has.
fn flood(round: u32) -> String {
    let span = |n: u32| {
        json!({"traceId": format!("{:x}", round * 2_000 + n + 1), "id": "1", "name": format!("operation {round} {n}"),
            "timestamp": 1_700_000_000_000_000_u64, "duration": 5,
            "localEndpoint": {"serviceName": format!("service {round} {n}")}, "tags": {"key": "x".repeat(300)}})
    };
    Value::Array((0..2_000).map(span).collect()).to_string()
}
