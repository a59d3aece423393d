//! Responses, rule by rule: each row is one test, as for requests.

use super::*;
use crate::meaning::Framing;

fn verdict(message: &str, method: &str) -> Result<ResponseHead, Refusal> {
    match parse_response(message.as_bytes(), method, &Limits::default())? {
        Parsed::Complete { head, consumed } => {
            assert_eq!(consumed, message.len(), "the whole message is a head");
            Ok(head)
        }
        Parsed::Partial => panic!("partial: {message:?}"),
    }
}

fn accepted(message: &str) -> ResponseHead {
    verdict(message, "GET").unwrap_or_else(|refusal| panic!("{refusal}: {message:?}"))
}

macro_rules! refused {
    ($($name:ident: $rfc:literal = $message:expr;)+) => {$(
        #[test]
        fn $name() {
            let message: &str = $message;

            let refusal = verdict(message, "GET").expect_err("refused");

            assert_eq!((refusal.status, refusal.rfc), (502, $rfc), "{}: {message:?}", refusal.reason);
        }
    )+};
}

#[test]
fn a_connection_whose_204_announces_a_body_is_not_used_again() {
    let lives_on = |lines: &str| accepted(&format!("HTTP/1.1 204 No Content\r\n{lines}\r\n")).keep_alive();

    assert!(lives_on(""));
    assert!(lives_on("Content-Length: 0\r\n"));
    assert!(!lives_on("Content-Length: 5\r\n"));
    assert!(!lives_on("Transfer-Encoding: chunked\r\n"));
    assert!(accepted("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").keep_alive());
}

mod refuses {
    use super::*;

    refused! {
        a_four_digit_status: "RFC 9112 4" = "HTTP/1.1 2000 OK\r\n\r\n";
        a_two_digit_status: "RFC 9112 4" = "HTTP/1.1 20 OK\r\n\r\n";
        a_status_below_100: "RFC 9112 4" = "HTTP/1.1 099 Low\r\n\r\n";
        a_status_that_is_no_number: "RFC 9112 4" = "HTTP/1.1 2x0 OK\r\n\r\n";
        a_negative_status: "RFC 9112 4" = "HTTP/1.1 -20 OK\r\n\r\n";
        two_spaces_before_the_status: "RFC 9112 4" = "HTTP/1.1  200 OK\r\n\r\n";
        a_status_glued_to_its_reason: "RFC 9112 4" = "HTTP/1.1 200OK\r\n\r\n";
        http2_in_a_status_line: "RFC 9110 15.6.6" = "HTTP/2.0 200 OK\r\n\r\n";
        http13_in_a_status_line: "RFC 9110 15.6.6" = "HTTP/1.3 200 OK\r\n\r\n";
        a_lower_case_protocol: "RFC 9112 2.3" = "http/1.1 200 OK\r\n\r\n";
        another_protocol: "RFC 9112 2.3" = "SSH-2.0-OpenSSH\r\n\r\n";
        an_empty_line_in_front: "RFC 9112 2.3" = "\r\nHTTP/1.1 200 OK\r\n\r\n";
        a_control_in_the_reason: "RFC 9112 4" = "HTTP/1.1 200 O\x07K\r\n\r\n";
        a_bare_cr_in_the_reason: "RFC 9112 2.2" = "HTTP/1.1 200 O\rK\r\n\r\n";
        a_bare_lf_after_the_status_line: "RFC 9112 2.2" = "HTTP/1.1 200 OK\n\r\n";
        a_bare_lf_after_a_field: "RFC 9112 2.2" = "HTTP/1.1 200 OK\r\nX: a\n\r\n";
        a_folded_field: "RFC 9112 5.2" = "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n";
        a_space_before_the_colon: "RFC 9112 5.1" = "HTTP/1.1 200 OK\r\nX : a\r\n\r\n";
        a_nul_in_a_value: "RFC 9110 5.5" = "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n";
        length_beside_chunked: "RFC 9112 6.1" = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        two_equal_lengths: "RFC 9112 6.3" = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        a_list_of_lengths: "RFC 9110 8.6" = "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n";
        a_signed_length: "RFC 9110 8.6" = "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n";
        two_transfer_encodings: "RFC 9112 6.1" = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n";
        a_coding_we_did_not_ask_for: "RFC 9112 6.1" = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        chunked_on_http10: "RFC 9112 6.1" = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        length_beside_chunked_without_a_body: "RFC 9112 6.1" = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    }
}

#[test]
fn a_plain_response_answers_every_question() {
    let head = accepted("HTTP/1.1 404 Gone Fishing \u{e9}\r\nContent-Length: 3\r\nX-A: b\r\n\r\n");

    assert_eq!((head.status(), head.reason()), (404, "Gone Fishing \u{e9}".as_bytes()));
    assert_eq!((head.version(), head.framing()), (Version::Http11, Framing::Length(3)));
    assert_eq!((head.field("x-a"), head.fields().count()), (Some(&b"b"[..]), 2));
    assert!(head.keep_alive() && !head.is_interim());
}

#[test]
fn a_body_without_length_or_coding_ends_with_the_connection() {
    // RFC 9112 6.3.
    let head = accepted("HTTP/1.1 200 OK\r\n\r\n");

    assert_eq!((head.framing(), head.keep_alive()), (Framing::UntilClose, false));
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    // RFC 9112 6.3.
    let framing = |status: u16, method: &str, lines: &str| {
        verdict(&format!("HTTP/1.1 {status} X\r\n{lines}\r\n"), method).map(|head| head.framing())
    };
    let length = "Content-Length: 5\r\n";

    assert_eq!(framing(200, "HEAD", length), Ok(Framing::None));
    assert_eq!(framing(200, "HEAD", "Transfer-Encoding: chunked\r\n"), Ok(Framing::None));
    assert_eq!(framing(204, "GET", length), Ok(Framing::None));
    assert_eq!(framing(304, "GET", length), Ok(Framing::None));
    assert_eq!(framing(100, "POST", ""), Ok(Framing::None));
    assert_eq!(framing(101, "GET", ""), Ok(Framing::None));
    assert_eq!(framing(200, "CONNECT", length), Ok(Framing::None));
    assert_eq!(framing(407, "CONNECT", length), Ok(Framing::Length(5)));
    assert_eq!(framing(205, "GET", length), Ok(Framing::Length(5)));
}

#[test]
fn a_missing_reason_passes_with_and_without_its_space() {
    // RFC 9112 4: the space is obligatory, yet often left out.
    assert_eq!(accepted("HTTP/1.1 200 \r\n\r\n").reason(), b"");
    assert_eq!(accepted("HTTP/1.1 200\r\n\r\n").reason(), b"");
}

#[test]
fn interim_responses_are_told_from_the_switch_of_protocols() {
    // RFC 9110 15.2.
    assert!(accepted("HTTP/1.1 103 Early Hints\r\n\r\n").is_interim());
    let switch = accepted("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n");
    assert_eq!((switch.is_interim(), switch.upgrade()), (false, Some("websocket")));
}

#[test]
fn servers_may_nominate_their_framing_and_keep_it() {
    let head = accepted("HTTP/1.1 200 OK\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n");

    assert_eq!(head.framing(), Framing::Chunked);
}

#[test]
fn http10_connections_live_on_only_when_told() {
    // RFC 9112 9.3.
    let lives = |option: &str| accepted(&format!("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n{option}\r\n")).keep_alive();

    assert!(lives("Connection: keep-alive\r\n") && !lives(""));
}

#[test]
fn a_response_is_partial_at_every_cut() {
    let message = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    for cut in 0..message.len() {
        let parsed = parse_response(&message[..cut], "GET", &Limits::default());
        assert!(matches!(parsed, Ok(Parsed::Partial)), "at {cut}: {parsed:?}");
    }
}

#[test]
fn the_usual_status_line_is_read_as_any_other() {
    assert_eq!(status_line(USUAL), any_status_line(USUAL));
    assert!(matches!(status_line(USUAL), Ok(Some(_))));
}
