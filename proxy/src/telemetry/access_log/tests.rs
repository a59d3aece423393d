//! Golden lines of each format, and what no caller can do to them.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_http1::{Limits, Parsed, RequestHead, ResponseHead, Version, parse_request};
use tidegate_xds::resource::route::{Policies, Written};

use super::entry::Place;
use super::*;
use crate::http::rejection::Behind;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn head(fields: &str) -> RequestHead {
    let text = format!("GET /cart?item=7&token=abc HTTP/1.1\r\nHost: shop.example:8080\r\n{fields}\r\n");
    match parse_request(text.as_bytes(), &Limits::STRICT) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}"),
    }
}

fn served() -> Outcome {
    let outcome = Outcome::default();
    outcome.answered(200);
    outcome.details.set("via_upstream");
    outcome.attempts.set(2);
    outcome.upstream.set(Some(([10, 0, 0, 3], 9080).into()));
    outcome.received.set(12);
    outcome.sent.set(3456);
    outcome
}

fn entry<'e>(request: Option<&'e RequestHead>, outcome: &'e Outcome) -> Entry<'e> {
    let started_at = UNIX_EPOCH + Duration::from_millis(1_709_210_096_007);
    Entry {
        now: started_at + Duration::from_millis(25),
        started_at,
        duration: Duration::from_micros(25_400),
        listener: "outbound",
        remote: ([127, 0, 0, 1], 5000).into(),
        client: [192, 0, 2, 7].into(),
        local: Some(([127, 0, 0, 1], 15001).into()),
        server_name: None,
        request,
        request_id: None,
        route: request.map(|_| Place { virtual_host: "shop", name: "canary", source: Some("reviews.yaml:12") }),
        cluster: Some("outbound|9080|v1|reviews"),
        behind: Behind::default(),
        response_time: Some(Duration::from_millis(21)),
        upstream_time: Some(Duration::from_millis(19)),
        hop: None,
        outcome,
    }
}

fn written(format: &str, entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    format.parse::<Format>().unwrap().write(&mut out, entry, &Redaction::default());
    String::from_utf8(out).unwrap()
}

fn object(format: &str, entry: &Entry<'_>) -> Value {
    let line = written(format, entry);
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn every_flag_has_a_bit() {
    let outcome = Outcome::default();
    ResponseFlag::ALL.into_iter().for_each(|flag| outcome.flag(flag));

    assert_eq!(outcome.flags().count(), ResponseFlag::ALL.len());
}

#[test]
fn text_is_istios_line() {
    let request = head("User-Agent: curl/8.5\r\nX-Request-Id: 11-22\r\nX-Forwarded-For: 192.0.2.7\r\n");

    assert_eq!(
        written("text", &entry(Some(&request), &served())),
        "[2024-02-29T12:34:56.007Z] \"GET /cart?item=7&token=REDACTED HTTP/1.1\" 200 - via_upstream - \"-\" 12 3456 25 19 \
         \"192.0.2.7\" \"curl/8.5\" \"11-22\" \"shop.example:8080\" \"10.0.0.3:9080\" outbound|9080|v1|reviews - \
         127.0.0.1:15001 192.0.2.7:0 - canary\n"
    );
}

#[test]
fn text_says_why_there_was_no_answer_and_a_dash_for_what_is_not_there() {
    let (request, outcome) = (head(""), Outcome::default());
    outcome.answered(503);
    outcome.flag(ResponseFlag::UpstreamConnectionFailure);
    outcome.flag(ResponseFlag::RetryLimitExceeded);
    outcome.explained("upstream_connect_failure");
    outcome.failed(&Trouble::Upstream(Fault::Connect("refused \"now\"\r\n".to_owned())));
    let entry = Entry { upstream_time: None, route: None, cluster: None, ..entry(Some(&request), &outcome) };

    assert_eq!(
        written("text", &entry),
        "[2024-02-29T12:34:56.007Z] \"GET /cart?item=7&token=REDACTED HTTP/1.1\" 503 UF,URX upstream_connect_failure - \
         \"refused \\x22now\\x22\\x0d\\x0a\" 0 0 25 - \"-\" \"-\" \"-\" \"shop.example:8080\" \"-\" - - 127.0.0.1:15001 \
         192.0.2.7:0 - -\n"
    );
}

#[test]
fn operators_have_their_values() {
    let request = head(&format!("X-Id: \u{e4}\u{e4}\u{e4}\r\nAuthorization: secret\r\ntraceparent: {TRACEPARENT}\r\n"));
    let outcome = served();
    outcome.grpc_status.set(Some(4));
    let entry = Entry { server_name: Some("shop.example"), ..entry(Some(&request), &outcome) };

    for (format, expected) in [
        ("%START_TIME(%s.%3f)%", "1709210096.007"),
        ("%START_TIME(%d/%b/%Y %T)%", "29/Feb/2024 12:34:56"),
        ("%START_TIME(\u{e9}%Y):1%|%START_TIME(\u{e9}%Y):2%", "|\u{e9}"),
        ("%REQ(:METHOD):2%", "GE"),
        ("%REQ(NONE?:AUTHORITY):4%", "shop"),
        ("%REQ(X-ID):4%", "\u{e4}\u{e4}"),
        ("%REQ(X-ID):5%", "\u{e4}\u{e4}"),
        ("%REQ(AUTHORIZATION)%", "REDACTED"),
        ("%REQ(NONE)% %REQ(NONE):0%", "- "),
        ("%RESPONSE_CODE%%%", "200%"),
        ("%RESPONSE_DURATION% %TIDEGATE_UPSTREAM_TIME%", "21 19"),
        ("%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%", "DeadlineExceeded DEADLINE_EXCEEDED 4"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%", "10.0.0.3 9080"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "127.0.0.1:5000 15001"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQUESTED_SERVER_NAME%", "2 shop.example"),
        ("%TRACE_ID%/%SPAN_ID%", "0af7651916cd43dd8448eb211c80319c/b7ad6b7169203331"),
        ("%TIDEGATE_LISTENER% %VIRTUAL_HOST_NAME% %TIDEGATE_SOURCE%", "outbound shop reviews.yaml:12"),
        ("a\tb%PROTOCOL%\\n", "a\tbHTTP/1.1"),
    ] {
        assert_eq!(written(format, &entry), format!("{expected}\n"), "{format}");
    }
}

#[test]
fn fields_of_answers_are_kept_when_a_format_wants_them() {
    let format: Format = "%RESP(X-Served-By)%|%RESP(NONE?Server)%|%RESP(Set-Cookie)%|%RESP(NONE)%".parse().unwrap();
    let log =
        AccessLog { format, filter: Filter::default(), redaction: Redaction::default(), file: None, collector: None };
    let answer = ResponseHead::builder(200)
        .field("server", b"s 1")
        .field("x-served-by", b"v\"2")
        .field("set-cookie", b"id=1")
        .build()
        .unwrap();
    let (request, outcome) = (head(""), served());

    log.keep(&answer, &outcome);

    let mut line = Vec::new();
    log.format.write(&mut line, &entry(Some(&request), &outcome), &log.redaction);
    assert_eq!(String::from_utf8(line).unwrap(), "v\\x222|s\\x201|REDACTED|-\n");
}

#[test]
fn formats_that_cannot_be_written_are_refused_with_what_there_is() {
    for (format, expected) in [
        ("%NO_SUCH%", "the operator `%NO_SUCH%` is not supported; known are REQ(A?B) "),
        ("%PROTOCOL(x)%", "the operator `%PROTOCOL(x)%` is not supported; known are "),
        ("plain", "`plain` is none of json, text, otel, ecs, and has no operator; known are REQ(A?B) "),
        ("%PROTOCOL%\n%PROTOCOL%", "the character '\\n' cannot stand in the format of a line"),
        ("%PROTOCOL", "`%PROTOCOL` is not closed"),
        ("%REQ(a b)%", "`a b` is not a header name"),
        ("%START_TIME(%q)%", "`%q` is not known in a time; known are %Y"),
    ] {
        let refused = format.parse::<Format>().unwrap_err();
        assert!(refused.starts_with(expected), "{format}: {refused}");
    }
}

#[test]
fn json_has_every_field_in_every_line() {
    let request = head(&format!("User-Agent: a\"b\r\ntraceparent: {TRACEPARENT}\r\n"));
    let route = Policies::from([("timeout".into(), "shop/slow reviews.yaml:12".into())]);
    let cluster = Policies::from([("circuit_breaker".into(), "shop/breaker".into())]);
    let places = Policies::from([("circuit_breaker".into(), "b.yaml:1".into())]);
    let places = Written::from([("reviews".into(), places)]);
    let outcome = served();
    outcome.flag(ResponseFlag::UpstreamTimeout);
    let behind =
        Behind { route: Some(&route), cluster: Some(&cluster), written: Some((&places, "reviews")), changed_by: None };

    let line = object("json", &Entry { behind, ..entry(Some(&request), &outcome) });

    assert_eq!(
        line,
        json!({
            "time_ms": 1_709_210_096_032_u64, "duration_ms": 25, "duration_ns": 25_400_000, "listener": "outbound", "method": "GET",
            "path": "/cart?item=7&token=REDACTED", "authority": "shop.example:8080", "virtual_host": "shop",
            "route": "canary", "source": "reviews.yaml:12", "cluster": "outbound|9080|v1|reviews",
            "upstream": "10.0.0.3:9080", "status": 200, "flags": ["UT"],
            "policies": ["timeout shop/slow reviews.yaml:12", "circuit_breaker shop/breaker b.yaml:1"],
            "attempts": 2, "request_id": null, "bytes_received": 12, "bytes_sent": 3456, "kind": "http",
            "start_ms": 1_709_210_096_007_u64, "upstream_ms": 19, "protocol": "HTTP/1.1", "details": "via_upstream",
            "grpc_status": null, "failure": null, "user_agent": "a\"b", "downstream": "127.0.0.1:5000",
            "client": "192.0.2.7", "server_name": null, "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "span_id": "b7ad6b7169203331",
        })
    );
}

#[test]
fn otel_has_the_names_of_the_semantic_conventions() {
    let request = head(&format!("User-Agent: curl\r\nX-Request-Id: 1\r\ntraceparent: {TRACEPARENT}\r\n"));

    let line = object("otel", &entry(Some(&request), &served()));

    assert_eq!(
        line,
        json!({
            "timestamp": "2024-02-29T12:34:56.007Z", "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "span_id": "b7ad6b7169203331", "http.request.method": "GET", "http.request.body.size": 12,
            "http.response.status_code": 200, "http.response.body.size": 3456, "url.scheme": "http",
            "url.path": "/cart", "url.query": "item=7&token=REDACTED", "server.address": "shop.example",
            "server.port": 8080, "client.address": "192.0.2.7", "network.peer.address": "127.0.0.1",
            "network.peer.port": 5000, "network.local.address": "127.0.0.1", "network.local.port": 15001,
            "network.transport": "tcp", "network.protocol.name": "http", "network.protocol.version": "1.1",
            "user_agent.original": "curl", "tidegate.request_id": "1", "tidegate.duration_ms": 25,
            "tidegate.listener": "outbound", "tidegate.virtual_host": "shop", "tidegate.route": "canary",
            "tidegate.route_source": "reviews.yaml:12", "tidegate.cluster": "outbound|9080|v1|reviews",
            "tidegate.upstream.address": "10.0.0.3", "tidegate.upstream.port": 9080, "tidegate.upstream_ms": 19,
            "tidegate.attempts": 2, "tidegate.response_flags": [], "tidegate.response_details": "via_upstream",
            "tidegate.policies": [],
        })
    );
}

#[test]
fn ecs_has_objects_in_objects() {
    let request = head(&format!("User-Agent: curl\r\nX-Request-Id: 1\r\ntraceparent: {TRACEPARENT}\r\n"));

    let line = object("ecs", &entry(Some(&request), &served()));

    assert_eq!(
        line,
        json!({
            "@timestamp": "2024-02-29T12:34:56.007Z", "ecs": {"version": "8.17.0"},
            "event": {
                "kind": "event", "category": ["network", "web"], "dataset": "tidegate.access", "outcome": "success",
                "duration": 25_400_000,
            },
            "http": {
                "version": "1.1", "request": {"id": "1", "method": "GET", "body": {"bytes": 12}},
                "response": {"status_code": 200, "body": {"bytes": 3456}},
            },
            "url": {
                "original": "/cart?item=7&token=REDACTED", "scheme": "http", "domain": "shop.example", "port": 8080,
                "path": "/cart", "query": "item=7&token=REDACTED",
            },
            "client": {"ip": "192.0.2.7"}, "source": {"ip": "127.0.0.1", "port": 5000, "bytes": 12},
            "destination": {"ip": "127.0.0.1", "port": 15001, "bytes": 3456},
            "network": {"transport": "tcp", "protocol": "http"}, "user_agent": {"original": "curl"},
            "trace": {"id": "0af7651916cd43dd8448eb211c80319c"}, "span": {"id": "b7ad6b7169203331"},
            "tidegate": {
                "listener": "outbound", "virtual_host": "shop", "route": "canary", "route_source": "reviews.yaml:12",
                "cluster": "outbound|9080|v1|reviews", "upstream": {"ip": "10.0.0.3", "port": 9080}, "upstream_ms": 19,
                "attempts": 2, "response_flags": [], "response_details": "via_upstream", "policies": [],
            },
        })
    );
}

#[test]
fn a_tcp_connection_has_a_line_without_a_request() {
    let outcome = Outcome::default();
    outcome.received.set(7);

    let connection = entry(None, &outcome);
    let line = object("json", &connection);

    assert_eq!((&line["kind"], &line["method"], &line["bytes_received"]), (&json!("tcp"), &Value::Null, &json!(7)));
    assert_eq!(object("ecs", &connection)["event"]["outcome"], "success");
    assert!(written("text", &connection).contains("] \"- - -\" 0 - - - \"-\" 7 0 25 "));
}

#[test]
fn a_filter_wants_what_any_of_its_conditions_wants() {
    let wants = |filter: &str, status: u16, flag: Option<ResponseFlag>, draw: u64| {
        let (request, outcome) = (head(""), Outcome::default());
        outcome.answered(status);
        flag.into_iter().for_each(|flag| outcome.flag(flag));
        let filter = filter.parse::<Filter>().unwrap();
        filter.wants(&entry(Some(&request), &outcome), || draw)
    };
    let flag = Some(ResponseFlag::RateLimited);

    assert!(!wants("errors", 200, None, 0) && !wants("errors", 404, None, 0));
    assert!(wants("errors", 500, None, 0) && wants("errors", 0, None, 0) && wants("errors", 429, flag, 0));
    assert!(wants("status>=404", 404, None, 0) && !wants("status>=404", 403, None, 0));
    assert!(wants("slow>=25", 200, None, 0) && !wants("slow>=26", 200, None, 0));
    assert!(wants("slow>=26,status>=200", 200, None, 0));
    assert!(
        wants("sample=50%", 200, None, u64::MAX / 2 - 1) && !wants("sample=50%", 200, None, u64::MAX / 2 + (1 << 33))
    );
    assert!(wants("sample=100%", 200, None, u64::MAX) && !wants("sample=0%", 200, None, 0));
    assert!(Filter::default().wants(&entry(None, &Outcome::default()), || 0));
}

#[test]
fn every_field_and_every_operator_is_documented() {
    let page = include_str!("../../../../docs/access-logs.md");
    let fields = [&schema::JSON, &schema::OTEL, &schema::ECS].into_iter().flat_map(|schema| schema.table);
    for (name, _) in fields {
        assert!(page.contains(&format!("`{name}`")), "docs/access-logs.md lacks the field `{name}`");
    }
    for operator in operator::known() {
        let named = page.contains(&format!("`{operator}`")) || page.contains(&format!("`{operator},"));
        let short = operator
            .strip_suffix("_WITHOUT_PORT")
            .is_some_and(|whole| page.contains(&format!("`{whole}`, `…_WITHOUT_PORT`")));
        assert!(named || short || operator.contains('|'), "docs/access-logs.md lacks the operator `{operator}`");
    }
}

proptest! {
    /// Heads with control characters are refused before there is a request, so those come from where no parser is asked: the reason of
    /// a failure, and what was kept of an answer.
    #[test]
    fn any_bytes_of_a_peer_make_one_line_that_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut value: Vec<u8> = bytes.iter().filter(|byte| !byte.is_ascii_control()).copied().collect();
        value = value.trim_ascii().to_vec();
        let request = RequestHead::builder().version(Version::Http2).method("GET").authority("a").path_and_query("/");
        let request = request.field("user-agent", &value).field("x-request-id", &value).build(&Limits::STRICT).unwrap();
        let outcome = served();
        *outcome.failure.borrow_mut() = Some(String::from_utf8_lossy(&bytes).into_owned());
        *outcome.kept.borrow_mut() = vec![Some(bytes.clone().into())];
        let entry = entry(Some(&request), &outcome);
        for format in ["json", "otel", "ecs"] {
            let line = written(format, &entry);
            prop_assert!(line.strip_suffix('\n').is_some_and(|line| !line.contains(char::is_control)), "{line:?}");
            let parsed: Value = serde_json::from_str(&line).unwrap();
            if format == "json" {
                let failure = String::from_utf8_lossy(&bytes);
                prop_assert_eq!(parsed["failure"].as_str().unwrap(), &failure);
                let agent = String::from_utf8_lossy(&value);
                prop_assert_eq!(parsed["user_agent"].as_str().unwrap(), &agent);
            }
        }
        let line = written("\"%REQ(USER-AGENT)%\" %RESP(A)% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\"", &entry);
        let line = line.strip_suffix('\n').unwrap();
        prop_assert!(!line.contains(char::is_control));
        prop_assert_eq!(line.matches('"').count(), 4);
        let word = line.split('"').nth(2).unwrap().trim_matches(' ');
        prop_assert!(!word.contains(char::is_whitespace), "{word:?}");
    }
}
