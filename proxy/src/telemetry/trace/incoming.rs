//! What a request says of its trace, whichever way it says it.
//!
//! # Who is believed
//! The first of W3C, SkyWalking, B3 in one field and B3 in several that is present and sound. An application between two
//! proxies may pass on fewer fields than it was given, so every one of them leads to the same trace; the order matters only
//! where two tracers speak at once.

use tidegate_http1::{Names, RequestHead};

use super::b3::{self, B3, Decision};
use super::ids::{SpanId, TraceId};
use super::{sw8, w3c};

/// Every field that is looked for.
const FIELDS: Names =
    Names::of(&[w3c::TRACEPARENT, w3c::TRACESTATE, sw8::SW8, b3::SINGLE, b3::TRACE_ID, b3::SAMPLED, b3::FLAGS]);

/// What a request says of its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// The trace, and the span that sent the request.
    pub(crate) trace: Option<(TraceId, SpanId)>,
    /// Whether it is recorded, where somebody has decided.
    pub(crate) decision: Option<Decision>,
    /// As in [`w3c::Traceparent`].
    pub(crate) random: bool,
    /// The fields that are there, sound or not: whoever sent them reads no others.
    pub(crate) carried: Carried,
    /// The trace is that of `traceparent`, so that `tracestate` belongs to it.
    pub(crate) keeps_state: bool,
    /// For whoever receives segments. Not only where `sw8` was believed: its parent is one that SkyWalking knows.
    pub(crate) sw8: Option<Box<sw8::Caller>>,
}

/// Fields of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) traceparent: bool,
    pub(crate) tracestate: bool,
    pub(crate) sw8: bool,
    pub(crate) b3: bool,
    pub(crate) b3_multiple: bool,
}

impl Incoming {
    pub(crate) fn of(head: &RequestHead) -> Self {
        // Most requests come from applications that know nothing of traces.
        if head.lacks(FIELDS) {
            return Self::default();
        }
        let carried = Carried {
            traceparent: head.field(w3c::TRACEPARENT).is_some(),
            tracestate: head.field(w3c::TRACESTATE).is_some(),
            sw8: head.field(sw8::SW8).is_some(),
            b3: head.field(b3::SINGLE).is_some(),
            b3_multiple: b3::is_multiple(head),
        };
        let sw8 = if carried.sw8 { sw8::of(head) } else { None };
        let said = if carried.traceparent { w3c::of(head) } else { None };
        if let Some(said) = said {
            let decision = if said.sampled { Decision::Sampled } else { Decision::Not };
            return Self {
                trace: Some((said.trace, said.parent)),
                decision: Some(decision),
                random: said.random,
                carried,
                keeps_state: true,
                sw8: sw8.map(|(caller, _)| Box::new(caller)),
            };
        }
        if let Some((caller, sampled)) = sw8 {
            let decision = if sampled { Decision::Sampled } else { Decision::Not };
            let (trace, sw8) = (Some(caller.ids()), Some(Box::new(caller)));
            return Self { trace, decision: Some(decision), carried, sw8, ..Self::default() };
        }
        let one = if carried.b3 { b3::single(head) } else { None };
        let b3 = one.or_else(|| if carried.b3_multiple { b3::multiple(head) } else { None });
        let B3 { trace, decision } = b3.unwrap_or_default();
        Self { trace, decision, carried, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_http1::Limits;

    use super::super::ids::text;
    use super::*;

    const W3C: (&str, &str) = ("traceparent", "00-11111111111111111111111111111111-1111111111111111-01");
    const SEGMENT: (&str, &str) = ("sw8", "0-VA==-Uw==-0-YQ==-YQ==-YQ==-YQ==");
    const ONE: (&str, &str) = ("b3", "33333333333333333333333333333333-3333333333333333-d");
    const FOUR: [(&str, &str); 2] =
        [("x-b3-traceid", "44444444444444444444444444444444"), ("x-b3-spanid", "4444444444444444")];

    fn of(fields: &[(&str, &str)]) -> Incoming {
        let builder = RequestHead::builder().authority("a");
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.field(name, value.as_bytes()));
        Incoming::of(&builder.build(&Limits::STRICT).expect("a head"))
    }

    /// The first digit of the trace, and what was decided.
    fn believed(fields: &[(&str, &str)]) -> (Option<char>, Option<Decision>) {
        let said = of(fields);
        (said.trace.and_then(|(trace, _)| text(&trace.digits()).chars().next()), said.decision)
    }

    #[test]
    fn the_first_that_is_sound_is_believed() {
        let all = [FOUR[0], FOUR[1], ONE, SEGMENT, W3C];
        let digest = believed(&[SEGMENT]).0;

        assert_eq!(believed(&all), (Some('1'), Some(Decision::Sampled)));
        assert_eq!(believed(&all[..4]), (digest, Some(Decision::Not)));
        assert_eq!(believed(&all[..3]), (Some('3'), Some(Decision::Debug)));
        assert_eq!(believed(&all[..2]), (Some('4'), None));
        let broken = [("traceparent", "00-1-1-01"), ("sw8", "1-"), ("b3", "x"), FOUR[0], FOUR[1]];
        assert_eq!(believed(&broken), (Some('4'), None));
        assert_eq!(believed(&broken[..3]), (None, None), "a new trace");
    }

    #[test]
    fn a_segment_is_kept_beside_another_trace() {
        let said = of(&[W3C, SEGMENT]);

        assert_eq!(said.sw8.map(|caller| caller.trace), Some("T".into()));
        assert!(said.keeps_state);
    }

    #[test]
    fn a_state_without_its_trace_is_nobodys() {
        assert!(!of(&[("tracestate", "a=b"), ONE]).keeps_state);
        assert!(!of(&[("tracestate", "a=b"), ("traceparent", "00")]).keeps_state);
    }

    proptest! {
        #[test]
        fn no_value_is_too_strange(values in proptest::collection::vec((0..6_usize, "[ -~]{0,80}"), 0..5)) {
            let names = ["traceparent", "tracestate", "sw8", "b3", "x-b3-traceid", "x-b3-sampled"];
            let fields: Vec<_> = values.iter().map(|(name, value)| (names[*name], value.trim())).collect();

            let said = of(&fields);

            prop_assert!(!said.keeps_state || said.carried.traceparent);
        }
    }
}
