//! Promise: a mirrored request is a copy that nobody waits for: whatever happens to it, the caller does not notice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::load::assert_share;
use crate::harness::process::resident_kib;
use crate::harness::{Backend, Client, Mesh, wait};

const REQUESTS: usize = 300;
const COPY_LIMIT: Duration = Duration::from_secs(5);
/// By how much the slowest requests may be slower with a mirror: a busy machine's own noise.
const NOISE: Duration = Duration::from_millis(30);
const UPLOAD_BYTES: usize = 1 << 30;
const GROWTH_MAX_KIB: u64 = 8 * 1024;

/// `reviews` v1 with a copy of `percent` to `shadow`.
fn mirrored(percent: f64) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {{host: reviews}}
    mirror: {{host: shadow}}
    mirrorPercentage: {{value: {percent}}}
"
    )
}

/// A service without a sidecar, so that the test sees the copies' connections themselves.
fn shadow(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: shadow, namespace: shop}}
spec:
  ports:
  - {{name: http, port: 9080}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: shadow-1, namespace: shop, labels: {{kubernetes.io/service-name: shadow}}}}
addressType: IPv4
ports:
- {{name: http, port: {}}}
endpoints:
- {{addresses: [\"{}\"], conditions: {{ready: true}}}}
",
        address.port(),
        address.ip()
    )
}

/// Statuses and the 99th percentile of the time.
async fn statuses(client: &mut Client) -> (BTreeMap<u16, usize>, Duration) {
    let (mut seen, mut times) = (BTreeMap::new(), Vec::new());
    for _ in 0..REQUESTS {
        let start = wait::now();
        let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        times.push(start.elapsed());
        *seen.entry(answer.status.as_u16()).or_default() += 1;
    }
    times.sort();
    (seen, times[REQUESTS * 99 / 100])
}

/// Does to a mirrored connection what a bad target may do.
async fn misbehave(how: &str, mut stream: TcpStream) {
    let mut bytes = vec![0; 16 * 1024];
    match how {
        "sleeps" => {
            // Answers long after everybody has gone.
            if stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                wait::pass(Duration::from_secs(30)).await;
            }
        }
        "resets" => {
            stream.set_zero_linger().ok();
            drop(stream);
        }
        "answers 500" => {
            while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                let answer = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(answer).await.is_err() {
                    break;
                }
            }
        }
        _ => wait::pass(Duration::from_secs(30)).await,
    }
}

#[tokio::test]
async fn whatever_the_target_does_the_caller_does_not_notice() {
    let plan = Mesh::plan().service("reviews", &["v1"]);
    let target = SocketAddr::from((plan.spare_host(220), 9080));
    let mesh = plan.policy("shadow.yaml", &shadow(target)).start().await;
    let mut client = mesh.client("web-v1");
    statuses(&mut client).await;
    let (_, before) = statuses(&mut client).await;
    for how in ["sleeps", "resets", "answers 500", "never reads"] {
        let target = Backend::raw(target, move |stream| misbehave(how, stream)).await;
        mesh.apply("reviews.yaml", &mirrored(100.0)).await;

        let (seen, p99) = statuses(&mut client).await;

        println!("mirror target {how}: p99 {p99:.2?}, without a mirror {before:.2?}");
        assert_eq!(seen, BTreeMap::from([(200, REQUESTS)]), "{how}");
        assert!(p99 < before + NOISE, "{how}: {p99:?} against {before:?}");
        mesh.apply("reviews.yaml", &mirrored(0.0)).await;
        drop(target);
        wait::pass(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_copy_is_equal_to_the_byte_and_a_share_is_a_share() {
    let plan = Mesh::plan().service("reviews", &["v1"]);
    let target = SocketAddr::from((plan.spare_host(220), 9080));
    let copies: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&copies);
    let _shadow = Backend::raw(target, move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut all = Vec::new();
            while stream.read_buf(&mut all).await.is_ok_and(|n| n > 0) {
                while let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&all[..end]).into_owned();
                    let length = head
                        .lines()
                        .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                    let whole = end + 4 + length.unwrap_or(0);
                    if all.len() < whole {
                        break;
                    }
                    let body = String::from_utf8_lossy(&all[end + 4..whole]).into_owned();
                    all.drain(..whole);
                    seen.lock().expect("nobody panics with it").push(format!("{head}\n\n{body}"));
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
                }
            }
        }
    })
    .await;
    let text = shadow(target);
    let mesh = plan.policy("shadow.yaml", &text).policy("reviews.yaml", &mirrored(100.0)).start().await;
    let mut client = mesh.client("web-v1");
    let count = || copies.lock().expect("nobody panics with it").len();

    let body = Bytes::from("twelve bytes".repeat(500));
    let request = Request::post("/reviews/0?x=%20y").header("Host", "reviews:9080").header("X-Case", "Kept");
    let answer = client.send_body(request, body.clone()).await.expect("the mesh answers");
    wait::until("the copy arrives", COPY_LIMIT, || async { count() == 1 }).await;
    let copy = copies.lock().expect("nobody panics with it").remove(0);
    let (head, copied) = copy.split_once("\n\n").expect("a head and a body");
    assert_eq!(copied.as_bytes(), body, "the copied body");
    assert!(head.starts_with("POST /reviews/0?x=%20y HTTP/1.1"), "{head}");
    // The application says what it was sent; the copy has the same fields.
    let page = answer.text();
    for field in page.lines().skip(1).take_while(|l| !l.is_empty()) {
        let (name, value) = field.split_once(": ").expect("a field");
        let there =
            head.lines().any(|l| l.split_once(": ").is_some_and(|(n, v)| n.eq_ignore_ascii_case(name) && v == value));
        // The original went through a second sidecar, which may add fields of its own.
        let added = ["x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-envoy-attempt-count"];
        assert!(there || added.contains(&name), "the copy lacks {field}:\n{head}");
    }

    mesh.apply("reviews.yaml", &mirrored(10.0)).await;
    copies.lock().expect("nobody panics with it").clear();
    for _ in 0..1_000 {
        assert_eq!(client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers").status, 200);
    }
    wait::pass(Duration::from_millis(300)).await;
    println!("{} of 1000 requests were copied, 10 % wanted", count());
    assert_share("copies", count() as u64, 1_000, 0.10);
}

#[tokio::test]
async fn a_gigabyte_that_the_copy_never_reads_costs_no_memory() {
    let plan = Mesh::plan().service("reviews", &["v1"]).own_backends();
    let target = SocketAddr::from((plan.spare_host(220), 9080));
    let _shadow = Backend::raw(target, |stream| misbehave("never reads", stream)).await;
    let text = shadow(target);
    let mesh = plan.policy("shadow.yaml", &text).policy("reviews.yaml", &mirrored(100.0)).start().await;
    // An application that reads everything and keeps nothing.
    let _application = Backend::raw(mesh.application("reviews-v1"), |mut stream| async move {
        let (mut bytes, mut left) = (vec![0; 256 * 1024], None::<usize>);
        let mut head = Vec::new();
        while let Ok(n) = stream.read(&mut bytes).await {
            if n == 0 {
                return;
            }
            let mut body = n;
            if left.is_none() {
                head.extend_from_slice(&bytes[..n]);
                let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
                left = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok()).or(Some(0));
                body = head.len() - end - 4;
            }
            let rest = left.expect("known by now").saturating_sub(body);
            left = Some(rest);
            if rest == 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
                left = None;
                head.clear();
            }
        }
    })
    .await;
    let mut client = mesh.client("web-v1");
    let small = Request::post("/upload").header("host", "reviews:9080");
    assert_eq!(client.send_body(small, Bytes::from_static(b"x")).await.expect("the mesh answers").status, 200);
    let pid = mesh.proxies["web-v1"].id();
    let before = resident_kib(pid);
    let peak = Arc::new(std::sync::atomic::AtomicU64::new(before));
    let watched = Arc::clone(&peak);
    let watcher = tokio::spawn(async move {
        loop {
            watched.fetch_max(resident_kib(pid), std::sync::atomic::Ordering::Relaxed);
            wait::pass(Duration::from_millis(20)).await;
        }
    });

    let mut stream = TcpStream::connect(mesh.outbound("web-v1")).await.expect("the sidecar listens");
    let head = format!("POST /upload HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the sidecar reads");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..UPLOAD_BYTES / piece.len() {
        stream.write_all(&piece).await.expect("the sidecar reads");
    }
    let mut answer = vec![0; 1024];
    let n = stream.read(&mut answer).await.expect("the sidecar answers");
    watcher.abort();

    assert!(answer[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..n]));
    let growth = peak.load(std::sync::atomic::Ordering::Relaxed).saturating_sub(before);
    println!("1 GiB uploaded with a copy that nobody reads: the sidecar grew by {growth} KiB");
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB");
}
