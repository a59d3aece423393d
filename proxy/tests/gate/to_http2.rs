//! HTTP/1.1 clients in front of an HTTP/2 backend: what arrives, field by field.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tidegate_xds::resource::cluster::UpstreamProtocol;
use tokio::net::TcpListener;

use crate::case::{Case, PLAIN, Verdict, cases, chunked, get, post, with};
use crate::client::Client;
use crate::requests::{in_front_of, shown};
use crate::{PATIENCE, Tally};

/// A request without fields of its own, as it arrives.
fn seen(line: &str, fields: &str, body: &str) -> String {
    format!("{line}\nx-forwarded-proto: http\n{fields}\n{body}")
}

const LINE: &str = "GET http://a.test/";
const UPLOAD: &str = "POST http://a.test/";

cases! {
    a_request "RFC 9113 8.3.1": PLAIN => seen(LINE, "", "");
    a_target "RFC 9113 8.3.1": get("/a/../b?c=d") => seen("GET http://a.test/b?c=d", "", "");
    an_absolute_target "RFC 9112 3.2.2": "GET http://b.test:81/c HTTP/1.1\r\nHost: a.test\r\n\r\n" => seen("GET http://b.test:81/c", "", "");
    names_become_lower_case "RFC 9113 8.2.1": with("X-One: 1\r\nx-TWO: 2") => seen(LINE, "x-one: 1\nx-two: 2\n", "");
    every_path_byte "RFC 3986 3.3": get("/\"[]^{|}!$&'()*+,;=:@%20") => seen("GET http://a.test/\"[]^{|}!$&'()*+,;=:@%20", "", "");
    every_query_byte "RFC 3986 3.4": get("/?[]^{|}!$&'()*+,;=:@%zz\\`") => seen("GET http://a.test/?[]^{|}!$&'()*+,;=:@%zz\\`", "", "");
    every_host_byte "RFC 3986 3.2.2": "GET / HTTP/1.1\r\nHost: a-._~!$&'()*+;=z:80\r\n\r\n" => seen("GET http://a-._~!$&'()*+;=z:80/", "", "");
    an_ipv6_host "RFC 3986 3.2.2": "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n" => seen("GET http://[::1]:80/", "", "");
    an_odd_method "RFC 9110 9.1": "M-SEARCH!~ / HTTP/1.1\r\nHost: a.test\r\n\r\n" => seen("M-SEARCH!~ http://a.test/", "", "");
    connection_is_not_sent "RFC 9113 8.2.2": with("Connection: close, x-one\r\nX-One: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x") => seen(LINE, "", "");
    upgrade_is_not_sent "RFC 9113 8.2.2": with("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA") => seen(LINE, "", "");
    te_is_trailers_or_nothing "RFC 9113 8.2.2": with("TE: gzip, trailers\r\nConnection: TE") => seen(LINE, "te: trailers\n", "");
    te_gzip_is_not_sent "RFC 9113 8.2.2": with("TE: gzip\r\nConnection: TE") => seen(LINE, "", "");
    obs_text "RFC 9110 5.5": with("X: caf\u{e9}") => seen(LINE, "x: caf\u{e9}\n", "");
    padding_is_not_sent "RFC 9113 8.2.1": with("X: \t a b \t") => seen(LINE, "x: a b\n", "");
    a_length "RFC 9113 8.1.1": post("Content-Length: 5", "hello") => seen(UPLOAD, "content-length: 5\n", "hello");
    a_padded_length "RFC 9110 8.6": post("Content-Length: 005", "hello") => seen(UPLOAD, "content-length: 5\n", "hello");
    chunks_are_not_sent "RFC 9113 8.2.2": chunked("2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n") => seen(UPLOAD, "", "hello");
    a_trailer_of_grpc "RFC 9110 6.5.1": chunked("5\r\nhello\r\n0\r\nGrpc-Status: 0\r\nHost: b\r\n\r\n") => seen(UPLOAD, "", "hello\ngrpc-status: 0\n");
    an_expectation "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect: 100-continue", "hello") => seen(UPLOAD, "content-length: 5\nexpect: 100-continue\n", "hello");
    a_client_certificate "RFC 9440 3": with("X-Forwarded-Client-Cert: By=x") => seen(LINE, "", "");
    a_look_alike "RFC 9110 5.1": with("Transfer_Encoding: chunked") => seen(LINE, "", "");
    both_framings "RFC 9112 6.1": post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n") => 400;
    a_bad_chunk "RFC 9112 7.1": chunked("zz\r\n") => 400;
    a_name_with_a_space "RFC 9112 5.1": with("X y: z") => 400;
    an_empty_fold "RFC 9112 5.2": with("X: y\r\n z") => 400;
}

/// What arrived at the backend, as text.
type Seen = Arc<Mutex<String>>;

pub(crate) async fn run() -> Tally {
    let record = Seen::default();
    let backend = backend(Arc::clone(&record)).await;
    let (proxy, address) = in_front_of(UpstreamProtocol::Http2, backend).await;
    let mut tally = Tally::default();
    for case in cases() {
        tally.cases += 1;
        let fault = match tokio::time::timeout(PATIENCE, exchange(address, &record, &case)).await {
            Ok(judged) => judged.err(),
            Err(_elapsed) => Some("no end in sight".into()),
        };
        match &case.verdict {
            Verdict::Refused(_) => tally.refused += 1,
            Verdict::Forwarded(_) | Verdict::Torn { .. } | Verdict::Malformed => tally.mended += 1,
        }
        tally.faults.extend(fault.map(|fault| format!("to HTTP/2 {} ({}): {fault}", case.name, case.rfc)));
    }
    drop(proxy);
    tally
}

async fn exchange(address: SocketAddr, record: &Seen, case: &Case) -> Result<(), String> {
    let mut client = Client::connect(address).await;
    client.say(&case.sent).await;
    let answer = client.answer().await.map_err(|error| format!("no answer: {error}"))?;
    let seen = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
    let (status, wanted) = match &case.verdict {
        Verdict::Forwarded(wanted) => (204, String::from_utf8_lossy(wanted).into_owned()),
        Verdict::Refused(status) => (*status, String::new()),
        Verdict::Torn { .. } | Verdict::Malformed => return Err("not a verdict of this direction".into()),
    };
    if answer.status != status {
        return Err(format!("answered {}, wanted {status}", answer.head.trim_end()));
    }
    if seen != wanted {
        return Err(format!("arrived\n  {}\n  wanted\n  {}", shown(seen.as_bytes()), shown(wanted.as_bytes())));
    }
    Ok(())
}

async fn backend(record: Seen) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let record = Arc::clone(&record);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("an HTTP/2 client");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond, Arc::clone(&record)));
                }
            });
        }
    });
    address
}

/// Writes a request down when it is whole, and answers it.
async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, record: Seen) {
    let (parts, mut body) = request.into_parts();
    let mut payload = Vec::new();
    while let Some(bytes) = body.data().await {
        let Ok(bytes) = bytes else { return };
        drop(body.flow_control().release_capacity(bytes.len()));
        payload.extend_from_slice(&bytes);
    }
    let trailers = body.trailers().await.ok().flatten();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    // The field that the proxy adds comes first, so that a table need not say where it stands among the others.
    let (mut ours, theirs): (Vec<_>, Vec<_>) =
        lines(&parts.headers).partition(|line| line.starts_with("x-forwarded-proto"));
    ours.extend(theirs);
    text.push_str(&ours.concat());
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&payload));
    for line in trailers.iter().flat_map(|trailers| lines(trailers).collect::<Vec<_>>()) {
        write!(text, "\n{line}").expect("a string takes all");
    }
    *record.lock().unwrap_or_else(PoisonError::into_inner) = text;
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    drop(respond.send_response(response, true));
}

fn lines(fields: &HeaderMap) -> impl Iterator<Item = String> {
    fields.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
}
