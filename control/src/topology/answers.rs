//! Answers as they are sent, made beforehand where making them takes long.
//!
//! # Nobody waits for a graph that somebody looks at
//! A graph of ten thousand edges takes a core some tenths of a second. One that took less than [`CHEAP`] is always made
//! anew: it is true to the moment. One that took longer is kept, as the bytes that are sent, and a thread of low priority makes it again
//! and again for as long as somebody asks for it. Whoever asks is given what lies there: no lock that reports or checkpoints hold, no
//! arithmetic, one copy for all. Its `at` says how old it is. Only the first who asks for a graph waits until it is made.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::Topology;
use super::query::Query;

/// Below this, an answer is not worth keeping.
const CHEAP: Duration = Duration::from_millis(10);
/// A kept answer is made anew so often, unless that would take too much of a core.
const REFRESH: Duration = Duration::from_secs(1);
/// From one time to the next passes so many times as long as all kept answers took: a fifth of a core is spent at most.
const REST: u32 = 5;
/// An answer that nobody has asked for so long is let go of: some rounds of whoever looks every two seconds.
const KEPT: Duration = Duration::from_secs(10);
/// Different questions that are kept: a console asks two or three.
const QUESTIONS_MAX: usize = 16;
/// All answers that are kept; the graph of fifty thousand edges has some 45 MB.
const KEPT_BYTES_MAX: usize = 96 << 20;
/// What the thread gives way by: whoever sends an answer, and whoever takes a report, goes first.
const NICE: i32 = 10;

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// If there is such a one; it is made for whoever asks next.
    Gzip,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json {
    pub bytes: Bytes,
    pub form: Form,
}

/// Answers that took long.
#[derive(Debug)]
pub(super) struct Answers {
    board: Mutex<Board>,
    /// One that was not asked for before is made at a time: those who wait for the same find it there.
    making: tokio::sync::Mutex<()>,
    pace: Pace,
    /// How many the thread has made.
    pub(super) made: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) cheap: Duration,
    pub(super) refresh: Duration,
    pub(super) kept: Duration,
}

#[derive(Debug, Default)]
struct Board {
    kept: HashMap<Query, Kept>,
    /// A thread keeps them fresh.
    has_keeper: bool,
}

#[derive(Clone, Debug)]
struct Kept {
    plain: Bytes,
    gzip: Option<Bytes>,
    /// When making it began.
    at: Instant,
    took: Duration,
    /// When somebody asked last, and when somebody did who reads gzip.
    asked: Instant,
    asked_gzip: Option<Instant>,
}

/// What the thread does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Make(Query, Form),
    Wait(Duration),
    Nothing,
}

impl Default for Answers {
    fn default() -> Self {
        Self::paced(Pace { cheap: CHEAP, refresh: REFRESH, kept: KEPT })
    }
}

impl Board {
    /// What lies there, and a note that somebody wants it.
    fn ask(&mut self, query: &Query, form: Form, now: Instant, pace: Pace) -> Option<Json> {
        let kept = self.kept.get_mut(query)?;
        if now.duration_since(kept.asked) >= pace.kept {
            // Nobody has kept it fresh.
            self.kept.remove(query);
            return None;
        }
        kept.asked = now;
        if form == Form::Gzip {
            kept.asked_gzip = Some(now);
        }
        match (form, &kept.gzip) {
            (Form::Gzip, Some(gzip)) => Some(Json { bytes: gzip.clone(), form }),
            (Form::Gzip, None) | (Form::Plain, _) => Some(Json { bytes: kept.plain.clone(), form: Form::Plain }),
        }
    }

    /// Takes an answer if it took long and there is room.
    fn keep(&mut self, query: Query, mut answer: Kept, pace: Pace) {
        if let Some(before) = self.kept.remove(&query) {
            (answer.asked, answer.asked_gzip) = (before.asked.max(answer.asked), before.asked_gzip);
        }
        let bytes: usize = self.kept.values().map(Kept::bytes).sum();
        let is_room = self.kept.len() < QUESTIONS_MAX && bytes + answer.bytes() <= KEPT_BYTES_MAX;
        if answer.took >= pace.cheap && is_room {
            self.kept.insert(query, answer);
        }
    }

    /// Lets go of what nobody wants, and finds what is due.
    fn next(&mut self, now: Instant, pace: Pace) -> Next {
        self.kept.retain(|_, kept| now.duration_since(kept.asked) < pace.kept);
        let all: Duration = self.kept.values().map(|kept| kept.took).sum();
        let period = pace.refresh.max(all * REST);
        let Some((query, oldest)) = self.kept.iter_mut().min_by_key(|(_, kept)| kept.at) else {
            self.has_keeper = false;
            return Next::Nothing;
        };
        let age = now.duration_since(oldest.at);
        if age < period {
            return Next::Wait(period - age);
        }
        let wants_gzip = oldest.asked_gzip.is_some_and(|asked| now.duration_since(asked) < pace.kept);
        Next::Make(query.clone(), if wants_gzip { Form::Gzip } else { Form::Plain })
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.plain.len() + self.gzip.as_ref().map_or(0, Bytes::len)
    }
}

impl Answers {
    pub(super) fn paced(pace: Pace) -> Self {
        Self { board: Mutex::default(), making: tokio::sync::Mutex::default(), pace, made: watch::channel(0).0 }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, query: &Query, form: Form) -> Option<Json> {
        self.lock().ask(query, form, Instant::now(), self.pace)
    }

    /// Says whether a thread must be begun, which then counts as begun.
    fn keep(&self, query: Query, answer: Kept) -> bool {
        let mut board = self.lock();
        board.keep(query, answer, self.pace);
        !board.kept.is_empty() && !std::mem::replace(&mut board.has_keeper, true)
    }

    /// How long the answer was that this one replaces.
    fn length(&self, query: &Query) -> usize {
        self.lock().kept.get(query).map_or(0, |kept| kept.plain.len())
    }
}

impl Topology {
    /// The graph as JSON in one line, true to the moment unless it is large. `Err`: it could not be made.
    pub async fn json(self: &Arc<Self>, query: &Query, form: Form) -> Result<Json, String> {
        if let Some(json) = self.answers.ask(query, form) {
            return Ok(json);
        }
        let _making = self.answers.making.lock().await;
        if let Some(json) = self.answers.ask(query, form) {
            return Ok(json);
        }
        let (topology, query) = (Arc::clone(self), query.clone());
        let made = tokio::task::spawn_blocking(move || {
            let (bytes, begin) = topology.make(query, Form::Plain)?;
            if begin {
                begin_keeping(&topology);
            }
            Ok::<_, String>(bytes)
        });
        let bytes = made.await.map_err(|error| error.to_string())??;
        Ok(Json { bytes, form: Form::Plain })
    }

    /// The answer, and whether a thread must be begun that keeps it fresh.
    fn make(&self, query: Query, form: Form) -> Result<(Bytes, bool), String> {
        let at = Instant::now();
        let length = self.answers.length(&query);
        let mut json = Vec::with_capacity(length + length / 16);
        serde_json::to_writer(&mut json, &self.snapshot(&query)).map_err(|error| error.to_string())?;
        json.shrink_to_fit();
        let plain = Bytes::from(json);
        let gzip = match form {
            Form::Plain => None,
            Form::Gzip => Some(pack(&plain).map_err(|error| error.to_string())?),
        };
        let kept = Kept { plain: plain.clone(), gzip, at, took: at.elapsed(), asked: at, asked_gzip: None };
        Ok((plain, self.answers.keep(query, kept)))
    }
}

fn pack(json: &[u8]) -> std::io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(json)?;
    let mut packed = packed.finish()?;
    packed.shrink_to_fit();
    Ok(packed.into())
}

fn begin_keeping(topology: &Arc<Topology>) {
    let keeper = Keeper { topology: Arc::downgrade(topology), is_done: false };
    let begun = thread::Builder::new().name("topology".to_owned()).spawn(move || keeper.run());
    if let Err(error) = begun {
        // Its keeper was dropped, and with it all answers: they are made for each who asks.
        warn!(%error, "no thread for the topology's answers");
    }
}

/// Makes answers until nobody asks any more.
struct Keeper {
    topology: Weak<Topology>,
    /// It has nothing left to do, and says so on the board.
    is_done: bool,
}

impl Keeper {
    fn run(mut self) {
        if let Err(error) = rustix::process::nice(NICE) {
            debug!(%error, "the thread of the topology's answers has the priority of the others");
        }
        while let Some(topology) = self.topology.upgrade() {
            let answers = &topology.answers;
            let next = answers.lock().next(Instant::now(), answers.pace);
            match next {
                Next::Make(query, form) => {
                    if let Err(error) = topology.make(query, form) {
                        error!(%error, "the topology cannot be written");
                        return;
                    }
                    answers.made.send_modify(|made| *made += 1);
                }
                Next::Wait(time) => {
                    drop(topology);
                    thread::sleep(time);
                }
                Next::Nothing => {
                    self.is_done = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Keeper {
    /// Whatever ended it, nothing stays that nobody keeps fresh.
    fn drop(&mut self) {
        if let Some(topology) = self.topology.upgrade().filter(|_| !self.is_done) {
            *topology.answers.lock() = Board::default();
        }
    }
}

#[cfg(test)]
mod tests;
