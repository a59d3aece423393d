//! HTTP/1.1 on both sides.

use std::sync::atomic::Ordering;

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;

use crate::backend::{counted, echo, says, scripted};
use crate::client::Client;
use crate::resources::in_front_of;

#[tokio::test]
async fn a_get_reaches_the_backend_and_its_answer_the_caller() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;

    let answer = Client::connect(address).await.get("/a?b=c").await;

    assert_eq!((answer.status, answer.text()), (200, "one GET /a?b=c "));
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_so_does_the_one_to_the_backend() {
    let (backend, connections) = counted("one").await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    for number in 0..20 {
        let answer = client.get(&format!("/{number}")).await;
        assert_eq!(answer.text(), format!("one GET /{number} "));
    }

    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;

    let requests: String = (0..5).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests).await;

    for number in 0..5 {
        assert_eq!(client.answer().await.text(), format!("one GET /{number} "));
    }
}

#[tokio::test]
async fn bodies_of_known_length_and_in_chunks_arrive_whole() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;

    client.send("POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.answer().await.text(), "one POST /l hello");

    client
        .send("POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.text(), "one POST /c hello");
}

#[tokio::test]
async fn a_request_followed_by_another_in_the_same_segment_keeps_its_body_apart() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;

    assert_eq!(client.answer().await.text(), "one POST /a hi");
    assert_eq!(client.answer().await.text(), "one GET /b ");
}

#[tokio::test]
async fn megabytes_pass_both_ways_through_slow_small_reads() {
    let body = "0123456789abcdef".repeat(64 * 1024);
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;

    client.send(format!("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    for piece in body.as_bytes().chunks(100_000) {
        client.send(piece).await;
    }

    let answer = client.answer().await;
    assert_eq!(answer.body.len(), "one POST /big ".len() + body.len());
    assert!(answer.text().ends_with(&body));
}

#[tokio::test]
async fn head_and_answers_without_a_body_leave_the_connection_usable() {
    let backend = scripted(|mut connection| async move {
        loop {
            let answer = match connection.head().await.split(' ').next() {
                Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                Some("DELETE") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("PUT") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            connection.say(answer).await;
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    for (method, status) in [("HEAD", 200), ("DELETE", 204), ("PUT", 304), ("GET", 200)] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = client.answer_to(method).await;
        assert_eq!(answer.status, status, "{method}");
        if method == "HEAD" {
            assert_eq!(answer.field("content-length"), Some("1000"));
        }
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_100_gets_the_backends() {
    let backend = scripted(|mut connection| async move {
        let head = connection.head().await;
        assert!(head.contains("Expect: 100-continue"));
        connection.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(connection.bytes(2).await, b"hi");
        connection.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await;
    client.expect(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("hi").await;

    assert_eq!(client.answer().await.text(), "done");
}

#[tokio::test]
async fn an_exchange_is_relayed_byte_for_byte_but_for_the_documented_field() {
    let answer = "HTTP/1.1 200 Fine, thanks\r\nX-ODD-Case: One\r\nx-odd-case: two\r\nTransfer-Encoding: chunked\r\nServer: \
                  its-own\r\n\r\n3;name=value\r\nabc\r\n0\r\n\r\n";
    let backend = scripted(move |mut connection| async move {
        let head = connection.head().await;
        assert_eq!(
            head,
            "GET /x?y HTTP/1.1\r\nHoSt: example.test\r\nX-Weird:  \r\nAccept: */*\r\nACCEPT: text/html\r\n\
             x-forwarded-proto: http\r\n\r\n"
                .replace("X-Weird:  \r\n", "X-Weird: \r\n")
        );
        connection.say(answer).await;
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client
        .send("GET /x?y HTTP/1.1\r\nHoSt: example.test\r\nX-Weird:  \r\nAccept: */*\r\nACCEPT: text/html\r\n\r\n")
        .await;

    client.expect(answer.as_bytes()).await;
}

#[tokio::test]
async fn an_absolute_target_is_sent_on_in_origin_form_with_its_authority_as_host() {
    let (backend, heads) = recording().await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("GET http://reviews.shop:9080/r/1 HTTP/1.1\r\nHost: other\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);

    let head = heads.lock().expect("alive").clone();
    assert!(head.starts_with("GET /r/1 HTTP/1.1\r\nHost: reviews.shop:9080\r\n"), "{head}");
}

async fn recording() -> (std::net::SocketAddr, std::sync::Arc<std::sync::Mutex<String>>) {
    let heads = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let kept = std::sync::Arc::clone(&heads);
    let backend = scripted(move |mut connection| {
        let kept = std::sync::Arc::clone(&kept);
        async move {
            loop {
                let head = connection.head().await;
                *kept.lock().expect("alive") = head;
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (backend, heads)
}

#[tokio::test]
async fn an_http10_caller_gets_no_chunks_and_its_connection_closed() {
    let backend = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;

    let answer = String::from_utf8(client.rest().await).expect("text");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_chunked_for_a_modern_caller() {
    let backend = scripted(|mut connection| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end").await;
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "until the end");
    }
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_after_the_backends_101_and_closes_in_both_directions() {
    let backend = scripted(|mut connection| async move {
        let head = connection.head().await;
        assert!(head.to_ascii_lowercase().contains("upgrade: websocket"));
        connection
            .say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await;
        let said = connection.bytes(4).await;
        connection.say(said).await;
        assert!(connection.ended().await);
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.expect(b"hello").await;
    client.send(b"\x81\x02hi").await;
    client.expect(b"\x81\x02hi").await;
    client.shutdown().await;
    client.closed().await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_allowed_is_an_ordinary_request() {
    let (backend, heads) = recording().await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);

    let head = heads.lock().expect("alive").to_ascii_lowercase();
    assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
}

#[tokio::test]
async fn a_message_that_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET /%2e%2e/x%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
    ];

    for (message, status) in cases {
        let mut client = Client::connect(address).await;
        client.send(message).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{message:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{message:?}");
        client.closed().await;
    }
}

#[tokio::test]
async fn heads_beyond_the_limits_have_statuses_of_their_own() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20 * 1024));
    let long_field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70 * 1024));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(200));

    for (message, status) in [(long_target, 414), (long_field, 431), (many_fields, 431)] {
        let mut client = Client::connect(address).await;
        client.send(message).await;
        assert_eq!(client.answer().await.status, status);
    }
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_the_callers_fault() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut client = Client::connect(address).await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;

    let answer = client.answer().await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.field("x-mesh-error"), Some("DPE; details=protocol_error"));
    client.closed().await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_relayed_and_the_connection_closed() {
    let backend = scripted(|mut connection| async move {
        connection.head().await;
        connection.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
        connection.ended().await;
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning").await;

    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text()), (413, "big"));
    assert_eq!(answer.field("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn both_directions_stream_at_the_same_time() {
    let backend = scripted(|mut connection| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            let chunk = connection.bytes(8).await;
            connection.say(chunk).await;
        }
        connection.bytes(5).await;
        connection.say("0\r\n\r\n").await;
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    for word in ["one", "two", "six"] {
        let chunk = format!("3\r\n{word}\r\n");
        client.send(&chunk).await;
        client.expect(chunk.as_bytes()).await;
    }
    client.send("0\r\n\r\n").await;
    client.expect(b"0\r\n\r\n").await;
}
