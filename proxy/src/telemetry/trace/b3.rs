//! B3, Zipkin's way of saying it: one field, or four of them.
//!
//! # What it may leave out
//! A caller may say a decision without a trace (`b3: 0`), or a trace without a decision, which whoever receives it then makes.

use tidegate_http1::{HeadEdits, RequestHead};

use super::ids::{SpanId, TraceId};

pub(crate) const SINGLE: &str = "b3";
pub(crate) const TRACE_ID: &str = "x-b3-traceid";
pub(crate) const SPAN_ID: &str = "x-b3-spanid";
pub(crate) const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
pub(crate) const SAMPLED: &str = "x-b3-sampled";
pub(crate) const FLAGS: &str = "x-b3-flags";

/// What is said, in either form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct B3 {
    pub(crate) trace: Option<(TraceId, SpanId)>,
    pub(crate) decision: Option<Decision>,
}

/// Whether the trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Not,
    Sampled,
    /// Whatever samplers say.
    Debug,
}

impl Decision {
    pub(crate) fn is_sampled(self) -> bool {
        match self {
            Self::Not => false,
            Self::Sampled | Self::Debug => true,
        }
    }
}

/// `{trace}-{span}[-{decision}[-{parent}]]`, or a decision alone.
pub(crate) fn single(head: &RequestHead) -> Option<B3> {
    read_single(only(head, SINGLE)?)
}

fn read_single(value: &[u8]) -> Option<B3> {
    if let Some(decision) = letter(value) {
        return Some(B3 { trace: None, decision: Some(decision) });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let trace = (TraceId::read(parts.next()?)?, SpanId::read(parts.next()?)?);
    let decision = match parts.next() {
        Some(said) => Some(letter(said)?),
        None => None,
    };
    // Whose child the caller's span is: read to see that it is sound.
    if let Some(parent) = parts.next() {
        SpanId::read(parent)?;
    }
    parts.next().is_none().then_some(B3 { trace: Some(trace), decision })
}

fn letter(text: &[u8]) -> Option<Decision> {
    match text {
        b"0" => Some(Decision::Not),
        b"1" => Some(Decision::Sampled),
        b"d" => Some(Decision::Debug),
        _ => None,
    }
}

/// Whether a head speaks in several fields.
pub(crate) fn is_multiple(head: &RequestHead) -> bool {
    [TRACE_ID, SAMPLED, FLAGS].iter().any(|name| head.field(name).is_some())
}

/// `x-b3-traceid` with `x-b3-spanid`, or neither; `x-b3-flags: 1` is stronger than `x-b3-sampled`.
pub(crate) fn multiple(head: &RequestHead) -> Option<B3> {
    let trace = match (head.field(TRACE_ID), head.field(SPAN_ID)) {
        (None, None) => None,
        (Some(_), Some(_)) => Some((TraceId::read(only(head, TRACE_ID)?)?, SpanId::read(only(head, SPAN_ID)?)?)),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let sampled = match head.field(SAMPLED) {
        None => None,
        // The words are of an early form that is still spoken.
        Some(b"1" | b"true") => Some(Decision::Sampled),
        Some(b"0" | b"false") => Some(Decision::Not),
        Some(_) => return None,
    };
    let decision = if head.field(FLAGS) == Some(b"1") { Some(Decision::Debug) } else { sampled };
    (trace.is_some() || decision.is_some()).then_some(B3 { trace, decision })
}

/// The value of a field that stands there once.
fn only<'h>(head: &'h RequestHead, name: &str) -> Option<&'h [u8]> {
    let mut values = head.field_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// What is said to whoever is next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) decision: Decision,
}

pub(crate) fn write_single(sent: &Sent, edits: &mut HeadEdits) {
    let mut value = Vec::with_capacity(68);
    with_trace(sent.trace, |digits| value.extend_from_slice(digits));
    value.push(b'-');
    value.extend_from_slice(&sent.span.digits());
    value.extend_from_slice(match sent.decision {
        Decision::Not => b"-0",
        Decision::Sampled => b"-1",
        Decision::Debug => b"-d",
    });
    if let Some(parent) = sent.parent {
        value.push(b'-');
        value.extend_from_slice(&parent.digits());
    }
    edits.set(SINGLE, &value);
}

pub(crate) fn write_multiple(sent: &Sent, edits: &mut HeadEdits) {
    with_trace(sent.trace, |digits| edits.set(TRACE_ID, digits));
    edits.set(SPAN_ID, &sent.span.digits());
    match sent.parent {
        Some(parent) => edits.set(PARENT_SPAN_ID, &parent.digits()),
        None => edits.remove(PARENT_SPAN_ID),
    }
    // Debug means sampled, and is not said twice.
    let (name, other, value) = match sent.decision {
        Decision::Not => (SAMPLED, FLAGS, b"0"),
        Decision::Sampled => (SAMPLED, FLAGS, b"1"),
        Decision::Debug => (FLAGS, SAMPLED, b"1"),
    };
    edits.set(name, value);
    edits.remove(other);
}

/// A trace that began with 64 bits goes on with them: who said so may know no more.
fn with_trace(trace: TraceId, mut write: impl FnMut(&[u8])) {
    if trace.is_short() { write(&trace.low_digits()) } else { write(&trace.digits()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_http1::Limits;

    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let builder = RequestHead::builder().authority("a");
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.field(name, value.as_bytes()));
        builder.build(&Limits::STRICT).expect("a head")
    }

    #[test]
    fn every_form_of_the_one_field_is_read() {
        for (value, trace, decision) in [
            ("0".to_owned(), false, Some(Decision::Not)),
            ("1".to_owned(), false, Some(Decision::Sampled)),
            ("d".to_owned(), false, Some(Decision::Debug)),
            (format!("{TRACE}-{SPAN}"), true, None),
            (format!("{}-{SPAN}", &TRACE[16..]), true, None),
            (format!("{TRACE}-{SPAN}-0"), true, Some(Decision::Not)),
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), true, Some(Decision::Sampled)),
            (format!("{TRACE}-{SPAN}-d"), true, Some(Decision::Debug)),
        ] {
            let said = single(&head(&[("b3", &value)])).unwrap_or_else(|| panic!("{value}"));

            assert_eq!((said.trace.is_some(), said.decision), (trace, decision), "{value}");
        }
        for wrong in [
            String::new(),
            "2".to_owned(),
            TRACE.to_owned(),
            format!("{TRACE}-"),
            format!("{TRACE}-{SPAN}-"),
            format!("{TRACE}-{SPAN}-2"),
            format!("{TRACE}-{SPAN}-1-"),
            format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90-"),
            format!("{TRACE}-0000000000000000-1"),
            format!("{}-{SPAN}-1", TRACE.to_uppercase()),
        ] {
            assert_eq!(single(&head(&[("b3", &wrong)])), None, "{wrong}");
        }
        assert_eq!(single(&head(&[("b3", "0"), ("b3", "1")])), None, "twice");
    }

    #[test]
    fn several_fields_say_the_same() {
        let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        let with = |more: &[(&str, &str)]| multiple(&head(&[&ids, more].concat()));

        assert_eq!(with(&[]).unwrap().decision, None);
        assert_eq!(with(&[("x-b3-sampled", "0")]).unwrap().decision, Some(Decision::Not));
        assert_eq!(with(&[("x-b3-sampled", "true")]).unwrap().decision, Some(Decision::Sampled));
        assert_eq!(with(&[("x-b3-flags", "1")]).unwrap().decision, Some(Decision::Debug));
        assert_eq!(with(&[("x-b3-flags", "0"), ("x-b3-sampled", "0")]).unwrap().decision, Some(Decision::Not));
        assert_eq!(multiple(&head(&[("x-b3-sampled", "0")])).unwrap().trace, None);

        assert_eq!(with(&[("x-b3-sampled", "maybe")]), None);
        assert_eq!(multiple(&head(&ids[..1])), None, "a trace without its span");
        assert_eq!(multiple(&head(&[ids[0], ids[0], ids[1]])), None, "twice");
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_as_it_was_meant(high: u64, low in 1_u64.., span: u64, parent: Option<u64>, said in 0..3) {
            let decision = [Decision::Not, Decision::Sampled, Decision::Debug][said as usize];
            let (trace, span) = (TraceId::drawn(high, low), SpanId::drawn(span));
            let sent = Sent { trace, span, parent: parent.map(SpanId::drawn), decision };
            let (mut one, mut four) = (HeadEdits::new(), HeadEdits::new());
            let none = head(&[]);

            write_single(&sent, &mut one);
            write_multiple(&sent, &mut four);

            let meant = B3 { trace: Some((trace, span)), decision: Some(decision) };
            let fields: Vec<_> = none.edited(&one).iter().chain(none.edited(&four).iter()).collect();
            let fields = fields.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap()));
            let head = head(&fields.collect::<Vec<_>>());
            prop_assert_eq!(single(&head), Some(meant));
            prop_assert_eq!(multiple(&head), Some(meant));
        }
    }
}
