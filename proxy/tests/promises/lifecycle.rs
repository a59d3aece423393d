//! Beginning and end.

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;

use crate::backend::{echo, scripted};
use crate::client::{Client, get};
use crate::resources::in_front_of;

#[tokio::test]
async fn a_drain_serves_until_told_otherwise_then_finishes_what_is_open_and_ends() {
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let held = std::sync::Arc::clone(&release);
    let backend = scripted(move |mut connection| {
        let held = std::sync::Arc::clone(&held);
        async move {
            let head = connection.head().await;
            if head.starts_with("GET /slow") {
                held.notified().await;
            }
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
        }
    })
    .await;
    let (proxy, address) = in_front_of(Http1, backend).await;
    let admin = proxy.admin_address().expect("admin");
    let mut slow = Client::connect(address).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.get("/").await.status, 200);
    while !get(admin, "/clusters").await.text().contains("backend::rq_active::1") {}

    proxy.drain();

    while get(admin, "/ready").await.status == 200 {}
    assert_eq!(get(address, "/").await.status, 200, "new connections are served while balancers look away");
    idle.closed().await;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.notify_one();
    let answer = slow.answer().await;
    assert_eq!((answer.text(), answer.field("connection")), ("done", None), "its head was decided before");
    let at_once = tokio::time::timeout(std::time::Duration::from_secs(5), slow.closed()).await;
    assert!(at_once.is_ok(), "kept to the end of the drain");
    tokio::task::spawn_blocking(move || proxy.join()).await.expect("ends").expect("in its own place");
}

#[tokio::test]
async fn an_http2_connection_is_told_to_leave_and_finishes_its_streams() {
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let held = std::sync::Arc::clone(&release);
    let backend = scripted(move |mut connection| {
        let held = std::sync::Arc::clone(&held);
        async move {
            connection.head().await;
            held.notified().await;
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
        }
    })
    .await;
    let (proxy, address) = in_front_of(Http1, backend).await;
    let stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.expect("ready");
    let request = http::Request::get("http://a/").body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("sends");
    let admin = proxy.admin_address().expect("admin");
    while !get(admin, "/clusters").await.text().contains("backend::rq_active::1") {}

    proxy.drain_fast();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.notify_one();

    assert_eq!(response.await.expect("answered").status().as_u16(), 200);
    drop(send);
    connection.await.expect("no panic").expect("a clean end");
    tokio::task::spawn_blocking(move || proxy.join()).await.expect("ends").expect("in its own place");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_places_come_free() {
    let mut options = crate::resources::options();
    options.limits.connections_max = 2;
    let (_proxy, address) = crate::resources::start_with(
        options,
        vec![
            crate::resources::of_cluster(crate::resources::cluster("b", Http1, &[echo("one").await])),
            crate::resources::of_listener(crate::resources::http_listener(
                "in",
                crate::resources::inline(crate::resources::all_to("r", "b")),
            )),
        ],
    )
    .await;
    let mut first = Client::connect(address).await;
    let mut second = Client::connect(address).await;
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(second.get("/").await.status, 200);

    Client::connect(address).await.closed().await;

    drop(first);
    loop {
        let mut third = Client::connect(address).await;
        third.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        if third.rest().await.starts_with(b"HTTP/1.1 200 OK") {
            break;
        }
    }
}
