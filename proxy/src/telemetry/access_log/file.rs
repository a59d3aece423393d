//! Lines on their way to a file.
//!
//! # Why a thread of its own
//! A disk may stand still for seconds. A worker hands a line to a bounded queue and goes on; when the queue is full the line
//! is dropped and counted, because a request is worth more than its record.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Lines that wait for the disk: a second of a busy sidecar, some megabytes.
const LINES_MAX: usize = 8_192;

/// What they may hold together: callers choose how long the lines of their requests are.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A file, or standard output.
#[derive(Debug)]
pub(super) struct File {
    lines: SyncSender<Message>,
    path: PathBuf,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    dropped: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Line(Vec<u8>),
    /// Lines that follow go here.
    Reopen(Box<dyn Write + Send>),
    /// No line follows.
    End,
}

impl File {
    /// Appends to a file, or writes to standard output where it is called `-`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::start(path, writer(path)?, LINES_MAX)
    }

    fn start(path: &Path, out: Box<dyn Write + Send>, lines_max: usize) -> io::Result<Self> {
        let (lines, received) = sync_channel(lines_max);
        let waiting = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&waiting);
        let write = move || write_all(&received, out, &counted);
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(write)?;
        Ok(Self { lines, path: path.to_owned(), waiting, dropped: AtomicU64::new(0), writer: Mutex::new(Some(writer)) })
    }

    /// Opens the file anew at its path, for whoever has moved the old one away.
    pub(super) fn reopen(&self) -> io::Result<&Path> {
        let message = Message::Reopen(writer(&self.path)?);
        // A full queue stands before a disk that stands still.
        self.lines.try_send(message).map_err(|_| io::Error::other("too many lines wait for the disk"))?;
        Ok(&self.path)
    }

    /// Lines that found the queue full.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn offer(&self, line: Vec<u8>) {
        let length = line.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        let offered = waiting <= WAITING_BYTES_MAX
            && match self.lines.try_send(Message::Line(line)) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !offered {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what waits. Blocks; for the end of the process.
    pub(super) fn close(&self) {
        let Some(writer) = self.writer.lock().ok().and_then(|mut writer| writer.take()) else { return };
        // A writer that is gone has nothing to write.
        drop(self.lines.send(Message::End));
        drop(writer.join());
    }
}

fn writer(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(OpenOptions::new().create(true).append(true).open(path)?))
}

/// Writes until the end; whenever nothing waits, readers see everything.
fn write_all(lines: &Receiver<Message>, out: Box<dyn Write + Send>, waiting: &AtomicUsize) {
    let mut out = BufWriter::new(out);
    let mut failing = false;
    loop {
        let next = match lines.try_recv() {
            Err(TryRecvError::Empty) => {
                note(out.flush(), &mut failing);
                lines.recv().ok()
            }
            other => other.ok(),
        };
        match next {
            Some(Message::Line(line)) => {
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
                note(out.write_all(&line), &mut failing);
            }
            Some(Message::Reopen(anew)) => {
                note(out.flush(), &mut failing);
                out = BufWriter::new(anew);
            }
            Some(Message::End) | None => return note(out.flush(), &mut failing),
        }
    }
}

/// Says once that the disk fails, and once that it does no more.
fn note(result: io::Result<()>, failing: &mut bool) {
    match result {
        Ok(()) => *failing = false,
        Err(error) if !*failing => {
            *failing = true;
            tracing::warn!(%error, "the access log cannot be written");
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes nothing until it is told to, and keeps what it took.
    #[derive(Clone, Default)]
    struct Disk {
        gate: Arc<Mutex<()>>,
        bytes: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.bytes.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            drop(self.gate.lock().unwrap());
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_stands_still_costs_lines_and_no_time_and_the_rest_is_written_at_the_end() {
        let disk = Disk::default();
        let standstill = disk.gate.lock().unwrap();
        let log = File::start(Path::new("disk"), Box::new(disk.clone()), 4).unwrap();

        for number in 0..100 {
            log.offer(format!("{number}\n").into_bytes());
        }
        let dropped = log.dropped();
        drop(standstill);
        log.close();

        let written = String::from_utf8(disk.bytes.lock().unwrap().clone()).unwrap();
        assert!(dropped >= 90, "{dropped}");
        assert_eq!(written.lines().count() as u64, 100 - dropped);
        log.close();
    }

    #[test]
    fn a_file_that_was_moved_away_keeps_its_lines_and_a_new_one_takes_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = File::open(&path).unwrap();

        log.offer(b"before\n".to_vec());
        std::fs::rename(&path, &moved).unwrap();
        log.offer(b"still before\n".to_vec());
        log.reopen().unwrap();
        log.offer(b"after\n".to_vec());
        log.close();

        assert_eq!(std::fs::read_to_string(moved).unwrap(), "before\nstill before\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "after\n");
    }

    #[test]
    fn lines_that_wait_have_a_bound_together() {
        let disk = Disk::default();
        let standstill = disk.gate.lock().unwrap();
        let log = File::start(Path::new("disk"), Box::new(disk.clone()), LINES_MAX).unwrap();

        for _ in 0..40 {
            log.offer(vec![b'x'; 1024 * 1024]);
        }
        let dropped = log.dropped();
        drop(standstill);
        log.close();

        assert!((20..=24).contains(&dropped), "{dropped}");
        assert_eq!(log.waiting.load(Ordering::Relaxed), 0);
    }
}
