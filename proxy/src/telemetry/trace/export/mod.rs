//! From a worker to a collector, and never back: a queue for each collector, and a task that empties it.
//!
//! # Why no request ever waits
//! A worker offers a span to a bounded queue and goes on; when it is full the span is dropped and counted, because a request is worth
//! more than its record. The task lives on the control thread. It is woken once for a batch, not once for a span: while a batch
//! gathers it sleeps.
//!
//! # What a collector that is gone costs
//! One queue and one batch of memory. The batch is offered a few times, ever more slowly, then given up and counted, and the next
//! one has its turn; so what arrives when the collector comes back is recent.

mod grpc;
mod otlp;
mod post;
mod skywalking;
pub(crate) mod to;
mod zipkin;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::to::TraceTo;
use super::Traces;
use super::span::Span;

/// Spans that wait for one collector: two seconds at a thousand a second, some megabytes.
const WAITING_SPANS_MAX: usize = 2_048;
/// Of one message; collectors take this many without being told to.
const BATCH_SPANS_MAX: usize = 512;
/// Of one message, about: gRPC servers refuse more than 4 MiB unless told otherwise.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long a batch gathers. People look at traces after seconds.
const BATCH_DELAY: Duration = Duration::from_millis(500);
/// From calling to the collector's answer.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// How often one batch is offered.
const OFFERS_MAX: u32 = 3;
/// Between two offers to a collector that did not take the first; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(500);
/// No longer than this: a collector that is back should be found soon.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// For what is left when the process ends. It has drained by then, and whoever waits for its end waits for this too.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// The collector took them.
    exported: AtomicU64,
    /// The queue was full.
    dropped: AtomicU64,
    /// The collector did not take them.
    failed: AtomicU64,
}

impl Counts {
    /// By the label `outcome`.
    pub(crate) fn all(&self) -> [(&'static str, u64); 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("exported", of(&self.exported)), ("dropped", of(&self.dropped)), ("failed", of(&self.failed))]
    }
}

/// The workers' end of a queue.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The flag's text: the label `collector`.
    pub(crate) name: Arc<str>,
    pub(crate) counts: Arc<Counts>,
    spans: mpsc::Sender<Arc<Span>>,
    /// Rung when half of it is taken, so that a burst does not wait for the batch's time.
    filling: Arc<Notify>,
}

impl Queue {
    pub(super) fn push(&self, span: &Arc<Span>) {
        if self.spans.try_send(Arc::clone(span)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if self.spans.capacity() < self.spans.max_capacity() / 2 {
            self.filling.notify_one();
        }
    }
}

/// One collector's task before it runs.
#[derive(Debug)]
struct Courier {
    to: TraceTo,
    name: Arc<str>,
    counts: Arc<Counts>,
    spans: mpsc::Receiver<Arc<Span>>,
    filling: Arc<Notify>,
}

/// Where sampled spans go, and how many requests are sampled.
#[derive(Clone, Debug, Default)]
pub struct Tracing {
    /// Each collector gets every span. None: nothing is traced, and nobody's trace is touched.
    pub to: Vec<TraceTo>,
    /// Of requests that come without a decision.
    pub share: to::Share,
}

/// The tasks that are to run on the control thread.
#[derive(Debug, Default)]
pub(crate) struct Couriers(Vec<Courier>);

/// Sets up queues. `None`: there is nobody to tell.
pub(crate) fn open(tracing: Tracing, service: Arc<str>, instance: Arc<str>) -> (Option<Traces>, Couriers) {
    let Tracing { to, share } = tracing;
    if to.is_empty() {
        return (None, Couriers::default());
    }
    let speaks_sw8 = to.iter().any(|to| matches!(to, TraceTo::SkyWalking(_)));
    let pairs = to.into_iter().map(|to| {
        let (sender, spans) = mpsc::channel(WAITING_SPANS_MAX);
        let (name, counts, filling): (Arc<str>, _, _) = (to.to_string().into(), Arc::default(), Arc::default());
        let queue = Queue {
            name: Arc::clone(&name),
            counts: Arc::clone(&counts),
            spans: sender,
            filling: Arc::clone(&filling),
        };
        (queue, Courier { to, name, counts, spans, filling })
    });
    let (queues, couriers) = pairs.unzip();
    (Some(Traces { taken_below: share.below(), service, instance, speaks_sw8, queues }), Couriers(couriers))
}

/// The running tasks.
#[derive(Debug)]
pub(crate) struct Running {
    ending: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Couriers {
    /// Must be called on the runtime that is to drive them.
    pub(crate) fn start(self, traces: Option<&Traces>) -> Running {
        let (ending, ends) = watch::channel(false);
        let Some(traces) = traces else { return Running { ending, tasks: Vec::new() } };
        let run = |courier: Courier| {
            let collector = Collector::new(&courier.to, &traces.service, &traces.instance);
            tokio::spawn(courier.run(collector, ends.clone()))
        };
        Running { ending, tasks: self.0.into_iter().map(run).collect() }
    }
}

impl Running {
    /// Sends what waits, and ends: the workers have nothing more to say, or nobody waits for it.
    pub(crate) async fn finish(self) {
        self.ending.send_replace(true);
        let all = async {
            for task in self.tasks {
                // One that panicked has ended, too.
                drop(task.await);
            }
        };
        if timeout(FLUSH_DEADLINE, all).await.is_err() {
            debug!("a collector did not take the last spans in time");
        }
    }
}

/// Why a batch was not taken.
#[derive(Debug)]
enum Untaken {
    /// It may be taken another time.
    Later(String),
    /// It never will.
    Never(String),
}

/// Some of a batch may be turned down while the rest is taken.
type Taken = Result<u64, Untaken>;

/// The client of one collector.
#[derive(Debug)]
enum Collector {
    Otlp(otlp::OverGrpc),
    OtlpHttp(otlp::OverHttp),
    Zipkin(zipkin::OverHttp),
    SkyWalking(skywalking::OverGrpc),
}

impl Collector {
    fn new(to: &TraceTo, service: &Arc<str>, instance: &Arc<str>) -> Self {
        let whose = Whose { service: Arc::clone(service), instance: Arc::clone(instance) };
        match to {
            TraceTo::Otlp(address) => Self::Otlp(otlp::OverGrpc::new(address, whose)),
            TraceTo::OtlpHttp(url) => Self::OtlpHttp(otlp::OverHttp::new(url.clone(), whose)),
            TraceTo::Zipkin(url) => Self::Zipkin(zipkin::OverHttp::new(url.clone(), whose)),
            TraceTo::SkyWalking(address) => Self::SkyWalking(skywalking::OverGrpc::new(address, whose)),
        }
    }

    /// How many of them were turned down.
    async fn take(&mut self, batch: &[Arc<Span>]) -> Taken {
        match self {
            Self::Otlp(collector) => collector.take(batch).await,
            Self::OtlpHttp(collector) => collector.take(batch).await,
            Self::Zipkin(collector) => collector.take(batch).await,
            Self::SkyWalking(collector) => collector.take(batch).await,
        }
    }
}

/// Whose spans they are.
#[derive(Clone, Debug)]
struct Whose {
    service: Arc<str>,
    instance: Arc<str>,
}

impl Courier {
    async fn run(mut self, mut collector: Collector, mut ends: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        let mut back_off = BACK_OFF;
        let mut silent = false;
        loop {
            let first = tokio::select! {
                first = self.spans.recv() => first,
                _ = ends.wait_for(|ends| *ends) => break,
            };
            let Some(first) = first else { break };
            batch.push(first);
            tokio::select! {
                () = sleep(BATCH_DELAY) => {}
                () = self.filling.notified() => {}
                _ = ends.wait_for(|ends| *ends) => {}
            }
            for offer in 1.. {
                self.gather(&mut batch);
                let Err(untaken) = self.offer(&mut collector, &batch).await else {
                    silent = false;
                    back_off = BACK_OFF;
                    break;
                };
                let why = match &untaken {
                    Untaken::Later(why) | Untaken::Never(why) => why,
                };
                if !std::mem::replace(&mut silent, true) {
                    warn!(collector = %self.name, %why, "a collector does not take spans");
                }
                debug!(collector = %self.name, %why, spans = batch.len(), offer, "spans not taken");
                let ending = *ends.borrow();
                if matches!(untaken, Untaken::Never(_)) || offer >= OFFERS_MAX || ending {
                    self.counts.failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    if ending {
                        return;
                    }
                    break;
                }
                tokio::select! {
                    () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_MAX),
                    _ = ends.wait_for(|ends| *ends) => {}
                }
            }
            batch.clear();
        }
        self.flush(&mut collector, batch).await;
    }

    /// What is left, each batch once.
    async fn flush(&mut self, collector: &mut Collector, mut batch: Vec<Arc<Span>>) {
        loop {
            self.gather(&mut batch);
            if batch.is_empty() {
                return info!(collector = %self.name, "every span has been sent");
            }
            if self.offer(collector, &batch).await.is_err() {
                self.counts.failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                return;
            }
            batch.clear();
        }
    }

    /// Takes what is there into the batch.
    fn gather(&mut self, batch: &mut Vec<Arc<Span>>) {
        let mut bytes: usize = batch.iter().map(|span| span.weight()).sum();
        while batch.len() < BATCH_SPANS_MAX && bytes < BATCH_BYTES_MAX {
            match self.spans.try_recv() {
                Ok(span) => {
                    bytes += span.weight();
                    batch.push(span);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// One offer, with its deadline.
    async fn offer(&self, collector: &mut Collector, batch: &[Arc<Span>]) -> Result<(), Untaken> {
        let late = |_| Err(Untaken::Later(format!("no answer within {} s", SEND_DEADLINE.as_secs())));
        let refused = timeout(SEND_DEADLINE, collector.take(batch)).await.unwrap_or_else(late)?;
        let refused = refused.min(batch.len() as u64);
        self.counts.failed.fetch_add(refused, Ordering::Relaxed);
        self.counts.exported.fetch_add(batch.len() as u64 - refused, Ordering::Relaxed);
        Ok(())
    }
}

/// Nanoseconds since 1970.
fn nanos(at: std::time::SystemTime) -> u64 {
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
