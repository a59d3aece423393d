//! The gate, from received bytes to forwarded bytes, with hyper behind it.
//!
//! What the gate refuses is no danger. What it forwards must be exactly one request to the next hop: the one that rules
//! were asked about, with the body that was counted. hyper also reads what the caller sent: where both find a body in it,
//! it is the same one.

use tidegate_http1::{BodyReader, Framing, Limits, Parsed, parse_request};

use super::head::written_and_read_again;
use super::hyper_reader;

/// See the module.
pub(crate) fn gate(bytes: &[u8]) {
    let Ok(Parsed::Complete { head, consumed }) = parse_request(bytes, &Limits::default()) else { return };
    let mut forwarded = written_and_read_again(&head);
    let received = &bytes[consumed..];

    let mut reader = BodyReader::new(head.framing());
    let mut payload = Vec::new();
    let Ok(progress) = reader.advance(received, |range| payload.extend_from_slice(&received[range])) else { return };
    forwarded.extend_from_slice(&received[..progress.relay]);
    reader.write_trailers(&mut forwarded);
    assert_eq!(reader.end_of_input().is_ok(), progress.done, "a request's body ends by its framing only");
    let shown = || String::from_utf8_lossy(&forwarded).into_owned();

    let seen = hyper_reader::read(&forwarded);
    let [one] = seen.as_slice() else { panic!("{} requests in {:?}", seen.len(), shown()) };
    assert_eq!(one.method, head.method());
    assert_eq!(one.target, head.path_and_query(), "{:?}", shown());
    assert_eq!(one.values("host"), [head.authority().as_bytes()], "{:?}", shown());
    assert_eq!(one.body.as_ref(), progress.done.then_some(&payload), "{:?}", shown());
    let announced = (one.values("content-length").len(), one.values("transfer-encoding").len());
    let expected = match head.framing() {
        Framing::None => (0, 0),
        Framing::Length(_) => (1, 0),
        Framing::Chunked => (0, 1),
        Framing::UntilClose => panic!("a request cannot end with its connection"),
    };
    assert_eq!(announced, expected, "a body is announced once: {:?}", shown());

    if let (Some(raw), true) = (hyper_reader::read(bytes).into_iter().next(), progress.done)
        && let Some(body) = raw.body
    {
        assert_eq!(raw.method, head.method());
        assert_eq!(body, payload, "two readers of what was received: {:?}", String::from_utf8_lossy(bytes));
    }
}
