//! What a span says of a hop: OpenTelemetry's names for HTTP and gRPC, Istio's for whoever reads a mesh by them, and ours for what
//! policies did.
//!
//! A query may carry secrets: it is in no attribute.

use std::borrow::Cow;
use std::net::SocketAddr;

use tidegate_http1::Version;
use tidegate_report::ResponseFlag;
use tidegate_xds::name::subset;

use super::span::{ErrorType, Kind, Span};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'s> {
    Text(Cow<'s, str>),
    Number(i64),
    Yes,
}

impl Value<'_> {
    /// For collectors that know only texts.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Yes => Cow::Borrowed("true"),
        }
    }
}

pub(crate) type Attributes<'s> = Vec<(&'static str, Value<'s>)>;

struct List<'s>(Attributes<'s>);

impl<'s> List<'s> {
    fn text(&mut self, name: &'static str, text: impl Into<Cow<'s, str>>) {
        self.0.push((name, Value::Text(text.into())));
    }

    fn number(&mut self, name: &'static str, number: impl Into<i64>) {
        self.0.push((name, Value::Number(number.into())));
    }

    fn yes(&mut self, name: &'static str, is: bool) {
        if is {
            self.0.push((name, Value::Yes));
        }
    }
}

/// All of them. `instance`: the node that exports them.
pub(crate) fn of<'s>(span: &'s Span, instance: &str) -> Attributes<'s> {
    let mut list = List(Vec::with_capacity(36));
    http(span, &mut list);
    grpc(span, &mut list);
    mesh(span, &mut list);
    istio(span, instance, &mut list);
    list.0
}

/// OpenTelemetry's semantic conventions, "HTTP spans" (stable).
fn http<'s>(span: &'s Span, list: &mut List<'s>) {
    let scheme = if span.encrypted { "https" } else { "http" };
    let (host, port) = host_and_port(&span.authority, span.encrypted);
    let pattern = span.route.as_ref().and_then(|route| route.pattern.as_deref());
    list.text("http.request.method", span.method);
    list.text("server.address", host);
    list.number("server.port", port);
    let far = match span.kind {
        Kind::Server => {
            list.text("url.path", &*span.path);
            list.text("url.scheme", scheme);
            list.text("client.address", span.peer.ip().to_canonical().to_string());
            pattern.into_iter().for_each(|pattern| list.text("http.route", pattern));
            Some(span.peer)
        }
        Kind::Client => {
            list.text("url.full", format!("{scheme}://{}{}", span.authority, span.path));
            pattern.into_iter().for_each(|pattern| list.text("url.template", pattern));
            if span.attempt > 1 {
                list.number("http.request.resend_count", span.attempt - 1);
            }
            span.upstream
        }
    };
    if let Some(far) = far {
        list.text("network.peer.address", far.ip().to_canonical().to_string());
        list.number("network.peer.port", far.port());
    }
    list.text("network.protocol.name", "http");
    list.text(
        "network.protocol.version",
        match span.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2",
        },
    );
    span.user_agent.iter().for_each(|agent| list.text("user_agent.original", &**agent));
    if span.status != 0 {
        list.number("http.response.status_code", span.status);
    }
    match span.error {
        Some(ErrorType::Status(status)) => list.text("error.type", status.to_string()),
        Some(ErrorType::Word(word)) => list.text("error.type", word),
        None => {}
    }
}

/// OpenTelemetry's semantic conventions, "gRPC".
fn grpc<'s>(span: &'s Span, list: &mut List<'s>) {
    let Some(grpc) = &span.grpc else { return };
    list.text("rpc.system.name", "grpc");
    list.text("rpc.method", &*grpc.method);
    if let Some(status) = grpc.status {
        list.text("rpc.status_code", grpc_status(status));
    }
}

/// What the mesh did, and by whose word.
fn mesh<'s>(span: &'s Span, list: &mut List<'s>) {
    list.text("tidegate.listener", &*span.listener);
    if let Some(route) = &span.route {
        if !route.name.is_empty() {
            list.text("tidegate.route", &*route.name);
        }
        list.text("tidegate.virtual_host", &*route.virtual_host);
        if !route.policies.is_empty() {
            let policies: Vec<_> = route.policies.iter().map(|(kind, from)| format!("{kind} {from}")).collect();
            list.text("tidegate.policies", policies.join(", "));
        }
    }
    if let Some(cluster) = &span.cluster {
        list.text("tidegate.cluster", &**cluster);
        subset(cluster).into_iter().for_each(|version| list.text("tidegate.version", version));
    }
    span.upstream.into_iter().for_each(|address| list.text("tidegate.upstream.address", address.to_string()));
    if span.attempt > 1 {
        list.number("tidegate.retries", span.attempt - 1);
    }
    let injected = span.has(ResponseFlag::FaultInjected) || span.has(ResponseFlag::DelayInjected);
    list.yes("tidegate.fault_injected", injected);
    list.yes("tidegate.rate_limited", span.has(ResponseFlag::RateLimited));
    list.yes("tidegate.mirrored", span.copied);
}

/// The tags of Istio's proxies.
fn istio<'s>(span: &'s Span, instance: &str, list: &mut List<'s>) {
    list.text("component", "proxy");
    list.text("node_id", node_id(span, instance));
    span.cluster.iter().for_each(|cluster| list.text("upstream_cluster", &**cluster));
    let flags = ResponseFlag::ALL.into_iter().filter(|flag| span.has(*flag)).map(ResponseFlag::code);
    let flags = flags.collect::<Vec<_>>().join(",");
    list.text("response_flags", if flags.is_empty() { "-".into() } else { Cow::Owned(flags) });
    span.request_id.iter().for_each(|id| list.text("guid:x-request-id", &**id));
    list.text("peer.address", span.peer.ip().to_canonical().to_string());
}

/// `sidecar~ADDRESS~WORKLOAD.NAMESPACE~DOMAIN`: consoles look for the third part.
fn node_id(span: &Span, instance: &str) -> String {
    let role = if span.gateway { "router" } else { "sidecar" };
    let address = span.local.map(|local: SocketAddr| local.ip().to_canonical().to_string()).unwrap_or_default();
    let namespace = instance.rsplit_once('.').map_or("default", |(_, namespace)| namespace);
    format!("{role}~{address}~{instance}~{namespace}.svc.cluster.local")
}

/// The host that was asked for, and its port or the usual one.
fn host_and_port(authority: &str, encrypted: bool) -> (&str, u16) {
    let usual = if encrypted { 443 } else { 80 };
    match authority.rsplit_once(':') {
        // The colons of an address of version 6 stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(usual)),
        Some(_) | None => (authority, usual),
    }
}

/// The names of gRPC's status codes.
fn grpc_status(status: u32) -> Cow<'static, str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let known = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    known.map_or_else(|| Cow::Owned(status.to_string()), |name| Cow::Borrowed(*name))
}
