//! The gate, rule by rule. Each row is one test: its name says the behaviour, then come the status, the paragraph the refusal names
//! and the message, so that a rule that is loosened or quoted wrongly fails under its own name.

use super::*;
use crate::limits::{EscapedSlashes, Underscores};

fn verdict(message: &str, limits: &Limits) -> Result<RequestHead, Refusal> {
    match parse_request(message.as_bytes(), limits)? {
        Parsed::Complete { head, consumed } => {
            assert_eq!(consumed, message.len(), "the whole message is a head");
            Ok(head)
        }
        Parsed::Partial => panic!("partial: {message:?}"),
    }
}

fn accepted(message: &str) -> RequestHead {
    verdict(message, &Limits::default()).unwrap_or_else(|refusal| panic!("{refusal}: {message:?}"))
}

/// A request with these field lines and an orderly rest.
fn with(lines: &str) -> String {
    format!("POST /upload HTTP/1.1\r\nHost: reviews\r\n{lines}\r\n\r\n")
}

/// A request for this target.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: reviews\r\n\r\n")
}

macro_rules! refused {
    ($($name:ident: $status:literal $rfc:literal = $message:expr;)+) => {$(
        #[test]
        fn $name() {
            let message: String = $message.into();

            let refusal = verdict(&message, &Limits::default()).expect_err("refused");

            assert_eq!((refusal.status, refusal.rfc), ($status, $rfc), "{}: {message:?}", refusal.reason);
        }
    )+};
}

mod refuses {
    use super::*;

    // Framing.
    refused! {
        length_beside_chunked: 400 "RFC 9112 6.1" = with("Content-Length: 5\r\nTransfer-Encoding: chunked");
        chunked_beside_length: 400 "RFC 9112 6.1" = with("Transfer-Encoding: chunked\r\nContent-Length: 5");
        length_zero_beside_chunked: 400 "RFC 9112 6.1" = with("Content-Length: 0\r\nTransfer-Encoding: chunked");
        two_transfer_encodings: 400 "RFC 9112 6.1" = with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
        two_different_transfer_encodings: 501 "RFC 9112 6.1" = with("Transfer-Encoding: gzip, chunked\r\nTransfer-Encoding: chunked");
        identity_then_chunked_in_two_fields: 400 "RFC 9112 6.3" = with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked");
        chunked_twice_in_a_list: 400 "RFC 9112 6.3" = with("Transfer-Encoding: chunked, chunked");
        chunked_before_another_coding: 400 "RFC 9112 6.3" = with("Transfer-Encoding: chunked, gzip");
        a_coding_before_chunked: 501 "RFC 9112 6.1" = with("Transfer-Encoding: gzip, chunked");
        a_coding_without_chunked: 400 "RFC 9112 6.3" = with("Transfer-Encoding: gzip");
        an_unknown_coding: 400 "RFC 9112 6.3" = with("Transfer-Encoding: xchunked");
        the_identity_coding: 400 "RFC 9112 6.3" = with("Transfer-Encoding: identity");
        an_empty_transfer_encoding: 400 "RFC 9112 6.3" = with("Transfer-Encoding:");
        an_empty_element_before_chunked: 400 "RFC 9112 6.3" = with("Transfer-Encoding: ,chunked");
        an_empty_element_after_chunked: 400 "RFC 9112 6.3" = with("Transfer-Encoding: chunked,");
        chunked_with_a_parameter: 400 "RFC 9112 6.3" = with("Transfer-Encoding: chunked;q=1");
        quoted_chunked: 400 "RFC 9112 6.3" = with("Transfer-Encoding: \"chunked\"");
        chunked_with_a_vertical_tab: 400 "RFC 9110 5.5" = with("Transfer-Encoding: \x0bchunked");
        chunked_on_http10: 400 "RFC 9112 6.1" = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        two_different_lengths: 400 "RFC 9112 6.3" = with("Content-Length: 5\r\nContent-Length: 6");
        two_equal_lengths: 400 "RFC 9112 6.3" = with("Content-Length: 5\r\nContent-Length: 5");
        two_lengths_in_different_case: 400 "RFC 9112 6.3" = with("Content-Length: 5\r\ncontent-length: 5");
        a_list_of_equal_lengths: 400 "RFC 9110 8.6" = with("Content-Length: 5, 5");
        a_positive_sign_on_a_length: 400 "RFC 9110 8.6" = with("Content-Length: +5");
        a_negative_length: 400 "RFC 9110 8.6" = with("Content-Length: -1");
        a_hexadecimal_length: 400 "RFC 9110 8.6" = with("Content-Length: 0x10");
        a_fractional_length: 400 "RFC 9110 8.6" = with("Content-Length: 5.0");
        an_empty_length: 400 "RFC 9110 8.6" = with("Content-Length:");
        a_length_with_a_space_inside: 400 "RFC 9110 8.6" = with("Content-Length: 5 5");
        a_length_with_an_underscore: 400 "RFC 9110 8.6" = with("Content-Length: 1_0");
        a_length_beyond_a_signed_number: 400 "RFC 9110 8.6" = with("Content-Length: 9223372036854775808");
        a_length_beyond_64_bits: 400 "RFC 9110 8.6" = with("Content-Length: 18446744073709551621");
        a_length_in_foreign_digits: 400 "RFC 9110 8.6" = with("Content-Length: \u{0665}");
    }

    // Lines.
    refused! {
        a_bare_lf_after_the_request_line: 400 "RFC 9112 2.2" = "GET / HTTP/1.1\nHost: a\r\n\r\n";
        a_bare_lf_after_a_field: 400 "RFC 9112 2.2" = "GET / HTTP/1.1\r\nHost: a\n\r\n";
        a_bare_lf_as_the_empty_line: 400 "RFC 9112 2.2" = "GET / HTTP/1.1\r\nHost: a\r\n\n";
        a_head_with_lf_alone: 400 "RFC 9112 2.2" = "GET / HTTP/1.1\nHost: a\n\n";
        a_bare_cr_in_a_value: 400 "RFC 9112 2.2" = with("X: a\rb");
        a_bare_cr_at_the_end_of_a_value: 400 "RFC 9112 2.2" = with("X: a\r\r");
        a_bare_cr_in_the_request_line: 400 "RFC 9112 3" = "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n";
        a_bare_cr_after_the_version: 400 "RFC 9112 2.2" = "GET / HTTP/1.1\rHost: a\r\n\r\n";
        a_bare_cr_where_a_field_begins: 400 "RFC 9112 2.2" = with("\rX: a");
        a_nul_in_a_value: 400 "RFC 9110 5.5" = with("X: a\0b");
        a_bell_in_a_value: 400 "RFC 9110 5.5" = with("X: a\x07b");
        a_delete_in_a_value: 400 "RFC 9110 5.5" = with("X: a\x7fb");
        an_escape_in_a_value: 400 "RFC 9110 5.5" = with("X: \x1b[2J");
        a_nul_in_a_name: 400 "RFC 9110 5.1" = with("X\0Y: a");
        a_folded_field: 400 "RFC 9112 5.2" = with("X: a\r\n b");
        a_field_folded_with_a_tab: 400 "RFC 9112 5.2" = with("X: a\r\n\tb");
        a_space_before_the_first_field: 400 "RFC 9112 5.2" = "GET / HTTP/1.1\r\n Host: a\r\n\r\n";
        a_space_before_the_colon: 400 "RFC 9112 5.1" = with("Content-Length : 5");
        a_tab_before_the_colon: 400 "RFC 9112 5.1" = with("Transfer-Encoding\t: chunked");
        a_line_without_a_colon: 400 "RFC 9110 5.1" = with("nonsense");
        an_empty_name: 400 "RFC 9110 5.1" = with(": value");
        a_name_with_a_parenthesis: 400 "RFC 9110 5.1" = with("X(y): a");
        a_name_with_a_space: 400 "RFC 9112 5.1" = with("X y: a");
        a_name_beyond_ascii: 400 "RFC 9110 5.1" = with("X\u{e9}: a");
        a_name_with_a_slash: 400 "RFC 9110 5.1" = with("X/y: a");
    }

    // The request line.
    refused! {
        an_empty_method: 400 "RFC 9110 9.1" = " / HTTP/1.1\r\nHost: a\r\n\r\n";
        a_method_with_a_colon: 400 "RFC 9110 9.1" = "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n";
        a_method_that_is_too_long: 400 "RFC 9110 9.1" = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33));
        a_tab_after_the_method: 400 "RFC 9110 9.1" = "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n";
        two_spaces_after_the_method: 400 "RFC 9112 3" = "GET  / HTTP/1.1\r\nHost: a\r\n\r\n";
        two_spaces_before_the_version: 400 "RFC 9112 2.3" = "GET /  HTTP/1.1\r\nHost: a\r\n\r\n";
        a_space_after_the_version: 400 "RFC 9112 3" = "GET / HTTP/1.1 \r\nHost: a\r\n\r\n";
        a_space_in_the_target: 400 "RFC 9112 2.3" = "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n";
        two_empty_lines_in_front: 400 "RFC 9110 9.1" = "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        a_bare_lf_in_front: 400 "RFC 9110 9.1" = "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        http09: 400 "RFC 9112 3" = "GET /\r\n\r\n";
        a_lower_case_version: 400 "RFC 9112 2.3" = "GET / http/1.1\r\nHost: a\r\n\r\n";
        a_version_with_two_digits: 400 "RFC 9112 3" = "GET / HTTP/1.10\r\nHost: a\r\n\r\n";
        a_version_of_another_protocol: 400 "RFC 9112 2.3" = "GET / ICAP/1.0\r\nHost: a\r\n\r\n";
        http2_in_a_request_line: 505 "RFC 9110 15.6.6" = "GET / HTTP/2.0\r\nHost: a\r\n\r\n";
        the_http2_preface: 505 "RFC 9110 15.6.6" = "PRI * HTTP/2.0\r\n\r\n";
        http12: 505 "RFC 9110 15.6.6" = "GET / HTTP/1.2\r\nHost: a\r\n\r\n";
        http09_with_a_version: 505 "RFC 9110 15.6.6" = "GET / HTTP/0.9\r\nHost: a\r\n\r\n";
        connect_by_default: 405 "RFC 9110 9.3.6" = "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
        trace_by_default: 405 "RFC 9110 9.3.8" = "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n";
    }

    // The target.
    refused! {
        an_asterisk_for_get: 400 "RFC 9112 3.2.4" = get("*");
        a_target_without_a_slash: 400 "RFC 9112 3.2" = get("reviews/1");
        a_fragment: 400 "RFC 9112 3.2" = get("/a#b");
        a_fragment_behind_a_query: 400 "RFC 9112 3.2" = get("/a?b#c");
        raw_utf8_in_the_path: 400 "RFC 9112 3.2" = get("/caf\u{e9}");
        raw_utf8_in_the_query: 400 "RFC 9112 3.2" = get("/?q=\u{e9}");
        a_delete_in_the_target: 400 "RFC 9112 3.2" = get("/a\x7f");
        a_control_in_the_target: 400 "RFC 9112 3" = get("/a\x01");
        a_nul_in_the_target: 400 "RFC 9112 3" = get("/a\0");
        a_backslash: 400 "RFC 3986 3.3" = get("/a\\..\\b");
        an_angle_bracket_in_the_path: 400 "RFC 3986 3.3" = get("/a<b");
        a_quotation_mark_in_the_query: 400 "RFC 3986 3.4" = get("/a?b=\"c\"");
        an_angle_bracket_in_the_query: 400 "RFC 3986 3.4" = get("/?<script>");
        an_escaped_slash: 400 "RFC 3986 2.2" = get("/a%2Fb");
        an_escaped_slash_in_lower_case: 400 "RFC 3986 2.2" = get("/a%2fb");
        an_escaped_backslash: 400 "RFC 3986 2.2" = get("/a%5Cb");
        an_escaped_nul: 400 "RFC 3986 7.3" = get("/a%00b");
        an_escape_cut_short: 400 "RFC 3986 2.1" = get("/a%2");
        an_escape_without_digits: 400 "RFC 3986 2.1" = get("/a%zz");
        an_escape_of_16_bits: 400 "RFC 3986 2.1" = get("/a%u0041");
        an_escape_with_a_sign: 400 "RFC 3986 2.1" = get("/a%+1");
        dots_with_parameters: 400 "RFC 3986 3.3" = get("/a/..;x/b");
        escaped_dots_with_parameters: 400 "RFC 3986 3.3" = get("/a/%2e%2e;/b");
        a_dot_with_parameters: 400 "RFC 3986 3.3" = get("/a/.;/b");
        another_scheme: 400 "RFC 9110 4.2" = get("ftp://reviews/");
        userinfo_in_the_target: 400 "RFC 9110 4.2.4" = get("http://user:pw@reviews/");
        a_target_without_a_host: 400 "RFC 9112 3.2" = get("http:///a");
        a_scheme_alone: 400 "RFC 9112 3.2" = get("http:reviews");
        a_bad_port_in_the_target: 400 "RFC 3986 3.2.3" = get("http://reviews:x/");
        authority_form_for_get: 400 "RFC 9112 3.2" = get("reviews:80");
    }

    // Host.
    refused! {
        no_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\n\r\n";
        no_host_on_http10: 400 "RFC 9112 3.2" = "GET / HTTP/1.0\r\n\r\n";
        two_hosts: 400 "RFC 9112 3.2" = with("Host: ratings");
        two_equal_hosts: 400 "RFC 9112 3.2" = with("host: reviews");
        an_empty_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost:\r\n\r\n";
        hosts_in_a_list: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n";
        hosts_in_a_tight_list: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n";
        userinfo_in_host: 400 "RFC 9110 4.2.4" = "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n";
        userinfo_with_password_in_host: 400 "RFC 9110 4.2.4" = "GET / HTTP/1.1\r\nHost: user:1@a\r\n\r\n";
        a_port_that_is_no_number: 400 "RFC 3986 3.2.3" = "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n";
        a_port_out_of_range: 400 "RFC 3986 3.2.3" = "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n";
        a_signed_port: 400 "RFC 3986 3.2.3" = "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n";
        two_ports: 400 "RFC 3986 3.2.3" = "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n";
        a_port_without_a_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: :80\r\n\r\n";
        a_path_in_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n";
        a_space_in_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: a b\r\n\r\n";
        an_escaped_line_end_in_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: a%0d%0ab\r\n\r\n";
        a_host_beyond_ascii: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: caf\u{e9}\r\n\r\n";
        an_unclosed_ipv6_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n";
        a_bare_ipv6_host: 400 "RFC 3986 3.2.3" = "GET / HTTP/1.1\r\nHost: a::1\r\n\r\n";
        a_false_ipv6_host: 400 "RFC 9112 3.2" = "GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n";
        a_bad_host_beside_a_good_target: 400 "RFC 9112 3.2" = "GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n";
        no_host_beside_an_absolute_target: 400 "RFC 9112 3.2" = "GET http://a/ HTTP/1.1\r\n\r\n";
    }

    // Connection and Expect.
    refused! {
        connection_nominating_host: 400 "RFC 9110 7.6.1" = with("Connection: close, Host");
        connection_nominating_length: 400 "RFC 9110 7.6.1" = with("Connection: content-length\r\nContent-Length: 0");
        connection_nominating_transfer_encoding: 400 "RFC 9110 7.6.1" = with("Connection: Transfer-Encoding");
        connection_nominating_forwarded_for: 400 "RFC 9110 7.6.1" = with("Connection: X-Forwarded-For");
        connection_nominating_client_cert: 400 "RFC 9110 7.6.1" = with("Connection: x-forwarded-client-cert");
        a_connection_option_that_is_no_token: 400 "RFC 9110 7.6.1" = with("Connection: close; x");
        an_unknown_expectation: 417 "RFC 9110 10.1.1" = with("Expect: 200-ok");
        an_empty_expectation: 417 "RFC 9110 10.1.1" = with("Expect:");
        two_expectations: 417 "RFC 9110 10.1.1" = with("Expect: 100-continue\r\nExpect: 100-continue");
        a_list_of_expectations: 417 "RFC 9110 10.1.1" = with("Expect: 100-continue, x");
    }

    // Limits.
    refused! {
        a_target_over_16_kib: 414 "RFC 9110 15.5.15" = get(&format!("/{}", "a".repeat(16 * 1024)));
        a_head_over_64_kib: 431 "RFC 6585 5" = with(&format!("X: {}", "a".repeat(64 * 1024)));
        more_than_100_fields: 431 "RFC 6585 5" = with(&vec!["X: a"; 100].join("\r\n"));
        more_than_100_fields_that_are_dropped: 431 "RFC 6585 5" = with(&vec!["x_forwarded_for: a"; 100].join("\r\n"));
    }

    #[test]
    fn a_trace_with_a_body_even_where_trace_is_allowed() {
        let limits = Limits { trace_allowed: true, ..Limits::default() };

        let refusal = verdict("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", &limits).unwrap_err();

        assert_eq!((refusal.status, refusal.rfc), (400, "RFC 9110 9.3.8"));
    }

    #[test]
    fn a_connect_without_a_port() {
        let limits = Limits { connect_allowed: true, ..Limits::default() };
        for target in ["a", "a:", "/", "http://a:1/", "[::1]"] {
            let refusal = verdict(&format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"), &limits).unwrap_err();

            assert_eq!(refusal.status, 400, "{target}");
        }
    }

    #[test]
    fn a_target_that_is_too_long_before_its_end_has_arrived() {
        let endless = format!("GET /{}", "a".repeat(17 * 1024));

        assert_eq!(parse_request(endless.as_bytes(), &Limits::default()).unwrap_err().status, 414);
    }

    #[test]
    fn a_head_that_is_too_large_before_its_end_has_arrived() {
        let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(64 * 1024));

        assert_eq!(parse_request(endless.as_bytes(), &Limits::default()).unwrap_err().status, 431);
    }

    #[test]
    fn any_underscore_where_the_listener_says_so() {
        let limits = Limits { underscores: Underscores::RefuseAll, ..Limits::default() };

        assert_eq!(verdict(&with("My_Field: a"), &limits).unwrap_err().status, 400);
    }
}

#[test]
fn a_plain_request_answers_every_question() {
    let head = accepted("GET /reviews/0?full=1 HTTP/1.1\r\nHost: reviews:9080\r\nUser-Agent: curl\r\nX-Empty:\r\n\r\n");

    assert_eq!((head.method(), head.path(), head.query()), ("GET", "/reviews/0", Some("full=1")));
    assert_eq!((head.path_and_query(), head.authority(), head.scheme()), ("/reviews/0?full=1", "reviews:9080", None));
    assert_eq!(
        (head.version(), head.framing(), head.target_form()),
        (Version::Http11, Framing::None, TargetForm::Origin)
    );
    assert_eq!((head.field("user-agent"), head.field("x-empty")), (Some(&b"curl"[..]), Some(&b""[..])));
    assert_eq!((head.field("host"), head.field("cookie")), (Some(&b"reviews:9080"[..]), None));
    assert!(head.keep_alive() && !head.expects_continue() && head.upgrade().is_none());
}

#[test]
fn names_keep_their_case_and_order_and_duplicates_all_count() {
    let head = accepted(&with("aCCept: x\r\nB: 1\r\nb: 2"));

    let fields: Vec<_> = head.fields().collect();
    assert_eq!(fields, [(&b"Host"[..], &b"reviews"[..]), (b"aCCept", b"x"), (b"B", b"1"), (b"b", b"2")]);
    assert_eq!(head.field_all("b").collect::<Vec<_>>(), [b"1", b"2"]);
}

#[test]
fn optional_white_space_around_values_is_no_part_of_them() {
    // RFC 9112 5.1.
    let head = accepted(&with("A:x\r\nB: \t x y \t \r\nC:   "));

    assert_eq!(
        (head.field("a"), head.field("b"), head.field("c")),
        (Some(&b"x"[..]), Some(&b"x y"[..]), Some(&b""[..]))
    );
}

#[test]
fn obs_text_in_a_value_passes() {
    // RFC 9110 5.5.
    assert_eq!(accepted(&with("X: caf\u{e9}")).field("x"), Some("caf\u{e9}".as_bytes()));
}

#[test]
fn more_fields_than_fit_inline_are_all_there() {
    let lines: Vec<String> = (0..99).map(|n| format!("X-{n}: {n}")).collect();
    let head = accepted(&with(&lines.join("\r\n")));

    assert_eq!(head.fields().count(), 100);
    assert_eq!((head.field("x-0"), head.field("x-98")), (Some(&b"0"[..]), Some(&b"98"[..])));
}

#[test]
fn framing_follows_from_length_or_coding() {
    // RFC 9112 6.3.
    let framing = |lines: &str| accepted(&with(lines)).framing();

    assert_eq!(framing("X: a"), Framing::None);
    assert_eq!(framing("Content-Length: 0"), Framing::Length(0));
    assert_eq!(framing("content-length:  0012 "), Framing::Length(12));
    assert_eq!(framing("Content-Length: 9223372036854775807"), Framing::Length(i64::MAX as u64));
    assert_eq!(framing("Transfer-Encoding: Chunked"), Framing::Chunked);
}

#[test]
fn the_authority_of_an_absolute_target_overrules_host() {
    // RFC 9112 3.2.2.
    let head = accepted("GET HTTP://Ratings:81/a?b HTTP/1.1\r\nAccept: */*\r\nHost: reviews\r\nX: y\r\n\r\n");

    assert_eq!((head.authority(), head.field("host")), ("Ratings:81", Some(&b"Ratings:81"[..])));
    assert_eq!((head.path_and_query(), head.scheme()), ("/a?b", Some("http")));
    assert_eq!((head.field("accept"), head.field("x")), (Some(&b"*/*"[..]), Some(&b"y"[..])));
    assert_eq!(head.fields().count(), 3);
}

#[test]
fn an_absolute_target_without_a_path_asks_for_the_root() {
    // RFC 9112 3.2.1.
    assert_eq!(accepted(&get("http://reviews")).path_and_query(), "/");
    assert_eq!(accepted(&get("https://reviews?a")).path_and_query(), "/?a");
}

#[test]
fn http10_may_name_its_host_in_the_target_alone() {
    let head = accepted("GET http://reviews/ HTTP/1.0\r\n\r\n");

    assert_eq!((head.authority(), head.field("host")), ("reviews", Some(&b"reviews"[..])));
}

#[test]
fn asterisk_form_is_for_options() {
    // RFC 9112 3.2.4.
    let head = accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.path(), head.target_form()), ("*", TargetForm::Asterisk));

    let head = accepted("OPTIONS http://a:1 HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((head.path(), head.authority(), head.target_form()), ("*", "a:1", TargetForm::Asterisk));
}

#[test]
fn connect_names_its_authority_where_it_is_allowed() {
    // RFC 9112 3.2.3.
    let limits = Limits { connect_allowed: true, ..Limits::default() };

    let head = verdict("CONNECT [::1]:443 HTTP/1.1\r\nHost: other\r\n\r\n", &limits).unwrap();

    assert_eq!((head.authority(), head.path(), head.target_form()), ("[::1]:443", "", TargetForm::Authority));
}

#[test]
fn hosts_of_every_legal_form_pass() {
    // RFC 3986 3.2.2.
    for host in
        ["a", "A.b-c.svc.cluster.local:8080", "10.0.0.1:1", "[::1]", "[2001:db8::7]:443", "my_host", "a:0", "a:65535"]
    {
        assert_eq!(accepted(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).authority(), host);
    }
}

#[test]
fn a_colon_without_a_port_is_left_out() {
    // RFC 3986 3.2.3.
    let head = accepted("GET / HTTP/1.1\r\nHost: reviews:\r\n\r\n");

    assert_eq!((head.authority(), head.field("host")), ("reviews", Some(&b"reviews"[..])));
}

#[test]
fn the_path_is_canonical_and_the_query_as_received() {
    let head = accepted(&get("/a//b/../%63;v=1/?x=//../%2f%zz\\"));

    assert_eq!((head.path(), head.query()), ("/a/c;v=1/", Some("x=//../%2f%zz\\")));
    assert_eq!(head.path_for_matching(), "/a/c/");
    assert_eq!(head.field("host"), Some(&b"reviews"[..]));
}

#[test]
fn escaped_slashes_stay_escaped_where_they_are_kept() {
    let limits = Limits { escaped_slashes: EscapedSlashes::Keep, ..Limits::default() };

    assert_eq!(verdict(&get("/projects/a%2fb"), &limits).unwrap().path(), "/projects/a%2Fb");
}

#[test]
fn look_alikes_with_underscores_are_dropped_and_other_underscores_pass() {
    let head = accepted(&with(
        "Content_Length: 5\r\ntransfer_encoding: chunked\r\nX_Forwarded_For: 1\r\nX-Forwarded_Client-Cert: 1\r\n_Host: x\r\nHOST_: x\r\nContent-Length_: 5\r\nmy_field: 1",
    ));

    assert_eq!(head.fields().map(|(name, _)| name).collect::<Vec<_>>(), [&b"Host"[..], b"my_field"]);
    assert_eq!(head.framing(), Framing::None);
}

#[test]
fn an_expectation_counts_only_with_a_body_and_on_http11() {
    // RFC 9110 10.1.1.
    assert!(accepted(&with("Content-Length: 5\r\nExpect: 100-Continue")).expects_continue());
    assert!(!accepted(&with("Expect: 100-continue")).expects_continue());
    let old = "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    assert!(!accepted(old).expects_continue());
}

#[test]
fn connections_live_on_as_their_version_and_options_say() {
    // RFC 9112 9.3.
    let lives = |version: &str, option: &str| {
        accepted(&format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {option}\r\n\r\n")).keep_alive()
    };

    assert!(lives("1.1", "x") && lives("1.1", "keep-alive") && lives("1.0", "Keep-Alive"));
    assert!(!lives("1.1", "foo, CLOSE") && !lives("1.0", "x") && !lives("1.0", "keep-alive, close"));
}

#[test]
fn an_upgrade_is_one_token_that_connection_announces_on_http11_without_a_body() {
    // RFC 9110 7.8.
    let upgrade = |lines: &str| accepted(&with(lines)).upgrade().map(str::to_owned);

    assert_eq!(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket").as_deref(), Some("websocket"));
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: h2c").as_deref(), Some("h2c"));
    assert_eq!(upgrade("Upgrade: websocket"), None);
    assert_eq!(upgrade("Connection: upgrade"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: websocket, h2c"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked"), None);
    let old = accepted("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.upgrade(), None);
}

#[test]
fn one_empty_line_before_a_request_is_ignored() {
    // RFC 9112 2.2.
    assert_eq!(accepted("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n").path(), "/a");
}

#[test]
fn what_follows_the_head_is_not_consumed() {
    let message = with("Content-Length: 5");
    let pipelined = format!("{message}hello");

    let Ok(Parsed::Complete { head, consumed }) = parse_request(pipelined.as_bytes(), &Limits::default()) else {
        panic!("complete");
    };
    assert_eq!((head.path(), consumed), ("/upload", message.len()));
}

/// Where a head, its text and its fields lie.
fn places(head: &Head) -> [usize; 3] {
    let fields = &head.fields;
    [std::ptr::from_ref(head).addr(), fields.buf.as_ptr().addr(), fields.list.as_slice().as_ptr().addr()]
}

#[test]
fn a_head_in_the_memory_of_another_allocates_nothing() {
    let mut memory = accepted(&get("/a/longer/path")).into_memory();
    let before = memory.head.as_deref().map(places);
    assert!(before.is_some());

    let Ok(Parsed::Complete { head, .. }) = parse_request_in(&mut memory, get("/b").as_bytes(), &Limits::default())
    else {
        panic!("complete");
    };

    assert_eq!((memory.bytes(), Some(places(&head.0))), (0, before));
    assert_eq!((head.path(), head.fields().count()), ("/b", 1));
}

#[test]
fn memory_that_has_forgotten_has_no_line_to_compare_with() {
    let mut memory = accepted(&get("/a")).into_memory();
    let lines = |memory: &HeadMemory| memory.head.as_ref().map(|head| head.fields.list.as_slice().len());
    assert_eq!(lines(&memory), Some(1));

    memory.forget();

    assert_eq!(lines(&memory), Some(0));
}

#[test]
fn memory_survives_what_is_no_head() {
    let mut memory = accepted(&get("/a")).into_memory();
    let before = memory.head.as_deref().map(places);

    for incomplete_or_wrong in ["GET / HTTP/1.1\r\nHost: a\r\nB", "GET / HTTP/1.1\r\nHost: a\r\nB : c\r\n\r\n", "GET"] {
        let parsed = parse_request_in(&mut memory, incomplete_or_wrong.as_bytes(), &Limits::default());

        assert!(!matches!(parsed, Ok(Parsed::Complete { .. })));
        assert_eq!(memory.head.as_deref().map(places), before);
    }
}

#[test]
fn exactly_the_limits_pass() {
    let target = format!("/{}", "a".repeat(16 * 1024 - 1));
    assert_eq!(accepted(&get(&target)).path().len(), 16 * 1024);

    let frame = with("X: ").len();
    let largest = with(&format!("X: {}", "a".repeat(64 * 1024 - frame)));
    assert_eq!(largest.len(), 64 * 1024);
    accepted(&largest);

    assert_eq!(accepted(&with(&vec!["X: a"; 99].join("\r\n"))).fields().count(), 100);
}

#[test]
fn a_long_head_in_pieces_gets_the_verdict_of_the_whole() {
    let filler = "X-Filler: 0123456789\r\n".repeat(90);
    let vast = format!("X-Vast: {}", "v".repeat(70_000));
    let messages = [
        with(&filler.trim_end().replace("Filler", "Last")),
        with(&format!("{filler}X: a\0")),
        with(&format!("X : a\r\n{filler}X: a")),
        with(&format!("{filler}X: a\nY: b")),
        with(&vast),
        with(&format!("X: a\0\r\n{vast}")),
        get(&format!("/{}", "t".repeat(20_000))),
    ];
    for message in messages {
        let judge = |len: usize| match parse_request(&message.as_bytes()[..len], &Limits::default()) {
            Ok(Parsed::Complete { consumed, .. }) => Some(Ok(consumed)),
            Ok(Parsed::Partial) => None,
            Err(refusal) => Some(Err(refusal)),
        };
        let whole = judge(message.len());
        assert!(whole.is_some());
        let cuts = (0..message.len()).filter(|cut| *cut < 3_000 || (65_500..65_600).contains(cut) || cut % 997 == 0);
        for cut in cuts {
            let part = judge(cut);
            assert!(part.is_none() || part == whole, "cut at {cut} of {}: {part:?}, not {whole:?}", message.len());
        }
    }
}

#[test]
fn a_head_is_small_enough_to_be_moved() {
    assert!(size_of::<RequestHead>() <= 240, "{}", size_of::<RequestHead>());
    assert_eq!(size_of::<Field>(), 16);
}
