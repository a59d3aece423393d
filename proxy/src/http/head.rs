//! Heads between the crates: the questions of the decisions answered from the codec's heads, and what the proxy changes.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;

use tidegate_http1::{HeadEdits, Names, RequestHead, ResponseHead, Unwritable, Version};
use tidegate_traffic::rewrite::{rewritten_authority, rewritten_path_and_query};
use tidegate_traffic::timeout::{PER_TRY_TIMEOUT_HEADER, TIMEOUT_HEADER};
use tidegate_traffic::{
    Chosen, CompiledForward, CompiledRoute, Context, HeadEditor, RequestView, ResponseView, apply_request,
    apply_response,
};
use tidegate_xds::resource::listener::{HttpConnectionManager, ServerHeader};

use crate::telemetry::trace::{Hop, eight};

/// A request head with the path that rules see.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) path: &'a str,
    /// What the caller says to proxies is not heard: it is not part of the mesh, or says nothing.
    pub(crate) deaf: bool,
}

impl<'a> Request<'a> {
    /// As a listener sees it. `speaks_to_proxies`: what [`speaks_to_proxies`] says of the head.
    pub(crate) fn at(head: &'a RequestHead, manager: &HttpConnectionManager, speaks_to_proxies: bool) -> Self {
        Self { head, path: head.path(), deaf: manager.use_remote_address || !speaks_to_proxies }
    }

    /// With every field that was received.
    pub(crate) fn hearing_all(self) -> Self {
        Self { deaf: false, ..self }
    }
}

impl RequestView for Request<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn scheme(&self) -> &str {
        self.head.scheme().unwrap_or("http")
    }

    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn authority_bytes(&self) -> &[u8] {
        self.head.authority_bytes()
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let values = if self.deaf && is_for_proxies(name) { 0 } else { usize::MAX };
        self.head.field_all(name).take(values)
    }

    fn path_and_query(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.head.path_and_query())
    }

    fn speaks_to_proxies(&self) -> bool {
        !self.deaf
    }
}

/// An answer's head.
pub(crate) struct Response<'a>(pub(crate) &'a ResponseHead);

impl ResponseView for Response<'_> {
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.field_all(name)
    }
}

pub(crate) struct RequestEditor<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) edits: &'a mut HeadEdits,
}

impl HeadEditor for RequestEditor<'_> {
    fn remove(&mut self, lower_name: &str) {
        self.edits.remove(lower_name);
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.edits.set(name, value);
    }

    fn append(&mut self, name: &str, value: &[u8]) {
        self.edits.append(name, value);
    }

    fn contains(&self, lower_name: &str) -> bool {
        self.head.edited(self.edits).get(lower_name).is_some()
    }
}

pub(crate) struct ResponseEditor<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) edits: &'a mut HeadEdits,
}

impl HeadEditor for ResponseEditor<'_> {
    fn remove(&mut self, lower_name: &str) {
        self.edits.remove(lower_name);
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.edits.set(name, value);
    }

    fn append(&mut self, name: &str, value: &[u8]) {
        self.edits.append(name, value);
    }

    fn contains(&self, lower_name: &str) -> bool {
        self.head.edited(self.edits).get(lower_name).is_some()
    }
}

const PREFIX: &[u8] = b"x-envoy-";

/// Fields by which a caller speaks to the proxy that forwards its request. Obeyed and removed.
const CONSUMED: &[&str] = &[
    TIMEOUT_HEADER,
    PER_TRY_TIMEOUT_HEADER,
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
];

/// Fields by which proxies of a mesh speak to each other. Where the mesh begins (the listener takes the caller's address
/// from the connection) nobody may have set them; Envoy removes the same there.
const STRIPPED_AT_EDGE: &[&str] = &[
    "x-envoy-internal",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-alt-response",
];

/// Says whom the caller's certificate names, on the word of the proxy that has checked it. No caller of ours shows one, so
/// nobody has; Envoy's default is the same.
const CLIENT_CERTIFICATE: &str = "x-forwarded-client-cert";

/// Whether a head has any field for proxies: asked once for each request, so that none of them is looked for in vain.
pub(crate) fn speaks_to_proxies(head: &RequestHead) -> bool {
    head.fields().any(|(name, _)| name.len() > PREFIX.len() && name[..PREFIX.len()].eq_ignore_ascii_case(PREFIX))
}

fn is_for_proxies(name: &str) -> bool {
    name.starts_with("x-envoy-") && (CONSUMED.contains(&name) || STRIPPED_AT_EDGE.contains(&name))
}

/// What the forwarded head depends on besides the request.
pub(crate) struct Forwarding<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) manager: &'a HttpConnectionManager,
    pub(crate) route: &'a CompiledRoute,
    pub(crate) forward: &'a CompiledForward,
    pub(crate) chosen: &'a Chosen<'a>,
    pub(crate) context: Context<'a>,
    pub(crate) peer: &'a PeerName,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) trace: &'a Hop<'a>,
    pub(crate) endpoint_hostname: Option<&'a str>,
    pub(crate) attempt: u32,
    /// The head has fields for proxies.
    pub(crate) speaks_to_proxies: bool,
}

/// Changes to a request on its way to the endpoint. The proxy's own fields come first, so that configuration has the last
/// word on them.
pub(crate) fn request_edits(forwarding: &Forwarding<'_>, edits: &mut HeadEdits) {
    let head = forwarding.request.head;
    if let Some(id) = forwarding.request_id {
        edits.append_own_line(RequestId::NAME, &id.line());
    }
    // Most heads come from applications, which know nothing of these.
    let received = !head.lacks(FROM_PROXIES);
    if !received || head.field(FORWARDED_PROTO).is_none() {
        forwarded_proto(head.scheme().unwrap_or("http"), edits);
    }
    if forwarding.manager.use_remote_address {
        forwarded_for(head, forwarding.peer, edits);
    }
    if received && head.field(CLIENT_CERTIFICATE).is_some() {
        edits.remove(CLIENT_CERTIFICATE);
    }
    forwarding.trace.write(forwarding, received, edits);
    if forwarding.speaks_to_proxies {
        let edge = forwarding.manager.use_remote_address;
        for name in CONSUMED.iter().chain(if edge { STRIPPED_AT_EDGE } else { &[] }) {
            if head.field(name).is_some() {
                edits.remove(name);
            }
        }
    }
    if forwarding.route.include_attempt_count {
        edits.set("x-envoy-attempt-count", forwarding.attempt.to_string().as_bytes());
    }
    let request = forwarding.request.hearing_all();
    let chosen = Some(forwarding.chosen);
    let mut editor = RequestEditor { head, edits };
    apply_request(forwarding.route, chosen, &request, &forwarding.context, &mut editor);
    if let Some(path) = rewritten_path_and_query(forwarding.forward, &request) {
        edits.path_and_query(path);
    }
    let authority = rewritten_authority(forwarding.forward, forwarding.chosen, &request, forwarding.endpoint_hostname);
    if let Some(authority) = authority {
        if forwarding.forward.append_x_forwarded_host {
            edits.append("x-forwarded-host", head.authority().as_bytes());
        }
        edits.authority(authority);
    }
}

/// Changes to an answer on its way to the caller.
pub(crate) fn response_edits(
    request: Request<'_>,
    response: &ResponseHead,
    manager: &HttpConnectionManager,
    route: Option<&CompiledRoute>,
    chosen: Option<&Chosen<'_>>,
    context: &Context<'_>,
    edits: &mut HeadEdits,
) {
    match &manager.server_header {
        ServerHeader::PassThrough => {}
        ServerHeader::Overwrite(name) => edits.set("server", name.as_bytes()),
        ServerHeader::AppendIfAbsent(name) => {
            if response.field("server").is_none() {
                edits.append("server", name.as_bytes());
            }
        }
    }
    if let Some(route) = route {
        let mut editor = ResponseEditor { head: response, edits };
        apply_response(route, chosen, &request.hearing_all(), &Response(response), context, &mut editor);
    }
}

/// The name of a request's protocol in formats.
pub(crate) fn protocol(head: &RequestHead) -> &'static str {
    match head.version() {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// What another proxy, or a tracer, may have written.
const FROM_PROXIES: Names = Names::of(&[FORWARDED_PROTO, CLIENT_CERTIFICATE, "traceparent"]);

/// A caller's address as text, and the line that says whom a request came from: written once for each connection.
#[derive(Clone, Debug)]
pub(crate) struct PeerName(Rc<str>);

impl PeerName {
    pub(crate) fn of(peer: SocketAddr) -> Self {
        Self(format!("{FORWARDED_FOR}: {}\r\n", peer.ip().to_canonical()).into())
    }

    fn line(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn ip(&self) -> &str {
        &self.0[FORWARDED_FOR.len() + 2..self.0.len() - 2]
    }
}

/// Encrypted or not.
fn forwarded_proto(scheme: &str, edits: &mut HeadEdits) {
    const NAME: &str = FORWARDED_PROTO;
    match scheme {
        "http" => edits.append_own_line(NAME, b"x-forwarded-proto: http\r\n"),
        "https" => edits.append_own_line(NAME, b"x-forwarded-proto: https\r\n"),
        other => edits.append_own(NAME, other.as_bytes()),
    }
}

/// What was there, and the caller behind it.
fn forwarded_for(head: &RequestHead, peer: &PeerName, edits: &mut HeadEdits) {
    const NAME: &str = FORWARDED_FOR;
    if head.field(NAME).is_none() {
        return edits.append_own_line(NAME, peer.line());
    }
    let mut value = Vec::with_capacity(48);
    for earlier in head.field_all(NAME) {
        value.extend_from_slice(earlier);
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(peer.ip().as_bytes());
    edits.set(NAME, &value);
}

/// A request's id: 128 random bits, sent as a UUID (RFC 9562, version 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) [u64; 2]);

impl RequestId {
    const NAME: &str = "x-request-id";

    /// As it is sent.
    pub(crate) fn text(self) -> [u8; 36] {
        let line = self.line();
        std::array::from_fn(|at| line[Self::NAME.len() + 2 + at])
    }

    /// The line that is sent.
    fn line(self) -> [u8; 52] {
        let [high, low] = self.0;
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0x3 << 62) | 0x2 << 62;
        let [first, second] = [eight(high >> 32), eight(high)];
        let [third, fourth] = [eight(low >> 32), eight(low)];
        let mut line = *b"x-request-id: 00000000-0000-0000-0000-000000000000\r\n";
        line[14..22].copy_from_slice(&first);
        line[23..27].copy_from_slice(&second[..4]);
        line[28..32].copy_from_slice(&second[4..]);
        line[33..37].copy_from_slice(&third[..4]);
        line[38..42].copy_from_slice(&third[4..]);
        line[42..50].copy_from_slice(&fourth);
        line
    }
}

/// Mutations made a head that cannot be sent.
impl From<Unwritable> for super::exchange::Trouble {
    fn from(_: Unwritable) -> Self {
        Self::Unwritable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_version_4_uuid() {
        let id = |high, low| {
            let line = String::from_utf8(RequestId([high, low]).line().to_vec()).expect("ascii");
            line.strip_prefix("x-request-id: ").and_then(|rest| rest.strip_suffix("\r\n")).expect("a line").to_owned()
        };

        assert_eq!(id(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(id(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(id(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210), "01234567-89ab-4def-bedc-ba9876543210");
    }
}
