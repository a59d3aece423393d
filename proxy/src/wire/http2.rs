//! HTTP/2 bodies, for both sides of the proxy. Windows are respected both ways: what is not taken by the sink is not
//! released to the sender.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::body::{Broken, Closed, Form, More, Sink, Source};
use crate::limits::HTTP2_SEND_BUFFER_BYTES_MAX;

/// A body of which so much has come is worth a wide window.
const LARGE_BODY_BYTES_MIN: usize = 128 * 1024;

/// A body that arrives on a stream.
pub(crate) struct Http2Source {
    /// `None` for a message without a body.
    pub(crate) stream: Option<RecvStream>,
    held: Bytes,
    data_over: bool,
    over: bool,
    trailers: Option<HeaderMap>,
    grpc_status: Option<u8>,
    pub(crate) touched: bool,
    /// Taken in all.
    passed: u64,
    /// Taken since it was said that this body is large.
    taken: usize,
    /// Set when it is.
    large: Option<Rc<Cell<bool>>>,
}

impl Http2Source {
    pub(crate) fn new(stream: Option<RecvStream>) -> Self {
        let over = stream.as_ref().is_none_or(RecvStream::is_end_stream);
        Self {
            stream,
            held: Bytes::new(),
            data_over: over,
            over,
            trailers: None,
            grpc_status: None,
            touched: false,
            passed: 0,
            taken: 0,
            large: None,
        }
    }

    /// A body that says when it is large.
    pub(crate) fn measured(stream: RecvStream, large: Rc<Cell<bool>>) -> Self {
        Self { large: Some(large), ..Self::new(Some(stream)) }
    }

    fn release(&mut self, count: usize) {
        if let Some(stream) = &mut self.stream {
            // Fails only for more than was received.
            drop(stream.flow_control().release_capacity(count));
        }
        self.passed += count as u64;
        self.taken += count;
        if self.taken >= LARGE_BODY_BYTES_MIN {
            self.taken = 0;
            if let Some(large) = &self.large {
                large.set(true);
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.over && self.held.is_empty()
    }
}

/// What a stream's error means.
pub(crate) fn broken(error: &h2::Error) -> Broken {
    match error.reason() {
        Some(reason) if error.is_reset() => Broken::Reset(reason),
        Some(_) | None => Broken::Torn,
    }
}

impl Source for Http2Source {
    const RAW: bool = false;

    fn poll_more(&mut self, cx: &mut Context<'_>, _form: Form) -> Poll<Result<More, Broken>> {
        if !self.held.is_empty() {
            return Poll::Ready(Ok(More::Data));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(More::End)) };
        while !self.data_over {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.touched = true;
                    self.held = bytes;
                    self.over = stream.is_end_stream();
                    return Poll::Ready(Ok(More::Data));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => self.data_over = true,
            }
        }
        if !self.over {
            let trailers = ready!(stream.poll_trailers(cx)).map_err(|error| broken(&error))?;
            let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
            self.grpc_status = status.and_then(|status| status.to_str().ok()?.parse().ok());
            self.trailers = trailers;
            self.over = true;
        }
        Poll::Ready(Ok(More::End))
    }

    fn data(&self) -> &[u8] {
        &self.held
    }

    fn take(&mut self, max: usize) -> Bytes {
        let bytes = self.held.split_to(max.min(self.held.len()));
        self.release(bytes.len());
        bytes
    }

    fn consume(&mut self, count: usize) {
        self.held.advance(count);
        self.release(count);
    }

    fn is_over(&self) -> bool {
        self.is_done() && self.trailers.is_none()
    }

    fn passed(&self) -> u64 {
        self.passed
    }

    fn settle(&mut self) {}

    fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
    }

    fn write_raw_end(&self, _out: &mut Vec<u8>) {}

    fn trailers(&mut self) -> Option<HeaderMap> {
        let mut trailers = self.trailers.take()?;
        let refused: Vec<_> = trailers.keys().filter(|name| !is_harmless_trailer(name.as_str())).cloned().collect();
        for name in refused {
            trailers.remove(name);
        }
        (!trailers.is_empty()).then_some(trailers)
    }

    fn open_tunnel(&mut self) {}
}

/// Which trailers pass between HTTP/2 peers. gRPC's trailing metadata has names of its own choosing, so here everything
/// passes but what frames, routes, authorises or describes a message (RFC 9110 §6.5.1); towards HTTP/1.1, whose next hop may
/// merge trailers into the head, the codec lets only `grpc-*` through.
fn is_harmless_trailer(name: &str) -> bool {
    !matches!(
        name,
        "age"
            | "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "keep-alive"
            | "location"
            | "max-forwards"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "range"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "vary"
            | "www-authenticate"
    ) && !name.starts_with("x-forwarded-")
        && !name.starts_with("x-envoy-")
}

/// A body that leaves on a stream.
#[derive(Default)]
pub(crate) struct Http2Sink {
    /// `None` until the head is sent, and for messages without a body.
    pub(crate) stream: Option<SendStream<Bytes>>,
    pub(crate) ended: bool,
}

impl Sink for Http2Sink {
    fn form(&self) -> Form {
        Form::Payload
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Closed)) };
        let wanted = source.data().len().min(HTTP2_SEND_BUFFER_BYTES_MAX);
        // Each question takes the lock of the connection.
        let mut capacity = stream.capacity();
        while capacity == 0 {
            stream.reserve_capacity(wanted);
            capacity = stream.capacity();
            if capacity == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(assigned)) => capacity = assigned,
                    Some(Err(_)) | None => return Poll::Ready(Err(Closed)),
                }
            }
        }
        let bytes = source.take(capacity.min(wanted));
        let last = source.data().is_empty() && source.is_over();
        self.ended = last;
        Poll::Ready(stream.send_data(bytes, last).map_err(|_| Closed))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        // The connection's task writes.
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        self.ended = true;
        let ended = match source.trailers() {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
        Poll::Ready(ended.map_err(|_| Closed))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn open_tunnel(&mut self) {}
}
