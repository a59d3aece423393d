//! What the access log says of requests that were served.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_proxy::{AccessLogOptions, Options, Proxy};
use tidegate_xds::resource::cluster::UpstreamProtocol::{self, Http1};
use tidegate_xds::resource::route::RouteAction;

use crate::backend::{echo, http2_echo, scripted};
use crate::client::{Client, get};
use crate::resources::{
    all_to, cluster, forward, http_listener, inline, of_cluster, of_listener, options, route, routes, start_with,
    tcp_listener,
};

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

/// A file once it has so many lines.
async fn text(path: &Path, count: usize) -> String {
    let looking = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') && text.lines().count() >= count {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the lines come")
}

pub(crate) async fn lines(path: &Path, count: usize) -> Vec<Value> {
    text(path, count).await.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
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

/// A proxy whose lines look like this.
async fn logging_as(path: &Path, format: &str, backend: SocketAddr) -> (Proxy, SocketAddr) {
    let format = format.parse().expect("a format");
    let logged = AccessLogOptions { format, ..AccessLogOptions::to_file(path) };
    let resources = vec![
        of_cluster(cluster("backend", UpstreamProtocol::SameAsDownstream, &[backend])),
        of_listener(http_listener("in", inline(routes("routes", vec![route("/here", all("backend"))])))),
    ];
    start_with(Options { access_log: Some(logged), ..options() }, resources).await
}

fn all(cluster: &str) -> RouteAction {
    RouteAction::Forward(Box::new(forward(cluster)))
}

/// One request over HTTP/2.
async fn over_http2(address: SocketAddr, path: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("speaks HTTP/2");
    tokio::spawn(connection);
    let mut send = send.ready().await.expect("ready");
    let request = http::Request::builder().uri(format!("http://example.test{path}")).body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("sends");
    let mut response = response.await.expect("answers");
    while let Some(bytes) = response.body_mut().data().await {
        bytes.expect("whole");
    }
    response.body_mut().trailers().await.expect("whole");
    response.status().as_u16()
}

#[tokio::test]
async fn each_format_tells_of_requests_that_were_served_and_of_those_that_were_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, refused) = ("/here?a=1", "/elsewhere");
    for (format, version, status, flags) in [
        ("json", "protocol", "status", "flags"),
        ("otel", "network.protocol.version", "http.response.status_code", "tidegate.response_flags"),
        ("ecs", "/http/version", "/http/response/status_code", "/tidegate/response_flags"),
    ] {
        let path = folder.path().join(format);
        let (_proxy, address) = logging_as(&path, format, http2_echo().await).await;
        assert_eq!(over_http2(address, served).await, 200);
        assert_eq!(get(address, refused).await.status, 404);

        let lines = lines(&path, 2).await;

        let of = |line: usize, name: &str| match name.starts_with('/') {
            true => lines[line].pointer(name).expect(name).clone(),
            false => lines[line][name].clone(),
        };
        assert_eq!((of(0, status), of(0, flags)), (200.into(), serde_json::json!([])), "{format}");
        assert_eq!((of(1, status), of(1, flags)), (404.into(), serde_json::json!(["NR"])), "{format}");
        assert!(of(0, version).as_str().expect("a version").ends_with('2'), "{format}");
        assert!(of(1, version).as_str().expect("a version").ends_with("1.1"), "{format}");
    }
}

#[tokio::test]
async fn text_is_the_line_that_istio_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (_proxy, address) = logging_as(&path, "text", echo("one").await).await;
    let mut client = Client::connect(address).await;
    client.send("POST /here HTTP/1.1\r\nHost: a\r\nUser-Agent: x\"\x1b[2J\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(client.answer().await.status, 400);

    client = Client::connect(address).await;
    client.send("POST /here HTTP/1.1\r\nHost: a\r\nUser-Agent: x\"\\y\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(client.answer().await.status, 200);

    let text = text(&path, 1).await;
    let mut words = text.split(' ');
    assert!(words.next().is_some_and(|time| time.starts_with('[') && time.ends_with("Z]")), "{text}");
    let rest: Vec<_> = words.collect();
    assert_eq!(rest[..10].join(" "), "\"POST /here HTTP/1.1\" 200 - via_upstream - \"-\" 2 17", "{text}");
    assert!(text.contains(" \"-\" \"x\\x22\\x5cy\" \"-\" \"a\" \"127.0.0.1:"), "{text}");
}

#[tokio::test]
async fn a_caller_that_leaves_has_a_line_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (asked, seen) = tokio::sync::mpsc::unbounded_channel();
    let backend = scripted(move |mut connection| {
        let asked = asked.clone();
        async move {
            connection.head().await;
            asked.send(()).expect("somebody waits");
            connection.ended().await;
        }
    });
    let (_proxy, address) = logging(&path, Http1, backend.await).await;
    let mut client = Client::connect(address).await;
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut seen = seen;
    seen.recv().await.expect("asked");
    drop(client);

    let lines = lines(&path, 1).await;

    assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/slow".into(), &0.into()));
    assert_eq!(lines[0]["flags"], serde_json::json!(["DC"]));
}

#[tokio::test]
async fn only_what_the_filter_wants_has_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let filter = "errors".parse().expect("a filter");
    let logged = AccessLogOptions { filter, ..AccessLogOptions::to_file(&path) };
    let resources = vec![
        of_cluster(cluster("backend", Http1, &[echo("one").await])),
        of_listener(http_listener("in", inline(routes("routes", vec![route("/here", all("backend"))])))),
    ];
    let (_proxy, address) = start_with(Options { access_log: Some(logged), ..options() }, resources).await;

    assert_eq!(get(address, "/here").await.status, 200);
    assert_eq!(get(address, "/nowhere").await.status, 404);

    assert_eq!(lines(&path, 1).await[0]["path"], "/nowhere");
}

#[tokio::test]
async fn a_tcp_connection_has_a_line_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let backend = scripted(|mut connection| async move {
        connection.bytes(7).await;
        connection.say("an answer").await;
    });
    let resources =
        vec![of_cluster(cluster("bytes", Http1, &[backend.await])), of_listener(tcp_listener("in", "bytes"))];
    let options = Options { access_log: Some(AccessLogOptions::to_file(&path)), ..options() };
    let (_proxy, address) = start_with(options, resources).await;
    let mut client = Client::connect(address).await;
    client.send("request").await;
    client.shutdown().await;
    assert_eq!(client.rest().await, b"an answer");

    let lines = lines(&path, 1).await;

    assert_eq!(bytes(&lines), [(7, 9)]);
    assert_eq!((&lines[0]["kind"], &lines[0]["cluster"]), (&"tcp".into(), &"bytes".into()));
    assert_eq!((&lines[0]["listener"], &lines[0]["flags"]), (&"in".into(), &serde_json::json!([])));
}

#[tokio::test]
async fn who_follows_the_file_sees_every_request_once_while_it_is_rotated() {
    const ROTATIONS: usize = 20;
    const EACH: usize = 25;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let (proxy, address) = logging(&path, Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;

    for rotation in 0..ROTATIONS {
        for request in 0..EACH {
            client.get(&format!("/{}", rotation * EACH + request)).await;
        }
        std::fs::rename(&path, folder.path().join(format!("access.log.{rotation}"))).expect("moved");
        proxy.reload();
    }
    client.get("/last").await;
    lines(&path, 1).await;

    let mut seen = Vec::new();
    for file in std::fs::read_dir(folder.path()).expect("a folder") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        seen.extend(text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("whole");
            line["path"].as_str().expect("text").to_owned()
        }));
    }
    seen.sort();
    let mut expected: Vec<_> = (0..ROTATIONS * EACH).map(|number| format!("/{number}")).collect();
    expected.push("/last".to_owned());
    expected.sort();
    assert_eq!(seen, expected);
}
