//! Spans as collectors are told them, field by field. Other people's readers are asked in the proxy's promises.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tidegate_http1::Version;
use tidegate_report::ResponseFlag;

use super::super::attributes;
use super::super::ids::{SpanId, TraceId};
use super::super::span::{ErrorType, Grpc, Kind, Route};
use super::*;

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// The second attempt at a gRPC call, which a rate limit of the callee turned down.
pub(super) fn client() -> Span {
    Span {
        trace: TraceId::read(b"0af7651916cd43dd8448eb211c80319c").unwrap(),
        id: SpanId::read(b"00f067aa0ba902b7").unwrap(),
        parent: SpanId::read(b"b7ad6b7169203331"),
        sw8: None,
        kind: Kind::Client,
        gateway: false,
        started: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
        duration: Duration::from_nanos(2_500_499),
        status: 429,
        error: Some(ErrorType::Status(429)),
        flags: 1 << ResponseFlag::RateLimited as u8 | 1 << ResponseFlag::DelayInjected as u8,
        attempt: 2,
        copied: true,
        method: "POST",
        encrypted: false,
        version: Version::Http2,
        path: "/shop.Ratings/Get".into(),
        authority: "ratings.shop:9080".into(),
        user_agent: Some("grpc-rust".into()),
        request_id: Some("r1".into()),
        peer: at("127.0.0.1:40000"),
        local: Some(at("127.0.0.1:15001")),
        upstream: Some(at("[::1]:9080")),
        listener: "outbound".into(),
        route: Some(Route {
            name: "canary".into(),
            virtual_host: "ratings.shop:9080".into(),
            pattern: Some("/shop.Ratings/*".into()),
            policies: Arc::new([("split".into(), "shop/ratings ratings.yaml:3".into())].into()),
        }),
        cluster: Some("outbound|9080|v2|ratings.shop.svc.cluster.local".into()),
        grpc: Some(Grpc { method: "shop.Ratings/Get".into(), status: Some(8) }),
    }
}

pub(super) fn whose() -> Whose {
    Whose { service: "reviews.shop".into(), instance: "reviews.shop".into() }
}

#[test]
fn an_attempt_says_what_was_called_and_what_the_mesh_did() {
    let span = client();
    let said = attributes::of(&span, "reviews.shop");
    let lines: Vec<String> = said.iter().map(|(name, value)| format!("{name}={}", value.text())).collect();

    assert_eq!(
        lines.join("\n"),
        "http.request.method=POST
server.address=ratings.shop
server.port=9080
url.full=http://ratings.shop:9080/shop.Ratings/Get
url.template=/shop.Ratings/*
http.request.resend_count=1
network.peer.address=::1
network.peer.port=9080
network.protocol.name=http
network.protocol.version=2
user_agent.original=grpc-rust
http.response.status_code=429
error.type=429
rpc.system.name=grpc
rpc.method=shop.Ratings/Get
rpc.status_code=RESOURCE_EXHAUSTED
tidegate.listener=outbound
tidegate.route=canary
tidegate.virtual_host=ratings.shop:9080
tidegate.policies=split shop/ratings ratings.yaml:3
tidegate.cluster=outbound|9080|v2|ratings.shop.svc.cluster.local
tidegate.version=v2
tidegate.upstream.address=[::1]:9080
tidegate.retries=1
tidegate.fault_injected=true
tidegate.rate_limited=true
tidegate.mirrored=true
component=proxy
node_id=sidecar~127.0.0.1~reviews.shop~shop.svc.cluster.local
upstream_cluster=outbound|9080|v2|ratings.shop.svc.cluster.local
response_flags=DI,RL
guid:x-request-id=r1
peer.address=127.0.0.1"
    );
    assert_eq!(span.name(), "POST /shop.Ratings/*");
}

#[test]
fn zipkin_reads_microseconds_and_both_ends() {
    let mut json = zipkin::json(&[Arc::new(client())], &whose()).unwrap();
    let tags = json[0].as_object_mut().unwrap().remove("tags").unwrap();

    assert_eq!(
        json,
        serde_json::json!([{
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "id": "00f067aa0ba902b7",
            "parentId": "b7ad6b7169203331",
            "kind": "CLIENT",
            "name": "POST /shop.Ratings/*",
            "timestamp": 1_700_000_000_123_456_u64,
            "duration": 2_500,
            "localEndpoint": { "serviceName": "reviews.shop", "ipv4": "127.0.0.1", "port": 15_001 },
            "remoteEndpoint": { "ipv6": "::1", "port": 9_080 },
        }])
    );
    assert_eq!((&tags["error"], &tags["tidegate.version"]), (&"429".into(), &"v2".into()));
}

#[test]
fn a_span_is_weighed_by_what_callers_chose() {
    let (usual, mut long) = (client(), client());
    long.path = "/".repeat(256).into();

    assert!(long.weight() >= usual.weight() + 400);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_a_batch_is_bounded() {
    let to = vec!["otlp=127.0.0.1:9".parse().unwrap()];
    let (traces, couriers) = open(Tracing { to, ..Tracing::default() }, "s".into(), "i".into());
    let traces = traces.unwrap();
    let span = Arc::new(client());

    (0..WAITING_SPANS_MAX + 10).for_each(|_| traces.queues[0].push(&span));

    assert_eq!(traces.queues[0].counts.all()[1], ("dropped", 10));
    let mut courier = couriers.0.into_iter().next().unwrap();
    let mut batch = Vec::new();
    courier.gather(&mut batch);
    assert_eq!(batch.len(), BATCH_SPANS_MAX);
}
