//! What can be asked of an entry: by operators of a text format, and by the tables of the JSON formats.
//!
//! # Why one list for all
//! A number that means one thing in one format and another in the next is worse than none. Formats name and arrange; what a field
//! is, is said here once.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::Outcome;
use super::entry::{Entry, Place};
use super::redact::Redaction;
use super::time::Layout;
use crate::http::head::protocol;

/// No value is longer in a line: as long as a target may be. What is cut off is not worth what it costs to keep.
pub(crate) const VALUE_BYTES_MAX: usize = 16 * 1024;

/// What a line can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// A part of the request's head, or another one where that is missing.
    Request {
        first: Name,
        second: Option<Name>,
    },
    /// A field of the answer's head, by its place among those that formats want.
    Response {
        first: usize,
        second: Option<usize>,
    },
    StartTime,
    StartTimeAs(Layout),
    StartTimeMs,
    /// When the line was written.
    NowMs,
    DurationMs,
    DurationNs,
    /// From the request to the beginning of its answer.
    ResponseMs,
    /// From the choice of the endpoint to the beginning of its answer.
    UpstreamMs,
    BytesReceived,
    BytesSent,
    /// The same, where it is a request and not a connection.
    BytesOfRequest,
    BytesOfAnswer,
    Protocol,
    ProtocolName,
    ProtocolVersion,
    /// `http` or `tcp`.
    Kind,
    /// The same as ECS says it.
    Category,
    /// `success` or `failure`.
    Success,
    Scheme,
    /// Of the authority.
    Host,
    HostPort,
    Path,
    Query,
    Status,
    StatusOrNone,
    Details,
    FlagsJoined,
    Flags,
    GrpcStatus(GrpcForm),
    Remote(Part),
    Client(Part),
    Local(Part),
    ServerName,
    UpstreamHost(Part),
    UpstreamFailure,
    Cluster,
    Attempts,
    Listener,
    VirtualHost,
    Route,
    Source,
    Policies,
    RequestId,
    TraceId,
    SpanId,
    /// Always this.
    Constant(&'static str),
    /// Never known here.
    Nothing,
}

/// A part of the request's head, by the name that formats have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    /// One that our own formats have.
    Known(&'static str),
    /// One of somebody's format.
    Field(Box<str>),
}

/// Of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Ip,
    Port,
}

/// How a status of gRPC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    Number,
}

/// What an entry answers.
pub(super) enum Value<'v> {
    Absent,
    Bytes(Cow<'v, [u8]>),
    Number(u64),
    Ip(IpAddr),
    Address(SocketAddr),
    Time(SystemTime),
    TimeAs(SystemTime, &'v Layout),
    Words(&'static [&'static str]),
    /// Codes of response flags.
    Flags,
    Policies,
}

impl<'v> Value<'v> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn text(text: &'v str) -> Self {
        Self::Bytes(Cow::Borrowed(text.as_bytes()))
    }

    fn maybe(text: Option<&'v str>) -> Self {
        text.map_or(Self::Absent, Self::text)
    }

    fn of_address(address: Option<SocketAddr>, part: Part) -> Self {
        match (address, part) {
            (None, _) => Self::Absent,
            (Some(address), Part::Whole) => Self::Address(address),
            (Some(address), Part::Ip) => Self::Ip(address.ip()),
            (Some(address), Part::Port) => Self::Number(address.port().into()),
        }
    }
}

fn milliseconds(duration: Option<Duration>) -> Value<'static> {
    duration.map_or(Value::Absent, |duration| Value::Number(Entry::milliseconds(duration)))
}

impl Field {
    pub(super) fn of<'v>(&'v self, entry: &'v Entry<'_>, redaction: &'v Redaction) -> Value<'v> {
        let outcome = entry.outcome;
        match self {
            Self::Request { first, second } => {
                let value = request(entry, first, redaction);
                let second = || second.as_ref().and_then(|name| request(entry, name, redaction));
                value.or_else(second).map_or(Value::Absent, Value::Bytes)
            }
            Self::Response { first, second } => outcome
                .kept(*first)
                .or_else(|| outcome.kept((*second)?))
                .map_or(Value::Absent, |value| Value::Bytes(Cow::Owned(value))),
            Self::StartTime => Value::Time(entry.started_at),
            Self::StartTimeAs(layout) => Value::TimeAs(entry.started_at, layout),
            Self::StartTimeMs => since_1970(entry.started_at),
            Self::NowMs => since_1970(entry.now),
            Self::DurationMs => Value::Number(Entry::milliseconds(entry.duration)),
            Self::DurationNs => Value::Number(u64::try_from(entry.duration.as_nanos()).unwrap_or(u64::MAX)),
            Self::ResponseMs => milliseconds(entry.response_time),
            Self::UpstreamMs => milliseconds(entry.upstream_time),
            Self::BytesReceived => Value::Number(outcome.received.get()),
            Self::BytesSent => Value::Number(outcome.sent.get()),
            Self::BytesOfRequest => entry.request.map_or(Value::Absent, |_| Value::Number(outcome.received.get())),
            Self::BytesOfAnswer => entry.request.map_or(Value::Absent, |_| Value::Number(outcome.sent.get())),
            Self::Protocol => Value::maybe(entry.request.map(protocol)),
            Self::ProtocolName => Value::maybe(entry.request.map(|_| "http")),
            Self::ProtocolVersion => match entry.request.map(protocol) {
                // As both conventions write it.
                Some(protocol) => Value::maybe(protocol.strip_prefix("HTTP/")),
                None => Value::Absent,
            },
            Self::Kind => Value::text(if entry.request.is_some() { "http" } else { "tcp" }),
            Self::Category => Value::Words(if entry.request.is_some() { &["network", "web"] } else { &["network"] }),
            Self::Success => Value::text(if entry.is_failed() { "failure" } else { "success" }),
            Self::Host => Value::maybe(entry.host().map(|(host, _)| host)),
            Self::HostPort => match entry.host() {
                Some((_, Some(port))) => Value::Number(port.into()),
                Some((_, None)) | None => Value::Absent,
            },
            Self::Scheme => Value::maybe(entry.request.map(|request| request.scheme().unwrap_or("http"))),
            Self::Path => Value::maybe(entry.request.map(|request| request.path())),
            Self::Query => {
                let query = entry.request.and_then(|request| redaction.query(request.query()?));
                query.map_or(Value::Absent, |query| Value::Bytes(cow_bytes(query)))
            }
            Self::Status => Value::Number(outcome.status.get().into()),
            Self::StatusOrNone => match outcome.status.get() {
                0 => Value::Absent,
                status => Value::Number(status.into()),
            },
            Self::Details => Value::maybe(outcome.details()),
            Self::FlagsJoined => flags_joined(outcome),
            Self::Flags => Value::Flags,
            Self::GrpcStatus(form) => outcome.grpc_status.get().map_or(Value::Absent, |status| form.value(status)),
            Self::Remote(part) => Value::of_address(Some(entry.remote), *part),
            Self::Client(part) => Value::of_address(Some(entry.client()), *part),
            Self::Local(part) => Value::of_address(entry.local, *part),
            Self::ServerName => Value::maybe(entry.server_name),
            Self::UpstreamHost(part) => Value::of_address(outcome.upstream.get(), *part),
            Self::UpstreamFailure => match &*outcome.failure.borrow() {
                Some(failure) => Value::Bytes(Cow::Owned(failure.clone().into_bytes())),
                None => Value::Absent,
            },
            Self::Cluster => Value::maybe(entry.cluster),
            Self::Attempts => Value::Number(outcome.attempts.get().into()),
            Self::Listener => Value::text(entry.listener),
            Self::VirtualHost => Value::maybe(entry.route.map(|route| route.virtual_host)),
            Self::Route => Value::maybe(entry.route.map(|route| route.name)),
            Self::Source => Value::maybe(entry.route.and_then(|Place { source, .. }| source)),
            Self::Policies => Value::Policies,
            Self::RequestId => request_id(entry).map_or(Value::Absent, Value::Bytes),
            Self::TraceId => Value::maybe(entry.trace().map(|(trace, _)| trace)),
            Self::SpanId => Value::maybe(entry.trace().map(|(_, span)| span)),
            Self::Constant(text) => Value::text(text),
            Self::Nothing => Value::Absent,
        }
    }
}

fn flags_joined(outcome: &Outcome) -> Value<'static> {
    match outcome.flags.get() {
        0 => Value::Absent,
        _ => Value::Bytes(Cow::Owned(outcome.flags().collect::<Vec<_>>().join(",").into_bytes())),
    }
}

fn since_1970(at: SystemTime) -> Value<'static> {
    Value::Number(at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, Entry::milliseconds))
}

fn cow_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// As it came, apart from what is not to be shown.
fn request<'v>(entry: &'v Entry<'_>, name: &'v Name, redaction: &'v Redaction) -> Option<Cow<'v, [u8]>> {
    let head = entry.request?;
    let text = match name {
        Name::Method => head.method(),
        Name::Scheme => head.scheme().unwrap_or("http"),
        Name::Authority => head.authority(),
        Name::Path => return Some(cow_bytes(redaction.target(head.path_and_query()))),
        Name::Known(name) => return Some(redaction.field(name, head.field(name)?)),
        Name::Field(name) if &**name == "x-request-id" => return request_id(entry),
        Name::Field(name) => return Some(redaction.field(name, head.field(name)?)),
    };
    (!text.is_empty()).then_some(Cow::Borrowed(text.as_bytes()))
}

/// The one that was made here, or the one that came.
fn request_id<'v>(entry: &'v Entry<'_>) -> Option<Cow<'v, [u8]>> {
    let made = entry.request_id.as_ref().map(|id| &id[..]);
    made.or_else(|| entry.request?.field("x-request-id")).map(Cow::Borrowed)
}

impl GrpcForm {
    fn value(self, status: u8) -> Value<'static> {
        const NAMES: [(&str, &str); 17] = [
            ("OK", "OK"),
            ("Canceled", "CANCELLED"),
            ("Unknown", "UNKNOWN"),
            ("InvalidArgument", "INVALID_ARGUMENT"),
            ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
            ("NotFound", "NOT_FOUND"),
            ("AlreadyExists", "ALREADY_EXISTS"),
            ("PermissionDenied", "PERMISSION_DENIED"),
            ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
            ("FailedPrecondition", "FAILED_PRECONDITION"),
            ("Aborted", "ABORTED"),
            ("OutOfRange", "OUT_OF_RANGE"),
            ("Unimplemented", "UNIMPLEMENTED"),
            ("Internal", "INTERNAL"),
            ("Unavailable", "UNAVAILABLE"),
            ("DataLoss", "DATA_LOSS"),
            ("Unauthenticated", "UNAUTHENTICATED"),
        ];
        let names = NAMES.get(usize::from(status));
        match (self, names) {
            (Self::Camel, Some((camel, _))) => Value::text(camel),
            (Self::Snake, Some((_, snake))) => Value::text(snake),
            (Self::Number, _) | (Self::Camel | Self::Snake, None) => Value::Number(status.into()),
        }
    }
}
