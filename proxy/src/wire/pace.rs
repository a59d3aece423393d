//! A body that flows no faster than it may.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tidegate_traffic::fault::Bandwidth;
use tokio::time::{Instant, Sleep};

use super::body::{Broken, Form, More, Source};
use crate::clock;

/// How far a slowed body has come.
pub(crate) struct Pace {
    bandwidth: Bandwidth,
    /// When its first byte was due.
    started: Option<Instant>,
    sent: u64,
    /// What may be shown now.
    allowed: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) fn new(bandwidth: Bandwidth) -> Self {
        Self { bandwidth, started: None, sent: 0, allowed: 0, timer: None }
    }

    /// Ready when at least one byte may go.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            let now = clock::now();
            let started = *self.started.get_or_insert(now);
            let room = self.bandwidth.bytes_allowed(now - started).saturating_sub(self.sent);
            self.allowed = usize::try_from(room).unwrap_or(usize::MAX);
            if self.allowed > 0 {
                return Poll::Ready(());
            }
            // At least a millisecond, so that rounding cannot make this spin.
            let due = started + self.bandwidth.due(self.sent + 1);
            self.timer = Some(Box::pin(tokio::time::sleep_until(due.max(now + Duration::from_millis(1)))));
        }
    }

    fn spend(&mut self, count: usize) {
        self.allowed = self.allowed.saturating_sub(count);
        self.sent = self.sent.saturating_add(count as u64);
    }
}

/// A source that shows only what may go now.
pub(crate) struct Paced<'a, S> {
    pub(crate) source: &'a mut S,
    pub(crate) pace: &'a mut Pace,
}

impl<S: Source> Source for Paced<'_, S> {
    const RAW: bool = S::RAW;

    fn poll_more(&mut self, cx: &mut Context<'_>, form: Form) -> Poll<Result<More, Broken>> {
        match ready!(self.source.poll_more(cx, form))? {
            More::Data => {
                if self.pace.allowed == 0 {
                    ready!(self.pace.poll(cx));
                }
                Poll::Ready(Ok(More::Data))
            }
            More::End => Poll::Ready(Ok(More::End)),
        }
    }

    fn data(&self) -> &[u8] {
        let data = self.source.data();
        &data[..data.len().min(self.pace.allowed)]
    }

    fn take(&mut self, max: usize) -> Bytes {
        let bytes = self.source.take(max.min(self.pace.allowed));
        self.pace.spend(bytes.len());
        bytes
    }

    fn consume(&mut self, count: usize) {
        self.source.consume(count);
        self.pace.spend(count);
    }

    fn is_over(&self) -> bool {
        self.source.is_over()
    }

    fn is_spent(&self) -> bool {
        self.source.is_spent()
    }

    fn passed(&self) -> u64 {
        self.source.passed()
    }

    fn settle(&mut self) {
        self.source.settle();
    }

    fn write_raw_end(&self, out: &mut Vec<u8>) {
        self.source.write_raw_end(out);
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        self.source.trailers()
    }

    fn open_tunnel(&mut self) {
        self.source.open_tunnel();
    }
}
