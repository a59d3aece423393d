//! Which service calls which, as far as traces tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::model::{Span, SpanId};
use super::store::{Store, Trace};

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
    let mut links: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for trace in store.traces() {
        if (start_min_ns..=start_max_ns).contains(&trace.start_ns) {
            count(&trace, &mut links);
        }
    }
    let link = |((parent, child), (calls, errors))| Link { parent, child, calls, errors };
    links.into_iter().take(LINKS_MAX).map(link).collect()
}

/// A span whose parent is of another service is a call.
fn count(trace: &Trace, links: &mut BTreeMap<(String, String), (u64, u64)>) {
    let by_id: HashMap<SpanId, &Arc<Span>> = trace.spans().map(|span| (span.id, span)).collect();
    for span in trace.spans() {
        let Some(parent) = span.parent.and_then(|parent| by_id.get(&parent)) else { continue };
        if parent.process.service == span.process.service {
            continue;
        }
        let pair = (parent.process.service.to_string(), span.process.service.to_string());
        let (calls, errors) = links.entry(pair).or_default();
        *calls += 1;
        *errors += u64::from(span.failed());
    }
}
