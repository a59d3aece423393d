//! Field lines and request lines: line ends, folds, white space, control characters, bytes beyond ASCII.

use crate::case::{PLAIN, SEEN, around, cases, seen_with, with};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n";

cases! {
    // Line ends.
    a_bare_lf_behind_the_request_line "RFC 9112 2.2": "GET / HTTP/1.1\nHost: a.test\r\n\r\n" => 400;
    a_bare_lf_behind_a_field "RFC 9112 2.2": "GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n" => 400;
    a_bare_lf_as_the_empty_line "RFC 9112 2.2": "GET / HTTP/1.1\r\nHost: a.test\r\n\n" => 400;
    bare_lfs_alone "RFC 9112 2.2": "GET / HTTP/1.1\nHost: a.test\n\n" => 400;
    a_bare_cr_behind_the_request_line "RFC 9112 2.2": "GET / HTTP/1.1\rHost: a.test\r\n\r\n" => 400;
    a_bare_cr_in_a_value "RFC 9112 2.2": with("X: a\rTransfer-Encoding: chunked") => 400;
    a_bare_cr_at_the_end_of_a_value "RFC 9112 2.2": with("X: a\r") => 400;
    a_bare_cr_at_the_beginning_of_a_line "RFC 9112 2.2": with("\rX: a") => 400;
    a_bare_cr_at_the_beginning_of_a_value "RFC 9112 2.2": with("X:\ra") => 400;
    a_bare_lf_that_makes_a_field "RFC 9112 2.2": with("X: a\nTransfer-Encoding: chunked") => 400;
    lf_and_cr_in_the_wrong_order "RFC 9112 2.2": with("X: a\n\rY: b") => 400;
    two_empty_lines_before_a_request "RFC 9112 2.2": format!("\r\n\r\n{PLAIN}") => 400;
    a_bare_lf_before_a_request "RFC 9112 2.2": format!("\n{PLAIN}") => 400;
    a_space_before_a_request "RFC 9112 3": format!(" {PLAIN}") => 400;
    a_nul_before_a_request "RFC 9112 3": format!("\0{PLAIN}") => 400;
    a_byte_order_mark_before_a_request "RFC 9112 3": format!("\u{feff}{PLAIN}") => 400;

    // Folds.
    a_fold "RFC 9112 5.2": with("X: a\r\n b") => 400;
    a_fold_with_a_tab "RFC 9112 5.2": with("X: a\r\n\tb") => 400;
    a_fold_of_nothing "RFC 9112 5.2": with("X: a\r\n ") => 400;
    a_fold_that_hides_a_length "RFC 9112 5.2": with("X: a\r\n Content-Length: 5") => 400;
    a_fold_in_a_length "RFC 9112 5.2": with("Content-Length:\r\n 5") => 400;
    a_space_before_the_first_field "RFC 9112 2.2": "GET / HTTP/1.1\r\n Host: a.test\r\n\r\n" => 400;
    a_tab_before_the_first_field "RFC 9112 2.2": "GET / HTTP/1.1\r\n\tX: y\r\nHost: a.test\r\n\r\n" => 400;

    // White space around names and values.
    a_space_before_the_colon "RFC 9112 5.1": with("X : y") => 400;
    a_tab_before_the_colon "RFC 9112 5.1": with("X\t: y") => 400;
    a_space_before_the_colon_of_host "RFC 9112 5.1": "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n" => 400;
    a_space_before_the_colon_of_a_length "RFC 9112 5.1": with("Content-Length : 5") => 400;
    a_space_in_a_name "RFC 9110 5.1": with("X Y: z") => 400;
    spaces_around_a_value "RFC 9112 5.1": with("X: \t y z \t ") => seen_with("X: y z");
    no_space_before_a_value "RFC 9112 5.1": with("X:y") => seen_with("X:y");
    an_empty_value "RFC 9110 5.5": with("X:") => seen_with("X:");
    a_tab_inside_a_value "RFC 9110 5.5": with("X: a\tb") => seen_with("X: a\tb");
    a_colon_inside_a_value "RFC 9110 5.5": with("X: a:b: c") => seen_with("X: a:b: c");

    // Names.
    no_colon "RFC 9112 5": with("nonsense") => 400;
    an_empty_name "RFC 9110 5.1": with(": y") => 400;
    a_name_in_parentheses "RFC 9110 5.6.2": with("(X): y") => 400;
    a_name_with_a_slash "RFC 9110 5.6.2": with("X/Y: z") => 400;
    a_name_with_an_at_sign "RFC 9110 5.6.2": with("X@Y: z") => 400;
    a_name_with_a_comma "RFC 9110 5.6.2": with("X,Y: z") => 400;
    a_name_with_an_equals_sign "RFC 9110 5.6.2": with("X=Y: z") => 400;
    a_name_with_a_brace "RFC 9110 5.6.2": with("X{}: z") => 400;
    a_name_with_a_quote "RFC 9110 5.6.2": with("\"X\": z") => 400;
    a_name_with_a_backslash "RFC 9110 5.6.2": with("X\\Y: z") => 400;
    a_name_with_a_nul "RFC 9110 5.6.2": with("X\0Y: z") => 400;
    a_name_with_a_delete "RFC 9110 5.6.2": with("X\x7f: z") => 400;
    a_name_beyond_ascii "RFC 9110 5.6.2": with("X\u{e9}: z") => 400;
    a_name_with_a_raw_high_byte "RFC 9110 5.6.2": around(&format!("{REQUEST}X"), b"\xff", ": y\r\n\r\n") => 400;
    a_name_of_every_sign "RFC 9110 5.6.2": with("!#$%&'*+-.^`|~09azAZ: y") => seen_with("!#$%&'*+-.^`|~09azAZ: y");
    the_order_and_case_of_names "RFC 9110 5.3": with("b: 1\r\nA: 2\r\nB: 3\r\na: 4") => seen_with("b: 1\r\nA: 2\r\nB: 3\r\na: 4");

    // Values.
    a_nul_in_a_value "RFC 9110 5.5": with("X: a\0b") => 400;
    a_bell_in_a_value "RFC 9110 5.5": with("X: a\x07b") => 400;
    an_escape_in_a_value "RFC 9110 5.5": with("X: \x1b[31m") => 400;
    a_delete_in_a_value "RFC 9110 5.5": with("X: a\x7f") => 400;
    a_vertical_tab_in_a_value "RFC 9110 5.5": with("X: a\x0bb") => 400;
    a_form_feed_in_a_value "RFC 9110 5.5": with("X: a\x0cb") => 400;
    a_file_separator_in_a_value "RFC 9110 5.5": with("X: a\x1cb") => 400;
    utf8_in_a_value "RFC 9110 5.5": with("X: caf\u{e9}") => seen_with("X: caf\u{e9}");
    obs_text_in_a_value "RFC 9110 5.5": around(&format!("{REQUEST}X: a"), b"\x80\xff", "b\r\n\r\n") => around(&format!("{REQUEST}X: a"), b"\x80\xff", "b\r\nx-forwarded-proto: http\r\n\r\n");

    // Request lines.
    no_request_line "RFC 9112 3": "\r\nHost: a.test\r\n\r\n" => 400;
    a_method_alone "RFC 9112 3": "GET\r\nHost: a.test\r\n\r\n" => 400;
    two_spaces_behind_the_method "RFC 9112 3": "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_tab_behind_the_method "RFC 9112 3": "GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_tab_behind_the_target "RFC 9112 3": "GET /\tHTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_form_feed_behind_the_target "RFC 9112 3": "GET /\x0cHTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_space_in_the_target "RFC 9112 3.2": "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_version_in_the_target "RFC 9112 3.2": "GET / HTTP/1.1 HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_cr_in_the_target "RFC 9112 3.2": "GET /\rx HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_nul_in_the_target "RFC 9112 3.2": "GET /\0 HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_tls_hello "RFC 9112 3": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec() => 400;
    an_http2_preface_gone_wrong "RFC 9113 3.4": "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" => 505;
    a_reply_in_place_of_a_request "RFC 9112 3": "HTTP/1.1 200 OK\r\n\r\n" => 400;
    the_shortest_request "RFC 9112 3": PLAIN => SEEN;
}
