//! hyper as an independent reader of HTTP/1.1 requests, over bytes that are all there from the beginning.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;

/// More polls than this for a few kilobytes mean a loop.
const POLLS_MAX: usize = 10_000;

/// A request as hyper read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// `None`: the body was malformed or cut off.
    pub(super) body: Option<Vec<u8>>,
}

impl Seen {
    pub(super) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice()).collect()
    }
}

/// Every request that hyper finds in the bytes, before it finds nothing more or a fault.
pub(super) fn read(bytes: &[u8]) -> Vec<Seen> {
    let seen: Rc<RefCell<Vec<Seen>>> = Rc::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let fields = parts
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect();
            let target = parts.uri.to_string();
            // Noted before its body is: a connection that breaks takes the service with it.
            seen.borrow_mut().push(Seen { method: parts.method.to_string(), target, fields, body: None });
            let body = body.collect().await.ok().map(|collected| collected.to_bytes().to_vec());
            if let Some(this) = seen.borrow_mut().last_mut() {
                this.body = body;
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let serving = Builder::new().half_close(true).serve_connection(Script { bytes: bytes.to_vec(), at: 0 }, service);
    {
        let mut serving = pin!(serving);
        let mut context = Context::from_waker(Waker::noop());
        let ended = (0..POLLS_MAX).any(|_| serving.as_mut().poll(&mut context).is_ready());
        assert!(ended, "hyper does not come to an end");
    }
    seen.take()
}

/// A peer that has said everything and closed its side.
struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let end = self.bytes.len().min(self.at + into.remaining());
        into.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
