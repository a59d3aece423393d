//! The body that can be shown again, over a caller that has it in pieces.

use std::collections::VecDeque;
use std::task::Waker;

use super::*;
use crate::mirror::feed;

#[derive(Default)]
struct Pieces {
    pieces: VecDeque<&'static [u8]>,
    touched: bool,
}

impl Caller for Pieces {
    type Body = Self;

    fn body(&mut self) -> &mut Self {
        self
    }

    fn source(&self) -> &Self {
        self
    }

    fn is_touched(&self) -> bool {
        self.touched
    }

    fn is_received(&self) -> bool {
        self.pieces.is_empty()
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Source for Pieces {
    const RAW: bool = true;

    fn poll_more(&mut self, _cx: &mut Context<'_>, _form: Form) -> Poll<Result<More, Broken>> {
        self.touched = true;
        Poll::Ready(Ok(if self.pieces.is_empty() { More::End } else { More::Data }))
    }

    fn data(&self) -> &[u8] {
        self.pieces.front().copied().unwrap_or_default()
    }

    fn take(&mut self, max: usize) -> Bytes {
        let piece = Bytes::copy_from_slice(&self.data()[..max.min(self.data().len())]);
        self.consume(piece.len());
        piece
    }

    fn consume(&mut self, count: usize) {
        if let Some(piece) = self.pieces.pop_front()
            && piece.len() > count
        {
            self.pieces.push_front(&piece[count..]);
        }
    }

    fn is_over(&self) -> bool {
        self.pieces.is_empty()
    }

    fn settle(&mut self) {}

    fn write_raw_end(&self, _out: &mut Vec<u8>) {}

    fn trailers(&mut self) -> Option<HeaderMap> {
        None
    }

    fn open_tunnel(&mut self) {}
}

fn pieces(pieces: &[&'static [u8]]) -> Pieces {
    Pieces { pieces: pieces.iter().copied().collect(), touched: false }
}

/// Takes at most `most` bytes, by turns of either way.
fn drain(replay: &mut Replay<'_, Pieces>, most: usize) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    while all.len() < most && replay.poll_more(&mut cx, Form::Payload) == Poll::Ready(Ok(More::Data)) {
        let count = replay.data().len().min(3).min(most - all.len());
        if all.len() % 2 == 0 {
            all.extend_from_slice(&replay.take(count));
        } else {
            all.extend_from_slice(&replay.data()[..count]);
            replay.consume(count);
        }
    }
    all
}

#[test]
fn every_attempt_sees_the_body_from_its_first_byte() {
    let mut caller = pieces(&[b"hello ", b"wide ", b"world"]);
    let mut replay = Replay::new(&mut caller, true);

    assert_eq!(drain(&mut replay, 8), b"hello wi");
    replay.rewind();
    assert_eq!(drain(&mut replay, 4), b"hell");
    replay.rewind();
    assert!(!replay.is_over());
    assert_eq!(drain(&mut replay, 100), b"hello wide world");

    assert!(replay.is_replayable());
    assert!(replay.is_over());
}

#[test]
fn a_body_beyond_the_bound_goes_on_and_cannot_be_sent_again() {
    static BLOCK: [u8; 40 * 1024] = [7; 40 * 1024];
    let mut caller = pieces(&[&BLOCK, &BLOCK]);
    let mut replay = Replay::new(&mut caller, true);

    let all = drain(&mut replay, usize::MAX);

    assert_eq!(all.len(), 80 * 1024);
    assert!(!replay.is_replayable());
    assert_eq!(replay.kept.capacity(), 0);
}

#[test]
fn without_a_policy_only_an_untouched_body_can_be_sent_again() {
    let mut caller = pieces(&[b"hello"]);
    let mut replay = Replay::new(&mut caller, false);

    assert!(replay.is_replayable());
    assert_eq!(drain(&mut replay, 2), b"he");
    assert!(!replay.is_replayable());
}

#[test]
fn a_mirror_gets_each_byte_once_however_often_the_original_is_sent() {
    let mut caller = pieces(&[b"hello ", b"world"]);
    let mut replay = Replay::new(&mut caller, true);
    let (feed, mut fed) = feed::pair();
    replay.feed(feed);
    assert!(!replay.shows_framing());

    drain(&mut replay, 8);
    replay.rewind();
    drain(&mut replay, 100);
    let mut cx = Context::from_waker(Waker::noop());
    let mut copied = Vec::new();
    while fed.poll_more(&mut cx, Form::Payload) == Poll::Ready(Ok(More::Data)) {
        copied.extend_from_slice(&fed.take(100));
    }

    assert_eq!(copied, b"hello world");
    assert!(fed.is_whole());
}

#[test]
fn a_mirror_of_an_exchange_that_ended_early_is_torn() {
    let mut caller = pieces(&[b"hello ", b"world"]);
    let (feed, mut fed) = feed::pair();
    let mut replay = Replay::new(&mut caller, false);
    replay.feed(feed);
    drain(&mut replay, 3);
    drop(replay);

    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(fed.poll_more(&mut cx, Form::Payload), Poll::Ready(Ok(More::Data)));
    assert_eq!(fed.take(9), "hel");
    assert_eq!(fed.poll_more(&mut cx, Form::Payload), Poll::Ready(Err(Broken::Torn)));
}
