//! Keeps traces in memory, within a bound; the oldest leave first.
//!
//! # Readers and writers
//! A reader takes handles of all traces under the lock, which is a millisecond's work in a full store, and looks through them without
//! it. A writer that finds a trace in a reader's hands copies the list of its spans, not the spans.
//!
//! # Limits
//! Everything counts towards the one bound: spans, processes, the list of services. A trace has a bound of its own, so that no runaway
//! loop of an application pushes out everybody else's.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::model::{Kind, Process, SPAN_BYTES_MAX, Span, SpanId, TraceId};
use super::services::Services;

/// Memory for traces, unless the operator says otherwise: some 60,000 spans of a proxy.
pub const MEMORY_MIB: u32 = 64;
/// Spans of one trace: what a page of any user interface can still show.
pub const SPANS_PER_TRACE_MAX: usize = 10_000;
/// The share of the memory that one trace may take, and what it may take at most: an answer is to hold it.
const TRACE_SHARE: usize = 4;
const TRACE_BYTES_MAX: usize = 16 << 20;
/// How far back in its trace a span is compared with what is there: exporters repeat a batch, not yesterday's.
const REPEATS_LOOK_MAX: usize = 1_024;
/// So far back it is looked whether a span's process is known: further than any real trace goes. A trace in which each span is
/// another process's is a stranger's, and its processes are kept (and counted) as they come.
const PROCESSES_LOOK_MAX: usize = 64;
/// What a trace costs beside its spans: two map entries and the lists.
const TRACE_BYTES: usize = 320;

/// The traces.
#[derive(Debug)]
pub struct Store {
    inner: RwLock<Inner>,
    bytes_max: usize,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the order of their arrival.
    traces: BTreeMap<u64, Arc<Trace>>,
    places: HashMap<TraceId, u64>,
    last_place: u64,
    services: Services,
    bytes: usize,
    spans: usize,
}

/// The spans of a trace, in the order of their arrival.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    entries: Vec<Entry>,
    processes: Vec<Arc<Process>>,
    /// When its first span began.
    pub start_ns: u64,
    /// When its last span ended.
    pub end_ns: u64,
    /// What it occupies.
    pub bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    id: SpanId,
    kind: Kind,
    span: Arc<Span>,
}

impl Trace {
    fn new(id: TraceId) -> Self {
        Self { id, entries: Vec::new(), processes: Vec::new(), start_ns: u64::MAX, end_ns: 0, bytes: TRACE_BYTES }
    }

    /// Its spans.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = &Arc<Span>> + Clone {
        self.entries.iter().map(|entry| &entry.span)
    }

    /// Who made them.
    pub fn processes(&self) -> &[Arc<Process>] {
        &self.processes
    }

    /// Its first span that has no parent here; of several the one that began first.
    pub fn root(&self) -> Option<&Arc<Span>> {
        let mut ids: Vec<SpanId> = self.entries.iter().map(|entry| entry.id).collect();
        ids.sort_unstable();
        let has_parent = |span: &Span| span.parent.is_some_and(|parent| ids.binary_search(&parent).is_ok());
        let roots = self.spans().filter(|span| !has_parent(span));
        // Where spans are each other's parents the first is as good as any.
        roots.min_by_key(|span| (span.parent.is_some(), span.start_ns)).or_else(|| self.spans().next())
    }
}

/// What has happened to spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// Kept.
    pub received: AtomicU64,
    /// Refused: not a span at all.
    pub malformed: AtomicU64,
    /// Refused: the span, its trace or its message is too large.
    pub too_large: AtomicU64,
    /// Messages refused because too many bytes are being read.
    pub busy: AtomicU64,
    /// Attributes, events and references that were dropped, and texts that were shortened.
    pub lost: AtomicU64,
    /// Spans that made room.
    pub evicted_spans: AtomicU64,
    /// Traces that made room.
    pub evicted_traces: AtomicU64,
    /// Answers that left traces or spans out because they would have been too long.
    pub answers_cut: AtomicU64,
}

/// What is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Traces.
    pub traces: usize,
    /// Their spans.
    pub spans: usize,
    /// Their memory.
    pub bytes: usize,
}

/// Why a span is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLarge {
    /// The span itself.
    Span,
    /// Its trace.
    Trace,
}

impl TooLarge {
    /// For whoever sent it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Span => "a span holds more than 64 KiB",
            Self::Trace => "a trace has more than 10000 spans or more bytes than one may have",
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(MEMORY_MIB)
    }
}

impl Store {
    /// An empty store of so many MiB.
    pub fn new(memory_mib: u32) -> Self {
        Self::bounded((memory_mib as usize).saturating_mul(1 << 20))
    }

    /// An empty store of so many bytes.
    pub fn bounded(bytes_max: usize) -> Self {
        Self { inner: RwLock::default(), bytes_max, counts: Counts::default() }
    }

    /// What has happened to spans.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Keeps spans. Gives those that are not kept.
    pub fn insert(&self, spans: impl IntoIterator<Item = Span>) -> Vec<TooLarge> {
        let mut refused = Vec::new();
        let mut evicted = Vec::new();
        let (mut received, mut lost) = (0, 0);
        // A panic in between leaves counts that are off, never half a span.
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for span in spans {
            let gone = u64::from(span.lost);
            match inner.add(span, self.bytes_max) {
                Ok(()) => {
                    received += 1;
                    lost += gone;
                }
                Err(why) => refused.push(why),
            }
            while inner.bytes > self.bytes_max {
                let Some(oldest) = inner.evict() else { break };
                evicted.push(oldest);
            }
        }
        drop(inner);
        let add = |count: &AtomicU64, number: usize| count.fetch_add(number as u64, Ordering::Relaxed);
        self.counts.received.fetch_add(received, Ordering::Relaxed);
        self.counts.lost.fetch_add(lost, Ordering::Relaxed);
        add(&self.counts.too_large, refused.len());
        add(&self.counts.evicted_traces, evicted.len());
        add(&self.counts.evicted_spans, evicted.iter().map(|trace| trace.entries.len()).sum());
        refused
    }

    /// All traces, those that came last first.
    pub fn traces(&self) -> Vec<Arc<Trace>> {
        self.read().traces.values().rev().cloned().collect()
    }

    /// One trace.
    pub fn trace(&self, id: TraceId) -> Option<Arc<Trace>> {
        let inner = self.read();
        inner.traces.get(inner.places.get(&id)?).cloned()
    }

    /// The services, sorted.
    pub fn services(&self) -> Vec<String> {
        self.read().services.names()
    }

    /// The operations of a service, or of all, and their kinds.
    pub fn operations(&self, service: Option<&str>) -> Vec<(String, Kind)> {
        self.read().services.operations(service)
    }

    /// What is in it.
    pub fn fill(&self) -> Fill {
        let inner = self.read();
        Fill { traces: inner.traces.len(), spans: inner.spans, bytes: inner.bytes }
    }

    /// What may be in it.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, mut span: Span, bytes_max: usize) -> Result<(), TooLarge> {
        let mut bytes = span.bytes() + size_of::<Entry>();
        if bytes > SPAN_BYTES_MAX {
            return Err(TooLarge::Span);
        }
        let place = self.places.get(&span.trace).copied();
        let new_place = self.last_place + 1;
        if place.is_none() {
            self.last_place = new_place;
            self.places.insert(span.trace, new_place);
            self.traces.insert(new_place, Arc::new(Trace::new(span.trace)));
            self.bytes += TRACE_BYTES;
        }
        let Some(trace) = self.traces.get_mut(&place.unwrap_or(new_place)) else { return Ok(()) };
        let known = trace.processes.iter().rev().take(PROCESSES_LOOK_MAX).find(|known| ***known == *span.process);
        let is_known = known.is_some();
        match known {
            Some(known) => span.process = known.clone(),
            None => bytes += span.process.bytes(),
        }
        let repeated = trace.entries.iter().rev().take(REPEATS_LOOK_MAX).position(|entry| {
            entry.id == span.id && entry.kind == span.kind && entry.span.process.service == span.process.service
        });
        let is_full = trace.entries.len() >= SPANS_PER_TRACE_MAX
            || trace.bytes + bytes > TRACE_BYTES_MAX.min(bytes_max / TRACE_SHARE);
        if repeated.is_some() || is_full {
            // A trace that was made for this span is empty; it must not stay.
            self.forget_if_empty(new_place);
            return if repeated.is_some() { Ok(()) } else { Err(TooLarge::Trace) };
        }
        let trace = Arc::make_mut(trace);
        if !is_known {
            trace.processes.push(span.process.clone());
        }
        trace.start_ns = trace.start_ns.min(span.start_ns);
        trace.end_ns = trace.end_ns.max(span.end_ns());
        trace.bytes += bytes;
        self.bytes += bytes + self.services.add(&span);
        self.spans += 1;
        trace.entries.push(Entry { id: span.id, kind: span.kind, span: Arc::new(span) });
        Ok(())
    }

    fn forget_if_empty(&mut self, place: u64) {
        if self.traces.get(&place).is_some_and(|trace| trace.entries.is_empty()) {
            self.bytes -= TRACE_BYTES;
            self.traces.remove(&place).map(|trace| self.places.remove(&trace.id));
        }
    }

    fn evict(&mut self) -> Option<Arc<Trace>> {
        let (_, oldest) = self.traces.pop_first()?;
        self.places.remove(&oldest.id);
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        self.spans -= oldest.entries.len();
        for entry in &oldest.entries {
            self.bytes = self.bytes.saturating_sub(self.services.remove(&entry.span));
        }
        Some(oldest)
    }
}

#[cfg(test)]
mod tests;
