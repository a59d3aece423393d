//! Built heads obey the rules of parsed ones.

use super::*;
use crate::edits::HeadEdits;
use crate::write::{ConnectionField, write_request, write_response};

fn builder() -> HeadBuilder<'static> {
    RequestHead::builder().authority("reviews")
}

fn refusal(builder: HeadBuilder<'_>) -> Refusal {
    builder.build(&Limits::default()).expect_err("refused")
}

#[test]
fn an_http2_request_is_written_as_http11() {
    let head = RequestHead::builder()
        .method("POST")
        .scheme("https")
        .authority("reviews:80")
        .path_and_query("/a//b?c")
        .field("cookie", b"a=1")
        .field("te", b"trailers")
        .field("x-a", b"1")
        .field("cookie", b"b=2")
        .framing(Framing::Chunked)
        .build(&Limits::default())
        .unwrap();

    assert_eq!((head.path_and_query(), head.authority(), head.scheme()), ("/a/b?c", "reviews:80", Some("https")));
    assert_eq!((head.version(), head.framing()), (Version::Http2, Framing::Chunked));
    let mut out = Vec::new();
    write_request(&mut out, &head, &HeadEdits::new(), head.framing(), None).unwrap();
    let expected = "POST /a/b?c HTTP/1.1\r\nhost: reviews:80\r\nte: trailers\r\nx-a: 1\r\ncookie: a=1; b=2\r\n\
        Transfer-Encoding: chunked\r\nConnection: TE\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn host_may_stand_in_for_the_authority_or_agree_with_it() {
    // RFC 9113 8.3.1.
    let head = RequestHead::builder().field("host", b"a").build(&Limits::default()).unwrap();
    assert_eq!((head.authority(), head.fields().count()), ("a", 1));

    let head = builder().field("host", b"Reviews").build(&Limits::default()).unwrap();
    assert_eq!((head.authority(), head.fields().count()), ("reviews", 1));
}

#[test]
fn what_http2_forbids_is_refused() {
    // RFC 9113 8.2.1, 8.2.2, 8.3.1.
    let table = [
        (RequestHead::builder(), "RFC 9113 8.3.1"),
        (builder().field("host", b"other"), "RFC 9113 8.3.1"),
        (builder().field("host", b"reviews").field("host", b"reviews"), "RFC 9112 3.2"),
        (RequestHead::builder().authority("user@reviews"), "RFC 9110 4.2.4"),
        (RequestHead::builder().authority(""), "RFC 9112 3.2"),
        (builder().path_and_query("/a#b"), "RFC 9112 3.2"),
        (builder().path_and_query(""), "RFC 9112 3.2"),
        (builder().path_and_query("*"), "RFC 9112 3.2.4"),
        (builder().path_and_query("http://a/"), "RFC 9113 8.3.1"),
        (builder().path_and_query("/\u{e9}"), "RFC 9112 3.2"),
        (builder().path_and_query("/a b"), "RFC 9112 3.2"),
        (builder().path_and_query("/%2f"), "RFC 3986 2.2"),
        (builder().scheme("ftp"), "RFC 9110 4.2"),
        (builder().method("G T"), "RFC 9110 9.1"),
        (builder().method(""), "RFC 9110 9.1"),
        (builder().field("x", b" a"), "RFC 9113 8.2.1"),
        (builder().field("x", b"a\t"), "RFC 9113 8.2.1"),
        (builder().field("x", b"a\r\nb"), "RFC 9113 8.2.1"),
        (builder().field("x", b"a\0"), "RFC 9113 8.2.1"),
        (builder().field("x y", b"a"), "RFC 9110 5.1"),
        (builder().field("", b"a"), "RFC 9110 5.1"),
        (builder().field(":path", b"/"), "RFC 9110 5.1"),
        (builder().field("cookie", b"a\n"), "RFC 9113 8.2.1"),
        (builder().field("connection", b"close"), "RFC 9113 8.2.2"),
        (builder().field("keep-alive", b"5"), "RFC 9113 8.2.2"),
        (builder().field("proxy-connection", b"x"), "RFC 9113 8.2.2"),
        (builder().field("transfer-encoding", b"chunked"), "RFC 9113 8.2.2"),
        (builder().field("upgrade", b"h2c"), "RFC 9113 8.2.2"),
        (builder().field("te", b"gzip"), "RFC 9113 8.2.2"),
        (builder().field("content-length", b"5").field("content-length", b"5"), "RFC 9112 6.3"),
        (builder().field("content-length", b"+5"), "RFC 9110 8.6"),
        (builder().field("content-length", b"5").framing(Framing::None), "RFC 9113 8.1.1"),
        (builder().field("content-length", b"5").framing(Framing::Length(6)), "RFC 9113 8.1.1"),
    ];
    for (builder, rfc) in table {
        let shown = format!("{builder:?}");
        let refusal = refusal(builder);
        assert_eq!((refusal.status, refusal.rfc), (400, rfc), "{}: {shown}", refusal.reason);
    }
    assert_eq!(refusal(builder().method("CONNECT")).status, 405);
    assert_eq!(refusal(builder().field("expect", b"x")).status, 417);
    assert_eq!(refusal(builder().path_and_query(&"/a".repeat(9_000))).status, 414);
    assert_eq!(refusal((0..101).fold(builder(), |b, _| b.field("x", b"a"))).status, 431);
    assert_eq!(refusal(builder().field("x", &vec![b'a'; 64 * 1024])).status, 431);
}

#[test]
fn look_alikes_are_dropped_from_built_heads_too() {
    let head = builder().field("x_forwarded_for", b"1").field("a_b", b"2").build(&Limits::default()).unwrap();

    assert_eq!((head.field("x_forwarded_for"), head.field("a_b")), (None, Some(&b"2"[..])));
}

#[test]
fn a_length_makes_a_body_of_unknown_length_known() {
    let head = builder().field("content-length", b"5").framing(Framing::Chunked).build(&Limits::default()).unwrap();
    assert_eq!(head.framing(), Framing::Length(5));

    let head = builder().build(&Limits::default()).unwrap();
    assert_eq!(head.framing(), Framing::None);
}

#[test]
fn an_answer_of_our_own_is_written_with_its_length() {
    let head =
        ResponseHead::builder(503).field("content-type", b"text/plain").framing(Framing::Length(2)).build().unwrap();
    let mut out = Vec::new();

    write_response(&mut out, &head, &HeadEdits::new(), head.framing(), ConnectionField::Close, false).unwrap();

    let expected = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_built_response_has_a_body_only_where_one_may_be() {
    let framing = |builder: ResponseBuilder<'_>| builder.build().unwrap().framing();

    assert_eq!(framing(ResponseHead::builder(200)), Framing::Length(0));
    assert_eq!(framing(ResponseHead::builder(200).framing(Framing::Chunked)), Framing::Chunked);
    assert_eq!(
        framing(ResponseHead::builder(200).framing(Framing::Chunked).field("content-length", b"7")),
        Framing::Length(7)
    );
    assert_eq!(framing(ResponseHead::builder(204).framing(Framing::Chunked)), Framing::None);
    assert_eq!(framing(ResponseHead::builder(200).request_method("HEAD").field("content-length", b"7")), Framing::None);
}

#[test]
fn a_broken_response_of_an_upstream_is_a_502() {
    for builder in [
        ResponseHead::builder(99),
        ResponseHead::builder(1000),
        ResponseHead::builder(200).reason(b"a\r\nb"),
        ResponseHead::builder(200).field("x", b"a\nb"),
        ResponseHead::builder(200).field("connection", b"close"),
        ResponseHead::builder(200).field("content-length", b"5").framing(Framing::Length(6)),
    ] {
        assert_eq!(builder.build().unwrap_err().status, 502);
    }
}
