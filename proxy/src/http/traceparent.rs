//! The one field of a trace that is read here, and only to see whether it is one.
//!
//! # Why it is read at all
//! Whoever receives a malformed `traceparent` must start a trace of its own (W3C Trace Context 3.2.2). Passed on, it would be judged
//! again at every hop, and a lenient one would carry a caller's text into logs and queries as an identifier.

use tidegate_http1::RequestHead;

/// Version, trace, parent and flags with their hyphens.
const LENGTH: usize = 55;

/// Whether a head says nothing of a trace, or says it well.
pub(crate) fn is_sound(head: &RequestHead) -> bool {
    let mut values = head.field_all("traceparent");
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => is_traceparent(value),
        (Some(_), Some(_)) => false,
    }
}

/// `version "-" trace-id "-" parent-id "-" flags`, in lower-case hexadecimal. A later version may say more behind that, in
/// visible ASCII as everything that W3C Trace Context has defined so far.
fn is_traceparent(value: &[u8]) -> bool {
    let Some((known, more)) = value.split_at_checked(LENGTH) else { return false };
    let is_hex = |range: std::ops::Range<usize>| {
        known.get(range).is_some_and(|part| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    let is_zero =
        |range: std::ops::Range<usize>| known.get(range).is_some_and(|part| part.iter().all(|byte| *byte == b'0'));
    let hyphens = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
    let version = known.get(..2).unwrap_or_default();
    hyphens
        && is_hex(0..2)
        && is_hex(3..35)
        && is_hex(36..52)
        && is_hex(53..LENGTH)
        && version != b"ff"
        && !is_zero(3..35)
        && !is_zero(36..52)
        && (more.is_empty() || (version != b"00" && more.starts_with(b"-") && more.iter().all(u8::is_ascii_graphic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_told_from_what_looks_like_one() {
        assert!(is_traceparent(SOUND.as_bytes()));
        assert!(is_traceparent(SOUND.replacen("00", "cc", 1).as_bytes()));
        assert!(is_traceparent(format!("{}-more", SOUND.replacen("00", "cc", 1)).as_bytes()));
        for length in 0..LENGTH {
            assert!(!is_traceparent(&SOUND.as_bytes()[..length]), "{length}");
        }
        for wrong in [
            format!("{SOUND}-more"),
            format!("{SOUND}x"),
            format!("{}x", SOUND.replacen("00", "cc", 1)),
            format!("{}-m\u{e9}re", SOUND.replacen("00", "cc", 1)),
            format!("{}-more words", SOUND.replacen("00", "cc", 1)),
            SOUND.to_uppercase(),
            SOUND.replacen("00", "ff", 1),
            SOUND.replace("b7ad6b7169203331", "0000000000000000"),
            SOUND.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            SOUND.replace('-', "_"),
            "\u{e9}".repeat(28),
        ] {
            assert!(!is_traceparent(wrong.as_bytes()), "{wrong}");
        }
    }
}
