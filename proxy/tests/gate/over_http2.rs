//! HTTP/2 clients in front of an HTTP/1.1 backend: what must not survive the way down.

use tidegate_xds::resource::cluster::UpstreamProtocol;

use crate::backend::Recording;
use crate::case::{Case, Verdict, cases};
use crate::frames::{Outcome, exchange, instead, lacking, request, unended_trailers, upload, with};
use crate::requests::{compare, count, in_front_of, judge, poison};
use crate::{PATIENCE, Tally};

/// What an orderly request is on the other side.
fn seen(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n{lines}x-forwarded-proto: http\r\n\r\n")
}

fn seen_upload(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a.test\r\n{lines}x-forwarded-proto: http\r\n\r\n{body}")
}

/// The body of five bytes, in the one chunk that its frame becomes.
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

cases! {
    // Pseudo-fields.
    an_orderly_request "RFC 9113 8.3.1": with(&[]) => seen("/", "");
    no_method "RFC 9113 8.3.1": lacking(":method", &[]) => Verdict::Malformed;
    no_scheme "RFC 9113 8.3.1": lacking(":scheme", &[]) => Verdict::Malformed;
    no_path "RFC 9113 8.3.1": lacking(":path", &[]) => Verdict::Malformed;
    no_path_and_no_authority "RFC 9113 8.3.1": request(&[(":method", b"GET"), (":scheme", b"http"), ("host", b"a.test")]) => Verdict::Malformed;
    no_authority_and_no_host "RFC 9113 8.3.1": lacking(":authority", &[]) => 400;
    host_in_place_of_authority "RFC 9113 8.3.1": lacking(":authority", &[("host", b"a.test")]) => seen("/", "");
    host_beside_authority "RFC 9113 8.3.1": with(&[("host", b"a.test")]) => seen("/", "");
    host_in_another_case "RFC 9113 8.3.1": with(&[("host", b"A.TEST")]) => seen("/", "");
    host_that_differs "RFC 9113 8.3.1": with(&[("host", b"b.test")]) => 400;
    host_with_another_port "RFC 9113 8.3.1": with(&[("host", b"a.test:81")]) => 400;
    two_hosts "RFC 9112 3.2": lacking(":authority", &[("host", b"a.test"), ("host", b"a.test")]) => 400;
    two_hosts_beside_authority "RFC 9112 3.2": with(&[("host", b"a.test"), ("host", b"b.test")]) => 400;
    two_methods "RFC 9113 8.3": request(&[(":method", b"GET"), (":method", b"POST"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"/")]) => Verdict::Malformed;
    two_paths "RFC 9113 8.3": request(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"/"), (":path", b"/admin")]) => Verdict::Malformed;
    two_authorities "RFC 9113 8.3": request(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a.test"), (":authority", b"b.test"), (":path", b"/")]) => Verdict::Malformed;
    an_unknown_pseudo_field "RFC 9113 8.3": request(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"/"), (":x", b"y")]) => Verdict::Malformed;
    a_status_in_a_request "RFC 9113 8.3.2": request(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"/"), (":status", b"200")]) => Verdict::Malformed;
    a_pseudo_field_behind_a_field "RFC 9113 8.3": request(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a.test"), ("x", b"y"), (":path", b"/")]) => Verdict::Malformed;
    a_pseudo_field_in_capitals "RFC 9113 8.3": lacking(":path", &[(":PATH", b"/")]) => Verdict::Malformed;

    // Paths.
    an_empty_path "RFC 9113 8.3.1": instead(":path", b"") => Verdict::Malformed;
    a_path_without_a_slash "RFC 9113 8.3.1": instead(":path", b"admin") => Verdict::Malformed;
    an_absolute_path "RFC 9113 8.3.1": instead(":path", b"http://b.test/") => Verdict::Malformed;
    a_path_with_a_space "RFC 9113 8.3.1": instead(":path", b"/a b") => Verdict::Malformed;
    a_path_with_a_version "RFC 9113 10.3": instead(":path", b"/ HTTP/1.1\r\nHost: b.test\r\n\r\n") => Verdict::Malformed;
    a_path_with_a_line_end "RFC 9113 10.3": instead(":path", b"/a\r\nX: y") => Verdict::Malformed;
    a_path_with_a_nul "RFC 9113 8.2.1": instead(":path", b"/a\0b") => Verdict::Malformed;
    a_path_beyond_ascii "RFC 9113 8.3.1": instead(":path", "/caf\u{e9}".as_bytes()) => Verdict::Malformed;
    a_path_of_raw_high_bytes "RFC 9113 8.3.1": instead(":path", b"/\xff\xfe") => Verdict::Malformed;
    a_path_with_a_backslash "RFC 3986 3.3": instead(":path", b"/a\\b") => Verdict::Malformed;
    a_path_with_an_escaped_slash "RFC 3986 2.2": instead(":path", b"/a%2fb") => 400;
    a_path_with_an_escaped_nul "RFC 3986 7.3": instead(":path", b"/a%00") => 400;
    a_path_with_a_bad_escape "RFC 3986 2.1": instead(":path", b"/a%zz") => 400;
    a_path_with_dots "RFC 3986 5.2.4": instead(":path", b"/a/%2e%2e/b//c") => seen("/b/c", "");
    // The library cuts it off before anybody could see it.
    a_fragment_is_cut "RFC 9113 8.3.1": instead(":path", b"/a#b") => seen("/a", "");
    a_query "RFC 9113 8.3.1": instead(":path", b"/a?b=c") => seen("/a?b=c", "");
    an_asterisk_on_get "RFC 9113 8.3.1": instead(":path", b"*") => 400;
    an_asterisk "RFC 9113 8.3.1": request(&[(":method", b"OPTIONS"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"*")]) => "OPTIONS * HTTP/1.1\r\nhost: a.test\r\nx-forwarded-proto: http\r\n\r\n";

    // Methods, schemes, authorities.
    a_method_with_a_line "RFC 9113 10.3": instead(":method", b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\nGET") => Verdict::Malformed;
    a_method_with_a_space "RFC 9113 8.3.1": instead(":method", b"GET /admin") => Verdict::Malformed;
    an_empty_method "RFC 9113 8.3.1": instead(":method", b"") => Verdict::Malformed;
    connect "RFC 9113 8.5": request(&[(":method", b"CONNECT"), (":authority", b"a.test:443")]) => 405;
    connect_with_a_path "RFC 9113 8.5": instead(":method", b"CONNECT") => Verdict::Malformed;
    an_unasked_extended_connect "RFC 8441 4": request(&[(":method", b"CONNECT"), (":protocol", b"websocket"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"/")]) => Verdict::Malformed;
    trace "RFC 9110 9.3.8": instead(":method", b"TRACE") => 405;
    https "RFC 9113 8.3.1": instead(":scheme", b"https") => "GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-proto: https\r\n\r\n";
    another_scheme "RFC 9110 4.2": instead(":scheme", b"ftp") => Verdict::Malformed;
    a_scheme_with_a_prefix "RFC 9113 8.3.1": instead(":scheme", b"http://b.test/?") => Verdict::Malformed;
    an_empty_authority "RFC 9113 8.3.1": instead(":authority", b"") => Verdict::Malformed;
    userinfo "RFC 9113 8.3.1": instead(":authority", b"user@a.test") => 400;
    an_authority_with_a_comma "RFC 9110 7.2": instead(":authority", b"a.test,b.test") => Verdict::Malformed;
    an_authority_with_a_path "RFC 9113 8.3.1": instead(":authority", b"a.test/b") => Verdict::Malformed;
    an_authority_with_a_line_end "RFC 9113 10.3": instead(":authority", b"a.test\r\nX: y") => Verdict::Malformed;
    an_authority_with_a_bad_port "RFC 3986 3.2.3": instead(":authority", b"a.test:99999") => Verdict::Malformed;
    an_authority_with_a_port "RFC 3986 3.2.3": instead(":authority", b"a.test:80") => "GET / HTTP/1.1\r\nhost: a.test:80\r\nx-forwarded-proto: http\r\n\r\n";

    // Names and values.
    a_name_in_capitals "RFC 9113 8.2.1": with(&[("X-One", b"y")]) => Verdict::Malformed;
    a_name_with_a_colon "RFC 9113 8.2.1": with(&[("x:y", b"z")]) => Verdict::Malformed;
    a_name_with_a_space "RFC 9113 8.2.1": with(&[("x y", b"z")]) => Verdict::Malformed;
    a_name_with_a_line_end "RFC 9113 10.3": with(&[("x: y\r\nz", b"z")]) => Verdict::Malformed;
    a_name_beyond_ascii "RFC 9113 8.2.1": with(&[("x\u{e9}", b"z")]) => Verdict::Malformed;
    an_empty_name "RFC 9113 8.2.1": with(&[("", b"z")]) => Verdict::Malformed;
    a_value_with_a_line_end "RFC 9113 8.2.1": with(&[("x", b"a\r\ny: b")]) => Verdict::Malformed;
    a_value_with_a_line_feed "RFC 9113 8.2.1": with(&[("x", b"a\ny: b")]) => Verdict::Malformed;
    a_value_with_a_carriage_return "RFC 9113 8.2.1": with(&[("x", b"a\ry: b")]) => Verdict::Malformed;
    a_value_with_a_nul "RFC 9113 8.2.1": with(&[("x", b"a\0b")]) => Verdict::Malformed;
    a_value_with_a_control "RFC 9110 5.5": with(&[("x", b"a\x01b")]) => Verdict::Malformed;
    a_space_before_a_value "RFC 9113 8.2.1": with(&[("x", b" a")]) => 400;
    a_space_behind_a_value "RFC 9113 8.2.1": with(&[("x", b"a ")]) => 400;
    a_tab_behind_a_value "RFC 9113 8.2.1": with(&[("x", b"a\t")]) => 400;
    a_space_before_a_length "RFC 9113 8.2.1": upload(&[("content-length", b" 5")], b"hello", None) => Verdict::Malformed;
    obs_text "RFC 9110 5.5": with(&[("x", "caf\u{e9}".as_bytes())]) => seen("/", "x: caf\u{e9}\r\n");
    an_empty_value "RFC 9110 5.5": with(&[("x", b"")]) => seen("/", "x: \r\n");
    a_look_alike_coding "RFC 9110 5.1": with(&[("transfer_encoding", b"chunked")]) => seen("/", "");
    a_look_alike_address "RFC 9110 5.1": with(&[("x_forwarded_for", b"1.2.3.4")]) => seen("/", "");
    crumbs_of_a_cookie "RFC 9113 8.2.3": with(&[("cookie", b"a=1"), ("x", b"y"), ("cookie", b"b=2")]) => seen("/", "x: y\r\ncookie: a=1; b=2\r\n");
    one_field_too_many "RFC 6585 5": with(&[("x", b"y" as &[u8]); 101]) => 431;
    a_head_beyond_its_limit "RFC 9113 10.5.1": with(&[("x", &[b'y'; 16_000]), ("z", &[b'y'; 300])]) => 431;

    // Fields of a connection.
    connection "RFC 9113 8.2.2": with(&[("connection", b"close")]) => Verdict::Malformed;
    connection_that_nominates "RFC 9113 8.2.2": with(&[("connection", b"x"), ("x", b"y")]) => Verdict::Malformed;
    keep_alive "RFC 9113 8.2.2": with(&[("keep-alive", b"timeout=5")]) => Verdict::Malformed;
    proxy_connection "RFC 9113 8.2.2": with(&[("proxy-connection", b"close")]) => Verdict::Malformed;
    upgrade "RFC 9113 8.2.2": with(&[("upgrade", b"h2c")]) => Verdict::Malformed;
    transfer_encoding "RFC 9113 8.2.2": upload(&[("transfer-encoding", b"chunked")], b"0\r\n\r\n", None) => Verdict::Malformed;
    te_gzip "RFC 9113 8.2.2": with(&[("te", b"gzip")]) => Verdict::Malformed;
    te_trailers "RFC 9113 8.2.2": with(&[("te", b"trailers")]) => seen("/", "te: trailers\r\nConnection: TE\r\n");
    settings_for_an_upgrade "RFC 9113 3.1": with(&[("http2-settings", b"AA")]) => seen("/", "");
    credentials_for_a_proxy "RFC 9110 11.7.2": with(&[("proxy-authorization", b"Basic eA==")]) => seen("/", "");
    another_expectation "RFC 9110 10.1.1": upload(&[("expect", b"x")], b"hello", None) => 417;
    a_client_certificate "RFC 9440 3": with(&[("x-forwarded-client-cert", b"By=x")]) => seen("/", "");

    // Bodies.
    a_body "RFC 9113 8.1": upload(&[], b"hello", None) => seen_upload(CHUNKED, "5\r\nhello\r\n0\r\n\r\n");
    a_body_with_its_length "RFC 9113 8.1.1": upload(&[("content-length", b"5")], b"hello", None) => seen_upload("content-length: 5\r\n", "hello");
    a_body_that_looks_like_chunks "RFC 9113 10.3": upload(&[], b"0\r\n\r\n", None) => seen_upload(CHUNKED, "5\r\n0\r\n\r\n\r\n0\r\n\r\n");
    an_empty_body "RFC 9113 8.1": upload(&[], b"", None) => Verdict::from(seen_upload(CHUNKED, "0\r\n\r\n"));
    a_length_without_a_body "RFC 9113 8.1.1": with(&[("content-length", b"5")]) => Verdict::Malformed;
    a_length_of_zero_without_a_body "RFC 9113 8.1.1": with(&[("content-length", b"0")]) => seen("/", "content-length: 0\r\n");
    more_than_the_length "RFC 9113 8.1.1": upload(&[("content-length", b"3")], b"hello", None) => Verdict::Malformed;
    two_lengths "RFC 9110 8.6": upload(&[("content-length", b"5"), ("content-length", b"5")], b"hello", None) => Verdict::Malformed;
    two_different_lengths "RFC 9110 8.6": upload(&[("content-length", b"5"), ("content-length", b"6")], b"hello", None) => Verdict::Malformed;
    a_list_of_lengths "RFC 9110 8.6": upload(&[("content-length", b"5, 5")], b"hello", None) => Verdict::Malformed;
    a_length_with_a_sign "RFC 9110 8.6": upload(&[("content-length", b"+5")], b"hello", None) => Verdict::Malformed;
    a_length_in_letters "RFC 9110 8.6": upload(&[("content-length", b"x")], b"hello", None) => Verdict::Malformed;

    // Trailers.
    a_grpc_trailer "RFC 9110 6.5.1": upload(&[], b"hello", Some(&[("grpc-status", b"0")])) => seen_upload(CHUNKED, "5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n");
    another_trailer "RFC 9110 6.5.1": upload(&[], b"hello", Some(&[("x", b"y")])) => seen_upload(CHUNKED, "5\r\nhello\r\n0\r\n\r\n");
    credentials_in_a_trailer "RFC 9110 6.5.1": upload(&[], b"hello", Some(&[("authorization", b"x")])) => seen_upload(CHUNKED, "5\r\nhello\r\n0\r\n\r\n");
    headers_in_the_middle_of_a_body "RFC 9113 8.1": unended_trailers() => Verdict::Malformed;
    a_connection_field_in_a_trailer "RFC 9113 8.2.2": upload(&[], b"hello", Some(&[("transfer-encoding", b"chunked")])) => Verdict::Malformed;
    // RFC 9113 8.1 calls it malformed; the library drops it before anybody could see it.
    a_pseudo_field_in_a_trailer "RFC 9113 8.1": upload(&[], b"hello", Some(&[(":path", b"/admin")])) => seen_upload(CHUNKED, "5\r\nhello\r\n0\r\n\r\n");
}

pub(crate) async fn run() -> Tally {
    let backend = Recording::start().await;
    let (proxy, address) = in_front_of(UpstreamProtocol::Http1, backend.address).await;
    let mut tally = Tally::default();
    for case in cases() {
        tally.cases += 1;
        let outcome = tokio::time::timeout(PATIENCE, exchange(address, &case.sent)).await;
        let judged = match outcome {
            Ok(Ok(outcome)) => verdict(&case, &outcome),
            Ok(Err(error)) => Err(format!("unreadable: {error}")),
            Err(_elapsed) => Err("no end in sight".into()),
        };
        let reached = backend.take();
        count(&mut tally, &case, &reached);
        if let Err(danger) = judge(&case, &reached) {
            tally.dangerous += 1;
            tally.faults.push(format!("{} ({}) is dangerous: {danger}", case.name, case.rfc));
        }
        let same = judged.and_then(|()| compare(&case, &reached));
        let clean = poison(address, &backend).await;
        for fault in [same, clean].into_iter().filter_map(Result::err) {
            tally.faults.push(format!("HTTP/2 {} ({}): {fault}", case.name, case.rfc));
        }
    }
    drop(proxy);
    tally
}

fn verdict(case: &Case, outcome: &Outcome) -> Result<(), String> {
    let right = match &case.verdict {
        Verdict::Refused(status) => *outcome == Outcome::Answered(*status),
        Verdict::Malformed => matches!(outcome, Outcome::Answered(400) | Outcome::Reset),
        Verdict::Forwarded(_) => *outcome == Outcome::Answered(204),
        Verdict::Torn { .. } => false,
    };
    if right { Ok(()) } else { Err(format!("{outcome:?}, wanted {:?}", case.verdict)) }
}
