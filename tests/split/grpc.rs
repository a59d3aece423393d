//! Promise: gRPC is shared out call by call, although all calls of a client travel on one connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{WEIGHTS, canary_of};
use crate::harness::load::assert_drawn_share;
use crate::harness::{Backend, Mesh};

/// Calls for each weight.
const CALLS: u64 = 2_000;
/// Calls in flight at once: a busy channel, below every limit of streams on a connection.
const AT_ONCE: u64 = 50;
/// A call that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_grpc_route_shares_out_the_calls_of_one_connection() {
    calls_of_one_connection_are_shared_out("GRPCRoute", grpc_route).await;
}

#[tokio::test]
async fn a_virtual_service_shares_out_the_calls_of_one_connection() {
    calls_of_one_connection_are_shared_out("VirtualService", |v1, v2| canary_of("http", "echo", v1, v2)).await;
}

async fn calls_of_one_connection_are_shared_out(form: &str, policy: impl Fn(u32, u32) -> String) {
    let plan = Mesh::plan().service_of("echo", &["v1", "v2"], "grpc");
    let mesh = plan.policy("echo.yaml", &policy(2, 1)).start().await;
    let v1 = Backend::echo(mesh.application("echo-v1"), "v1").await;
    let v2 = Backend::echo(mesh.application("echo-v2"), "v2").await;
    let channel = Channel::open(mesh.outbound("web-v1")).await;

    for weight in WEIGHTS {
        mesh.apply("echo.yaml", &policy(100 - weight, weight)).await;

        let what = format!("{form}, weight {weight}: calls by v2");
        assert_drawn_share(&what, CALLS, f64::from(weight) / 100.0, async || {
            let before = (v1.requests(), v2.requests());
            let by_v2 = channel.calls_answered_by("v2").await;
            let served = (v1.requests() - before.0, v2.requests() - before.1);
            assert_eq!(served, (CALLS - by_v2, by_v2), "the applications saw what the client was told");
            by_v2
        })
        .await;
    }
}

/// A GRPCRoute as users write it for a canary.
fn grpc_route(v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: echo, namespace: shop}}
spec:
  parentRefs:
  - {{group: \"\", kind: Service, name: echo}}
  rules:
  - matches: [{{method: {{service: test.Echo}}}}]
    backendRefs:
    - {{group: tidegate.io, kind: Version, name: echo/v1, port: 9080, weight: {v1}}}
    - {{group: tidegate.io, kind: Version, name: echo/v2, port: 9080, weight: {v2}}}
"
    )
}

/// What gRPC calls a channel: here exactly one connection, opened once and never again.
struct Channel {
    calls: SendRequest<Bytes>,
}

impl Channel {
    async fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("the sidecar listens");
        let (calls, connection) = h2::client::handshake(stream).await.expect("the sidecar speaks HTTP/2");
        tokio::spawn(connection);
        Self { calls }
    }

    /// How many of [`CALLS`] calls are answered by `version`.
    async fn calls_answered_by(&self, version: &str) -> u64 {
        let mut callers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let calls = self.calls.clone();
            callers.spawn(async move {
                let mut answers = Vec::new();
                for _ in 0..CALLS / AT_ONCE {
                    let answer = timeout(LIMIT, call(calls.clone())).await.expect("a call is answered");
                    answers.push(answer);
                }
                answers
            });
        }
        let answers: Vec<String> = callers.join_all().await.into_iter().flatten().collect();
        assert_eq!(answers.len() as u64, CALLS);
        answers.iter().filter(|answer| *answer == version).count() as u64
    }
}

/// One call: the version that answered it, which is the message. It must have succeeded.
async fn call(calls: SendRequest<Bytes>) -> String {
    let request = Request::post("http://echo:9080/test.Echo/Say").header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(()).expect("a request of literals is valid");
    let mut calls = calls.ready().await.expect("the connection stays open");
    let (response, mut send) = calls.send_request(request, false).expect("the connection takes a call");
    send.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true).expect("the call is open");
    let response = response.await.expect("the call is answered");
    let in_head = response.headers().get("x-version").cloned();
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.expect("the answer is whole");
        body.flow_control().release_capacity(part.len()).expect("what came may be given back");
        message.extend_from_slice(&part);
    }
    let trailers = body.trailers().await.expect("the answer is whole").expect("gRPC has trailers");
    assert_eq!(trailers["grpc-status"], "0");
    let version = String::from_utf8(message.split_off(5)).expect("the message is text");
    assert_eq!(in_head.expect("the application says who it is"), version, "head and message come from one place");
    version
}
