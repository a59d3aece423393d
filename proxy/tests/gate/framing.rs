//! Where a request ends: Content-Length, Transfer-Encoding, both, and what HTTP/1.0 makes of them.

use crate::case::{ADDED, PLAIN, SEEN, cases, chunked, post, seen_chunked, seen_post};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
const SMUGGLED_SEEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\nx-forwarded-proto: http\r\n\r\n";

/// A chunked body that is empty for who reads chunks, and five bytes for who counts them.
const EMPTY: &str = "0\r\n\r\n";

cases! {
    // Content-Length alone.
    a_length "RFC 9112 6.2": post("Content-Length: 5", "hello") => seen_post("Content-Length: 5", "hello");
    a_length_of_zero "RFC 9112 6.2": post("Content-Length: 0", "") => seen_post("Content-Length: 0", "");
    no_length_is_no_body "RFC 9112 6.3": "POST / HTTP/1.1\r\nHost: a.test\r\n\r\n" => format!("POST / HTTP/1.1\r\nHost: a.test\r\n{ADDED}\r\n");
    a_body_on_get "RFC 9110 9.3.1": "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi" => format!("GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n{ADDED}\r\nhi");
    leading_zeros_in_a_length "RFC 9110 8.6": post("Content-Length: 0005", "hello") => seen_post("Content-Length: 5", "hello");
    a_length_with_spaces_around "RFC 9112 5.1": post("Content-Length:  \t5 \t", "hello") => seen_post("Content-Length: 5", "hello");
    a_length_in_odd_case "RFC 9110 5.1": post("cOnTeNt-LeNgTh: 5", "hello") => seen_post("cOnTeNt-LeNgTh: 5", "hello");
    a_length_without_a_space "RFC 9112 5.1": post("Content-Length:5", "hello") => seen_post("Content-Length:5", "hello");
    a_request_behind_a_body "RFC 9112 9.3.2": format!("{}{SMUGGLED}", post("Content-Length: 5", "hello")) => format!("{}{SMUGGLED_SEEN}", seen_post("Content-Length: 5", "hello"));
    a_body_that_looks_like_a_request "RFC 9112 6.3": post(&format!("Content-Length: {}", 2 + SMUGGLED.len()), &format!("##{SMUGGLED}")) => seen_post(&format!("Content-Length: {}", 2 + SMUGGLED.len()), &format!("##{SMUGGLED}"));
    two_requests_in_one_segment "RFC 9112 9.3.2": format!("{PLAIN}{SMUGGLED}") => format!("{SEEN}{SMUGGLED_SEEN}");
    an_empty_line_between_requests "RFC 9112 2.2": format!("{PLAIN}\r\n{SMUGGLED}") => format!("{SEEN}{SMUGGLED_SEEN}");
    an_empty_line_before_a_request "RFC 9112 2.2": format!("\r\n{PLAIN}") => SEEN;
    two_different_lengths "RFC 9112 6.3": post("Content-Length: 5\r\nContent-Length: 6", "hello!") => 400;
    two_equal_lengths "RFC 9112 6.3": post("Content-Length: 5\r\nContent-Length: 5", "hello") => 400;
    two_lengths_far_apart "RFC 9112 6.3": post("Content-Length: 0\r\nX: y\r\nZ: z\r\ncontent-length: 5", "hello") => 400;
    a_list_of_equal_lengths "RFC 9110 8.6": post("Content-Length: 5, 5", "hello") => 400;
    a_list_of_different_lengths "RFC 9110 8.6": post("Content-Length: 5, 6", "hello!") => 400;
    a_length_with_a_plus "RFC 9110 8.6": post("Content-Length: +5", "hello") => 400;
    a_negative_length "RFC 9110 8.6": post("Content-Length: -5", "hello") => 400;
    a_negative_zero_length "RFC 9110 8.6": post("Content-Length: -0", "") => 400;
    a_hexadecimal_length "RFC 9110 8.6": post("Content-Length: 0x5", "hello") => 400;
    a_length_in_letters "RFC 9110 8.6": post("Content-Length: five", "hello") => 400;
    a_fractional_length "RFC 9110 8.6": post("Content-Length: 5.0", "hello") => 400;
    a_length_with_an_exponent "RFC 9110 8.6": post("Content-Length: 5e0", "hello") => 400;
    a_length_with_an_underscore "RFC 9110 8.6": post("Content-Length: 0_5", "hello") => 400;
    a_length_with_a_space_inside "RFC 9110 8.6": post("Content-Length: 5 0", "hello") => 400;
    a_length_with_a_semicolon "RFC 9110 8.6": post("Content-Length: 5;x", "hello") => 400;
    a_quoted_length "RFC 9110 8.6": post("Content-Length: \"5\"", "hello") => 400;
    an_empty_length "RFC 9110 8.6": post("Content-Length:", "") => 400;
    a_length_of_white_space "RFC 9110 8.6": post("Content-Length: \t ", "") => 400;
    a_length_with_a_form_feed "RFC 9110 5.5": post("Content-Length: \x0c5", "hello") => 400;
    a_length_beyond_32_bits_and_wrapping "RFC 9112 6.3": post("Content-Length: 18446744073709551621", "hello") => 400;
    a_length_beyond_a_signed_number "RFC 9112 6.3": post("Content-Length: 9223372036854775808", "hello") => 400;
    a_length_in_arabic_digits "RFC 9110 8.6": post("Content-Length: \u{665}", "hello") => 400;
    a_length_in_full_width_digits "RFC 9110 8.6": post("Content-Length: \u{ff15}", "hello") => 400;

    // Transfer-Encoding alone.
    chunks "RFC 9112 7.1": chunked("5\r\nhello\r\n0\r\n\r\n") => seen_chunked("5\r\nhello\r\n0\r\n\r\n");
    no_chunks "RFC 9112 7.1": chunked(EMPTY) => seen_chunked(EMPTY);
    chunked_in_capitals "RFC 9110 10.1.4": post("Transfer-Encoding: CHUNKED", EMPTY) => seen_chunked(EMPTY);
    chunked_with_a_tab_before "RFC 9112 5.1": post("Transfer-Encoding:\tchunked", EMPTY) => seen_chunked(EMPTY);
    chunked_with_spaces_behind "RFC 9112 5.1": post("Transfer-Encoding: chunked \t ", EMPTY) => seen_chunked(EMPTY);
    a_request_behind_chunks "RFC 9112 9.3.2": format!("{}{SMUGGLED}", chunked(EMPTY)) => format!("{}{SMUGGLED_SEEN}", seen_chunked(EMPTY));
    chunks_that_hold_a_request "RFC 9112 7.1": chunked(&format!("{:x}\r\n#{SMUGGLED}\r\n{EMPTY}", SMUGGLED.len() + 1)) => seen_chunked(&format!("{:x}\r\n#{SMUGGLED}\r\n{EMPTY}", SMUGGLED.len() + 1));
    two_codings_in_two_fields "RFC 9112 6.1": post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", EMPTY) => 400;
    identity_in_a_second_field "RFC 9112 6.3": post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", EMPTY) => 400;
    identity_in_a_first_field "RFC 9112 6.3": post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", EMPTY) => 400;
    an_unknown_second_coding "RFC 9112 6.3": post("Transfer-Encoding: chunked\r\nTransfer-encoding: cow", EMPTY) => 400;
    chunked_before_identity "RFC 9112 6.3": post("Transfer-Encoding: chunked, identity", EMPTY) => 400;
    chunked_twice "RFC 9112 6.1": post("Transfer-Encoding: chunked, chunked", EMPTY) => 400;
    chunked_before_gzip "RFC 9112 6.3": post("Transfer-Encoding: chunked, gzip", EMPTY) => 400;
    gzip_before_chunked "RFC 9112 6.1": post("Transfer-Encoding: gzip, chunked", EMPTY) => 501;
    an_unknown_coding_before_chunked "RFC 9112 6.1": post("Transfer-Encoding: x, chunked", EMPTY) => 501;
    gzip_without_chunked "RFC 9112 6.3": post("Transfer-Encoding: gzip", EMPTY) => 400;
    an_unknown_coding "RFC 9112 6.3": post("Transfer-Encoding: xchunked", EMPTY) => 400;
    the_beginning_of_chunked "RFC 9112 6.3": post("Transfer-Encoding: chunke", EMPTY) => 400;
    identity_alone "RFC 9112 6.3": post("Transfer-Encoding: identity", "") => 400;
    an_empty_coding "RFC 9112 6.3": post("Transfer-Encoding:", EMPTY) => 400;
    an_empty_element_before "RFC 9110 5.6.1": post("Transfer-Encoding: , chunked", EMPTY) => 400;
    an_empty_element_behind "RFC 9110 5.6.1": post("Transfer-Encoding: chunked,", EMPTY) => 400;
    chunked_with_a_parameter "RFC 9112 7": post("Transfer-Encoding: chunked;q=0.5", EMPTY) => 400;
    chunked_in_quotes "RFC 9112 7": post("Transfer-Encoding: \"chunked\"", EMPTY) => 400;
    chunked_behind_a_vertical_tab "RFC 9110 5.5": post("Transfer-Encoding: \x0bchunked", EMPTY) => 400;
    chunked_before_a_nul "RFC 9110 5.5": post("Transfer-Encoding: chunked\0", EMPTY) => 400;
    chunked_behind_a_no_break_space "RFC 9112 6.3": post("Transfer-Encoding: \u{a0}chunked", EMPTY) => 400;
    chunked_folded_onto_the_next_line "RFC 9112 5.2": post("Transfer-Encoding:\r\n chunked", EMPTY) => 400;
    a_space_before_the_colon_of_a_coding "RFC 9112 5.1": post("Transfer-Encoding : chunked", EMPTY) => 400;
    a_coding_with_a_long_s "RFC 9112 6.1": post("Tran\u{17f}fer-Encoding: chunked", EMPTY) => 400;

    // Both.
    length_then_chunked "RFC 9112 6.1": post("Content-Length: 5\r\nTransfer-Encoding: chunked", EMPTY) => 400;
    chunked_then_length "RFC 9112 6.1": post("Transfer-Encoding: chunked\r\nContent-Length: 5", EMPTY) => 400;
    a_length_that_hides_a_request_behind_chunks "RFC 9112 6.1": post(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked", 5 + SMUGGLED.len()), &format!("{EMPTY}{SMUGGLED}")) => 400;
    a_short_length_beside_chunks "RFC 9112 6.1": post("Content-Length: 3\r\nTransfer-Encoding: chunked", "8\r\nSMUGGLED\r\n0\r\n\r\n") => 400;
    a_length_of_zero_beside_chunks "RFC 9112 6.1": post("Content-Length: 0\r\nTransfer-Encoding: chunked", EMPTY) => 400;
    a_bad_length_beside_chunks "RFC 9112 6.1": post("Content-Length: x\r\nTransfer-Encoding: chunked", EMPTY) => 400;
    a_length_beside_identity "RFC 9112 6.1": post("Content-Length: 5\r\nTransfer-Encoding: identity", "hello") => 400;
    a_look_alike_coding_beside_a_length "CVE-2019-18277": post("Content-Length: 5\r\nTransfer_Encoding: chunked", EMPTY) => seen_post("Content-Length: 5", EMPTY);
    a_look_alike_length_beside_chunks "RFC 9110 5.1": post("Content_Length: 3\r\nTransfer-Encoding: chunked", EMPTY) => seen_chunked(EMPTY);

    // HTTP/1.0 and other versions.
    http10_without_host_is_refused_in_origin_form "RFC 9112 3.2": "GET / HTTP/1.0\r\n\r\n" => 400;
    http10_with_host "RFC 9112 2.3": "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n" => SEEN;
    http10_with_keep_alive "RFC 9112 9.3": "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n" => SEEN;
    http10_with_a_length "RFC 9112 6.2": "POST / HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello" => seen_post("Content-Length: 5", "hello");
    http10_with_chunks "RFC 9112 6.1": "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => 400;
    http10_with_chunks_and_keep_alive "RUSTSEC-2026-0034": "POST / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => 400;
    http10_with_both "RFC 9112 6.1": "POST / HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => 400;
    http10_with_an_identity_coding "RFC 9112 6.1": "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: identity\r\n\r\n" => 400;
    http09 "RFC 9112 3": "GET /\r\n\r\n" => 400;
    http09_with_host "RFC 9112 3": "GET /\r\nHost: a.test\r\n\r\n" => 400;
    http2_on_an_http1_line "RFC 9112 2.3": "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n" => 505;
    http3_on_an_http1_line "RFC 9112 2.3": "GET / HTTP/3.0\r\nHost: a.test\r\n\r\n" => 505;
    a_minor_version_of_2 "RFC 9112 2.3": "GET / HTTP/1.2\r\nHost: a.test\r\n\r\n" => 505;
    a_version_without_its_minor "RFC 9112 2.3": "GET / HTTP/1\r\nHost: a.test\r\n\r\n" => 400;
    a_version_with_two_digits "RFC 9112 2.3": "GET / HTTP/1.10\r\nHost: a.test\r\n\r\n" => 400;
    a_version_in_lower_case "RFC 9112 2.3": "GET / http/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_version_with_a_comma "RFC 9112 2.3": "GET / HTTP/1,1\r\nHost: a.test\r\n\r\n" => 400;
    another_protocol "RFC 9112 2.3": "GET / ICAP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_version_behind_two_spaces "RFC 9112 3": "GET /  HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_space_behind_the_version "RFC 9112 3": "GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n" => 400;
}
