//! The control plane's metrics, as the table in `tidegate_report::metric::control` declares them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::{ACCEPT, VARY};
use http::{HeaderValue, StatusCode};
use tidegate_report::exposition::{Format, Page};
use tidegate_report::metric::control as metric;
use tidegate_xds::name::ResourceType;

use super::model::{ConfigState, ProxyKind};
use super::stream::Live;
use super::{Answer, with_type};
use crate::ads::Hub;
use crate::fleet::{Counts, Fleet, PROPAGATION_BUCKETS_SECONDS};
use crate::process::Process;
use crate::trace::store::{Fill, Store};

/// About what a page is long.
const PAGE_BYTES: usize = 8 * 1024;
/// What Istio calls its control plane.
const COMPONENT: &str = "pilot";
/// This release, marked so that nobody takes it for one of Istio's.
pub(super) const RELEASE: &str = concat!("tidegate-", env!("CARGO_PKG_VERSION"));

/// The page in the format that the scraper asks for.
pub(super) fn page(headers: &HeaderMap, hub: &Arc<Hub>, live: &Live) -> Answer {
    let format = Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let mut response = with_type(StatusCode::OK, format.content_type(), render(format, hub, live));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn render(format: Format, hub: &Hub, live: &Live) -> String {
    let fleet = hub.fleet();
    let mut page = Page::new(format, PAGE_BYTES);
    let (counts, _) = fleet.counts();
    ours(&mut page, fleet, &counts);
    streams(&mut page, live);
    traces(&mut page, fleet.traces().store());
    istio(&mut page, hub, &counts);
    if let Some(process) = Process::look() {
        of_process(&mut page, process);
    }
    page.finish()
}

fn ours(page: &mut Page, fleet: &Fleet, counts: &Counts) {
    let (_, proxies) = fleet.counts();
    let (generation, state) = fleet.state();
    for (metric, value) in [
        (&metric::GENERATION, generation),
        (&metric::CONFIG_VALID, u64::from(state == ConfigState::Current)),
        (&metric::CONFIG_APPLIED, counts.applied),
        (&metric::CONFIG_REJECTED, counts.rejected),
        (&metric::STREAMS_OPENED, counts.streams),
        (&metric::NACKS, counts.nacks.values().sum()),
        (&metric::GATES_EXPIRED, counts.gates_expired),
        (&metric::STALLS, counts.stalls),
    ] {
        page.head(metric);
        page.sample(metric, &[], value);
    }
    page.head(&metric::PROXIES);
    for kind in [ProxyKind::Sidecar, ProxyKind::Gateway, ProxyKind::Other] {
        for settled in [true, false] {
            let value = proxies.get(&(kind, settled)).copied().unwrap_or(0);
            page.sample(&metric::PROXIES, &[kind.as_str(), if settled { "true" } else { "false" }], value as u64);
        }
    }
    if let Some(is_reached) = fleet.limit_store().is_reached() {
        page.head(&metric::LIMIT_STORE_UP);
        page.sample(&metric::LIMIT_STORE_UP, &[], u64::from(is_reached));
        page.head(&metric::LIMIT_STORE_FAILURES);
        page.sample(&metric::LIMIT_STORE_FAILURES, &[], fleet.limit_store().failures());
    }
    page.head(&metric::PROPAGATION);
    propagation(page, &metric::PROPAGATION, counts);
}

fn propagation(page: &mut Page, metric: &tidegate_report::Metric, counts: &Counts) {
    let buckets: Vec<(f64, u64)> = PROPAGATION_BUCKETS_SECONDS.into_iter().zip(counts.propagation).collect();
    page.histogram(metric, &[], &buckets, counts.propagation_count, counts.propagation_seconds);
}

fn streams(page: &mut Page, live: &Live) {
    let (open, refused) = live.counts();
    page.head(&metric::EVENT_STREAMS);
    page.sample(&metric::EVENT_STREAMS, &[], open as u64);
    page.head(&metric::EVENT_STREAMS_REFUSED);
    page.sample(&metric::EVENT_STREAMS_REFUSED, &[], refused);
}

fn traces(page: &mut Page, store: &Store) {
    let counts = store.counts();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    page.head(&metric::TRACE_REFUSED);
    for (reason, count) in [("malformed", &counts.malformed), ("too_large", &counts.too_large), ("busy", &counts.busy)]
    {
        page.sample(&metric::TRACE_REFUSED, &[reason], read(count));
    }
    let Fill { traces, spans, bytes } = store.fill();
    for (metric, value) in [
        (&metric::TRACE_SPANS_RECEIVED, read(&counts.received)),
        (&metric::TRACE_DETAILS_LOST, read(&counts.lost)),
        (&metric::TRACE_SPANS_EVICTED, read(&counts.evicted_spans)),
        (&metric::TRACE_TRACES_EVICTED, read(&counts.evicted_traces)),
        (&metric::TRACE_ANSWERS_CUT, read(&counts.answers_cut)),
        (&metric::TRACE_STORE_TRACES, traces as u64),
        (&metric::TRACE_STORE_SPANS, spans as u64),
        (&metric::TRACE_STORE_BYTES, bytes as u64),
        (&metric::TRACE_STORE_BYTES_MAX, store.bytes_max() as u64),
    ] {
        page.head(metric);
        page.sample(metric, &[], value);
    }
}

fn istio(page: &mut Page, hub: &Hub, counts: &Counts) {
    // Not through the hub's lock: a scrape does not wait while a world is translated.
    let world = hub.worlds().borrow().clone();
    let policies = world.as_ref().map(|world| world.policies());
    let services = policies.map_or(0, |policies| policies.services.len());
    let of_kind = |kind| policies.map_or(0, |p| p.statuses.iter().filter(|status| status.origin.kind == kind).count());
    page.head(&metric::PILOT_XDS);
    page.sample(&metric::PILOT_XDS, &[], hub.fleet().connected() as u64);
    for (metric, by_type) in [(&metric::PILOT_XDS_PUSHES, &counts.pushes), (&metric::PILOT_REJECTS, &counts.nacks)] {
        page.head(metric);
        for of_type in ResourceType::ALL {
            let value = by_type.get(&of_type).copied().unwrap_or(0);
            page.sample(metric, &[&of_type.short().to_ascii_lowercase()], value);
        }
    }
    page.head(&metric::PILOT_CONVERGENCE);
    propagation(page, &metric::PILOT_CONVERGENCE, counts);
    page.head(&metric::PILOT_SERVICES);
    page.sample(&metric::PILOT_SERVICES, &[], services as u64);
    page.head(&metric::PILOT_VIRTUAL_SERVICES);
    page.sample(&metric::PILOT_VIRTUAL_SERVICES, &[], of_kind("VirtualService") as u64);
    page.head(&metric::PILOT_INFO);
    page.sample(&metric::PILOT_INFO, &[RELEASE], 1);
    page.head(&metric::ISTIO_BUILD);
    page.sample(&metric::ISTIO_BUILD, &[COMPONENT, RELEASE], 1);
}

fn of_process(page: &mut Page, process: Process) {
    page.head(&metric::PROCESS_CPU);
    page.sample_real(&metric::PROCESS_CPU, &[], process.cpu_seconds);
    page.head(&metric::PROCESS_MEMORY);
    page.sample(&metric::PROCESS_MEMORY, &[], process.memory_bytes);
    page.head(&metric::PROCESS_START);
    page.sample_real(&metric::PROCESS_START, &[], process.started_seconds);
    page.head(&metric::PROCESS_FDS);
    page.sample(&metric::PROCESS_FDS, &[], process.descriptors);
}

#[cfg(test)]
mod tests;
