//! One trace for each configuration change: from the files to the answer of each proxy.
//!
//! # Why
//! "Who was slow to take my change?" is the question that traces answer, and the control plane has the store and the user interfaces
//! already. The spans are made of what the change log learns anyway.
//!
//! # When spans appear
//! `read and compile` when the change is published or refused, `push` when a proxy has answered, the whole (`configuration change`)
//! when nobody is left to answer. A proxy that had nothing to apply has no span, as it has no time in the change log.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use super::model::{Kind, Process, Span, SpanId, Status, TagsBuilder, TraceId, Value};
use crate::changes::{Answered, Change, Entry, Outcome};
use crate::clock::Timestamp;
use crate::fleet::Introduction;

/// Proxies of a change that have a span; further ones are counted in the span of the whole. More than a page can show.
pub const PROXIES_MAX: usize = 64;

static PROCESS: LazyLock<Arc<Process>> =
    LazyLock::new(|| Arc::new(Process { service: "tidegate".into(), tags: Box::default() }));

/// A change was published, or refused.
pub fn entered(entry: &Entry, now: Timestamp) -> Span {
    let mut span = span(trace(entry.generation, entry.at), "compile", "read and compile", [entry.at, now]);
    let tags = described(entry.generation, &entry.what, &entry.files);
    span.lost = tags.lost;
    span.tags = tags.build();
    span.status = status(entry.result == Outcome::Rejected, "the files have errors");
    span
}

/// A proxy has answered.
pub fn pushed(change: &Answered, session: u64, proxy: &Introduction, [sent, now]: [Timestamp; 2]) -> Span {
    let name = format!("push {session}");
    let mut span = span(trace(change.generation, change.at), &name, "push", [sent, now]);
    span.kind = Kind::Client;
    let mut tags = TagsBuilder::default();
    tags.push("generation", Value::Int(change.generation.cast_signed()));
    tags.text("node", &proxy.node);
    tags.text("proxy.kind", proxy.kind.as_str());
    if let Some(workload) = &proxy.workload {
        tags.text("proxy.workload", workload);
    }
    span.tags = tags.build();
    span.status = status(change.refused, "the proxy refused some of it");
    span
}

/// Nobody is left to answer.
pub fn complete(change: &Change, now: Timestamp) -> Span {
    let last = change.last_ack_ms.map(|ms| Timestamp::from_unix_ms(change.at.unix_ms().saturating_add(ms)));
    // What ends with a proxy that went away, or refused, ends now.
    let end = if change.nacked + change.left > 0 { now } else { last.unwrap_or(now) };
    let mut span = span(trace(change.generation, change.at), ROOT, "configuration change", [change.at, end]);
    span.parent = None;
    let mut tags = described(change.generation, &change.what, &change.files);
    let counts =
        [("proxies", change.proxies), ("acked", change.acked), ("nacked", change.nacked), ("left", change.left)];
    for (key, count) in counts {
        tags.push(key, Value::Int(i64::try_from(count).unwrap_or(i64::MAX)));
    }
    span.tags = tags.build();
    span.status = status(change.nacked > 0 || change.result == Outcome::Rejected, "not everybody applied it");
    span
}

/// What the span of the whole is named by.
const ROOT: &str = "change";

/// A generation may come twice, where the state was lost; with its time it does not.
fn trace(generation: u64, at: Timestamp) -> TraceId {
    TraceId::of_text(&format!("tidegate change {generation} of {}", at.unix_ms()))
}

fn described(generation: u64, what: &[String], files: &[Arc<str>]) -> TagsBuilder {
    let mut tags = TagsBuilder::default();
    tags.push("generation", Value::Int(generation.cast_signed()));
    tags.text("what", &what.join("; "));
    tags.text("files", &files.join(", "));
    tags
}

fn status(failed: bool, why: &str) -> Status {
    if failed { Status::Error(why.into()) } else { Status::Unset }
}

fn span(trace: TraceId, id: &str, name: &str, [start, end]: [Timestamp; 2]) -> Span {
    Span {
        trace,
        id: SpanId::of_bytes(id.as_bytes()),
        parent: Some(SpanId::of_bytes(ROOT.as_bytes())),
        links: Box::default(),
        kind: Kind::Internal,
        name: name.into(),
        process: PROCESS.clone(),
        start_ns: unix_ns(start),
        duration_ns: u64::try_from(end.since(start).as_nanos()).unwrap_or(u64::MAX),
        tags: Box::default(),
        events: Box::default(),
        status: Status::Unset,
        lost: 0,
    }
}

fn unix_ns(at: Timestamp) -> u64 {
    let since = at.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
