//! The request's body on its way: kept while it may have to be sent again, and copied to mirrors.
//!
//! # Why between the caller and the exchange
//! An exchange takes a body piece by piece and forgets it. Whoever wants a piece again must have been there when it passed.
//! So the corridor hands the exchange this in place of the caller: it shows what was kept first, then what still arrives.
//! Without a retry policy and without mirrors it adds a comparison for each piece.
//!
//! # Why 64 KiB
//! Most requests that may be tried again are small. A larger body is sent once: holding it would cost memory for every
//! upload, to help the few that meet a failing endpoint.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::exchange::Caller;
use crate::mirror::feed::Feed;
use crate::wire::body::{Broken, Form, More, Source};

/// A body is kept for another attempt up to this size.
pub(crate) const REPLAYED_BYTES_MAX: usize = 64 * 1024;

/// What is known of the bytes that have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// Nobody asked for them.
    Nothing,
    All,
    /// Some are gone.
    Lost,
}

/// A caller whose body can be shown again.
pub(crate) struct Replay<'c, C> {
    caller: &'c mut C,
    keeping: Keeping,
    /// There will be no further attempt.
    committed: bool,
    kept: Vec<u8>,
    /// How much of `kept` the current attempt has taken.
    shown: usize,
    /// The body's end was seen; its trailers are in `trailers`.
    ended: bool,
    /// Boxed: nearly no request has any.
    trailers: Option<Box<HeaderMap>>,
    /// The current attempt has not taken the trailers.
    trailers_due: bool,
    feeds: Vec<Feed>,
}

impl<'c, C: Caller> Replay<'c, C> {
    /// `again`: the request may have to be sent more than once.
    pub(crate) fn new(caller: &'c mut C, again: bool) -> Self {
        // Without a body there is no end to be waited for.
        let ended = caller.source().is_over();
        Self {
            caller,
            keeping: if again { Keeping::All } else { Keeping::Nothing },
            committed: false,
            kept: Vec::new(),
            shown: 0,
            ended,
            trailers: None,
            trailers_due: false,
            feeds: Vec::new(),
        }
    }

    /// From now on every piece goes there as well.
    pub(crate) fn feed(&mut self, feed: Feed) {
        if self.caller.is_received() {
            feed.finish(None);
        }
        self.feeds.push(feed);
    }

    /// The next attempt begins at the first byte.
    pub(crate) fn rewind(&mut self) {
        self.shown = 0;
        self.trailers_due = self.trailers.is_some();
    }

    fn is_replaying(&self) -> bool {
        self.shown < self.kept.len()
    }

    fn is_watched(&self) -> bool {
        self.keeping == Keeping::All || !self.feeds.is_empty()
    }

    /// After something was kept: it was shown as it passed, and there may not be too much of it.
    fn bound(&mut self) {
        self.shown = self.kept.len();
        if self.kept.len() > REPLAYED_BYTES_MAX {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.keeping = Keeping::Lost;
        self.kept = Vec::new();
        self.shown = 0;
    }

    fn copy(&mut self, piece: &Bytes) {
        // A copy that was given up needs no more pieces.
        self.feeds.retain(|feed| feed.push(piece.clone()));
    }

    fn end(&mut self) {
        if self.ended || !self.is_watched() {
            return;
        }
        self.ended = true;
        self.trailers = self.caller.body().trailers().map(Box::new);
        self.trailers_due = self.trailers.is_some();
        for feed in &self.feeds {
            feed.finish(self.trailers.as_deref().cloned());
        }
    }
}

impl<C: Caller> Caller for Replay<'_, C> {
    type Body = Self;

    fn body(&mut self) -> &mut Self {
        self
    }

    fn source(&self) -> &Self {
        self
    }

    fn is_touched(&self) -> bool {
        self.caller.is_touched()
    }

    fn is_received(&self) -> bool {
        self.caller.is_received()
    }

    fn is_replayable(&self) -> bool {
        !self.committed
            && match self.keeping {
                Keeping::Nothing => !self.caller.is_touched(),
                Keeping::All => true,
                Keeping::Lost => false,
            }
    }

    fn shows_framing(&self) -> bool {
        // Mirrors may speak another protocol, so they are given the payload.
        C::Body::RAW && self.feeds.is_empty()
    }

    fn commit(&mut self) {
        self.committed = true;
        if !self.is_replaying() {
            self.lose();
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.caller.poll_gone(cx)
    }
}

impl<C: Caller> Source for Replay<'_, C> {
    const RAW: bool = C::Body::RAW;

    fn poll_more(&mut self, cx: &mut Context<'_>, form: Form) -> Poll<Result<More, Broken>> {
        if self.is_replaying() {
            return Poll::Ready(Ok(More::Data));
        }
        let more = self.caller.body().poll_more(cx, form);
        if let Poll::Ready(Ok(More::End)) = more {
            self.end();
        }
        more
    }

    fn data(&self) -> &[u8] {
        if self.is_replaying() { &self.kept[self.shown..] } else { self.caller.source().data() }
    }

    fn take(&mut self, max: usize) -> Bytes {
        if self.is_replaying() {
            let piece = self.data();
            let piece = Bytes::copy_from_slice(&piece[..max.min(piece.len())]);
            self.shown += piece.len();
            return piece;
        }
        let piece = self.caller.body().take(max);
        if self.keeping == Keeping::All {
            self.kept.extend_from_slice(&piece);
            self.bound();
        }
        self.copy(&piece);
        piece
    }

    fn consume(&mut self, count: usize) {
        if self.is_replaying() {
            self.shown += count;
            return;
        }
        if !self.feeds.is_empty() {
            let piece = Bytes::copy_from_slice(&self.caller.source().data()[..count]);
            self.copy(&piece);
        }
        if self.keeping == Keeping::All {
            self.kept.extend_from_slice(&self.caller.source().data()[..count]);
            self.bound();
        }
        self.caller.body().consume(count);
    }

    fn is_over(&self) -> bool {
        !self.is_replaying() && if self.ended { !self.trailers_due } else { self.caller.source().is_over() }
    }

    fn is_spent(&self) -> bool {
        // Whoever watches wants to see the end.
        !self.is_replaying() && (self.ended || !self.is_watched()) && self.caller.source().is_spent()
    }

    fn passed(&self) -> u64 {
        // What is sent again has not come again.
        self.caller.source().passed()
    }

    fn settle(&mut self) {
        self.caller.body().settle();
    }

    fn write_raw_end(&self, out: &mut Vec<u8>) {
        self.caller.source().write_raw_end(out);
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        if !self.ended {
            return self.caller.body().trailers();
        }
        if std::mem::take(&mut self.trailers_due) { self.trailers.as_deref().cloned() } else { None }
    }

    fn open_tunnel(&mut self) {
        self.keeping = Keeping::Lost;
        self.ended = false;
        self.feeds.clear();
        self.caller.body().open_tunnel();
    }
}

impl<C> Drop for Replay<'_, C> {
    fn drop(&mut self) {
        // A copy of a body that never ended must not look like a whole one.
        for feed in &self.feeds {
            feed.tear();
        }
    }
}

#[cfg(test)]
mod tests;
