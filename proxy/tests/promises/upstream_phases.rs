//! What callers see when an endpoint fails, at each phase of an exchange: before the connection, before the head, within it, within
//! the body, behind it. [`crate::faults`] and the suite of the gate hold what is said wrongly over HTTP/1.1; here are the endings of
//! connections, and HTTP/2, whose frames are written by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_xds::resource::cluster::UpstreamProtocol::{Http1, Http2};
use tidegate_xds::resource::route::RouteAction;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::backend::{Scripted, nobody, scripted};
use crate::client::{Client, get};
use crate::frames::{DATA, END_HEADERS, END_STREAM, Field, GOAWAY, HEADERS, RST_STREAM, SETTINGS, block, frame};
use crate::resources::{
    all_to, cluster, forward, http_listener, in_front_of, inline, of_cluster, of_listener, proxy_with, route, routes,
};

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The proxy answers: status and flag.
    Refused(u16, &'static str),
    /// The endpoint's answer: status and body.
    Answered(u16, &'static str),
    /// An answer that has begun and does not end.
    Torn,
    /// This happens before the head reaches the caller or behind it, as the segments fall: an error, or no end.
    RefusedOrTorn,
}

use Wanted::{Answered, Refused, RefusedOrTorn, Torn};

/// How an endpoint goes on after what it has said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Listens,
    Closes,
}

use Then::{Closes, Listens};

type Row = (&'static str, &'static str, fn(u32) -> Vec<u8>, Then, Wanted);

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;

fn head(stream: u32, flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

fn ok(stream: u32, flags: u8) -> Vec<u8> {
    head(stream, flags, &[(":status", b"200")])
}

/// A 200 with one field more, and no body.
fn with(stream: u32, name: &str, value: &[u8]) -> Vec<u8> {
    head(stream, END_STREAM, &[(":status", b"200"), (name, value)])
}

fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

fn go_away(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

const ROWS: &[Row] = &[
    // Before the head.
    ("a reset", "GET", |id| reset(id, INTERNAL_ERROR), Listens, Refused(503, "UR")),
    ("a refusal of the stream is tried again", "GET", |id| reset(id, REFUSED_STREAM), Listens, Answered(200, "good")),
    ("a refusal of a stream whose body has gone", "POST", |id| reset(id, REFUSED_STREAM), Listens, Refused(503, "UR")),
    (
        "a refusal of a PATCH that was not looked at is tried again",
        "PATCH",
        |id| reset(id, REFUSED_STREAM),
        Listens,
        Answered(200, "good"),
    ),
    ("a farewell that has not seen the stream", "GET", |_| go_away(0, 0), Closes, Answered(200, "good")),
    ("a farewell that has not seen a PATCH", "PATCH", |_| go_away(0, 0), Closes, Answered(200, "good")),
    ("a farewell that has seen the stream, and the end", "GET", |id| go_away(id, 0), Closes, Refused(503, "UC")),
    ("a farewell in anger", "GET", |_| go_away(0, INTERNAL_ERROR), Closes, Refused(503, "UC")),
    ("an end", "GET", |_| Vec::new(), Closes, Refused(503, "UC")),
    // Within the head.
    ("half a frame", "GET", |id| ok(id, 0)[..11].to_vec(), Closes, Refused(503, "UC")),
    (
        "a head without its end",
        "GET",
        |id| frame(HEADERS, 0, id, &block(&[(":status", b"200")])),
        Closes,
        Refused(503, "UC"),
    ),
    // Wrong heads.
    ("no status", "GET", |id| head(id, END_STREAM, &[("x", b"y")]), Listens, Refused(502, "UPE")),
    ("a status in letters", "GET", |id| head(id, END_STREAM, &[(":status", b"abc")]), Listens, Refused(502, "UPE")),
    ("a status below 100", "GET", |id| head(id, END_STREAM, &[(":status", b"099")]), Listens, Refused(502, "UPE")),
    (
        "a status of four digits",
        "GET",
        |id| head(id, END_STREAM, &[(":status", b"2000")]),
        Listens,
        Refused(502, "UPE"),
    ),
    (
        "two statuses",
        "GET",
        |id| head(id, END_STREAM, &[(":status", b"200"), (":status", b"404")]),
        Listens,
        Refused(502, "UPE"),
    ),
    (
        "a status behind a field",
        "GET",
        |id| head(id, END_STREAM, &[("x", b"y"), (":status", b"200")]),
        Listens,
        Refused(502, "UPE"),
    ),
    ("a name in capitals", "GET", |id| with(id, "X-One", b"y"), Listens, Refused(502, "UPE")),
    ("a line end in a value", "GET", |id| with(id, "x", b"a\r\nset-cookie: b=c"), Listens, Refused(502, "UPE")),
    ("a NUL in a value", "GET", |id| with(id, "x", b"a\0b"), Listens, Refused(502, "UPE")),
    ("padding around a value", "GET", |id| with(id, "x", b" a "), Listens, Refused(502, "UPE")),
    ("a field of a connection", "GET", |id| with(id, "connection", b"close"), Listens, Refused(502, "UPE")),
    ("a transfer coding", "GET", |id| with(id, "transfer-encoding", b"chunked"), Listens, Refused(502, "UPE")),
    ("a length that is none", "GET", |id| with(id, "content-length", b"x"), Listens, Refused(502, "UPE")),
    (
        "two lengths",
        "GET",
        |id| head(id, END_STREAM, &[(":status", b"200"), ("content-length", b"0"), ("content-length", b"0")]),
        Listens,
        Refused(502, "UPE"),
    ),
    ("a length without a body", "GET", |id| with(id, "content-length", b"5"), Listens, Refused(502, "UPE")),
    ("an unasked switch", "GET", |id| head(id, END_STREAM, &[(":status", b"101")]), Listens, Refused(502, "UPE")),
    (
        "another protocol",
        "GET",
        |_| b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Closes,
        Refused(502, "UPE"),
    ),
    (
        "an unasked push",
        "GET",
        |id| frame(PUSH_PROMISE, END_HEADERS, id, &[&2_u32.to_be_bytes()[..], &block(&[(":path", b"/")])].concat()),
        Listens,
        Refused(502, "UPE"),
    ),
    (
        "a window that overflows",
        "GET",
        |_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
        Listens,
        Refused(502, "UPE"),
    ),
    ("a frame that is too large", "GET", |id| frame(DATA, 0, id, &[0; 20_000]), Listens, Refused(502, "UPE")),
    ("a body before its head", "GET", |id| frame(DATA, END_STREAM, id, b"evil"), Listens, Refused(502, "UPE")),
    // Interim answers.
    (
        "a hint",
        "GET",
        |id| [head(id, 0, &[(":status", b"103")]), ok(id, 0), frame(DATA, END_STREAM, id, b"hi")].concat(),
        Listens,
        Answered(200, "hi"),
    ),
    (
        "sixteen hints",
        "GET",
        |id| [head(id, 0, &[(":status", b"103")]).repeat(16), ok(id, END_STREAM)].concat(),
        Listens,
        Answered(200, ""),
    ),
    (
        "a flood of hints",
        "GET",
        |id| [head(id, 0, &[(":status", b"103")]).repeat(17), ok(id, END_STREAM)].concat(),
        Listens,
        Refused(502, "UPE"),
    ),
    ("hints alone", "GET", |id| head(id, END_STREAM, &[(":status", b"103")]), Listens, Refused(502, "UPE")),
    // Within the body.
    (
        "a reset in the body",
        "GET",
        |id| [ok(id, 0), frame(DATA, 0, id, b"hel"), reset(id, INTERNAL_ERROR)].concat(),
        Listens,
        RefusedOrTorn,
    ),
    ("an end in the body", "GET", |id| [ok(id, 0), frame(DATA, 0, id, b"hel")].concat(), Closes, Torn),
    (
        "a farewell in the body",
        "GET",
        |id| [ok(id, 0), frame(DATA, 0, id, b"hel"), go_away(id, 0)].concat(),
        Closes,
        Torn,
    ),
    (
        "less than the length",
        "GET",
        |id| {
            [head(id, 0, &[(":status", b"200"), ("content-length", b"5")]), frame(DATA, END_STREAM, id, b"hel")]
                .concat()
        },
        Listens,
        RefusedOrTorn,
    ),
    (
        "more than the length",
        "GET",
        |id| {
            [head(id, 0, &[(":status", b"200"), ("content-length", b"3")]), frame(DATA, END_STREAM, id, b"hello")]
                .concat()
        },
        Listens,
        RefusedOrTorn,
    ),
    (
        "a second head in the body",
        "GET",
        |id| [ok(id, 0), frame(DATA, 0, id, b"hel"), ok(id, 0)].concat(),
        Listens,
        RefusedOrTorn,
    ),
    // Whole, whatever else is said.
    (
        "bytes behind the end",
        "GET",
        |id| [ok(id, 0), frame(DATA, END_STREAM, id, b"hi"), frame(DATA, END_STREAM, id, b"evil")].concat(),
        Listens,
        Answered(200, "hi"),
    ),
    ("a 204", "GET", |id| head(id, END_STREAM, &[(":status", b"204")]), Listens, Answered(204, "")),
    (
        "a 204 with a body",
        "GET",
        |id| [head(id, 0, &[(":status", b"204")]), frame(DATA, END_STREAM, id, b"evil")].concat(),
        Listens,
        Answered(204, ""),
    ),
    (
        "a 304 that tells a length",
        "GET",
        |id| head(id, END_STREAM, &[(":status", b"304"), ("content-length", b"5")]),
        Listens,
        Answered(304, ""),
    ),
    (
        "an answer to HEAD that tells a length",
        "HEAD",
        |id| with(id, "content-length", b"5"),
        Listens,
        Answered(200, ""),
    ),
    (
        "an answer to HEAD with a body",
        "HEAD",
        |id| [ok(id, 0), frame(DATA, END_STREAM, id, b"evil")].concat(),
        Listens,
        Answered(200, ""),
    ),
    (
        "an early answer to an upload",
        "PUT",
        |id| [head(id, END_STREAM, &[(":status", b"413")]), reset(id, 0)].concat(),
        Listens,
        Answered(413, ""),
    ),
    (
        "an end right behind the answer",
        "GET",
        |id| [ok(id, 0), frame(DATA, END_STREAM, id, b"hi")].concat(),
        Closes,
        Answered(200, "hi"),
    ),
];

#[tokio::test]
async fn each_failing_of_an_http2_endpoint_has_its_answer_and_the_next_request_is_served() {
    let mut faults = Vec::new();
    for (name, method, said, then, wanted) in ROWS {
        let (_proxy, address) = in_front_of(Http2, endpoint(*said, *then).await).await;
        let mut client = Client::connect(address).await;
        let body = match *method {
            "POST" => "Content-Length: 2\r\n\r\nhi",
            "PATCH" => "Content-Length: 0\r\n\r\n",
            // An upload whose end does not come, so that an early answer is one.
            "PUT" => "Content-Length: 2\r\n\r\nh",
            _ => "\r\n",
        };
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{body}")).await;
        let judged = tokio::time::timeout(Duration::from_secs(5), judge(&mut client, method, *wanted)).await;
        if let Some(fault) = judged.unwrap_or_else(|_elapsed| Err("no end in sight".into())).err() {
            faults.push(format!("{name}: {fault}"));
        }
        let next = get(address, "/next").await;
        if (next.status, next.text()) != (200, "good") {
            faults.push(format!("{name}: the next request got {next:?}"));
        }
    }

    println!("{} failings of an HTTP/2 endpoint, {} wrong", ROWS.len(), faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

async fn judge(client: &mut Client, method: &str, wanted: Wanted) -> Result<(), String> {
    let all = match wanted {
        // An answer that is not whole ends with its connection.
        Torn | RefusedOrTorn => client.peek_answer().await,
        Refused(..) | Answered(..) => None,
    };
    match (wanted, all) {
        (Torn | RefusedOrTorn, Some(torn)) => {
            let clean = torn.ends_with("0\r\n\r\n");
            if torn.starts_with("HTTP/1.1 200 ") && !clean { Ok(()) } else { Err(format!("{torn:?}")) }
        }
        (Torn, None) => Err("answered whole, or refused".into()),
        (RefusedOrTorn, None) => match final_answer(client, method).await {
            refused if matches!(refused.status, 502 | 503) => Ok(()),
            answer => Err(format!("{answer:?}")),
        },
        (Refused(status, flag), _) => {
            let answer = final_answer(client, method).await;
            let error = answer.field("x-mesh-error").unwrap_or_default();
            let right = answer.status == status && error.starts_with(&format!("{flag};"));
            if right { Ok(()) } else { Err(format!("{answer:?}, wanted {status} {flag}")) }
        }
        (Answered(status, body), _) => {
            let answer = final_answer(client, method).await;
            let right = (answer.status, answer.text()) == (status, body) && answer.field("x-mesh-error").is_none();
            if right { Ok(()) } else { Err(format!("{answer:?}, wanted {status} {body:?}")) }
        }
    }
}

/// The answer behind hints.
async fn final_answer(client: &mut Client, method: &str) -> crate::client::Answer {
    loop {
        let answer = client.answer_to(method).await;
        if answer.status >= 200 {
            return answer;
        }
    }
}

/// An HTTP/2 endpoint that says this to its first request, and a good answer to every other one, on whatever connection.
async fn endpoint(said: fn(u32) -> Vec<u8>, then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move { drop(serve(stream, said, then, &asked).await) });
        }
    });
    address
}

async fn serve(
    mut stream: TcpStream,
    said: fn(u32) -> Vec<u8>,
    then: Then,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        stream.read_exact(&mut vec![0; length]).await?;
        let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        match header[3] {
            SETTINGS if header[4] == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            HEADERS if asked.fetch_add(1, Ordering::SeqCst) == 0 => {
                stream.write_all(&said(id)).await?;
                if then == Closes {
                    return stream.shutdown().await;
                }
            }
            HEADERS => stream.write_all(&[ok(id, 0), frame(DATA, END_STREAM, id, b"good")].concat()).await?,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_a_503_whatever_it_would_speak() {
    for protocol in [Http1, Http2] {
        let (_proxy, address) = in_front_of(protocol, nobody().await).await;

        let answer = get(address, "/").await;

        let error = answer.field("x-mesh-error");
        assert_eq!((answer.status, error), (503, Some("UF; details=upstream_connect_failure")), "{protocol:?}");
    }
}

/// A listener whose queue is full: a further SYN is not answered.
async fn unanswering() -> (SocketAddr, Vec<TcpStream>, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
    socket.listen(0).expect("listens");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let mut queued = Vec::new();
    // The queue takes one or two more than it says.
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream);
    }
    (address, queued, socket)
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_a_connect_is_a_503_in_time() {
    let (endpoint, _queued, _socket) = unanswering().await;
    for protocol in [Http1, Http2] {
        let mut slow = cluster("backend", protocol, &[endpoint]);
        slow.connect_timeout = Duration::from_millis(200);
        let listener = http_listener("in", inline(all_to("r", "backend")));
        let (_proxy, address) = proxy_with(vec![of_cluster(slow), of_listener(listener)]).await;

        let answer = get(address, "/").await;

        let error = answer.field("x-mesh-error");
        assert_eq!((answer.status, error), (503, Some("UF; details=upstream_connect_timeout")), "{protocol:?}");
    }
}

/// Ends a connection with a reset in place of an end.
fn break_off(connection: &Scripted) {
    let socket = socket2::SockRef::from(&connection.stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket takes the option");
}

#[tokio::test]
async fn a_connection_that_is_reset_is_told_apart_by_its_phase() {
    let cases = [
        ("before the head", "", 503, "UC"),
        // The hint is relayed at once: who has it knows that what came with it was read, which a reset would overtake.
        ("within the status line", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2", 502, "UPE"),
        ("within the head", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 502, "UPE"),
    ];
    for (phase, said, status, flag) in cases {
        let seen = Arc::new(Notify::new());
        let told = Arc::clone(&seen);
        let backend = scripted(move |mut connection| {
            let told = Arc::clone(&told);
            async move {
                connection.head().await;
                connection.say(said).await;
                if !said.is_empty() {
                    told.notified().await;
                }
                break_off(&connection);
            }
        })
        .await;
        let (_proxy, address) = in_front_of(Http1, backend).await;
        let mut client = Client::connect(address).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        if !said.is_empty() {
            assert_eq!(client.answer().await.status, 103, "{phase}");
            seen.notify_one();
        }

        let answer = client.answer().await;

        let error = answer.field("x-mesh-error").unwrap_or_default();
        assert_eq!(answer.status, status, "{phase}: {error}");
        assert!(error.starts_with(flag), "{phase}: {error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_within_the_body_tears_the_answer() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf",
    ] {
        let seen = Arc::new(Notify::new());
        let told = Arc::clone(&seen);
        let backend = scripted(move |mut connection| {
            let told = Arc::clone(&told);
            async move {
                connection.head().await;
                connection.say(said).await;
                told.notified().await;
                break_off(&connection);
            }
        })
        .await;
        let (_proxy, address) = in_front_of(Http1, backend).await;
        let mut client = Client::connect(address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.head().await;
        seen.notify_one();

        let rest = String::from_utf8(client.rest().await).expect("text");

        assert!(head.starts_with("HTTP/1.1 200 OK"), "{said:?}: {head}");
        assert!(!rest.ends_with("0\r\n\r\n") && rest.len() < 15, "{said:?}: {rest:?}");
    }
}

#[tokio::test]
async fn silence_is_a_504_or_tears_what_has_begun() {
    let silences: [fn(u32) -> Vec<u8>; 2] = [|_| Vec::new(), |id| [ok(id, 0), frame(DATA, 0, id, b"hel")].concat()];
    for (index, said) in silences.into_iter().enumerate() {
        let mut limited = forward("backend");
        limited.timeout = Some(Duration::from_millis(300));
        let all = routes("r", vec![route("/", RouteAction::Forward(Box::new(limited)))]);
        let (_proxy, address) = proxy_with(vec![
            of_cluster(cluster("backend", Http2, &[endpoint(said, Listens).await])),
            of_listener(http_listener("in", inline(all))),
        ])
        .await;
        let mut client = Client::connect(address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;

        let all = String::from_utf8(client.rest_or_answer().await).expect("text");

        match index {
            0 => assert!(all.starts_with("HTTP/1.1 504 ") && all.contains("UT; details=response_timeout"), "{all}"),
            _ => assert!(all.starts_with("HTTP/1.1 200 ") && !all.ends_with("0\r\n\r\n"), "{all}"),
        }
    }
}

#[tokio::test]
async fn what_an_endpoint_says_late_is_no_answer_to_the_next_request() {
    let later = Arc::new(Notify::new());
    let (said, told) = (Arc::new(Notify::new()), Arc::clone(&later));
    let done = Arc::clone(&said);
    let backend = scripted(move |mut connection| {
        let (told, done) = (Arc::clone(&told), Arc::clone(&done));
        async move {
            let first = connection.head().await.starts_with("GET /first");
            connection.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await;
            if first {
                told.notified().await;
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
                done.notify_one();
                connection.ended().await;
            }
        }
    })
    .await;
    let (_proxy, address) = in_front_of(Http1, backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/first").await.text(), "good");

    later.notify_one();
    said.notified().await;

    assert_eq!(client.get("/second").await.text(), "good");
}
