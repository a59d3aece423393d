//! Request heads of HTTP/1.1, and the two fields of them that have rules of their own.

use std::borrow::Cow;

use tidegate_http1::{
    BodyReader, EscapedSlashes, HeadEdits, Limits, Parsed, RequestHead, canonical_path, parse_request,
    without_parameters, write_request,
};
use tidegate_proxy::fuzzing;

/// A head either is refused, or is incomplete, or means the same when it is written and read again.
pub(crate) fn http1_request(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(Parsed::Complete { head, consumed }) = parse_request(bytes, &limits) else { return };
    assert!(consumed <= bytes.len());

    written_and_read_again(&head);

    let mut body = BodyReader::new(head.framing());
    let mut rest = &bytes[bytes.len().min(consumed)..];
    while let Ok(progress) = body.advance(rest, |payload| assert!(payload.end <= rest.len())) {
        assert!(progress.consumed <= rest.len(), "a body is no longer than its bytes");
        if progress.done || progress.consumed == 0 {
            break;
        }
        rest = &rest[progress.consumed..];
    }
}

/// What is forwarded, which our own gate must take for the same request. HTTP/1.1 text and nothing behind it.
pub(super) fn written_and_read_again(head: &RequestHead) -> Vec<u8> {
    let mut written = Vec::new();
    write_request(&mut written, head, &HeadEdits::default(), head.framing(), None)
        .expect("what was read can be written");
    let Ok(Parsed::Complete { head: again, consumed }) = parse_request(&written, &Limits::default()) else {
        panic!("what was written is refused: {:?}", String::from_utf8_lossy(&written));
    };
    assert_eq!(consumed, written.len());
    assert_eq!(again.method(), head.method());
    assert_eq!(again.path_and_query(), head.path_and_query());
    assert_eq!(again.authority(), head.authority());
    assert_eq!(again.framing(), head.framing());
    written
}

/// The canonical form of a path is a fixed point below the root, and what rules match is what is forwarded.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else { return };
    let kept = canonical_path(raw, EscapedSlashes::Keep);
    if let Ok(kept) = &kept {
        let again = canonical_path(kept, EscapedSlashes::Keep);
        assert_eq!(again.as_deref(), Ok(&**kept), "the form is its own form");
    }
    let Ok(canonical) = canonical_path(raw, EscapedSlashes::Refuse) else { return };
    assert_eq!(kept.as_deref(), Ok(&*canonical), "the laxer choice agrees about what the stricter one takes");
    let again = canonical_path(&canonical, EscapedSlashes::Refuse);
    assert!(matches!(&again, Ok(Cow::Borrowed(same)) if *same == canonical), "{raw:?} -> {canonical:?} -> {again:?}");

    // Whoever decodes first and resolves then, or the other way round, comes to the same place below the root.
    assert!(canonical.starts_with('/') && !canonical.contains("//"), "{canonical:?}");
    for segment in canonical.split('/') {
        let decoded = percent_decoded(segment);
        assert!(decoded != b"." && decoded != b".." && !decoded.contains(&b'/'), "{raw:?} -> {canonical:?}");
    }
    let matched = without_parameters(&canonical);
    assert!(matched.starts_with('/') && !matched.contains("//") && !matched.contains(';'), "{matched:?}");
    assert!(matched.split('/').all(|segment| segment != "." && segment != ".."), "{canonical:?} -> {matched:?}");
    assert_eq!(without_parameters(&matched), matched);

    let request = format!("GET {raw} HTTP/1.1\r\nhost: a\r\n\r\n");
    let Ok(Parsed::Complete { head, .. }) = parse_request(request.as_bytes(), &Limits::default()) else { return };
    assert_eq!(head.path(), canonical, "what is matched");
    let written = written_and_read_again(&head);
    let line = format!("GET {canonical} HTTP/1.1\r\n");
    assert!(written.starts_with(line.as_bytes()), "what is forwarded: {:?}", String::from_utf8_lossy(&written));
}

fn percent_decoded(segment: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let escape = (byte == b'%').then(|| behind.get(..2)).flatten();
        let decoded = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &behind[2..] } else { behind };
    }
    out
}

/// A head's trace is sound exactly when there is none, or one that W3C Trace Context 3.2 describes. Each line is a field.
pub(crate) fn traceparent(bytes: &[u8]) {
    let values: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let mut builder = RequestHead::builder().authority("a");
    for value in &values {
        builder = builder.field("traceparent", value);
    }
    let Ok(head) = builder.build(&Limits::default()) else { return };

    let sound = match values.as_slice() {
        [only] => std::str::from_utf8(only).is_ok_and(is_traceparent),
        _ => false,
    };
    assert_eq!(fuzzing::is_sound_trace(&head), sound, "{:?}", String::from_utf8_lossy(bytes));
}

/// The rule once more, by its grammar.
pub(super) fn is_traceparent(value: &str) -> bool {
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    };
    let mut parts = value.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && trace.chars().any(|c| c != '0')
        && is_hex(parent, 16)
        && parent.chars().any(|c| c != '0')
        && is_hex(flags, 2)
        && parts.next().is_none_or(|more| version != "00" && more.chars().all(|c| c.is_ascii_graphic()))
}
