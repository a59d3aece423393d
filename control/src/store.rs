//! What must outlive the process: the last good configuration, the generation, the log of changes.
//!
//! # Why the files and not what was made of them
//! A newer release may say the same files differently in xDS. Kept as files, the last good configuration is compiled anew
//! at start like any other, by the release that runs.
//!
//! # A store never keeps the control plane from starting
//! It is an aid. A damaged one is moved aside and begun afresh; one that another process holds, or that cannot be
//! written, is done without. Each is a warning in the log.

mod topology;

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::warn;

use crate::changes::{CHANGES_MAX, Change};
use crate::clock::Clock;
use crate::source::read::SourceFile;
use crate::topology::{Checkpoint, Row};

/// Of the hash in a state directory's name: enough to tell the directories of one user apart, and short enough to be read.
const NAME_HASH_BYTES: usize = 4;
/// Only the user that runs the control plane reads it.
const FILE_MODE: u32 = 0o600;
/// Path -> content.
const FILES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("last-good-files");
/// Name -> number.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Generation -> change as JSON.
const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");
/// The generation of the last good files.
const GOOD_GENERATION: &str = "good-generation";
/// The highest generation ever given away.
const LAST_GENERATION: &str = "last-generation";
/// The store's file in the state directory.
const FILE_NAME: &str = "control.redb";
/// Pages that the library keeps in memory. It is read once, at start, and its own measure is a gigabyte.
const CACHE_BYTES: usize = 16 << 20;
/// Writes waiting for the disk. They are few and small; when the disk stalls this long, later ones are dropped.
const WRITES_MAX: usize = 64;

/// Why the store cannot be used.
#[derive(Debug, Error)]
enum StoreError {
    #[error(transparent)]
    Database(#[from] redb::Error),
    #[error("the file is damaged: {0}")]
    Damaged(String),
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The last configuration without errors, with its generation.
    pub last_good: Option<(u64, Vec<SourceFile>)>,
    /// The highest generation ever given away.
    pub last_generation: u64,
    /// Changes, oldest first.
    pub changes: Vec<Change>,
    /// Rows of the topology.
    pub topology: Vec<Row>,
}

/// Writes in the background. Closing or dropping it waits for what is queued.
#[derive(Debug, Default)]
pub struct Store {
    writer: Mutex<Option<Writer>>,
}

#[derive(Debug)]
struct Writer {
    writes: mpsc::SyncSender<Write>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Write {
    Good(u64, Vec<SourceFile>),
    Change(Box<Change>),
    Topology(Checkpoint, oneshot::Sender<()>),
}

impl Store {
    /// A store that forgets.
    pub fn none() -> Self {
        Self::default()
    }

    /// Opens the store in `directory` and reads what is in it.
    pub fn open(directory: &Path, clock: &Clock) -> (Self, Remembered) {
        let path = directory.join(FILE_NAME);
        let opened = fs::create_dir_all(directory)
            .map_err(|error| StoreError::Database(redb::Error::Io(error)))
            .and_then(|()| open(&path))
            .or_else(|error| match error {
                StoreError::Damaged(reason) => {
                    let aside = move_aside(&path, clock);
                    warn!(path = %path.display(), reason, aside = %aside.display(), "the state store is damaged and was moved aside");
                    open(&path)
                }
                other => Err(other),
            });
        match opened {
            Ok((database, remembered)) => (Self::writing_to(database), remembered),
            Err(error) => {
                warn!(path = %path.display(), %error, "no state store: a restart will remember nothing");
                (Self::none(), Remembered::default())
            }
        }
    }

    /// Keeps the files of a generation as the last good ones.
    pub fn keep_good(&self, generation: u64, files: Vec<SourceFile>) {
        self.write(Write::Good(generation, files));
    }

    /// Keeps a change, or what has become of one.
    pub fn keep_change(&self, change: Change) {
        self.write(Write::Change(Box::new(change)));
    }

    /// Keeps what has changed in the topology. Says when it is on disk whether it is.
    pub async fn keep_topology(&self, checkpoint: Checkpoint) -> bool {
        let (written, is_written) = oneshot::channel();
        self.write(Write::Topology(checkpoint, written));
        is_written.await.is_ok()
    }

    /// Whether this is a store that forgets.
    pub fn is_none(&self) -> bool {
        self.lock().is_none()
    }

    /// Writes what is queued and lets go of the file, whoever still holds the store. Later writes are forgotten.
    pub fn close(&self) {
        let Some(Writer { writes, thread }) = self.lock().take() else { return };
        drop(writes);
        if thread.join().is_err() {
            warn!("the state store's thread failed");
        }
    }

    fn write(&self, write: Write) {
        if let Some(writer) = &*self.lock()
            && writer.writes.try_send(write).is_err()
        {
            warn!("the state store is too slow, a write was dropped");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing_to(database: Database) -> Self {
        let (writes, queue) = mpsc::sync_channel::<Write>(WRITES_MAX);
        let work = move || {
            for write in queue {
                if let Err(error) = commit(&database, write) {
                    warn!(%error, "the state store cannot be written");
                }
            }
        };
        match thread::Builder::new().name("state-store".to_owned()).spawn(work) {
            Ok(thread) => Self { writer: Mutex::new(Some(Writer { writes, thread })) },
            Err(error) => {
                warn!(%error, "no thread for the state store");
                Self::none()
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(path: &Path) -> Result<(Database, Remembered), StoreError> {
    // The files that are kept may hold private keys, which is nobody else's business. One that was made before is closed, too.
    let io = |error| StoreError::Database(redb::Error::Io(error));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path).map_err(io)?;
    file.set_permissions(fs::Permissions::from_mode(FILE_MODE)).map_err(io)?;
    // The library promises errors for damage. A promise about bytes from a disk is worth a net.
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(judge)?;
        let remembered = recall(&database)?;
        Ok((database, remembered))
    }));
    attempt.unwrap_or_else(|_| Err(StoreError::Damaged("reading it failed badly".to_owned())))
}

/// Damage is what another start would meet again; everything else may be better next time.
fn judge(error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Database(redb::Error::DatabaseAlreadyOpen),
        DatabaseError::Storage(redb::StorageError::Io(io)) if io.kind() != std::io::ErrorKind::InvalidData => {
            // Too short to have a header: what a full disk or a crash at the first start leaves.
            if io.kind() == std::io::ErrorKind::UnexpectedEof {
                return StoreError::Damaged(io.to_string());
            }
            StoreError::Database(redb::Error::Io(io))
        }
        other => StoreError::Damaged(other.to_string()),
    }
}

fn recall(database: &Database) -> Result<Remembered, StoreError> {
    let damaged = |error: redb::Error| StoreError::Damaged(error.to_string());
    recall_tables(database).map_err(damaged)
}

fn recall_tables(database: &Database) -> Result<Remembered, redb::Error> {
    // Created here, so that reading needs no case for a table that is not there yet.
    let setup = database.begin_write()?;
    setup.open_table(FILES)?;
    setup.open_table(NUMBERS)?;
    setup.open_table(CHANGES)?;
    setup.open_table(topology::TOPOLOGY)?;
    setup.commit()?;

    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name| Ok::<_, redb::Error>(numbers.get(name)?.map(|n| n.value()));
    let good_generation = number(GOOD_GENERATION)?;
    let mut files = Vec::new();
    for row in transaction.open_table(FILES)?.iter()? {
        let (path, bytes) = row?;
        files.push(SourceFile { path: path.value().into(), bytes: bytes.value().into() });
    }
    let mut changes = Vec::new();
    for row in transaction.open_table(CHANGES)?.iter()? {
        let (_, json) = row?;
        // A record of another release may have another form. The log is for people; one line less is bearable.
        changes.extend(serde_json::from_slice::<Change>(json.value()));
    }
    Ok(Remembered {
        last_good: good_generation.filter(|_| !files.is_empty()).map(|generation| (generation, files)),
        last_generation: number(LAST_GENERATION)?.unwrap_or(0),
        changes,
        topology: topology::read(&transaction)?,
    })
}

fn commit(database: &Database, write: Write) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let generation = match write {
        Write::Good(generation, files) => {
            transaction.delete_table(FILES)?;
            let mut table = transaction.open_table(FILES)?;
            for file in &files {
                table.insert(&*file.path, &*file.bytes)?;
            }
            transaction.open_table(NUMBERS)?.insert(GOOD_GENERATION, generation)?;
            generation
        }
        Write::Change(change) => {
            let json = serde_json::to_vec(&change).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            let mut table = transaction.open_table(CHANGES)?;
            table.insert(change.generation, &*json)?;
            let oldest = change.generation.saturating_sub(CHANGES_MAX as u64);
            table.retain(|generation, _| generation > oldest)?;
            change.generation
        }
        Write::Topology(checkpoint, written) => {
            topology::write(transaction, &checkpoint)?;
            // Whoever asked may have gone.
            written.send(()).ok();
            return Ok(());
        }
    };
    {
        let mut numbers = transaction.open_table(NUMBERS)?;
        let last = numbers.get(LAST_GENERATION)?.map_or(0, |n| n.value());
        numbers.insert(LAST_GENERATION, last.max(generation))?;
    }
    transaction.commit()?;
    Ok(())
}

/// Nobody's state is thrown away: the damaged file keeps lying beside the new one.
fn move_aside(path: &Path, clock: &Clock) -> PathBuf {
    let aside = path.with_extension(format!("redb.damaged-{}", clock.now().unix_ms()));
    if let Err(error) = fs::rename(path, &aside) {
        warn!(path = %path.display(), %error, "cannot move the damaged state store aside");
    }
    aside
}

/// Where state is kept when nobody says: a directory of the user's own for each configuration directory. Its name can be
/// read by people, and ends with a hash because `/a/b-c` and `/a-b/c` read the same.
pub fn default_directory(config: &Path, environment: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let base = environment("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| environment("HOME").map(|home| home.join(".local/state")))?;
    let absolute = fs::canonicalize(config).unwrap_or_else(|_| config.to_path_buf());
    let words = absolute.to_string_lossy().trim_matches('/').replace('/', "-");
    let hash = Sha256::digest(absolute.as_os_str().as_bytes());
    let digits: String = hash.iter().take(NAME_HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
    Some(base.join("tidegate").join(format!("{words}-{digits}")))
}

#[cfg(test)]
mod tests;
