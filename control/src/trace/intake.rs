//! Reads what senders of spans send: bounded in bytes, in time and in how much is worked on at once.
//!
//! # Why a budget of bytes
//! Bodies are allowed to be large and senders to be many; large times many would be more than the store that they fill. All bodies
//! that are being read or wait for their decoding share [`BYTES_IN_FLIGHT_MAX`]. Who does not fit in is told to come again, which
//! exporters do.
//!
//! # What is kept of a bad request
//! Spans are stored as they are decoded, so a request that is broken in its middle leaves the spans before that. A single span that
//! cannot be kept is refused alone.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::model::Span;
use super::store::Store;
use super::{Sink, otlp, otlp_json, skywalking, zipkin};

/// Size of a request, as sent and as unpacked: exporters send 512 spans of some kilobytes at most, collectors up to 8,192.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// A request that is too large is read on and forgotten up to this, since most senders hear a refusal only after they have sent all.
const UNKEPT_BYTES_MAX: u64 = 4 * BODY_BYTES_MAX as u64;
/// All requests together: eight of the largest.
pub const BYTES_IN_FLIGHT_MAX: usize = 8 * BODY_BYTES_MAX;
/// Time for a whole request: exporters give up after ten seconds themselves.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that are decoded at once. Decoding is work without waiting, and the control plane has more to do.
const DECODERS_MAX: usize = 2;
/// Spans that are stored at once: as many as keep readers waiting for less than a millisecond.
const SPANS_AT_ONCE_MAX: usize = 256;

/// What a request is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OTLP in protobuf.
    Otlp,
    /// OTLP in JSON.
    OtlpJson,
    /// A segment of SkyWalking.
    SkyWalking,
    /// Several of them.
    SkyWalkingCollection,
    /// Zipkin's v2 JSON.
    Zipkin,
}

/// What became of a request's spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Kept.
    pub accepted: u64,
    /// Not kept.
    pub rejected: u64,
    /// Why the first of those was not.
    pub why: Option<&'static str>,
}

/// Why a request is not taken.
#[derive(Debug, Error)]
pub enum IntakeError {
    /// Nobody can read it.
    #[error("{0}")]
    Malformed(String),
    /// It is too large.
    #[error("the request has more than {BODY_BYTES_MAX} bytes; send fewer spans at once")]
    TooLarge,
    /// Too much is being read.
    #[error("too many requests with spans are being read at the moment; send it again later")]
    Busy,
    /// It did not come to its end.
    #[error("the request did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Slow,
    /// The connection broke.
    #[error("the request was cut off: {0}")]
    CutOff(String),
}

/// Takes spans in.
#[derive(Debug)]
pub struct Intake {
    store: Arc<Store>,
    bytes: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

/// Bytes of a request, and their part of the budget.
#[derive(Debug)]
pub struct Received {
    /// As sent.
    pub bytes: Bytes,
    /// Packed with gzip.
    pub is_packed: bool,
    room: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// For a store.
    pub fn new(store: Arc<Store>) -> Self {
        let bytes = Arc::new(Semaphore::new(BYTES_IN_FLIGHT_MAX));
        Self { store, bytes, decoders: Arc::new(Semaphore::new(DECODERS_MAX)) }
    }

    /// Where spans are kept.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Takes room for so many bytes.
    pub fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, IntakeError> {
        let bytes = u32::try_from(bytes).ok().filter(|_| bytes <= BODY_BYTES_MAX);
        let Some(bytes) = bytes else { return Err(self.refuse(IntakeError::TooLarge)) };
        let room = self.bytes.clone().try_acquire_many_owned(bytes);
        room.map_err(|_| self.refuse(IntakeError::Busy))
    }

    /// A request that was read elsewhere.
    pub fn received(bytes: Bytes, is_packed: bool, room: OwnedSemaphorePermit) -> Received {
        Received { bytes, is_packed, room: Some(room) }
    }

    /// Reads a body whole.
    pub async fn read<B>(&self, body: B, is_packed: bool) -> Result<Received, IntakeError>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        let read = timeout(BODY_TIMEOUT, self.collect(body, is_packed)).await;
        read.unwrap_or_else(|_| Err(self.refuse(IntakeError::Slow)))
    }

    async fn collect<B>(&self, mut body: B, is_packed: bool) -> Result<Received, IntakeError>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        // What announces itself as far too large is not read at all.
        if body.size_hint().lower() > UNKEPT_BYTES_MAX {
            return Err(self.refuse(IntakeError::TooLarge));
        }
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut length = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.refuse(IntakeError::CutOff(error.to_string())))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            if length > UNKEPT_BYTES_MAX {
                break;
            }
            if length > BODY_BYTES_MAX as u64 {
                (bytes, room) = (BytesMut::new(), None);
                continue;
            }
            let more = self.room(data.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        if length > BODY_BYTES_MAX as u64 {
            return Err(self.refuse(IntakeError::TooLarge));
        }
        Ok(Received { bytes: bytes.freeze(), is_packed, room })
    }

    /// Decodes a request and keeps its spans.
    pub async fn take(self: &Arc<Self>, format: Format, received: Received) -> Result<Taken, IntakeError> {
        let turn = self.decoders.clone().acquire_owned().await;
        let intake = self.clone();
        let work = move || {
            let taken = intake.decode(format, &received);
            drop((turn, received.room));
            taken
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(error)) => Err(self.refuse(error)),
            Err(error) => Err(self.refuse(IntakeError::Malformed(error.to_string()))),
        }
    }

    /// The same at once, for whoever has no runtime.
    #[cfg(feature = "fuzzing")]
    pub fn take_at_once(&self, format: Format, bytes: Bytes, is_packed: bool) -> Result<Taken, IntakeError> {
        self.decode(format, &Received { bytes, is_packed, room: None })
    }

    fn decode(&self, format: Format, received: &Received) -> Result<Taken, IntakeError> {
        let unpacked = if received.is_packed { Some(unpack(&received.bytes)?) } else { None };
        let bytes = unpacked.as_deref().unwrap_or(&received.bytes);
        let mut batch = Batch { store: &self.store, spans: Vec::new(), taken: Taken::default() };
        decode(format, bytes, &mut batch)?;
        batch.store();
        Ok(std::mem::take(&mut batch.taken))
    }

    /// Counts a refusal.
    fn refuse(&self, error: IntakeError) -> IntakeError {
        let counts = self.store.counts();
        let count = match error {
            IntakeError::Malformed(_) | IntakeError::CutOff(_) | IntakeError::Slow => &counts.malformed,
            IntakeError::TooLarge => &counts.too_large,
            IntakeError::Busy => &counts.busy,
        };
        count.fetch_add(1, Ordering::Relaxed);
        error
    }
}

/// Decodes a request of any format.
pub fn decode(format: Format, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), IntakeError> {
    let malformed = |what: &str, error: &dyn std::fmt::Display| IntakeError::Malformed(format!("not {what}: {error}"));
    match format {
        Format::Otlp => {
            otlp::decode(bytes, sink).map_err(|error| malformed("an ExportTraceServiceRequest in protobuf", &error))
        }
        Format::OtlpJson => {
            otlp_json::decode(bytes, sink).map_err(|error| malformed("an ExportTraceServiceRequest in JSON", &error))
        }
        Format::SkyWalking => {
            skywalking::decode_segment(bytes, sink).map_err(|error| malformed("a SegmentObject", &error))
        }
        Format::SkyWalkingCollection => {
            skywalking::decode_collection(bytes, sink).map_err(|error| malformed("a SegmentCollection", &error))
        }
        Format::Zipkin => zipkin::decode(bytes, sink).map_err(|error| malformed("a list of Zipkin's v2 spans", &error)),
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, IntakeError> {
    let mut unpacked = Vec::new();
    let bound = BODY_BYTES_MAX as u64 + 1;
    let read = MultiGzDecoder::new(packed).take(bound).read_to_end(&mut unpacked);
    read.map_err(|error| IntakeError::Malformed(format!("not gzip: {error}")))?;
    if unpacked.len() > BODY_BYTES_MAX {
        return Err(IntakeError::TooLarge);
    }
    Ok(unpacked)
}

/// Spans on their way into the store, which is not locked for each one.
struct Batch<'a> {
    store: &'a Store,
    spans: Vec<Span>,
    taken: Taken,
}

impl Sink for Batch<'_> {
    fn span(&mut self, span: Span) {
        self.spans.push(span);
        if self.spans.len() >= SPANS_AT_ONCE_MAX {
            self.store();
        }
    }

    fn reject(&mut self, why: &'static str) {
        self.store.counts().malformed.fetch_add(1, Ordering::Relaxed);
        self.taken.rejected += 1;
        self.taken.why.get_or_insert(why);
    }
}

impl Batch<'_> {
    fn store(&mut self) {
        let number = self.spans.len() as u64;
        let refused = self.store.insert(self.spans.drain(..));
        self.taken.accepted += number - refused.len() as u64;
        self.taken.rejected += refused.len() as u64;
        if let Some(first) = refused.first() {
            self.taken.why.get_or_insert(first.as_str());
        }
    }
}

impl Drop for Batch<'_> {
    /// What was decoded before an error is kept.
    fn drop(&mut self) {
        self.store();
    }
}

#[cfg(test)]
mod tests;
