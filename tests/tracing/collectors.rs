//! Collectors as people run them, each asked in its own way: Zipkin's server, collectors that decode by their authors' own
//! packages, and the control plane's store by the two query APIs that it speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::span::{Span, text};
use crate::harness::process::{Process, root, tool};
use crate::harness::{Client, Mesh, wait};

/// A Java server on a machine that is busy.
const ZIPKIN_LIMIT: Duration = Duration::from_secs(120);
const PYTHON_LIMIT: Duration = Duration::from_secs(60);
/// As `tests/install.sh` has it.
const ZIPKIN: &str = "zipkin/zipkin-server-3.5.1-exec.jar";
/// The service whose traces are configuration changes.
pub(super) const CONTROL: &str = "tidegate";
/// What is asked for at once, more than a test sends.
const TRACES_MAX: usize = 200;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collector {
    /// Zipkin's server.
    Zipkin,
    /// OTLP over gRPC.
    Otlp,
    /// OTLP over HTTP.
    OtlpHttp,
    /// SkyWalking's segments.
    SkyWalking,
    /// The control plane, by Jaeger's API.
    ControlAsJaeger,
    /// The control plane, by Zipkin's API.
    ControlAsZipkin,
}

impl Collector {
    pub(super) const ALL: [Self; 6] =
        [Self::Zipkin, Self::Otlp, Self::OtlpHttp, Self::SkyWalking, Self::ControlAsJaeger, Self::ControlAsZipkin];
}

/// Running ones. Killed when dropped.
pub(super) struct Collectors {
    zipkin: SocketAddr,
    decoders: Process,
    _zipkin: Process,
    _folder: TempDir,
}

/// What tells a proxy of all of them, and to sample everything.
pub(super) fn flags(host: Ipv4Addr) -> Vec<String> {
    let to = [
        "control".to_owned(),
        format!("zipkin=http://{host}:9411/api/v2/spans"),
        format!("otlp={host}:4317"),
        format!("otlp-http=http://{host}:4318/v1/traces"),
        format!("skywalking={host}:11800"),
    ];
    let to = to.into_iter().flat_map(|to| ["--trace-to".to_owned(), to]);
    to.chain(["--trace-sample".to_owned(), "100".to_owned()]).collect()
}

impl Collectors {
    /// On their usual ports of `host`.
    pub(super) async fn start(host: Ipv4Addr) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let mut java = Command::new("java");
        // Zipkin's own setting names a port, of every address.
        java.args([format!("-Darmeria.ports[0].ip={host}").as_str(), "-Darmeria.ports[0].port=9411"]);
        java.args(["-Darmeria.ports[0].protocols[0]=http", "-Xmx256m", "-jar"]).arg(tool(ZIPKIN));
        let server = Process::start("zipkin", folder.path(), &mut java);
        let mut python = Command::new(tool("python/bin/python"));
        python.arg(root().join("tests/tracing/collector.py")).arg(host.to_string());
        let decoders = Process::start("collector", folder.path(), &mut python);
        let zipkin = SocketAddr::from((host, 9411));
        wait::until("the collectors are ready", PYTHON_LIMIT, || async { decoders.log().contains("collecting") }).await;
        wait::until("Zipkin is ready", ZIPKIN_LIMIT, || async {
            matches!(Client::new(zipkin).get("localhost", "/health").await, Ok(answer) if answer.status == 200)
        })
        .await;
        Self { zipkin, decoders, _zipkin: server, _folder: folder }
    }

    /// The spans of a trace, as far as the collector knows it by now.
    pub(super) async fn trace(&self, collector: Collector, mesh: &Mesh, trace: &str) -> Vec<Span> {
        let zipkin_path = format!("/api/v2/trace/{trace}");
        match collector {
            Collector::Zipkin => zipkin(&json(self.zipkin, &zipkin_path).await),
            Collector::ControlAsZipkin => zipkin(&json(mesh.control.api, &zipkin_path).await),
            Collector::ControlAsJaeger => {
                jaeger(&json(mesh.control.api, &format!("/api/traces/{trace}")).await["data"][0])
            }
            Collector::Otlp | Collector::OtlpHttp | Collector::SkyWalking => {
                let spans = self.told(collector).into_iter();
                spans.filter(|span| span.trace == trace).collect()
            }
        }
    }

    /// Every trace that the collector has heard of.
    pub(super) async fn traces(&self, collector: Collector, mesh: &Mesh) -> BTreeSet<String> {
        let spans: Vec<Span> = match collector {
            Collector::Zipkin => {
                let path = format!("/api/v2/traces?limit={TRACES_MAX}");
                lists(&json(self.zipkin, &path).await).flat_map(zipkin).collect()
            }
            // It keeps traces of its own, of configuration changes.
            Collector::ControlAsJaeger | Collector::ControlAsZipkin => {
                let mut spans = Vec::new();
                for service in lists(&mesh.control.get("/api/services").await["data"]).map(text) {
                    if service == CONTROL {
                        continue;
                    }
                    if collector == Collector::ControlAsJaeger {
                        let path = format!("/api/traces?service={service}&limit={TRACES_MAX}");
                        spans.extend(lists(&mesh.control.get(&path).await["data"]).flat_map(jaeger));
                    } else {
                        let path = format!("/api/v2/traces?serviceName={service}&limit={TRACES_MAX}");
                        spans.extend(lists(&mesh.control.get(&path).await).flat_map(zipkin));
                    }
                }
                spans
            }
            Collector::Otlp | Collector::OtlpHttp | Collector::SkyWalking => self.told(collector),
        };
        spans.into_iter().map(|span| span.trace).collect()
    }

    /// What the decoders have printed.
    fn told(&self, collector: Collector) -> Vec<Span> {
        self.segments_and_spans()
            .iter()
            .filter_map(|line| match (text(&line["collector"]).as_str(), collector) {
                ("otlp", Collector::Otlp) | ("otlp-http", Collector::OtlpHttp) => Some(otlp(line)),
                ("skywalking", Collector::SkyWalking) => Some(skywalking(line)),
                _ => None,
            })
            .collect()
    }

    /// The same, as it was printed.
    pub(super) fn segments_and_spans(&self) -> Vec<Value> {
        // The last line may not be whole yet.
        self.decoders.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// An answer, or nothing where there is none of that name.
async fn json(server: SocketAddr, path: &str) -> Value {
    let answer = Client::new(server).get("localhost", path).await.expect("the collector answers");
    match answer.status.as_u16() {
        404 => Value::Null,
        200 => serde_json::from_slice(&answer.body).expect("the collector speaks JSON"),
        status => panic!("GET {path}: {status} {}", answer.text()),
    }
}

fn lists(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn micros(value: &Value) -> Duration {
    Duration::from_micros(value.as_u64().expect("a time in microseconds"))
}

fn some(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn map(value: &Value) -> BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn pairs(value: &Value) -> BTreeMap<String, String> {
    lists(value).map(|pair| (text(&pair["key"]), text(&pair["value"]))).collect()
}

fn zipkin(trace: &Value) -> Vec<Span> {
    let span = |span: &Value| {
        let mut tags = map(&span["tags"]);
        // Zipkin's own place for it must say the same.
        let far = &span["remoteEndpoint"];
        for (tag, field) in [("network.peer.address", "ipv4"), ("network.peer.port", "port")] {
            let old = tags.insert(tag.to_owned(), text(&far[field]));
            assert!(old.is_none_or(|old| old == text(&far[field])), "{span}");
        }
        let start = micros(&span["timestamp"]);
        Span {
            trace: text(&span["traceId"]),
            id: text(&span["id"]),
            parent: some(&span["parentId"]),
            service: text(&span["localEndpoint"]["serviceName"]),
            kind: text(&span["kind"]),
            name: text(&span["name"]),
            start,
            end: start + micros(&span["duration"]),
            tags,
        }
    };
    lists(trace).map(span).collect()
}

pub(super) fn jaeger(trace: &Value) -> Vec<Span> {
    let span = |span: &Value| {
        let tags = pairs(&span["tags"]);
        let parent = lists(&span["references"]).find(|reference| reference["refType"] == "CHILD_OF");
        if let Some(parent) = parent {
            assert_eq!(parent["traceID"], span["traceID"], "{span}");
        }
        let process = &trace["processes"][text(&span["processID"])];
        let start = micros(&span["startTime"]);
        Span {
            trace: text(&span["traceID"]),
            id: text(&span["spanID"]),
            parent: parent.map(|parent| text(&parent["spanID"])),
            service: text(&process["serviceName"]),
            kind: tags.get("span.kind").expect("a kind").to_uppercase(),
            name: text(&span["operationName"]),
            start,
            end: start + micros(&span["duration"]),
            tags,
        }
    };
    lists(&trace["spans"]).map(span).collect()
}

fn otlp(line: &Value) -> Span {
    let nanos = |field: &str| Duration::from_nanos(line[field].as_u64().expect("nanoseconds"));
    assert_eq!(line["resource"]["service.instance.id"], line["resource"]["service.name"], "{line}");
    Span {
        trace: text(&line["trace"]),
        id: text(&line["id"]),
        parent: some(&line["parent"]),
        service: text(&line["resource"]["service.name"]),
        kind: text(&line["kind"]).trim_start_matches("SPAN_KIND_").to_owned(),
        name: text(&line["name"]),
        start: nanos("start_ns"),
        end: nanos("end_ns"),
        tags: map(&line["attributes"]),
    }
}

/// A segment of ours is one span.
fn skywalking(line: &Value) -> Span {
    let spans = line["spans"].as_array().expect("spans");
    let [span] = spans.as_slice() else { panic!("one span: {line}") };
    let millis = |field: &str| Duration::from_millis(text(&span[field]).parse().expect("milliseconds"));
    let references: Vec<&Value> = lists(&span["refs"]).collect();
    assert!(references.len() <= 1 && span["parentSpanId"] == -1 && span["spanLayer"] == "Http", "{line}");
    let parent = references.first().map(|parent| {
        assert_eq!((&parent["traceId"], &parent["refType"]), (&line["traceId"], &"CrossProcess".into()), "{line}");
        format!("{}/{}", text(&parent["parentTraceSegmentId"]), parent["parentSpanId"])
    });
    let mut tags = pairs(&span["tags"]);
    let kind = match text(&span["spanType"]).as_str() {
        "Entry" => "SERVER",
        "Exit" => "CLIENT",
        other => panic!("a span of type {other}: {line}"),
    };
    if kind == "CLIENT" {
        // Its own place, by which topologies are drawn.
        let peer = text(&span["peer"]);
        let (address, port) = peer.split_once(':').expect("an address");
        tags.insert("network.peer.address".into(), address.into());
        tags.insert("network.peer.port".into(), port.into());
    }
    Span {
        trace: text(&line["traceId"]),
        id: format!("{}/{}", text(&line["traceSegmentId"]), span["spanId"]),
        parent,
        service: text(&line["service"]),
        kind: kind.to_owned(),
        name: text(&span["operationName"]),
        start: millis("startTime"),
        end: millis("endTime"),
        tags,
    }
}
