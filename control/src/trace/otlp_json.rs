//! OTLP's JSON form: ids in hexadecimal, enumerations as numbers, 64-bit numbers as text or number, names in camel case, unknown
//! names ignored.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Sink;
use super::json::{Capped, Scalar};
use super::model::{
    EVENTS_MAX, Event, Kind, LINKS_MAX, Process, Span, SpanId, TAGS_MAX, TEXT_BYTES_MAX, TagsBuilder, TraceId, Value,
    bounded,
};
use super::otlp::{BAD_IDS, add_scope, status, to_process};
use super::wire::DEPTH_MAX;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_spans: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    resource: Option<Resource<'a>>,
    #[serde(borrow, default)]
    scope_spans: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    attributes: Attributes<'a>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    scope: Option<Scope<'a>>,
    #[serde(borrow, default)]
    spans: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Scope<'a> {
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    version: Scalar<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanText<'a> {
    #[serde(borrow, default)]
    trace_id: Scalar<'a>,
    #[serde(borrow, default)]
    span_id: Scalar<'a>,
    #[serde(borrow, default)]
    parent_span_id: Scalar<'a>,
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    start_time_unix_nano: Scalar<'a>,
    #[serde(borrow, default)]
    end_time_unix_nano: Scalar<'a>,
    #[serde(borrow, default)]
    attributes: Attributes<'a>,
    #[serde(borrow, default)]
    events: Capped<EventText<'a>, EVENTS_MAX>,
    #[serde(borrow, default)]
    links: Capped<LinkText<'a>, LINKS_MAX>,
    #[serde(borrow, default)]
    status: Option<StatusText<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventText<'a> {
    #[serde(borrow, default)]
    time_unix_nano: Scalar<'a>,
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    attributes: Attributes<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkText<'a> {
    #[serde(borrow, default)]
    trace_id: Scalar<'a>,
    #[serde(borrow, default)]
    span_id: Scalar<'a>,
}

#[derive(Deserialize)]
struct StatusText<'a> {
    #[serde(borrow, default)]
    message: Scalar<'a>,
    #[serde(borrow, default)]
    code: Scalar<'a>,
}

type Attributes<'a> = Capped<KeyValue<'a>, TAGS_MAX>;

#[derive(Default, Deserialize)]
struct KeyValue<'a> {
    #[serde(borrow, default)]
    key: Scalar<'a>,
    #[serde(borrow, default)]
    value: Option<AnyValue<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    #[serde(borrow, default)]
    string_value: Option<Scalar<'a>>,
    #[serde(default)]
    bool_value: Option<bool>,
    #[serde(borrow, default)]
    int_value: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    double_value: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    bytes_value: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    array_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kvlist_value: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Values<'a> {
    #[serde(borrow, default)]
    values: Vec<&'a RawValue>,
}

/// Decodes a request, span by span. What came before an error has been handed out.
pub fn decode(request: &[u8], sink: &mut dyn Sink) -> Result<(), serde_json::Error> {
    let request: Request<'_> = serde_json::from_slice(request)?;
    for resource_spans in request.resource_spans {
        let resource_spans: ResourceSpans<'_> = serde_json::from_str(resource_spans.get())?;
        let mut tags = TagsBuilder::default();
        if let Some(resource) = &resource_spans.resource {
            add_attributes(&resource.attributes, &mut tags);
        }
        let process = Arc::new(to_process(tags));
        for scope_spans in resource_spans.scope_spans {
            let ScopeSpans { scope, spans } = serde_json::from_str(scope_spans.get())?;
            let scope = scope.unwrap_or_default();
            for span in spans {
                match serde_json::from_str::<SpanText<'_>>(span.get())?.into_span(&scope, &process) {
                    Some(span) => sink.span(span),
                    None => sink.reject(BAD_IDS),
                }
            }
        }
    }
    Ok(())
}

impl SpanText<'_> {
    fn into_span(self, scope: &Scope<'_>, process: &Arc<Process>) -> Option<Span> {
        let trace = TraceId::parse(&self.trace_id.0).filter(|_| self.trace_id.0.len() == 32)?;
        let id = SpanId::parse(&self.span_id.0).filter(|_| self.span_id.0.len() == 16)?;
        let mut lost = self.events.dropped + self.links.dropped;
        let mut tags = TagsBuilder::default();
        add_attributes(&self.attributes, &mut tags);
        add_scope(&mut tags, &scope.name.0, &scope.version.0);
        let event = |event: &EventText<'_>| {
            let mut tags = TagsBuilder::default();
            add_attributes(&event.attributes, &mut tags);
            let at_ns = event.time_unix_nano.unsigned().unwrap_or(0);
            let name = bounded(&event.name.0, &mut tags.lost);
            lost += tags.lost;
            Event { at_ns, name, tags: tags.build() }
        };
        let events = self.events.kept.iter().map(event).collect();
        let link = |link: &LinkText<'_>| TraceId::parse(&link.trace_id.0).zip(SpanId::parse(&link.span_id.0));
        let links = self.links.kept.iter().filter_map(link).collect();
        let status = match &self.status {
            Some(text) => status(text.code.unsigned().unwrap_or(0), &text.message.0, &mut lost),
            None => status(0, "", &mut lost),
        };
        let start_ns = self.start_time_unix_nano.unsigned().unwrap_or(0);
        let end_ns = self.end_time_unix_nano.unsigned().unwrap_or(0);
        let name = bounded(&self.name.0, &mut lost);
        lost += tags.lost;
        Some(Span {
            trace,
            id,
            parent: SpanId::parse(&self.parent_span_id.0),
            links,
            kind: Kind::of_number(self.kind.unsigned().unwrap_or(0)),
            name,
            process: process.clone(),
            start_ns,
            duration_ns: end_ns.saturating_sub(start_ns),
            tags: tags.build(),
            events,
            status,
            lost,
        })
    }
}

fn add_attributes(attributes: &Attributes<'_>, tags: &mut TagsBuilder) {
    tags.lost += attributes.dropped;
    for KeyValue { key, value } in &attributes.kept {
        let value = value.as_ref().map(|value| value.to_value(&mut tags.lost));
        tags.push(&key.0, value.unwrap_or_else(|| Value::Text("".into())));
    }
}

impl AnyValue<'_> {
    fn to_value(&self, lost: &mut u32) -> Value {
        if self.array_value.is_none() && self.kvlist_value.is_none() {
            return self.leaf(lost);
        }
        let mut text = String::new();
        self.write(0, &mut text);
        Value::Text(bounded(&text, lost))
    }

    fn leaf(&self, lost: &mut u32) -> Value {
        if let Some(truth) = self.bool_value {
            return Value::Bool(truth);
        }
        if let Some(number) = self.int_value.as_ref().and_then(|number| number.0.parse().ok()) {
            return Value::Int(number);
        }
        if let Some(number) = self.double_value.as_ref().and_then(|number| number.0.parse().ok()) {
            return Value::Double(number);
        }
        let text = self.string_value.as_ref().or(self.bytes_value.as_ref());
        Value::Text(text.map(|text| bounded(&text.0, lost)).unwrap_or_default())
    }

    /// As plain JSON. What lies too deep, or behind the limit, is left out.
    fn write(&self, depth: usize, out: &mut String) {
        let (open, close, raw) = match (self.array_value, self.kvlist_value) {
            (Some(raw), _) => ('[', ']', raw),
            (None, Some(raw)) => ('{', '}', raw),
            (None, None) => {
                out.push_str(&match self.leaf(&mut 0) {
                    Value::Text(text) => serde_json::Value::from(&*text).to_string(),
                    Value::Bool(truth) => truth.to_string(),
                    Value::Int(number) => number.to_string(),
                    Value::Double(number) => serde_json::Value::from(number).to_string(),
                });
                return;
            }
        };
        out.push(open);
        let list: Values<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        for (number, value) in list.values.into_iter().enumerate() {
            if depth >= DEPTH_MAX || out.len() > TEXT_BYTES_MAX {
                break;
            }
            if number > 0 {
                out.push(',');
            }
            if open == '[' {
                serde_json::from_str::<AnyValue<'_>>(value.get()).unwrap_or_default().write(depth + 1, out);
            } else {
                let KeyValue { key, value } = serde_json::from_str(value.get()).unwrap_or_default();
                out.push_str(&serde_json::Value::from(&*key.0).to_string());
                out.push(':');
                value.unwrap_or_default().write(depth + 1, out);
            }
        }
        out.push(close);
    }
}

#[cfg(test)]
mod tests;
