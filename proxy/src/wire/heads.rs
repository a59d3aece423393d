//! Heads between the form of ours and the maps that the `h2` crate takes and gives.
//!
//! # Memory
//! Such a map takes a block of memory for each value, and one for each name that is not registered. Here all values of a head lie
//! in one, unless it is so large that a value which stays behind in a table of HPACK would hold too much.
//!
//! # What HPACK keeps
//! Its table helps with fields that come again. A field whose value is another one each time drives those out, and the library
//! looks at all of its former values before it finds that it is new. And a secret must not lie in a table with what others send
//! on the same connection: its length would tell them how much of it they have guessed (RFC 7541 7.1). Neither is indexed.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tidegate_http1::{
    EditedFields, Framing, HeadEdits, HeadMemory, Limits, Refusal, RequestHead, ResponseHead, Version,
};

/// Heads with less share a block.
const SHARED_BYTES_MAX: usize = 1024;

const NO_PATH: Refusal = Refusal { status: 400, reason: "no :path", rfc: "RFC 9113 8.3.1" };

/// A request that arrived; the builder runs the checks of the HTTP/1.1 gate.
pub(crate) fn received_request(
    memory: &mut HeadMemory,
    parts: &http::request::Parts,
    ended: bool,
) -> Result<RequestHead, Refusal> {
    let mut builder = RequestHead::builder().method(parts.method.as_str());
    if let Some(scheme) = parts.uri.scheme_str() {
        builder = builder.scheme(scheme);
    }
    if let Some(authority) = parts.uri.authority() {
        builder = builder.authority(authority.as_str());
    }
    // The library asks for a path only beside an authority, and shows a missing one as `/`, but here.
    if parts.uri.path().is_empty() && parts.method != Method::CONNECT {
        return Err(NO_PATH);
    }
    if let Some(path) = parts.uri.path_and_query() {
        builder = builder.path_and_query(path.as_str());
    }
    for (name, value) in &parts.headers {
        builder = builder.field(name.as_str(), value.as_bytes());
    }
    builder.framing(if ended { Framing::None } else { Framing::Chunked }).build_in(memory, &Limits::default())
}

/// An answer that arrived to a request with `method`. Without a framing it has no body.
pub(crate) fn received_response(
    memory: &mut HeadMemory,
    (status, headers): (StatusCode, &HeaderMap),
    method: &Method,
    framing: Option<Framing>,
) -> Result<ResponseHead, Refusal> {
    let mut builder = ResponseHead::builder(status.as_u16()).version(Version::Http2).request_method(method.as_str());
    if let Some(framing) = framing {
        builder = builder.framing(framing);
    }
    for (name, value) in headers {
        builder = builder.field(name.as_str(), value.as_bytes());
    }
    builder.build_in(memory)
}

/// A request to be sent. `None`: a rewritten part of it is not valid.
pub(crate) fn request_to_send(head: &RequestHead, edits: &HeadEdits, encrypted: bool) -> Option<Request<()>> {
    let edited = head.edited(edits);
    let (authority, path) = (edits.authority_of(head), edits.path_and_query_of(head));
    let mut block = Block::for_bytes(edited.bounds().1 + authority.len() + path.len());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if encrypted { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::from_maybe_shared(block.piece(authority.as_bytes())).ok()?);
    uri.path_and_query = Some(PathAndQuery::from_maybe_shared(block.piece(path.as_bytes())).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(edits.method_of(head).as_bytes()).ok()?;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    fill(request.headers_mut(), &edited, block)?;
    Some(request)
}

/// An answer to be sent. `None`: a field that was added is not valid.
pub(crate) fn response_to_send(head: &ResponseHead, edits: &HeadEdits) -> Option<Response<()>> {
    let edited = head.edited(edits);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).ok()?;
    *response.version_mut() = http::Version::HTTP_2;
    fill(response.headers_mut(), &edited, Block::for_bytes(edited.bounds().1))?;
    Some(response)
}

fn fill(headers: &mut HeaderMap, edited: &EditedFields<'_>, mut block: Block) -> Option<()> {
    headers.reserve(edited.bounds().0);
    for (name, value) in edited.iter() {
        let name = named(name)?;
        let mut value = HeaderValue::from_maybe_shared(block.piece(value)).ok()?;
        value.set_sensitive(is_never_indexed(&name));
        headers.append(name, value);
    }
    Some(())
}

/// Memory for the values of one head.
struct Block(Option<BytesMut>);

impl Block {
    fn for_bytes(count: usize) -> Self {
        Self((count <= SHARED_BYTES_MAX).then(|| BytesMut::with_capacity(count)))
    }

    fn piece(&mut self, text: &[u8]) -> Bytes {
        match &mut self.0 {
            Some(block) => {
                block.extend_from_slice(text);
                block.split().freeze()
            }
            None => Bytes::copy_from_slice(text),
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Names that most heads in a mesh have and the library does not know cost no memory.
fn named(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"x-request-id" => REQUEST_ID,
        b"traceparent" => TRACEPARENT,
        b"x-forwarded-for" => FORWARDED_FOR,
        b"x-forwarded-proto" => FORWARDED_PROTO,
        b"x-envoy-attempt-count" => ATTEMPT_COUNT,
        b"grpc-status" => GRPC_STATUS,
        b"grpc-timeout" => GRPC_TIMEOUT,
        _ => HeaderName::from_bytes(name).ok()?,
    })
}

/// Secrets, and what is another one each time. The library does not say which fields their sender kept out of its own table, which
/// an intermediary must do, too (RFC 7541 7.1.3): these are the ones for which it matters.
fn is_never_indexed(name: &HeaderName) -> bool {
    const SECRET: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE];
    match name.as_str() {
        "b3"
        | "grpc-timeout"
        | "sw8"
        | "traceparent"
        | "x-b3-parentspanid"
        | "x-b3-spanid"
        | "x-b3-traceid"
        | "x-envoy-upstream-service-time"
        | "x-request-id" => true,
        _ => SECRET.contains(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(value: &str) -> RequestHead {
        let builder = RequestHead::builder().method("POST").authority("reviews:9080").path_and_query("/a?b=c");
        let builder = builder.field("x-odd", value.as_bytes()).field("authorization", b"Bearer x").field("x-odd", b"2");
        builder.build(&Limits::default()).expect("a head")
    }

    fn sent(value: &str) -> Request<()> {
        let head = head(value);
        let mut edits = HeadEdits::new();
        edits.append("x-request-id", b"7");
        request_to_send(&head, &edits, true).expect("a request")
    }

    #[test]
    fn a_request_is_sent_with_all_that_it_has() {
        // Short enough for a block of its own, and too long for one.
        for value in ["1".to_owned(), "1".repeat(SHARED_BYTES_MAX)] {
            let request = sent(&value);

            assert_eq!(request.method(), Method::POST);
            assert_eq!(request.uri(), "https://reviews:9080/a?b=c");
            let fields: Vec<_> =
                request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let expected: [(&str, &[u8]); 4] =
                [("x-odd", value.as_bytes()), ("x-odd", b"2"), ("authorization", b"Bearer x"), ("x-request-id", b"7")];
            assert_eq!(fields, expected);
        }
    }

    #[test]
    fn secrets_and_what_is_new_each_time_are_kept_out_of_the_table() {
        let request = sent("1");

        let hidden: Vec<_> =
            request.headers().iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(hidden, ["authorization", "x-request-id"]);
    }

    #[test]
    fn an_answer_is_sent_as_it_was_received() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        let seen = (StatusCode::ACCEPTED, &headers);
        let received = received_response(&mut HeadMemory::default(), seen, &Method::GET, Some(Framing::Chunked));
        let received = received.expect("a head");

        let response = response_to_send(&received, &HeadEdits::new()).expect("a response");

        assert_eq!(response.status(), 202);
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, [b"a=1", b"b=2"]);
    }
}
