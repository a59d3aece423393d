//! The operators that a format may have, as Envoy names them.

use tidegate_traffic::format::grammar::{Named, alternatives};
use tidegate_traffic::request::is_token;

use super::field::{Field, GrpcForm, Name, Part};
use super::time::Layout;

/// How many fields of answers a format may want: each is looked for in every head.
const ANSWER_FIELDS_MAX: usize = 32;

/// Operators without an argument.
const PLAIN: &[(&str, Field)] = &[
    ("START_TIME", Field::StartTime),
    ("PROTOCOL", Field::Protocol),
    ("RESPONSE_CODE", Field::Status),
    ("RESPONSE_CODE_DETAILS", Field::Details),
    ("RESPONSE_FLAGS", Field::FlagsJoined),
    ("CONNECTION_TERMINATION_DETAILS", Field::Nothing),
    ("BYTES_RECEIVED", Field::BytesReceived),
    ("BYTES_SENT", Field::BytesSent),
    ("DURATION", Field::DurationMs),
    ("RESPONSE_DURATION", Field::ResponseMs),
    ("GRPC_STATUS", Field::GrpcStatus(GrpcForm::Camel)),
    ("GRPC_STATUS_NUMBER", Field::GrpcStatus(GrpcForm::Number)),
    ("UPSTREAM_HOST", Field::UpstreamHost(Part::Whole)),
    ("UPSTREAM_REMOTE_ADDRESS", Field::UpstreamHost(Part::Whole)),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Field::UpstreamHost(Part::Ip)),
    ("UPSTREAM_REMOTE_PORT", Field::UpstreamHost(Part::Port)),
    ("UPSTREAM_LOCAL_ADDRESS", Field::Nothing),
    ("UPSTREAM_CLUSTER", Field::Cluster),
    ("UPSTREAM_CLUSTER_RAW", Field::Cluster),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Field::UpstreamFailure),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Field::Attempts),
    ("DOWNSTREAM_REMOTE_ADDRESS", Field::Client(Part::Whole)),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Field::Client(Part::Ip)),
    ("DOWNSTREAM_REMOTE_PORT", Field::Client(Part::Port)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Field::Remote(Part::Whole)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Field::Remote(Part::Ip)),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Field::Remote(Part::Port)),
    ("DOWNSTREAM_LOCAL_ADDRESS", Field::Local(Part::Whole)),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Field::Local(Part::Ip)),
    ("DOWNSTREAM_LOCAL_PORT", Field::Local(Part::Port)),
    ("REQUESTED_SERVER_NAME", Field::ServerName),
    ("ROUTE_NAME", Field::Route),
    ("VIRTUAL_HOST_NAME", Field::VirtualHost),
    ("TRACE_ID", Field::TraceId),
    ("SPAN_ID", Field::SpanId),
    ("TIDEGATE_LISTENER", Field::Listener),
    ("TIDEGATE_POLICIES", Field::Policies),
    ("TIDEGATE_SOURCE", Field::Source),
    ("TIDEGATE_UPSTREAM_TIME", Field::UpstreamMs),
];

/// The time that an endpoint took is measured here, not read from its answer.
const SERVICE_TIME: &str = "x-envoy-upstream-service-time";

/// What an operator stands for.
pub(super) fn parse(named: &Named<'_>, answers: &mut Vec<Box<str>>) -> Result<Field, String> {
    match (named.name, named.argument) {
        ("REQ", Some(argument)) => {
            let (first, second) = alternatives(argument);
            Ok(Field::Request { first: name(first)?, second: second.map(name).transpose()? })
        }
        ("RESP", Some(argument)) if argument.eq_ignore_ascii_case(SERVICE_TIME) => Ok(Field::UpstreamMs),
        ("RESP", Some(argument)) => {
            let (first, second) = alternatives(argument);
            let second = second.map(|name| answer(name, answers)).transpose()?;
            Ok(Field::Response { first: answer(first, answers)?, second })
        }
        ("START_TIME", Some(layout)) => Ok(Field::StartTimeAs(Layout::compile(layout)?)),
        ("GRPC_STATUS", Some("CAMEL_STRING")) => Ok(Field::GrpcStatus(GrpcForm::Camel)),
        ("GRPC_STATUS", Some("SNAKE_STRING")) => Ok(Field::GrpcStatus(GrpcForm::Snake)),
        ("GRPC_STATUS", Some("NUMBER")) => Ok(Field::GrpcStatus(GrpcForm::Number)),
        (name, None) => {
            let known = PLAIN.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone());
            known.ok_or_else(|| unknown(named))
        }
        (_, Some(_)) => Err(unknown(named)),
    }
}

fn unknown(named: &Named<'_>) -> String {
    format!("{}; known are {}", named.unsupported(), known().join(" "))
}

/// As they are written.
pub(super) fn known() -> Vec<&'static str> {
    let with_argument =
        ["REQ(A?B)", "RESP(A?B)", "START_TIME(LAYOUT)", "GRPC_STATUS(CAMEL_STRING|SNAKE_STRING|NUMBER)"];
    with_argument.into_iter().chain(PLAIN.iter().map(|(name, _)| *name)).collect()
}

fn name(text: &str) -> Result<Name, String> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        ":method" => Ok(Name::Method),
        ":scheme" => Ok(Name::Scheme),
        ":authority" | "host" => Ok(Name::Authority),
        ":path" => Ok(Name::Path),
        _ if is_token(&lower) => Ok(Name::Field(lower.into())),
        _ => Err(format!("`{text}` is not a header name")),
    }
}

/// The place of a field among those that are wanted of answers.
fn answer(name: &str, answers: &mut Vec<Box<str>>) -> Result<usize, String> {
    if !is_token(name) {
        return Err(format!("`{name}` is not a header name"));
    }
    let name = name.to_ascii_lowercase();
    if let Some(place) = answers.iter().position(|known| **known == name) {
        return Ok(place);
    }
    if answers.len() == ANSWER_FIELDS_MAX {
        return Err(format!("a format may have {ANSWER_FIELDS_MAX} headers of answers"));
    }
    answers.push(name.into());
    Ok(answers.len() - 1)
}
