//! hyper as an oracle: the same bytes go to this crate and to hyper's server.
//!
//! What we accept hyper must accept too, with the same method, target, fields, framing and body. Where we refuse and hyper does not,
//! the reason must stand in [`STRICTER`]: every entry is a decision, and a new difference fails the test until it is made one.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidegate_http1::{BodyReader, Framing, Limits, Parsed, Refusal, parse_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a recipient made of the first message on a connection.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    method: String,
    path_and_query: String,
    /// Lower-case names, sorted; without those whose change is part of accepting.
    fields: Vec<(String, Vec<u8>)>,
    length: Option<u64>,
    body: Vec<u8>,
}

/// Runs hyper over an in-memory connection that carries `bytes` and then ends; None when it refused the head or the body.
fn hyper_sees(bytes: &[u8]) -> Option<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(256 * 1024);
        client.write_all(bytes).await.expect("the pipe is larger than any message");
        client.shutdown().await.expect("a pipe can be closed");
        let first: Rc<RefCell<Option<Option<Seen>>>> = Rc::default();
        let service = service_fn(|request: Request<Incoming>| {
            let first = Rc::clone(&first);
            async move {
                let seen = collect(request).await;
                first.borrow_mut().get_or_insert(seen);
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let connection = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
        let mut answers = Vec::new();
        // A refusal of hyper's shows as the absence of a complete request; how its connection ends does not matter.
        let (_ended, read) = tokio::join!(connection, client.read_to_end(&mut answers));
        read.expect("a pipe can be read");
        first.take().flatten()
    })
}

async fn collect(request: Request<Incoming>) -> Option<Seen> {
    let (parts, body) = request.into_parts();
    let length = body.size_hint().exact();
    let body = body.collect().await.ok()?.to_bytes().to_vec();
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    Some(Seen {
        method: parts.method.to_string(),
        path_and_query: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        fields: comparable(fields),
        length: length.filter(|length| *length > 0),
        body,
    })
}

fn comparable(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.filter(|(name, _)| name != "host" && !name.contains('_')).collect();
    fields.sort();
    fields
}

/// The same by this crate. A message whose end does not come is Err(None).
fn we_see(bytes: &[u8]) -> Result<Seen, Option<Refusal>> {
    let Parsed::Complete { head, consumed } = parse_request(bytes, &Limits::default())? else { return Err(None) };
    let mut reader = BodyReader::new(head.framing());
    let rest = &bytes[consumed..];
    let mut body = Vec::new();
    reader.advance(rest, |range| body.extend_from_slice(&rest[range]))?;
    reader.end_of_input().map_err(|_| None)?;
    let fields =
        head.fields().map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    Ok(Seen {
        method: head.method().to_owned(),
        path_and_query: head.path_and_query().to_owned(),
        fields: comparable(fields),
        length: match head.framing() {
            Framing::Length(length) => Some(length).filter(|length| *length > 0),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        },
        body,
    })
}

/// Messages hyper serves and we refuse, with the reason in our refusal and the reason for it.
const STRICTER: &[(&str, &str, &str)] = &[
    (
        "Content-Length beside Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "RFC 9112 6.1: hyper lets chunked win and closes afterwards; a hop before us may have let the length win",
    ),
    (
        "more than one Content-Length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "RFC 9112 6.3 allows to merge equal ones; nobody honest sends two",
    ),
    (
        "more than one Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "RFC 9112 6.1: chunked may be applied once; hyper looks at the last coding alone",
    ),
    (
        "transfer coding other than chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "RFC 9112 6.1: codings we do not understand are not ours to forward",
    ),
    (
        "chunked is not the one final transfer coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        "RFC 9112 6.3: an empty element is where lenient next hops stop reading",
    ),
    (
        "line ends with a bare LF",
        "GET / HTTP/1.1\nHost: a\n\n",
        "RFC 9112 2.2 allows to take it for a line end; two recipients that differ disagree where the head ends",
    ),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", "RFC 9112 3.2: a server must answer 400"),
    ("more than one Host", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "RFC 9112 3.2: a server must answer 400"),
    ("invalid host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "RFC 9112 3.2: a server must answer 400"),
    (
        "userinfo in the authority",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "RFC 9110 4.2.4: userinfo misleads, so it is an error",
    ),
    ("invalid port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "RFC 9112 3.2: a server must answer 400"),
    (
        "byte outside visible ASCII in the request target",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "RFC 9112 3.2: no target has such bytes, and what a next hop makes of them is its own idea",
    ),
    ("fragment in the request target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 3.2: hyper cuts it off"),
    ("asterisk-form is for OPTIONS alone", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 3.2.4"),
    (
        "invalid request target",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "RFC 9112 3.2.3: authority-form is for CONNECT alone",
    ),
    ("scheme is neither http nor https", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9110 4.2: not ours to proxy"),
    ("backslash in the path", "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", "some servers take it for a slash"),
    (
        "escaped slash or backslash in the path",
        "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
        "some servers take it for a slash",
    ),
    ("escaped NUL in the path", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 3986 7.3: it ends strings"),
    ("invalid percent-encoding in the path", "GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 3986 2.1: decoders differ"),
    ("dot segment with parameters in the path", "GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n", "some servers resolve it"),
    (
        "CONNECT is not allowed here",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "RFC 9110 9.3.6: a tunnel evades all policy",
    ),
    ("TRACE is not allowed here", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9110 9.3.8: it reflects credentials"),
    (
        "expectation other than 100-continue",
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
        "RFC 9110 10.1.1: 417 is the answer to what we cannot meet",
    ),
    (
        "Connection nominates a field meant for every recipient",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n",
        "RFC 9110 7.6.1: removing it as told would change where the message goes or where it ends",
    ),
    (
        "invalid connection option",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
        "RFC 9110 7.6.1: not a token",
    ),
    (
        "invalid method",
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "RFC 9112 2.2 asks to ignore one empty line; hyper skips any number",
    ),
    (
        "invalid chunk size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
        "RFC 9112 7.1 has no white space behind a size",
    ),
    (
        "chunk size out of range",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\nx\r\n0\r\n\r\n",
        "more than sixteen digits say nothing that sixteen do not",
    ),
    (
        "invalid chunk extension",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\nx\r\n0\r\n\r\n",
        "RFC 9112 7.1.1: an extension has a name; hyper skips whatever stands there",
    ),
    (
        "invalid trailer field",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\r\n\r\n",
        "RFC 9112 2.2: a bare LF ends no line, in trailers neither",
    ),
];

#[test]
fn every_listed_difference_is_one() {
    for (reason, message, why) in STRICTER {
        let refusal = we_see(message.as_bytes()).expect_err(reason).unwrap_or_else(|| panic!("{reason}: incomplete"));

        assert_eq!(refusal.reason, *reason, "{why}");
        assert!(hyper_sees(message.as_bytes()).is_some(), "hyper refuses too, so this is no difference: {reason}");
    }
}

#[test]
fn both_refuse_what_is_plainly_wrong() {
    for message in [
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nx\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    ] {
        assert!(we_see(message.as_bytes()).is_err(), "{message:?}");
        assert_eq!(hyper_sees(message.as_bytes()), None, "{message:?}");
    }
}

fn message() -> impl Strategy<Value = String> {
    let method =
        prop_oneof![4 => Just("POST"), 4 => Just("GET"), 1 => Just("M-1"), 1 => Just("G(T"), 1 => Just("TRACE")];
    let target = prop_oneof![
        8 => "/[a-z0-9/._~!$&'()*+,;=:@-]{0,16}",
        3 => "/[a-z]{0,4}\\?[ -~]{0,8}",
        2 => "/[ -~]{0,8}",
        1 => Just("http://b:81/x?y".to_owned()),
        1 => Just("*".to_owned()),
    ];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/1.7"), 1 => Just("HTTP/1")];
    let line = prop_oneof![
        6 => "X-[a-z]{1,5}:[ \t]{0,2}[!-~]{0,6}[ \t]{0,1}[!-~]{0,3}[ \t]{0,2}\r\n",
        1 => "[!-~]{1,8}: x\r\n",
        1 => "X: [ -~\t\u{0}-\u{8}\u{7f}\u{e9}]{0,4}\r\n",
        1 => "Connection: (close|keep-alive|upgrade|a b|Host|x, y)\r\n",
        1 => "Expect: (100-continue|x)\r\n",
        1 => "Host: [a-z:@,%]{0,4}\r\n",
        1 => Just("X: a\n".to_owned()),
        1 => Just("X: a\r\n b\r\n".to_owned()),
    ];
    let framing = prop_oneof![
        3 => Just(String::new()),
        6 => (0..12u64).prop_map(|length| format!("Content-Length: {length}\r\n")),
        1 => "Content-Length: [0-9+,x -]{0,3}\r\n",
        6 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => Just("transfer-encoding: CHUNKED\r\n".to_owned()),
        1 => "Transfer-Encoding: (gzip|chunked|identity)(, ?|,,| )(chunked|gzip)\r\n",
        1 => Just("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        1 => Just("Content-Length: 3\r\nContent-Length: 3\r\n".to_owned()),
    ];
    let chunk = prop_oneof![
        8 => "[a-z]{1,20}".prop_map(|data| format!("{:x}\r\n{data}\r\n", data.len())),
        2 => "[a-z]{1,20}".prop_map(|data| format!("{:02X};a=\"b\";c\r\n{data}\r\n", data.len())),
        1 => "[0-9a-fA-F+;x \t]{0,3}(\r\n|\n|\r)[a-z]{0,3}(\r\n|\n)",
    ];
    let end = prop_oneof![6 => Just("0\r\n\r\n"), 1 => Just("0\r\nX: a\r\n\r\n"), 1 => Just("0\r\n"), 1 => Just("0\r\nbad\r\n\r\n"), 1 => Just("")];
    let body = prop_oneof![
        1 => Just(String::new()),
        2 => "[a-z]{0,14}",
        4 => (prop::collection::vec(chunk, 0..4), end).prop_map(|(chunks, end)| chunks.concat() + end),
    ];
    let lines = prop::collection::vec(line, 0..3);
    let host = prop_oneof![15 => Just("Host: reviews:80\r\n"), 1 => Just("")];
    (method, target, version, host, lines, framing, body).prop_map(
        |(method, target, version, host, lines, framing, body)| {
            format!("{method} {target} {version}\r\n{host}{}{framing}\r\n{body}", lines.concat())
        },
    )
}

/// Our view of a target is canonical, hyper's is as received; the rest must agree exactly.
fn with_hypers_target(ours: Seen, theirs: &Seen) -> Seen {
    let (path, query) =
        theirs.path_and_query.split_once('?').map_or((&*theirs.path_and_query, None), |(p, q)| (p, Some(q)));
    let canonical = match path {
        "*" => "*".into(),
        path => {
            tidegate_http1::canonical_path(path, tidegate_http1::EscapedSlashes::Refuse).expect("accepted by the gate")
        }
    };
    let expected = query.map_or_else(|| canonical.to_string(), |query| format!("{canonical}?{query}"));
    assert_eq!(ours.path_and_query, expected);
    Seen { path_and_query: theirs.path_and_query.clone(), ..ours }
}

#[test]
fn generated_messages_are_often_accepted_and_often_refused_by_either() {
    let mut runner = TestRunner::deterministic();
    let (mut ours, mut theirs) = (0, 0);
    for _ in 0..500 {
        let message = message().new_tree(&mut runner).expect("a message").current();
        ours += usize::from(we_see(message.as_bytes()).is_ok());
        theirs += usize::from(hyper_sees(message.as_bytes()).is_some());
    }

    assert!(ours > 50 && theirs > ours && theirs < 400, "we accept {ours}, hyper {theirs} of 500");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn we_and_hyper_agree_on_every_message_or_the_difference_is_listed(message in message()) {
        match (we_see(message.as_bytes()), hyper_sees(message.as_bytes())) {
            (Ok(ours), Some(theirs)) => prop_assert_eq!(with_hypers_target(ours, &theirs), theirs, "{:?}", message),
            (Ok(_), None) => prop_assert!(false, "hyper refuses what we accept: {:?}", message),
            (Err(Some(refusal)), Some(_)) => {
                let listed = STRICTER.iter().any(|(reason, ..)| *reason == refusal.reason);
                prop_assert!(listed, "an unlisted difference: {} {:?}", refusal, message);
            }
            (Err(None), Some(_)) => prop_assert!(false, "hyper sees an end where we see none: {:?}", message),
            (Err(_), None) => {}
        }
    }
}
