//! What is written, byte for byte.

use super::*;
use crate::limits::Limits;
use crate::request::{Parsed, parse_request};
use crate::response::parse_response;

fn request_head(message: &str) -> RequestHead {
    match parse_request(message.as_bytes(), &Limits::default()) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}: {message:?}"),
    }
}

fn response_head(message: &str, method: &str) -> ResponseHead {
    match parse_response(message.as_bytes(), method, &Limits::default()) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}: {message:?}"),
    }
}

fn written(message: &str, edits: &HeadEdits) -> String {
    let head = request_head(message);
    let mut out = Vec::new();
    write_request(&mut out, &head, edits, head.framing(), None).unwrap();
    String::from_utf8(out).unwrap()
}

fn forwarded(message: &str) -> String {
    written(message, &HeadEdits::new())
}

fn answered(message: &str, method: &str, framing: Framing, connection: ConnectionField, to_http10: bool) -> String {
    let head = response_head(message, method);
    let mut out = Vec::new();
    write_response(&mut out, &head, &HeadEdits::new(), framing, connection, to_http10).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_unchanged_head_is_written_byte_for_byte() {
    let message = "POST /a?b HTTP/1.1\r\naCCEPT: x\r\nhOST: Reviews:80\r\nCookie: a\r\nCookie: b\r\ncontent-LENGTH: 5\r\nX-Empty: \r\n\r\n";

    assert_eq!(forwarded(message), message);
    let chunked = "PUT / HTTP/1.1\r\nHost: a\r\ntransfer-Encoding: chunked\r\nZ: 1\r\n\r\n";
    assert_eq!(forwarded(chunked), chunked);
}

#[test]
fn unusual_white_space_around_values_is_brought_to_one_form() {
    assert_eq!(
        forwarded("GET / HTTP/1.1\r\nHost:a\r\nX:  1 \r\nY: 2\r\nZ:\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost:a\r\nX: 1\r\nY: 2\r\nZ:\r\n\r\n"
    );
}

#[test]
fn fields_of_one_hop_are_stripped() {
    // RFC 9110 7.6.1.
    let message = "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nA: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n\
        Proxy-Authenticate: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nTE: gzip\r\nConnection: upgrade, x-hop, HTTP2-Settings\r\n\
        X-Hop: 1\r\nx-hop: 2\r\nB: 2\r\n\r\n";

    assert_eq!(forwarded(message), "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n");
}

#[test]
fn te_keeps_trailers_alone_and_is_nominated() {
    // RFC 9110 10.1.4.
    assert_eq!(
        forwarded("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: gzip, trailers\r\nX: 1\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\nX: 1\r\n\r\n"
    );
}

#[test]
fn an_upgrade_is_written_only_when_the_caller_says_so() {
    // RFC 9110 7.8.
    let message =
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nX: 1\r\n\r\n";
    let head = request_head(message);
    let mut out = Vec::new();

    write_request(&mut out, &head, &HeadEdits::new(), head.framing(), head.upgrade()).unwrap();

    let expected = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX: 1\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(forwarded(message), "GET /chat HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n");
}

#[test]
fn absolute_form_becomes_origin_form_with_its_authority_as_host() {
    // RFC 9112 3.2.2.
    assert_eq!(
        forwarded("GET http://b:1/x//y?q HTTP/1.1\r\nA: 1\r\nhost: a\r\nB: 2\r\n\r\n"),
        "GET /x/y?q HTTP/1.1\r\nA: 1\r\nhost: b:1\r\nB: 2\r\n\r\n"
    );
}

#[test]
fn http10_becomes_http11_without_its_expectation() {
    assert_eq!(
        forwarded(
            "POST http://a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n"
        ),
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nHost: a\r\n\r\n"
    );
    assert_eq!(forwarded("GET /a HTTP/1.0\r\nHost: a\r\n\r\n"), "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn the_empty_line_before_a_request_is_not_forwarded() {
    assert_eq!(forwarded("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn framing_is_written_in_its_plain_form_where_it_stood() {
    assert_eq!(
        forwarded("POST / HTTP/1.1\r\nContent-Length: 007\r\nHost: a\r\n\r\n"),
        "POST / HTTP/1.1\r\nContent-Length: 7\r\nHost: a\r\n\r\n"
    );
    assert_eq!(
        forwarded("POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\nHost: a\r\n\r\n"),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n"
    );
}

#[test]
fn a_change_of_framing_leaves_only_the_new_one() {
    let mut out = Vec::new();
    let counted = request_head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: 1\r\n\r\n");
    write_request(&mut out, &counted, &HeadEdits::new(), Framing::Chunked, None).unwrap();
    assert_eq!(out, b"POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n");

    out.clear();
    let chunked = request_head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n");
    write_request(&mut out, &chunked, &HeadEdits::new(), Framing::Length(12), None).unwrap();
    assert_eq!(out, b"POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\nContent-Length: 12\r\n\r\n");

    out.clear();
    write_request(&mut out, &counted, &HeadEdits::new(), Framing::None, None).unwrap();
    assert_eq!(out, b"POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n");
}

#[test]
fn connect_and_asterisk_keep_their_targets() {
    let limits = Limits { connect_allowed: true, ..Limits::default() };
    for (message, expected) in [
        ("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"),
        ("CONNECT b:443 HTTP/1.0\r\n\r\n", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
    ] {
        let Ok(Parsed::Complete { head, .. }) = parse_request(message.as_bytes(), &limits) else { panic!("{message}") };
        let mut out = Vec::new();
        write_request(&mut out, &head, &HeadEdits::new(), head.framing(), None).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn edits_are_applied_while_writing() {
    let mut edits = HeadEdits::new();
    edits.remove("x-secret");
    edits.set("X-Request-Id", b"7");
    edits.append("x-tag", b"a");
    edits.append("x-tag", b"b");
    edits.path_and_query("/v2/a?c");
    edits.authority("ratings:9080");
    edits.method("PUT");

    assert_eq!(
        written("POST /a HTTP/1.1\r\nX-SECRET: 1\r\nHost: a\r\nx-request-id: 1\r\nx-tag: 0\r\n\r\n", &edits),
        "PUT /v2/a?c HTTP/1.1\r\nHost: ratings:9080\r\nx-tag: 0\r\nX-Request-Id: 7\r\nx-tag: a\r\nx-tag: b\r\n\r\n"
    );
}

#[test]
fn edits_cannot_touch_framing_or_the_connection() {
    let mut edits = HeadEdits::new();
    for name in ["Transfer-Encoding", "content-length", "Connection", "Upgrade", "te", "keep-alive"] {
        assert!(HeadEdits::is_out_of_reach(name));
        edits.set(name, b"chunked");
    }
    edits.remove("host");

    let message = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(written(message, &edits), message);
}

#[test]
fn nothing_that_splits_a_message_can_be_written() {
    // RFC 9110 5.5.
    let head = request_head("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let attempt = |edit: &dyn Fn(&mut HeadEdits)| {
        let mut edits = HeadEdits::new();
        edit(&mut edits);
        let mut out = b"before".to_vec();
        let error = write_request(&mut out, &head, &edits, Framing::None, None).expect_err("unwritable");
        assert_eq!(out, b"before", "nothing is left behind");
        error
    };

    for value in [&b"a\r\nX: b"[..], b"a\rb", b"a\nb", b"a\0b", b"\x7f", b" a", b"a "] {
        assert_eq!(attempt(&|e| e.append("x", value)), Unwritable::Value, "{value:?}");
    }
    for name in ["", "a b", "a:", "a\r\nb", "a\0", "\u{e9}"] {
        assert_eq!(attempt(&|e| e.append(name, b"v")), Unwritable::Name, "{name:?}");
    }
    for path in ["", "a", "/a b", "/a\r\n", "/\u{e9}", "/a#b", "/a\0"] {
        assert_eq!(attempt(&|e| e.path_and_query(path)), Unwritable::Target, "{path:?}");
    }
    for authority in ["", "a b", "a\r\n", "a,b", "u@a", "a:"] {
        assert_eq!(attempt(&|e| e.authority(authority)), Unwritable::Authority, "{authority:?}");
        assert_eq!(attempt(&|e| e.set("Host", authority.as_bytes())), Unwritable::Authority, "{authority:?}");
    }
    assert_eq!(attempt(&|e| e.method("G T")), Unwritable::Method);
    let mut out = Vec::new();
    let until_close = write_request(&mut out, &head, &HeadEdits::new(), Framing::UntilClose, None);
    assert_eq!(until_close, Err(Unwritable::UntilCloseRequest));
    let split = write_request(&mut out, &head, &HeadEdits::new(), Framing::None, Some("a\r\nb"));
    assert_eq!((split, out.len()), (Err(Unwritable::Value), 0));
}

#[test]
fn an_unchanged_response_is_written_byte_for_byte() {
    let message = "HTTP/1.1 299 My Reason\r\nServer: x\r\nset-COOKIE: a\r\nset-COOKIE: b\r\ncontent-length: 5\r\n\r\n";

    assert_eq!(answered(message, "GET", Framing::Length(5), ConnectionField::None, false), message);
}

#[test]
fn the_connection_field_of_a_response_is_ours() {
    let message =
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n";
    let with = |connection| answered(message, "GET", Framing::Length(0), connection, false);

    assert_eq!(with(ConnectionField::None), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(with(ConnectionField::Close), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_response_to_http10_speaks_http10_and_is_never_chunked() {
    let message = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n";

    assert_eq!(
        answered(message, "GET", Framing::UntilClose, ConnectionField::Close, true),
        "HTTP/1.0 200 OK\r\nX: 1\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        answered(message, "GET", Framing::Length(3), ConnectionField::KeepAlive10, true),
        "HTTP/1.0 200 OK\r\nX: 1\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"
    );
    let head = response_head(message, "GET");
    let mut out = Vec::new();
    let chunked = write_response(&mut out, &head, &HeadEdits::new(), Framing::Chunked, ConnectionField::None, true);
    assert_eq!((chunked, out.len()), (Err(Unwritable::ChunkedToHttp10), 0));
}

#[test]
fn an_old_response_is_passed_on_as_http11_and_gets_its_missing_space() {
    assert_eq!(
        answered("HTTP/1.0 200\r\nX: 1\r\n\r\n", "GET", Framing::Chunked, ConnectionField::None, false),
        "HTTP/1.1 200 \r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

#[test]
fn answers_to_head_and_304_keep_what_they_tell_of_the_body() {
    // RFC 9110 8.6, RFC 9112 6.1.
    let with = |message: &str, method| {
        assert_eq!(answered(message, method, Framing::None, ConnectionField::None, false), message);
    };

    with("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", "HEAD");
    with("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD");
    with("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\nETag: x\r\n\r\n", "GET");
}

#[test]
fn a_server_cannot_have_the_length_of_its_answer_to_head_stripped() {
    assert_eq!(
        answered(
            "HTTP/1.1 200 OK\r\nConnection: Content-Length, X\r\nContent-Length: 12\r\nX: 1\r\n\r\n",
            "HEAD",
            Framing::None,
            ConnectionField::None,
            false
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
    );
    let head = response_head("HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 12\r\n\r\n", "HEAD");
    assert_eq!(head.edited(&HeadEdits::new()).get("content-length"), Some(&b"12"[..]));
}

#[test]
fn framing_never_stands_in_204_and_interim_responses() {
    // RFC 9112 6.1, 6.2.
    for status in [204, 100, 103] {
        let message = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\nX: 1\r\n\r\n");
        assert_eq!(
            answered(&message, "GET", Framing::None, ConnectionField::None, false),
            format!("HTTP/1.1 {status} X\r\nX: 1\r\n\r\n")
        );
    }
}

#[test]
fn a_switch_of_protocols_keeps_its_upgrade() {
    let message = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

    assert_eq!(answered(message, "GET", Framing::None, ConnectionField::Upgrade, false), message);
}

#[test]
fn chunk_heads_are_hexadecimal() {
    for (len, expected) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xabcde, "abcde\r\n"), (0, "")] {
        let mut out = Vec::new();
        write_chunk_head(&mut out, len);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn the_last_chunk_carries_only_permitted_trailers() {
    let mut out = Vec::new();
    let trailers: [(&[u8], &[u8]); 4] =
        [(b"grpc-status", b"0"), (b"content-length", b"5"), (b"grpc-message", b"a\r\nb"), (b"grpc b", b"")];

    write_last_chunk(&mut out, trailers);

    assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
}

#[test]
fn a_value_is_written_over_where_it_stands() {
    for message in [
        "GET / HTTP/1.1\r\nHost: a\r\nX-Id: 123\r\nY: 1\r\n\r\n",
        // One that is not copied as it came.
        "GET / HTTP/1.1\r\nHost: a\r\nX-Id:  123\r\nKeep-Alive: 1\r\nConnection: keep-alive\r\nY: 1\r\n\r\n",
    ] {
        let mut edits = HeadEdits::new();
        assert!(edits.overwrite(&request_head(message), "x-id", b"987"));
        assert!(!edits.is_empty());
        edits.append("Z", b"2");

        assert_eq!(written(message, &edits), "GET / HTTP/1.1\r\nHost: a\r\nX-Id: 987\r\nY: 1\r\nZ: 2\r\n\r\n");
    }
}

#[test]
fn a_value_written_over_can_still_be_taken_away() {
    let message = "GET / HTTP/1.1\r\nHost: a\r\nX-Id: 123\r\n\r\n";
    let mut edits = HeadEdits::new();
    assert!(edits.overwrite(&request_head(message), "x-id", b"987"));
    edits.set("X-Id", b"4");

    assert_eq!(written(message, &edits), "GET / HTTP/1.1\r\nHost: a\r\nX-Id: 4\r\n\r\n");
}

#[test]
fn what_is_written_over_in_one_head_spoils_no_other() {
    let mut edits = HeadEdits::new();
    assert!(edits.overwrite(&request_head("GET / HTTP/1.1\r\nHost: a\r\nX-Id: 123\r\n\r\n"), "x-id", b"987"));

    for message in ["GET / HTTP/1.1\r\nHost: abc\r\nX-Id: 123\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        assert_eq!(written(message, &edits), message);
    }
}
