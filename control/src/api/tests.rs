//! The API over a real socket on loopback.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::{Api as Answers, serve};
use crate::ads::Hub;
use crate::api::model::{Finding, Spot};
use crate::changes::{ChangeLog, Entry, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::fleet::Fleet;
use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(20);

struct Api {
    fleet: Arc<Fleet>,
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn api() -> Api {
    let clock = Clock::of(|| Timestamp::from_unix_ms(1_700_000_000_000));
    let fleet = Arc::new(Fleet::new("/etc/mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 6));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, Answers::new(Arc::new(Hub::new(fleet.clone()))), std::future::pending()));
    Api { fleet, address, server }
}

impl Api {
    /// Sends text, reads until the server closes.
    async fn exchange(&self, request: String) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        answer
    }

    async fn get(&self, target: &str) -> (u16, String) {
        let answer = self.exchange(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn apply(&self, result: Outcome) -> u64 {
        let entry = Entry {
            generation: self.fleet.next_generation(),
            at: Timestamp::from_unix_ms(1_700_000_000_000),
            what: vec!["reviews.shop: v1 90 % / v2 10 % -> v1 50 % / v2 50 %".to_owned()],
            files: vec!["reviews.yaml".into()],
            result,
        };
        let generation = entry.generation;
        match result {
            Outcome::Applied => drop(self.fleet.applied(entry, 3, Vec::new())),
            Outcome::Rejected => self.fleet.rejected(entry, 3, vec![finding()]),
        }
        generation
    }
}

fn finding() -> Finding {
    Finding {
        code: "P0107".to_owned(),
        severity: "error".to_owned(),
        message: "weights are all zero".to_owned(),
        file: "reviews.yaml".to_owned(),
        line: 12,
        column: 7,
        help: None,
        places: vec![Spot { column: 7, length: 3, ..Spot::of_line("reviews.yaml", 12) }],
    }
}

#[tokio::test]
async fn readiness_follows_the_first_configuration() {
    let api = api().await;
    assert_eq!(api.get("/ready").await.0, 503);

    api.fleet.set_ready();

    assert_eq!(api.get("/ready").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn the_status_has_the_shape_that_others_rely_on() {
    let api = api().await;
    api.apply(Outcome::Applied);
    api.apply(Outcome::Rejected);

    let (status, body) = api.get("/api/v1/status").await;

    assert_eq!(status, 200);
    let expected = concat!(
        r#"{"generation":7,"config":{"directory":"/etc/mesh","state":"rejected","since":"2023-11-14T22:13:20.000Z","#,
        r#""files":3,"diagnostics":[{"code":"P0107","severity":"error","message":"weights are all zero","#,
        r#""file":"reviews.yaml","line":12,"column":7,"help":null,"#,
        r#""places":[{"file":"reviews.yaml","line":12,"column":7,"length":3,"label":"","primary":true}]}]},"proxies":[],"objects":[]}"#
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn changes_are_those_after_a_generation() {
    let api = api().await;
    let first = api.apply(Outcome::Applied);
    api.apply(Outcome::Rejected);

    let (_, all) = api.get("/api/v1/changes").await;
    let (_, later) = api.get(&format!("/api/v1/changes?since={first}")).await;

    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["changes"].as_array().unwrap().len(), 2);
    let expected = concat!(
        r#"{"changes":[{"generation":8,"at":"2023-11-14T22:13:20.000Z","#,
        r#""what":["reviews.shop: v1 90 % / v2 10 % -> v1 50 % / v2 50 %"],"files":["reviews.yaml"],"#,
        r#""result":"rejected","proxies":0,"acked":0,"nacked":0,"left":0,"first_ack_ms":null,"last_ack_ms":null}]}"#
    );
    assert_eq!(later, expected);
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_change_and_not_by_its_deadline() {
    let api = api().await;
    let began = Instant::now();

    let (polled, generation) = tokio::join!(api.get("/api/v1/changes?since=6&wait=60s"), async {
        // The poll may be read before or after this; it sees the change in either case.
        tokio::task::yield_now().await;
        api.apply(Outcome::Applied)
    });

    assert_eq!(generation, 7);
    assert!(polled.1.contains(r#""generation":7"#), "{}", polled.1);
    assert!(began.elapsed() < DEADLINE);
}

#[tokio::test]
async fn a_long_poll_without_a_change_ends_with_an_empty_list() {
    let api = api().await;

    assert_eq!(api.get("/api/v1/changes?since=6&wait=20ms").await, (200, r#"{"changes":[]}"#.to_owned()));
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let api = api().await;

    assert_eq!(api.get("/api/v1/changes?since=yesterday").await.0, 400);
    assert_eq!(api.get("/api/v1/changes?wait=long").await.0, 400);
    assert_eq!(api.get("/nothing").await.0, 404);
    let posted = api.exchange("POST /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()).await;
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
}

#[tokio::test]
async fn a_head_of_unreasonable_size_is_refused() {
    let api = api().await;

    let answer = api.exchange(format!("GET /ready HTTP/1.1\r\nx-long: {}\r\n\r\n", "y".repeat(64 * 1024))).await;

    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn metrics_have_a_help_line_each_and_say_what_happened() {
    let api = api().await;
    api.apply(Outcome::Applied);
    api.apply(Outcome::Rejected);

    let (_, page) = api.get("/metrics").await;

    for line in [
        "tidegate_control_generation 7",
        "tidegate_control_config_valid 0",
        "tidegate_control_config_applied_total 1",
        "tidegate_control_config_rejected_total 1",
        "tidegate_control_proxies{kind=\"sidecar\",settled=\"true\"} 0",
        "tidegate_control_config_propagation_seconds_bucket{le=\"+Inf\"} 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
    }
    let names = page.lines().filter_map(|l| l.strip_prefix("# TYPE ")).count();
    assert_eq!(page.lines().filter(|l| l.starts_with("# HELP ")).count(), names);
}

#[tokio::test]
async fn spans_are_posted_and_refused_in_the_words_of_their_format() {
    let api = api().await;
    let post = async |path: &str, kind: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n");
        let answer = api.exchange(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), body.to_owned())
    };
    let zipkin = r#"[{"traceId":"abc","id":"1","name":"get","localEndpoint":{"serviceName":"front"}}]"#;

    assert_eq!(post("/api/v2/spans", "application/json", zipkin).await, (202, String::new()));
    assert_eq!(post("/v1/traces", "application/json", "{}").await, (200, "{}".to_owned()));
    let partly = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#;
    let (status, body) = post("/v1/traces", "application/json; charset=utf-8", partly).await;
    assert!(
        status == 200 && body.starts_with(r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"a span"#),
        "{body}"
    );
    let (status, body) = post("/v1/traces", "application/json", "garbage").await;
    assert!(status == 400 && body.starts_with(r#"{"code":3,"message":"not an ExportTraceServiceRequest"#), "{body}");
    assert_eq!(post("/v1/traces", "application/x-protobuf", "garbage").await.0, 400);
    assert_eq!(post("/v1/traces", "text/plain", "x").await.0, 415);
    assert_eq!(post("/api/v2/spans", "application/x-thrift", "x").await.0, 415);
    assert_eq!(api.get("/v1/traces").await.0, 405);
    assert!(api.get("/api/v2/services").await.1.contains("front"));
    let (_, page) = api.get("/metrics").await;
    assert!(page.contains("tidegate_control_trace_spans_received_total 1\n"), "{page}");
    assert!(page.contains("tidegate_control_trace_refused_total{reason=\"malformed\"} 3\n"), "{page}");
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let api = api().await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n";

    let answer = api.exchange(format!("{head}content-length: 99999999999\r\n\r\nbeginning")).await;

    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn each_path_of_the_documentation_is_answered() {
    let api = api().await;
    for path in [
        "/console/",
        "/metrics",
        "/version",
        "/debug/syncz",
        "/api/v1/status",
        "/api/v1/changes",
        "/api/v1/policies",
        "/api/v1/splits",
    ] {
        assert_eq!(api.get(path).await.0, 200, "{path}");
    }
    assert_eq!(api.get("/").await.0, 302);
    assert_eq!(api.get("/debug/syncz").await.1, "[]");
    assert_eq!(api.get("/version").await.1, format!("tidegate-{}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_scraper_that_asks_for_openmetrics_is_told_that_it_got_it() {
    let api = api().await;
    let request =
        "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text\r\nconnection: close\r\n\r\n";

    let answer = api.exchange(request.to_owned()).await;

    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n") && answer.contains("vary: accept\r\n"));
}

#[tokio::test]
async fn a_topology_without_reports_is_empty_and_a_wrong_question_is_told_what_is_right() {
    let api = api().await;

    let (status, body) = api.get("/api/v1/topology").await;
    let view: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &view["type"], &view["window"]), (200, &"versionedApp".into(), &"1m".into()));
    assert_eq!((&view["edges"], &view["folded"]["requests"]), (&serde_json::json!([]), &0.into()));

    for (target, status, word) in [
        ("/api/v1/topology?window=7m", 400, "1m, 5m, 10m, 1h, 24h, total"),
        ("/api/v1/topology?edge=a", 400, "edge is not one of window, type, namespace, limit"),
        ("/api/v1/topology?limit=many", 400, "limit is a number of edges, 1 or more"),
        ("/api/v1/topology/series?node=a&limit=1", 400, "limit is not one of edge, node"),
        ("/api/v1/topology/series", 400, "edge=ID or node=ID is needed"),
        ("/api/v1/topology/series?node=a&window=total", 400, "total has no steps"),
        ("/api/v1/topology/series?node=a", 404, "no such edge or node"),
    ] {
        let (answered, body) = api.get(target).await;
        assert_eq!(answered, status, "{target}");
        assert!(body.contains(word), "{body}");
    }
}

#[tokio::test]
async fn a_page_that_rebinds_its_name_gets_nothing_of_any_path() {
    let api = api().await;
    for target in [
        "GET /api/v1/policies",
        "GET /console/",
        "GET /metrics",
        "GET /api/v1/stream",
        "POST /v1/traces",
        "GET /api/traces",
    ] {
        let answer =
            api.exchange(format!("{target} HTTP/1.1\r\nhost: evil.example:15014\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{target}: {answer}");
        assert!(answer.contains("content-type: application/json\r\n") && answer.contains("--api-host"), "{answer}");
    }
}

#[tokio::test]
async fn no_other_page_may_read_or_send() {
    let api = api().await;
    let from_a_page = |method: &str, target: &str| {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost:15014\r\norigin: http://evil.example\r\n");
        format!(
            "{head}access-control-request-method: POST\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]"
        )
    };
    for (method, target, status) in [
        ("POST", "/api/v2/spans", 403),
        ("POST", "/api/v1/explain", 403),
        ("OPTIONS", "/api/v1/explain", 403),
        ("DELETE", "/", 403),
        ("GET", "/api/v1/status", 200),
    ] {
        let answer = api.exchange(from_a_page(method, target)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {target}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control-"), "{answer}");
    }
}
