//! Every kind of collector is told the same, and none of them is felt by a request.

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::listener::Direction;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::collectors::{Otlp, decoded, hanging, posted};
use super::segments::{SegmentReference, SkyWalking, SpanType};
use super::{PARENT, TRACE, ask, counted, recorder, to_backend, traced, tracing, value};
use crate::backend::{nobody, says};
use crate::client::Client;
use crate::resources::start_with;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a text is in `sw8`.
fn encoded(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > three.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

#[tokio::test]
async fn otlp_over_http_is_the_same_message_posted() {
    let (collector, mut bodies) = posted().await;
    let (backend, heads) = recorder().await;
    let options = tracing(&[format!("otlp-http=http://{collector}/v1/traces")], "100");
    let (proxy, address) = start_with(options, to_backend(Direction::Inbound, Http1, backend)).await;

    ask(address, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")).await;

    let (path, kind, body) = timeout(PATIENCE, bodies.recv()).await.unwrap().unwrap();
    assert_eq!((&*path, &*kind), ("/v1/traces", "application/x-protobuf"));
    let span = decoded(body).remove(0);
    assert_eq!((&*span.trace, &*span.parent), (TRACE, PARENT));
    assert!(value(&heads.lock().unwrap()[0], "traceparent").contains(&span.id));
    let metric =
        format!("tidegate_spans_total{{collector=\"otlp-http=http://{collector}/v1/traces\",outcome=\"exported\"}}");
    counted(&proxy, &metric, 1).await;
}

#[tokio::test]
async fn zipkin_gets_json_of_version_2() {
    let (collector, mut bodies) = posted().await;
    let (backend, _) = recorder().await;
    let options = tracing(&[format!("zipkin=http://{collector}/api/v2/spans")], "100");
    let (_proxy, address) = start_with(options, to_backend(Direction::Outbound, Http1, backend)).await;

    ask(address, &format!("b3: {TRACE}-{PARENT}-1\r\n")).await;

    let (path, kind, body) = timeout(PATIENCE, bodies.recv()).await.unwrap().unwrap();
    assert_eq!((&*path, &*kind), ("/api/v2/spans", "application/json"));
    let spans: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let span = &spans[0];
    assert_eq!((&span["traceId"], &span["parentId"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!((&span["kind"], &span["name"]), (&"CLIENT".into(), &"GET /*".into()));
    assert_eq!(span["localEndpoint"]["serviceName"], "reviews.shop");
    assert_eq!(
        (&span["remoteEndpoint"]["ipv4"], &span["remoteEndpoint"]["port"]),
        (&"127.0.0.1".into(), &backend.port().into())
    );
    assert!(span["duration"].as_u64() >= Some(1) && span["timestamp"].as_u64() > Some(1_000_000_000_000_000));
    assert_eq!(
        (&span["tags"]["http.response.status_code"], &span["tags"]["component"]),
        (&"200".into(), &"proxy".into())
    );
}

#[tokio::test]
async fn skywalking_gets_segments_that_know_their_parents_by_the_callers_own_words() {
    let (collector, mut segments) = SkyWalking::start().await;
    let (backend, heads) = recorder().await;
    let to = [format!("skywalking={collector}")];
    let (_one, inbound) = start_with(tracing(&to, "100"), to_backend(Direction::Inbound, Http1, backend)).await;
    let (_two, outbound) = start_with(tracing(&to, "100"), to_backend(Direction::Outbound, Http1, backend)).await;
    let words = ["agent.trace", "agent.segment"].map(encoded);
    let rest = ["front", "front@host", "/page", "reviews:80"].map(encoded).join("-");

    ask(inbound, &format!("sw8: 1-{}-{}-7-{rest}\r\n", words[0], words[1])).await;
    let entry = timeout(PATIENCE, segments.recv()).await.unwrap().unwrap();
    // The application passes on `sw8` alone.
    let head = heads.lock().unwrap().pop().unwrap();
    ask(outbound, &format!("sw8: {}\r\n", value(&head, "sw8"))).await;
    let exit = timeout(PATIENCE, segments.recv()).await.unwrap().unwrap();

    assert_eq!((&*entry.trace_id, &*exit.trace_id), ("agent.trace", "agent.trace"));
    assert_eq!((&*entry.service, &*entry.service_instance), ("reviews.shop", "reviews.shop"));
    let (one, two) = (&entry.spans[0], &exit.spans[0]);
    assert_eq!((one.span_type(), two.span_type()), (SpanType::Entry, SpanType::Exit));
    assert_eq!((one.span_id, one.parent_span_id, one.span_layer), (0, -1, 3));
    assert_eq!((&*one.peer, &*two.peer), ("", &*backend.to_string()));
    assert_eq!(&*one.operation_name, "GET /*");
    assert!(one.start_time > 1_000_000_000_000 && one.end_time >= one.start_time);
    let first = SegmentReference {
        ref_type: 0,
        trace_id: "agent.trace".into(),
        parent_trace_segment_id: "agent.segment".into(),
        parent_span_id: 7,
        parent_service: "front".into(),
        parent_service_instance: "front@host".into(),
        parent_endpoint: "/page".into(),
        network_address_used_at_peer: "reviews:80".into(),
    };
    assert_eq!(one.refs, [first]);
    let second = SegmentReference {
        ref_type: 0,
        trace_id: "agent.trace".into(),
        parent_trace_segment_id: entry.trace_segment_id.clone(),
        parent_span_id: 0,
        parent_service: "reviews.shop".into(),
        parent_service_instance: "reviews.shop".into(),
        parent_endpoint: "GET /*".into(),
        network_address_used_at_peer: backend.to_string(),
    };
    assert_eq!(two.refs, [second]);
}

#[tokio::test]
async fn collectors_that_hang_or_refuse_cost_no_request_anything() {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 1_000;
    let silent = hanging().await;
    let to = [
        format!("otlp={silent}"),
        format!("otlp-http=http://{silent}/v1/traces"),
        format!("skywalking={silent}"),
        format!("zipkin=http://{}/api/v2/spans", nobody().await),
    ];
    let backend = says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let (proxy, address) = start_with(tracing(&to, "100"), to_backend(Direction::Inbound, Http1, backend)).await;

    let asking = (0..CLIENTS).map(|_| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..REQUESTS {
                assert_eq!(client.get("/").await.status, 200);
            }
        })
    });
    for client in asking.collect::<Vec<_>>() {
        client.await.expect("no request fails");
    }

    for collector in &to {
        let of = |outcome: &str| format!("tidegate_spans_total{{collector=\"{collector}\",outcome=\"{outcome}\"}}");
        // A queue and a batch, and what was given up meanwhile, are not counted here.
        let given_up = counted(&proxy, &of("failed"), 0).await;
        let dropped = counted(&proxy, &of("dropped"), 0).await;
        let all = (CLIENTS * REQUESTS) as u64;
        assert!(dropped + given_up >= all - 2_048 - 512, "{collector}: {dropped} dropped, {given_up} given up");
        assert_eq!(counted(&proxy, &of("exported"), 0).await, 0, "{collector}");
    }
    counted(&proxy, &format!("tidegate_spans_total{{collector=\"{}\",outcome=\"failed\"}}", to[3]), 1).await;

    // Nor does the process wait for them for long.
    let asked_to_end = Instant::now();
    proxy.drain_fast();
    proxy.ended().await;
    assert!(asked_to_end.elapsed() < Duration::from_secs(8), "{:?}", asked_to_end.elapsed());
}

#[tokio::test]
async fn a_slow_collector_gets_what_waited_for_it() {
    let leave = Arc::new(Semaphore::new(0));
    let (collector, mut told) = Otlp::start_with(Arc::clone(&leave)).await;
    let (backend, _) = recorder().await;
    let options = tracing(&[format!("otlp={collector}")], "100");
    let (_proxy, address) = start_with(options, to_backend(Direction::Inbound, Http1, backend)).await;

    for _ in 0..20 {
        assert_eq!(ask(address, "").await, 200);
    }
    leave.add_permits(20);

    for _ in 0..20 {
        told.span().await;
    }
}

#[tokio::test]
async fn a_collector_that_comes_back_is_told_again() {
    let port = nobody().await;
    let (backend, _) = recorder().await;
    let options = tracing(&[format!("otlp-http=http://{port}/v1/traces")], "100");
    let (proxy, address) = start_with(options, to_backend(Direction::Inbound, Http1, backend)).await;
    ask(address, "").await;
    let of = |outcome: &str| {
        format!("tidegate_spans_total{{collector=\"otlp-http=http://{port}/v1/traces\",outcome=\"{outcome}\"}}")
    };
    counted(&proxy, &of("failed"), 1).await;

    let mut bodies = super::collectors::posted_at(port).await;
    ask(address, "").await;

    timeout(PATIENCE, bodies.recv()).await.unwrap().unwrap();
    counted(&proxy, &of("exported"), 1).await;
}

#[tokio::test]
async fn what_waits_is_sent_when_the_process_ends() {
    let (proxy, address, _, mut told) = traced(Direction::Inbound).await;
    ask(address, "").await;

    proxy.drain_fast();
    proxy.ended().await;

    assert_eq!(told.span().await.name, "GET /*");
}
