//! Buffers that belong to the worker and are lent to a connection only while it has bytes.
//!
//! # Why 64 KiB, and why lent
//! Reading in 16 KiB steps costs 20 % on 16 KiB bodies (measured), so reads use large blocks. A block per connection
//! would be 64 KiB times thousands of idle connections; a worker needs only as many as it has bytes in hand, which is one
//! or two. A connection that must wait with bytes in hand (its peer is slow to take them) swaps the block for a copy of
//! exact size.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use tidegate_http1::{HeadEdits, HeadMemory};

use super::socket::Reading;

/// Size of a block: one read.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks a worker keeps for the next read.
const BLOCKS_MAX: usize = 8;

/// Output buffers a worker keeps; each is no larger than [`OUTPUT_KEPT_BYTES_MAX`].
const OUTPUTS_MAX: usize = 64;

/// An output buffer that grew beyond this is freed instead of kept.
const OUTPUT_KEPT_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// Heads of either kind, and changes to heads, whose memory a worker keeps for the next; each is no larger than
/// [`HEAD_KEPT_BYTES_MAX`]. Two heads are in hand for each request that is on its way.
const HEADS_MAX: usize = 64;

/// Memory that grew beyond this is freed instead of kept.
const HEAD_KEPT_BYTES_MAX: usize = 8 * 1024;

/// Whether a worker may take so many bytes more of the process's memory.
type Allowance = Box<dyn Fn(usize) -> bool>;

/// What a worker has to lend.
#[derive(Default)]
pub(crate) struct Buffers {
    /// Asked before more is kept of what came in. Without one there is always enough.
    allowance: Option<Allowance>,
    blocks: RefCell<Vec<Box<[u8]>>>,
    outputs: RefCell<Vec<Vec<u8>>>,
    requests: RefCell<Vec<HeadMemory>>,
    /// Apart from those of requests: a head is read fastest in the memory of one like it.
    answers: RefCell<Vec<HeadMemory>>,
    #[expect(clippy::vec_box, reason = "one that is lent moves as a pointer")]
    edits: RefCell<Vec<Box<HeadEdits>>>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("blocks", &self.blocks.borrow().len()).finish_non_exhaustive()
    }
}

impl Buffers {
    /// Within an allowance.
    pub(crate) fn within(allowance: impl Fn(usize) -> bool + 'static) -> Self {
        Self { allowance: Some(Box::new(allowance)), ..Self::default() }
    }

    fn may_take(&self, bytes: usize) -> bool {
        self.allowance.as_ref().is_none_or(|allowance| allowance(bytes))
    }

    #[inline]
    fn block(&self) -> io::Result<Box<[u8]>> {
        if let Some(block) = self.blocks.borrow_mut().pop() {
            return Ok(block);
        }
        if self.may_take(BLOCK_BYTES) { Ok(vec![0; BLOCK_BYTES].into_boxed_slice()) } else { Err(out_of_memory()) }
    }

    #[inline]
    fn give_back(&self, block: Box<[u8]>) {
        let mut blocks = self.blocks.borrow_mut();
        if block.len() == BLOCK_BYTES && blocks.len() < BLOCKS_MAX {
            blocks.push(block);
        }
    }

    /// Memory of a request that is over, whose lines are forgotten.
    #[inline]
    pub(crate) fn request(&self) -> HeadMemory {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn give_back_request(&self, mut memory: HeadMemory) {
        // The next one who has it is another caller.
        memory.forget();
        keep(&self.requests, memory);
    }

    /// Memory of an answer that is over.
    #[inline]
    pub(crate) fn answer(&self) -> HeadMemory {
        self.answers.borrow_mut().pop().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn give_back_answer(&self, memory: HeadMemory) {
        keep(&self.answers, memory);
    }

    /// No changes yet, in the memory of others that were made.
    #[inline]
    pub(crate) fn edits(&self) -> Box<HeadEdits> {
        self.edits.borrow_mut().pop().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn give_back_edits(&self, mut made: Box<HeadEdits>) {
        let mut edits = self.edits.borrow_mut();
        if edits.len() < HEADS_MAX && made.memory_bytes() <= HEAD_KEPT_BYTES_MAX {
            made.clear();
            edits.push(made);
        }
    }

    #[inline]
    fn output(&self) -> Vec<u8> {
        self.outputs.borrow_mut().pop().unwrap_or_default()
    }

    #[inline]
    fn give_back_output(&self, mut output: Vec<u8>) {
        let mut outputs = self.outputs.borrow_mut();
        if outputs.len() < OUTPUTS_MAX && output.capacity() > 0 && output.capacity() <= OUTPUT_KEPT_BYTES_MAX {
            output.clear();
            outputs.push(output);
        }
    }
}

#[inline]
fn keep(heads: &RefCell<Vec<HeadMemory>>, memory: HeadMemory) {
    let mut heads = heads.borrow_mut();
    // Nothing is left where it became a head.
    if heads.len() < HEADS_MAX && (1..=HEAD_KEPT_BYTES_MAX).contains(&memory.bytes()) {
        heads.push(memory);
    }
}

/// There is no memory for what has come in: its connection must end.
fn out_of_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// Bytes that were read and not used yet.
#[derive(Debug)]
pub(crate) struct Input {
    buffers: Rc<Buffers>,
    block: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new(buffers: &Rc<Buffers>) -> Self {
        Self { buffers: Rc::clone(buffers), block: None, start: 0, end: 0 }
    }

    /// Parses what is in hand as an answer, in the memory of one that is over.
    pub(crate) fn parse_answer<T>(&self, parse: impl FnOnce(&mut HeadMemory, &[u8]) -> T) -> T {
        let mut memory = self.buffers.answer();
        let parsed = parse(&mut memory, self.bytes());
        self.buffers.give_back_answer(memory);
        parsed
    }

    /// What is in hand.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.block {
            Some(block) => &block[self.start..self.end],
            None => &[],
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether a further read has nowhere to go.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= BLOCK_BYTES
    }

    /// Forgets the first `count` bytes.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if let Some(block) = self.block.take() {
                self.buffers.give_back(block);
            }
        }
    }

    /// Reads once, behind what is in hand. `Ok(0)` is the end of input.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Reading<'_>) -> Poll<io::Result<usize>> {
        if self.block.is_none() {
            return self.poll_first(cx, from);
        }
        if from.poll_arrived(cx).is_pending() {
            return self.rest();
        }
        self.make_room()?;
        let Some(block) = self.block.as_mut() else { return Poll::Ready(Ok(0)) };
        let read = from.poll_read(cx, &mut block[self.end..]);
        match &read {
            Poll::Ready(Ok(count)) => self.end += count,
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        if self.start == self.end {
            self.consume(0);
        } else if read.is_pending() {
            return self.rest();
        }
        read
    }

    /// Waits for more, with what is in hand.
    fn rest(&mut self) -> Poll<io::Result<usize>> {
        if self.settle() { Poll::Pending } else { Poll::Ready(Err(out_of_memory())) }
    }

    /// With nothing in hand, the common case: a block is kept only if something has arrived.
    fn poll_first(&mut self, cx: &mut Context<'_>, from: &mut Reading<'_>) -> Poll<io::Result<usize>> {
        ready!(from.poll_arrived(cx));
        let mut block = self.buffers.block()?;
        let read = from.poll_read(cx, &mut block);
        self.hold(block, &read);
        read
    }

    /// Keeps a block that something has come into.
    #[inline]
    fn hold(&mut self, block: Box<[u8]>, come: &Poll<io::Result<usize>>) {
        match come {
            Poll::Ready(Ok(count)) if *count > 0 => (self.block, self.start, self.end) = (Some(block), 0, *count),
            Poll::Ready(_) | Poll::Pending => self.buffers.give_back(block),
        }
    }

    /// With nothing in hand: shows what has arrived without taking it from the kernel. What of it is used is taken with
    /// [`Self::take_seen`], the rest is forgotten with [`Self::forget`]. `Ok(0)` is the end of input.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>, from: &mut Reading<'_>) -> Poll<io::Result<usize>> {
        ready!(from.poll_arrived(cx));
        let mut block = self.buffers.block()?;
        let seen = from.poll_peek(cx, &mut block);
        self.hold(block, &seen);
        seen
    }

    /// Takes the first `count` of the bytes that are shown.
    pub(crate) fn take_seen(&mut self, count: usize, from: &Reading<'_>) -> io::Result<()> {
        let end = (self.start + count).min(self.end);
        if let Some(block) = &mut self.block {
            from.take_seen(&mut block[self.start..end])?;
            if end == self.end && end < block.len() {
                from.set_drained();
            }
        }
        self.consume(count);
        Ok(())
    }

    /// Drops what is in hand.
    pub(crate) fn forget(&mut self) {
        self.consume(self.end - self.start);
    }

    fn make_room(&mut self) -> io::Result<()> {
        if let Some(block) = self.block.as_mut()
            && block.len() == BLOCK_BYTES
        {
            if self.end == BLOCK_BYTES {
                block.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            return Ok(());
        }
        let mut fresh = self.buffers.block()?;
        let held = self.bytes().len();
        fresh[..held].copy_from_slice(self.bytes());
        self.block = Some(fresh);
        self.start = 0;
        self.end = held;
        Ok(())
    }

    /// Before a wait: bytes in hand move to a copy of exact size, and the block goes back. `false`: there is no memory for the copy.
    pub(crate) fn settle(&mut self) -> bool {
        if self.block.as_ref().is_some_and(|block| block.len() == BLOCK_BYTES)
            && self.end - self.start < BLOCK_BYTES / 2
        {
            if !self.buffers.may_take(self.end - self.start) {
                return false;
            }
            let exact: Box<[u8]> = self.bytes().into();
            let held = exact.len();
            if let Some(block) = self.block.replace(exact) {
                self.buffers.give_back(block);
            }
            self.start = 0;
            self.end = held;
            if held == 0 {
                self.block = None;
            }
        }
        true
    }

    /// Takes everything, leaving nothing.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let all = self.bytes().to_vec();
        self.consume(all.len());
        all
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.buffers.give_back(block);
        }
    }
}

/// Bytes that wait to be written. Holds memory only while it holds bytes.
#[derive(Debug)]
pub(crate) struct Output {
    buffers: Rc<Buffers>,
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    pub(crate) fn new(buffers: &Rc<Buffers>) -> Self {
        Self { buffers: Rc::clone(buffers), bytes: Vec::new(), written: 0 }
    }

    /// Where to write.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = self.buffers.output();
        }
        &mut self.bytes
    }

    /// Bytes not written yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes until nothing is left.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut super::socket::Writing<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match to.poll_write(cx, &self.bytes[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    /// Forgets everything and gives the memory back.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.written = 0;
        if self.bytes.capacity() > 0 {
            let output = std::mem::take(&mut self.bytes);
            self.buffers.give_back_output(output);
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::socket::tests::pair;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn a_block_is_held_only_while_there_are_bytes() {
        let buffers = Rc::new(Buffers::default());
        let mut input = Input::new(&buffers);
        let (mut near, mut far) = pair().await;
        far.write_all(b"hello").await.expect("writes");

        let (mut reading, _) = near.split();
        let read = std::future::poll_fn(|cx| input.poll_fill(cx, &mut reading)).await.expect("reads");
        assert_eq!((read, input.bytes()), (5, &b"hello"[..]));
        assert_eq!(buffers.blocks.borrow().len(), 0);

        input.consume(5);
        assert_eq!(buffers.blocks.borrow().len(), 1);
    }

    #[tokio::test]
    async fn what_has_no_memory_to_go_to_ends_its_connection_and_others_read_on() {
        let left = Rc::new(std::cell::Cell::new(BLOCK_BYTES));
        let allowance = {
            let left = Rc::clone(&left);
            move |bytes| left.get().checked_sub(bytes).inspect(|rest| left.set(*rest)).is_some()
        };
        let buffers = Rc::new(Buffers::within(allowance));
        let (mut first, mut second) = (Input::new(&buffers), Input::new(&buffers));
        let (mut near, mut far) = pair().await;
        far.write_all(b"hel").await.expect("writes");
        let (mut reading, _) = near.split();
        std::future::poll_fn(|cx| first.poll_fill(cx, &mut reading)).await.expect("reads");
        far.write_all(b"lo").await.expect("writes");

        let refused = std::future::poll_fn(|cx| second.poll_fill(cx, &mut reading)).await;
        assert_eq!(refused.map_err(|error| error.kind()), Err(io::ErrorKind::OutOfMemory), "there is one block");
        assert!(!first.settle(), "nor is there memory for a copy");
        drop(first);

        let read = std::future::poll_fn(|cx| second.poll_fill(cx, &mut reading)).await;
        assert_eq!(read.expect("in the block that the other had"), 2);
    }

    #[tokio::test]
    async fn bytes_in_hand_survive_a_wait_in_a_copy_of_exact_size() {
        let buffers = Rc::new(Buffers::default());
        let mut input = Input::new(&buffers);
        let (mut near, mut far) = pair().await;
        far.write_all(b"hel").await.expect("writes");
        let (mut reading, _) = near.split();
        std::future::poll_fn(|cx| input.poll_fill(cx, &mut reading)).await.expect("reads");

        assert!(input.settle());
        assert_eq!(buffers.blocks.borrow().len(), 1, "the block is back");

        far.write_all(b"lo").await.expect("writes");
        std::future::poll_fn(|cx| input.poll_fill(cx, &mut reading)).await.expect("reads");
        assert_eq!(input.bytes(), b"hello");
    }
}
