//! Edits as their consumers see them.

use super::*;
use crate::limits::Limits;
use crate::request::{Parsed, parse_request};

fn head() -> RequestHead {
    let message =
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nA: 1\r\na: 2\r\nB: 3\r\n\r\n";
    match parse_request(message, &Limits::default()) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}"),
    }
}

fn fields(head: &RequestHead, edits: &HeadEdits) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.edited(edits).iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn without_edits_the_end_to_end_fields_are_seen() {
    let (head, edits) = (head(), HeadEdits::new());

    assert!(edits.is_empty());
    assert_eq!(fields(&head, &edits), pairs(&[("A", "1"), ("a", "2"), ("B", "3"), ("te", "trailers")]));
}

#[test]
fn later_edits_see_earlier_ones() {
    let head = head();
    let mut edits = HeadEdits::new();
    edits.append("X", b"1");
    edits.remove("x");
    edits.set("A", b"9");
    edits.append("a", b"10");
    edits.set("Y", b"1");
    edits.set("y", b"2");

    assert!(!edits.is_empty());
    assert_eq!(fields(&head, &edits), pairs(&[("B", "3"), ("te", "trailers"), ("A", "9"), ("a", "10"), ("y", "2")]));
    assert_eq!(head.edited(&edits).get("a"), Some(&b"9"[..]));
    assert_eq!(head.edited(&edits).get_all("a").count(), 2);
    assert_eq!(head.edited(&edits).get("x-hop"), None);
}

#[test]
fn fields_of_the_codec_never_show_among_the_additions() {
    let head = head();
    let mut edits = HeadEdits::new();
    edits.append("transfer-encoding", b"chunked");
    edits.append("Connection", b"close");

    assert_eq!(head.edited(&edits).get("transfer-encoding"), None);
    assert_eq!(head.edited(&edits).get("connection"), None);
}

#[test]
fn a_length_has_no_leading_zeros() {
    for (received, shown) in [("0", "0"), ("000", "0"), ("007", "7"), ("70", "70")] {
        let message = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {received}\r\n\r\n");
        let Ok(Parsed::Complete { head, .. }) = parse_request(message.as_bytes(), &Limits::default()) else {
            panic!("refused: {message:?}")
        };

        assert_eq!(head.edited(&HeadEdits::new()).get("content-length"), Some(shown.as_bytes()), "{received}");
    }
}

#[test]
fn the_edited_request_line_can_be_asked_for() {
    let head = head();
    let mut edits = HeadEdits::new();
    assert_eq!((edits.method_of(&head), edits.path_and_query_of(&head), edits.authority_of(&head)), ("GET", "/a", "a"));

    edits.set("Host", b"b");
    edits.path_and_query("/b");
    edits.method("PUT");

    assert_eq!((edits.method_of(&head), edits.path_and_query_of(&head), edits.authority_of(&head)), ("PUT", "/b", "b"));
}

#[test]
fn a_value_is_written_over_only_by_one_that_fits_its_place() {
    let head = head();
    let overwrites = |name: &str, value: &[u8]| HeadEdits::new().overwrite(&head, name, value);

    assert!(overwrites("b", b"9"));
    assert!(!overwrites("a", b"9"), "there are two");
    assert!(!overwrites("c", b"9"), "there is none");
    assert!(!overwrites("b", b"99"), "another length");
    assert!(!overwrites("b", b"\n"), "no value");
    assert!(!overwrites("host", b"b"), "the codec's own");
    assert!(!overwrites("x-hop", b"2"), "not forwarded");

    let mut edits = HeadEdits::new();
    edits.remove("b");
    assert!(!edits.overwrite(&head, "b", b"9"), "taken away already");
    let mut edits = HeadEdits::new();
    assert!(edits.overwrite(&head, "b", b"9"));
    assert!(!edits.overwrite(&head, "b", b"8"), "one at a time");
    assert_eq!(head.edited(&edits).get("b"), Some(&b"9"[..]));
    edits.clear();
    assert!(edits.is_empty());
    assert_eq!(head.edited(&edits).get("b"), Some(&b"3"[..]));
}
