//! What the access log says of requests that were served.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_proxy::{AccessLogOptions, Options, Proxy};
use tidegate_xds::resource::cluster::UpstreamProtocol::{self, Http1};

use crate::backend::{echo, scripted};
use crate::client::{Client, get};
use crate::resources::{all_to, cluster, http_listener, inline, of_cluster, of_listener, options, start_with};

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy in front of a backend, which logs to a file.
async fn logging(path: &Path, protocol: UpstreamProtocol, backend: SocketAddr) -> (Proxy, SocketAddr) {
    let resources = vec![
        of_cluster(cluster("backend", protocol, &[backend])),
        of_listener(http_listener("in", inline(all_to("routes", "backend")))),
    ];
    start_with(Options { access_log: Some(AccessLogOptions::to_file(path)), ..options() }, resources).await
}

/// The lines of a file once there are so many.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let looking = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') && text.lines().count() >= count {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(PATIENCE, looking).await.expect("the lines come");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What was received and sent according to each line.
fn bytes(lines: &[Value]) -> Vec<(u64, u64)> {
    let count = |line: &Value, name: &str| line[name].as_u64().expect("a number");
    lines.iter().map(|line| (count(line, "bytes_received"), count(line, "bytes_sent"))).collect()
}

#[tokio::test]
async fn bytes_are_those_of_bodies_without_their_framing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (_proxy, address) = logging(&path, Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;
    let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";

    client.send("POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.answer().await.text(), "one POST /l hello");
    client.send(chunked).await;
    assert_eq!(client.answer().await.text(), "one POST /c abcdefg");
    client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer_to("HEAD").await.status, 200);

    assert_eq!(bytes(&lines(&path, 3).await), [(5, 17), (7, 19), (0, 0)]);
}

#[tokio::test]
async fn bytes_of_chunks_that_are_relayed_as_they_are_do_not_include_the_chunks() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let size = 300_000;
    let backend = scripted(move |mut connection| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..size / 1_000 {
            connection.say([b"3e8\r\n", &[b'x'; 1_000][..], b"\r\n"].concat()).await;
        }
        connection.say("0\r\n\r\n").await;
    })
    .await;
    let (_proxy, address) = logging(&path, Http1, backend).await;

    assert_eq!(get(address, "/").await.body.len(), size);

    assert_eq!(bytes(&lines(&path, 1).await), [(0, size as u64)]);
}

#[tokio::test]
async fn bytes_of_a_tunnel_are_counted_both_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let backend = scripted(|mut connection| async move {
        connection.head().await;
        connection
            .say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await;
        connection.bytes(4).await;
        assert!(connection.ended().await);
    })
    .await;
    let (_proxy, address) = logging(&path, Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    client.head().await;
    client.expect(b"hello").await;
    client.send(b"\x81\x02hi").await;
    client.shutdown().await;
    client.closed().await;

    assert_eq!(bytes(&lines(&path, 1).await), [(4, 5)]);
}
