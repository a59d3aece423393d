//! Promise: TCP is shared out connection by connection, and no connection ever changes its version.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{WEIGHTS, canary_of};
use crate::harness::load::assert_drawn_share;
use crate::harness::{Backend, Mesh};

/// Connections for each weight.
const CONNECTIONS: u64 = 2_000;
/// Connections open at once.
const AT_ONCE: u64 = 50;
/// Questions on each connection, each of which must be answered by the same version.
const QUESTIONS: usize = 3;
/// A connection that says nothing for longer is stuck.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_tcp_route_shares_out_connections() {
    connections_are_shared_out("TCPRoute", tcp_route).await;
}

#[tokio::test]
async fn a_virtual_service_shares_out_connections() {
    connections_are_shared_out("VirtualService", |v1, v2| canary_of("tcp", "ledger", v1, v2)).await;
}

async fn connections_are_shared_out(form: &str, policy: impl Fn(u32, u32) -> String) {
    let plan = Mesh::plan().service_of("ledger", &["v1", "v2"], "tcp");
    let mesh = plan.policy("ledger.yaml", &policy(1, 0)).start().await;
    let _v1 = Backend::raw(mesh.application("ledger-v1"), |stream| answer(stream, b"v1")).await;
    let _v2 = Backend::raw(mesh.application("ledger-v2"), |stream| answer(stream, b"v2")).await;
    let to = mesh.outbound_tcp("web-v1", 0);
    let mut old = TcpStream::connect(to).await.expect("the sidecar listens");
    assert_eq!(ask(&mut old).await, "v1");

    for weight in WEIGHTS {
        mesh.apply("ledger.yaml", &policy(100 - weight, weight)).await;

        let what = format!("{form}, weight {weight}: connections by v2");
        let draw = async || connections_answered_by("v2", to).await;
        assert_drawn_share(&what, CONNECTIONS, f64::from(weight) / 100.0, draw).await;
        assert_eq!(ask(&mut old).await, "v1", "a connection that is open stays where it is, whatever the weights");
    }
}

/// A TCPRoute as users write it for a canary.
fn tcp_route(v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{name: ledger, namespace: shop}}
spec:
  parentRefs:
  - {{group: \"\", kind: Service, name: ledger}}
  rules:
  - backendRefs:
    - {{group: tidegate.io, kind: Version, name: ledger/v1, port: 9080, weight: {v1}}}
    - {{group: tidegate.io, kind: Version, name: ledger/v2, port: 9080, weight: {v2}}}
"
    )
}

/// An application that answers every byte with its version, until the client has said its last.
async fn answer(mut stream: TcpStream, version: &'static [u8; 2]) {
    while stream.read_u8().await.is_ok() {
        if stream.write_all(version).await.is_err() {
            return;
        }
    }
}

/// How many of [`CONNECTIONS`] connections are answered by `version`, every question on them.
async fn connections_answered_by(version: &str, to: SocketAddr) -> u64 {
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        clients.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..CONNECTIONS / AT_ONCE {
                let mut stream = TcpStream::connect(to).await.expect("the sidecar listens");
                let first = ask(&mut stream).await;
                for _ in 1..QUESTIONS {
                    assert_eq!(ask(&mut stream).await, first, "the bytes of one connection go to one version");
                }
                answers.push(first);
            }
            answers
        });
    }
    let answers: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(answers.len() as u64, CONNECTIONS);
    answers.iter().filter(|answer| *answer == version).count() as u64
}

/// Which version answers the next question on this connection.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"?").await.expect("the connection is open");
    let mut version = [0; 2];
    timeout(LIMIT, stream.read_exact(&mut version)).await.expect("an answer comes").expect("a whole answer");
    String::from_utf8_lossy(&version).into_owned()
}
