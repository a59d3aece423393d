//! Both directions of one exchange at the same time.
//!
//! # Why at the same time
//! An endpoint may answer before it has read the request (a 413, a gRPC stream), and a caller may wait for the beginning of
//! the answer before it sends the rest. Neither direction may wait for the other, so one task polls both.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidegate_http1::{HeadEdits, ResponseHead};
use tidegate_report::ResponseFlag;
use tidegate_traffic::fault::{Abort, Bandwidth};

use crate::clock::{Alarm, Ring, Slot};
use crate::limits::INTERIM_ANSWERS_MAX;
use crate::upstream::{Answer, Fault};
use crate::wire::body::{Broken, Closed, Form, More, Patience, Pump, PumpFault, Sink, Source};
use crate::wire::pace::{Pace, Paced};
use crate::wire::tunnel::{Moved, Quiet, tunnel};

/// The caller's side of a request: its body, and whether the caller is still there.
pub(crate) trait Caller {
    type Body: Source;

    fn body(&mut self) -> &mut Self::Body;
    /// The same, only to look at.
    fn source(&self) -> &Self::Body;
    /// Whether any byte of the body was taken, so that the request cannot be sent again.
    fn is_touched(&self) -> bool;
    /// Whether the whole body was taken.
    fn is_received(&self) -> bool;
    /// Whether the request can be sent again from its beginning.
    fn is_replayable(&self) -> bool {
        !self.is_touched()
    }
    /// Whether the body can be shown with the framing it came in.
    fn shows_framing(&self) -> bool {
        Self::Body::RAW
    }
    /// There will be no further attempt.
    fn commit(&mut self) {}
    /// Ready when the caller has gone. Polled only when its body has arrived.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// How an answer is to be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The body's source can show its raw framing.
    pub(crate) raw: bool,
    /// The connection ends with this answer.
    pub(crate) close: bool,
    /// The answer switches protocols.
    pub(crate) upgrade: bool,
}

/// Where the answer goes.
pub(crate) trait Reply {
    type Body: Sink;

    /// An interim head. Callers that cannot take one do not get it.
    fn interim(&mut self, head: &ResponseHead) -> Result<(), Trouble>;
    /// The final head; it leaves with the first bytes of the body.
    fn begin(&mut self, head: &ResponseHead, edits: &HeadEdits, start: Start) -> Result<(), Trouble>;
    fn body(&mut self) -> &mut Self::Body;
    /// Ready when the caller wants no answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Ends an answer that has begun and cannot be finished: the caller must see that it is torn.
    fn abort(&mut self);
    /// The caller shall see a reset in place of an answer.
    fn reset(&mut self);
    /// Whether the connection must end after this answer, whatever the exchange says.
    fn must_close(&self) -> bool;
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The endpoint's side.
    Upstream(Fault),
    /// The request's body.
    Caller(Broken),
    /// The caller left while it was waiting.
    CallerGone,
    /// Configuration makes a head that cannot be written.
    Unwritable,
    /// A time limit passed.
    Late(Late),
    /// An answer with this status came, and the retry policy wants another one.
    Answered(u16),
    /// A fault that is injected on purpose ended the attempt.
    Injected(Abort),
}

impl Trouble {
    /// Why an answer that had begun was torn.
    pub(crate) fn flag(&self) -> ResponseFlag {
        match self {
            Self::Upstream(Fault::Protocol(_) | Fault::Unexpected(_)) => ResponseFlag::UpstreamProtocolError,
            Self::Upstream(Fault::Reset(_)) => ResponseFlag::UpstreamRemoteReset,
            Self::Upstream(Fault::Overflow(_)) => ResponseFlag::UpstreamOverflow,
            Self::Upstream(
                Fault::Connect(_)
                | Fault::Handshake(_)
                | Fault::ConnectTimeout
                | Fault::Closed { .. }
                | Fault::Unprocessed,
            ) => ResponseFlag::UpstreamConnectionTermination,
            Self::Caller(_) | Self::CallerGone | Self::Unwritable | Self::Answered(_) | Self::Injected(_) => {
                ResponseFlag::DownstreamTermination
            }
            Self::Late(Late::Total | Late::Attempt) => ResponseFlag::UpstreamTimeout,
            Self::Late(Late::CallerSending | Late::CallerReading | Late::UpstreamReading | Late::Answer) => {
                ResponseFlag::StreamIdleTimeout
            }
        }
    }
}

/// Which one, and whose silence it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The route's limit.
    Total,
    /// The limit of one attempt.
    Attempt,
    /// The caller owes its body.
    CallerSending,
    /// The caller does not read.
    CallerReading,
    /// The endpoint does not read.
    UpstreamReading,
    /// The endpoint owes its answer, or more of it.
    Answer,
}

/// Whether the caller is still there is asked from then on. To ask arranges a wake-up, which costs a fiftieth of a request, and
/// nearly every answer comes sooner.
const WATCHED_AFTER: Duration = Duration::from_millis(10);

/// The four parties of an exchange.
pub(crate) struct Exchange<'x, C, R, S, A> {
    pub(crate) caller: &'x mut C,
    pub(crate) reply: &'x mut R,
    pub(crate) sink: S,
    pub(crate) answer: A,
    pub(crate) alarm: &'x Alarm,
    pub(crate) upload: Pump,
    /// The endpoint takes no more of the request. Its answer may still come.
    pub(crate) unwanted: bool,
    /// It has taken long enough to ask whether the caller is still there.
    pub(crate) watched: bool,
    /// The limit that begins when the request has been received whole.
    pub(crate) total: Option<Duration>,
    /// The same for this attempt.
    pub(crate) per_try: Option<Duration>,
}

impl<C: Caller, R: Reply, S: Sink, A: Answer> Exchange<'_, C, R, S, A> {
    /// Sends the request until the final answer's head arrives.
    pub(crate) async fn head(&mut self, idle: Option<Duration>) -> Result<ResponseHead, Trouble> {
        self.alarm.set(Slot::Download, idle);
        self.alarm.set(Slot::Presence, Some(WATCHED_AFTER));
        let mut interims = 0;
        let head = poll_fn(|cx| {
            if let Err(trouble) = self.poll_upload(cx) {
                return Poll::Ready(Err(trouble));
            }
            loop {
                match self.answer.poll_head(cx) {
                    Poll::Ready(Ok(head)) if head.is_interim() => {
                        interims += 1;
                        if interims > INTERIM_ANSWERS_MAX {
                            let fault = Fault::Unexpected("the endpoint sent too many interim answers");
                            return Poll::Ready(Err(Trouble::Upstream(fault)));
                        }
                        // What the caller has seen came from this endpoint, so the rest must, too.
                        self.caller.commit();
                        if let Err(trouble) = self.reply.interim(&head) {
                            return Poll::Ready(Err(trouble));
                        }
                    }
                    Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(Trouble::Upstream(fault))),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(Closed)) = self.reply.body().poll_flush(cx) {
                return Poll::Ready(Err(Trouble::CallerGone));
            }
            self.poll_presence(cx, None)
        })
        .await;
        self.alarm.clear(Slot::Download);
        head
    }

    /// Relays the answer's body, and what is left of the request's. `sent` is how much of it came, whether or not that is all.
    pub(crate) async fn relay(
        &mut self,
        patience: Patience,
        bandwidth: Option<Bandwidth>,
        sent: &Cell<u64>,
    ) -> Result<(), Trouble> {
        let mut download = Pump::new(Slot::Download, patience);
        let mut pace = bandwidth.map(Pace::new);
        let relayed = poll_fn(|cx| {
            if let Err(trouble) = self.poll_upload(cx) {
                return Poll::Ready(Err(trouble));
            }
            let body = self.answer.body();
            let polled = match &mut pace {
                None => download.poll(cx, body, self.reply.body(), self.alarm),
                Some(pace) => download.poll(cx, &mut Paced { source: body, pace }, self.reply.body(), self.alarm),
            };
            match polled {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(PumpFault::Source(broken))) => {
                    // What did arrive is passed on: the caller shall see a torn answer, not an empty connection.
                    if self.reply.body().poll_flush(cx).is_pending() {
                        self.alarm.clear(Slot::Download);
                    }
                    return Poll::Ready(Err(Trouble::Upstream(Fault::of(broken))));
                }
                Poll::Ready(Err(PumpFault::Sink(Closed))) => return Poll::Ready(Err(Trouble::CallerGone)),
                Poll::Pending => {}
            }
            self.poll_presence(cx, Some(&download))
        })
        .await;
        sent.set(self.answer.body().passed());
        relayed
    }

    /// After a switch of protocols: bytes both ways until both ends have closed.
    pub(crate) async fn tunnel(&mut self, idle: Option<Duration>, moved: Moved<'_>) -> Result<(), Quiet> {
        self.caller.body().open_tunnel();
        self.sink.open_tunnel();
        self.answer.body().open_tunnel();
        self.reply.body().open_tunnel();
        let there = (self.caller.body(), &mut self.sink);
        let back = (self.answer.body(), self.reply.body());
        tunnel(there, back, self.alarm, idle, moved).await
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Trouble> {
        if self.upload.is_done() || self.unwanted {
            return Ok(());
        }
        match self.upload.poll(cx, self.caller.body(), &mut self.sink, self.alarm) {
            Poll::Ready(Ok(())) => {
                if let Some(total) = self.total.take() {
                    self.alarm.tighten(Slot::Total, total);
                }
                if let Some(limit) = self.per_try.take() {
                    self.alarm.set(Slot::Attempt, Some(limit));
                }
                Ok(())
            }
            Poll::Ready(Err(PumpFault::Source(broken))) => Err(Trouble::Caller(broken)),
            Poll::Ready(Err(PumpFault::Sink(Closed))) => {
                self.unwanted = true;
                self.alarm.clear(Slot::Upload);
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let reads = self.watched && self.upload.is_done();
        self.reply.poll_gone(cx).is_ready() || (reads && self.caller.poll_gone(cx).is_ready())
    }

    /// Whether the caller is still there and no time limit has passed.
    fn poll_presence<T>(&mut self, cx: &mut Context<'_>, download: Option<&Pump>) -> Poll<Result<T, Trouble>> {
        if self.is_gone(cx) {
            return Poll::Ready(Err(Trouble::CallerGone));
        }
        while let Poll::Ready(ring) = self.alarm.poll(cx) {
            let late = match ring {
                Ring::Poked => continue,
                Ring::Due(Slot::Presence) => {
                    self.watched = true;
                    match self.is_gone(cx) {
                        true => return Poll::Ready(Err(Trouble::CallerGone)),
                        false => continue,
                    }
                }
                Ring::Due(Slot::Total) => Late::Total,
                Ring::Due(Slot::Attempt) => Late::Attempt,
                Ring::Due(Slot::Upload) if self.upload.waits_for_source() => Late::CallerSending,
                Ring::Due(Slot::Upload) => Late::UpstreamReading,
                Ring::Due(Slot::Download) => match download {
                    Some(download) if !download.waits_for_source() => Late::CallerReading,
                    Some(_) | None => Late::Answer,
                },
            };
            return Poll::Ready(Err(Trouble::Late(late)));
        }
        Poll::Pending
    }
}

/// What is read at once of an answer that nobody wants, so that its connection can be kept.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// Reads and forgets what is there of a body, without waiting. Whether that was all of it.
pub(crate) async fn discard(body: &mut impl Source) -> bool {
    let mut count = 0;
    poll_fn(|cx| {
        loop {
            match body.poll_more(cx, Form::Payload) {
                Poll::Ready(Ok(More::Data)) if count < DISCARDED_BYTES_MAX => {
                    count += body.data().len();
                    body.consume(body.data().len());
                }
                Poll::Ready(Ok(More::End)) => return Poll::Ready(true),
                Poll::Ready(Ok(More::Data) | Err(_)) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Waits on purpose, for as long as the caller does.
pub(crate) async fn pause<C: Caller, R: Reply>(
    caller: &mut C,
    reply: &mut R,
    alarm: &Alarm,
    length: Duration,
) -> Result<(), Trouble> {
    alarm.set(Slot::Download, Some(length));
    let waited = poll_fn(|cx| {
        if reply.poll_gone(cx).is_ready() || (caller.is_received() && caller.poll_gone(cx).is_ready()) {
            return Poll::Ready(Err(Trouble::CallerGone));
        }
        loop {
            return match ready!(alarm.poll(cx)) {
                Ring::Poked => continue,
                Ring::Due(Slot::Total) => Poll::Ready(Err(Trouble::Late(Late::Total))),
                Ring::Due(Slot::Attempt) => Poll::Ready(Err(Trouble::Late(Late::Attempt))),
                Ring::Due(Slot::Presence) => continue,
                Ring::Due(Slot::Upload | Slot::Download) => Poll::Ready(Ok(())),
            };
        }
    })
    .await;
    alarm.clear(Slot::Download);
    waited
}
