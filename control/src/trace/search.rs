//! Finds traces. A look at every span of every trace is fast enough within the store's bound, and an index by tag would be larger
//! than what it indexes.

use std::cmp::Reverse;
use std::sync::Arc;

use super::model::{Span, Status};
use super::store::{Store, Trace};

/// What is searched for. One span of a trace has to meet all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// The service's name.
    pub service: Option<String>,
    /// The operation's name.
    pub operation: Option<String>,
    /// Tags of the span, its process or its events.
    pub tags: Vec<Wanted>,
    /// The span began then or later.
    pub start_min_ns: Option<u64>,
    /// The span began then or earlier.
    pub start_max_ns: Option<u64>,
    /// The span took as long or longer.
    pub duration_min_ns: Option<u64>,
    /// The span took as long or less.
    pub duration_max_ns: Option<u64>,
    /// The span failed.
    pub failed: bool,
}

/// A tag that is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its key, or the name of an event.
    pub key: String,
    /// Its value; any, where there is none.
    pub value: Option<String>,
}

/// The traces that were found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Those that began last, first; as many as were asked for.
    pub traces: Vec<Arc<Trace>>,
    /// How many there are.
    pub total: usize,
}

impl Search {
    /// The traces that meet it, at most `limit`.
    pub fn run(&self, store: &Store, limit: usize) -> Found {
        let mut traces: Vec<Arc<Trace>> = store.traces().into_iter().filter(|trace| self.meets(trace)).collect();
        let total = traces.len();
        traces.sort_by_key(|trace| Reverse(trace.start_ns));
        traces.truncate(limit);
        Found { traces, total }
    }

    fn meets(&self, trace: &Trace) -> bool {
        let in_time = self.start_min_ns.is_none_or(|min| trace.end_ns >= min)
            && self.start_max_ns.is_none_or(|max| trace.start_ns <= max);
        let has_service = |service: &str| trace.processes().iter().any(|process| *process.service == *service);
        in_time && self.service.as_deref().is_none_or(has_service) && trace.spans().any(|span| self.is_met_by(span))
    }

    fn is_met_by(&self, span: &Span) -> bool {
        self.service.as_deref().is_none_or(|service| *span.process.service == *service)
            && self.operation.as_deref().is_none_or(|operation| *span.name == *operation)
            && self.start_min_ns.is_none_or(|min| span.start_ns >= min)
            && self.start_max_ns.is_none_or(|max| span.start_ns <= max)
            && self.duration_min_ns.is_none_or(|min| span.duration_ns >= min)
            && self.duration_max_ns.is_none_or(|max| span.duration_ns <= max)
            && (!self.failed || span.failed())
            && self.tags.iter().all(|wanted| wanted.is_met_by(span))
    }
}

impl Wanted {
    fn is_met_by(&self, span: &Span) -> bool {
        let is_value = |text: &str| self.value.as_deref().is_none_or(|value| value == text);
        let derived = match self.key.as_str() {
            "error" => span.failed() && is_value("true"),
            "span.kind" => !span.kind.as_str().is_empty() && is_value(span.kind.as_str()),
            "otel.status_code" => match span.status {
                Status::Unset => false,
                Status::Ok => is_value("OK"),
                Status::Error(_) => is_value("ERROR"),
            },
            _ => false,
        };
        let in_events = span.events.iter().flat_map(|event| &event.tags);
        let mut tags = span.tags.iter().chain(&span.process.tags).chain(in_events);
        derived
            || tags
                .any(|(key, value)| **key == *self.key && self.value.as_deref().is_none_or(|wanted| value.is(wanted)))
            || (self.value.is_none() && span.events.iter().any(|event| *event.name == *self.key))
    }
}

#[cfg(test)]
mod tests;
