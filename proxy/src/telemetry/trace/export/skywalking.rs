//! SkyWalking's segments, version 3: one for each span, as a proxy's hop is all it sees of a request.

use std::sync::Arc;

use prost::Message;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::super::attributes;
use super::super::ids::text;
use super::super::span::{Kind, Span};
use super::super::sw8;
use super::grpc::{Connection, untaken};
use super::{Taken, Whose, nanos};

const COLLECT: &str = "/skywalking.v3.TraceSegmentReportService/collect";

/// `skywalking.v3`
#[derive(Clone, PartialEq, Message)]
struct SegmentObject {
    #[prost(string, tag = "1")]
    trace_id: String,
    #[prost(string, tag = "2")]
    trace_segment_id: String,
    #[prost(message, repeated, tag = "3")]
    spans: Vec<SpanObject>,
    #[prost(string, tag = "4")]
    service: String,
    #[prost(string, tag = "5")]
    service_instance: String,
}

#[derive(Clone, PartialEq, Message)]
struct SpanObject {
    #[prost(int32, tag = "1")]
    span_id: i32,
    #[prost(int32, tag = "2")]
    parent_span_id: i32,
    #[prost(int64, tag = "3")]
    start_time: i64,
    #[prost(int64, tag = "4")]
    end_time: i64,
    #[prost(message, repeated, tag = "5")]
    refs: Vec<SegmentReference>,
    #[prost(string, tag = "6")]
    operation_name: String,
    #[prost(string, tag = "7")]
    peer: String,
    #[prost(int32, tag = "8")]
    span_type: i32,
    #[prost(int32, tag = "9")]
    span_layer: i32,
    #[prost(bool, tag = "11")]
    is_error: bool,
    #[prost(message, repeated, tag = "12")]
    tags: Vec<KeyStringValuePair>,
}

#[derive(Clone, PartialEq, Message)]
struct SegmentReference {
    /// 0: across processes.
    #[prost(int32, tag = "1")]
    ref_type: i32,
    #[prost(string, tag = "2")]
    trace_id: String,
    #[prost(string, tag = "3")]
    parent_trace_segment_id: String,
    #[prost(int32, tag = "4")]
    parent_span_id: i32,
    #[prost(string, tag = "5")]
    parent_service: String,
    #[prost(string, tag = "6")]
    parent_service_instance: String,
    #[prost(string, tag = "7")]
    parent_endpoint: String,
    #[prost(string, tag = "8")]
    network_address_used_at_peer: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyStringValuePair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// What the collector wants done: nothing that a proxy does.
#[derive(Clone, PartialEq, Message)]
struct Commands {}

/// Not the child of a span in the same segment.
const NO_PARENT: i32 = -1;
/// Spans of type `Entry` and `Exit`.
const TYPES: [i32; 2] = [0, 1];
/// The layer `Http`.
const HTTP: i32 = 3;

fn segment(span: &Span, whose: &Whose) -> SegmentObject {
    let trace_id = match &span.sw8 {
        Some(caller) => caller.trace.to_string(),
        None => text(&span.trace.digits()).to_owned(),
    };
    let attributes = attributes::of(span, &whose.instance);
    let mut tags: Vec<_> = attributes
        .iter()
        .map(|(key, value)| KeyStringValuePair { key: (*key).to_owned(), value: value.text().into_owned() })
        .collect();
    // The names by which SkyWalking's own pages know a request.
    let mut known = |key: &str, value: String| tags.push(KeyStringValuePair { key: key.to_owned(), value });
    known("http.method", span.method.to_owned());
    known("url", format!("{}{}", span.authority, span.path));
    if span.status != 0 {
        known("http.status_code", span.status.to_string());
    }
    let started = nanos(span.started);
    let ended = started.saturating_add(u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX));
    let milliseconds = |nanos: u64| i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
    let object = SpanObject {
        span_id: 0,
        parent_span_id: NO_PARENT,
        start_time: milliseconds(started),
        end_time: milliseconds(ended),
        refs: reference(span, &trace_id).into_iter().collect(),
        operation_name: span.name(),
        peer: match span.kind {
            Kind::Server => String::new(),
            // An exit without a peer is no call to anybody.
            Kind::Client => span.upstream.map_or_else(|| span.authority.to_string(), |upstream| upstream.to_string()),
        },
        span_type: TYPES[usize::from(span.kind == Kind::Client)],
        span_layer: HTTP,
        is_error: span.error.is_some(),
        tags,
    };
    SegmentObject {
        trace_id,
        trace_segment_id: sw8::segment(span.trace, span.id),
        spans: vec![object],
        service: whose.service.to_string(),
        service_instance: whose.instance.to_string(),
    }
}

/// Whose child the span is: as the caller said it, or, where it spoke another format, by the name that a segment of ours has.
fn reference(span: &Span, trace_id: &str) -> Option<SegmentReference> {
    let parent = span.parent?;
    let unsaid = SegmentReference { ref_type: 0, trace_id: trace_id.to_owned(), ..SegmentReference::default() };
    Some(match &span.sw8 {
        Some(caller) => SegmentReference {
            parent_trace_segment_id: caller.segment.to_string(),
            parent_span_id: caller.span,
            parent_service: caller.service.to_string(),
            parent_service_instance: caller.instance.to_string(),
            parent_endpoint: caller.endpoint.to_string(),
            network_address_used_at_peer: caller.peer.to_string(),
            ..unsaid
        },
        None => SegmentReference { parent_trace_segment_id: sw8::segment(span.trace, parent), ..unsaid },
    })
}

/// `TraceSegmentReportService`
#[derive(Debug)]
pub(super) struct OverGrpc {
    connection: Connection,
    whose: Whose,
}

impl OverGrpc {
    pub(super) fn new(address: &str, whose: Whose) -> Self {
        Self { connection: Connection::to(address), whose }
    }

    /// A stream for each batch: its end is answered, which is how it is known that the batch arrived.
    pub(super) async fn take(&mut self, batch: &[Arc<Span>]) -> Taken {
        let mut client = self.connection.ready().await?;
        let segments: Vec<_> = batch.iter().map(|finished| segment(finished, &self.whose)).collect();
        let codec = ProstCodec::<SegmentObject, Commands>::default();
        let stream = Request::new(futures_util::stream::iter(segments));
        let answered = client.client_streaming(stream, PathAndQuery::from_static(COLLECT), codec).await;
        answered.map(|_| 0).map_err(|status| untaken(&status))
    }
}
