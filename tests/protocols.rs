//! Promise: gRPC with streams and trailers, WebSocket and server-first TCP work through two sidecars.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Backend, Mesh};

/// A test that waits longer is stuck.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn grpc_streams_both_ways_at_once_and_keeps_its_trailers() {
    let mesh = Mesh::plan().service_of("echo", &["v1"], "grpc").start().await;
    let _backend = Backend::raw(mesh.application("echo-v1"), echo_grpc).await;
    let (mut client, connection) = h2_client(mesh.outbound("web-v1")).await;
    tokio::spawn(connection);
    let request = Request::post("http://echo:9080/test.Echo/Chat").header("content-type", "application/grpc");

    let (response, mut send) = client.send_request(request.header("te", "trailers").body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from_static(b"\0\0\0\0\x05first"), false).unwrap();
    let response = timeout(LIMIT, response).await.expect("the answer starts before the request ends").unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await, "\0\0\0\0\x05first", "each message comes back while the stream is open");
    send.send_data(Bytes::from_static(b"\0\0\0\0\x06second"), false).unwrap();
    assert_eq!(next(&mut body).await, "\0\0\0\0\x06second");
    send.send_data(Bytes::new(), true).unwrap();

    let trailers = timeout(LIMIT, body.trailers()).await.expect("the stream ends").unwrap().expect("gRPC has trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-messages"], "2");
}

#[tokio::test]
async fn a_cancelled_grpc_call_is_cancelled_at_the_application() {
    let mesh = Mesh::plan().service_of("echo", &["v1"], "grpc").start().await;
    let (reset, mut was_reset) = tokio::sync::mpsc::channel(1);
    let _backend = Backend::raw(mesh.application("echo-v1"), move |stream| {
        let reset = reset.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("the sidecar speaks HTTP/2");
            while let Some(Ok((request, _respond))) = connection.accept().await {
                let reset = reset.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(part) = body.data().await {
                        if part.is_err() {
                            reset.send(()).await.ok();
                        }
                    }
                });
            }
        }
    })
    .await;
    let (mut client, connection) = h2_client(mesh.outbound("web-v1")).await;
    tokio::spawn(connection);

    let request = Request::post("http://echo:9080/test.Echo/Wait").header("content-type", "application/grpc");
    let (response, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from_static(b"\0\0\0\0\x01x"), false).unwrap();
    let gone = timeout(Duration::from_millis(200), response).await;
    assert!(gone.is_err(), "the application never answers");
    send.send_reset(h2::Reason::CANCEL);

    timeout(LIMIT, was_reset.recv()).await.expect("the application hears of it").unwrap();
}

#[tokio::test]
async fn a_websocket_talks_after_101() {
    let mesh = Mesh::plan().service("chat", &["v1"]).own_backends().start().await;
    let _backend = Backend::raw(mesh.application("chat-v1"), |mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwelcome";
        stream.write_all(answer).await.expect("the sidecar reads");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
    })
    .await;
    let mut stream = TcpStream::connect(mesh.outbound("web-v1")).await.unwrap();

    let request = "GET /chat HTTP/1.1\r\nHost: chat:9080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nearly";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;

    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(read_exactly(&mut stream, "welcomeearly".len()).await, "welcomeearly");
    stream.write_all(b"ping").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 4).await, "ping");
}

#[tokio::test]
async fn a_tcp_server_may_speak_first_and_half_close_is_kept() {
    let mesh = Mesh::plan().service_of("mysql", &["v1"], "tcp").start().await;
    let _backend = Backend::raw(mesh.application("mysql-v1"), |mut stream| async move {
        stream.write_all(b"greeting").await.expect("the sidecar reads");
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.expect("the client half-closes");
        stream.write_all(format!("you said {asked}").as_bytes()).await.expect("the sidecar still reads");
    })
    .await;
    let mut stream = TcpStream::connect(mesh.outbound_tcp("web-v1", 0)).await.unwrap();

    assert_eq!(read_exactly(&mut stream, 8).await, "greeting", "the server speaks before the client");
    stream.write_all(b"select 1").await.unwrap();
    stream.shutdown().await.unwrap();

    let mut rest = String::new();
    timeout(LIMIT, stream.read_to_string(&mut rest)).await.expect("the answer ends").unwrap();
    assert_eq!(rest, "you said select 1");
}

type H2Connection = h2::client::Connection<TcpStream>;

async fn h2_client(to: SocketAddr) -> (h2::client::SendRequest<Bytes>, H2Connection) {
    let stream = TcpStream::connect(to).await.expect("the sidecar listens");
    h2::client::handshake(stream).await.expect("the sidecar speaks HTTP/2 with prior knowledge")
}

/// Answers every call with the messages it is sent, and counts them in a trailer.
async fn echo_grpc(stream: TcpStream) {
    let mut connection = h2::server::handshake(stream).await.expect("the sidecar speaks HTTP/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut send = respond.send_response(head, false).unwrap();
            let mut messages = 0;
            while let Some(Ok(part)) = body.data().await {
                body.flow_control().release_capacity(part.len()).unwrap();
                if !part.is_empty() {
                    messages += 1;
                    send.send_data(part, false).unwrap();
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 0.into());
            trailers.insert("x-messages", messages.into());
            send.send_trailers(trailers).unwrap();
        });
    }
}

async fn next(body: &mut h2::RecvStream) -> String {
    let part = timeout(LIMIT, body.data()).await.expect("a message comes back").expect("the stream is open").unwrap();
    body.flow_control().release_capacity(part.len()).unwrap();
    String::from_utf8(part.to_vec()).unwrap()
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LIMIT, stream.read_u8()).await.expect("a head comes").expect("a whole head"));
    }
    String::from_utf8(head).unwrap()
}

async fn read_exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(LIMIT, stream.read_exact(&mut bytes)).await.expect("bytes come").expect("enough bytes");
    String::from_utf8(bytes).unwrap()
}
