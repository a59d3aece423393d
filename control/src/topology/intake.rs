//! Streams of reports, and when what they said is on disk.
//!
//! # An answer to a last message is a promise
//! A process that ends asks that its last numbers be kept, and nobody will say them again. They are on disk before it is told so. All
//! other numbers are said again by whoever counts them, so half a minute of them may be lost with the process here.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_xds::report_service::{EdgeReport, ReportAck};
use tidegate_xds::transport::report::{EdgeReports, EdgeService, EdgeStream};
use tidegate_xds::transport::server::Other;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use super::Topology;
use super::core::Stream;
use crate::fleet::Fleet;

/// How often what has changed is written.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);
/// A disk that takes longer is broken, or drowned.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a proxy of a small mesh reports.
const INTERVAL_MS_MIN: usize = 1_000;
/// The same in a large one.
const INTERVAL_MS_MAX: usize = 5_000;
/// Up to here a mesh is small: two hundred reports a second are some percent of a core.
const REPORTS_PER_SECOND: usize = 200;

/// Where streams of reports begin.
#[derive(Debug)]
pub(super) struct Intake {
    fleet: Arc<Fleet>,
}

impl Intake {
    /// Into the topology of a fleet.
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }
}

/// The service for the port of ADS, into the topology of a fleet.
pub fn service(fleet: Arc<Fleet>, stopping: watch::Receiver<bool>) -> Arc<dyn Other> {
    Arc::new(EdgeService::new(Arc::new(Intake::new(fleet)), stopping))
}

impl EdgeReports for Intake {
    fn open(&self, _: SocketAddr) -> Box<dyn EdgeStream> {
        Box::new(Reporting { fleet: Arc::clone(&self.fleet), stream: Arc::default() })
    }
}

struct Reporting {
    fleet: Arc<Fleet>,
    stream: Arc<Mutex<Stream>>,
}

impl EdgeStream for Reporting {
    fn take(&mut self, report: EdgeReport) -> Pin<Box<dyn Future<Output = Result<ReportAck, String>> + Send + '_>> {
        Box::pin(async move {
            let EdgeReport { sequence, last, .. } = report;
            // Away from the threads that streams live on: while a checkpoint of a large mesh is taken, this waits.
            let (topology, stream) = (Arc::clone(self.fleet.topology()), Arc::clone(&self.stream));
            let turn = self.fleet.topology().turn.lock().await;
            let taken = tokio::task::spawn_blocking(move || topology.take(&mut lock(&stream), &report)).await;
            drop(turn);
            let streams = taken.map_err(|error| error.to_string())??;
            if last && !save(&self.fleet).await {
                return Err("the last numbers could not be written to disk".to_owned());
            }
            Ok(ReportAck { sequence, interval_ms: interval_ms(streams) })
        })
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        let (topology, stream) = (Arc::clone(self.fleet.topology()), Arc::clone(&self.stream));
        match Handle::try_current() {
            // A thread that answers are sent on waits for no lock.
            Ok(runtime) => drop(runtime.spawn_blocking(move || topology.close(&lock(&stream)))),
            Err(_) => topology.close(&lock(&stream)),
        }
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So that all proxies together report [`REPORTS_PER_SECOND`] times, within limits.
fn interval_ms(streams: usize) -> u32 {
    let ms = (streams * 1_000 / REPORTS_PER_SECOND).clamp(INTERVAL_MS_MIN, INTERVAL_MS_MAX);
    u32::try_from(ms).unwrap_or_default()
}

/// Writes what changes, for ever.
pub async fn keep(fleet: Arc<Fleet>) {
    let mut ticks = interval(CHECKPOINT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let topology = Arc::clone(fleet.topology());
        let turn = fleet.topology().turn.lock().await;
        if let Err(error) = tokio::task::spawn_blocking(move || topology.sweep()).await {
            warn!(%error, "the topology could not be swept");
        }
        drop(turn);
        save(&fleet).await;
    }
}

/// Writes what has changed and waits until it is on disk. Where nothing is kept at all, that is so already.
pub async fn save(fleet: &Arc<Fleet>) -> bool {
    let topology = fleet.topology();
    let _one_at_a_time = topology.saving.lock().await;
    if fleet.store().is_none() {
        return true;
    }
    let taken = Arc::clone(topology);
    let turn = topology.turn.lock().await;
    let Ok(checkpoint) = tokio::task::spawn_blocking(move || taken.checkpoint()).await else { return false };
    drop(turn);
    if checkpoint.is_empty() {
        return true;
    }
    let mut unsure = Unsure(Some(topology));
    let written = timeout(WRITE_TIMEOUT, fleet.store().keep_topology(checkpoint)).await;
    let is_written = matches!(written, Ok(true));
    if is_written {
        unsure.0 = None;
    } else {
        warn!("the topology could not be written to the state store");
    }
    is_written
}

/// A checkpoint whose fate is not known, also because nobody waits any more.
struct Unsure<'t>(Option<&'t Topology>);

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        if let Some(topology) = self.0 {
            topology.checkpoint_was_lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_report_each_second_until_there_are_many() {
        let asked = [0, 1, 200, 201, 600, 1_000, 100_000].map(interval_ms);

        assert_eq!(asked, [1_000, 1_000, 1_000, 1_005, 3_000, 5_000, 5_000]);
    }
}
