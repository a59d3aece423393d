//! Chunked bodies: sizes, extensions, line ends, trailers. A fault that arrives with the head is refused before anything is forwarded;
//! one that arrives later ends the exchange on both sides.

use crate::case::{cases, chunked, post, seen_chunked, seen_post, torn};

/// So long are the extensions of one body at most.
const EXTENSIONS_MAX: usize = 16 * 1024;

cases! {
    // Sizes.
    an_upper_case_size "RFC 9112 7.1": chunked("A\r\n0123456789\r\n0\r\n\r\n") => seen_chunked("A\r\n0123456789\r\n0\r\n\r\n");
    a_size_with_leading_zeros "RFC 9112 7.1": chunked("0005\r\nhello\r\n0\r\n\r\n") => seen_chunked("0005\r\nhello\r\n0\r\n\r\n");
    a_last_chunk_of_many_zeros "RFC 9112 7.1": chunked("0000\r\n\r\n") => seen_chunked("0000\r\n\r\n");
    many_chunks "RFC 9112 7.1": chunked("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n") => seen_chunked("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
    a_chunk_that_holds_line_ends "RFC 9112 7.1": chunked("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n") => seen_chunked("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n");
    a_size_of_letters "RFC 9112 7.1": chunked("zz\r\nhello\r\n0\r\n\r\n") => 400;
    no_size "RFC 9112 7.1": chunked("\r\nhello\r\n0\r\n\r\n") => 400;
    a_size_with_a_plus "RFC 9112 7.1": chunked("+5\r\nhello\r\n0\r\n\r\n") => 400;
    a_size_with_a_minus "RFC 9112 7.1": chunked("-5\r\nhello\r\n0\r\n\r\n") => 400;
    a_size_with_a_prefix "RFC 9112 7.1": chunked("0x5\r\nhello\r\n0\r\n\r\n") => 400;
    a_size_with_an_underscore "RFC 9112 7.1": chunked("0_5\r\nhello\r\n0\r\n\r\n") => 400;
    a_space_before_a_size "RFC 9112 7.1": chunked(" 5\r\nhello\r\n0\r\n\r\n") => 400;
    a_space_behind_a_size "RFC 9112 7.1": chunked("5 \r\nhello\r\n0\r\n\r\n") => 400;
    a_tab_behind_a_size "RFC 9112 7.1": chunked("5\t\r\nhello\r\n0\r\n\r\n") => 400;
    a_nul_behind_a_size "RFC 9112 7.1": chunked("5\0\r\nhello\r\n0\r\n\r\n") => 400;
    a_space_behind_the_last_size "RFC 9112 7.1": chunked("0 \r\n\r\n") => 400;
    a_size_that_wraps_at_64_bits "RFC 9112 7.1": chunked("10000000000000005\r\nhello\r\n0\r\n\r\n") => 400;
    a_size_beyond_a_signed_number "RFC 9112 7.1": chunked("8000000000000000\r\nhello\r\n") => 400;
    a_size_of_seventeen_digits "RFC 9112 7.1": chunked("00000000000000005\r\nhello\r\n0\r\n\r\n") => 400;
    a_size_in_full_width_digits "RFC 9112 7.1": chunked("\u{ff15}\r\nhello\r\n0\r\n\r\n") => 400;

    // Line ends.
    a_bare_lf_behind_a_size "RFC 9112 7.1": chunked("5\nhello\r\n0\r\n\r\n") => 400;
    a_bare_cr_behind_a_size "RFC 9112 7.1": chunked("5\rhello\r\n0\r\n\r\n") => 400;
    a_bare_lf_behind_the_data "RFC 9112 7.1": chunked("5\r\nhello\n0\r\n\r\n") => 400;
    no_line_end_behind_the_data "RFC 9112 7.1": chunked("5\r\nhello0\r\n\r\n") => 400;
    more_data_than_the_size "CVE-2025-4366": chunked("5\r\nhello!\r\n0\r\n\r\n") => 400;
    less_data_than_the_size "RFC 9112 7.1": chunked("6\r\nhello\r\n0\r\n\r\n") => 400;
    a_bare_lf_behind_the_last_size "RFC 9112 7.1": chunked("0\n\r\n") => 400;
    a_bare_lf_as_the_end "RFC 9112 7.1": chunked("0\r\n\n") => 400;
    a_chunk_that_ends_with_two_crs "RFC 9112 7.1": chunked("5\r\r\nhello\r\n0\r\n\r\n") => 400;

    // Extensions.
    an_extension "RFC 9112 7.1.1": chunked("5;a=b\r\nhello\r\n0\r\n\r\n") => seen_chunked("5;a=b\r\nhello\r\n0\r\n\r\n");
    an_extension_without_a_value "RFC 9112 7.1.1": chunked("5;a\r\nhello\r\n0;b\r\n\r\n") => seen_chunked("5;a\r\nhello\r\n0;b\r\n\r\n");
    a_quoted_extension "RFC 9112 7.1.1": chunked("5;a=\"b;c\\\"d\"\r\nhello\r\n0\r\n\r\n") => seen_chunked("5;a=\"b;c\\\"d\"\r\nhello\r\n0\r\n\r\n");
    two_extensions "RFC 9112 7.1.1": chunked("5;a=b;c=d\r\nhello\r\n0\r\n\r\n") => seen_chunked("5;a=b;c=d\r\nhello\r\n0\r\n\r\n");
    an_empty_extension "RFC 9112 7.1.1": chunked("5;\r\nhello\r\n0\r\n\r\n") => 400;
    an_extension_without_a_name "RFC 9112 7.1.1": chunked("5;=b\r\nhello\r\n0\r\n\r\n") => 400;
    an_extension_with_a_bare_lf "CVE-2025-22871": chunked("5;a\nhello\r\n0\r\n\r\n") => 400;
    an_extension_with_a_bare_cr "RFC 9112 7.1.1": chunked("5;a\rb\r\nhello\r\n0\r\n\r\n") => 400;
    an_extension_with_a_quoted_line_end "RFC 9112 7.1.1": chunked("5;a=\"\r\nx\"\r\nhello\r\n0\r\n\r\n") => 400;
    an_extension_with_a_control "RFC 9112 7.1.1": chunked("5;a=\x01\r\nhello\r\n0\r\n\r\n") => 400;
    an_extension_with_white_space "RFC 9112 7.1.1": chunked("5 ; a=b\r\nhello\r\n0\r\n\r\n") => 400;
    an_unclosed_quote "RFC 9112 7.1.1": chunked("5;a=\"b\r\nhello\r\n0\r\n\r\n") => 400;
    extensions_beyond_their_limit "RFC 9112 7.1.1": chunked(&format!("5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(EXTENSIONS_MAX))) => 400;

    // Trailers.
    a_trailer "RFC 9110 6.5.1": chunked("0\r\nX-Checksum: a\r\n\r\n") => seen_chunked("0\r\n\r\n");
    a_grpc_trailer "RFC 9110 6.5.1": chunked("0\r\ngrpc-status: 0\r\n\r\n") => seen_chunked("0\r\ngrpc-status: 0\r\n\r\n");
    a_grpc_trailer_among_others "RFC 9110 6.5.1": chunked("1\r\na\r\n0\r\nHost: b\r\nGrpc-Message:x\r\nCookie: c\r\n\r\n") => seen_chunked("1\r\na\r\n0\r\nGrpc-Message: x\r\n\r\n");
    a_length_in_a_trailer "RFC 9110 6.5.1": chunked("0\r\nContent-Length: 50\r\n\r\n") => seen_chunked("0\r\n\r\n");
    a_coding_in_a_trailer "RFC 9110 6.5.1": chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n") => seen_chunked("0\r\n\r\n");
    a_host_in_a_trailer "RFC 9110 6.5.1": chunked("0\r\nHost: evil.test\r\n\r\n") => seen_chunked("0\r\n\r\n");
    credentials_in_a_trailer "RFC 9110 6.5.1": chunked("0\r\nAuthorization: Basic eA==\r\n\r\n") => seen_chunked("0\r\n\r\n");
    a_client_certificate_in_a_trailer "RFC 9110 6.5.1": chunked("0\r\nX-Forwarded-Client-Cert: By=x\r\n\r\n") => seen_chunked("0\r\n\r\n");
    a_look_alike_in_a_trailer "RFC 9110 6.5.1": chunked("0\r\nContent_Length: 5\r\n\r\n") => seen_chunked("0\r\n\r\n");
    an_announced_trailer "RFC 9110 6.6.2": post("Trailer: X-Checksum\r\nTransfer-Encoding: chunked", "0\r\nX-Checksum: a\r\n\r\n") => seen_post("Trailer: X-Checksum\r\nTransfer-Encoding: chunked", "0\r\n\r\n");
    a_request_in_a_trailer "RFC 9112 7.1.2": chunked("0\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n") => 400;
    a_bare_lf_behind_a_trailer "CVE-2026-2835": chunked("0\r\nX: y\n\r\n") => 400;
    a_bare_lf_before_the_end_of_trailers "RFC 9112 7.1.2": chunked("0\r\nX: y\r\n\n") => 400;
    a_folded_trailer "RFC 9112 5.2": chunked("0\r\nX: y\r\n z\r\n\r\n") => 400;
    a_space_before_a_trailers_colon "RFC 9112 5.1": chunked("0\r\nX : y\r\n\r\n") => 400;
    a_nul_in_a_trailer "RFC 9110 5.5": chunked("0\r\nX: \0\r\n\r\n") => 400;
    a_trailer_without_a_colon "RFC 9112 7.1.2": chunked("0\r\nnonsense\r\n\r\n") => 400;
    trailers_beyond_their_count "RFC 9112 7.1.2": chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(101))) => 431;
    trailers_beyond_their_size "RFC 9112 7.1.2": chunked(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(16 * 1024))) => 431;

    // Faults that come when the head is on its way already.
    a_bad_size_later "RFC 9112 7.1": chunked("5\r\nhello\r\n") => torn(seen_chunked("5\r\nhello\r\n"), "zz\r\n");
    a_bad_first_size_later "RFC 9112 7.1": chunked("") => torn(seen_chunked(""), "zz\r\n");
    too_much_data_later "RFC 9112 7.1": chunked("5\r\nhel") => torn(seen_chunked("5\r\nhel"), "lo!!\r\n");
    a_bare_lf_later "RFC 9112 7.1": chunked("5\r\nhello\r\n") => torn(seen_chunked("5\r\nhello\r\n"), "5\nhello\r\n");
    a_bad_trailer_later "RFC 9112 7.1.2": chunked("5\r\nhello\r\n0\r\n") => torn(seen_chunked("5\r\nhello\r\n0\r\n"), "X : y\r\n\r\n");
}
