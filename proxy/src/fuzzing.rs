//! The doors of the fuzz targets: what they may reach of the inside, and nothing that ships has.
//!
//! The bodies in `fuzz/bodies` say what must hold; here is only how to get at it. Each door takes what the network or the
//! disk gives and shows plain values.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tidegate_http1::{HeadMemory, Refusal, RequestHead};
use tidegate_traffic::rate_limit::{Descriptor, Entry};
use tidegate_xds::name::ResourceType;
use tidegate_xds::rate_limit_service::rlqs::RateLimitQuotaResponse;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::filter::{Lease, OnUnavailable, Refusal as OverLimit, TokenBucket};
use tokio::time::Instant;

use crate::clock;
use crate::config::apply::{Applier, Change, Effect, Ticket};
use crate::config::persist::{self, Stored};
use crate::config::registry::Registry;
use crate::config::snapshot::Snapshot;
use crate::config::watch::{changes, offer_typed};
use crate::config::whole;
use crate::drain::Drain;
use crate::filter::lease::Leases;
use crate::filter::lease::cell::Cell;
use crate::filter::lease::reporter::Reporter;
use crate::limits::Limits;
use crate::telemetry::trace::{self, w3c};
use crate::wire::heads;
use crate::worker::Shared;

/// Whether what a head says of a trace is passed on.
pub fn is_sound_trace(head: &RequestHead) -> bool {
    w3c::is_sound(head)
}

/// What is believed of a head's trace.
#[derive(Debug)]
pub struct TraceContext {
    /// Trace and span, in digits.
    pub ids: Option<(String, String)>,
    /// What somebody has decided.
    pub sampled: Option<bool>,
    /// `tracestate` belongs to the trace.
    pub keeps_state: bool,
}

/// What a head says of its trace.
pub fn trace_of(head: &RequestHead) -> TraceContext {
    let (ids, sampled, keeps_state) = trace::context_of(head);
    TraceContext { ids, sampled, keeps_state }
}

/// What is said of a head's trace to whoever is next: as `traceparent`, `sw8`, `b3` and in several fields. `None`: there is none.
pub fn passed_on(head: &RequestHead) -> Option<[Vec<FieldLine>; 4]> {
    trace::passed_on(head)
}

pub use crate::telemetry::access_log::fuzzing::{Line, Said};
pub use crate::telemetry::trace::FieldLine;

/// The head of a stream as the corridor knows it.
pub fn head_of_stream(parts: &::http::request::Parts, ended: bool) -> Result<RequestHead, Refusal> {
    heads::received_request(&mut HeadMemory::default(), parts, ended)
}

/// A resource on disk: type, name, version and bytes.
pub type Kept = (ResourceType, Arc<str>, Arc<str>, Bytes);

/// The resources of a file, if it is whole and ours.
pub fn read_kept(file: &[u8]) -> Option<Vec<Kept>> {
    let kept = |stored: Stored| (stored.resource_type, stored.name, stored.version, stored.value);
    Some(persist::decode(file)?.into_iter().map(kept).collect())
}

/// The file of these resources.
pub fn write_kept(resources: &[Kept]) -> Vec<u8> {
    let stored = |(resource_type, name, version, value): &Kept| Stored {
        resource_type: *resource_type,
        name: Arc::clone(name),
        version: Arc::clone(version),
        value: value.clone(),
    };
    persist::encode(resources.iter().map(stored).collect::<Vec<_>>().iter())
}

/// A file with this content and the checksum that belongs to it.
pub fn sealed(content: &[u8]) -> Vec<u8> {
    persist::sealed(content.to_vec())
}

/// The applier without sockets to the outside, and with a clock that is moved by hand.
#[derive(Debug)]
pub struct Configuration {
    shared: Arc<Shared>,
    applier: Applier,
    now: Instant,
    open: Vec<Ticket>,
}

impl Default for Configuration {
    fn default() -> Self {
        let shared = Arc::new(Shared {
            limits: Limits::default(),
            registry: Registry::new(1),
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            drain: Drain::default(),
            access_log: None,
            counts_edges: true,
            traces: None,
            workers: OnceLock::new(),
        });
        let applier = Applier::new(Arc::clone(&shared), 0);
        Self { shared, applier, now: clock::now(), open: Vec::new() }
    }
}

impl Configuration {
    /// Offers resources as one push each type; what was refused so far, by name.
    pub fn offer(&mut self, resources: Vec<Resource>) -> Vec<(Arc<str>, String)> {
        let changes = changes(resources.into_iter().map(offer_typed));
        let tickets = self.applier.offer_all(changes, self.now);
        self.open.extend(tickets);
        self.refused()
    }

    /// Takes a resource away.
    pub fn remove(&mut self, resource_type: ResourceType, name: Arc<str>) -> Vec<(Arc<str>, String)> {
        let change = Change { resource_type, offered: Vec::new(), removed: vec![name] };
        self.open.push(self.applier.offer(change, self.now));
        self.refused()
    }

    /// Lets so much time pass that nothing may wait any longer.
    pub fn wait(&mut self) -> Vec<(Arc<str>, String)> {
        self.now += crate::config::apply::HOLD + Duration::from_secs(1);
        self.applier.tick(self.now);
        self.refused()
    }

    fn refused(&mut self) -> Vec<(Arc<str>, String)> {
        let mut refused = Vec::new();
        for effect in self.applier.take_effects() {
            if let Effect::Concluded { ticket, rejected } = effect {
                let known = self.open.iter().position(|open| *open == ticket);
                let known = known.expect("a change is concluded once, and only if it was offered");
                self.open.swap_remove(known);
                refused.extend(rejected);
            }
        }
        refused
    }

    /// How many changes wait for something.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// What a request could miss now.
    pub fn missing(&self) -> Vec<String> {
        whole::missing(&self.shared.snapshot.load())
    }

    /// How often something became visible.
    pub fn generation(&self) -> u64 {
        self.shared.snapshot.load().generation
    }

    /// The listeners that callers can reach.
    pub fn listeners(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = whole::reachable(&self.shared.snapshot.load()).cloned().collect();
        names.sort();
        names
    }

    /// The visible resource of this type and name.
    pub fn visible(&self, resource_type: ResourceType, name: &str) -> Option<Resource> {
        whole::visible(&self.shared.snapshot.load(), resource_type, name)
    }

    /// What a restart would find on disk.
    pub fn kept(&self) -> Vec<Kept> {
        let stored = self.applier.stored().into_iter();
        stored.map(|stored| (stored.resource_type, stored.name, stored.version, stored.value)).collect()
    }
}

/// A proxy's side of one limit that is kept by leases: the description `rule` = `all`.
pub struct Leaseholder {
    reporter: Reporter,
    cell: Arc<Cell>,
}

impl Default for Leaseholder {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaseholder {
    /// Tokens of the whole limit.
    pub const CAPACITY: u32 = 50;

    /// Before the first lease.
    pub fn new() -> Self {
        let leases: Arc<Leases> = Arc::default();
        let limit = TokenBucket {
            capacity: Self::CAPACITY,
            refill: std::num::NonZeroU32::MIN,
            interval: Duration::from_secs(3_600),
        };
        let lease = Lease {
            limit,
            on_unavailable: OnUnavailable::FallbackPerProxy,
            shadow: false,
            refusal: OverLimit::default(),
        };
        let lease = Arc::new(lease);
        let entries = vec![Entry { key: "rule", value: "all".into() }];
        let descriptor = Descriptor { entries, hits: 1, lease: Some(&lease) };
        let now = clock::nanos_since_start(clock::now());
        let cell = leases.cell(&descriptor, &lease, now).expect("the first description has room");
        let mut reporter = Reporter::new(leases, String::new());
        reporter.meet();
        Self { reporter, cell }
    }

    /// An answer of the control plane came.
    pub fn obey(&mut self, answer: RateLimitQuotaResponse) {
        self.reporter.obey(answer);
    }

    /// How many of so many tokens can be taken now.
    pub fn take_at_once(&self, tokens: u32) -> u32 {
        let now = clock::nanos_since_start(clock::now());
        let taken = (0..tokens).filter(|_| self.cell.try_take(1, now)).count();
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// What would be reported.
    pub fn report(&mut self) -> usize {
        self.reporter.usage().bucket_quota_usages.len()
    }
}
