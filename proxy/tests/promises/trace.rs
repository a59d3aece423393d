//! Traces: what goes on with a request, what collectors are told, and that nobody waits for them.

mod collectors;
mod exporting;
mod segments;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tidegate_proxy::{AccessLogOptions, Options, Proxy, Tracing};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::UpstreamProtocol::{self, Http1, Http2};
use tidegate_xds::resource::listener::{Direction, Listener};
use tidegate_xds::resource::route::{Mirror, RetryOn, RetryPolicy, RouteAction};
use tidegate_xds::transport::ClientConfig;

use self::collectors::{Otlp, Told};
use crate::access_log::lines;
use crate::backend::{http2_echo, nobody, scripted};
use crate::client::{Client, get};
use crate::resources::{
    cluster, forward, http_listener, inline, of_cluster, of_listener, options, route, routes, start_with,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Options of a proxy beside the workload `reviews` of the namespace `shop`.
fn tracing(to: &[String], percent: &str) -> Options {
    let node = Node { id: "reviews.shop".into(), ..Node::default() };
    // Nobody is there: what it serves, a test tells it.
    let server = "127.0.0.1:9".to_owned();
    let to = to.iter().map(|to| to.parse().expect("a collector")).collect();
    Options {
        control: Some(ClientConfig { server, node, mode: Mode::Delta, held: Vec::new() }),
        tracing: Tracing { to, share: percent.parse().expect("a share") },
        ..options()
    }
}

fn facing(direction: Direction) -> Listener {
    let all = route("/", RouteAction::Forward(Box::new(forward("backend"))));
    Listener { direction, ..http_listener("in", inline(routes("r", vec![all]))) }
}

fn to_backend(direction: Direction, protocol: UpstreamProtocol, backend: SocketAddr) -> Vec<Resource> {
    vec![of_cluster(cluster("backend", protocol, &[backend])), of_listener(facing(direction))]
}

/// A backend that answers, and the heads that it has seen.
async fn recorder() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    let backend = scripted(move |mut connection| {
        let heads = Arc::clone(&heads);
        async move {
            loop {
                let head = connection.head().await;
                heads.lock().expect("whole").push(head);
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    });
    (backend.await, seen)
}

/// A proxy that traces every request, its backend's heads, and a collector.
async fn traced(direction: Direction) -> (Proxy, SocketAddr, Arc<Mutex<Vec<String>>>, Told) {
    let (collector, told) = Otlp::start().await;
    let (backend, heads) = recorder().await;
    let options = tracing(&[format!("otlp={collector}")], "100");
    let (proxy, address) = start_with(options, to_backend(direction, Http1, backend)).await;
    (proxy, address, heads, told)
}

/// The values of a field in a head.
fn values(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

fn value(head: &str, name: &str) -> String {
    let values = values(head, name);
    assert_eq!(values.len(), 1, "{name} once in {head}");
    values[0].clone()
}

async fn ask(address: SocketAddr, fields: &str) -> u16 {
    let mut client = Client::connect(address).await;
    client.send(format!("GET /books?secret=1 HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")).await;
    client.answer().await.status
}

/// Waits until a number of the proxy is at least so large.
async fn counted(proxy: &Proxy, metric: &str, least: u64) -> u64 {
    let admin = proxy.admin_address().expect("admin");
    let looking = async {
        loop {
            let page = get(admin, "/stats/prometheus").await;
            let line = page.text().lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok());
            if let Some(count) = line.filter(|count| *count >= least) {
                return count;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), looking).await.expect(metric)
}

#[tokio::test]
async fn one_request_is_one_span_whose_id_the_application_sees_as_its_parent() {
    let (_proxy, address, heads, mut told) = traced(Direction::Inbound).await;

    ask(
        address,
        &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=b\r\nbaggage: k=v\r\nUser-Agent: t\r\n"),
    )
    .await;

    let span = told.span().await;
    assert_eq!((&*span.service, &*span.trace, &*span.parent), ("reviews.shop", TRACE, PARENT));
    assert_eq!((&*span.name, span.kind, span.error), ("GET /*", 2, false));
    let head = heads.lock().unwrap()[0].clone();
    assert_eq!(value(&head, "traceparent"), format!("00-{TRACE}-{}-01", span.id));
    assert_eq!((value(&head, "tracestate"), value(&head, "baggage")), ("a=b".into(), "k=v".into()));
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/books"),
        ("url.scheme", "http"),
        ("http.route", "/*"),
        ("http.response.status_code", "200"),
        ("server.address", "shop.test"),
        ("server.port", "80"),
        ("user_agent.original", "t"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("tidegate.cluster", "backend"),
        ("tidegate.virtual_host", "all"),
        ("upstream_cluster", "backend"),
        ("component", "proxy"),
        ("response_flags", "-"),
        ("node_id", "sidecar~127.0.0.1~reviews.shop~shop.svc.cluster.local"),
    ] {
        assert_eq!(span.attributes.get(name).map(String::as_str), Some(expected), "{name}");
    }
    let texts: Vec<_> = span.attributes.values().collect();
    assert!(!texts.iter().any(|text| text.contains("secret")), "{texts:?}");
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one_and_a_malformed_one_is_replaced() {
    for fields in [
        String::new(),
        "tracestate: a=b\r\n".to_owned(),
        format!("traceparent: 00-{TRACE}-{PARENT}\r\ntracestate: a=b\r\n"),
        format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\n"),
        "sw8: 1-x\r\nb3: 7\r\n".to_owned(),
    ] {
        let (_proxy, address, heads, mut told) = traced(Direction::Outbound).await;

        ask(address, &fields).await;

        let span = told.span().await;
        let head = heads.lock().unwrap()[0].clone();
        assert_eq!((span.kind, &*span.parent), (3, ""), "{fields}");
        assert_ne!(span.trace, TRACE, "{fields}");
        assert_eq!(value(&head, "traceparent"), format!("00-{}-{}-01", span.trace, span.id));
        assert!(values(&head, "tracestate").is_empty(), "{fields}");
        assert_eq!(span.attributes["url.full"], "http://shop.test/books");
    }
}

#[tokio::test]
async fn a_line_of_the_access_log_names_the_span_that_was_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (collector, mut told) = Otlp::start().await;
    let (backend, _) = recorder().await;
    let options = Options {
        access_log: Some(AccessLogOptions::to_file(&path)),
        ..tracing(&[format!("otlp={collector}")], "100")
    };
    let (_proxy, address) = start_with(options, to_backend(Direction::Inbound, Http1, backend)).await;

    for fields in [String::new(), format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n"), "b3: 1-2-1\r\n".to_owned()] {
        let count = std::fs::read_to_string(&path).unwrap_or_default().lines().count();
        ask(address, &fields).await;

        let span = told.span().await;
        let line = lines(&path, count + 1).await.pop().expect("a line");
        assert_eq!((&line["trace_id"], &line["span_id"]), (&json!(span.trace), &json!(span.id)), "{fields}");
    }
}

#[tokio::test]
async fn whoever_has_decided_is_obeyed() {
    let (backend, heads) = recorder().await;
    let (collector, mut told) = Otlp::start().await;
    let to = [format!("otlp={collector}")];
    let (_all, all) = start_with(tracing(&to, "100"), to_backend(Direction::Inbound, Http1, backend)).await;
    let (_none, none) = start_with(tracing(&to, "0"), to_backend(Direction::Inbound, Http1, backend)).await;
    let ids = format!("{TRACE}-{PARENT}");

    for (fields, sampled) in [
        (format!("traceparent: 00-{ids}-00\r\n"), false),
        (format!("traceparent: 00-{ids}-01\r\n"), true),
        (format!("b3: {ids}-0\r\n"), false),
        (format!("b3: {ids}-1\r\n"), true),
        (format!("b3: {ids}-d\r\n"), true),
        ("b3: 0\r\n".to_owned(), false),
        (format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {PARENT}\r\nX-B3-Sampled: 0\r\n"), false),
        (format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {PARENT}\r\nX-B3-Flags: 1\r\n"), true),
        ("sw8: 0-VA==-Uw==-0-YQ==-YQ==-YQ==-YQ==\r\n".to_owned(), false),
        ("sw8: 1-VA==-Uw==-0-YQ==-YQ==-YQ==-YQ==\r\n".to_owned(), true),
    ] {
        // The share of one would sample everything, that of the other nothing.
        ask(if sampled { none } else { all }, &fields).await;

        let head = heads.lock().unwrap().pop().unwrap();
        let flag = if sampled { "-01" } else { "-00" };
        assert!(value(&head, "traceparent").ends_with(flag), "{fields}: {head}");
        if sampled {
            let span = told.span().await;
            assert!(value(&head, "traceparent").contains(&span.id), "{fields}: somebody else's span");
        }
    }
}

#[tokio::test]
async fn an_application_may_pass_on_any_one_format_and_the_tree_stays_one() {
    let (_proxy, address, heads, mut told) = traced(Direction::Inbound).await;
    let sw8 = "sw8: 1-bXktdHJhY2U=-c2VnbWVudA==-3-YQ==-aQ==-L2U=-cA==\r\n";
    let multiple = format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {PARENT}\r\nX-B3-Sampled: 1\r\n");

    for (format, first) in [
        ("traceparent", format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")),
        ("b3", format!("b3: {TRACE}-{PARENT}-1\r\n")),
        ("x-b3-", multiple),
        ("sw8", sw8.to_owned()),
        ("sw8", format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n{sw8}")),
    ] {
        ask(address, &first).await;
        let one = told.span().await;
        // The application passes on what it knows, and nothing else.
        let head = heads.lock().unwrap().pop().unwrap();
        let known: String =
            head.lines().filter(|line| line.to_lowercase().starts_with(format)).map(|l| format!("{l}\r\n")).collect();
        ask(address, &known).await;
        let two = told.span().await;

        assert_eq!((two.trace, two.parent), (one.trace, one.id), "{format}: {known}");
    }
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own() {
    let count = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&count);
    let backend = scripted(move |mut connection| {
        let heads = Arc::clone(&heads);
        async move {
            loop {
                let head = connection.head().await;
                let number = {
                    let mut heads = heads.lock().unwrap();
                    heads.push(head);
                    heads.len()
                };
                let status = if number < 3 { "503 No" } else { "200 OK" };
                connection.say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
            }
        }
    })
    .await;
    let (collector, mut told) = Otlp::start().await;
    let retry = RetryPolicy { retry_on: vec![RetryOn::FiveXx], num_retries: 3, ..RetryPolicy::default() };
    let mut forward = forward("backend");
    forward.retry = Some(retry);
    let all = route("/", RouteAction::Forward(Box::new(forward)));
    let resources = |direction| {
        let listener = http_listener("in", inline(routes("r", vec![all.clone()])));
        vec![of_cluster(cluster("backend", Http1, &[backend])), of_listener(Listener { direction, ..listener })]
    };
    let options = || tracing(&[format!("otlp={collector}")], "100");
    let (_proxy, address) = start_with(options(), resources(Direction::Outbound)).await;

    assert_eq!(ask(address, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")).await, 200);

    let spans = [told.span().await, told.span().await, told.span().await];
    for (index, (span, head)) in spans.iter().zip(count.lock().unwrap().drain(..)).enumerate() {
        assert_eq!(value(&head, "traceparent"), format!("00-{TRACE}-{}-01", span.id), "attempt {index}");
        assert_eq!((&*span.parent, span.error), (PARENT, index < 2));
        let resent = span.attributes.get("http.request.resend_count");
        assert_eq!(resent.map(String::as_str), [None, Some("1"), Some("2")][index]);
        let status = if index < 2 { "503" } else { "200" };
        assert_eq!(span.attributes["http.response.status_code"], status);
    }

    // A hop that is called is one span, whatever it takes.
    let (_gateway, address) = start_with(options(), resources(Direction::Unspecified)).await;
    assert_eq!(ask(address, "").await, 200);
    let span = told.span().await;
    assert_eq!((span.kind, &*span.attributes["tidegate.retries"]), (2, "2"));
    assert!(count.lock().unwrap().iter().all(|head| value(head, "traceparent").contains(&span.id)));
}

#[tokio::test]
async fn an_answer_made_here_is_a_span_that_says_why() {
    let (collector, mut told) = Otlp::start().await;
    let options = tracing(&[format!("otlp={collector}")], "100");
    let (_proxy, address) = start_with(options, to_backend(Direction::Inbound, Http1, nobody().await)).await;

    assert_eq!(ask(address, "").await, 503);

    let span = told.span().await;
    assert!(span.error);
    assert_eq!(span.attributes["error.type"], "503");
    assert_eq!(span.attributes["response_flags"], "UF");
}

#[tokio::test]
async fn a_grpc_call_says_how_it_ended_behind_its_answer() {
    let (collector, mut told) = Otlp::start().await;
    let options = tracing(&[format!("otlp={collector}")], "100");
    let (_proxy, address) = start_with(options, to_backend(Direction::Inbound, Http2, http2_echo().await)).await;
    let mut client = Client::connect(address).await;

    let head =
        "POST /shop.Ratings/Get HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("{head}hello")).await;
    assert_eq!(client.answer().await.status, 200);

    let span = told.span().await;
    assert_eq!(&*span.name, "POST /*");
    for (name, expected) in [("rpc.system.name", "grpc"), ("rpc.method", "shop.Ratings/Get"), ("rpc.status_code", "OK")]
    {
        assert_eq!(span.attributes.get(name).map(String::as_str), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn a_copy_for_a_mirror_is_recorded_by_nobody() {
    let (collector, mut told) = Otlp::start().await;
    let (backend, heads) = recorder().await;
    let (target, copies) = recorder().await;
    let mut forward = forward("backend");
    forward.mirrors.push(Mirror::to("copy".into()));
    let all = route("/", RouteAction::Forward(Box::new(forward)));
    let resources = vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_cluster(cluster("copy", Http1, &[target])),
        of_listener(http_listener("in", inline(routes("r", vec![all])))),
    ];
    let (proxy, address) = start_with(tracing(&[format!("otlp={collector}")], "100"), resources).await;

    ask(address, "").await;

    let span = told.span().await;
    assert_eq!(span.attributes["tidegate.mirrored"], "true");
    counted(&proxy, "tidegate_mirrored_requests_total{cluster=\"copy\",outcome=\"mirrored\"}", 1).await;
    let (sent, copied) = (heads.lock().unwrap()[0].clone(), copies.lock().unwrap()[0].clone());
    assert_eq!(value(&sent, "traceparent"), format!("00-{}-{}-01", span.trace, span.id));
    assert_eq!(value(&copied, "traceparent"), format!("00-{}-{}-00", span.trace, span.id));
}

#[tokio::test]
async fn without_collectors_a_trace_passes_as_it_came() {
    let (backend, heads) = recorder().await;
    let (_proxy, address) = start_with(options(), to_backend(Direction::Inbound, Http1, backend)).await;
    let said = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=b\r\nb3: x\r\nsw8: y\r\n");

    ask(address, &said).await;
    ask(address, "").await;

    let heads = heads.lock().unwrap();
    assert!(heads[0].contains(&said), "{}", heads[0]);
    assert!(values(&heads[1], "traceparent").is_empty());
}
