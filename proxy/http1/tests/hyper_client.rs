//! hyper's client as an oracle for responses, as `hyper.rs` has its server for requests.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidegate_http1::{BodyReader, Limits, Parsed, Refusal, parse_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a client made of the response.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn comparable(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.filter(|(name, _)| !name.contains('_')).collect();
    fields.sort();
    fields
}

/// Lets hyper ask over an in-memory connection and answers with `bytes` and the end; None when hyper refuses the head or the body.
fn hyper_sees(bytes: &[u8], method: &str) -> Option<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (client, mut server) = tokio::io::duplex(256 * 1024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.expect("a pipe can be used");
        let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).expect("a request");
        let answering = async {
            server.read_u8().await.expect("hyper asks");
            server.write_all(bytes).await.expect("the pipe is larger than any message");
            drop(server);
        };
        let asking = async {
            let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?.to_bytes().to_vec();
            let fields =
                parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
            Some(Seen { status: parts.status.as_u16(), fields: comparable(fields), body })
        };
        let (seen, _ended, ()) = tokio::join!(asking, connection, answering);
        seen
    })
}

fn we_see(bytes: &[u8], method: &str) -> Result<Seen, Option<Refusal>> {
    let Parsed::Complete { head, consumed } = parse_response(bytes, method, &Limits::default())? else {
        return Err(None);
    };
    let mut reader = BodyReader::new(head.framing());
    let rest = &bytes[consumed..];
    let mut body = Vec::new();
    reader.advance(rest, |range| body.extend_from_slice(&rest[range]))?;
    reader.end_of_input().map_err(|_| None)?;
    let fields =
        head.fields().map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    Ok(Seen { status: head.status(), fields: comparable(fields), body })
}

/// Responses hyper takes and we refuse, with the reason in our refusal and the reason for it.
const STRICTER: &[(&str, &str, &str)] = &[
    (
        "Content-Length beside Transfer-Encoding",
        "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "RFC 9112 6.1: without a body it does no harm to us, but it would to whoever believes either of them",
    ),
    (
        "more than one Content-Length",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "RFC 9112 6.3 allows to merge equal ones; nobody honest sends two",
    ),
    (
        "invalid Content-Length",
        "HTTP/1.1 204 No Content\r\nContent-Length: +1\r\n\r\n",
        "RFC 9110 8.6: hyper does not look at it where there is no body; the field would be forwarded",
    ),
    (
        "more than one Transfer-Encoding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "RFC 9112 6.1: chunked may be applied once",
    ),
    (
        "transfer coding other than chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "RFC 9112 7: a coding that TE did not offer",
    ),
    (
        "chunked is not the one final transfer coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "RFC 9112 6.3 lets it end with the connection; a coding that TE did not offer",
    ),
    (
        "Transfer-Encoding in HTTP/1.0",
        "HTTP/1.0 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "RFC 9112 6.1: faulty framing, with or without a body",
    ),
    ("line ends with a bare LF", "HTTP/1.1 204 No Content\nX: a\n\n", "RFC 9112 2.2 allows to take it for a line end"),
    ("invalid connection option", "HTTP/1.1 204 No Content\r\nConnection: a b\r\n\r\n", "RFC 9110 7.6.1: not a token"),
    (
        "invalid chunk size",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
        "RFC 9112 7.1 has no white space behind a size",
    ),
    (
        "invalid chunk extension",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\nx\r\n0\r\n\r\n",
        "RFC 9112 7.1.1: an extension has a name",
    ),
];

#[test]
fn every_listed_difference_is_one() {
    for (reason, message, why) in STRICTER {
        let refusal =
            we_see(message.as_bytes(), "GET").expect_err(reason).unwrap_or_else(|| panic!("{reason}: incomplete"));

        assert_eq!(refusal.reason, *reason, "{why}");
        assert!(
            hyper_sees(message.as_bytes(), "GET").is_some(),
            "hyper refuses too, so this is no difference: {reason}"
        );
    }
}

fn message() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => "HTTP/1\\.[01] (200|204|304|404|599|999) [ -~]{0,5}\r\n",
        1 => "HTTP/1.1 200\r\n",
        1 => "HTTP/[12].[0-9] [0-9]{2,4} ?OK\r\n",
    ];
    let field = prop_oneof![
        6 => "X-[a-z]{1,5}:[ \t]{0,2}[!-~]{0,6}[ \t]{0,1}[!-~]{0,3}[ \t]{0,2}\r\n",
        1 => "[!-~]{1,8}: x\r\n",
        1 => "X: [ -~\t\u{0}-\u{8}\u{7f}\u{e9}]{0,4}\r\n",
        1 => "Connection: (close|keep-alive|a b|Transfer-Encoding|x, y)\r\n",
        1 => Just("X: a\n".to_owned()),
        1 => Just("X: a\r\n b\r\n".to_owned()),
        1 => Just("X : a\r\n".to_owned()),
    ];
    let framing = prop_oneof![
        3 => Just(String::new()),
        6 => (0..12u64).prop_map(|length| format!("Content-Length: {length}\r\n")),
        1 => "Content-Length: [0-9+,x -]{0,3}\r\n",
        6 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => "Transfer-Encoding: (gzip|chunked|identity)(, ?|,,| )(chunked|gzip)\r\n",
        1 => Just("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".to_owned()),
        1 => Just("Content-Length: 3\r\nContent-Length: 3\r\n".to_owned()),
    ];
    let chunk = prop_oneof![
        8 => "[a-z]{1,20}".prop_map(|data| format!("{:x}\r\n{data}\r\n", data.len())),
        1 => "[0-9a-fA-F+;x \t]{0,3}(\r\n|\n|\r)[a-z]{0,3}(\r\n|\n)",
    ];
    let end = prop_oneof![8 => Just("0\r\n\r\n"), 1 => Just("0\r\n"), 1 => Just("")];
    let body = prop_oneof![
        2 => Just(String::new()),
        2 => "[a-z]{0,14}",
        4 => (prop::collection::vec(chunk, 0..4), end).prop_map(|(chunks, end)| chunks.concat() + end),
    ];
    (line, prop::collection::vec(field, 0..3), framing, body)
        .prop_map(|(line, fields, framing, body)| format!("{line}{}{framing}\r\n{body}", fields.concat()))
}

#[test]
fn generated_messages_are_often_accepted_and_often_refused_by_either() {
    let mut runner = TestRunner::deterministic();
    let (mut ours, mut theirs) = (0, 0);
    for _ in 0..500 {
        let message = message().new_tree(&mut runner).expect("a message").current();
        ours += usize::from(we_see(message.as_bytes(), "GET").is_ok());
        theirs += usize::from(hyper_sees(message.as_bytes(), "GET").is_some());
    }

    assert!(ours > 50 && theirs > ours && theirs < 450, "we accept {ours}, hyper {theirs} of 500");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn we_and_hyper_agree_on_every_response_or_the_difference_is_listed(
        message in message(),
        method in prop_oneof![3 => Just("GET"), 1 => Just("HEAD")],
    ) {
        match (we_see(message.as_bytes(), method), hyper_sees(message.as_bytes(), method)) {
            (Ok(ours), Some(theirs)) => prop_assert_eq!(ours, theirs, "{} {:?}", method, message),
            (Ok(_), None) => prop_assert!(false, "hyper refuses what we accept: {} {:?}", method, message),
            (Err(Some(refusal)), Some(_)) => {
                let listed = STRICTER.iter().any(|(reason, ..)| *reason == refusal.reason);
                prop_assert!(listed, "an unlisted difference: {} {} {:?}", refusal, method, message);
            }
            (Err(None), Some(_)) => prop_assert!(false, "hyper sees an end where we see none: {} {:?}", method, message),
            (Err(_), None) => {}
        }
    }
}
