//! Zipkin's v2 JSON.
//!
//! `localEndpoint.serviceName` is the service, the rest of both endpoints become attributes, annotations become events, times are
//! microseconds. B3 lets both sides of a call share one span id: the side that says `shared` gets an id of its own here, below that of
//! its caller, as Jaeger does it too.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Sink;
use super::json::{Capped, Entries, Scalar};
use super::model::{
    EVENTS_MAX, Event, Kind, Process, Span, SpanId, Status, TAGS_MAX, TagsBuilder, TraceId, Value, bounded,
};
use super::otlp::UNKNOWN_SERVICE;

/// A span's ids are not ids.
const BAD_IDS: &str = "a span has no traceId of up to 32 or no id of up to 16 hexadecimal digits";
/// Nanoseconds of a microsecond.
const US: u64 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanText<'a> {
    #[serde(borrow, default)]
    trace_id: Scalar<'a>,
    #[serde(borrow, default)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    parent_id: Scalar<'a>,
    #[serde(borrow, default)]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    timestamp: Scalar<'a>,
    #[serde(borrow, default)]
    duration: Scalar<'a>,
    #[serde(borrow, default)]
    local_endpoint: Option<Endpoint<'a>>,
    #[serde(borrow, default)]
    remote_endpoint: Option<Endpoint<'a>>,
    #[serde(borrow, default)]
    annotations: Capped<Annotation<'a>, EVENTS_MAX>,
    #[serde(borrow, default)]
    tags: Entries<'a, TAGS_MAX>,
    #[serde(default)]
    shared: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow, default)]
    service_name: Scalar<'a>,
    #[serde(borrow, default)]
    ipv4: Scalar<'a>,
    #[serde(borrow, default)]
    ipv6: Scalar<'a>,
    #[serde(borrow, default)]
    port: Scalar<'a>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(borrow, default)]
    timestamp: Scalar<'a>,
    #[serde(borrow, default)]
    value: Scalar<'a>,
}

/// Decodes a list of spans, span by span. What came before an error has been handed out.
pub fn decode(list: &[u8], sink: &mut dyn Sink) -> Result<(), serde_json::Error> {
    let spans: Vec<&RawValue> = serde_json::from_slice(list)?;
    for span in spans {
        match serde_json::from_str::<SpanText<'_>>(span.get())?.into_span() {
            Some(span) => sink.span(span),
            None => sink.reject(BAD_IDS),
        }
    }
    Ok(())
}

impl SpanText<'_> {
    fn into_span(self) -> Option<Span> {
        let trace = TraceId::parse(&self.trace_id.0)?;
        let id = SpanId::parse(&self.id.0)?;
        let parent = SpanId::parse(&self.parent_id.0);
        let kind = match &*self.kind.0 {
            "CLIENT" => Kind::Client,
            "SERVER" => Kind::Server,
            "PRODUCER" => Kind::Producer,
            "CONSUMER" => Kind::Consumer,
            _ => Kind::Unspecified,
        };
        let (id, parent) =
            if self.shared == Some(true) && kind == Kind::Server { (shared_id(id), Some(id)) } else { (id, parent) };
        let mut lost = self.annotations.dropped + self.tags.dropped;
        let mut tags = TagsBuilder::default();
        for (key, value) in &self.tags.kept {
            tags.text(key, &value.0);
        }
        if let Some(remote) = &self.remote_endpoint {
            remote.describe(["peer.service", "network.peer.address", "network.peer.port"], &mut tags);
        }
        let event = |annotation: &Annotation<'_>| Event {
            at_ns: annotation.timestamp.unsigned().unwrap_or(0).saturating_mul(US),
            name: bounded(&annotation.value.0, &mut lost),
            tags: Box::default(),
        };
        let events = self.annotations.kept.iter().map(event).collect();
        let status = match tags.find("error") {
            Some(Value::Text(why)) if **why == *"true" => Status::Error("".into()),
            Some(Value::Text(why)) if **why != *"false" => Status::Error(why.clone()),
            Some(_) | None => Status::Unset,
        };
        let name = bounded(&self.name.0, &mut lost);
        lost += tags.lost;
        Some(Span {
            trace,
            id,
            parent,
            links: Box::default(),
            kind,
            name,
            process: Arc::new(self.local_endpoint.unwrap_or_default().to_process()),
            start_ns: self.timestamp.unsigned().unwrap_or(0).saturating_mul(US),
            duration_ns: self.duration.unsigned().unwrap_or(0).saturating_mul(US),
            tags: tags.build(),
            events,
            status,
            lost,
        })
    }
}

/// The id of the called side of a shared span.
fn shared_id(id: SpanId) -> SpanId {
    SpanId::of_segment(&format!("{id}.shared"), 0)
}

impl Endpoint<'_> {
    fn to_process(&self) -> Process {
        let mut tags = TagsBuilder::default();
        self.describe(["", "ip", "port"], &mut tags);
        let name = if self.service_name.0.is_empty() { UNKNOWN_SERVICE } else { &self.service_name.0 };
        Process { service: bounded(name, &mut tags.lost), tags: tags.build() }
    }

    /// Under these names: service, address, port.
    fn describe(&self, [service, address, port]: [&str; 3], tags: &mut TagsBuilder) {
        let ip = if self.ipv4.0.is_empty() { &self.ipv6 } else { &self.ipv4 };
        for (key, text) in [(service, &self.service_name), (address, ip)] {
            if !key.is_empty() && !text.0.is_empty() && tags.find(key).is_none() {
                tags.text(key, &text.0);
            }
        }
        if let Some(number) = self.port.0.parse::<u16>().ok().filter(|_| tags.find(port).is_none()) {
            tags.push(port, Value::Int(i64::from(number)));
        }
    }
}

#[cfg(test)]
mod tests;
