//! Protobuf to active health check and back.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{HealthCheck, HealthCheckKind, HttpHealthCheck};
use crate::proto::core::{self, RequestMethod, health_check};
use crate::proto::types::{CodecClientType, Int64Range};
use crate::proto::{self, UInt32Value};
use crate::resource::header::{encode_additions, encode_removals, header_value, mutations};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{
    encode_duration, encode_u32, label, optional_duration, port, positive, positive_duration,
};

/// How often an idle cluster is checked when the check does not say; Envoy's default.
const NO_TRAFFIC_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// What is expected when the check does not say: 200 alone.
const EXPECTED_DEFAULT: (u16, u16) = (200, 201);

const METHODS: [(RequestMethod, &str); 8] = [
    (RequestMethod::Get, "GET"),
    (RequestMethod::Head, "HEAD"),
    (RequestMethod::Post, "POST"),
    (RequestMethod::Put, "PUT"),
    (RequestMethod::Delete, "DELETE"),
    (RequestMethod::Options, "OPTIONS"),
    (RequestMethod::Trace, "TRACE"),
    (RequestMethod::Patch, "PATCH"),
];

/// The checks in the field of that name.
pub(super) fn decode(at: &At<'_>, messages: Vec<core::HealthCheck>) -> Checked<Vec<HealthCheck>> {
    messages.into_iter().enumerate().map(|(i, message)| check(&at.item("health_checks", i), message)).collect()
}

fn check(at: &At<'_>, message: core::HealthCheck) -> Checked<HealthCheck> {
    let core::HealthCheck {
        timeout,
        interval,
        initial_jitter,
        interval_jitter,
        interval_jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        alt_port,
        reuse_connection,
        no_traffic_interval,
        no_traffic_healthy_interval,
        unhealthy_interval,
        unhealthy_edge_interval,
        healthy_edge_interval,
        event_log_path,
        event_logger,
        event_service,
        always_log_health_check_failures,
        always_log_health_check_success,
        tls_options,
        transport_socket_match_criteria,
        health_checker,
    } = message;
    // The last two choose how a check is encrypted, and a cluster with encryption is refused.
    ignored!(at;
        initial_jitter, interval_jitter_percent, reuse_connection, no_traffic_healthy_interval,
        unhealthy_edge_interval, healthy_edge_interval, event_log_path, event_logger, event_service,
        always_log_health_check_failures, always_log_health_check_success, tls_options,
        transport_socket_match_criteria
    );
    let required = |field: &str, value: Option<proto::Duration>| {
        let at = &at.field(field);
        positive(at, value.ok_or_else(|| at.missing())?)
    };
    let threshold = |field: &str, value: Option<UInt32Value>| {
        let at = at.field(field);
        let UInt32Value { value } = value.ok_or_else(|| at.missing())?;
        NonZeroU32::new(value).ok_or_else(|| at.error("must be at least 1"))
    };
    let interval = required("interval", interval)?;
    Ok(HealthCheck {
        timeout: required("timeout", timeout)?,
        interval,
        interval_jitter: optional_duration(at, "interval_jitter", interval_jitter)?.unwrap_or_default(),
        no_traffic_interval: positive_duration(
            at,
            "no_traffic_interval",
            no_traffic_interval,
            NO_TRAFFIC_INTERVAL_DEFAULT,
        )?,
        unhealthy_interval: positive_duration(at, "unhealthy_interval", unhealthy_interval, interval)?,
        unhealthy_threshold: threshold("unhealthy_threshold", unhealthy_threshold)?,
        healthy_threshold: threshold("healthy_threshold", healthy_threshold)?,
        alt_port: alt_port.map(|value| port(at, "alt_port", value.value)).transpose()?,
        kind: kind(at, health_checker)?,
    })
}

fn kind(at: &At<'_>, checker: Option<health_check::HealthChecker>) -> Checked<HealthCheckKind> {
    use health_check::HealthChecker as Checker;
    match checker.ok_or_else(|| at.error("says not how"))? {
        Checker::HttpHealthCheck(message) => {
            Ok(HealthCheckKind::Http(Box::new(http(&at.field("http_health_check"), message)?)))
        }
        Checker::GrpcHealthCheck(message) => {
            let at = &at.field("grpc_health_check");
            let health_check::GrpcHealthCheck { service_name, authority, initial_metadata } = message;
            refused!(at; initial_metadata);
            header_value(&at.field("authority"), &authority)?;
            Ok(HealthCheckKind::Grpc { service: label(at, "service_name", service_name)?, authority: authority.into() })
        }
        Checker::TcpHealthCheck(message) => {
            let at = &at.field("tcp_health_check");
            let health_check::TcpHealthCheck { send, receive, proxy_protocol_config } = message;
            refused!(at; proxy_protocol_config);
            let receive = receive.into_iter().enumerate();
            Ok(HealthCheckKind::Tcp {
                send: send.map(|bytes| payload(&at.field("send"), bytes)).transpose()?.unwrap_or_default(),
                receive: receive.map(|(i, bytes)| payload(&at.item("receive", i), bytes)).collect::<Checked<_>>()?,
            })
        }
        Checker::CustomHealthCheck(_) => Err(at.field("custom_health_check").unsupported()),
    }
}

fn http(at: &At<'_>, message: health_check::HttpHealthCheck) -> Checked<HttpHealthCheck> {
    let health_check::HttpHealthCheck {
        host,
        path,
        send,
        receive,
        response_buffer_size,
        request_headers_to_add,
        request_headers_to_remove,
        expected_statuses,
        retriable_statuses,
        codec_client_type,
        service_name_matcher,
        method,
    } = message;
    refused!(at; send, receive, service_name_matcher);
    ignored!(at; response_buffer_size);
    if path.is_empty() {
        return Err(at.field("path").missing());
    }
    header_value(&at.field("host"), &host)?;
    header_value(&at.field("path"), &path)?;
    let mut expected = statuses(at, "expected_statuses", expected_statuses)?;
    if expected.is_empty() {
        expected.push(EXPECTED_DEFAULT);
    }
    Ok(HttpHealthCheck {
        host: host.into(),
        path: path.into(),
        method: self::method(at, method)?.into(),
        expected_statuses: expected,
        retriable_statuses: statuses(at, "retriable_statuses", retriable_statuses)?,
        request_headers: mutations(
            at,
            ("request_headers_to_add", request_headers_to_add),
            ("request_headers_to_remove", request_headers_to_remove),
        )?,
        http2: match CodecClientType::try_from(codec_client_type) {
            Ok(CodecClientType::Http1) => false,
            Ok(CodecClientType::Http2) => true,
            Ok(CodecClientType::Http3) => {
                return Err(at.field("codec_client_type").error("HTTP3 is not supported yet"));
            }
            Err(_) => {
                let at = at.field("codec_client_type");
                return Err(at.error(format_args!("{codec_client_type} is not known")));
            }
        },
    })
}

fn method(at: &At<'_>, method: i32) -> Checked<&'static str> {
    let found = match RequestMethod::try_from(method) {
        Ok(RequestMethod::MethodUnspecified) => Some("GET"),
        Ok(method) => METHODS.iter().find(|(known, _)| *known == method).map(|(_, text)| *text),
        Err(_) => None,
    };
    // CONNECT asks for a tunnel, which tells nothing about health.
    found.ok_or_else(|| at.field("method").error(format_args!("{method} is not a method of a check")))
}

fn statuses(at: &At<'_>, field: &str, ranges: Vec<Int64Range>) -> Checked<Vec<(u16, u16)>> {
    let one = |(i, Int64Range { start, end }): (usize, Int64Range)| {
        let range = u16::try_from(start).ok().zip(u16::try_from(end).ok());
        range.filter(|(start, end)| 100 <= *start && start < end && *end <= 600).ok_or_else(|| {
            at.item(field, i).error(format_args!("{start}..{end} is not a range of statuses from 100 to 599"))
        })
    };
    ranges.into_iter().enumerate().map(one).collect()
}

fn payload(at: &At<'_>, message: health_check::Payload) -> Checked<Arc<[u8]>> {
    use health_check::payload::Payload;
    let health_check::Payload { payload } = message;
    let bytes = match payload.ok_or_else(|| at.error("has no bytes"))? {
        Payload::Binary(bytes) => bytes,
        Payload::Text(text) => hexadecimal(&text)
            .ok_or_else(|| at.field("text").error(format_args!("{text:?} is not pairs of hexadecimal digits")))?,
    };
    if bytes.is_empty() {
        return Err(at.error("has no bytes"));
    }
    Ok(bytes.into())
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?)).collect()
}

pub(super) fn encode(value: &HealthCheck) -> core::HealthCheck {
    core::HealthCheck {
        timeout: Some(encode_duration(value.timeout)),
        interval: Some(encode_duration(value.interval)),
        interval_jitter: (!value.interval_jitter.is_zero()).then(|| encode_duration(value.interval_jitter)),
        unhealthy_threshold: Some(encode_u32(value.unhealthy_threshold.get())),
        healthy_threshold: Some(encode_u32(value.healthy_threshold.get())),
        alt_port: value.alt_port.map(|port| encode_u32(u32::from(port))),
        no_traffic_interval: Some(encode_duration(value.no_traffic_interval)),
        unhealthy_interval: Some(encode_duration(value.unhealthy_interval)),
        health_checker: Some(encode_kind(&value.kind)),
        ..Default::default()
    }
}

fn encode_kind(value: &HealthCheckKind) -> health_check::HealthChecker {
    use health_check::HealthChecker as Checker;
    match value {
        HealthCheckKind::Http(http) => Checker::HttpHealthCheck(encode_http(http)),
        HealthCheckKind::Grpc { service, authority } => Checker::GrpcHealthCheck(health_check::GrpcHealthCheck {
            service_name: service.to_string(),
            authority: authority.to_string(),
            initial_metadata: Vec::new(),
        }),
        HealthCheckKind::Tcp { send, receive } => Checker::TcpHealthCheck(health_check::TcpHealthCheck {
            send: (!send.is_empty()).then(|| encode_payload(send)),
            receive: receive.iter().map(|bytes| encode_payload(bytes)).collect(),
            proxy_protocol_config: None,
        }),
    }
}

fn encode_http(value: &HttpHealthCheck) -> health_check::HttpHealthCheck {
    let range = |(start, end): &(u16, u16)| Int64Range { start: i64::from(*start), end: i64::from(*end) };
    // "GET" is what is meant when nothing is said.
    let method = METHODS.iter().find(|(known, text)| **text == *value.method && *known != RequestMethod::Get);
    health_check::HttpHealthCheck {
        host: value.host.to_string(),
        path: value.path.to_string(),
        method: method.map_or(RequestMethod::MethodUnspecified, |(method, _)| *method).into(),
        expected_statuses: value.expected_statuses.iter().map(range).collect(),
        retriable_statuses: value.retriable_statuses.iter().map(range).collect(),
        request_headers_to_add: encode_additions(&value.request_headers),
        request_headers_to_remove: encode_removals(&value.request_headers),
        codec_client_type: if value.http2 { CodecClientType::Http2 } else { CodecClientType::Http1 }.into(),
        ..Default::default()
    }
}

/// In digits, which every version of Envoy reads.
fn encode_payload(bytes: &[u8]) -> health_check::Payload {
    let text = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    health_check::Payload { payload: Some(health_check::payload::Payload::Text(text)) }
}
