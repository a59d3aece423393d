//! Lines on their way to a collector of OpenTelemetry: `LogsService/Export` over gRPC, in plaintext.
//!
//! # What a collector can cost
//! Nothing. Records wait in a bounded queue for a thread of its own; one batch is under way at a time and has a deadline. When the
//! queue is full, and when a batch was not taken in a few attempts, records are dropped and counted.
//!
//! # Why records are encoded by hand
//! A record is made where the request ends, from what is borrowed there. Message types would be built of owned texts only to be
//! written out and freed; here a record is one buffer from the beginning, and a batch is a concatenation.

mod message;

use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tokio::sync::{Notify, mpsc};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use self::message::{Batch, rejected};
use super::entry::Entry;
use super::redact::Redaction;

/// Records that wait: a second of a busy sidecar.
const RECORDS_MAX: usize = 8_192;

/// What they may hold together, as for a file.
const QUEUED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A batch leaves with so many records, as OpenTelemetry's own exporters do,
const BATCH_RECORDS_MAX: usize = 512;

/// with so many bytes, because collectors refuse messages above 4 MiB,
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// or after so long.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(1);

/// A collector that takes longer is not well, and the queue has other records.
const EXPORT_MAX: Duration = Duration::from_secs(5);

/// How often a batch is offered. A collector that restarts is back within moments.
const ATTEMPTS_MAX: u32 = 3;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// At the end of the process, for all that waits.
const END_MAX: Duration = Duration::from_secs(2);

/// An answer says a number and a sentence.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where a collector listens, HOST:PORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorAddress(String);

impl FromStr for CollectorAddress {
    type Err = String;

    /// `otlp=HOST:PORT`
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("otlp=").ok_or_else(|| format!("`{text}` is not otlp=HOST:PORT"))?;
        let authority: Result<http::uri::Authority, _> = text.parse();
        match authority {
            Ok(authority) if authority.port_u16().is_some() && !text.contains('@') => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(format!("`{text}` is not HOST:PORT")),
        }
    }
}

/// A collector.
#[derive(Debug)]
pub(super) struct Collector {
    records: mpsc::Sender<Vec<u8>>,
    counts: Arc<Counts>,
    sender: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes that wait.
    waiting: AtomicUsize,
    dropped: AtomicU64,
    closing: Notify,
}

impl Collector {
    /// `service`: its name and this instance of it.
    pub(super) fn start(address: &CollectorAddress, service: [&str; 2]) -> io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{}", address.0)).map_err(io::Error::other)?;
        let endpoint = endpoint.connect_timeout(EXPORT_MAX).timeout(EXPORT_MAX);
        let (records, received) = mpsc::channel(RECORDS_MAX);
        let counts = Arc::<Counts>::default();
        let (seen, batch) = (Arc::clone(&counts), Batch::new(service));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            runtime.block_on(async move {
                let exporter = Exporter { channel: endpoint.connect_lazy(), counts: seen, failing: false };
                exporter.run(received, batch).await;
            });
        };
        let sender = std::thread::Builder::new().name("access-log-otlp".to_owned()).spawn(run)?;
        Ok(Self { records, counts, sender: Mutex::new(Some(sender)) })
    }

    pub(super) fn offer(&self, entry: &Entry<'_>, redaction: &Redaction) {
        let record = message::record(entry, redaction);
        let length = record.len();
        let waiting = self.counts.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting > QUEUED_BYTES_MAX || self.records.try_send(record).is_err() {
            self.counts.waiting.fetch_sub(length, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that no collector has.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Sends what waits, for a moment. Blocks; for the end of the process.
    pub(super) fn close(&self) {
        let Some(sender) = self.sender.lock().ok().and_then(|mut sender| sender.take()) else { return };
        self.counts.closing.notify_one();
        drop(sender.join());
    }
}

struct Exporter {
    channel: Channel,
    counts: Arc<Counts>,
    /// The last batch was not taken, and that was said.
    failing: bool,
}

impl Exporter {
    async fn run(mut self, mut records: mpsc::Receiver<Vec<u8>>, mut batch: Batch) {
        let counts = Arc::clone(&self.counts);
        tokio::select! {
            () = self.export_all(&mut records, &mut batch) => return,
            () = counts.closing.notified() => {}
        }
        // What the interrupted batch held is offered once more: a record that comes twice is better than none.
        let rest = async {
            while let Ok(record) = records.try_recv() {
                self.add(&mut batch, &record);
                if batch.is_full() {
                    self.export(&mut batch).await;
                }
            }
            self.export(&mut batch).await;
        };
        let late = tokio::time::timeout(END_MAX, rest).await.is_err();
        if late {
            let lost = batch.len() + records.len();
            counts.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        }
    }

    async fn export_all(&mut self, records: &mut mpsc::Receiver<Vec<u8>>, batch: &mut Batch) {
        while let Some(first) = records.recv().await {
            self.add(batch, &first);
            let until = crate::clock::now() + BATCH_WAIT_MAX;
            while !batch.is_full()
                && let Ok(Some(next)) = tokio::time::timeout_at(until, records.recv()).await
            {
                self.add(batch, &next);
            }
            self.export(batch).await;
        }
    }

    fn add(&self, batch: &mut Batch, record: &[u8]) {
        self.counts.waiting.fetch_sub(record.len(), Ordering::Relaxed);
        batch.add(record);
    }

    /// Offers a batch, and forgets it.
    async fn export(&mut self, batch: &mut Batch) {
        if batch.len() == 0 {
            return;
        }
        let message = batch.message();
        let mut outcome = Ok(0);
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let sent = tokio::time::timeout(EXPORT_MAX, self.send(message.clone())).await;
            outcome = sent.unwrap_or_else(|_late| Err(Status::deadline_exceeded("no answer in time")));
            match &outcome {
                Err(status) if may_retry(status.code()) => {}
                Ok(_) | Err(_) => break,
            }
        }
        let lost = match &outcome {
            Ok(rejected) => *rejected,
            Err(_) => batch.len() as u64,
        };
        self.counts.dropped.fetch_add(lost, Ordering::Relaxed);
        batch.clear();
        match outcome {
            Ok(_) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(code = ?error.code(), message = error.message(), "the access log's collector takes nothing");
            }
            Err(_) => {}
        }
    }

    /// How many records the collector refused.
    async fn send(&self, message: Bytes) -> Result<u64, Status> {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/opentelemetry.proto.collector.logs.v1.LogsService/Export");
        let answer = client.unary(Request::new(message), path, Raw).await?;
        Ok(rejected(answer.get_ref()))
    }
}

/// OTLP names these: the same batch may be taken a moment later.
fn may_retry(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
