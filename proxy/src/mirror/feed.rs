//! A mirror's share of a request's body: pieces on their way from the exchange to the copy.
//!
//! # Why it lets go instead of holding back
//! The copy must never slow the original down. A mirror that does not take its pieces fills the queue, and at
//! [`FED_BYTES_MAX`] the copy is given up: what waits is freed, what follows is not kept. The original does not notice.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;

use crate::wire::body::{Broken, Form, More, Source};

/// What may wait for one mirror.
pub(crate) const FED_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    end: End,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// More may come.
    #[default]
    Open,
    Whole,
    /// The original ended before its body did.
    Torn,
    /// The mirror was too slow.
    Overflowed,
    /// The mirror takes no more.
    Deaf,
}

/// Where the exchange puts pieces.
#[derive(Debug)]
pub(crate) struct Feed(Rc<RefCell<Queue>>);

/// Where a mirror takes them.
#[derive(Debug)]
pub(crate) struct Fed {
    queue: Rc<RefCell<Queue>>,
    held: Bytes,
}

/// Both ends.
pub(crate) fn pair() -> (Feed, Fed) {
    let queue = Rc::new(RefCell::new(Queue::default()));
    (Feed(Rc::clone(&queue)), Fed { queue, held: Bytes::new() })
}

impl Feed {
    /// `false`: nobody takes pieces any more.
    pub(crate) fn push(&self, piece: Bytes) -> bool {
        let mut queue = self.0.borrow_mut();
        if queue.end != End::Open || piece.is_empty() {
            return queue.end == End::Open;
        }
        if queue.bytes + piece.len() > FED_BYTES_MAX {
            queue.pieces = VecDeque::new();
            queue.bytes = 0;
            queue.conclude(End::Overflowed);
            return false;
        }
        queue.bytes += piece.len();
        queue.pieces.push_back(piece);
        queue.wake();
        true
    }

    pub(crate) fn finish(&self, trailers: Option<HeaderMap>) {
        let mut queue = self.0.borrow_mut();
        queue.trailers = trailers;
        queue.conclude(End::Whole);
    }

    /// The original is over; without [`Self::finish`] before, the copy is torn too.
    pub(crate) fn tear(&self) {
        self.0.borrow_mut().conclude(End::Torn);
    }
}

impl Queue {
    fn conclude(&mut self, end: End) {
        if self.end == End::Open {
            self.end = end;
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Fed {
    /// Ready when the copy was given up. Pieces that come are not waited for.
    pub(crate) fn poll_overflow(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.queue.borrow_mut();
        if queue.end == End::Overflowed {
            return Poll::Ready(());
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn is_whole(&self) -> bool {
        let queue = self.queue.borrow();
        queue.end == End::Whole && queue.pieces.is_empty() && self.held.is_empty()
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.pieces = VecDeque::new();
        queue.end = End::Deaf;
    }
}

impl Source for Fed {
    const RAW: bool = false;

    fn poll_more(&mut self, cx: &mut Context<'_>, _form: Form) -> Poll<Result<More, Broken>> {
        if !self.held.is_empty() {
            return Poll::Ready(Ok(More::Data));
        }
        let mut queue = self.queue.borrow_mut();
        if let Some(piece) = queue.pieces.pop_front() {
            queue.bytes -= piece.len();
            self.held = piece;
            return Poll::Ready(Ok(More::Data));
        }
        match queue.end {
            End::Whole => Poll::Ready(Ok(More::End)),
            End::Torn | End::Overflowed | End::Deaf => Poll::Ready(Err(Broken::Torn)),
            End::Open => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.held
    }

    fn take(&mut self, max: usize) -> Bytes {
        self.held.split_to(max.min(self.held.len()))
    }

    fn consume(&mut self, count: usize) {
        self.held.advance(count);
    }

    fn is_over(&self) -> bool {
        self.is_whole() && self.queue.borrow().trailers.is_none()
    }

    fn settle(&mut self) {}

    fn write_raw_end(&self, _out: &mut Vec<u8>) {}

    fn trailers(&mut self) -> Option<HeaderMap> {
        self.queue.borrow_mut().trailers.take()
    }

    fn open_tunnel(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn pieces_come_out_in_order_and_then_the_end() {
        let (feed, mut fed) = pair();
        feed.push(Bytes::from_static(b"one"));
        feed.push(Bytes::from_static(b"two"));
        feed.finish(None);

        assert_eq!(fed.poll_more(&mut cx(), Form::Payload), Poll::Ready(Ok(More::Data)));
        assert_eq!(fed.take(2), "on");
        assert!(!fed.is_over());
        assert_eq!(fed.take(9), "e");
        assert_eq!(fed.poll_more(&mut cx(), Form::Payload), Poll::Ready(Ok(More::Data)));
        assert_eq!(fed.take(9), "two");
        assert!(fed.is_over());
        assert_eq!(fed.poll_more(&mut cx(), Form::Payload), Poll::Ready(Ok(More::End)));
    }

    #[test]
    fn a_mirror_that_takes_nothing_is_given_up_and_holds_nothing() {
        let (feed, fed) = pair();
        let block = Bytes::from(vec![0; 16 * 1024]);
        for _ in 0..1_000 {
            feed.push(block.clone());
            assert!(fed.queue.borrow().bytes <= FED_BYTES_MAX);
        }

        assert_eq!(fed.poll_overflow(&cx()), Poll::Ready(()));
        assert!(!feed.push(block));
        assert!(fed.queue.borrow().pieces.is_empty());
    }

    #[test]
    fn a_copy_of_a_torn_body_is_torn() {
        let (feed, mut fed) = pair();
        feed.push(Bytes::from_static(b"half"));
        feed.tear();

        assert_eq!(fed.poll_more(&mut cx(), Form::Payload), Poll::Ready(Ok(More::Data)));
        fed.consume(4);
        assert_eq!(fed.poll_more(&mut cx(), Form::Payload), Poll::Ready(Err(Broken::Torn)));
    }
}
