//! HTTP/2 on either side or both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response};
use tidegate_xds::resource::cluster::UpstreamProtocol::{Http1, Http2, SameAsDownstream};
use tidegate_xds::resource::filter::{FAULT, Fault, FaultAbort, FaultAnswer, FilterConfig, FilterOverride, HttpFilter};
use tidegate_xds::resource::listener::NetworkFilter;
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{Mirror, RetryOn, RetryPolicy, RouteAction};
use tokio::net::TcpStream;

use crate::backend::{echo, http2_echo, nobody, scripted, send_all};
use crate::client::Client;
use crate::resources::{
    all_to, cluster, forward, http_listener, in_front_of, inline, listener_with, manager, of_cluster, of_listener,
    options, proxy_with, route, routes, start_with,
};

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("speaks HTTP/2");
    tokio::spawn(connection);
    send.ready().await.expect("ready")
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://example.test{path}")).body(()).expect("a request")
}

struct Whole {
    head: Response<()>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

async fn whole(response: Response<h2::RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes?;
        stream.flow_control().release_capacity(bytes.len())?;
        body.extend_from_slice(&bytes);
    }
    let trailers = stream.trailers().await?;
    Ok(Whole { head: Response::from_parts(parts, ()), body, trailers })
}

async fn exchange(send: &mut SendRequest<Bytes>, method: &str, path: &str, body: &[u8]) -> Whole {
    let (response, mut out) = send.send_request(request(method, path), body.is_empty()).expect("sends");
    if !body.is_empty() {
        let sending = async {
            send_all(&mut out, Bytes::copy_from_slice(body)).await;
            drop(out.send_data(Bytes::new(), true));
        };
        let receiving = async { whole(response.await.expect("an answer")).await.expect("whole") };
        let ((), answer) = tokio::join!(sending, receiving);
        return answer;
    }
    whole(response.await.expect("an answer")).await.expect("whole")
}

#[tokio::test]
async fn http2_callers_reach_an_http1_backend() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut send = connect(address).await;

    let answer = exchange(&mut send, "GET", "/a?b", b"").await;
    assert_eq!((answer.head.status().as_u16(), &answer.body[..]), (200, &b"one GET /a?b "[..]));

    let answer = exchange(&mut send, "POST", "/p", b"hello").await;
    assert_eq!(answer.body, b"one POST /p hello");
}

#[tokio::test]
async fn many_streams_of_one_connection_are_served_at_once() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let send = connect(address).await;

    let requests = (0..50).map(|number| {
        let mut send = send.clone();
        tokio::spawn(async move { exchange(&mut send, "GET", &format!("/{number}"), b"").await.body })
    });
    for (number, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(request.await.expect("no panic"), format!("one GET /{number} ").into_bytes());
    }
}

#[tokio::test]
async fn http1_callers_reach_an_http2_backend() {
    let (_proxy, address) = in_front_of(Http2, http2_echo().await).await;
    let mut client = Client::connect(address).await;

    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text(), answer.field("x-path")), (200, "hello", Some("/x")));

    client
        .send("POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.text(), "hello");
    assert_eq!(client.get("/z").await.status, 200);
}

#[tokio::test]
async fn an_http1_caller_sees_the_grpc_status_of_an_http2_backend_as_a_trailer() {
    let (_proxy, address) = in_front_of(Http2, http2_echo().await).await;
    let mut client = Client::connect(address).await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi").await;

    let all = String::from_utf8(client.rest().await).expect("text");
    assert!(all.ends_with("2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{all:?}");
}

#[tokio::test]
async fn trailers_pass_in_both_directions_between_http2_peers() {
    let (_proxy, address) = in_front_of(SameAsDownstream, http2_echo().await).await;
    let mut send = connect(address).await;

    let (response, mut out) = send.send_request(request("POST", "/t"), false).expect("sends");
    out.send_data(Bytes::from_static(b"body"), false).expect("room");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("abc"));
    trailers.insert("authorization", HeaderValue::from_static("smuggled"));
    out.send_trailers(trailers).expect("ends");
    let answer = whole(response.await.expect("an answer")).await.expect("whole");

    let trailers = answer.trailers.expect("trailers");
    assert_eq!(answer.body, b"body");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-checksum"], "abc");
    assert!(!trailers.contains_key("authorization"));
}

#[tokio::test]
async fn a_stream_flows_in_both_directions_before_either_ends() {
    let (_proxy, address) = in_front_of(Http2, http2_echo().await).await;
    let mut send = connect(address).await;
    let (response, mut out) = send.send_request(request("POST", "/stream"), false).expect("sends");

    let (_, mut back) = response.await.expect("a head before the end of the request").into_parts();
    for word in ["one", "two", "three"] {
        out.send_data(Bytes::from(word), false).expect("room");
        let bytes = back.data().await.expect("more").expect("no error");
        drop(back.flow_control().release_capacity(bytes.len()));
        assert_eq!(bytes, word);
    }
    out.send_data(Bytes::new(), true).expect("ends");

    assert!(back.data().await.is_none());
    assert_eq!(back.trailers().await.expect("no error").expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn megabytes_pass_through_windows_of_64_kib() {
    let body = vec![7; 4 * 1024 * 1024];
    let (_proxy, address) = in_front_of(Http2, http2_echo().await).await;
    let mut send = connect(address).await;

    let answer = exchange(&mut send, "POST", "/big", &body).await;

    assert!(answer.body == body);
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_sender() {
    let backend = scripted(|mut connection| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", "a".repeat(65536));
        // More than all windows and kernel buffers on the way can hold.
        for _ in 0..4096 {
            let sent = tokio::io::AsyncWriteExt::write_all(&mut connection.stream, chunk.as_bytes());
            if tokio::time::timeout(Duration::from_millis(500), sent).await.is_err() {
                return;
            }
        }
        panic!("256 MiB were taken from a stream that nobody reads");
    })
    .await;
    let mut impatient = options();
    impatient.limits.write_progress = Duration::from_secs(1);
    let resources = vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(http_listener("in", inline(all_to("r", "backend")))),
    ];
    let (_proxy, address) = start_with(impatient, resources).await;
    let mut send = connect(address).await;

    let (response, _) = send.send_request(request("GET", "/"), true).expect("sends");
    let (_, mut stream) = response.await.expect("a head").into_parts();
    // A caller that does not read is given up.
    let mut seen = 0;
    while let Some(Ok(bytes)) = stream.data().await {
        seen += bytes.len();
    }
    assert!(seen <= 64 * 1024, "{seen} bytes without an open window");
}

#[tokio::test]
async fn a_torn_answer_resets_the_stream() {
    let backend = scripted(|mut connection| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut send = connect(address).await;

    let (response, _) = send.send_request(request("GET", "/"), true).expect("sends");
    let torn = match response.await {
        Ok(response) => whole(response).await.err(),
        Err(error) => Some(error),
    };

    assert_eq!(torn.and_then(|error| error.reason()), Some(h2::Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn a_cancelled_stream_cancels_the_upstream_request() {
    let gone = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&gone);
    let begun = Arc::new(tokio::sync::Notify::new());
    let began = Arc::clone(&begun);
    let backend = scripted(move |mut connection| {
        let (told, began) = (Arc::clone(&told), Arc::clone(&began));
        async move {
            connection.head().await;
            began.notify_one();
            assert!(connection.ended().await);
            told.notify_one();
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut send = connect(address).await;

    let (response, mut out) = send.send_request(request("GET", "/"), true).expect("sends");
    begun.notified().await;
    out.send_reset(h2::Reason::CANCEL);
    drop(response);

    tokio::time::timeout(Duration::from_secs(5), gone.notified()).await.expect("cancelled upstream");
}

#[tokio::test]
async fn a_grpc_caller_is_refused_in_its_own_words() {
    let (_proxy, address) = in_front_of(Http2, nobody().await).await;
    let mut send = connect(address).await;
    let mut call = request("POST", "/service/method");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));

    let (response, _) = send.send_request(call, true).expect("sends");
    let answer = response.await.expect("an answer");

    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(answer.headers()["x-mesh-error"], "UF; details=upstream_connect_failure");
}

#[tokio::test]
async fn what_the_gate_refuses_is_refused_over_http2_as_well() {
    let (_proxy, address) = in_front_of(Http1, echo("one").await).await;
    let mut send = connect(address).await;

    for path in ["/a%00b", "/a%2fb"] {
        assert_eq!(exchange(&mut send, "GET", path, b"").await.head.status().as_u16(), 400, "{path}");
    }
    let mut differs = request("GET", "/");
    differs.headers_mut().insert("host", HeaderValue::from_static("other"));
    let (response, _) = send.send_request(differs, true).expect("sends");
    assert_eq!(response.await.expect("an answer").status().as_u16(), 400);
    assert_eq!(exchange(&mut send, "GET", "/fine", b"").await.head.status().as_u16(), 200, "the connection goes on");
}

#[tokio::test]
async fn streams_opened_only_to_be_reset_end_the_connection() {
    let (seen, mut reached) = tokio::sync::mpsc::unbounded_channel();
    let backend = scripted(move |mut connection| {
        let seen = seen.clone();
        async move {
            connection.head().await;
            seen.send(()).expect("the test listens");
            connection.ended().await;
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut send = connect(address).await;

    // The slow kind: each stream is reset only when its request has reached the backend, which no counting of frames
    // before they are accepted can see.
    let mut requests = 0;
    loop {
        send = match send.ready().await {
            Ok(send) => send,
            Err(_) => break,
        };
        let Ok((response, mut out)) = send.send_request(request("GET", "/"), true) else { break };
        tokio::select! {
            answered = response => match answered {
                Ok(response) => panic!("answered: {response:?}"),
                Err(_) => break,
            },
            _ = reached.recv() => requests += 1,
        }
        assert!(requests <= 130, "{requests} requests reached the backend");
        out.send_reset(h2::Reason::CANCEL);
    }
}

#[tokio::test]
async fn policies_act_between_http2_peers_as_well() {
    let (mirror_seen, copied) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let main = flaky_http2(Arc::clone(&mirror_seen), 2).await;
    let target = flaky_http2(Arc::clone(&copied), 0).await;
    let mut forward = forward("backend");
    forward.retry = Some(RetryPolicy {
        retry_on: vec![RetryOn::FiveXx],
        num_retries: 3,
        back_off_base: Duration::from_millis(1),
        ..RetryPolicy::default()
    });
    forward.mirrors.push(Mirror::to("copy".into()));
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http2, &[main])),
        of_cluster(cluster("copy", Http2, &[target])),
        of_listener(http_listener(
            "in",
            inline(routes("r", vec![route("/", RouteAction::Forward(Box::new(forward)))])),
        )),
    ])
    .await;
    let mut send = connect(address).await;

    let answer = exchange(&mut send, "POST", "/", b"hello").await;

    assert_eq!((answer.head.status().as_u16(), &answer.body[..]), (200, &b"hello"[..]));
    assert_eq!(mirror_seen.load(Ordering::SeqCst), 3);
    let patience = tokio::time::Instant::now() + Duration::from_secs(5);
    while copied.load(Ordering::SeqCst) == 0 {
        assert!(tokio::time::Instant::now() < patience, "no copy came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_injected_reset_is_a_reset_of_the_stream_alone() {
    let mut faulty = route("/faulty", RouteAction::Forward(Box::new(forward("backend"))));
    let percentage = Fraction { numerator: 100, denominator: 100 };
    let fault = Fault { abort: Some(FaultAbort { with: FaultAnswer::Reset, percentage }), ..Fault::default() };
    let config = Some(FilterConfig::Fault(Arc::new(fault)));
    faulty.filters.insert(FAULT.into(), FilterOverride { disabled: false, config });
    let good = route("/", RouteAction::Forward(Box::new(forward("backend"))));
    let mut manager = manager(inline(routes("r", vec![faulty, good])));
    let listed = FilterConfig::Fault(Arc::default());
    manager.http_filters.push(HttpFilter { name: FAULT.into(), disabled: false, config: listed });
    let (_proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[echo("one").await])),
        of_listener(listener_with("in", NetworkFilter::Http(Box::new(manager)))),
    ])
    .await;
    let mut send = connect(address).await;

    let (response, _) = send.send_request(request("GET", "/faulty"), true).expect("sends");
    assert!(response.await.is_err_and(|error| error.is_reset()));

    assert_eq!(exchange(&mut send, "GET", "/", b"").await.body, b"one GET / ");
}

/// Refuses the first requests with a 503 once it has read them, then sends their bodies back.
async fn flaky_http2(seen: Arc<AtomicUsize>, refused: usize) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("an HTTP/2 client");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let seen = Arc::clone(&seen);
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut all = Vec::new();
                        while let Some(Ok(bytes)) = body.data().await {
                            all.extend_from_slice(&bytes);
                        }
                        assert_eq!(all, b"hello");
                        let status = if seen.fetch_add(1, Ordering::SeqCst) < refused { 503 } else { 200 };
                        let head = Response::builder().status(status).body(()).expect("a response");
                        let mut out = respond.send_response(head, false).expect("answers");
                        drop(out.send_data(all.into(), true));
                    });
                }
            });
        }
    });
    address
}
