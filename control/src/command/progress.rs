//! What is shown while a command takes its time: a bar on a terminal, a line now and then elsewhere.
//!
//! # Where
//! On standard error, so that what is printed stays what was asked for. Not with `-o json`, which a program reads, perhaps together
//! with standard error; and not with `--quiet`.
//!
//! # Why a thread
//! Compiling keeps its thread busy, and who waits for an answer has nothing to do that could draw. So another thread looks at what has
//! been counted, and draws nothing at all when the work is over in a moment.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done by then shows nothing.
const BAR_AFTER: Duration = Duration::from_secs(1);
/// Between two pictures of a bar: it is seen to move.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// Where lines are kept, one that says nothing new soon is one too many.
const LINE_AFTER: Duration = Duration::from_secs(2);
/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

const BAR: &str = "{spinner} {msg} [{bar:24}] {pos} of {len}, {elapsed}";
const WAITING: &str = "{spinner} {msg}, {elapsed}";
/// In ASCII, which every terminal has; the last is of work that is done.
const SPINNER: &str = "|/-\\ ";
/// What is done, the edge, and what is left.
const DONE: &str = "=> ";

/// Whether `--quiet` was said: of the whole process, as the flag is.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Shows no progress from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Who reads what the command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Person,
    Program,
}

impl Reader {
    /// A program where `is_json`.
    pub(super) fn of(is_json: bool) -> Self {
        if is_json { Self::Program } else { Self::Person }
    }
}

/// Work that is under way. Dropping it ends the picture and leaves nothing of a bar.
#[derive(Debug)]
pub(super) struct Progress {
    done: Arc<AtomicU64>,
    /// Dropped to end the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// `work`, with a picture of the waiting.
pub(super) async fn during<T>(what: &str, reader: Reader, work: impl Future<Output = T>) -> T {
    let _shown = Progress::begin(what, None, reader);
    work.await
}

impl Progress {
    /// Begins. `total` is how many there will be, where that is known.
    pub(super) fn begin(what: &str, total: Option<usize>, reader: Reader) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let mut progress = Self { done: done.clone(), running: None, thread: None };
        if reader == Reader::Program || QUIET.load(Ordering::Relaxed) {
            return progress;
        }
        let (running, ended) = channel();
        let total = total.map(|total| u64::try_from(total).unwrap_or(u64::MAX));
        let picture = Picture { what: what.to_owned(), total, done, ended };
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let draw = if stderr().is_terminal() && !is_dumb { Picture::bar } else { Picture::lines };
        // Without a thread there is no picture; the work is more important.
        progress.thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || draw(&picture)).ok();
        progress.running = Some(running);
        progress
    }

    /// So many are done.
    pub(super) fn reach(&self, done: usize) {
        self.done.store(u64::try_from(done).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // If drawing failed, what the command prints is not less true.
            thread.join().ok();
        }
    }
}

struct Picture {
    what: String,
    total: Option<u64>,
    done: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl Picture {
    /// On a terminal, in one line that is gone in the end.
    fn bar(&self) {
        if !self.goes_on(BAR_AFTER) {
            return;
        }
        let bar = ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr()).with_elapsed(BAR_AFTER);
        let template = if self.total.is_some() { BAR } else { WAITING };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.tick_chars(SPINNER).progress_chars(DONE));
        }
        bar.set_message(self.what.clone());
        loop {
            bar.set_position(self.done.load(Ordering::Relaxed));
            bar.tick();
            if !self.goes_on(BAR_EVERY) {
                bar.finish_and_clear();
                return;
            }
        }
    }

    /// Elsewhere, so that a log says what it waits for and not much more.
    fn lines(&self) {
        let (mut elapsed, mut wait) = (Duration::ZERO, LINE_AFTER);
        while self.goes_on(wait) {
            elapsed += wait;
            wait = LINE_EVERY;
            let line = line(&self.what, self.total.map(|total| (self.done.load(Ordering::Relaxed), total)), elapsed);
            // A reader that went away is no reason to end the work.
            stderr().write_all(line.as_bytes()).ok();
        }
    }

    /// Whether the work still goes on after `wait`.
    fn goes_on(&self, wait: Duration) -> bool {
        self.ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
    }
}

fn line(what: &str, counted: Option<(u64, u64)>, elapsed: Duration) -> String {
    let mut line = what.to_owned();
    // Writing to a string cannot fail; here and below.
    if let Some((done, total)) = counted {
        write!(line, ": {done} of {total}").unwrap_or_default();
    }
    writeln!(line, ", {} s", elapsed.as_secs()).unwrap_or_default();
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_done_how_much_of_it_and_for_how_long() {
        assert_eq!(
            line("compiling files", Some((12, 400)), Duration::from_secs(7)),
            "compiling files: 12 of 400, 7 s\n"
        );
        assert_eq!(line("asking 127.0.0.1:1", None, Duration::from_secs(2)), "asking 127.0.0.1:1, 2 s\n");
    }

    #[test]
    fn templates_are_understood() {
        for template in [BAR, WAITING] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_program_is_shown_nothing_and_short_work_ends_at_once() {
        assert!(Progress::begin("x", None, Reader::Program).thread.is_none());
        // Would take a second and more if dropping waited for the picture.
        for _ in 0..1_000 {
            drop(Progress::begin("x", Some(3), Reader::Person));
        }
    }
}
