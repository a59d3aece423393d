//! What callers see when an upstream misbehaves, and when they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_xds::resource::cluster::{Thresholds, UpstreamProtocol::Http1};
use tidegate_xds::resource::route::RouteAction;

use crate::backend::{echo, nobody, says, scripted};
use crate::client::{Client, get};
use crate::resources::{
    cluster, forward, http_listener, in_front_of, inline, of_cluster, of_listener, options, proxy_with, route, routes,
    start_with,
};

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_a_503() {
    let (_proxy, address) = in_front_of(Http1, nobody().await).await;

    let answer = get(address, "/").await;

    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("x-mesh-error"), Some("UF; details=upstream_connect_failure"));
}

#[tokio::test]
async fn another_endpoint_is_tried_when_one_refuses() {
    let endpoints = [nobody().await, echo("alive").await];
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &endpoints)),
        of_listener(http_listener("in", inline(crate::resources::all_to("r", "backend")))),
    ])
    .await;

    for _ in 0..10 {
        assert_eq!(get(address, "/").await.text(), "alive GET / ");
    }
}

#[tokio::test]
async fn a_cluster_without_endpoints_is_a_503_of_its_own_kind() {
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[])),
        of_listener(http_listener("in", inline(crate::resources::all_to("r", "backend")))),
    ])
    .await;

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.field("x-mesh-error")), (503, Some("UH; details=no_healthy_upstream")));
}

#[tokio::test]
async fn a_request_that_no_route_wants_is_a_404() {
    let only_v1 = routes("r", vec![route("/v1", RouteAction::Forward(Box::new(forward("backend"))))]);
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[echo("one").await])),
        of_listener(http_listener("in", inline(only_v1))),
    ])
    .await;
    let mut client = Client::connect(address).await;

    let answer = client.get("/v2").await;
    assert_eq!((answer.status, answer.field("x-mesh-error")), (404, Some("NR; details=route_not_found")));
    assert!(answer.field("date").is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(client.get("/v1").await.status, 200, "the connection goes on");
}

/// What an upstream says before it closes, and what becomes of it.
#[tokio::test]
async fn each_fault_of_an_answers_head_has_its_status_and_flag() {
    let cases = [
        ("", 503, "UC"),
        ("HTTP/1.1 200", 502, "UPE"),
        ("HTTP/1.1 200 OK\r\nContent-Le", 502, "UPE"),
        ("not http at all\r\n\r\n", 502, "UPE"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, "UPE"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nab", 502, "UPE"),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502, "UPE"),
        ("HTTP/1.1 20000 OK\r\n\r\n", 502, "UPE"),
    ];
    for (said, status, flag) in cases {
        let backend = scripted(move |mut connection| async move {
            connection.head().await;
            connection.say(said).await;
        })
        .await;
        let (_proxy, address) = in_front_of(Http1, backend).await;
        let mut client = Client::connect(address).await;

        let answer = client.get("/").await;

        assert_eq!(answer.status, status, "{said:?}");
        let error = answer.field("x-mesh-error").unwrap_or_default();
        assert!(error.starts_with(&format!("{flag}; ")), "{said:?}: {error}");
    }
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_a_502_and_a_few_are_relayed() {
    let flood = scripted(|mut connection| async move {
        connection.head().await;
        for _ in 0..100 {
            if tokio::io::AsyncWriteExt::write_all(&mut connection.stream, b"HTTP/1.1 103 Early Hints\r\n\r\n")
                .await
                .is_err()
            {
                return;
            }
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, flood).await;
    let mut client = Client::connect(address).await;

    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut interims = 0;
    let last = loop {
        let answer = client.answer().await;
        if answer.status != 103 {
            break answer;
        }
        interims += 1;
    };

    assert_eq!((last.status, interims), (502, 16));
}

#[tokio::test]
async fn an_answer_torn_in_its_body_is_torn_for_the_caller_too() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz",
    ] {
        let backend = scripted(move |mut connection| async move {
            connection.head().await;
            connection.say(said).await;
        })
        .await;
        let (_proxy, address) = in_front_of(Http1, backend).await;
        let mut client = Client::connect(address).await;

        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let all = String::from_utf8(client.rest().await).expect("text");

        assert!(all.starts_with("HTTP/1.1 200 OK"), "{said:?}: {all:?}");
        assert!(!all.ends_with("0\r\n\r\n"), "{said:?}: {all:?}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_a_504_after_the_routes_limit() {
    let silent = scripted(|mut connection| async move {
        connection.head().await;
        connection.ended().await;
    })
    .await;
    let mut limited = forward("backend");
    limited.timeout = Some(Duration::from_millis(100));
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[silent])),
        of_listener(http_listener(
            "in",
            inline(routes("r", vec![route("/", RouteAction::Forward(Box::new(limited)))])),
        )),
    ])
    .await;

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.field("x-mesh-error")), (504, Some("UT; details=response_timeout")));
}

#[tokio::test]
async fn bytes_behind_an_answer_do_not_reach_the_next_caller() {
    let backend =
        says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_kept_connection_that_dies_at_once_is_replaced_for_a_request_that_may_run_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let backend = scripted(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            connection.head().await;
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            // The second request on this connection is read and not answered.
            connection.head().await;
            counter.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;

    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "ok");
    }

    assert!(seen.load(Ordering::SeqCst) >= 1, "the case was met");
}

#[tokio::test]
async fn a_request_that_may_have_run_is_not_sent_twice() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&posts);
    let backend = scripted(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            loop {
                if connection.head().await.starts_with("POST") {
                    counter.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.status, 200);

    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.answer().await;

    assert_eq!(answer.status, 503);
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_circuit_breaker_answers_for_the_cluster() {
    let silent = scripted(|mut connection| async move {
        connection.head().await;
        connection.ended().await;
    })
    .await;
    let mut tight = cluster("backend", Http1, &[silent]);
    tight.circuit_breakers = Thresholds { max_requests: 1, ..Thresholds::default() };
    let (proxy, address) = proxy_with(vec![
        of_cluster(tight),
        of_listener(http_listener("in", inline(crate::resources::all_to("r", "backend")))),
    ])
    .await;
    let mut first = Client::connect(address).await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let admin = proxy.admin_address().expect("admin");
    while !get(admin, "/clusters").await.text().contains("backend::rq_active::1") {}

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.field("x-mesh-error")), (503, Some("UO; details=overflow{max_requests}")));
}

#[tokio::test]
async fn callers_that_owe_something_are_cut() {
    let mut options = options();
    options.limits.detection = Duration::from_millis(100);
    options.limits.head = Duration::from_millis(100);
    options.limits.body_progress = Duration::from_millis(100);
    let (proxy, address) = start_with(
        options,
        vec![
            of_cluster(cluster("backend", Http1, &[echo("one").await])),
            of_listener(http_listener("in", inline(crate::resources::all_to("r", "backend")))),
        ],
    )
    .await;
    let cases: [(&str, &str); 6] = [
        ("nothing", ""),
        ("a part of the HTTP/2 preface", "PRI * HT"),
        ("half a request line", "GET / HT"),
        ("half a head", "GET / HTTP/1.1\r\nHost: a\r\n"),
        ("half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"),
        ("half a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"),
    ];
    for (what, sent) in cases {
        let mut client = Client::connect(address).await;
        client.send(sent).await;
        let last = String::from_utf8(client.rest().await).expect("text");
        assert!(last.is_empty() || last.starts_with("HTTP/1.1 408 "), "{what}: {last:?}");
    }
    while proxy.connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_request_with_it() {
    let gone = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&gone);
    let backend = scripted(move |mut connection| {
        let told = Arc::clone(&told);
        async move {
            connection.head().await;
            assert!(connection.ended().await);
            told.notify_one();
        }
    })
    .await;
    let (proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let admin = proxy.admin_address().expect("admin");
    while !get(admin, "/clusters").await.text().contains("backend::rq_active::1") {}

    drop(client);

    tokio::time::timeout(Duration::from_secs(5), gone.notified()).await.expect("the upstream request is cancelled");
}

#[tokio::test]
async fn a_listener_may_keep_its_reasons_to_itself() {
    let mut listener = http_listener("in", inline(crate::resources::all_to("r", "backend")));
    listener.error_header = false;
    let (_proxy, address) =
        proxy_with(vec![of_cluster(cluster("backend", Http1, &[nobody().await])), of_listener(listener)]).await;

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.field("x-mesh-error")), (503, None));
    let text = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure";
    assert_eq!(answer.text(), text);
}
