//! Watches a directory of policy files and says when they are different.
//!
//! # No debounce, and no half-written file
//! A fixed pause after each event would be the greater part of the time from saving a file to its effect. The file system
//! says when a writer is done (close, rename), so that edge is acted on at once. Until then a file that is being written
//! counts as *unfinished* and holds everything back, because a prefix of a YAML file is often a valid file: one rule
//! short, or empty. A file that vanishes is held back for a moment too, since some editors move the old file away before
//! they write the new one.
//!
//! # What events cannot tell
//! Network and overlay file systems lose events, and a directory that is replaced takes its watch with it. So every few
//! seconds the directory is looked at anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::{debug, warn};

use super::read::{self, Files, ReadError, is_policy_file};

/// How often the directory is looked at without an event.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How long a writer may pause before its file is read although it never closed it. A slow copy over a network pauses;
/// a writer that never closes is rare, so patience costs nothing.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a file is waited for in all. Whatever is written again and again without a close (a log under a policy file's
/// name, a stuck copy) must not keep every other file from being read.
const WRITER_PATIENCE_MAX: Duration = Duration::from_secs(10);
/// How long a vanished file, or one that does not compile, may take to be replaced. Editors take a few milliseconds.
pub const SETTLE: Duration = Duration::from_millis(50);
/// Events waiting to be looked at. When more come, the directory is simply read again.
const NOTICES_MAX: usize = 1_024;
/// Reads in a row that files changed under. Then what was read is taken: somebody writes all the time.
const READ_ATTEMPTS_MAX: usize = 20;

/// What the source has to say.
#[derive(Clone, Debug)]
pub enum Update {
    /// The files are different from those of the last update.
    Files(Files),
    /// There is nothing to be read. What was read before stays true.
    Problem(ReadError),
}

/// Asks a source to look again (SIGHUP).
#[derive(Clone, Debug, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Asks.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

/// A watched directory.
#[derive(Debug)]
pub struct FileSource {
    directory: PathBuf,
    /// `None`: the system gives no watches; polling remains.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, (u64, u64)>,
    notices: mpsc::Receiver<Notice>,
    overflow: Arc<AtomicBool>,
    reload: Reload,
    poll: Interval,
    pending: Pending,
    last: Option<Result<Files, ReadError>>,
}

/// What an event means to us.
#[derive(Debug)]
enum Notice {
    /// Somebody has begun to write the file.
    Writing(PathBuf),
    /// The file is as its writer wants it.
    Complete(PathBuf),
    /// The file is gone, perhaps for a moment.
    Vanished(PathBuf),
    /// Directories or links changed: look at everything.
    Structure,
}

/// What has been noticed and not yet been read.
#[derive(Debug, Default)]
struct Pending {
    /// Whether there is a reason to read.
    dirty: bool,
    /// Whether a reason covers every file.
    everything: bool,
    /// Files that are said to be complete.
    complete: BTreeSet<PathBuf>,
    /// Files that are not.
    unfinished: BTreeMap<PathBuf, Wait>,
    /// Files that were given up on while they were still being written. They are read as they are, whenever something is
    /// read, until a writer is done with them.
    restless: BTreeSet<PathBuf>,
}

/// For how long an unfinished file is waited for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    until: Instant,
}

impl Pending {
    fn note(&mut self, notice: Notice, now: Instant) {
        match notice {
            // What it writes is found by looking.
            Notice::Writing(path) if self.restless.contains(&path) => {}
            Notice::Writing(path) => self.wait_for(path, WRITER_PATIENCE, now),
            Notice::Vanished(path) => {
                self.restless.remove(&path);
                self.wait_for(path, SETTLE, now);
            }
            Notice::Complete(path) => {
                self.unfinished.remove(&path);
                self.restless.remove(&path);
                self.complete.insert(path);
                self.dirty = true;
            }
            Notice::Structure => self.look_at_everything(),
        }
    }

    fn wait_for(&mut self, path: PathBuf, patience: Duration, now: Instant) {
        let wait = self.unfinished.entry(path).or_insert(Wait { since: now, until: now });
        wait.until = (now + patience).min(wait.since + WRITER_PATIENCE_MAX);
    }

    fn look_at_everything(&mut self) {
        self.dirty = true;
        self.everything = true;
    }

    /// Gives up on files whose time is over.
    fn expire(&mut self, now: Instant) {
        for (path, wait) in self.unfinished.extract_if(.., |_, wait| wait.until <= now) {
            if wait.until >= wait.since + WRITER_PATIENCE_MAX {
                let patience_s = WRITER_PATIENCE_MAX.as_secs();
                warn!(path = %path.display(), patience_s, "the file is written without end, it is read as it stands");
                self.restless.insert(path.clone());
            }
            self.complete.insert(path);
            self.dirty = true;
        }
    }

    fn is_due(&self) -> bool {
        self.dirty && self.unfinished.is_empty()
    }

    fn explains(&self, path: &Path) -> bool {
        self.everything || self.complete.contains(path) || self.restless.contains(path)
    }
}

impl FileSource {
    /// Watches `directory`, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        let overflow = Arc::new(AtomicBool::new(false));
        let overflowed = overflow.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            for notice in event.map_or_else(|_| vec![Notice::Structure], |event| notices_of(&event)) {
                if sender.try_send(notice).is_err() {
                    overflowed.store(true, Ordering::Release);
                }
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| warn!(%error, "no file system events, the directory is polled"))
            .ok();
        let mut poll = interval_at(Instant::now() + POLL_INTERVAL, POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = Pending::default();
        pending.look_at_everything();
        let mut source = Self {
            directory: directory.into(),
            watcher,
            watched: BTreeMap::new(),
            notices,
            overflow,
            reload: Reload::default(),
            poll,
            pending,
            last: None,
        };
        source.watch();
        source
    }

    /// A handle that makes the source look again.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// The next difference. The first call gives what is there.
    pub async fn next(&mut self) -> Update {
        loop {
            if let Some(update) = self.look_once().await {
                return update;
            }
        }
    }

    /// Reads the directory once when there is a reason to and nobody is writing. `None`: it says what it said last.
    pub async fn look_once(&mut self) -> Option<Update> {
        let mut attempts = 0;
        loop {
            self.until_due().await;
            self.watch();
            let read = self.read().await;
            attempts += 1;
            self.drain();
            let torn = (self.pending.dirty || !self.pending.unfinished.is_empty()) && attempts < READ_ATTEMPTS_MAX;
            if torn || self.has_unexplained_change(&read).await {
                debug!(attempts, "files changed while they were read");
                self.pending.dirty = true;
                continue;
            }
            self.pending.complete.clear();
            self.pending.everything = false;
            let news = self.is_news(&read);
            // Equal content may stand in another file (a new link, a touched file): its stamp is kept for the poll.
            self.last = Some(read.clone());
            return news.then_some(match read {
                Ok(files) => Update::Files(files),
                Err(error) => Update::Problem(error),
            });
        }
    }

    /// Whether something happens in the directory within `patience`. What does not compile may be half of a file, and
    /// is worth a moment's doubt; the event stays noted for [`Self::next`].
    pub async fn stirs_within(&mut self, patience: Duration) -> bool {
        self.drain();
        if !self.pending.dirty && self.pending.unfinished.is_empty() {
            match timeout(patience, self.notices.recv()).await {
                Ok(Some(notice)) => self.pending.note(notice, Instant::now()),
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// Waits until there is a reason to read and nobody is writing.
    async fn until_due(&mut self) {
        loop {
            self.drain();
            self.pending.expire(Instant::now());
            if self.pending.is_due() {
                self.pending.dirty = false;
                return;
            }
            let writer_is_late = self.pending.unfinished.values().map(|wait| wait.until).min();
            tokio::select! {
                Some(notice) = self.notices.recv() => self.pending.note(notice, Instant::now()),
                () = sleep_until(writer_is_late.unwrap_or_else(Instant::now)), if writer_is_late.is_some() => {}
                () = self.reload.0.notified() => self.pending.look_at_everything(),
                _ = self.poll.tick() => self.look().await,
            }
        }
    }

    /// Compares the directory with what was last read, by what the file system says.
    async fn look(&mut self) {
        self.watch();
        let now = blocking(&self.directory, read::stamps).await;
        let same = match (&now, &self.last) {
            (Ok(stamps), Some(Ok(files))) => *stamps == files.stamps,
            (Ok(stamps), Some(Err(ReadError::Empty { .. }))) => stamps.is_empty(),
            (Err(error), Some(Err(last))) => error == last,
            _ => false,
        };
        if !same {
            self.pending.look_at_everything();
        }
    }

    async fn read(&self) -> Result<Files, ReadError> {
        blocking(&self.directory, read::read).await
    }

    fn drain(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            self.pending.note(notice, Instant::now());
        }
        if self.overflow.swap(false, Ordering::AcqRel) {
            self.pending.look_at_everything();
        }
    }

    /// Whether a file differs for which no event has come. The event is on its way, and tells whether the writer is done.
    async fn has_unexplained_change(&mut self, read: &Result<Files, ReadError>) -> bool {
        let (Ok(files), Some(Ok(last)), Some(_)) = (read, &self.last, &self.watcher) else { return false };
        let changed = files.changed_since(last);
        let unexplained = changed.iter().any(|path| !self.pending.explains(&self.directory.join(&**path)));
        unexplained && self.stirs_within(SETTLE).await
    }

    fn is_news(&self, read: &Result<Files, ReadError>) -> bool {
        match (read, &self.last) {
            (Ok(files), Some(Ok(last))) => files.digest != last.digest,
            (Err(error), Some(Err(last))) => error != last,
            _ => true,
        }
    }

    /// Watches the directory and its sub-directories as they are now.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted = BTreeMap::new();
        let sub_directories = read::sub_directories(&self.directory).into_iter().map(|(_, path)| path);
        for path in std::iter::once(self.directory.clone()).chain(sub_directories) {
            if let Ok(metadata) = fs::metadata(&path) {
                wanted.insert(path, (metadata.dev(), metadata.ino()));
            }
        }
        for path in self.watched.keys() {
            if wanted.get(path) != self.watched.get(path)
                && let Err(error) = watcher.unwatch(path)
            {
                debug!(path = %path.display(), %error, "the watch went with its directory");
            }
        }
        for path in wanted.keys() {
            // Asked again even where nothing seems new: a directory that was removed and made again may have got its
            // old inode number, but not its watch.
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                warn!(path = %path.display(), %error, "cannot watch the directory, it is polled");
            }
        }
        self.watched = wanted;
    }
}

async fn blocking<T: Send + 'static>(
    directory: &Path,
    work: fn(&Path) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let path = directory.to_path_buf();
    let failed = |error: tokio::task::JoinError| ReadError::Directory {
        path: directory.display().to_string(),
        reason: error.to_string(),
    };
    tokio::task::spawn_blocking(move || work(&path)).await.unwrap_or_else(|error| Err(failed(error)))
}

/// Says what an event means. Our own reading causes events too (open, close without a write), which mean nothing.
fn notices_of(event: &notify::Event) -> Vec<Notice> {
    if event.need_rescan() {
        return vec![Notice::Structure];
    }
    match (event.kind, event.paths.as_slice()) {
        (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), [_, to]) if !is_policy_path(to) => Vec::new(),
        (kind, paths) => paths.iter().filter_map(|path| notice_of(kind, path)).collect(),
    }
}

fn notice_of(kind: EventKind, path: &Path) -> Option<Notice> {
    let path_buf = || path.to_path_buf();
    if !is_policy_path(path) {
        return is_structural(kind, path).then_some(Notice::Structure);
    }
    match kind {
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => Some(Notice::Structure),
        // A link is complete when it is there; a new file is not before it is closed.
        EventKind::Create(_) if is_link(path) => Some(Notice::Complete(path_buf())),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Some(Notice::Writing(path_buf())),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            Some(Notice::Vanished(path_buf()))
        }
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(_) => {
            Some(Notice::Complete(path_buf()))
        }
        EventKind::Access(_) | EventKind::Any | EventKind::Other => None,
    }
}

fn is_policy_path(path: &Path) -> bool {
    path.file_name().is_some_and(|name| is_policy_file(&name.to_string_lossy()))
}

/// Sub-directories that come and go, and the `..data` link of a ConfigMap mount, which is swapped to change all files.
fn is_structural(kind: EventKind, path: &Path) -> bool {
    let of_mount = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("..data"));
    match kind {
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => true,
        EventKind::Modify(ModifyKind::Name(_)) => of_mount || path.extension().is_none(),
        EventKind::Create(_) | EventKind::Remove(_) => of_mount,
        EventKind::Modify(_) | EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink() || m.nlink() > 1)
}

#[cfg(test)]
mod tests;
