//! W3C Trace Context: `traceparent`, and the fate of `tracestate`.
//!
//! # Why a malformed one is not passed on
//! Whoever receives a malformed `traceparent` must start a trace of its own (W3C Trace Context 3.2.2). Passed on, it would be
//! judged again at every hop, and a lenient one would carry a caller's text into logs and queries as an identifier. So it is read
//! also where nothing is traced.

use tidegate_http1::RequestHead;

use super::ids::{self, SpanId, TraceId};

pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";

/// Version, trace, parent and flags with their hyphens.
const LENGTH: usize = 55;

/// Somebody records the trace.
const SAMPLED: u8 = 1;
/// The id's lower seven bytes are random (level 2, 3.2.2.5): true for as long as the id is the same.
const RANDOM: u8 = 2;

/// What the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traceparent {
    pub(crate) trace: TraceId,
    pub(crate) parent: SpanId,
    pub(crate) sampled: bool,
    pub(crate) random: bool,
}

/// Whether a head says nothing of a trace, or says it well.
pub(crate) fn is_sound(head: &RequestHead) -> bool {
    head.field(TRACEPARENT).is_none() || of(head).is_some()
}

/// What a head says, if it says one thing and says it well.
pub(crate) fn of(head: &RequestHead) -> Option<Traceparent> {
    let mut values = head.field_all(TRACEPARENT);
    match (values.next(), values.next()) {
        (Some(value), None) => read(value),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// Trace and parent as they are written, where a head says them well.
pub(crate) fn parts(head: &RequestHead) -> Option<(&str, &str)> {
    of(head)?;
    let value = head.field(TRACEPARENT)?;
    let text = |range: std::ops::Range<usize>| std::str::from_utf8(value.get(range)?).ok();
    Some((text(3..35)?, text(36..52)?))
}

/// `version "-" trace-id "-" parent-id "-" flags`, in lower-case hexadecimal. A later version may say more behind that, in
/// visible ASCII as everything that W3C Trace Context has defined so far.
fn read(value: &[u8]) -> Option<Traceparent> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let [v0, v1, b'-', trace @ .., b'-', f0, f1] = known else { return None };
    let (trace, parent) = trace.split_at_checked(32)?;
    let parent = parent.strip_prefix(b"-")?;
    // The four digits around the ids are read together.
    let around = ids::half([b'0', b'0', b'0', b'0', *v0, *v1, *f0, *f1])?;
    let (version, flags) = ((around >> 8) as u8, around as u8);
    let goes_on = more.is_empty() || (version != 0 && more.starts_with(b"-") && more.iter().all(u8::is_ascii_graphic));
    if version == 0xff || !goes_on {
        return None;
    }
    let (trace, parent) = (TraceId::read(trace)?, SpanId::read(parent)?);
    Some(Traceparent { trace, parent, sampled: flags & SAMPLED != 0, random: flags & RANDOM != 0 })
}

/// Where the value begins in the line that is sent.
const NAMED: usize = TRACEPARENT.len() + 2;
const LINE_BYTES: usize = NAMED + LENGTH + 2;

/// Of a line that is sent.
pub(crate) fn value(line: &[u8; LINE_BYTES]) -> &[u8] {
    &line[NAMED..NAMED + LENGTH]
}

/// The line that is sent.
pub(crate) fn line(said: &Traceparent) -> [u8; LINE_BYTES] {
    let mut line = *b"traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
    line[16..48].copy_from_slice(&said.trace.digits());
    line[49..65].copy_from_slice(&said.parent.digits());
    line[67] = b'0' + u8::from(said.sampled) * SAMPLED + u8::from(said.random) * RANDOM;
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn is_traceparent(value: &[u8]) -> bool {
        read(value).is_some()
    }

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

    #[test]
    fn flags_that_mean_nothing_yet_are_not_passed_on() {
        let said = read(SOUND.replace("-01", "-ff").as_bytes()).unwrap();

        assert!(said.sampled && said.random);
        assert!(line(&said).ends_with(b"-03\r\n"));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_as_it_was_meant(high: u64, low: u64, parent: u64, sampled: bool, random: bool) {
            let (trace, parent) = (TraceId::drawn(high, low), SpanId::drawn(parent));
            let said = Traceparent { trace, parent, sampled, random };

            let line = line(&said);
            let value = line.strip_prefix(b"traceparent: ").and_then(|rest| rest.strip_suffix(b"\r\n")).unwrap();

            prop_assert_eq!(read(value), Some(said));
        }
    }
}
