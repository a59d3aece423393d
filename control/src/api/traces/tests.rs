//! The query APIs: their shapes to the byte, their errors, their bounds.

use http::Request;
use http_body_util::BodyExt as _;

use super::*;
use crate::changes::ChangeLog;
use crate::clock::{Clock, Timestamp};
use crate::trace::fixture::{BEGAN_NS, span};
use crate::trace::model::{Event, Kind, Status, Value};

/// Ten minutes after the spans of the fixture.
const NOW_MS: u64 = BEGAN_NS / 1_000_000 + 600_000;

fn fleet() -> Fleet {
    let clock = Clock::of(|| Timestamp::from_unix_ms(NOW_MS));
    Fleet::new("/etc/mesh".to_owned(), clock, crate::store::Store::none(), ChangeLog::default(), 0)
}

/// A call from productpage to reviews that fails.
fn filled() -> Fleet {
    let fleet = fleet();
    let mut called = span(0xabc, 2, 1, "reviews");
    called.status = Status::Error("gone".into());
    called.tags = vec![("code".into(), Value::Int(503)), ("peer.service".into(), Value::Text("front".into()))].into();
    called.events =
        vec![Event { at_ns: BEGAN_NS, name: "retry".into(), tags: vec![("n".into(), Value::Bool(true))].into() }]
            .into();
    let mut caller = span(0xabc, 1, 0, "productpage");
    caller.kind = Kind::Client;
    fleet.traces().store().insert([caller, called]);
    fleet
}

async fn ask(fleet: &Fleet, target: &str) -> (u16, String) {
    let request = Request::get(target).body(()).unwrap();
    let answer = answer(&request, fleet).await.expect("a path about traces");
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

async fn ok(fleet: &Fleet, target: &str) -> String {
    let (status, body) = ask(fleet, target).await;
    assert_eq!(status, 200, "{target}: {body}");
    body
}

#[tokio::test]
async fn jaegers_lists_have_its_envelope() {
    let fleet = filled();
    let tail = r#""limit":0,"offset":0,"errors":null}"#;
    for (target, data, total) in [
        ("/api/services", r#"["productpage","reviews"]"#, 2),
        ("/api/services/reviews/operations", r#"["GET /reviews"]"#, 1),
        ("/api/operations?service=reviews", r#"[{"name":"GET /reviews","spanKind":"server"}]"#, 1),
        ("/api/operations?service=reviews&spanKind=client", "[]", 0),
        ("/api/dependencies?lookback=3600000", r#"[{"parent":"productpage","child":"reviews","callCount":1}]"#, 1),
        ("/api/dependencies?endTs=1&lookback=1", "[]", 0),
    ] {
        assert_eq!(ok(&fleet, target).await, format!(r#"{{"data":{data},"total":{total},{tail}"#), "{target}");
    }
}

#[tokio::test]
async fn a_trace_in_jaegers_json() {
    let id = "00000000000000000000000000000abc";
    let reference = format!(r#"[{{"refType":"CHILD_OF","traceID":"{id}","spanID":"0000000000000001"}}]"#);
    let host = r#""tags":[{"key":"host.name","type":"string","value":"h1"}]"#;
    let expected = format!(
        concat!(
            r#"{{"data":[{{"traceID":"{id}","spans":["#,
            r#"{{"traceID":"{id}","spanID":"0000000000000001","flags":1,"operationName":"GET /reviews","references":[],"#,
            r#""startTime":1700000000001000,"duration":1000,"#,
            r#""tags":[{{"key":"http.response.status_code","type":"int64","value":200}},"#,
            r#"{{"key":"span.kind","type":"string","value":"client"}}],"logs":[],"processID":"p1","warnings":null}},"#,
            r#"{{"traceID":"{id}","spanID":"0000000000000002","flags":1,"operationName":"GET /reviews","references":{reference},"#,
            r#""startTime":1700000000002000,"duration":2000,"#,
            r#""tags":[{{"key":"code","type":"int64","value":503}},{{"key":"peer.service","type":"string","value":"front"}},"#,
            r#"{{"key":"span.kind","type":"string","value":"server"}},"#,
            r#"{{"key":"otel.status_code","type":"string","value":"ERROR"}},{{"key":"error","type":"bool","value":true}},"#,
            r#"{{"key":"otel.status_description","type":"string","value":"gone"}}],"#,
            r#""logs":[{{"timestamp":1700000000000000,"fields":[{{"key":"event","type":"string","value":"retry"}},"#,
            r#"{{"key":"n","type":"bool","value":true}}]}}],"processID":"p2","warnings":null}}],"#,
            r#""processes":{{"p1":{{"serviceName":"productpage",{host}}},"p2":{{"serviceName":"reviews",{host}}}}},"#,
            r#""warnings":null}}],"total":1,"limit":0,"offset":0,"errors":null}}"#
        ),
        id = id,
        reference = reference,
        host = host
    );

    assert_eq!(ok(&filled(), "/api/traces/abc").await, expected, "also by an id without its zeroes");
}

#[tokio::test]
async fn jaegers_search_takes_its_parameters() {
    let fleet = filled();
    let start = BEGAN_NS / 1_000;
    for (query, total) in [
        ("service=reviews", 1),
        ("", 1),
        ("service=reviews&operation=GET+%2Freviews&tags=%7B%22error%22%3A%22true%22%7D&lookback=1h&limit=20", 1),
        ("service=reviews&operation=other", 0),
        ("service=productpage&tags=%7B%22error%22%3A%22true%22%7D", 0),
        ("service=reviews&minDuration=2ms&maxDuration=2ms", 1),
        ("service=reviews&minDuration=2.1ms", 0),
        ("lookback=1m", 0),
        (&format!("start={start}&end={}&lookback=custom", start + 5_000), 1),
        (&format!("start={}", start + 5_000), 0),
        ("traceID=abc&traceID=def", 1),
    ] {
        let body = ok(&fleet, &format!("/api/traces?{query}")).await;
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["total"], total, "{query}");
        assert_eq!(read["data"].as_array().map(Vec::len), Some(total), "{query}");
    }
}

#[tokio::test]
async fn errors_come_in_the_envelope_of_each_api() {
    let fleet = filled();
    let jaeger = |code, msg: &str| {
        let error = format!(r#"[{{"code":{code},"msg":"{msg}"}}]"#);
        (code, format!(r#"{{"data":null,"total":0,"limit":0,"offset":0,"errors":{error}}}"#))
    };
    assert_eq!(ask(&fleet, "/api/traces/def").await, jaeger(404, "trace not found"));
    assert_eq!(ask(&fleet, "/api/traces/xyz").await.0, 400);
    assert_eq!(
        ask(&fleet, "/api/traces?limit=x").await,
        jaeger(400, "unable to parse param 'limit': it must be a number")
    );
    assert_eq!(ask(&fleet, "/api/traces?tags=x").await.0, 400);
    assert_eq!(ask(&fleet, "/api/operations").await.0, 400);
    assert_eq!(ask(&fleet, "/api/traces/a/b/c").await, jaeger(404, "there is no such path"));
    let v3 = r#"{"error":{"httpCode":404,"message":"trace not found"}}"#;
    assert_eq!(ask(&fleet, "/api/v3/traces/def").await, (404, v3.to_owned()));
    assert_eq!(ask(&fleet, "/api/v3/trace-summaries?query.startTimeMin=now").await.0, 400);
    assert_eq!(ask(&fleet, "/api/v2/trace/def").await, (404, "def not found\n".to_owned()));
    assert_eq!(ask(&fleet, "/api/v2/spans").await.0, 400);
    assert_eq!(ask(&fleet, "/api/traces?a=%zz").await.0, 400);
}

#[tokio::test]
async fn jaegers_third_api() {
    let fleet = filled();
    assert_eq!(ok(&fleet, "/api/v3/services").await, r#"{"services":["productpage","reviews"]}"#);
    let operations = r#"{"operations":[{"name":"GET /reviews","spanKind":"server"}]}"#;
    assert_eq!(ok(&fleet, "/api/v3/operations?service=reviews").await, operations);
    let query = concat!(
        "query.serviceName=reviews&query.startTimeMin=2023-11-14T22:13:20.000Z&query.startTimeMax=2023-11-14T22:14:20Z",
        "&query.searchDepth=20&query.attributes=%7B%22code%22%3A%22503%22%7D&query.durationMin=1ms"
    );
    let expected = concat!(
        r#"{"summaries":[{"traceId":"00000000000000000000000000000abc","rootServiceName":"productpage","#,
        r#""rootOperationName":"GET /reviews","minStartTimeUnixNano":"1700000000001000000","#,
        r#""maxEndTimeUnixNano":"1700000000004000000","spanCount":2,"errorSpanCount":1,"orphanSpanCount":0,"#,
        r#""services":[{"name":"productpage","spanCount":1,"errorSpanCount":0},"#,
        r#"{"name":"reviews","spanCount":1,"errorSpanCount":1}]}]}"#
    );
    assert_eq!(ok(&fleet, &format!("/api/v3/trace-summaries?{query}")).await, expected);
}

#[tokio::test]
async fn what_jaegers_third_api_gives_is_otlp_that_our_intake_reads() {
    let (fleet, other) = (filled(), fleet());
    let body: serde_json::Value = serde_json::from_str(&ok(&fleet, "/api/v3/traces/abc").await).unwrap();

    let mut collected = crate::trace::fixture::Collected::default();
    crate::trace::otlp_json::decode(body["result"].to_string().as_bytes(), &mut collected).unwrap();
    other.traces().store().insert(collected.spans);

    assert_eq!(ok(&other, "/api/traces/abc").await, ok(&fleet, "/api/traces/abc").await);
}

#[tokio::test]
async fn zipkins_read_api() {
    let fleet = filled();
    assert_eq!(ok(&fleet, "/api/v2/services").await, r#"["productpage","reviews"]"#);
    assert_eq!(ok(&fleet, "/api/v2/spans?serviceName=reviews").await, r#"["GET /reviews"]"#);
    let link = r#"[{"parent":"productpage","child":"reviews","callCount":1,"errorCount":1}]"#;
    assert_eq!(ok(&fleet, "/api/v2/dependencies?lookback=3600000").await, link);
    let trace = concat!(
        r#"[{"traceId":"00000000000000000000000000000abc","id":"0000000000000001","kind":"CLIENT","name":"GET /reviews","#,
        r#""timestamp":1700000000001000,"duration":1000,"localEndpoint":{"serviceName":"productpage"},"#,
        r#""tags":{"http.response.status_code":"200"}},"#,
        r#"{"traceId":"00000000000000000000000000000abc","parentId":"0000000000000001","id":"0000000000000002","#,
        r#""kind":"SERVER","name":"GET /reviews","timestamp":1700000000002000,"duration":2000,"#,
        r#""localEndpoint":{"serviceName":"reviews"},"remoteEndpoint":{"serviceName":"front"},"#,
        r#""annotations":[{"timestamp":1700000000000000,"value":"retry"}],"#,
        r#""tags":{"code":"503","error":"gone","peer.service":"front"}}]"#
    );
    assert_eq!(ok(&fleet, "/api/v2/trace/abc").await, trace);
    assert_eq!(ok(&fleet, "/api/v2/traceMany?traceIds=abc,def").await, format!("[{trace}]"));
    let found =
        ok(&fleet, "/api/v2/traces?serviceName=reviews&annotationQuery=retry+and+code%3D503&minDuration=2000").await;
    assert_eq!(found, format!("[{trace}]"));
    assert_eq!(ok(&fleet, "/api/v2/traces?annotationQuery=nothing").await, "[]");
}

#[tokio::test]
async fn an_answer_stops_growing_and_says_how_many_there_are() {
    let fleet = fleet();
    let store = fleet.traces().store();
    for trace in 1..=40 {
        let large = (1..=20).map(|id| {
            let mut large = span(trace, id, 0, "reviews");
            large.tags = (0..7).map(|n| (format!("k{n}").into(), Value::Text("x".repeat(8_000).into()))).collect();
            large
        });
        store.insert(large);
    }

    let body = ok(&fleet, "/api/traces?limit=1000").await;

    let read: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(read["total"], 40);
    assert!(read["data"].as_array().is_some_and(|data| data.len() < 40));
    assert!(body.len() < 2 * ANSWER_BYTES_MAX, "{}", body.len());
    assert_eq!(store.counts().answers_cut.load(Ordering::Relaxed), 1);
}
