//! Promise: a proxy that is asked to end finishes what it has begun, takes nothing new, and then is gone.

use std::time::Duration;

use http::Request;
use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, block_in_place};

use crate::harness::client::Answer;
use crate::harness::lasting::tcp_application;
use crate::harness::load::Load;
use crate::harness::process::Process;
use crate::harness::{Client, Mesh, wait};

/// How long the applications think about a slow request.
const DELAY_MS: u64 = 1_500;
/// The slow request, and a busy machine.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How long new connections are still served, as `--drain-seconds 3` says.
const GRACE: Duration = Duration::from_secs(3);
const GRACE_ARGUMENTS: [&str; 2] = ["--drain-seconds", "3"];

fn slow_request(mut client: Client) -> JoinHandle<Result<Answer, String>> {
    let request = Request::get("/slow").header("host", "reviews:9080").header("x-delay-ms", DELAY_MS);
    tokio::spawn(async move { client.send(request).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_answered_before_a_proxy_ends() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let backend = &mesh.backends["reviews-v1"];
    let in_flight: Vec<_> = (0..5).map(|_| slow_request(mesh.client("web-v1"))).collect();
    wait::until("the requests have reached the application", END_LIMIT, || async { backend.requests() == 5 }).await;

    let proxy = mesh.proxies.get_mut("web-v1").expect("it was planned");
    assert!(proxy.is_running());
    let ended = block_in_place(|| proxy.terminate(END_LIMIT));

    assert!(ended.success(), "an orderly end is no failure: {ended}\n{}", proxy.log());
    for request in in_flight {
        let answer = request.await.expect("the client does not panic").expect("the answer was not cut off");
        assert_eq!((answer.status, answer.version()), (StatusCode::OK, "v1"));
    }
    let late = mesh.client("web-v1").get("reviews:9080", "/").await;
    assert!(late.is_err(), "nobody listens any more: {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_first_then_the_door_and_kept_connections_are_asked_to_close() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    mesh.restart_proxy("web-v1", &GRACE_ARGUMENTS).await;
    let mut kept = mesh.client("web-v1");
    kept.get("reviews:9080", "/").await.expect("the mesh answers");

    mesh.proxies["web-v1"].signal("TERM");
    let start = wait::now();
    wait::until("readiness goes at once", GRACE / 3, || async {
        matches!(Client::new(mesh.admin("web-v1")).get("localhost", "/ready").await, Ok(a) if a.status == 503)
    })
    .await;
    let mut served = 0;
    while start.elapsed() < GRACE * 3 / 4 {
        let fresh = mesh.client("web-v1").get("reviews:9080", "/").await.expect("it accepts still");
        assert_eq!((fresh.status, fresh.headers.get("connection")), (StatusCode::OK, None));
        served += 1;
    }
    let mut last = None;
    while last.is_none() {
        let answer = kept.get("reviews:9080", "/").await.expect("a connection that is kept is answered");
        last = answer.headers.get("connection").cloned();
        wait::pass(Duration::from_millis(50)).await;
    }
    let proxy = mesh.proxies.get_mut("web-v1").expect("planned");
    let ended = block_in_place(|| proxy.ended(END_LIMIT));

    println!("{served} new connections served after SIGTERM; ended {:.1?} after it", start.elapsed());
    assert!(served > 10);
    assert_eq!(last.expect("the loop above ended"), "close");
    assert!(ended.success(), "{ended}");
}

/// One frame of HTTP/2: type, flags, stream and content.
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), content))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_is_told_twice_and_its_stream_is_finished() {
    const GOAWAY: u8 = 7;
    const PING: u8 = 6;
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    mesh.restart_proxy("web-v1", &["--drain-seconds", "0"]).await;
    let mut stream = TcpStream::connect(mesh.outbound("web-v1")).await.expect("it listens");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("it reads");
    // GET http://reviews:9080/ with x-delay-ms: 1500, on stream 1, which ends with it.
    let mut block = b"\x82\x86\x84\x41\x0creviews:9080\x00\x0ax-delay-ms\x041500".to_vec();
    let mut request = vec![0, 0, u8::try_from(block.len()).expect("short"), 1, 5, 0, 0, 0, 1];
    request.append(&mut block);
    stream.write_all(&request).await.expect("it reads");
    let backend = &mesh.backends["reviews-v1"];
    wait::until("the request has reached the application", END_LIMIT, || async { backend.requests() == 1 }).await;

    mesh.proxies["web-v1"].signal("TERM");
    let (mut last_streams, mut answered) = (Vec::new(), false);
    while let Some((kind, flags, id, content)) = frame(&mut stream).await {
        match kind {
            GOAWAY => last_streams.push(u32::from_be_bytes(content[..4].try_into().expect("eight bytes at least"))),
            PING if flags & 1 == 0 => {
                let answer = [&[0, 0, 8, PING, 1, 0, 0, 0, 0], &content[..]].concat();
                stream.write_all(&answer).await.expect("it reads");
            }
            0 | 1 if id == 1 => answered |= flags & 1 == 1,
            _ => {}
        }
    }
    let proxy = mesh.proxies.get_mut("web-v1").expect("planned");
    let ended = block_in_place(|| proxy.ended(END_LIMIT));

    println!("last streams of the GOAWAYs: {last_streams:?}");
    assert_eq!(last_streams.first(), Some(&0x7fff_ffff), "first: begin nothing new, what is on its way is served");
    assert_eq!(last_streams.last(), Some(&1), "then: this was the last one");
    assert!(answered, "the stream that was begun is finished");
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_at_the_deadline_is_cut_and_a_second_signal_does_not_wait_for_it() {
    let mut mesh = Mesh::plan().service_of("ledger", &["v1"], "tcp").start().await;
    let _ledger = tcp_application(mesh.application("ledger-v1"), b"v1").await;
    let arguments = ["--drain-seconds", "1", "--drain-deadline-seconds", "6"];
    for (second, code) in [(None, 0), (Some("TERM"), 143), (Some("INT"), 130)] {
        mesh.restart_proxy("web-v1", &arguments).await;
        let mut tunnel = TcpStream::connect(mesh.outbound_tcp("web-v1", 0)).await.expect("it listens");
        tunnel.write_all(b"?").await.expect("it reads");
        tunnel.read_u16().await.expect("the tunnel is open");

        let proxy = mesh.proxies.get_mut("web-v1").expect("planned");
        // The log goes on from one process to the next. Two signals at once would be one.
        let heard = |proxy: &Process| proxy.log().matches("draining: not ready").count();
        let before = heard(proxy);
        proxy.signal("TERM");
        let start = wait::now();
        wait::until("the first signal is heard", END_LIMIT, || async { heard(proxy) > before }).await;
        if let Some(second) = second {
            proxy.signal(second);
        }
        let ended = block_in_place(|| proxy.ended(END_LIMIT));

        println!("second signal {second:?}: {ended} after {:.1?}", start.elapsed());
        assert_eq!(ended.code(), Some(code), "{}", proxy.log());
        match second {
            None => assert!((5..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed()),
            Some(_) => assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed()),
        }
        assert!(tunnel.read_u8().await.is_err(), "the tunnel is cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_of_two_replicas_may_end_and_its_callers_do_not_notice() {
    let mut mesh = Mesh::plan().service("reviews", &["v1", "v2"]).start().await;
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/reviews/0", 12, 4);

    for replica in ["reviews-v1", "reviews-v2"] {
        wait::pass(GRACE / 2).await;
        let proxy = mesh.proxies.get_mut(replica).expect("planned");
        let ended = block_in_place(|| proxy.terminate(2 * END_LIMIT));
        assert!(ended.success(), "{replica}: {ended}");
        wait::pass(GRACE / 2).await;
        mesh.restart_proxy(replica, &[]).await;
    }
    let seen = load.stop().await;

    println!("{} requests while two replicas ended one after the other: {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.requests > 5_000 && seen.versions.len() == 2, "{:?}", seen.versions);
}

#[tokio::test]
async fn a_hang_up_opens_the_access_log_anew() {
    let plan = Mesh::plan().service("reviews", &["v1"]).access_logs();
    let mesh = plan.start().await;
    mesh.client("web-v1").get("reviews:9080", "/before").await.expect("the mesh answers");
    wait::until("the request has its line", END_LIMIT, || async { mesh.access_log("web-v1").len() == 1 }).await;
    let (log, moved) = (mesh.folder().join("web-v1-access.log"), mesh.folder().join("web-v1-access.log.1"));
    std::fs::rename(&log, &moved).expect("the test's folder is writable");

    mesh.proxies["web-v1"].signal("HUP");
    wait::until("the log is opened anew", END_LIMIT, || async {
        mesh.proxies["web-v1"].log().contains("access log opened anew") && log.exists()
    })
    .await;
    mesh.client("web-v1").get("reviews:9080", "/after").await.expect("the mesh answers");

    wait::until("the next line is in the new file", END_LIMIT, || async { mesh.access_log("web-v1").len() == 1 }).await;
    assert_eq!(mesh.access_log("web-v1")[0]["path"], "/after");
    assert_eq!(std::fs::read_to_string(moved).expect("it was moved").lines().count(), 1);
}
