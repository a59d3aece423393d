//! Bodies in motion: from a [`Source`] to a [`Sink`], whatever protocol either speaks.
//!
//! # Why pieces are polled, not streamed
//! A body that arrives over HTTP/1.1 and leaves over HTTP/1.1 with the same framing is relayed as it lies in the read
//! block: no copy, no allocation, one write per read. That needs a source that lends its bytes and a sink that takes as
//! many as it can, which is what these two traits say. HTTP/2 fits as well: its windows are the sink's "as many as it can".

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tidegate_http1::Refusal;

use crate::clock::{Alarm, Slot};

/// How a source shows its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// With the framing they came in.
    Raw,
    /// Payload only.
    Payload,
}

/// What a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// [`Source::data`] is not empty.
    Data,
    /// Nothing follows, except perhaps trailers.
    End,
}

/// Why a source cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer closed or reset the connection before the end.
    Torn,
    /// The peer reset the stream (HTTP/2).
    Reset(h2::Reason),
    /// The framing is wrong.
    Refused(Refusal),
}

/// Why a sink cannot go on: its peer is gone or takes no more of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Where a body comes from.
pub(crate) trait Source {
    /// Whether [`Form::Raw`] is possible: the body has HTTP/1.1 framing.
    const RAW: bool;

    fn poll_more(&mut self, cx: &mut Context<'_>, form: Form) -> Poll<Result<More, Broken>>;
    /// Called before [`Self::poll_more`], with whoever will be shown what it finds.
    fn look_where_to(&mut self, _sink: &impl Sink) {}
    /// What is in hand.
    fn data(&self) -> &[u8];
    /// Takes at most `max` bytes of what is in hand, without copying them where possible.
    fn take(&mut self, max: usize) -> Bytes;
    fn consume(&mut self, count: usize);
    /// Whether nothing follows what was consumed, not even trailers.
    fn is_over(&self) -> bool;
    /// Whether [`Self::poll_more`] could only say that this is the end. `false` says nothing.
    fn is_spent(&self) -> bool {
        false
    }
    /// Bytes of payload that have come, without their framing. 0 where nobody asks.
    fn passed(&self) -> u64 {
        0
    }
    /// Called before a wait with bytes in hand.
    fn settle(&mut self);
    /// After a raw relay: permitted trailers and the end that the relay left out.
    fn write_raw_end(&self, out: &mut Vec<u8>);
    /// After the end: trailers that may be forwarded.
    fn trailers(&mut self) -> Option<HeaderMap>;
    /// After the end: how a gRPC call ended, as the trailers say.
    fn grpc_status(&self) -> Option<u8> {
        None
    }
    /// From now on the bytes are not HTTP any more.
    fn open_tunnel(&mut self);
}

/// Where a body goes.
pub(crate) trait Sink {
    fn form(&self) -> Form;
    /// Pending while it is known that nothing can be sent: then nothing need be read.
    fn poll_room(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    /// For how many reads of a source there is room for certain, or none that is known. Asks the kernel.
    fn room(&self) -> usize {
        usize::MAX
    }
    /// Moves at least one byte of `source.data()`, which is not empty.
    fn poll_send(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>>;
    /// Sends what was held back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;
    /// Ends the message.
    fn poll_finish(&mut self, cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>>;
    /// Ends the direction: of a tunnel.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;
    fn open_tunnel(&mut self);
}

/// Why a body did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PumpFault {
    Source(Broken),
    Sink(Closed),
}

/// How long a body may stand still.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// Waiting for its sender.
    pub(crate) source: Option<Duration>,
    /// Waiting for its receiver.
    pub(crate) sink: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nobody,
    Source,
    Sink,
}

/// Moves one body.
#[derive(Debug)]
pub(crate) struct Pump {
    slot: Slot,
    pub(crate) patience: Patience,
    waits: Waits,
    ending: bool,
    done: bool,
    moved: bool,
    /// A tunnel's direction is closed at its end.
    tunnel: bool,
}

impl Pump {
    pub(crate) fn new(slot: Slot, patience: Patience) -> Self {
        Self { slot, patience, waits: Waits::Nobody, ending: false, done: false, moved: false, tunnel: false }
    }

    /// A pump for one direction of a tunnel.
    pub(crate) fn tunnel(slot: Slot) -> Self {
        Self { tunnel: true, ..Self::new(slot, Patience::default()) }
    }

    /// Whether bytes were moved since this was last asked.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whom the pump waits for: says who is to blame when its alarm rings.
    pub(crate) fn waits_for_source(&self) -> bool {
        self.waits == Waits::Source
    }

    /// Deadlines are set anew at the next wait.
    pub(crate) fn change_patience(&mut self, patience: Patience) {
        self.patience = patience;
        self.waits = Waits::Nobody;
    }

    /// Moves what can be moved now.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
        alarm: &Alarm,
    ) -> Poll<Result<(), PumpFault>> {
        while !self.ending {
            // Nearly every request has no body, and nearly every answer is here whole.
            if source.is_spent() {
                self.ending = true;
                break;
            }
            if self.waits == Waits::Sink && sink.poll_room(cx).is_pending() {
                return Poll::Pending;
            }
            source.look_where_to(sink);
            match source.poll_more(cx, sink.form()) {
                Poll::Ready(Ok(More::Data)) => match sink.poll_send(cx, source) {
                    Poll::Ready(Ok(())) => {
                        self.waits = Waits::Nobody;
                        self.moved = true;
                    }
                    Poll::Ready(Err(closed)) => return Poll::Ready(Err(PumpFault::Sink(closed))),
                    Poll::Pending => {
                        source.settle();
                        return self.wait(Waits::Sink, alarm);
                    }
                },
                Poll::Ready(Ok(More::End)) => self.ending = true,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(PumpFault::Source(broken))),
                // What was held back to be sent together with more must not wait for more.
                Poll::Pending => match sink.poll_flush(cx) {
                    Poll::Ready(Ok(())) => return self.wait(Waits::Source, alarm),
                    Poll::Ready(Err(closed)) => return Poll::Ready(Err(PumpFault::Sink(closed))),
                    Poll::Pending => return self.wait(Waits::Sink, alarm),
                },
            }
        }
        let finished = match sink.poll_finish(cx, source) {
            Poll::Ready(Ok(())) if self.tunnel => sink.poll_close(cx),
            finished => finished,
        };
        match finished {
            Poll::Ready(Ok(())) => {
                self.done = true;
                alarm.clear(self.slot);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(closed)) => Poll::Ready(Err(PumpFault::Sink(closed))),
            Poll::Pending => self.wait(Waits::Sink, alarm),
        }
    }

    /// Sets the deadline once for each wait, not at each poll.
    fn wait<T>(&mut self, whom: Waits, alarm: &Alarm) -> Poll<T> {
        if self.waits != whom {
            self.waits = whom;
            alarm.set(self.slot, if whom == Waits::Source { self.patience.source } else { self.patience.sink });
        }
        Poll::Pending
    }
}
