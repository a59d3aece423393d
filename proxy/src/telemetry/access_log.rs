//! One JSON line for each request that was served: what came, which route and which policies it met, where it went and how
//! it ended.
//!
//! # Why a thread of its own
//! A disk may stand still for seconds. A worker hands a line to a bounded queue and goes on; when the queue is full the line
//! is dropped and counted, because a request is worth more than its record. Without `--access-log` nothing is gathered or
//! written: a request pays for a few stores to its own stack.
//!
//! # What has no line
//! What never became a request (a head that breaks the protocol), and a request whose connection was torn down while it
//! was served. Both are counted among the rejections.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use tidegate_report::ResponseFlag;
use tidegate_traffic::route::written;

use crate::clock;
use crate::http::call::Call;
use crate::router::{Decision, Plan};
use crate::wire::tunnel::Moved;

/// Lines that wait for the disk: a second of a busy sidecar, some megabytes.
const LINES_MAX: usize = 8_192;

/// Where lines go.
#[derive(Debug)]
pub(crate) struct AccessLog {
    lines: SyncSender<Message>,
    path: PathBuf,
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

impl AccessLog {
    /// Appends to a file, or writes to standard output where it is called `-`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::start(path, writer(path)?, LINES_MAX)
    }

    fn start(path: &Path, out: Box<dyn Write + Send>, lines_max: usize) -> io::Result<Self> {
        let (lines, received) = sync_channel(lines_max);
        let write = move || write_all(&received, out);
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(write)?;
        Ok(Self { lines, path: path.to_owned(), dropped: AtomicU64::new(0), writer: Mutex::new(Some(writer)) })
    }

    /// Opens the file anew at its path, for whoever has moved the old one away.
    pub(crate) fn reopen(&self) -> io::Result<&Path> {
        let message = Message::Reopen(writer(&self.path)?);
        // A full queue stands before a disk that stands still.
        self.lines.try_send(message).map_err(|_| io::Error::other("too many lines wait for the disk"))?;
        Ok(&self.path)
    }

    /// Lines that found the queue full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn offer(&self, line: Vec<u8>) {
        match self.lines.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes what waits. Blocks; for the end of the process.
    pub(crate) fn close(&self) {
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
fn write_all(lines: &Receiver<Message>, out: Box<dyn Write + Send>) {
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
            Some(Message::Line(line)) => note(out.write_all(&line), &mut failing),
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

/// What becomes known of a request while it is served.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(super) status: Cell<u16>,
    /// A bit for each flag, by its discriminant.
    pub(super) flags: Cell<u64>,
    pub(super) attempts: Cell<u32>,
    pub(super) upstream: Cell<Option<SocketAddr>>,
    /// The endpoint that was tried last, by its position in its cluster.
    endpoint: Cell<Option<usize>>,
    /// What gRPC says of the end.
    pub(crate) grpc_status: Cell<Option<u8>>,
    /// Bytes of the request's body that came, or of what came that way through a tunnel or over TCP. Framing is not counted, nor
    /// what an attempt sent once more.
    pub(crate) received: Cell<u64>,
    /// The same of the answer.
    pub(crate) sent: Cell<u64>,
}

impl Outcome {
    pub(crate) fn answered(&self, status: u16) {
        self.status.set(status);
    }

    pub(crate) fn flag(&self, flag: ResponseFlag) {
        self.flags.set(self.flags.get() | 1 << flag as u8);
    }

    pub(crate) fn attempt(&self, count: u32, endpoint: usize, upstream: Option<SocketAddr>) {
        self.attempts.set(count);
        self.endpoint.set(Some(endpoint));
        self.upstream.set(upstream);
    }

    pub(crate) fn endpoint(&self) -> Option<usize> {
        self.endpoint.get()
    }

    /// 0: there was no answer.
    pub(crate) fn status(&self) -> u16 {
        self.status.get()
    }

    /// A bit for each flag, by its discriminant.
    pub(crate) fn flag_bits(&self) -> u64 {
        self.flags.get()
    }

    /// For the two directions of a tunnel.
    pub(crate) fn moved(&self) -> Moved<'_> {
        (&self.received, &self.sent)
    }

    fn flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = self.flags.get();
        ResponseFlag::ALL.into_iter().filter(move |flag| flags & 1 << *flag as u8 != 0).map(ResponseFlag::code)
    }
}

/// One line. The names are a contract with whoever reads logs.
#[derive(Serialize)]
struct Line<'l> {
    /// When the line was written, in milliseconds since 1970.
    time_ms: u64,
    duration_ms: u64,
    listener: &'l str,
    method: &'l str,
    /// With the query.
    path: &'l str,
    authority: &'l str,
    virtual_host: Option<&'l str>,
    route: Option<&'l str>,
    /// Where the route was written, `FILE:LINE`.
    source: Option<&'l str>,
    cluster: Option<&'l str>,
    upstream: Option<SocketAddr>,
    /// 0: there was no answer.
    status: u16,
    /// As in `tidegate_rejections_total`.
    flags: Vec<&'static str>,
    /// `KIND NAMESPACE/NAME FILE:LINE`
    policies: Vec<String>,
    attempts: u32,
    request_id: Option<String>,
    /// Of the request's body, without framing.
    bytes_received: u64,
    /// Of the answer's.
    bytes_sent: u64,
}

/// Writes the line of a request that is over, if there is a log.
pub(crate) fn record(call: &Call<'_>, decision: &Decision<'_>) {
    if let Some(log) = &call.worker.shared.access_log {
        let mut line = Vec::with_capacity(512);
        if serde_json::to_writer(&mut line, &describe(call, decision)).is_ok() {
            line.push(b'\n');
            log.offer(line);
        }
    }
}

fn describe<'l>(call: &Call<'l>, decision: &'l Decision<'_>) -> Line<'l> {
    let Outcome { status, attempts, upstream, .. } = &call.outcome;
    let plan: Option<&Plan<'_>> = match decision {
        Decision::Forward(plan) => Some(plan),
        Decision::Answer(_) | Decision::Reject(..) => None,
    };
    let route = decision.route();
    let of_route = route.into_iter().flat_map(|route| &*route.policies).map(|(kind, from)| format!("{kind} {from}"));
    let policies = of_route.chain(plan.into_iter().flat_map(behind_cluster)).collect();
    let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let given = || call.request.field("x-request-id").map(|id| String::from_utf8_lossy(id).into_owned());
    Line {
        time_ms: clock::wall().duration_since(UNIX_EPOCH).map_or(0, milliseconds),
        duration_ms: milliseconds(call.worker.wheel.stamp_now().since(call.started)),
        listener: &call.listener.config.name,
        method: call.request.method(),
        path: call.request.path_and_query(),
        authority: call.request.authority(),
        virtual_host: route.map(|route| &*route.virtual_host),
        route: route.map(|route| &*route.name),
        source: route.and_then(|route| route.source.as_deref()),
        cluster: plan.map(|plan| &*plan.cluster.config.name),
        upstream: upstream.get(),
        status: status.get(),
        flags: call.outcome.flags().collect(),
        policies,
        attempts: attempts.get(),
        request_id: plan
            .and_then(|plan| plan.request_id)
            .map(|id| String::from_utf8_lossy(&id.text()).into_owned())
            .or_else(given),
        bytes_received: call.outcome.received.get(),
        bytes_sent: call.outcome.sent.get(),
    }
}

/// The policies behind the cluster that was chosen.
fn behind_cluster<'p>(plan: &'p Plan<'_>) -> impl Iterator<Item = String> + use<'p> {
    let (cluster, places) = (&plan.cluster.config, &plan.route.written);
    cluster.policies.iter().map(|(kind, object)| match written(places, &cluster.name, kind) {
        Some(place) => format!("{kind} {object} {place}"),
        None => format!("{kind} {object}"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let log = AccessLog::start(Path::new("disk"), Box::new(disk.clone()), 4).unwrap();

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
        let log = AccessLog::open(&path).unwrap();

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
    fn every_flag_has_a_bit() {
        let outcome = Outcome::default();
        ResponseFlag::ALL.into_iter().for_each(|flag| outcome.flag(flag));

        assert_eq!(outcome.flags().count(), ResponseFlag::ALL.len());
    }
}
