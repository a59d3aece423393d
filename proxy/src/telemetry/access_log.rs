//! One line for each request that was served, and for each TCP connection: what came, which route and which policies it met,
//! where it went and how it ended.
//!
//! # The way of a line
//! [`record`] is called when all is over. A [`Filter`] says whether there is a line, an [`Entry`] is what it can be made of, a
//! [`Format`] makes it, and a [`File`] or a [`Collector`] takes it on a thread of its own. Without `--access-log` nothing is gathered or written: a
//! request pays for a few stores to its own stack.
//!
//! # What has no line
//! What never became a request (a head that breaks the protocol), and a request whose connection was torn down while it
//! was served. Both are counted among the rejections.

mod entry;
mod escape;
mod field;
mod file;
mod filter;
mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod json;
mod operator;
mod otlp;
mod pattern;
mod redact;
mod schema;
#[cfg(test)]
mod tests;
mod time;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidegate_http1::ResponseHead;
use tidegate_report::ResponseFlag;

use self::entry::Entry;
use self::file::File;
pub use self::filter::Filter;
pub use self::format::Format;
use self::otlp::Collector;
pub use self::otlp::CollectorAddress;
pub use self::redact::Redaction;
use crate::clock::Stamp;
use crate::http::call::Call;
use crate::http::exchange::Trouble;
use crate::listener::connection::Connection;
use crate::router::Decision;
use crate::upstream::Fault;
use crate::wire::tunnel::Moved;
use crate::worker::Worker;

/// What is logged, how, and where to.
#[derive(Clone, Debug, Default)]
pub struct AccessLogOptions {
    /// `-` is standard output.
    pub file: Option<PathBuf>,
    /// Gets a record in place of each line, with the names of `otel`.
    pub collector: Option<CollectorAddress>,
    /// How a line is written.
    pub format: Format,
    /// What has a line.
    pub filter: Filter,
    /// What is not shown.
    pub redaction: Redaction,
}

impl AccessLogOptions {
    /// Everything, to a file.
    pub fn to_file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..Self::default() }
    }
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    filter: Filter,
    redaction: Redaction,
    file: Option<File>,
    collector: Option<Collector>,
}

impl AccessLog {
    /// `service`: its name, and which instance of it this is.
    pub(crate) fn open(options: AccessLogOptions, service: [&str; 2]) -> io::Result<Self> {
        let AccessLogOptions { file, collector, format, filter, redaction } = options;
        let file = file.as_deref().map(File::open).transpose()?;
        let collector = collector.map(|address| Collector::start(&address, service)).transpose()?;
        Ok(Self { format, filter, redaction, file, collector })
    }

    /// Opens the file anew at its path, for whoever has moved the old one away. `None`: there is no file.
    pub(crate) fn reopen(&self) -> Option<io::Result<&Path>> {
        self.file.as_ref().map(File::reopen)
    }

    /// Lines that found no place.
    pub(crate) fn dropped(&self) -> u64 {
        self.file.as_ref().map_or(0, File::dropped) + self.collector.as_ref().map_or(0, Collector::dropped)
    }

    /// Writes what waits. Blocks; for the end of the process.
    pub(crate) fn close(&self) {
        if let Some(file) = &self.file {
            file.close();
        }
        if let Some(collector) = &self.collector {
            collector.close();
        }
    }

    /// Keeps of an answer's head what lines will say of it.
    pub(crate) fn keep(&self, head: &ResponseHead, outcome: &Outcome) {
        if self.format.answers().is_empty() {
            return;
        }
        let kept = self.format.answers().iter().map(|name| {
            let value = self.redaction.field(name, head.field(name)?);
            Some(value.get(..field::VALUE_BYTES_MAX).unwrap_or(&value).into())
        });
        *outcome.kept.borrow_mut() = kept.collect();
    }

    fn record(&self, entry: &Entry<'_>, draw: impl FnMut() -> u64) {
        if !self.filter.wants(entry, draw) {
            return;
        }
        if let Some(file) = &self.file {
            let mut line = Vec::with_capacity(LINE_BYTES);
            self.format.write(&mut line, entry, &self.redaction);
            file.offer(line);
        }
        if let Some(collector) = &self.collector {
            collector.offer(entry, &self.redaction);
        }
    }
}

/// What nearly every line fits into.
const LINE_BYTES: usize = 1024;

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
    /// One word on where the answer is from.
    details: Cell<&'static str>,
    /// When the last endpoint was chosen, and when its answer began.
    asked_at: Cell<Option<Stamp>>,
    answered_at: Cell<Option<Stamp>>,
    /// Why there was no connection to the last endpoint.
    failure: RefCell<Option<String>>,
    /// Fields of the answer's head, as the format wants them.
    kept: RefCell<Vec<Option<Box<[u8]>>>>,
}

impl Outcome {
    pub(crate) fn answered(&self, status: u16) {
        self.status.set(status);
    }

    pub(crate) fn flag(&self, flag: ResponseFlag) {
        self.flags.set(self.flags.get() | 1 << flag as u8);
    }

    pub(crate) fn attempt(&self, count: u32, endpoint: usize, upstream: Option<SocketAddr>, now: Stamp) {
        self.attempts.set(count);
        self.endpoint.set(Some(endpoint));
        self.upstream.set(upstream);
        self.asked_at.set(Some(now));
    }

    /// An endpoint's answer begins.
    pub(crate) fn served(&self, now: Stamp) {
        self.answered_at.set(Some(now));
        self.details.set("via_upstream");
    }

    /// Why it was answered here.
    pub(crate) fn explained(&self, details: &'static str) {
        self.details.set(details);
    }

    /// An attempt came to nothing.
    pub(crate) fn failed(&self, trouble: &Trouble) {
        let reason = match trouble {
            Trouble::Upstream(Fault::Connect(reason)) => Some(reason.clone()),
            Trouble::Upstream(Fault::Handshake(fault)) => Some(fault.details().to_owned()),
            Trouble::Upstream(Fault::ConnectTimeout) => Some("connection timeout".to_owned()),
            Trouble::Upstream(_)
            | Trouble::Caller(_)
            | Trouble::CallerGone
            | Trouble::Unwritable
            | Trouble::Late(_)
            | Trouble::Answered(_)
            | Trouble::Injected(_) => None,
        };
        *self.failure.borrow_mut() = reason;
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

    fn details(&self) -> Option<&'static str> {
        Some(self.details.get()).filter(|details| !details.is_empty())
    }

    /// A field of the answer's head, by its place among those that are wanted.
    fn kept(&self, place: usize) -> Option<Vec<u8>> {
        self.kept.borrow().get(place)?.as_deref().map(<[u8]>::to_vec)
    }
}

/// A TCP connection. Its line is written when this goes, because a connection of bytes ends in any way: by its peers, or with the
/// process, in the middle of a wait.
pub(crate) struct OfBytes<'b> {
    worker: &'b Worker,
    listener: &'b str,
    server_name: Option<&'b str>,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    pub(crate) cluster: Cell<Option<&'b str>>,
    pub(crate) outcome: Outcome,
    started: Stamp,
}

impl<'b> OfBytes<'b> {
    pub(crate) fn begin(
        worker: &'b Worker,
        listener: &'b str,
        server_name: Option<&'b str>,
        caller: &Connection,
    ) -> Self {
        let Connection { peer, local, .. } = *caller;
        let (cluster, outcome, started) = (Cell::new(None), Outcome::default(), worker.wheel.stamp());
        Self { worker, listener, server_name, remote: peer, local, cluster, outcome, started }
    }

    /// Counts why it came to nothing.
    pub(crate) fn flag(&self, flag: ResponseFlag) {
        self.worker.cells().reject(flag);
        self.outcome.flag(flag);
    }
}

impl Drop for OfBytes<'_> {
    fn drop(&mut self) {
        if let Some(log) = &self.worker.shared.access_log {
            log.record(&Entry::of_bytes(self), || self.worker.random());
        }
    }
}

/// Writes the line of a request that is over, if there is a log.
pub(crate) fn record(call: &Call<'_>, decision: &Decision<'_>) {
    if let Some(log) = &call.worker.shared.access_log {
        log.record(&Entry::of_request(call, decision), || call.worker.random());
    }
}
