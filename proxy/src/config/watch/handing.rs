//! The loop's part in an upgrade: at its beginning as the process that takes over, at its end as the one that is taken over.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

use super::Watch;
use crate::clock;
use crate::config::persist;
use crate::doors::Doors;
use crate::drain::{Phase, Timing};
use crate::supervisor::State;
use crate::upgrade::{Giving, Offer, READY_MAX, Step, Taken, Taking, UpgradeError, conclude};
use crate::worker::Shared;

/// Whose the place is.
#[derive(Debug)]
enum Place {
    /// Another process's: until `deadline` this one must be ready to take it.
    Theirs { taking: Taking, deadline: Instant },
    /// This process takes it now.
    Moving,
    /// Ours.
    Ours,
    /// Ours, and a new process gets ready to take it.
    Wanted,
    /// A new process's.
    Left,
}

/// Where an upgrade has come to.
pub(super) struct Handing {
    pub(super) doors: Doors,
    place: Place,
    steps: mpsc::Sender<Step>,
    conversation: Option<JoinHandle<()>>,
    /// The control plane may be asked: the process before asks it no more.
    released: bool,
    told_ready: bool,
    /// Who waits for our sockets to be closed.
    waiting: Option<oneshot::Sender<()>>,
}

impl Handing {
    pub(super) fn new(doors: Doors) -> (Self, mpsc::Receiver<Step>) {
        // Two steps of one conversation.
        let (steps, received) = mpsc::channel(2);
        let handing = Self {
            doors,
            place: Place::Ours,
            steps,
            conversation: None,
            released: true,
            told_ready: false,
            waiting: None,
        };
        (handing, received)
    }

    /// What changes the configuration has to wait.
    pub(super) fn is_frozen(&self) -> bool {
        match self.place {
            Place::Wanted | Place::Left => true,
            Place::Theirs { .. } | Place::Moving | Place::Ours => false,
        }
    }

    /// Whether this process answers for what the place holds.
    pub(super) fn has_place(&self) -> bool {
        match self.place {
            Place::Ours | Place::Wanted => true,
            Place::Theirs { .. } | Place::Moving | Place::Left => false,
        }
    }

    /// Whether it is time to ask the control plane. A process that could serve with what it was given asks when the one
    /// before does not ask any more.
    pub(super) fn may_ask(&self, shared: &Shared) -> bool {
        self.released || !shared.registry.ready.load(Ordering::Relaxed)
    }

    /// Looks whether this process is ready, and tells whoever waits for that.
    pub(super) fn settle(&mut self, shared: &Shared) {
        if !shared.registry.ready.load(Ordering::Relaxed) {
            return;
        }
        if matches!(self.place, Place::Ours) && !std::mem::replace(&mut self.told_ready, true) {
            self.doors.tell(State::Ready);
        }
        // A process that was asked to end takes nobody's place.
        if matches!(self.place, Place::Theirs { .. })
            && shared.drain.phase() == Phase::Serving
            && let Place::Theirs { taking, .. } = std::mem::replace(&mut self.place, Place::Moving)
        {
            self.conversation = Some(tokio::spawn(conclude(taking, self.steps.clone())));
        }
    }

    /// When [`Self::check`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.place {
            Place::Theirs { deadline, .. } => Some(*deadline),
            Place::Moving | Place::Ours | Place::Wanted | Place::Left => None,
        }
    }

    pub(super) fn check(&self, now: Instant) -> Result<(), UpgradeError> {
        match self.deadline() {
            Some(deadline) if deadline <= now => Err(UpgradeError::NotReady),
            Some(_) | None => Ok(()),
        }
    }

    /// No socket accepts any more.
    pub(super) fn released(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            // A new process that does not listen goes on by its deadline.
            waiting.send(()).ok();
        }
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        if let Some(conversation) = &self.conversation {
            conversation.abort();
        }
    }
}

impl Watch {
    /// From nothing, or with what another process has given.
    pub(super) fn begin(&mut self, taken: Option<Taken>) {
        let Some(Taken { listeners, kept, taking, .. }) = taken else {
            self.load(Vec::new());
            return self.handing.doors.open();
        };
        self.applier.sockets.inherit(listeners);
        self.handing.place = Place::Theirs { taking, deadline: clock::now() + READY_MAX };
        self.handing.released = false;
        self.load(kept);
    }

    /// The conversation goes on.
    pub(super) fn step(&mut self, step: Step) -> Result<(), UpgradeError> {
        match step {
            Step::Go { accepting } => {
                self.handing.place = Place::Ours;
                self.applier.sockets.open(&self.shared.snapshot.load(), &self.shared);
                self.handing.doors.open();
                info!("accepting in the place of the process that ran before");
                // It may have died this moment.
                accepting.send(()).ok();
            }
            Step::Released => self.handing.released = true,
            Step::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// A new process asks.
    pub(super) fn give(&mut self, giving: Giving) {
        match giving {
            Giving::Begin { reply } => {
                let offer = self.offer();
                if offer.is_ok() {
                    self.handing.place = Place::Wanted;
                }
                // A conversation that has ended says so by its next word.
                drop(reply.send(offer));
            }
            Giving::Abandoned => {
                if matches!(self.handing.place, Place::Wanted) {
                    self.handing.place = Place::Ours;
                }
            }
            Giving::Leave { reply } => {
                self.handing.place = Place::Left;
                self.handing.waiting = Some(reply);
                self.handing.doors.hand_over();
                // From now on the control plane knows the new process by our name.
                self.client = None;
                if let Some(reporter) = self.reporter.take() {
                    reporter.abort();
                }
                self.shared.registry.control_connected.store(false, Ordering::Relaxed);
                let deadline = self.handing.doors.pages.drain.deadline;
                self.begin_drain(Timing { leaving: Duration::ZERO, deadline });
            }
        }
    }

    fn offer(&self) -> io::Result<Offer> {
        let stored = self.applier.stored();
        Ok(Offer { sockets: self.applier.sockets.parcels()?, configuration: persist::encode(stored.iter()) })
    }
}
