//! Promise: through two sidecars an HTTP/1.1 exchange is the direct one, byte for byte, apart from documented fields.
//!
//! # What "documented" means
//! The fields that a sidecar adds or takes away are listed in the documentation of `tidegate-http1` and
//! `tidegate-proxy`. They are taken out on both sides before the comparison; everything else must be equal: method,
//! target, version, the case, order, repetition and values of fields, the body's bytes. A path travels in its canonical
//! form, which is the form it was matched in, so the request here has a canonical one; a query travels as it is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Backend, Mesh};

/// Fields that belong to a connection or that sidecars add.
const NOT_COMPARED: [&str; 5] = ["connection", "keep-alive", "x-request-id", "x-forwarded-proto", "x-forwarded-for"];

/// A request with everything that lesser proxies normalise away.
fn odd_request(host: &str) -> Vec<u8> {
    let body = "hello=world&x=\u{1}\u{2}";
    let head = format!(
        "POST /api/v1/items;v=2/caf%C3%A9/~u?q=a%20b&q=%7e&empty HTTP/1.1\r\n\
         hOsT: {host}\r\n\
         X-MiXeD-CaSe: One\r\n\
         x-repeated: first\r\n\
         X-Repeated: second\r\n\
         Cookie: a=1; b=\"two\"\r\n\
         X-Empty:\r\n\
         X-Spaces: inner   spaces  stay\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\
         zz-last: yes\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

const ODD_ANSWER: &[u8] = b"HTTP/1.1 299 Very Odd Indeed\r\n\
    sErVeR: Odd/1.0\r\n\
    Set-Cookie: a=1; Path=/\r\n\
    set-cookie: b=2; HttpOnly\r\n\
    X-Empty:\r\n\
    Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Content-Length: 11\r\n\
    ETag: W/\"odd\"\r\n\r\nhello\0world";

const CHUNKED_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Transfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";

#[tokio::test]
async fn odd_requests_and_answers_arrive_as_they_were_sent() {
    let (mesh, seen) = mesh_with_scripted_backend(ODD_ANSWER).await;
    let request = odd_request("reviews:9080");

    let direct_answer = exchange(mesh.application("reviews-v1"), &request, ODD_ANSWER.len()).await;
    let mesh_answer = exchange(mesh.outbound("web-v1"), &request, ODD_ANSWER.len()).await;

    let seen = seen.lock().unwrap().clone();
    assert_eq!(comparable(&seen[1]), comparable(&seen[0]), "the request as the application saw it");
    assert_eq!(comparable(&mesh_answer), comparable(&direct_answer), "the answer as the client saw it");
}

#[tokio::test]
async fn a_chunked_answer_keeps_its_chunks() {
    let (mesh, _seen) = mesh_with_scripted_backend(CHUNKED_ANSWER).await;
    let request = odd_request("reviews:9080");

    let answer = exchange(mesh.outbound("web-v1"), &request, CHUNKED_ANSWER.len()).await;

    assert_eq!(comparable(&answer), comparable(CHUNKED_ANSWER));
}

type Requests = Arc<Mutex<Vec<Vec<u8>>>>;

async fn mesh_with_scripted_backend(answer: &'static [u8]) -> (Mesh, Requests) {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).own_backends().start().await;
    let seen: Requests = Arc::default();
    let record = Arc::clone(&seen);
    let backend = Backend::raw(mesh.application("reviews-v1"), move |mut stream| {
        let record = Arc::clone(&record);
        async move {
            while let Some(request) = read_request(&mut stream).await {
                record.lock().unwrap().push(request);
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    mesh.backends.insert("reviews-v1".to_owned(), backend);
    (mesh, seen)
}

/// One request with a Content-Length body, or `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = head_length(&bytes) {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length: usize = text.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
            if bytes.len() >= head + length {
                return Some(bytes);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends `request` and reads until an answer with a body as long as `about` says has come and its end is in sight.
async fn exchange(to: SocketAddr, request: &[u8], about: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("somebody listens");
    stream.write_all(request).await.expect("the peer reads");
    let mut answer = Vec::new();
    // Added fields make an answer longer than the scripted one, never shorter.
    while answer.len() < about || !complete(&answer) {
        let more = stream.read_buf(&mut answer).await.expect("the peer does not reset");
        assert!(more > 0, "the connection ended within: {}", String::from_utf8_lossy(&answer));
    }
    answer
}

fn complete(answer: &[u8]) -> bool {
    answer.ends_with(b"hello\0world") || answer.ends_with(b"0\r\n\r\n")
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// The message without the fields that are not compared, readable in a failure's text.
fn comparable(message: &[u8]) -> String {
    let head = head_length(message).expect("a whole head");
    let mut text = String::new();
    for line in String::from_utf8_lossy(&message[..head]).split_inclusive("\r\n") {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !NOT_COMPARED.contains(&name.as_str()) {
            text.push_str(line);
        }
    }
    text + &String::from_utf8_lossy(&message[head..])
}
