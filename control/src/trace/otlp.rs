//! OTLP's protobuf form: `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`.
//!
//! A resource becomes the process of its spans, `service.name` the service. The scope becomes the attributes `otel.scope.name` and
//! `otel.scope.version`, as Jaeger shows it.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Sink;
use super::model::{
    EVENTS_MAX, Event, Kind, LINKS_MAX, Process, Span, SpanId, Status, TEXT_BYTES_MAX, Tags, TagsBuilder, TraceId,
    Value, bounded,
};
use super::wire::{DEPTH_MAX, WireError, fields};

/// The service of those who do not say, as OpenTelemetry has it.
pub const UNKNOWN_SERVICE: &str = "unknown_service";
/// A span's ids are missing or have the wrong length.
pub const BAD_IDS: &str = "a span has no trace id of 16 bytes or no span id of 8 bytes";

/// Decodes a request, span by span. What came before an error has been handed out.
pub fn decode(request: &[u8], sink: &mut dyn Sink) -> Result<(), WireError> {
    for resource_spans in fields(request) {
        let resource_spans = resource_spans?;
        if resource_spans.number != 1 {
            continue;
        }
        let message = resource_spans.bytes()?;
        let process = Arc::new(process(message)?);
        for scope_spans in fields(message) {
            let scope_spans = scope_spans?;
            if scope_spans.number == 2 {
                scope(scope_spans.bytes()?, &process, sink)?;
            }
        }
    }
    Ok(())
}

/// The resource may stand behind its spans, so it is looked for first.
fn process(resource_spans: &[u8]) -> Result<Process, WireError> {
    let mut tags = TagsBuilder::default();
    for resource in fields(resource_spans) {
        let resource = resource?;
        if resource.number == 1 {
            for field in fields(resource.bytes()?) {
                let field = field?;
                if field.number == 1 {
                    attribute(field.bytes()?, &mut tags)?;
                }
            }
        }
    }
    Ok(to_process(tags))
}

/// What is left when the service has been taken out.
pub fn to_process(mut tags: TagsBuilder) -> Process {
    let service = match tags.take("service.name") {
        Some(Value::Text(name)) if !name.is_empty() => name,
        Some(Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Text(_)) | None => UNKNOWN_SERVICE.into(),
    };
    Process { service, tags: tags.build() }
}

fn scope(scope_spans: &[u8], process: &Arc<Process>, sink: &mut dyn Sink) -> Result<(), WireError> {
    let (mut name, mut version) = ("", "");
    for field in fields(scope_spans) {
        let field = field?;
        if field.number == 1 {
            for part in fields(field.bytes()?) {
                let part = part?;
                match part.number {
                    1 => name = part.text()?,
                    2 => version = part.text()?,
                    _ => {}
                }
            }
        }
    }
    for field in fields(scope_spans) {
        let field = field?;
        if field.number == 2 {
            match span(field.bytes()?, name, version, process)? {
                Some(span) => sink.span(span),
                None => sink.reject(BAD_IDS),
            }
        }
    }
    Ok(())
}

/// `None`: its ids are not ids.
fn span(message: &[u8], scope: &str, version: &str, process: &Arc<Process>) -> Result<Option<Span>, WireError> {
    let (mut trace, mut id, mut parent) = (None, None, None);
    let (mut name, mut kind, mut status) = ("", Kind::default(), Status::Unset);
    let (mut start_ns, mut end_ns) = (0_u64, 0_u64);
    let (mut tags, mut events, mut links) = (TagsBuilder::default(), Vec::new(), Vec::new());
    let mut lost = 0;
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => trace = trace_id(field.bytes()?),
            2 => id = span_id(field.bytes()?),
            4 => parent = span_id(field.bytes()?),
            5 => name = field.text()?,
            6 => kind = Kind::of_number(field.number()?),
            7 => start_ns = field.number()?,
            8 => end_ns = field.number()?,
            9 => attribute(field.bytes()?, &mut tags)?,
            11 if events.len() < EVENTS_MAX => events.push(event(field.bytes()?, &mut lost)?),
            13 if links.len() < LINKS_MAX => links.extend(link(field.bytes()?)?),
            11 | 13 => lost += 1,
            15 => status = read_status(field.bytes()?, &mut lost)?,
            _ => {}
        }
    }
    let (Some(trace), Some(id)) = (trace, id) else { return Ok(None) };
    add_scope(&mut tags, scope, version);
    let name = bounded(name, &mut lost);
    lost += tags.lost;
    Ok(Some(Span {
        trace,
        id,
        parent,
        links: links.into(),
        kind,
        name,
        process: process.clone(),
        start_ns,
        duration_ns: end_ns.saturating_sub(start_ns),
        tags: tags.build(),
        events: events.into(),
        status,
        lost,
    }))
}

/// As Jaeger shows it.
pub fn add_scope(tags: &mut TagsBuilder, name: &str, version: &str) {
    for (key, text) in [("otel.scope.name", name), ("otel.scope.version", version)] {
        if !text.is_empty() {
            tags.text(key, text);
        }
    }
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    let id = u128::from_be_bytes(bytes.try_into().ok()?);
    (id != 0).then_some(TraceId(id))
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    let id = u64::from_be_bytes(bytes.try_into().ok()?);
    (id != 0).then_some(SpanId(id))
}

fn event(message: &[u8], lost: &mut u32) -> Result<Event, WireError> {
    let (mut at_ns, mut name, mut tags) = (0, "", TagsBuilder::default());
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => at_ns = field.number()?,
            2 => name = field.text()?,
            3 => attribute(field.bytes()?, &mut tags)?,
            _ => {}
        }
    }
    *lost += tags.lost;
    let name = bounded(name, lost);
    let tags: Tags = tags.build();
    Ok(Event { at_ns, name, tags })
}

fn link(message: &[u8]) -> Result<Option<(TraceId, SpanId)>, WireError> {
    let (mut trace, mut id) = (None, None);
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => trace = trace_id(field.bytes()?),
            2 => id = span_id(field.bytes()?),
            _ => {}
        }
    }
    Ok(trace.zip(id))
}

fn read_status(message: &[u8], lost: &mut u32) -> Result<Status, WireError> {
    let (mut why, mut code) = ("", 0);
    for field in fields(message) {
        let field = field?;
        match field.number {
            2 => why = field.text()?,
            3 => code = field.number()?,
            _ => {}
        }
    }
    Ok(status(code, why, lost))
}

/// As OTLP numbers it.
pub fn status(code: u64, why: &str, lost: &mut u32) -> Status {
    match code {
        1 => Status::Ok,
        2 => Status::Error(bounded(why, lost)),
        _ => Status::Unset,
    }
}

fn attribute(message: &[u8], tags: &mut TagsBuilder) -> Result<(), WireError> {
    let (mut key, mut value) = ("", None);
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => key = field.text()?,
            2 => value = Some(field.bytes()?),
            _ => {}
        }
    }
    let value = value.map(|value| any(value, &mut tags.lost)).transpose()?;
    tags.push(key, value.flatten().unwrap_or_else(|| Value::Text("".into())));
    Ok(())
}

/// `AnyValue`. `None`: it is empty.
fn any(message: &[u8], lost: &mut u32) -> Result<Option<Value>, WireError> {
    let mut value = None;
    for field in fields(message) {
        let field = field?;
        value = match field.number {
            1 => Some(Value::Text(bounded(field.text()?, lost))),
            2 => Some(Value::Bool(field.number()? != 0)),
            3 => Some(Value::Int(field.signed()?)),
            4 => Some(Value::Double(f64::from_bits(field.number()?))),
            5..=7 => {
                let mut text = Text { out: String::new(), cut: false };
                json(message, 0, &mut text)?;
                *lost += u32::from(text.cut);
                return Ok(Some(Value::Text(text.out.trim_matches('"').into())));
            }
            _ => value,
        };
    }
    Ok(value)
}

/// JSON text that stops at the limit.
struct Text {
    out: String,
    cut: bool,
}

impl Text {
    fn push(&mut self, text: &str) {
        if self.out.len() + text.len() <= TEXT_BYTES_MAX {
            self.out.push_str(text);
        } else {
            self.cut = true;
        }
    }

    fn quoted(&mut self, text: &str) {
        let mut lost = 0;
        self.push(&serde_json::Value::from(&*bounded(text, &mut lost)).to_string());
        self.cut |= lost > 0;
    }
}

/// A value as JSON.
fn json(message: &[u8], depth: usize, text: &mut Text) -> Result<(), WireError> {
    if depth >= DEPTH_MAX {
        return Err(WireError::TooDeep);
    }
    let mut is_empty = true;
    for field in fields(message) {
        let field = field?;
        is_empty = false;
        let mut number = String::new();
        match field.number {
            1 => text.quoted(field.text()?),
            2 => text.push(if field.number()? != 0 { "true" } else { "false" }),
            3 => write!(number, "{}", field.signed()?).unwrap_or_default(),
            4 => write!(number, "{}", serde_json::Value::from(f64::from_bits(field.number()?))).unwrap_or_default(),
            5 => list(field.bytes()?, depth, text)?,
            6 => map(field.bytes()?, depth, text)?,
            7 => {
                let bytes = field.bytes()?;
                // Three bytes become four characters.
                let kept = bytes.get(..TEXT_BYTES_MAX / 2).unwrap_or(bytes);
                text.cut |= kept.len() < bytes.len();
                text.quoted(&STANDARD.encode(kept));
            }
            _ => {}
        }
        text.push(&number);
    }
    if is_empty {
        text.push("null");
    }
    Ok(())
}

fn list(message: &[u8], depth: usize, text: &mut Text) -> Result<(), WireError> {
    let mut separator = "[";
    for field in fields(message) {
        let field = field?;
        if field.number == 1 && !text.cut {
            text.push(separator);
            separator = ",";
            json(field.bytes()?, depth + 1, text)?;
        }
    }
    text.push(if separator == "[" { "[]" } else { "]" });
    Ok(())
}

fn map(message: &[u8], depth: usize, text: &mut Text) -> Result<(), WireError> {
    let mut separator = "{";
    for field in fields(message) {
        let field = field?;
        if field.number != 1 || text.cut {
            continue;
        }
        text.push(separator);
        separator = ",";
        let (mut key, mut value): (_, &[u8]) = ("", &[]);
        for part in fields(field.bytes()?) {
            let part = part?;
            match part.number {
                1 => key = part.text()?,
                2 => value = part.bytes()?,
                _ => {}
            }
        }
        text.quoted(key);
        text.push(":");
        json(value, depth + 1, text)?;
    }
    text.push(if separator == "{" { "{}" } else { "}" });
    Ok(())
}

#[cfg(test)]
mod tests;
