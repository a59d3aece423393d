//! What a head says of its trace, in any of four formats.

use tidegate_http1::{Limits, RequestHead};
use tidegate_proxy::fuzzing::{self, TraceContext};

use super::head::is_traceparent;

/// Each line is a field. The trace that is believed is that of the first format which is there and sound; an id is never all zeros.
pub(crate) fn trace_context(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let fields: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let builder = RequestHead::builder().authority("a");
    let builder = fields.iter().fold(builder, |builder, (name, value)| builder.field(name, value.as_bytes()));
    let Ok(head) = builder.build(&Limits::default()) else { return };

    let said = fuzzing::trace_of(&head);
    arrives(&head, &said);

    let only = |name: &str| {
        let mut values = head.field_all(name);
        values.next().filter(|_| values.next().is_none()).and_then(|value| std::str::from_utf8(value).ok())
    };
    if let Some((trace, span)) = &said.ids {
        let is_id = |text: &str, length| text.len() == length && text.bytes().any(|digit| digit != b'0');
        assert!(is_id(trace, 32) && is_id(span, 16), "{said:?}");
    }
    let sound = only("traceparent").filter(|value| is_traceparent(value));
    assert_eq!(said.keeps_state, sound.is_some(), "{fields:?}");
    if let Some(value) = sound {
        let ids = Some((value[3..35].to_owned(), value[36..52].to_owned()));
        let flags = u8::from_str_radix(&value[53..55], 16).expect("two digits");
        assert_eq!((said.ids, said.sampled), (ids, Some(flags & 1 == 1)), "{fields:?}");
        return;
    }
    if head.field("sw8").is_some() {
        return;
    }
    if let Some(Some((ids, sampled))) = only("b3").map(b3) {
        assert_eq!((said.ids, said.sampled), (ids, sampled), "{fields:?}");
    } else if !["x-b3-traceid", "x-b3-sampled", "x-b3-flags"].iter().any(|name| head.field(name).is_some()) {
        assert_eq!((said.ids, said.sampled), (None, None), "{fields:?}");
    }
}

/// `sw8` is not read when it is longer.
const SW8_BYTES_MAX: usize = 2048;

/// What is believed is what the next one believes, whichever of the formats comes to it, or all of them.
fn arrives(head: &RequestHead, said: &TraceContext) {
    let sent = fuzzing::passed_on(head);
    assert_eq!(sent.is_some(), said.ids.is_some(), "{said:?}");
    let Some(sent) = sent else { return };
    let all = sent.concat();
    for fields in sent.iter().chain([&all]) {
        if fields.iter().any(|(name, value)| name == "sw8" && value.len() > SW8_BYTES_MAX) {
            continue;
        }
        let builder = RequestHead::builder().authority("a");
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.field(name, value));
        let next = builder.build(&Limits::default()).expect("what is sent is a head");
        let heard = fuzzing::trace_of(&next);
        assert_eq!((&heard.ids, heard.sampled), (&said.ids, Some(said.sampled.unwrap_or(false))), "{fields:?}");
    }
}

type Said = (Option<(String, String)>, Option<bool>);

/// The rule of the one field once more, by its grammar.
fn b3(value: &str) -> Option<Said> {
    let decided = |text: &str| match text {
        "0" => Some(false),
        "1" | "d" => Some(true),
        _ => None,
    };
    if let Some(decision) = decided(value) {
        return Some((None, Some(decision)));
    }
    let is_id = |text: &str| {
        text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)) && text.chars().any(|c| c != '0')
    };
    let parts: Vec<&str> = value.split('-').collect();
    let (ids, more) = parts.split_at_checked(2)?;
    let [trace, span] = ids else { return None };
    let sound = [16, 32].contains(&trace.len()) && span.len() == 16 && is_id(trace) && is_id(span);
    let sampled = match more {
        [] => None,
        [decision] => Some(decided(decision)?),
        [decision, parent] if parent.len() == 16 && is_id(parent) => Some(decided(decision)?),
        _ => return None,
    };
    sound.then(|| (Some((format!("{trace:0>32}"), (*span).to_owned())), sampled))
}
