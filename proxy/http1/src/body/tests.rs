//! Bodies: what ends them, what tears them, what is refused.

use super::*;

/// Feeds `bytes` at once; gives the payload, the raw relay and the last progress.
fn read(framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>, Progress), Refusal> {
    let mut reader = BodyReader::new(framing);
    let mut payload = Vec::new();
    let progress = reader.advance(bytes, |range| payload.extend_from_slice(&bytes[range]))?;
    let mut relayed = bytes[..progress.relay].to_vec();
    reader.write_trailers(&mut relayed);
    Ok((payload, relayed, progress))
}

fn chunked(bytes: &str) -> Result<(String, bool), Refusal> {
    let (payload, _, progress) = read(Framing::Chunked, bytes.as_bytes())?;
    Ok((String::from_utf8(payload).unwrap(), progress.done))
}

macro_rules! refused {
    ($($name:ident: $rfc:literal = $body:expr;)+) => {$(
        #[test]
        fn $name() {
            let body: String = $body.into();

            let refusal = chunked(&body).expect_err("refused");

            assert_eq!((refusal.status, refusal.rfc), (400, $rfc), "{}: {body:?}", refusal.reason);
        }
    )+};
}

mod refuses {
    use super::*;

    refused! {
        an_empty_chunk_size: "RFC 9112 7.1" = "\r\nhello\r\n0\r\n\r\n";
        a_signed_chunk_size: "RFC 9112 7.1" = "+5\r\nhello\r\n0\r\n\r\n";
        a_negative_chunk_size: "RFC 9112 7.1" = "-5\r\nhello\r\n0\r\n\r\n";
        a_prefixed_chunk_size: "RFC 9112 7.1" = "0x5\r\nhello\r\n0\r\n\r\n";
        an_underscore_in_a_chunk_size: "RFC 9112 7.1" = "0_5\r\nhello\r\n0\r\n\r\n";
        a_space_before_a_chunk_size: "RFC 9112 7.1" = " 5\r\nhello\r\n0\r\n\r\n";
        a_space_after_a_chunk_size: "RFC 9112 7.1" = "5 \r\nhello\r\n0\r\n\r\n";
        a_tab_after_a_chunk_size: "RFC 9112 7.1" = "5\t\r\nhello\r\n0\r\n\r\n";
        a_space_before_an_extension: "RFC 9112 7.1" = "5 ;a\r\nhello\r\n0\r\n\r\n";
        a_chunk_size_of_17_digits: "RFC 9112 7.1" = "00000000000000005\r\nhello\r\n0\r\n\r\n";
        a_chunk_size_beyond_64_bits: "RFC 9112 7.1" = "10000000000000005\r\nhello\r\n0\r\n\r\n";
        a_chunk_size_beyond_a_signed_number: "RFC 9112 7.1" = "8000000000000000\r\nhello";
        a_bare_lf_after_a_chunk_size: "RFC 9112 7.1" = "5\nhello\r\n0\r\n\r\n";
        a_bare_cr_after_a_chunk_size: "RFC 9112 7.1" = "5\rhello\r\n0\r\n\r\n";
        a_bare_lf_after_a_chunk: "RFC 9112 7.1" = "5\r\nhello\n0\r\n\r\n";
        more_data_than_announced: "RFC 9112 7.1" = "5\r\nhelloX\r\n0\r\n\r\n";
        less_data_than_announced: "RFC 9112 7.1" = "6\r\nhello\r\n0\r\n\r\n";
        a_missing_line_end_after_a_chunk: "RFC 9112 7.1" = "5\r\nhello0\r\n\r\n";
        an_empty_extension: "RFC 9112 7.1.1" = "5;\r\nhello\r\n0\r\n\r\n";
        an_extension_without_a_value: "RFC 9112 7.1.1" = "5;a=\r\nhello\r\n0\r\n\r\n";
        a_space_in_an_extension: "RFC 9112 7.1.1" = "5; a\r\nhello\r\n0\r\n\r\n";
        a_bare_lf_in_an_extension: "RFC 9112 7.1.1" = "5;a\nhello\r\n0\r\n\r\n";
        a_bare_cr_in_an_extension: "RFC 9112 7.1" = "5;a\rb\r\nhello\r\n0\r\n\r\n";
        a_nul_in_an_extension: "RFC 9112 7.1.1" = "5;a\0\r\nhello\r\n0\r\n\r\n";
        a_quoted_line_end_in_an_extension: "RFC 9112 7.1.1" = "5;a=\"\r\nX\"\r\nhello\r\n0\r\n\r\n";
        an_escaped_line_end_in_an_extension: "RFC 9112 7.1.1" = "5;a=\"\\\r\n\"\r\nhello\r\n0\r\n\r\n";
        text_behind_a_quoted_extension: "RFC 9112 7.1.1" = "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n";
        more_than_16_kib_of_extensions: "RFC 9112 7.1.1" = format!("5;{}\r\n", "a".repeat(16 * 1024 + 1));
        extensions_that_add_up: "RFC 9112 7.1.1" = "1;abcdefg\r\nx\r\n".repeat(2_100);
        a_bare_lf_as_the_end: "RFC 9112 7.1.2" = "0\r\n\n";
        a_bare_cr_at_the_end: "RFC 9112 7.1" = "0\r\n\rX";
        a_bare_lf_in_a_trailer: "RFC 9112 7.1.2" = "0\r\nX: a\n\r\n";
        a_folded_trailer: "RFC 9112 7.1.2" = "0\r\nX: a\r\n b\r\n\r\n";
        a_space_before_a_trailers_colon: "RFC 9112 7.1.2" = "0\r\nX : a\r\n\r\n";
        a_trailer_without_a_colon: "RFC 9112 7.1.2" = "0\r\nGET / HTTP/1.1\r\n\r\n";
        a_nul_in_a_trailer: "RFC 9112 7.1.2" = "0\r\nX: \0\r\n\r\n";
    }

    #[test]
    fn more_than_16_kib_of_trailers() {
        let refusal = chunked(&format!("0\r\nX: {}", "a".repeat(16 * 1024))).unwrap_err();

        assert_eq!(refusal.status, 431);
    }

    #[test]
    fn more_than_100_trailers() {
        let refusal = chunked(&format!("0\r\n{}\r\n", "X: a\r\n".repeat(101))).unwrap_err();

        assert_eq!(refusal.status, 431);
    }

    #[test]
    fn everything_after_a_refusal() {
        let mut reader = BodyReader::new(Framing::Chunked);
        let first = reader.advance(b"x", |_| {}).unwrap_err();

        assert_eq!(reader.advance(b"0\r\n\r\n", |_| {}), Err(first));
        assert_eq!((reader.is_done(), reader.end_of_input()), (false, Err(Torn)));
    }
}

#[test]
fn a_length_ends_a_body_and_leaves_the_next_message() {
    let (payload, relayed, progress) = read(Framing::Length(5), b"helloGET /").unwrap();

    assert_eq!((payload, relayed), (b"hello".to_vec(), b"hello".to_vec()));
    assert_eq!(progress, Progress { consumed: 5, relay: 5, done: true });
}

#[test]
fn no_body_is_done_before_it_begins() {
    for framing in [Framing::None, Framing::Length(0)] {
        let mut reader = BodyReader::new(framing);
        assert!(reader.is_done());
        assert_eq!(reader.advance(b"GET", |_| {}).unwrap(), Progress { consumed: 0, relay: 0, done: true });
        assert_eq!(reader.end_of_input(), Ok(()));
    }
}

#[test]
fn a_body_until_close_takes_everything_and_ends_with_the_input() {
    let mut reader = BodyReader::new(Framing::UntilClose);

    assert_eq!(reader.advance(b"abc", |_| {}).unwrap(), Progress { consumed: 3, relay: 3, done: false });
    assert_eq!(reader.end_of_input(), Ok(()));
}

#[test]
fn a_body_cut_short_is_torn() {
    let mut counted = BodyReader::new(Framing::Length(5));
    counted.advance(b"hell", |_| {}).unwrap();
    assert_eq!(counted.end_of_input(), Err(Torn));

    let whole = b"5\r\nhello\r\n0\r\n\r\n";
    for cut in 0..whole.len() {
        let mut reader = BodyReader::new(Framing::Chunked);
        assert!(!reader.advance(&whole[..cut], |_| {}).unwrap().done);
        assert_eq!(reader.end_of_input(), Err(Torn), "cut at {cut}");
    }
}

#[test]
fn chunks_give_their_payload_without_their_framing() {
    // RFC 9112 7.1.
    let body = "5\r\nhello\r\n00a;x;y=z;q=\"a;\\\"b\"\r\n, world!\r\n\r\nF\r\n0123456789abcde\r\n0\r\n\r\n";

    assert_eq!(chunked(body).unwrap(), ("hello, world!\r\n0123456789abcde".to_owned(), true));
}

#[test]
fn a_chunked_body_is_relayed_byte_for_byte_and_nothing_behind_it() {
    let body = b"5;ext=1\r\nhello\r\n000\r\n\r\n";
    let pipelined = [&body[..], b"GET / HTTP/1.1"].concat();

    let (_, relayed, progress) = read(Framing::Chunked, &pipelined).unwrap();

    assert_eq!(relayed, body);
    assert_eq!(progress, Progress { consumed: body.len(), relay: body.len(), done: true });
}

#[test]
fn trailers_are_collected_and_only_the_permitted_ones_relayed() {
    // RFC 9110 6.5.1.
    let body = b"1\r\nx\r\n0\r\nGrpc-Status: 0\r\nAuthorization: me\r\nContent-Length:  9 \r\ngrpc-message:\r\n\r\n";
    let mut reader = BodyReader::new(Framing::Chunked);

    let progress = reader.advance(body, |_| {}).unwrap();
    let mut relayed = body[..progress.relay].to_vec();
    reader.write_trailers(&mut relayed);

    assert!(progress.done);
    assert_eq!(relayed, b"1\r\nx\r\n0\r\nGrpc-Status: 0\r\ngrpc-message: \r\n\r\n");
    let names: Vec<_> = reader.trailers().iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [&b"Grpc-Status"[..], b"Authorization", b"Content-Length", b"grpc-message"]);
    assert_eq!(reader.trailers()[2].1, b"9");
}

#[test]
fn trailers_of_an_unfinished_body_are_not_written() {
    let mut reader = BodyReader::new(Framing::Chunked);
    reader.advance(b"0\r\ngrpc-status: 0\r\n", |_| {}).unwrap();
    let mut out = Vec::new();

    reader.write_trailers(&mut out);

    assert!(out.is_empty());
}

#[test]
fn a_reader_is_small() {
    assert!(size_of::<BodyReader>() <= 40, "{}", size_of::<BodyReader>());
}
