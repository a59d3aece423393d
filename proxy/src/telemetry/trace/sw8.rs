//! SkyWalking's `sw8`: `{decision}-{trace}-{segment}-{span}-{service}-{instance}-{endpoint}-{peer}`, texts in base64.
//!
//! # Why a segment's name of ours holds both ids
//! A trace is known here by a text, and a parent by a segment's text and a number in it. An application may pass on nothing but
//! this field, and the next proxy must go on with the same trace in every other format as well. So the segment of a span of
//! ours is called by its trace's and its own digits ([`segment`]), and whoever reads it has both. Texts of others have no
//! digits in them: they are digested, and every proxy and the control plane come to the same number ([`trace`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_http1::RequestHead;
use tidegate_report::trace;

use super::ids::{SpanId, TraceId, text};

pub(crate) const SW8: &str = "sw8";

/// Of the whole field. Its texts are kept until the request's span is exported; those of agents have some 300 bytes.
const SW8_BYTES_MAX: usize = 2048;

/// What the caller says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// As it was called where it began.
    pub(crate) trace: Box<str>,
    pub(crate) segment: Box<str>,
    /// In the segment.
    pub(crate) span: i32,
    pub(crate) service: Box<str>,
    pub(crate) instance: Box<str>,
    pub(crate) endpoint: Box<str>,
    /// By which address this side was called.
    pub(crate) peer: Box<str>,
}

/// What a head says, if it says one thing and says it well; and whether the trace is to be recorded.
pub(crate) fn of(head: &RequestHead) -> Option<(Caller, bool)> {
    let mut values = head.field_all(SW8);
    match (values.next(), values.next()) {
        (Some(value), None) if value.len() <= SW8_BYTES_MAX => read(value),
        (None, _) | (Some(_), Some(_)) | (Some(_), None) => None,
    }
}

fn read(value: &[u8]) -> Option<(Caller, bool)> {
    let mut parts = value.split(|byte| *byte == b'-');
    let mut next = || parts.next();
    let sampled = match next()? {
        b"0" => false,
        b"1" => true,
        _ => return None,
    };
    let (trace, segment) = (named(next()?)?, named(next()?)?);
    let span = std::str::from_utf8(next()?).ok()?;
    let span = span.bytes().all(|byte| byte.is_ascii_digit()).then(|| span.parse().ok()).flatten()?;
    let (service, instance, endpoint, peer) = (plain(next()?)?, plain(next()?)?, plain(next()?)?, plain(next()?)?);
    next().is_none().then_some((Caller { trace, segment, span, service, instance, endpoint, peer }, sampled))
}

/// A text that can be a name.
fn named(encoded: &[u8]) -> Option<Box<str>> {
    plain(encoded).filter(|text| !text.is_empty())
}

/// A text that can be shown.
fn plain(encoded: &[u8]) -> Option<Box<str>> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    (!text.contains(char::is_control)).then(|| text.into())
}

impl Caller {
    /// The trace and the caller's span in numbers.
    pub(crate) fn ids(&self) -> (TraceId, SpanId) {
        let ours = trace::ids_of_segment(&self.segment).filter(|_| self.span == 0);
        let id = ours.map_or_else(|| trace::id_of_text(&self.trace), |(trace, _)| trace);
        let span = trace::id_of_span(&self.segment, self.span);
        (TraceId::drawn((id >> 64) as u64, id as u64), SpanId::drawn(span))
    }
}

/// The name of the segment that is a span of ours.
pub(crate) fn segment(trace: TraceId, span: SpanId) -> String {
    format!("{}.{}", text(&trace.digits()), text(&span.digits()))
}

/// What is said to whoever is next.
#[derive(Debug)]
pub(crate) struct Sent<'s> {
    pub(crate) sampled: bool,
    pub(crate) trace: &'s str,
    pub(crate) segment: &'s str,
    pub(crate) service: &'s str,
    pub(crate) instance: &'s str,
    pub(crate) endpoint: &'s str,
    pub(crate) peer: &'s str,
}

/// A segment of ours has one span, number 0.
pub(crate) fn written(sent: &Sent<'_>) -> String {
    let mut value = String::with_capacity(320);
    value.push(if sent.sampled { '1' } else { '0' });
    let mut add = |text: &str| {
        value.push('-');
        STANDARD.encode_string(text, &mut value);
    };
    add(sent.trace);
    add(sent.segment);
    value.push_str("-0");
    let mut add = |text: &str| {
        value.push('-');
        STANDARD.encode_string(text, &mut value);
    };
    [sent.service, sent.instance, sent.endpoint, sent.peer].into_iter().for_each(&mut add);
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of SkyWalking's own description of the field.
    const AGENT: &str = "1-TRACEID-SEGMENTID-3-PARENT_SERVICE-PARENT_INSTANCE-PARENT_ENDPOINT-IPPORT";

    fn agent() -> String {
        AGENT
            .split('-')
            .enumerate()
            .map(|(at, part)| if at == 0 || at == 3 { part.to_owned() } else { STANDARD.encode(part) })
            .collect::<Vec<_>>()
            .join("-")
    }

    #[test]
    fn a_field_of_an_agent_is_read() {
        let (caller, sampled) = read(agent().as_bytes()).unwrap();

        assert!(sampled);
        assert_eq!((&*caller.trace, &*caller.segment, caller.span), ("TRACEID", "SEGMENTID", 3));
        assert_eq!((&*caller.service, &*caller.instance), ("PARENT_SERVICE", "PARENT_INSTANCE"));
        assert_eq!((&*caller.endpoint, &*caller.peer), ("PARENT_ENDPOINT", "IPPORT"));
    }

    #[test]
    fn anything_else_is_none() {
        let sound = agent();
        let parts: Vec<&str> = sound.split('-').collect();
        let with = |at: usize, part: &str| {
            let mut parts = parts.clone();
            parts[at] = part;
            parts.join("-")
        };
        for wrong in [
            String::new(),
            parts[..7].join("-"),
            format!("{sound}-"),
            with(0, "2"),
            with(0, ""),
            with(1, ""),
            with(2, ""),
            with(1, "no base64!"),
            with(1, "/w=="),
            with(4, &STANDARD.encode("two\nlines")),
            with(3, ""),
            with(3, "+1"),
            with(3, "x"),
            with(3, "2147483648"),
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn texts_of_agents_become_the_same_numbers_everywhere() {
        let (caller, _) = read(agent().as_bytes()).unwrap();
        let (trace, span) = caller.ids();

        // Fixed for ever: proxies of two versions in one mesh must agree.
        assert_eq!(text(&trace.digits()), "79a75fe36b4ff78d590c110648cff2b3");
        assert_ne!(span, Caller { span: 4, ..caller.clone() }.ids().1, "two spans of a segment are two parents");
        let digits = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(text(&Caller { trace: digits.into(), ..caller }.ids().0.digits()), digits);
    }

    proptest! {
        #[test]
        fn our_own_segment_says_both_ids_whatever_the_trace_is_called(high: u64, low: u64, span: u64, name in "[^\\p{C}]{1,40}") {
            let (trace, span) = (TraceId::drawn(high, low), SpanId::drawn(span));
            let segment = segment(trace, span);
            let sent = Sent { sampled: true, trace: &name, segment: &segment, service: "s", instance: "", endpoint: "GET /", peer: "127.0.0.1:80" };

            let (caller, sampled) = read(written(&sent).as_bytes()).unwrap();

            prop_assert!(sampled);
            prop_assert_eq!(&*caller.trace, name);
            prop_assert_eq!(caller.ids(), (trace, span));
        }

        #[test]
        fn no_bytes_are_too_strange(value: Vec<u8>) {
            if let Some((caller, _)) = read(&value) {
                caller.ids();
            }
        }
    }
}
