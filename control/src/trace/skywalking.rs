//! SkyWalking's segments: `skywalking.v3.SegmentObject`.
//!
//! # Ids
//! A segment's ids are texts, and spans are numbered within it. The trace's id is [`TraceId::of_text`]. A span's id is made of its
//! segment's id and its number ([`SpanId::of_segment`]), so that a reference from another segment, which names both, finds it: the span's parent is
//! `parentSpanId` of its own segment, or for its first span `parentTraceSegmentId` and `parentSpanId` of the first reference. Further
//! references, and those to other traces, become links.

use std::sync::Arc;

use super::Sink;
use super::model::{
    EVENTS_MAX, Event, Kind, LINKS_MAX, Process, Span, SpanId, Status, TagsBuilder, TraceId, Value, bounded,
};
use super::otlp::UNKNOWN_SERVICE;
use super::wire::{Field, WireError, fields};

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// A segment without ids belongs nowhere.
const BAD_IDS: &str = "a segment has no traceId or no traceSegmentId";

/// What the spans of a segment share.
#[derive(Default)]
struct Segment<'a> {
    trace: &'a str,
    id: &'a str,
    service: &'a str,
    instance: &'a str,
}

/// Decodes a segment, span by span. What came before an error has been handed out.
pub fn decode_segment(message: &[u8], sink: &mut dyn Sink) -> Result<(), WireError> {
    let mut segment = Segment::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => segment.trace = field.text()?,
            2 => segment.id = field.text()?,
            4 => segment.service = field.text()?,
            5 => segment.instance = field.text()?,
            _ => {}
        }
    }
    if segment.trace.is_empty() || segment.id.is_empty() {
        sink.reject(BAD_IDS);
        return Ok(());
    }
    let trace = TraceId::of_text(segment.trace);
    let mut tags = TagsBuilder::default();
    if !segment.instance.is_empty() {
        tags.text("service.instance.id", segment.instance);
    }
    let service = if segment.service.is_empty() { UNKNOWN_SERVICE } else { segment.service };
    let process = Arc::new(Process { service: bounded(service, &mut tags.lost), tags: tags.build() });
    for field in fields(message) {
        let field = field?;
        if field.number == 3 {
            sink.span(span(field.bytes()?, trace, &segment, &process)?);
        }
    }
    Ok(())
}

/// Decodes a collection of segments (`collectInSync`).
pub fn decode_collection(message: &[u8], sink: &mut dyn Sink) -> Result<(), WireError> {
    for field in fields(message) {
        let field = field?;
        if field.number == 1 {
            decode_segment(field.bytes()?, sink)?;
        }
    }
    Ok(())
}

/// `SpanObject`, as far as it is of use.
struct Parts<'a> {
    number: i32,
    parent: i32,
    start_ms: u64,
    end_ms: u64,
    references: Vec<(TraceId, SpanId)>,
    name: &'a str,
    peer: &'a str,
    /// Entry, exit, local.
    role: u64,
    layer: u64,
    component: u64,
    failed: bool,
    tags: TagsBuilder,
    events: Vec<Event>,
    lost: u32,
}

fn span(message: &[u8], trace: TraceId, segment: &Segment<'_>, process: &Arc<Process>) -> Result<Span, WireError> {
    let mut parts = read(message)?;
    let number = parts.number;
    let in_segment = (parts.parent >= 0).then(|| SpanId::of_segment(segment.id, parts.parent));
    let first = parts.references.iter().position(|(of, _)| *of == trace).filter(|_| in_segment.is_none());
    let parent = in_segment.or_else(|| first.map(|at| parts.references.remove(at).1));
    let kind = match (parts.role, parts.layer) {
        (0, MESSAGES) => Kind::Consumer,
        (0, _) => Kind::Server,
        (1, MESSAGES) => Kind::Producer,
        (1, _) => Kind::Client,
        _ => Kind::Internal,
    };
    let tags = &mut parts.tags;
    tags.text("sw8.trace_id", segment.trace);
    tags.text("sw8.segment_id", segment.id);
    tags.push("sw8.span_id", Value::Int(i64::from(number)));
    add_peer(parts.peer, tags);
    if let Some(layer) =
        usize::try_from(parts.layer).ok().and_then(|layer| LAYERS.get(layer)).filter(|_| parts.layer > 0)
    {
        tags.text("sw8.layer", layer);
    }
    if let Some(component) = i64::try_from(parts.component).ok().filter(|component| *component > 0) {
        tags.push("sw8.component", Value::Int(component));
    }
    let name = bounded(parts.name, &mut parts.lost);
    Ok(Span {
        trace,
        id: SpanId::of_segment(segment.id, number),
        parent,
        links: parts.references.into(),
        kind,
        name,
        process: process.clone(),
        start_ns: parts.start_ms.saturating_mul(MS),
        duration_ns: parts.end_ms.saturating_sub(parts.start_ms).saturating_mul(MS),
        lost: parts.lost + parts.tags.lost,
        tags: parts.tags.build(),
        events: parts.events.into(),
        status: if parts.failed { Status::Error("".into()) } else { Status::Unset },
    })
}

/// `HOST:PORT`, or whatever an agent names a peer by.
fn add_peer(peer: &str, tags: &mut TagsBuilder) {
    let with_port = peer.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match with_port {
        // Of an address of version 6 without brackets nobody knows whether its end is a port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            tags.text("network.peer.address", host.trim_matches(['[', ']']));
            tags.push("network.peer.port", Value::Int(i64::from(port)));
        }
        Some(_) | None if peer.is_empty() => {}
        Some(_) | None => tags.text("network.peer.address", peer),
    }
}

/// The layer of message queues.
const MESSAGES: u64 = 4;
/// `SpanLayer`
const LAYERS: [&str; 7] = ["Unknown", "Database", "RPCFramework", "Http", "MQ", "Cache", "FAAS"];

fn read(message: &[u8]) -> Result<Parts<'_>, WireError> {
    let mut parts = Parts {
        number: 0,
        parent: 0,
        start_ms: 0,
        end_ms: 0,
        references: Vec::new(),
        name: "",
        peer: "",
        role: 0,
        layer: 0,
        component: 0,
        failed: false,
        tags: TagsBuilder::default(),
        events: Vec::new(),
        lost: 0,
    };
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => parts.number = int32(field)?,
            2 => parts.parent = int32(field)?,
            3 => parts.start_ms = time(field)?,
            4 => parts.end_ms = time(field)?,
            5 if parts.references.len() < LINKS_MAX => parts.references.push(reference(field.bytes()?)?),
            6 => parts.name = field.text()?,
            7 => parts.peer = field.text()?,
            8 => parts.role = field.number()?,
            9 => parts.layer = field.number()?,
            10 => parts.component = field.number()?,
            11 => parts.failed = field.number()? != 0,
            12 => {
                let (key, value) = pair(field.bytes()?)?;
                parts.tags.text(key, value);
            }
            13 if parts.events.len() < EVENTS_MAX => parts.events.push(log(field.bytes()?, &mut parts.lost)?),
            5 | 13 => parts.lost += 1,
            _ => {}
        }
    }
    Ok(parts)
}

/// Negative numbers are ten bytes long in protobuf; the lower half is the number.
fn int32(field: Field<'_>) -> Result<i32, WireError> {
    Ok((field.number()? as u32).cast_signed())
}

fn time(field: Field<'_>) -> Result<u64, WireError> {
    Ok(u64::try_from(field.signed()?).unwrap_or(0))
}

fn reference(message: &[u8]) -> Result<(TraceId, SpanId), WireError> {
    let (mut trace, mut segment, mut number) = ("", "", 0);
    for field in fields(message) {
        let field = field?;
        match field.number {
            2 => trace = field.text()?,
            3 => segment = field.text()?,
            4 => number = int32(field)?,
            _ => {}
        }
    }
    Ok((TraceId::of_text(trace), SpanId::of_segment(segment, number)))
}

fn pair(message: &[u8]) -> Result<(&str, &str), WireError> {
    let (mut key, mut value) = ("", "");
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Its name is the value of `event`, if it has that.
fn log(message: &[u8], lost: &mut u32) -> Result<Event, WireError> {
    let (mut at_ms, mut tags) = (0_u64, TagsBuilder::default());
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => at_ms = time(field)?,
            2 => {
                let (key, value) = pair(field.bytes()?)?;
                tags.text(key, value);
            }
            _ => {}
        }
    }
    let name = match tags.take("event") {
        Some(Value::Text(name)) => name,
        Some(Value::Bool(_) | Value::Int(_) | Value::Double(_)) | None => "log".into(),
    };
    *lost += tags.lost;
    Ok(Event { at_ns: at_ms.saturating_mul(MS), name, tags: tags.build() })
}

#[cfg(test)]
mod tests;
