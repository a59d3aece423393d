//! The log of configuration changes, and how far each has got.
//!
//! # What is measured
//! From the moment a file was written to the moment a proxy said that it applied the result. A proxy that had nothing to
//! apply counts as having the change, but gives no time: its silence would make the mesh look faster than it is.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, unix_ms};

/// Changes that are remembered. A day of a busy team; each is some hundred bytes.
pub const CHANGES_MAX: usize = 256;

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is what proxies get.
    Applied,
    /// It had errors. Nothing changed.
    Rejected,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The generation that it made, or would have made: a rejected change has a number of its own too, so that "what came
    /// after N" finds it.
    pub generation: u64,
    /// When the files were written.
    #[serde(with = "unix_ms")]
    pub at: Timestamp,
    /// What it means.
    pub what: Vec<String>,
    /// The files that differ.
    pub files: Vec<Arc<str>>,
    /// How it ended.
    pub result: Outcome,
    /// Proxies that were connected when it was published.
    pub proxies: usize,
    /// Those that have it.
    pub acked: usize,
    /// Those that refused some of it.
    pub nacked: usize,
    /// Those that went away without an answer. The change is complete when nobody else is to answer:
    /// `acked + nacked + left == proxies`.
    #[serde(default)]
    pub left: usize,
    /// From `at` to the first proxy that applied something.
    pub first_ack_ms: Option<u64>,
    /// From `at` to the last.
    pub last_ack_ms: Option<u64>,
    /// Sessions that have not answered yet.
    #[serde(skip)]
    waiting: BTreeSet<u64>,
}

/// What a proxy made of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    /// Whose it is.
    pub session: u64,
    /// Everything up to this generation is answered.
    pub generation: u64,
    /// Something of it was refused.
    pub rejected: bool,
    /// Something had to be sent.
    pub sent: bool,
    /// When the answer came.
    pub at: Timestamp,
}

/// What a settlement meant for the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// For each change that the proxy applied by it: how long that took.
    pub took_ms: Vec<u64>,
    /// Changes that the last proxy has now answered.
    pub complete: Vec<Change>,
    /// The changes for which the proxy had something to apply.
    pub answered: Vec<Answered>,
}

/// A proxy's answer to a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answered {
    /// Of the change.
    pub generation: u64,
    /// Of the change.
    pub at: Timestamp,
    /// How many proxies have answered, with this one.
    pub number: usize,
    /// It refused some of it.
    pub refused: bool,
}

/// A change as it is entered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// See [`Change`].
    pub generation: u64,
    /// See [`Change`].
    pub at: Timestamp,
    /// See [`Change`].
    pub what: Vec<String>,
    /// See [`Change`].
    pub files: Vec<Arc<str>>,
    /// See [`Change`].
    pub result: Outcome,
}

/// The log.
#[derive(Debug, Default)]
pub struct ChangeLog {
    changes: VecDeque<Change>,
}

impl ChangeLog {
    /// A log that continues an earlier one. Streams do not outlive the process that served them, so whoever had not
    /// answered then has left.
    pub fn resume(mut changes: Vec<Change>) -> Self {
        for change in &mut changes {
            change.left = change.proxies.saturating_sub(change.acked).saturating_sub(change.nacked);
        }
        let mut log = Self { changes: changes.into() };
        log.trim();
        log
    }

    /// Enters a change that `sessions` are to apply.
    pub fn enter(&mut self, entry: Entry, sessions: BTreeSet<u64>) -> Change {
        let waiting = if entry.result == Outcome::Applied { sessions } else { BTreeSet::new() };
        let change = Change {
            generation: entry.generation,
            at: entry.at,
            what: entry.what,
            files: entry.files,
            result: entry.result,
            proxies: waiting.len(),
            acked: 0,
            nacked: 0,
            left: 0,
            first_ack_ms: None,
            last_ack_ms: None,
            waiting,
        };
        self.changes.push_back(change.clone());
        self.trim();
        change
    }

    /// Notes that a proxy has answered everything up to a generation.
    pub fn settle(&mut self, settlement: Settlement) -> Settled {
        let Settlement { session, generation, rejected, sent, at } = settlement;
        let mut settled = Settled::default();
        let reached = |c: &&mut Change| c.result == Outcome::Applied && c.generation <= generation;
        for change in self.changes.iter_mut().filter(reached) {
            if !change.waiting.remove(&session) {
                continue;
            }
            if sent || rejected {
                let number = change.acked + change.nacked + 1;
                let (generation, at) = (change.generation, change.at);
                settled.answered.push(Answered { generation, at, number, refused: rejected });
            }
            if rejected {
                change.nacked += 1;
            } else {
                change.acked += 1;
                if sent {
                    let took_ms = u64::try_from(at.since(change.at).as_millis()).unwrap_or(u64::MAX);
                    change.first_ack_ms.get_or_insert(took_ms);
                    change.last_ack_ms = Some(took_ms);
                    settled.took_ms.push(took_ms);
                }
            }
            if change.waiting.is_empty() {
                settled.complete.push(change.clone());
            }
        }
        settled
    }

    /// Forgets a proxy that went away. Gives the changes that waited for nobody else: nothing will happen to them any
    /// more.
    pub fn forget(&mut self, session: u64) -> Vec<Change> {
        let mut complete = Vec::new();
        for change in &mut self.changes {
            if change.waiting.remove(&session) {
                change.left += 1;
                if change.waiting.is_empty() {
                    complete.push(change.clone());
                }
            }
        }
        complete
    }

    /// The changes after generation `since`, oldest first.
    pub fn since(&self, since: u64) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |c| c.generation > since)
    }

    fn trim(&mut self) {
        while self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
