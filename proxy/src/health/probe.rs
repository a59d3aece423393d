//! One active health check: a question to an endpoint, inside its deadline.
//!
//! # Why a fresh connection each time
//! A kept connection shows that a process once accepted it. What a balancer wants to know is whether the next caller gets
//! through, and that begins with a connection. It costs a handshake per interval and endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tidegate_http1::{Framing, HeadEdits, Limits, Parsed, RequestHead, parse_response, write_request};
use tidegate_traffic::health_check::{CheckResult, grpc_result, http_result, tcp_matches};
use tidegate_xds::resource::cluster::{HealthCheck, HealthCheckKind, HttpHealthCheck};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tls::client::{ClientTls, Inside};
use crate::upstream::connect::encrypted;
use crate::wire::socket::{Socket, Stream};

/// What is read of an answer before it counts as none: a head, a gRPC message, or what a TCP check looks for.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Tells that the endpoint should get less load, without being bad.
const DEGRADED: &str = "x-envoy-degraded";

/// Tells that the endpoint wants no more.
const FAIL: &str = "x-envoy-immediate-health-check-fail";

/// What an endpoint answered, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) result: CheckResult,
    pub(crate) reason: Arc<str>,
}

fn finding(result: CheckResult, reason: impl Into<Arc<str>>) -> Finding {
    Finding { result, reason: reason.into() }
}

/// Asks once. `cluster` is the host of a check that names none, as in Envoy, if a host can be called so; otherwise it is the
/// endpoint's address.
pub(crate) async fn ask(address: SocketAddr, check: &HealthCheck, cluster: &str, tls: Option<&ClientTls>) -> Finding {
    let address = check.alt_port.map_or(address, |port| SocketAddr::new(address.ip(), port));
    let own = address.to_string();
    // Control planes put more into a cluster's name than a host may hold (`outbound|9080||reviews`).
    let is_host = cluster.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let cluster = if is_host { cluster } else { &own };
    let asked = async {
        let stream = match tls {
            None => TcpStream::connect(address).await.map(Stream::Plain).map_err(|error| error.kind().to_string()),
            Some(tls) => encrypted(address, tls, inside(&check.kind))
                .await
                .map(Socket::into_inner)
                .map_err(|fault| format!("{fault:?}")),
        };
        let stream = stream.map_err(|reason| format!("connect: {reason}"))?;
        match &check.kind {
            HealthCheckKind::Http(http) if http.http2 => over_http2(stream, http, cluster).await,
            HealthCheckKind::Http(http) => over_http1(stream, http, cluster).await,
            HealthCheckKind::Grpc { service, authority } => {
                let authority = if authority.is_empty() { cluster } else { authority };
                over_grpc(stream, service, authority).await
            }
            HealthCheckKind::Tcp { send, receive } => over_tcp(stream, send, receive).await,
        }
    };
    match tokio::time::timeout(check.timeout, asked).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(reason)) => finding(CheckResult::Failed, reason),
        Err(_elapsed) => finding(CheckResult::Failed, "no answer in time"),
    }
}

fn inside(check: &HealthCheckKind) -> Inside {
    match check {
        HealthCheckKind::Http(http) if !http.http2 => Inside::Http1,
        HealthCheckKind::Http(_) | HealthCheckKind::Grpc { .. } => Inside::Http2,
        HealthCheckKind::Tcp { .. } => Inside::Bytes,
    }
}

fn host<'a>(check: &'a HttpHealthCheck, cluster: &'a str) -> &'a str {
    if check.host.is_empty() { cluster } else { &check.host }
}

/// The check's own fields. They are the same for every endpoint and time, so that formats have nothing to say in them.
fn fields(check: &HttpHealthCheck) -> impl Iterator<Item = (&str, String)> {
    check.request_headers.add.iter().map(|addition| (&*addition.name, addition.value.replace("%%", "%")))
}

async fn over_http1(mut stream: Stream, check: &HttpHealthCheck, cluster: &str) -> Result<Finding, String> {
    let limits = Limits::default();
    let fields: Vec<_> = fields(check).collect();
    let mut builder = RequestHead::builder()
        .method(&check.method)
        .authority(host(check, cluster))
        .path_and_query(&check.path)
        .framing(Framing::None)
        .field("user-agent", b"tidegate-health-check");
    for (name, value) in &fields {
        builder = builder.field(name, value.as_bytes());
    }
    let head =
        builder.build(&limits).map_err(|refusal| format!("the check's head is not valid: {}", refusal.reason))?;
    let mut out = Vec::new();
    write_request(&mut out, &head, &HeadEdits::new(), Framing::None, None).map_err(|error| error.to_string())?;
    stream.write_all(&out).await.map_err(|error| format!("write: {}", error.kind()))?;
    stream.flush().await.map_err(|error| format!("write: {}", error.kind()))?;
    let mut input = Vec::new();
    loop {
        match parse_response(&input, &check.method, &limits) {
            Ok(Parsed::Complete { head, consumed }) if head.is_interim() && head.status() != 101 => {
                input.drain(..consumed);
                continue;
            }
            Ok(Parsed::Complete { head, .. }) => {
                let (degraded, fail) = (head.field(DEGRADED).is_some(), head.field(FAIL).is_some());
                let result = http_result(check, head.status(), degraded, fail);
                return Ok(finding(result, format!("status {}", head.status())));
            }
            Ok(Parsed::Partial) if input.len() < ANSWER_BYTES_MAX => {}
            Ok(Parsed::Partial) => return Err("the answer's head is too long".to_owned()),
            Err(refusal) => return Err(format!("the answer is not HTTP: {}", refusal.reason)),
        }
        if stream.read_buf(&mut input).await.map_err(|error| format!("read: {}", error.kind()))? == 0 {
            return Err("closed without an answer".to_owned());
        }
    }
}

/// Runs an exchange on an HTTP/2 connection of its own.
async fn on_http2<F, T>(stream: Stream, exchange: impl FnOnce(SendRequest<Bytes>) -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let opened = h2::client::handshake(stream).await;
    let (send, connection) = opened.map_err(|error| format!("handshake: {error}"))?;
    let exchange = exchange(send);
    let mut exchange = std::pin::pin!(exchange);
    let mut connection = std::pin::pin!(connection);
    // The answer first: it may be complete when the connection ends.
    tokio::select! {
        biased;
        result = &mut exchange => result,
        ended = &mut connection => {
            ended.map_err(|error| error.to_string())?;
            exchange.await
        }
    }
}

fn request(method: &str, authority: &str, path: &str) -> Result<Request<()>, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
    let uri = uri.map_err(|error| format!("the check's head is not valid: {error}"))?;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    *request.version_mut() = http::Version::HTTP_2;
    Ok(request)
}

async fn over_http2(stream: Stream, check: &HttpHealthCheck, cluster: &str) -> Result<Finding, String> {
    let mut request = request(&check.method, host(check, cluster), &check.path)?;
    for (name, value) in fields(check) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        request.headers_mut().append(name, value);
    }
    on_http2(stream, |send| async move {
        let mut send = send.ready().await.map_err(|error| error.to_string())?;
        let (response, _) = send.send_request(request, true).map_err(|error| error.to_string())?;
        let response = response.await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let has = |name| response.headers().contains_key(name);
        Ok(finding(http_result(check, status, has(DEGRADED), has(FAIL)), format!("status {status}")))
    })
    .await
}

async fn over_grpc(stream: Stream, service: &str, authority: &str) -> Result<Finding, String> {
    let mut request = request("POST", authority, "/grpc.health.v1.Health/Check")?;
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    let message = health_request(service);
    on_http2(stream, |send| async move {
        let mut send = send.ready().await.map_err(|error| error.to_string())?;
        let (response, mut out) = send.send_request(request, false).map_err(|error| error.to_string())?;
        out.send_data(message, true).map_err(|error| error.to_string())?;
        let response = response.await.map_err(|error| error.to_string())?;
        if response.status() != http::StatusCode::OK {
            return Ok(finding(CheckResult::Refused, format!("status {}", response.status().as_u16())));
        }
        if let Some(status) = grpc_status(response.headers()).filter(|status| *status != 0) {
            return Ok(finding(grpc_result(status, None), format!("grpc-status {status}")));
        }
        let mut body = response.into_body();
        let mut input = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(|error| error.to_string())?;
            body.flow_control().release_capacity(data.len()).map_err(|error| error.to_string())?;
            input.extend_from_slice(&data);
            if input.len() > ANSWER_BYTES_MAX {
                return Err("the answer is too long".to_owned());
            }
        }
        let trailers = body.trailers().await.map_err(|error| error.to_string())?;
        let status = trailers.as_ref().and_then(grpc_status).unwrap_or(0);
        let serving = serving_status(&input);
        let reason = match serving {
            _ if status != 0 => format!("grpc-status {status}"),
            Some(serving) => format!("serving status {serving}"),
            None => "the answer is not a health message".to_owned(),
        };
        Ok(finding(grpc_result(status, serving), reason))
    })
    .await
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `grpc.health.v1.HealthCheckRequest` in its frame. One field of text: too little to bring a message crate for.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 16);
    if !service.is_empty() {
        message.push(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.append(&mut message);
    Bytes::from(frame)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The `status` of a `grpc.health.v1.HealthCheckResponse` in its frame; 0 when the message does not say.
fn serving_status(frame: &[u8]) -> Option<u32> {
    let (head, rest) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut message = rest.get(..usize::try_from(length).ok()?)?;
    // Compressed answers were not asked for.
    if head[0] != 0 {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    u32::try_from(status).ok()
}

async fn over_tcp(mut stream: Stream, send: &[u8], receive: &[Arc<[u8]>]) -> Result<Finding, String> {
    if !send.is_empty() {
        stream.write_all(send).await.map_err(|error| format!("write: {}", error.kind()))?;
        stream.flush().await.map_err(|error| format!("write: {}", error.kind()))?;
    }
    let mut input = Vec::new();
    while !tcp_matches(receive, &input) {
        if input.len() > ANSWER_BYTES_MAX {
            return Err("the expected bytes did not come".to_owned());
        }
        if stream.read_buf(&mut input).await.map_err(|error| format!("read: {}", error.kind()))? == 0 {
            return Err("closed before the expected bytes came".to_owned());
        }
    }
    Ok(finding(CheckResult::Passed, "connected"))
}

#[cfg(test)]
mod tests;
