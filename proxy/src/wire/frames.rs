//! HTTP/2 frames as they pass, before the library takes them.
//!
//! # Why
//! The library answers or forgets PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown frames and empty DATA without showing them to
//! us, as fast as a peer can send them. Each is cheap, so that a flood costs the peer as much as us; but it never has to end, and
//! nothing but its own socket slows it down. A frame says its length in its first nine bytes, so a reader beside the library can
//! count frames without looking at what they carry: two comparisons for each read that is inside a frame, some more for each frame.
//!
//! It counts the streams that a client opens, too: the library refuses some before it shows them to us (too many at once, a list of
//! fields that is too large, malformed ones), and each of them is work.
//!
//! # Why the pace is measured against what was written
//! A peer that receives much also acknowledges much: WINDOW_UPDATE comes with each piece of DATA that it takes. What was written
//! to it pays for such frames, so that the budget bounds only those that nothing of ours has asked for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::clock;

/// Frames within [`WINDOW`] that neither open a stream nor carry payload, and that nothing of ours has asked for. A peer with a
/// reason for them sends some hundreds.
const CONTROL_FRAMES_MAX: u32 = 10_000;

const WINDOW: Duration = Duration::from_secs(1);

/// So much is read of a peer before the worker's other connections have a turn: some thousand of the smallest frames, a few streams'
/// worth of the largest lists of fields.
const TURN_BYTES_MAX: usize = 32 * 1024;

/// So many bytes written to the peer pay for one control frame of its own: it may take answers in pieces as small as this.
const BYTES_PER_CONTROL_FRAME: usize = 256;

/// What a client says before its first frame (RFC 9113 3.4).
const PREFACE_BYTES: u32 = 24;

const HEADER_BYTES: usize = 9;

/// Frame types (RFC 9113 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

const END_STREAM: u8 = 1;
/// The same bit on SETTINGS.
const ACK: u8 = 1;

/// The highest bit of a stream's number is reserved and ignored (RFC 9113 4.1).
const STREAM_BITS: u32 = 0x7fff_ffff;

/// What is known of a connection's frames. Shared by its stream and the task that drives it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    flooded: Cell<bool>,
    opened: Cell<u32>,
    acknowledged: Cell<u32>,
}

impl Meter {
    /// The peer has sent more control frames than it may; nothing more is read.
    pub(crate) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// Streams that a client has opened so far, refused ones included.
    pub(crate) fn opened(&self) -> u32 {
        self.opened.get()
    }

    /// Settings of ours that the peer has acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.get()
    }
}

/// A stream whose frames are counted.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    position: Position,
    pace: Pace,
    /// Read since others had a turn.
    in_turn: usize,
    meter: Rc<Meter>,
}

impl<S> Counted<S> {
    /// The stream of a client, which begins with the preface.
    pub(crate) fn of_client(inner: S) -> Self {
        Self::new(inner, PREFACE_BYTES)
    }

    /// The stream of a server.
    pub(crate) fn of_server(inner: S) -> Self {
        Self::new(inner, 0)
    }

    fn new(inner: S, before: u32) -> Self {
        let position = Position::new(before);
        Self { inner, position, pace: Pace::new(clock::now()), in_turn: 0, meter: Rc::default() }
    }

    pub(crate) fn meter(&self) -> Rc<Meter> {
        Rc::clone(&self.meter)
    }
}

/// Where in the frames the bytes are.
#[derive(Debug)]
struct Position {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there.
    held: usize,
    /// Bytes of the payload that are still to come.
    skipped: u32,
    /// A server's heads are counted: any number of interim ones may come before the one that was asked for.
    counts_heads: bool,
    /// The newest stream (RFC 9113 5.1.1: their numbers only grow).
    newest: u32,
}

/// What began in some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    control: u32,
    /// Messages that are whole.
    ended: u32,
    opened: u32,
    acknowledged: u32,
}

impl Position {
    /// Where a client's preface comes first, or a server's first frame.
    fn new(preface: u32) -> Self {
        Self { header: [0; HEADER_BYTES], held: 0, skipped: preface, counts_heads: preface == 0, newest: 0 }
    }

    /// Moves on.
    fn pass(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skipped as usize);
            // Fits: it is no more than what it came from.
            self.skipped -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEADER_BYTES - self.held);
            self.header[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held == HEADER_BYTES {
                self.held = 0;
                let [high, middle, low, kind, flags, stream @ ..] = self.header;
                self.skipped = u32::from_be_bytes([0, high, middle, low]);
                let ends = kind <= HEADERS && flags & END_STREAM != 0;
                let is_head = kind == HEADERS && !ends && self.counts_heads;
                seen.control += u32::from(is_head || is_control(kind, flags, self.skipped));
                seen.ended += u32::from(ends);
                seen.acknowledged += u32::from(kind == SETTINGS && flags & ACK != 0);
                let stream = u32::from_be_bytes(stream) & STREAM_BITS;
                if kind == HEADERS && stream > self.newest {
                    self.newest = stream;
                    seen.opened += 1;
                }
            }
        }
        seen
    }
}

/// Whether a frame moves no message on. CONTINUATION does not count as one that does: a list of fields that needs thousands is none.
fn is_control(kind: u8, flags: u8, length: u32) -> bool {
    match kind {
        DATA => length == 0 && flags & END_STREAM == 0,
        HEADERS => false,
        _ => true,
    }
}

/// How fast control frames come.
#[derive(Debug)]
struct Pace {
    since: Instant,
    seen: u32,
    /// Bytes that have been written and not yet paid for a frame.
    credit: usize,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { since: now, seen: 0, credit: 0 }
    }

    /// `true`: too fast. The clock is read once in ten thousand frames; what it finds is a window that began when the last one was
    /// full, so that at most twice the budget can pass within a second.
    fn count(&mut self, frames: u32, now: impl FnOnce() -> Instant) -> bool {
        self.seen = self.seen.saturating_add(frames);
        if self.seen <= CONTROL_FRAMES_MAX {
            return false;
        }
        let now = now();
        if now.saturating_duration_since(self.since) < WINDOW {
            return true;
        }
        *self = Self::new(now);
        false
    }

    fn wrote(&mut self, bytes: usize) {
        self.credit += bytes;
        if self.credit >= BYTES_PER_CONTROL_FRAME {
            let paid = u32::try_from(self.credit / BYTES_PER_CONTROL_FRAME).unwrap_or(u32::MAX);
            self.seen = self.seen.saturating_sub(paid);
            self.credit %= BYTES_PER_CONTROL_FRAME;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.meter.flooded.get() {
            return Poll::Pending;
        }
        if this.in_turn >= TURN_BYTES_MAX {
            this.in_turn = 0;
            Waker::wake_by_ref(cx.waker());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        this.in_turn = if read.is_ready() { this.in_turn + (buffer.filled().len() - before) } else { 0 };
        let seen = this.position.pass(&buffer.filled()[before..]);
        this.meter.opened.set(this.meter.opened.get().wrapping_add(seen.opened));
        this.meter.acknowledged.set(this.meter.acknowledged.get().wrapping_add(seen.acknowledged));
        // A whole answer pays for its head.
        this.pace.seen = this.pace.seen.saturating_sub(seen.ended);
        if seen.control > 0 && this.pace.count(seen.control, clock::now) {
            this.meter.flooded.set(true);
            // Whoever drives the connection looks at the meter; nothing else would wake it.
            Waker::wake_by_ref(cx.waker());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.pace.wrote(count);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = written {
            self.pace.wrote(count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_counted_wherever_the_bytes_are_cut() {
        let bytes = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0, &[0; 12]),
            &frame(HEADERS, 4, &[PING; 40]),
            &frame(PING, 0, &[0; 8]),
            &frame(DATA, 0, &[0; 300]),
            &frame(DATA, 0, b""),
            &frame(HEADERS, 4, b"trailers"),
            &frame(0xfe, 0, b"unknown"),
            &frame(DATA, END_STREAM, b""),
        ]
        .concat();

        for piece in 1..=bytes.len() {
            let mut position = Position::new(PREFACE_BYTES);
            let seen = bytes.chunks(piece).map(|bytes| position.pass(bytes));
            let all = seen.fold((0, 0), |all, seen| (all.0 + seen.control, all.1 + seen.opened));
            assert_eq!(all, (4, 1), "in pieces of {piece}");
            assert_eq!((position.held, position.skipped), (0, 0));
        }
    }

    #[test]
    fn heads_of_a_server_count_unless_they_end_their_answer() {
        let mut position = Position::new(0);

        let interim = position.pass(&frame(HEADERS, 4, b"103").repeat(3));
        let whole = position.pass(&[frame(HEADERS, 4, b"200"), frame(DATA, END_STREAM, b"hello")].concat());
        let empty = position.pass(&frame(HEADERS, 4 | END_STREAM, b"204"));

        assert_eq!((interim.control, interim.ended), (3, 0));
        assert_eq!((whole.control, whole.ended), (1, 1));
        assert_eq!((empty.control, empty.ended), (0, 1));
    }

    #[test]
    fn a_pace_above_the_budget_is_a_flood_and_one_below_it_never_is() {
        let start = clock::now();
        let mut pace = Pace::new(start);

        assert!(!pace.count(CONTROL_FRAMES_MAX, || start));
        assert!(pace.count(1, || start));

        let mut pace = Pace::new(start);
        for second in 1..100 {
            let now = start + Duration::from_secs(second);
            assert!(!pace.count(CONTROL_FRAMES_MAX, || now), "second {second}");
        }
    }

    #[test]
    fn what_was_written_pays_for_frames() {
        let start = clock::now();
        let mut pace = Pace::new(start);

        for _ in 0..10 * CONTROL_FRAMES_MAX {
            pace.wrote(BYTES_PER_CONTROL_FRAME);
            assert!(!pace.count(1, || start));
        }
    }

    #[tokio::test]
    async fn nothing_is_read_after_a_flood() {
        use futures_util::FutureExt as _;
        use tokio::io::AsyncReadExt as _;
        let pings = frame(PING, 0, &[0; 8]).repeat(3 * CONTROL_FRAMES_MAX as usize);
        let mut counted = Counted::of_server(pings.as_slice());
        let meter = counted.meter();
        let mut block = vec![0; 1024];

        let mut read = 0;
        while !meter.is_flooded() {
            read += counted.read(&mut block).await.expect("reads from memory");
        }

        assert!(read / 17 <= CONTROL_FRAMES_MAX as usize + block.len(), "{read} bytes");
        assert!(counted.read(&mut block).now_or_never().is_none());
    }
}
