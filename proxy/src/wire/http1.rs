//! HTTP/1.1 bodies over a socket, for both sides of the proxy.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_http1::{BodyReader, CHUNK_END, Framing, is_forwardable_trailer, write_chunk_head, write_last_chunk};

use super::body::{Broken, Closed, Form, More, Sink, Source};
use super::buffer::{BLOCK_BYTES, Input, Output};
use super::socket::{Reading, Writing};

/// Output that waits for company is written out at this size.
const COALESCED_BYTES_MAX: usize = BLOCK_BYTES;

/// How far the body of the current message has been read.
#[derive(Debug)]
pub(crate) struct Body {
    reader: BodyReader,
    /// What of the input is to be shown next: so many bytes to skip, then so many to show.
    first: (usize, usize),
    rest: VecDeque<(usize, usize)>,
    /// Bytes behind the last piece that belong to the body and are not shown.
    tail: usize,
    /// The connection's end was the body's end.
    closed: bool,
    /// A byte of it was taken: it cannot be sent again.
    pub(crate) touched: bool,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            reader: BodyReader::new(framing),
            first: (0, 0),
            rest: VecDeque::new(),
            tail: 0,
            closed: false,
            touched: false,
        }
    }

    /// Whether the whole body was read.
    pub(crate) fn is_done(&self) -> bool {
        (self.reader.is_done() || self.closed) && self.first.1 == 0 && self.rest.is_empty()
    }

    fn look(&mut self, bytes: &[u8], form: Form) -> Result<(), Broken> {
        let (first, rest) = (&mut self.first, &mut self.rest);
        let mut shown_to = 0;
        let progress = match form {
            Form::Raw => {
                let progress = self.reader.advance(bytes, |_| {}).map_err(Broken::Refused)?;
                *first = (0, progress.relay);
                shown_to = progress.relay;
                progress
            }
            Form::Payload => self
                .reader
                .advance(bytes, |range| {
                    let piece = (range.start - shown_to, range.end - range.start);
                    shown_to = range.end;
                    if first.1 == 0 {
                        *first = piece;
                    } else {
                        rest.push_back(piece);
                    }
                })
                .map_err(Broken::Refused)?,
        };
        self.tail = progress.consumed - shown_to;
        Ok(())
    }
}

/// A body that arrives on a socket.
pub(crate) struct Http1Source<'a> {
    pub(crate) reading: Reading<'a>,
    pub(crate) input: &'a mut Input,
    pub(crate) body: &'a mut Body,
}

impl Source for Http1Source<'_> {
    const RAW: bool = true;

    fn poll_more(&mut self, cx: &mut Context<'_>, form: Form) -> Poll<Result<More, Broken>> {
        loop {
            if self.body.first.1 > 0 {
                self.input.consume(std::mem::take(&mut self.body.first.0));
                return Poll::Ready(Ok(More::Data));
            }
            self.input.consume(std::mem::take(&mut self.body.tail));
            if self.body.reader.is_done() || self.body.closed {
                return Poll::Ready(Ok(More::End));
            }
            if self.input.is_empty() {
                match ready!(self.input.poll_fill(cx, &mut self.reading)) {
                    Ok(0) => {
                        self.body.reader.end_of_input().map_err(|_torn| Broken::Torn)?;
                        self.body.closed = true;
                        continue;
                    }
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(Err(Broken::Torn)),
                }
            }
            self.body.touched = true;
            self.body.look(self.input.bytes(), form)?;
        }
    }

    fn data(&self) -> &[u8] {
        &self.input.bytes()[..self.body.first.1]
    }

    fn take(&mut self, max: usize) -> Bytes {
        let data = self.data();
        let bytes = Bytes::copy_from_slice(&data[..max.min(data.len())]);
        self.consume(bytes.len());
        bytes
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.body.first.1 -= count;
        if self.body.first.1 == 0
            && let Some(next) = self.body.rest.pop_front()
        {
            self.body.first = next;
            self.input.consume(std::mem::take(&mut self.body.first.0));
        }
    }

    fn is_over(&self) -> bool {
        self.body.is_done() && self.body.reader.trailers().is_empty()
    }

    fn is_spent(&self) -> bool {
        self.body.is_done() && self.body.tail == 0
    }

    fn settle(&mut self) {
        self.input.settle();
    }

    fn write_raw_end(&self, out: &mut Vec<u8>) {
        self.body.reader.write_trailers(out);
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        if self.body.reader.trailers().is_empty() {
            return None;
        }
        let mut map = HeaderMap::new();
        for (name, value) in self.body.reader.trailers() {
            if is_forwardable_trailer(name)
                && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                map.append(name, value);
            }
        }
        (!map.is_empty()).then_some(map)
    }

    fn open_tunnel(&mut self) {
        *self.body = Body::new(Framing::UntilClose);
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// As it came, framing included.
    Raw,
    /// In chunks of our own.
    Chunked,
    /// Payload alone: its length was announced, or it ends with the connection.
    Bare,
}

impl Written {
    /// For a body that came with `from` and goes with `to`.
    pub(crate) fn choose(raw_source: bool, from: Framing, to: Framing) -> Self {
        match to {
            _ if raw_source && from == to => Self::Raw,
            Framing::Chunked => Self::Chunked,
            Framing::None | Framing::Length(_) | Framing::UntilClose => Self::Bare,
        }
    }
}

/// A body that leaves on a socket.
pub(crate) struct Http1Sink<'a> {
    pub(crate) writing: Writing<'a>,
    pub(crate) output: &'a mut Output,
    pub(crate) written: Written,
    pub(crate) ended: bool,
}

impl<'a> Http1Sink<'a> {
    pub(crate) fn new(writing: Writing<'a>, output: &'a mut Output) -> Self {
        Self { writing, output, written: Written::Raw, ended: false }
    }
}

impl Sink for Http1Sink<'_> {
    fn form(&self) -> Form {
        match self.written {
            Written::Raw => Form::Raw,
            Written::Chunked | Written::Bare => Form::Payload,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>> {
        let length = source.data().len();
        if !self.output.is_empty() && self.output.len() + length > COALESCED_BYTES_MAX {
            ready!(self.poll_flush(cx))?;
        }
        match self.written {
            Written::Raw | Written::Bare if self.output.is_empty() => {
                let count = ready!(self.writing.poll_write(cx, source.data())).map_err(|_| Closed)?;
                source.consume(count);
            }
            Written::Raw | Written::Bare => {
                self.output.buffer().extend_from_slice(source.data());
                source.consume(length);
            }
            Written::Chunked => {
                let out = self.output.buffer();
                write_chunk_head(out, length);
                out.extend_from_slice(source.data());
                out.extend_from_slice(CHUNK_END);
                source.consume(length);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.output.poll_flush(cx, &mut self.writing).map_err(|_| Closed)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>> {
        if !self.ended {
            self.ended = true;
            match self.written {
                Written::Raw => source.write_raw_end(self.output.buffer()),
                Written::Chunked => {
                    let trailers = source.trailers().unwrap_or_default();
                    let fields = trailers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
                    write_last_chunk(self.output.buffer(), fields);
                }
                Written::Bare => {}
            }
        }
        self.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.writing.poll_shutdown(cx).map_err(|_| Closed)
    }

    fn open_tunnel(&mut self) {
        self.written = Written::Raw;
        self.ended = false;
    }
}
