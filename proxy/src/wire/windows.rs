//! How far a peer may send ahead on the streams of a connection.
//!
//! # Why the windows of all streams fit into the connection's
//! A receiver that stops reading leaves what its stream may have on the way lying here. If a few such streams could fill the window of
//! the connection, nothing would come for the others on it until they are cut off. So the connection's window is the sum of its
//! streams': whoever stops reading keeps its own share and nobody else's. That goes for answers whose callers stop as for requests
//! whose endpoints do.
//!
//! # Why there are two widths
//! A sum for as many streams as a connection may have, each with a window that suits a distant endpoint, would be a lot of memory for
//! whoever makes us hold it. Only few streams at a time can use such a window to the full. So streams begin with a narrow one; while
//! there are few, and one of them is a body that goes on and on, all of them have the wide one.
//!
//! # Why it is never late towards endpoints
//! A peer takes frames in their order. Narrow windows are said before the head of the stream that makes the streams many, so that it
//! begins with one. Wide ones cannot be taken back before the peer has acknowledged them, so until then no further stream is opened.
//!
//! # Why it may be late towards callers
//! They open streams when they like: those that they open between two of our settings begin with a wide window. So the wide window
//! of callers is not much wider than the narrow one, and it takes forty uploads that begin within one round trip, beside a large one,
//! and all stand still, to fill the connection's.

use std::cell::Cell;
use std::rc::Rc;

use crate::limits::{
    DOWNSTREAM_WINDOW_BYTES, HTTP2_STREAMS_MAX, UPSTREAM_STREAMS_MAX, UPSTREAM_WINDOW_BYTES, WIDE_STREAMS_MAX,
};

/// What streams may have on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Widths {
    narrow: u32,
    wide: u32,
    streams_max: u32,
}

impl Widths {
    /// From callers to us.
    pub(crate) const DOWNSTREAM: Self =
        Self { narrow: DOWNSTREAM_WINDOW_BYTES.0, wide: DOWNSTREAM_WINDOW_BYTES.1, streams_max: HTTP2_STREAMS_MAX };
    /// From endpoints to us.
    pub(crate) const UPSTREAM: Self =
        Self { narrow: UPSTREAM_WINDOW_BYTES.0, wide: UPSTREAM_WINDOW_BYTES.1, streams_max: UPSTREAM_STREAMS_MAX };

    /// What each stream of a new connection has.
    pub(crate) const fn initial(self) -> u32 {
        self.narrow
    }

    /// What all streams of a connection have together.
    pub(crate) const fn of_connection(self) -> u32 {
        WIDE_STREAMS_MAX * self.wide + (self.streams_max - WIDE_STREAMS_MAX) * self.narrow
    }
}

/// The streams of a connection and their windows. Shared by the connection and the task that moves its frames.
#[derive(Debug)]
pub(crate) struct Windows {
    widths: Widths,
    streams: Cell<usize>,
    width: Cell<Width>,
    /// Set by a body that is larger than what a narrow window is good for.
    outgrown: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Narrow,
    /// The peer had acknowledged so many settings when it was told.
    Widening(u32),
    Wide,
}

impl Windows {
    pub(crate) fn new(widths: Widths) -> Self {
        Self { widths, streams: Cell::new(0), width: Cell::new(Width::Narrow), outgrown: Rc::default() }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether another stream has a window of its own.
    pub(crate) fn has_room(&self) -> bool {
        let max = match self.width.get() {
            Width::Narrow | Width::Wide => self.widths.streams_max,
            Width::Widening(_) => WIDE_STREAMS_MAX,
        };
        self.streams.get() < max as usize
    }

    pub(crate) fn begin_stream(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    pub(crate) fn end_stream(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
    }

    /// What a body says that is worth a wide window.
    pub(crate) fn outgrown(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.outgrown)
    }

    /// Called before frames are moved. `acknowledged`: how many settings the peer has acknowledged. `tell` tells it a window, or fails
    /// because an earlier one has not been acknowledged.
    pub(crate) fn adjust(&self, acknowledged: u32, tell: impl FnOnce(u32) -> bool) {
        if let Width::Widening(before) = self.width.get()
            && before != acknowledged
        {
            self.width.set(Width::Wide);
        }
        let few = self.streams.get() <= WIDE_STREAMS_MAX as usize;
        match self.width.get() {
            Width::Narrow if few && self.outgrown.get() => {
                if tell(self.widths.wide) {
                    self.width.set(Width::Widening(acknowledged));
                }
            }
            Width::Wide if !few => {
                if tell(self.widths.narrow) {
                    self.outgrown.set(false);
                    self.width.set(Width::Narrow);
                }
            }
            Width::Narrow | Width::Widening(_) | Width::Wide => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: u32 = UPSTREAM_WINDOW_BYTES.0;
    const WIDE: u32 = UPSTREAM_WINDOW_BYTES.1;

    fn with_streams(count: usize) -> Windows {
        let windows = Windows::new(Widths::UPSTREAM);
        (0..count).for_each(|_| windows.begin_stream());
        windows
    }

    /// What the peer is told.
    fn told(windows: &Windows, acknowledged: u32) -> Option<u32> {
        let mut told = None;
        windows.adjust(acknowledged, |window| {
            told = Some(window);
            true
        });
        told
    }

    #[test]
    fn few_streams_have_wide_windows_once_a_body_asks_for_them() {
        let windows = with_streams(4);
        assert_eq!(told(&windows, 1), None, "nobody asks");

        windows.outgrown().set(true);

        assert_eq!(told(&windows, 1), Some(WIDE));
        assert_eq!(told(&windows, 1), None);
        assert_eq!(told(&windows, 2), None);
    }

    #[test]
    fn the_stream_that_makes_them_many_begins_with_a_narrow_window() {
        let windows = with_streams(4);
        windows.outgrown().set(true);
        told(&windows, 1);
        told(&windows, 2);

        windows.begin_stream();

        assert_eq!(told(&windows, 2), Some(NARROW));
        windows.end_stream();
        assert_eq!(told(&windows, 3), None, "until a body asks again");
    }

    #[test]
    fn no_stream_is_opened_that_could_not_be_told_a_narrow_window() {
        let windows = with_streams(4);
        windows.outgrown().set(true);
        told(&windows, 1);

        assert!(!windows.has_room());
        told(&windows, 2);
        assert!(windows.has_room());
    }

    #[test]
    fn many_streams_stay_narrow_and_have_an_end() {
        let windows = with_streams(UPSTREAM_STREAMS_MAX as usize - 1);
        windows.outgrown().set(true);

        assert_eq!(told(&windows, 1), None);
        assert!(windows.has_room());
        windows.begin_stream();
        assert!(!windows.has_room());
    }

    #[test]
    fn who_cannot_be_told_yet_is_told_later() {
        let windows = with_streams(1);
        windows.outgrown().set(true);

        windows.adjust(0, |_| false);

        assert_eq!(told(&windows, 1), Some(WIDE));
    }
}
