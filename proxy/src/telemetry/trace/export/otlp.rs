//! OTLP over gRPC and over HTTP: the messages as far as spans need them, and the two ways to send them.
//!
//! # Why our own messages
//! The published crate of them brings the whole SDK. These are the dozen fields that are written; tests read them with that
//! crate, so that a wrong number does not stay hidden.

use std::sync::Arc;

use http::Uri;
use prost::Message;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::super::attributes::{self, Value};
use super::super::span::{Kind, Span};
use super::grpc::{Connection, untaken};
use super::post::Post;
use super::{Taken, Whose, nanos};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// `opentelemetry.proto.collector.trace.v1`
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
}

/// `opentelemetry.proto.trace.v1`
#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<OtlpSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct OtlpSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<SpanStatus>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SpanStatus {
    #[prost(int32, tag = "3")]
    code: i32,
}

/// `opentelemetry.proto.resource.v1`
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// `opentelemetry.proto.common.v1`
#[derive(Clone, PartialEq, Message)]
struct InstrumentationScope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// `STATUS_CODE_ERROR`
const ERROR: i32 = 2;
/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`
const KINDS: [i32; 2] = [2, 3];
/// Sampled, and whether the parent is remote is known: it is, where there is one.
const FLAGS: u32 = 0x101;
const IS_REMOTE: u32 = 0x200;

fn key_value(key: &str, value: Value<'_>) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::Text(text.into_owned()),
        Value::Number(number) => Any::Number(number),
        Value::Yes => Any::Flag(true),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn span(span: &Span, whose: &Whose) -> OtlpSpan {
    let started = nanos(span.started);
    let attributes = attributes::of(span, &whose.instance);
    OtlpSpan {
        trace_id: span.trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: span.name(),
        kind: KINDS[usize::from(span.kind == Kind::Client)],
        start_time_unix_nano: started,
        end_time_unix_nano: started.saturating_add(u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX)),
        attributes: attributes.into_iter().map(|(key, value)| key_value(key, value)).collect(),
        status: span.error.map(|_| SpanStatus { code: ERROR }),
        flags: FLAGS | if span.parent.is_some() { IS_REMOTE } else { 0 },
    }
}

fn request(batch: &[Arc<Span>], whose: &Whose) -> ExportTraceServiceRequest {
    let text = |key, text: &str| key_value(key, Value::Text(text.into()));
    let resource = Resource {
        attributes: vec![
            text("service.name", &whose.service),
            text("service.instance.id", &whose.instance),
            text("telemetry.sdk.name", "tidegate"),
            text("telemetry.sdk.language", "rust"),
            text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ],
    };
    let scope = InstrumentationScope { name: "tidegate-proxy".into(), version: env!("CARGO_PKG_VERSION").into() };
    let spans = batch.iter().map(|finished| span(finished, whose)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
}

fn turned_down(response: &ExportTraceServiceResponse) -> u64 {
    let rejected = response.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or_default()
}

/// `TraceService` over gRPC.
#[derive(Debug)]
pub(super) struct OverGrpc {
    connection: Connection,
    whose: Whose,
}

impl OverGrpc {
    pub(super) fn new(address: &str, whose: Whose) -> Self {
        Self { connection: Connection::to(address), whose }
    }

    pub(super) async fn take(&mut self, batch: &[Arc<Span>]) -> Taken {
        let mut client = self.connection.ready().await?;
        let codec = ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
        let message = Request::new(request(batch, &self.whose));
        let answered = client.unary(message, PathAndQuery::from_static(EXPORT), codec).await;
        let response = answered.map_err(|status| untaken(&status))?;
        Ok(turned_down(response.get_ref()))
    }
}

/// The same message, posted.
#[derive(Debug)]
pub(super) struct OverHttp {
    post: Post,
    whose: Whose,
}

impl OverHttp {
    pub(super) fn new(url: Uri, whose: Whose) -> Self {
        Self { post: Post::new(url, "application/x-protobuf"), whose }
    }

    pub(super) async fn take(&mut self, batch: &[Arc<Span>]) -> Taken {
        let answer = self.post.send(request(batch, &self.whose).encode_to_vec().into()).await?;
        // One that says nothing, or something else, has taken them.
        Ok(ExportTraceServiceResponse::decode(answer).map_or(0, |response| turned_down(&response)))
    }
}
