//! HTTP/1.1 bodies over a socket, for both sides of the proxy.

use std::collections::VecDeque;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_http1::{BodyReader, CHUNK_END, Framing, is_forwardable_trailer, write_chunk_head, write_last_chunk};

use super::body::{Broken, Closed, Form, More, Sink, Source};
use super::buffer::{BLOCK_BYTES, Input, Output};
use super::socket::{Reading, Writing};

/// Output that waits for company is written out at this size.
const COALESCED_BYTES_MAX: usize = BLOCK_BYTES;

/// A body of which so much has passed is only looked at in the kernel while its receiver may not take it at once. Whoever reads none
/// of it then costs no copy of what it left. To ask what room there is costs system calls, which shorter bodies do not pay.
const PEEKED_FROM_BYTES: u32 = 32 * 1024;

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
    /// What comes next is to be left in the kernel until it is sent.
    left: bool,
    /// For so many reads its receiver has room; nobody else takes of that.
    room: usize,
    /// What of the input is shown next is still in the kernel, and `reader` has not passed it.
    peeked: bool,
    /// What was in the kernel could not be taken from there.
    lost: bool,
    /// Bytes shown so far, up to a number that is large enough.
    shown: u32,
    /// Bytes of payload that were read, also of a tunnel that follows. What is in hand counts as read.
    passed: u64,
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
            left: false,
            room: 0,
            peeked: false,
            lost: false,
            shown: 0,
            passed: 0,
            touched: false,
        }
    }

    /// Whether the whole body was read.
    pub(crate) fn is_done(&self) -> bool {
        (self.reader.is_done() || self.closed) && self.first.1 == 0 && self.rest.is_empty()
    }

    fn look(&mut self, bytes: &[u8], form: Form) -> Result<(), Broken> {
        let (first, rest, passed) = (&mut self.first, &mut self.rest, &mut self.passed);
        let mut shown_to = 0;
        let progress = match form {
            Form::Raw => {
                let counted = |piece: Range<usize>| *passed += piece.len() as u64;
                let progress = self.reader.advance(bytes, counted).map_err(Broken::Refused)?;
                *first = (0, progress.relay);
                shown_to = progress.relay;
                progress
            }
            Form::Payload => self
                .reader
                .advance(bytes, |range| {
                    let piece = (range.start - shown_to, range.end - range.start);
                    shown_to = range.end;
                    *passed += piece.1 as u64;
                    if first.1 == 0 {
                        *first = piece;
                    } else {
                        rest.push_back(piece);
                    }
                })
                .map_err(Broken::Refused)?,
        };
        self.tail = progress.consumed - shown_to;
        self.shown = self.shown.saturating_add(u32::try_from(shown_to).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Looks at bytes that are still in the kernel, and says whether any of them can be shown.
    fn peek(&mut self, bytes: &[u8]) -> Result<bool, Broken> {
        let progress = self.reader.clone().advance(bytes, |_| {}).map_err(Broken::Refused)?;
        self.peeked = progress.relay > 0;
        self.first = (0, progress.relay);
        Ok(self.peeked)
    }

    fn can_be_peeked(&self, form: Form) -> bool {
        form == Form::Raw && self.shown >= PEEKED_FROM_BYTES && self.reader.trailers().is_empty()
    }
}

/// A body that arrives on a socket.
pub(crate) struct Http1Source<'a> {
    pub(crate) reading: Reading<'a>,
    pub(crate) input: &'a mut Input,
    pub(crate) body: &'a mut Body,
}

impl Http1Source<'_> {
    /// Shows what has arrived where it lies. `false`: nothing of it can be shown so.
    fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        let seen = ready!(self.input.poll_peek(cx, &mut self.reading)).map_err(|_torn| Broken::Torn)?;
        let shows = seen > 0 && self.body.peek(self.input.bytes())?;
        if !shows {
            self.input.forget();
        }
        Poll::Ready(Ok(shows))
    }

    /// Takes bytes that were shown in the kernel.
    fn take_seen(&mut self, count: usize) {
        let passed = self.input.bytes().get(..count).unwrap_or_default();
        let payload = &mut self.body.passed;
        let read = self.body.reader.advance(passed, |piece| *payload += piece.len() as u64).is_ok();
        let taken = self.input.take_seen(count, &self.reading).is_ok();
        self.body.lost |= !read || !taken;
        self.body.first.1 -= count;
        if self.body.first.1 == 0 {
            self.forget_seen();
        }
    }

    /// They are where they were; nothing is lost.
    fn forget_seen(&mut self) {
        self.body.peeked = false;
        self.body.first = (0, 0);
        self.input.forget();
    }
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
            if self.body.lost {
                return Poll::Ready(Err(Broken::Torn));
            }
            if self.input.is_empty() {
                if self.body.left && ready!(self.poll_peek(cx))? {
                    continue;
                }
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

    fn look_where_to(&mut self, sink: &impl Sink) {
        self.body.left = false;
        if self.input.is_empty() && self.body.can_be_peeked(sink.form()) && self.reading.can_show() {
            if self.body.room == 0 {
                self.body.room = sink.room();
            }
            self.body.left = self.body.room == 0;
            self.body.room = self.body.room.saturating_sub(1);
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
        if self.body.peeked {
            return self.take_seen(count);
        }
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

    fn passed(&self) -> u64 {
        self.body.passed
    }

    fn settle(&mut self) {
        if self.body.peeked {
            self.forget_seen();
        } else {
            self.input.settle();
        }
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
        if self.body.peeked {
            self.forget_seen();
        }
        *self.body = Body { passed: self.body.passed, ..Body::new(Framing::UntilClose) };
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

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.writing.poll_room(cx)
    }

    fn room(&self) -> usize {
        self.writing.room()
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::wire::buffer::Buffers;
    use crate::wire::socket::tests::pair;

    /// Many chunks with payload that tells where it is from, and a trailer if asked for.
    fn chunked(trailers: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..60_u32 {
            let payload = (0..7 * index * index).flat_map(|at| (at ^ index).to_be_bytes()).collect::<Vec<u8>>();
            if !payload.is_empty() {
                bytes.extend_from_slice(format!("{:x}\r\n", payload.len()).as_bytes());
                bytes.extend_from_slice(&payload);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        bytes
    }

    /// What comes next of it, for a receiver that has no room for all of it.
    async fn more(source: &mut Http1Source<'_>) -> More {
        source.body.left = source.input.is_empty() && source.body.can_be_peeked(Form::Raw);
        std::future::poll_fn(|cx| source.poll_more(cx, Form::Raw)).await.expect("whole")
    }

    /// What is relayed by a sink that takes what `takes` says of each piece, and waits after it. Then what is left on the connection.
    async fn relayed(framing: Framing, sent: Vec<u8>, mut takes: impl FnMut(usize) -> usize) -> (Vec<u8>, Vec<u8>) {
        let (mut near, mut far) = pair().await;
        let sending = tokio::spawn(async move {
            far.write_all(&sent).await.expect("somebody reads");
            far.shutdown().await.expect("open");
        });
        let buffers = Rc::new(Buffers::default());
        let (mut input, mut body) = (Input::new(&buffers), Body::new(framing));
        let (reading, _) = near.split();
        let mut source = Http1Source { reading, input: &mut input, body: &mut body };
        let mut out = Vec::new();
        while more(&mut source).await == More::Data {
            let count = takes(source.data().len()).clamp(1, source.data().len());
            out.extend_from_slice(&source.data()[..count]);
            source.consume(count);
            source.settle();
        }
        source.write_raw_end(&mut out);
        let Http1Source { mut reading, input, .. } = source;
        let mut left = input.take();
        while std::future::poll_fn(|cx| input.poll_fill(cx, &mut reading)).await.expect("reads") > 0 {
            left.extend(input.take());
        }
        sending.await.expect("no panic");
        (out, left)
    }

    #[tokio::test]
    async fn a_body_that_is_taken_in_pieces_arrives_whole_and_nothing_behind_it_is_touched() {
        for trailers in ["", "grpc-status: 0\r\n"] {
            let body = chunked(trailers);
            let sent = [&body[..], b"GET / HTTP/1.1\r\n"].concat();
            assert!(body.len() > 10 * PEEKED_FROM_BYTES as usize);
            for step in [usize::MAX, 50_000, 4_099] {
                let (out, left) = relayed(Framing::Chunked, sent.clone(), |length| length.min(step)).await;

                assert!(out == body, "in steps of {step}: {} of {} bytes", out.len(), body.len());
                assert_eq!(left, b"GET / HTTP/1.1\r\n");
            }
        }
    }

    #[tokio::test]
    async fn a_length_is_kept_and_an_end_without_one_is_found() {
        let body = vec![b'a'; 500_000];
        let counted = Framing::Length(body.len() as u64);

        let (out, left) = relayed(counted, [&body[..], b"next"].concat(), |length| length / 3).await;
        assert_eq!((out.len(), &left[..]), (body.len(), &b"next"[..]));

        let (out, left) = relayed(Framing::UntilClose, body.clone(), |length| length / 3).await;
        assert_eq!((out.len(), left.len()), (body.len(), 0));
    }

    #[tokio::test]
    async fn what_a_stopped_reader_leaves_of_a_long_body_stays_in_the_kernel() {
        let (mut near, mut far) = pair().await;
        let buffers = Rc::new(Buffers::default());
        let (mut input, mut body) = (Input::new(&buffers), Body::new(Framing::UntilClose));
        let (reading, _) = near.split();
        let mut source = Http1Source { reading, input: &mut input, body: &mut body };
        let mut taken = 0;
        while taken <= PEEKED_FROM_BYTES as usize {
            far.write_all(&[b'a'; 4096]).await.expect("room");
            more(&mut source).await;
            taken += source.data().len();
            source.consume(source.data().len());
        }

        far.write_all(&[b'b'; 4096]).await.expect("room");
        more(&mut source).await;
        assert_eq!(source.data(), [b'b'; 4096]);
        source.settle();

        assert_eq!(source.input.bytes().len(), 0, "nothing is held");
        more(&mut source).await;
        assert_eq!(source.data(), [b'b'; 4096], "and nothing is lost");
        source.consume(4096);
        assert!(!near.is_stirring(), "a connection that has nothing more to say can be kept");
    }
}
