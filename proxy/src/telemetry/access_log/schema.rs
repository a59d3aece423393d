//! Lines of JSON: three tables of names.
//!
//! # Why tables
//! A schema is a contract with whoever reads logs. In a table it can be read, compared with the documentation by a test, and not
//! broken by a change of code around it.

use super::entry::Entry;
use super::field::{Field, GrpcForm, Name, Part};
use super::json::Writer;
use super::redact::Redaction;

/// A line of JSON, described.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Schema {
    /// Names and what they hold, in the order of the line.
    pub(super) table: &'static [(&'static str, Field)],
    /// A name with dots is an object in an object.
    nested: bool,
    /// What is not known is `null`; otherwise it is left out.
    nulls: bool,
}

const METHOD: Field = Field::Request { first: Name::Method, second: None };
const AUTHORITY: Field = Field::Request { first: Name::Authority, second: None };
const TARGET: Field = Field::Request { first: Name::Path, second: None };
const USER_AGENT: Field = Field::Request { first: Name::Known("user-agent"), second: None };
const GRPC_STATUS: Field = Field::GrpcStatus(GrpcForm::Number);

/// Ours. Every field is in every line.
pub(super) static JSON: Schema = Schema {
    nested: false,
    nulls: true,
    table: &[
        ("time_ms", Field::NowMs),
        ("duration_ms", Field::DurationMs),
        ("duration_ns", Field::DurationNs),
        ("listener", Field::Listener),
        ("method", METHOD),
        ("path", TARGET),
        ("authority", AUTHORITY),
        ("virtual_host", Field::VirtualHost),
        ("route", Field::Route),
        ("source", Field::Source),
        ("cluster", Field::Cluster),
        ("upstream", Field::UpstreamHost(Part::Whole)),
        ("status", Field::Status),
        ("flags", Field::Flags),
        ("policies", Field::Policies),
        ("attempts", Field::Attempts),
        ("request_id", Field::RequestId),
        ("bytes_received", Field::BytesReceived),
        ("bytes_sent", Field::BytesSent),
        ("kind", Field::Kind),
        ("start_ms", Field::StartTimeMs),
        ("upstream_ms", Field::UpstreamMs),
        ("protocol", Field::Protocol),
        ("details", Field::Details),
        ("grpc_status", GRPC_STATUS),
        ("failure", Field::UpstreamFailure),
        ("user_agent", USER_AGENT),
        ("downstream", Field::Remote(Part::Whole)),
        ("client", Field::Client(Part::Ip)),
        ("server_name", Field::ServerName),
        ("trace_id", Field::TraceId),
        ("span_id", Field::SpanId),
    ],
};

/// Attributes by OpenTelemetry's semantic conventions, ours under `tidegate.`.
pub(super) static OTEL: Schema = Schema {
    nested: false,
    nulls: false,
    table: &[
        ("timestamp", Field::StartTime),
        ("trace_id", Field::TraceId),
        ("span_id", Field::SpanId),
        ("http.request.method", METHOD),
        ("http.request.body.size", Field::BytesReceived),
        ("http.response.status_code", Field::StatusOrNone),
        ("http.response.body.size", Field::BytesSent),
        ("url.scheme", Field::Scheme),
        ("url.path", Field::Path),
        ("url.query", Field::Query),
        ("server.address", Field::Host),
        ("server.port", Field::HostPort),
        ("client.address", Field::Client(Part::Ip)),
        ("network.peer.address", Field::Remote(Part::Ip)),
        ("network.peer.port", Field::Remote(Part::Port)),
        ("network.local.address", Field::Local(Part::Ip)),
        ("network.local.port", Field::Local(Part::Port)),
        ("network.transport", Field::Constant("tcp")),
        ("network.protocol.name", Field::ProtocolName),
        ("network.protocol.version", Field::ProtocolVersion),
        ("tls.client.server_name", Field::ServerName),
        ("user_agent.original", USER_AGENT),
        ("rpc.grpc.status_code", GRPC_STATUS),
        ("tidegate.request_id", Field::RequestId),
        ("tidegate.duration_ms", Field::DurationMs),
        ("tidegate.listener", Field::Listener),
        ("tidegate.virtual_host", Field::VirtualHost),
        ("tidegate.route", Field::Route),
        ("tidegate.route_source", Field::Source),
        ("tidegate.cluster", Field::Cluster),
        ("tidegate.upstream.address", Field::UpstreamHost(Part::Ip)),
        ("tidegate.upstream.port", Field::UpstreamHost(Part::Port)),
        ("tidegate.upstream_ms", Field::UpstreamMs),
        ("tidegate.attempts", Field::Attempts),
        ("tidegate.response_flags", Field::Flags),
        ("tidegate.response_details", Field::Details),
        ("tidegate.upstream_failure", Field::UpstreamFailure),
        ("tidegate.policies", Field::Policies),
    ],
};

/// Elastic Common Schema, ours in `tidegate`. Fields of one object stand together.
pub(super) static ECS: Schema = Schema {
    nested: true,
    nulls: false,
    table: &[
        ("@timestamp", Field::StartTime),
        ("ecs.version", Field::Constant("8.17.0")),
        ("event.kind", Field::Constant("event")),
        ("event.category", Field::Category),
        ("event.dataset", Field::Constant("tidegate.access")),
        ("event.outcome", Field::Success),
        ("event.duration", Field::DurationNs),
        ("http.version", Field::ProtocolVersion),
        ("http.request.id", Field::RequestId),
        ("http.request.method", METHOD),
        ("http.request.body.bytes", Field::BytesOfRequest),
        ("http.response.status_code", Field::StatusOrNone),
        ("http.response.body.bytes", Field::BytesOfAnswer),
        ("url.original", TARGET),
        ("url.scheme", Field::Scheme),
        ("url.domain", Field::Host),
        ("url.port", Field::HostPort),
        ("url.path", Field::Path),
        ("url.query", Field::Query),
        ("client.ip", Field::Client(Part::Ip)),
        ("source.ip", Field::Remote(Part::Ip)),
        ("source.port", Field::Remote(Part::Port)),
        ("source.bytes", Field::BytesReceived),
        ("destination.ip", Field::Local(Part::Ip)),
        ("destination.port", Field::Local(Part::Port)),
        ("destination.bytes", Field::BytesSent),
        ("network.transport", Field::Constant("tcp")),
        ("network.protocol", Field::ProtocolName),
        ("tls.client.server_name", Field::ServerName),
        ("user_agent.original", USER_AGENT),
        ("trace.id", Field::TraceId),
        ("span.id", Field::SpanId),
        ("tidegate.listener", Field::Listener),
        ("tidegate.virtual_host", Field::VirtualHost),
        ("tidegate.route", Field::Route),
        ("tidegate.route_source", Field::Source),
        ("tidegate.cluster", Field::Cluster),
        ("tidegate.upstream.ip", Field::UpstreamHost(Part::Ip)),
        ("tidegate.upstream.port", Field::UpstreamHost(Part::Port)),
        ("tidegate.upstream_ms", Field::UpstreamMs),
        ("tidegate.attempts", Field::Attempts),
        ("tidegate.response_flags", Field::Flags),
        ("tidegate.response_details", Field::Details),
        ("tidegate.upstream_failure", Field::UpstreamFailure),
        ("tidegate.grpc_status", GRPC_STATUS),
        ("tidegate.policies", Field::Policies),
    ],
};

impl Schema {
    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &Entry<'_>, redaction: &Redaction) {
        let mut writer = Writer::begin(out, self.nested);
        for (name, field) in self.table {
            let value = field.of(entry, redaction);
            if self.nulls || !value.is_absent() {
                writer.put(name, entry, &value);
            }
        }
        writer.end();
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_an_object_stand_together() {
        let parents = ECS.table.iter().map(|(name, _)| name.rsplit_once('.').map_or("", |(parent, _)| parent));
        let mut left: Vec<&str> = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        for parent in parents {
            let path: Vec<&str> = parent.match_indices('.').map(|(at, _)| &parent[..at]).chain([parent]).collect();
            while open.last().is_some_and(|last| !path.contains(last)) {
                left.extend(open.pop());
            }
            for object in path.into_iter().filter(|object| !object.is_empty()) {
                assert!(!left.contains(&object), "{object} is opened twice");
                if !open.contains(&object) {
                    open.push(object);
                }
            }
        }
    }
}
