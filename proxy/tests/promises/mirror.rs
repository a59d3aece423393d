//! Mirrors: the copy is whole, and whatever its target does, the original does not notice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_proxy::Proxy;
use tidegate_xds::resource::cluster::UpstreamProtocol::{self, Http1, Http2};
use tidegate_xds::resource::route::{AppendAction, HeaderAddition, Mirror, RouteAction};
use tokio::time::Instant;

use crate::backend::{echo, http2_echo, says, scripted};
use crate::client::{Client, get};
use crate::resources::{cluster, forward, http_listener, inline, of_cluster, of_listener, proxy_with, route, routes};

async fn mirrored(mirror: Mirror, main: SocketAddr, copy: (UpstreamProtocol, SocketAddr)) -> (Proxy, SocketAddr) {
    let mut forward = forward("main");
    forward.mirrors.push(mirror);
    proxy_with(vec![
        of_cluster(cluster("main", Http1, &[main])),
        of_cluster(cluster("copy", copy.0, &[copy.1])),
        of_listener(http_listener(
            "in",
            inline(routes("r", vec![route("/", RouteAction::Forward(Box::new(forward)))])),
        )),
    ])
    .await
}

/// Waits until so many copies have come to this end.
async fn outcome(proxy: &Proxy, outcome: &str, count: u64) {
    let line = format!("tidegate_mirrored_requests_total{{cluster=\"copy\",outcome=\"{outcome}\"}} {count}\n");
    let admin = proxy.admin_address().expect("admin");
    let patience = Instant::now() + Duration::from_secs(5);
    while !get(admin, "/stats/prometheus").await.text().contains(&line) {
        assert!(Instant::now() < patience, "never {line}");
    }
}

/// A target that takes the head and as many bytes, and keeps what it took.
async fn recorder(body: usize) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&seen);
    let target = scripted(move |mut connection| {
        let taken = Arc::clone(&taken);
        async move {
            loop {
                let head = connection.head().await;
                let body = String::from_utf8(connection.bytes(body).await).expect("text");
                taken.lock().expect("whole").push(head + &body);
                connection.say("HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad").await;
            }
        }
    });
    (target.await, seen)
}

#[tokio::test]
async fn the_copy_is_the_request_byte_by_byte() {
    let request = "POST /a?b=c HTTP/1.1\r\nHost: Shop.test\r\nX-CaSe: Kept\r\nContent-Length: 5\r\n\r\nhello";
    let (main, seen_by_main) = recorder(5).await;
    let (target, seen) = recorder(5).await;
    let (proxy, address) = mirrored(Mirror::to("copy".into()), main, (Http1, target)).await;
    let mut client = Client::connect(address).await;

    for _ in 0..3 {
        client.send(request).await;
        assert_eq!(client.answer().await.status, 500, "the original's answer");
    }
    outcome(&proxy, "mirrored", 3).await;

    let seen = seen.lock().expect("whole");
    assert_eq!(*seen, *seen_by_main.lock().expect("whole"));
    assert!(seen.iter().all(|copy| copy.contains("X-CaSe: Kept") && copy.ends_with("hello")), "{seen:?}");
}

#[tokio::test]
async fn a_copy_is_changed_as_the_mirror_says() {
    let (target, seen) = recorder(0).await;
    let mut mirror = Mirror { host_rewrite: Some("copy.test".into()), ..Mirror::to("copy".into()) };
    mirror.request_headers.add.push(HeaderAddition {
        name: "x-mirrored".into(),
        value: "true".into(),
        append: AppendAction::OverwriteIfExistsOrAdd,
        keep_empty: false,
    });
    let (proxy, address) = mirrored(mirror, echo("main").await, (Http1, target)).await;

    assert_eq!(get(address, "/").await.text(), "main GET / ");
    outcome(&proxy, "mirrored", 1).await;

    let seen = seen.lock().expect("whole");
    assert!(seen[0].contains("x-mirrored: true\r\n") && seen[0].contains("copy.test\r\n"), "{seen:?}");
}

#[tokio::test]
async fn a_copy_may_speak_another_protocol() {
    let (proxy, address) = mirrored(Mirror::to("copy".into()), echo("main").await, (Http2, http2_echo().await)).await;
    let mut client = Client::connect(address).await;

    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
        .await;

    assert_eq!(client.answer().await.text(), "main POST / hello");
    outcome(&proxy, "mirrored", 1).await;
}

#[tokio::test]
async fn whatever_the_target_does_the_original_is_answered() {
    let silent = scripted(|mut connection| async move {
        connection.head().await;
        connection.ended().await;
    })
    .await;
    let reset = scripted(|connection| async move {
        drop(socket2::SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO)));
    })
    .await;
    let failing = says("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
    let nobody = crate::backend::nobody().await;
    for (what, target) in [("silent", silent), ("reset", reset), ("failing", failing), ("nobody", nobody)] {
        let (_proxy, address) = mirrored(Mirror::to("copy".into()), echo("main").await, (Http1, target)).await;
        let mut client = Client::connect(address).await;
        let started = Instant::now();

        for _ in 0..50 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.text()), (200, "main POST / hello"), "{what}");
        }

        assert!(started.elapsed() < Duration::from_secs(2), "{what}");
    }
}

#[tokio::test]
async fn a_copy_that_falls_behind_is_given_up_and_counted() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let target = scripted(|connection| async move {
        // Holds the connection and never reads.
        std::future::pending::<()>().await;
        drop(connection);
    })
    .await;
    let main = scripted(|mut connection| async move {
        connection.head().await;
        connection.bytes(LENGTH).await;
        connection.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        connection.ended().await;
    })
    .await;
    let (proxy, address) = mirrored(Mirror::to("copy".into()), main, (Http1, target)).await;
    let mut client = Client::connect(address).await;

    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    client.send(vec![b'x'; LENGTH]).await;

    assert_eq!(client.answer().await.text(), "ok");
    outcome(&proxy, "abandoned", 1).await;
}
