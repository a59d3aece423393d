//! Which service calls which, as far as traces tell.

use std::collections::BTreeMap;

use super::model::{Span, SpanId};
use super::store::Store;

/// Links of an answer: services squared would be many.
pub const LINKS_MAX: usize = 10_000;

/// Calls from one service to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who calls.
    pub parent: String,
    /// Who is called.
    pub child: String,
    /// How often.
    pub calls: u64,
    /// How often the called side failed.
    pub errors: u64,
}

/// The calls of all traces that began in this time.
pub fn dependencies(store: &Store, start_min_ns: u64, start_max_ns: u64) -> Vec<Link> {
    let traces = store.traces();
    let mut links: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    let mut by_id = Vec::new();
    for trace in traces.iter().filter(|trace| (start_min_ns..=start_max_ns).contains(&trace.start_ns)) {
        by_id.clear();
        by_id.extend(trace.spans().map(|span| (span.id, &**span)));
        by_id.sort_unstable_by_key(|(id, _)| *id);
        count(&by_id, &mut links);
    }
    let link = |((parent, child), (calls, errors)): ((&str, &str), _)| Link {
        parent: parent.to_owned(),
        child: child.to_owned(),
        calls,
        errors,
    };
    links.into_iter().take(LINKS_MAX).map(link).collect()
}

/// A span whose parent is of another service is a call.
fn count<'a>(by_id: &[(SpanId, &'a Span)], links: &mut BTreeMap<(&'a str, &'a str), (u64, u64)>) {
    for (_, span) in by_id {
        let Some(parent) = span.parent else { continue };
        let Ok(at) = by_id.binary_search_by_key(&parent, |(id, _)| *id) else { continue };
        let Some((_, parent)) = by_id.get(at) else { continue };
        if parent.process.service == span.process.service {
            continue;
        }
        let (calls, errors) = links.entry((&parent.process.service, &span.process.service)).or_default();
        *calls += 1;
        *errors += u64::from(span.failed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixture::span;

    #[test]
    fn a_call_is_a_span_whose_parent_is_of_another_service() {
        let store = Store::default();
        store.insert([span(1, 1, 0, "web"), span(1, 2, 1, "web"), span(1, 3, 2, "reviews"), span(1, 4, 9, "ratings")]);

        let links = dependencies(&store, 0, u64::MAX);

        let expected = Link { parent: "web".into(), child: "reviews".into(), calls: 1, errors: 0 };
        assert_eq!(links, [expected]);
    }
}
