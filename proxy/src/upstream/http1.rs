//! An HTTP/1.1 connection to an endpoint: one exchange after the other.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tidegate_http1::{
    Framing, HeadEdits, Limits, Parsed, RequestHead, ResponseHead, Unwritable, parse_response_in, write_request,
};

use super::{Answer, Fault};
use crate::balance::circuit_breaker::Connected;
use crate::wire::buffer::{Buffers, Input, Output};
use crate::wire::http1::{Body, Http1Sink, Http1Source, Written};
use crate::wire::socket::Socket;

/// A connection that speaks HTTP/1.1. Holds no buffer between exchanges.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    input: Input,
    output: Output,
    body: Body,
    /// Exchanges begun.
    pub(crate) requests: u32,
    /// Under which it is encrypted; 0: it is not.
    pub(crate) tls: u64,
    /// Its place in the circuit breaker. The last field: the place is free when the socket is closed.
    _place: Connected,
}

impl Connection {
    pub(crate) fn new(socket: Socket, tls: u64, buffers: &Rc<Buffers>, place: Connected) -> Self {
        let body = Body::new(Framing::None);
        Self { socket, input: Input::new(buffers), output: Output::new(buffers), body, requests: 0, tls, _place: place }
    }

    /// Writes a request head into the output, to be sent with the first bytes of its body.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        head: &RequestHead,
        edits: &HeadEdits,
        upgrade: Option<&str>,
    ) -> Result<(), Unwritable> {
        self.requests = self.requests.saturating_add(1);
        self.body = Body::new(Framing::None);
        write_request(self.output.buffer(), head, edits, head.framing(), upgrade)
    }

    /// The two directions of an exchange.
    pub(crate) fn split<'a>(&'a mut self, method: &'a str, written: Written) -> (Http1Sink<'a>, Http1Answer<'a>) {
        let (reading, writing) = self.socket.split();
        let mut sink = Http1Sink::new(writing, &mut self.output);
        sink.written = written;
        let source = Http1Source { reading, input: &mut self.input, body: &mut self.body };
        (sink, Http1Answer { source, method, seen: false })
    }

    /// Whether the last exchange left nothing behind on the connection.
    pub(crate) fn is_clean(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && self.body.is_done()
    }

    /// Whether the peer has said something while nothing was asked.
    pub(crate) fn is_stirring(&self, ask_kernel: bool) -> bool {
        self.socket.is_stirring() || (ask_kernel && self.socket.is_stirring_now())
    }
}

/// The answer on such a connection.
pub(crate) struct Http1Answer<'a> {
    source: Http1Source<'a>,
    method: &'a str,
    seen: bool,
}

impl<'a> Answer for Http1Answer<'a> {
    type Body = Http1Source<'a>;

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Fault>> {
        let source = &mut self.source;
        // Bytes behind an interim answer are looked at before anything is read.
        let mut complete_line = !source.input.is_empty();
        loop {
            if complete_line {
                let parse =
                    |memory: &mut _, bytes: &[u8]| parse_response_in(memory, bytes, self.method, &Limits::STRICT);
                match source.input.parse_answer(parse).map_err(Fault::Protocol)? {
                    Parsed::Complete { head, consumed } => {
                        source.input.consume(consumed);
                        if !head.is_interim() {
                            *source.body = Body::new(head.framing());
                        }
                        return Poll::Ready(Ok(head));
                    }
                    Parsed::Partial => {}
                }
            }
            let held = source.input.bytes().len();
            match ready!(source.input.poll_fill(cx, &mut source.reading)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Fault::Closed { seen: self.seen })),
                Ok(_) => self.seen = true,
            }
            // A head ends with a line feed: without one among the new bytes there is nothing to parse.
            let fresh = source.input.bytes().get(held..).unwrap_or_default();
            complete_line = held == 0 || source.input.is_full() || memchr(b'\n', fresh).is_some();
        }
    }

    fn body(&mut self) -> &mut Http1Source<'a> {
        &mut self.source
    }
}
