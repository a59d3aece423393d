//! Time: the only module that asks for it, and the coarse timers of a worker.
//!
//! # Why a wheel of our own
//! Every exchange carries several deadlines (head, progress of either body, the route's limit) that are moved all the
//! time and almost never pass. A `tokio::time::Sleep` for each costs about 3 % of a request (measured), because each move
//! takes the driver's lock. An [`Alarm`] moves a deadline by writing a cell: the wheel looks at an alarm only when its
//! *earliest* scheduled moment has come, finds that the deadline has moved on, and puts it further back. Deadlines that
//! pass are rounded up by at most 1/16 of their distance, never down.
//!
//! # Why the time stands still while a task runs
//! A poll takes microseconds, and in it half a dozen deadlines are set. [`Wheel::at_one_moment`] reads the clock once for all
//! of them, so a deadline counts from when its task began to run.
//!
//! # Why alarms are recycled
//! A dropped alarm stays where it is in the wheel and is given to the next exchange, which usually finds it scheduled
//! early enough to need no work at all. The wheel holds as many alarms as there were exchanges at once, not one for each
//! exchange of the last minute.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What time it is. Tests stop it through tokio.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for `date` fields and reports only; never for a timeout.
#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
pub(crate) fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Nanoseconds since a moment that is the same for all threads, for what they count together.
pub(crate) fn nanos_since_start(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(|| at);
    u64::try_from(at.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX)
}

/// A moment as requests count it: nanoseconds on the clock of [`nanos_since_start`]. One word, because the difference of two
/// [`Instant`]s costs as much as looking for a field in a head, and a request asks for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// For what all threads count together.
    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// No deadline is scheduled further ahead than this: it is looked at again and put back. It bounds how long a stale entry
/// of a recycled alarm can stay in the wheel.
const HORIZON_MS: u64 = 30_000;

/// How many idle alarms a worker keeps for the next exchange.
const IDLE_ALARMS_MAX: usize = 1024;

/// Never.
const UNSET: u64 = u64::MAX;

/// Which of an exchange's deadlines. One alarm carries all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The whole exchange, or a connection's current phase.
    Total = 0,
    /// Progress of the caller's bytes.
    Upload = 1,
    /// Progress of the answer's bytes.
    Download = 2,
    /// One attempt, or a pause between two.
    Attempt = 3,
    /// From when on an exchange watches whether its caller is still there.
    Presence = 4,
}

const SLOTS: usize = 5;

/// What an [`Alarm`] says when it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// This deadline has passed.
    Due(Slot),
    /// [`Wheel::poke`] was called: something about the worker changed (it drains), look again.
    Poked,
}

#[derive(Debug)]
struct Entry {
    deadlines_ms: [Cell<u64>; SLOTS],
    /// The moment at which the wheel will look at this entry; [`UNSET`] when it is not in the wheel.
    scheduled_ms: Cell<u64>,
    ringing: Cell<bool>,
    poked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Entry {
    fn earliest(&self) -> u64 {
        self.deadlines_ms.iter().map(Cell::get).min().unwrap_or(UNSET)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A moment, and the same in the wheel's milliseconds.
#[derive(Clone, Copy, Debug)]
struct Moment {
    stamp: Stamp,
    /// Rounded up, so that no alarm rings early.
    ms: u64,
}

/// The timers of one worker.
#[derive(Debug)]
pub(crate) struct Wheel {
    epoch: Instant,
    /// The same for [`Stamp`].
    epoch_nanos: u64,
    /// Of the poll that runs.
    moment: Cell<Option<Moment>>,
    turns: RefCell<BTreeMap<u64, Vec<Rc<Entry>>>>,
    idle: RefCell<Vec<Rc<Entry>>>,
    /// When the driver will wake by itself; a schedule before this must wake it.
    driver_ms: Cell<u64>,
    earlier: Notify,
}

impl Wheel {
    pub(crate) fn new() -> Rc<Self> {
        let epoch = now();
        Rc::new(Self {
            epoch,
            epoch_nanos: nanos_since_start(epoch),
            moment: Cell::new(None),
            turns: RefCell::default(),
            idle: RefCell::default(),
            driver_ms: Cell::new(UNSET),
            earlier: Notify::new(),
        })
    }

    /// Runs a poll during which this wheel's time stands still.
    pub(crate) fn at_one_moment<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.moment.set(Some(self.moment_of(now())));
        let polled = poll();
        self.moment.set(None);
        polled
    }

    /// What time it is for the task that runs.
    pub(crate) fn stamp(&self) -> Stamp {
        self.moment().stamp
    }

    /// What time it is, however long the task has run.
    pub(crate) fn stamp_now(&self) -> Stamp {
        self.moment_of(now()).stamp
    }

    fn moment(&self) -> Moment {
        self.moment.get().unwrap_or_else(|| self.moment_of(now()))
    }

    fn moment_of(&self, at: Instant) -> Moment {
        let since = whole_nanos(at.saturating_duration_since(self.epoch));
        Moment { stamp: Stamp(self.epoch_nanos + since), ms: since.div_ceil(u64::from(NANOS_PER_MS)) }
    }

    /// An alarm without deadlines.
    pub(crate) fn alarm(self: &Rc<Self>) -> Alarm {
        let entry = self.idle.borrow_mut().pop().unwrap_or_else(|| {
            Rc::new(Entry {
                deadlines_ms: [const { Cell::new(UNSET) }; SLOTS],
                scheduled_ms: Cell::new(UNSET),
                ringing: Cell::new(false),
                poked: Cell::new(false),
                waker: RefCell::new(None),
            })
        });
        entry.poked.set(false);
        Alarm { entry, wheel: Rc::clone(self) }
    }

    /// Rings every alarm that somebody waits on, so that their owners look at the world again.
    pub(crate) fn poke(&self) {
        for entry in self.turns.borrow().values().flatten() {
            entry.poked.set(true);
            entry.wake();
        }
    }

    /// Drives the timers; runs as long as the worker.
    pub(crate) async fn drive(&self) {
        loop {
            let next = self.turns.borrow().first_key_value().map_or(UNSET, |(at, _)| *at);
            self.driver_ms.set(next);
            if next == UNSET {
                self.earlier.notified().await;
                continue;
            }
            let at = self.epoch + Duration::from_millis(next);
            // An earlier schedule ends the sleep: `timeout_at` gives back Ok then, and the loop looks again.
            if tokio::time::timeout_at(at, self.earlier.notified()).await.is_err() {
                self.turn();
            }
        }
    }

    fn turn(&self) {
        let now_ms = self.floor_ms(now());
        loop {
            let due = match self.turns.borrow_mut().first_entry() {
                Some(first) if *first.key() <= now_ms => first.remove_entry(),
                Some(_) | None => return,
            };
            let (at, entries) = due;
            for entry in entries {
                // A stale mention: the entry was scheduled earlier in the meantime and has been looked at there.
                if entry.scheduled_ms.get() != at {
                    continue;
                }
                entry.scheduled_ms.set(UNSET);
                let earliest = entry.earliest();
                if earliest <= now_ms {
                    entry.ringing.set(true);
                    entry.wake();
                } else if earliest != UNSET {
                    self.schedule(&entry, earliest, now_ms);
                }
            }
        }
    }

    fn schedule(&self, entry: &Rc<Entry>, deadline_ms: u64, now_ms: u64) {
        let distance = deadline_ms.saturating_sub(now_ms).min(HORIZON_MS);
        // The grain grows with the distance, so that thousands of idle limits share few wake-ups.
        let grain = (distance / 16).max(1).next_power_of_two().max(2) / 2;
        let at = (now_ms + distance).div_ceil(grain) * grain;
        entry.scheduled_ms.set(at);
        self.turns.borrow_mut().entry(at).or_default().push(Rc::clone(entry));
        if at < self.driver_ms.get() {
            self.driver_ms.set(at);
            self.earlier.notify_one();
        }
    }

    fn floor_ms(&self, at: Instant) -> u64 {
        whole_ms(at.saturating_duration_since(self.epoch))
    }
}

const NANOS_PER_MS: u32 = 1_000_000;

/// Nanoseconds, without the wide arithmetic of [`Duration::as_nanos`]; more than five hundred years saturate.
fn whole_nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// Whole milliseconds, without the wide arithmetic of [`Duration::as_millis`].
fn whole_ms(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(duration.subsec_nanos() / NANOS_PER_MS))
        .min(UNSET - 1)
}

/// Deadlines of one exchange or connection.
#[derive(Debug)]
pub(crate) struct Alarm {
    entry: Rc<Entry>,
    wheel: Rc<Wheel>,
}

impl Alarm {
    /// Sets a deadline `after` from now; `None` clears it.
    pub(crate) fn set(&self, slot: Slot, after: Option<Duration>) {
        match after {
            Some(after) => self.set_unless_earlier(slot, after, UNSET),
            None => self.clear(slot),
        }
    }

    /// Sets a deadline unless there is an earlier one.
    pub(crate) fn tighten(&self, slot: Slot, after: Duration) {
        self.set_unless_earlier(slot, after, self.entry.deadlines_ms[slot as usize].get());
    }

    fn set_unless_earlier(&self, slot: Slot, after: Duration, earlier_ms: u64) {
        let now_ms = self.wheel.moment().ms;
        let deadline = now_ms.saturating_add(whole_ms(after)).min(UNSET - 1);
        if deadline >= earlier_ms {
            return;
        }
        self.entry.deadlines_ms[slot as usize].set(deadline);
        if deadline < self.entry.scheduled_ms.get() {
            self.wheel.schedule(&self.entry, deadline, now_ms);
        }
    }

    pub(crate) fn clear(&self, slot: Slot) {
        self.entry.deadlines_ms[slot as usize].set(UNSET);
    }

    /// Nothing is waited for any more.
    pub(crate) fn clear_all(&self) {
        for deadline in &self.entry.deadlines_ms {
            deadline.set(UNSET);
        }
    }

    /// Ready when a deadline has passed or the worker was poked.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Ring> {
        if self.entry.poked.replace(false) {
            return Poll::Ready(Ring::Poked);
        }
        if self.entry.ringing.replace(false) {
            let now_ms = self.wheel.floor_ms(now());
            for slot in [Slot::Total, Slot::Attempt, Slot::Upload, Slot::Download, Slot::Presence] {
                if self.entry.deadlines_ms[slot as usize].get() <= now_ms {
                    self.clear(slot);
                    self.reschedule();
                    return Poll::Ready(Ring::Due(slot));
                }
            }
            self.reschedule();
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn reschedule(&self) {
        let earliest = self.entry.earliest();
        if earliest < self.entry.scheduled_ms.get() {
            self.wheel.schedule(&self.entry, earliest, self.wheel.moment_of(now()).ms);
        }
    }

    /// Ready at the next ring.
    #[cfg(test)]
    pub(crate) async fn ring(&self) -> Ring {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Polls `work` until it is done or the alarm rings for a deadline; pokes are ignored.
    pub(crate) async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Slot> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            loop {
                match self.poll(cx) {
                    Poll::Ready(Ring::Due(slot)) => return Poll::Ready(Err(slot)),
                    Poll::Ready(Ring::Poked) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        for slot in &self.entry.deadlines_ms {
            slot.set(UNSET);
        }
        self.entry.ringing.set(false);
        self.entry.poked.set(false);
        self.entry.waker.borrow_mut().take();
        let mut idle = self.wheel.idle.borrow_mut();
        if idle.len() < IDLE_ALARMS_MAX {
            idle.push(Rc::clone(&self.entry));
        }
    }
}

#[cfg(test)]
mod tests;
