//! Spans by POST: OTLP at `/v1/traces`, Zipkin at `/api/v2/spans`. Each is answered, and refused, in its own words.

use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use crate::api::{Answer, text, with_type};
use crate::fleet::Fleet;
use crate::trace::grpc::export_response;
use crate::trace::intake::{Format, Intake, IntakeError, Taken};
use crate::trace::wire::{put_bytes, put_number};

const OTLP: &str = "/v1/traces";
const ZIPKIN: &str = "/api/v2/spans";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// When to come again: the budget is used up for moments only.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Whether a request brings spans.
pub(in crate::api) fn takes(request: &Request<Incoming>) -> bool {
    matches!(request.uri().path(), OTLP) || (*request.method() == Method::POST && request.uri().path() == ZIPKIN)
}

/// Takes them.
pub(in crate::api) async fn post(request: Request<Incoming>, fleet: &Fleet) -> Answer {
    if *request.method() != Method::POST {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "spans are sent with POST\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    let (head, body) = request.into_parts();
    let is_zipkin = head.uri.path() == ZIPKIN;
    let format = match (media_type(&head.headers), is_zipkin) {
        (Some(PROTOBUF), false) => Format::Otlp,
        (Some(JSON), false) => Format::OtlpJson,
        (Some(JSON) | None, true) => Format::Zipkin,
        (_, false) => return unsupported("content-type must be application/x-protobuf or application/json"),
        (_, true) => return unsupported("content-type must be application/json: spans of Zipkin's v2 JSON"),
    };
    let is_packed = match head.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return unsupported("content-encoding must be gzip, or not be there"),
    };
    let taken = take(fleet.traces(), format, body, is_packed).await;
    match (taken, format) {
        (Ok(_), Format::Zipkin) => with_type(StatusCode::ACCEPTED, "text/plain; charset=utf-8", ""),
        (Ok(taken), Format::OtlpJson) => with_type(StatusCode::OK, JSON, partial_json(&taken)),
        (Ok(taken), _) => with_type(StatusCode::OK, PROTOBUF, export_response(&taken)),
        (Err(error), format) => refusal(&error, format),
    }
}

async fn take(
    intake: &std::sync::Arc<Intake>,
    format: Format,
    body: Incoming,
    is_packed: bool,
) -> Result<Taken, IntakeError> {
    let received = intake.read(body, is_packed).await?;
    intake.take(format, received).await
}

/// Without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim())
}

fn unsupported(why: &'static str) -> Answer {
    text(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{why}\n"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_success: Option<PartialSuccess>,
}

/// 64-bit numbers are texts in JSON of protobuf.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess {
    rejected_spans: String,
    error_message: &'static str,
}

fn partial_json(taken: &Taken) -> Vec<u8> {
    let partial_success = (taken.rejected > 0).then(|| PartialSuccess {
        rejected_spans: taken.rejected.to_string(),
        error_message: taken.why.unwrap_or_default(),
    });
    serde_json::to_vec(&ExportResponse { partial_success }).unwrap_or_else(|_| b"{}".to_vec())
}

/// OTLP wants a `google.rpc.Status` in the form of the request.
#[derive(Serialize)]
struct RpcStatus {
    code: u8,
    message: String,
}

fn refusal(error: &IntakeError, format: Format) -> Answer {
    let (status, code) = match error {
        IntakeError::Malformed(_) | IntakeError::CutOff(_) => (StatusCode::BAD_REQUEST, 3),
        IntakeError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 3),
        IntakeError::Busy => (StatusCode::SERVICE_UNAVAILABLE, 14),
        IntakeError::Slow => (StatusCode::REQUEST_TIMEOUT, 4),
    };
    let message = error.to_string();
    let mut answer: Response<_> = match format {
        Format::OtlpJson => {
            let body = serde_json::to_vec(&RpcStatus { code, message }).unwrap_or_default();
            with_type(status, JSON, body)
        }
        Format::Otlp => {
            let mut body = Vec::new();
            put_number(&mut body, 1, u64::from(code));
            put_bytes(&mut body, 2, message.as_bytes());
            with_type(status, PROTOBUF, body)
        }
        Format::Zipkin | Format::SkyWalking | Format::SkyWalkingCollection => text(status, format!("{message}\n")),
    };
    if matches!(error, IntakeError::Busy) {
        answer.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    }
    answer
}
