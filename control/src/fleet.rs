//! Who is connected, and what they made of what they were given.
//!
//! A proxy's answer is the only evidence that a configuration is in force, so status, the change log and the propagation
//! metric are all made of answers, here, under one lock that is held for some map look-ups and never over an await.

mod counts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_policies::ir::status::ObjectStatus;
use tidegate_xds::ads::Mode;
use tidegate_xds::ads::server::StreamEvent;
use tidegate_xds::name::ResourceType;
use tokio::sync::watch;
use tracing::warn;

pub use self::counts::{Counts, PROPAGATION_BUCKETS_SECONDS};

use crate::api::model::{Answers, ConfigState, Finding, Nack, ProxyKind, ProxyStatus, Status, StatusConfig, SyncState};
use crate::changes::{Change, ChangeLog, Entry, Outcome, Settlement};
use crate::clock::{Clock, Timestamp};
use crate::loaded::Loaded;
use crate::rate_limit::store::Health;
use crate::store::Store;
use crate::topology::Topology;
use crate::trace::change;
use crate::trace::intake::Intake;
use crate::trace::model::Span;

/// The types whose state is always shown.
const SHOWN: [ResourceType; 4] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener, ResourceType::Route];

/// A proxy as it introduced itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Its node id.
    pub node: Arc<str>,
    /// What it was taken for.
    pub kind: ProxyKind,
    /// Its workload or gateway.
    pub workload: Option<String>,
    /// The variant of the protocol.
    pub mode: Mode,
    /// Where it connects from.
    pub peer: SocketAddr,
}

/// The connected proxies and the changes they are to apply.
#[derive(Debug)]
pub struct Fleet {
    clock: Clock,
    store: Store,
    directory: String,
    state: Mutex<State>,
    /// Rings when a change is entered.
    entered: watch::Sender<u64>,
    /// Says whether there is a configuration to serve.
    ready: watch::Sender<bool>,
    /// Counts answers: rings whenever a proxy has settled.
    settled: watch::Sender<u64>,
    /// How the store of shared limits is.
    limit_store: Arc<Health>,
    loaded: Loaded,
    /// Rings whenever something of this is different.
    stirred: watch::Sender<()>,
    topology: Arc<Topology>,
    traces: Arc<Intake>,
}

#[derive(Debug)]
struct State {
    /// The generation that proxies are given.
    generation: u64,
    /// The highest number given away.
    last_generation: u64,
    config: StatusConfig,
    proxies: BTreeMap<u64, Proxy>,
    last_session: u64,
    log: ChangeLog,
    counts: Counts,
    /// What the compiler said of the objects of the newest files.
    objects: Arc<[ObjectStatus]>,
}

#[derive(Debug)]
struct Proxy {
    introduction: Introduction,
    since: Timestamp,
    settled: u64,
    sent_since_settled: Option<Timestamp>,
    types: BTreeMap<ResourceType, TypeState>,
}

#[derive(Debug, Default)]
struct TypeState {
    subscribed: usize,
    wildcard: bool,
    sent: Option<u64>,
    acked: Option<u64>,
    nack: Option<(Arc<str>, Timestamp)>,
}

impl Fleet {
    /// An empty fleet that continues an earlier log.
    pub fn new(directory: String, clock: Clock, store: Store, log: ChangeLog, last_generation: u64) -> Self {
        let config = StatusConfig {
            directory: directory.clone(),
            state: ConfigState::Rejected,
            since: clock.now().to_string(),
            files: 0,
            diagnostics: Vec::new(),
        };
        let state = State {
            generation: 0,
            last_generation,
            config,
            proxies: BTreeMap::new(),
            last_session: 0,
            log,
            counts: Counts::default(),
            objects: Arc::default(),
        };
        let (entered, _) = watch::channel(last_generation);
        let (ready, _) = watch::channel(false);
        let (settled, _) = watch::channel(0);
        let state = Mutex::new(state);
        let topology = Arc::new(Topology::new(clock.clone()));
        let (limit_store, loaded, stirred, traces) = Default::default();
        Self { clock, store, directory, state, entered, ready, settled, limit_store, loaded, stirred, topology, traces }
    }

    /// Who calls whom.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Rings whenever what is known here is different.
    pub fn stirred(&self) -> watch::Receiver<()> {
        self.stirred.subscribe()
    }

    /// Something is different, here or in what proxies are given.
    pub fn stir(&self) {
        self.stirred.send_replace(());
    }

    /// The policy files.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The same with another store of traces.
    #[must_use]
    pub fn with_traces(mut self, traces: Arc<Intake>) -> Self {
        self.traces = traces;
        self
    }

    /// The traces, and what takes them in.
    pub fn traces(&self) -> &Arc<Intake> {
        &self.traces
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How the store of shared limits is.
    pub fn limit_store(&self) -> &Arc<Health> {
        &self.limit_store
    }

    /// A proxy's stream has begun. Gives the session's number.
    pub fn connect(&self, introduction: Introduction) -> u64 {
        let mut state = self.lock();
        state.last_session += 1;
        state.counts.streams += 1;
        let session = state.last_session;
        let since = self.clock.now();
        let proxy = Proxy { introduction, since, settled: 0, sent_since_settled: None, types: BTreeMap::new() };
        state.proxies.insert(session, proxy);
        self.stir();
        session
    }

    /// Its stream has ended.
    pub fn disconnect(&self, session: u64) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.proxies.remove(&session);
        self.stir();
        let complete = state.log.forget(session);
        drop(state);
        self.traces.store().insert(complete.iter().map(|whole| change::complete(whole, now)));
        complete.into_iter().for_each(|change| self.store.keep_change(change));
    }

    /// Something happened on a stream.
    pub fn record(&self, session: u64, event: StreamEvent) {
        let now = self.clock.now();
        let mut state = self.lock();
        self.stir();
        let State { proxies, log, counts, .. } = &mut *state;
        let Some(proxy) = proxies.get_mut(&session) else { return };
        let mut spans: Vec<Span> = Vec::new();
        match event {
            StreamEvent::Subscribed { resource_type, names, wildcard } => {
                let of_type = proxy.types.entry(resource_type).or_default();
                of_type.subscribed = names;
                of_type.wildcard = wildcard;
            }
            StreamEvent::Sent { resource_type, generation, .. } => {
                proxy.sent_since_settled.get_or_insert(now);
                *counts.pushes.entry(resource_type).or_default() += 1;
                proxy.types.entry(resource_type).or_default().sent = Some(generation);
            }
            StreamEvent::Acked { resource_type, generation } => {
                // Taking one resource does not take back the refusal of another: `Refused` says when none is left.
                proxy.types.entry(resource_type).or_default().acked = Some(generation);
            }
            StreamEvent::Refused { resource_type, names } => {
                if names == 0 {
                    proxy.types.entry(resource_type).or_default().nack = None;
                }
            }
            StreamEvent::Nacked { resource_type, generation: _, message } => {
                *counts.nacks.entry(resource_type).or_default() += 1;
                proxy.types.entry(resource_type).or_default().nack = Some((message, now));
            }
            StreamEvent::Settled { generation, rejected } => {
                let sent = proxy.sent_since_settled.take();
                proxy.settled = proxy.settled.max(generation);
                let settlement = Settlement { session, generation, rejected, sent: sent.is_some(), at: now };
                let settled = log.settle(settlement);
                settled.took_ms.into_iter().for_each(|took_ms| counts.propagated(took_ms));
                let shown = settled.answered.iter().filter(|answered| answered.number <= change::PROXIES_MAX);
                let times = [sent.unwrap_or(now), now];
                let pushed = shown.map(|answered| change::pushed(answered, session, &proxy.introduction, times));
                spans.extend(pushed.chain(settled.complete.iter().map(|whole| change::complete(whole, now))));
                // Written when the last answer is in, not at each: the log on disk is for people.
                settled.complete.into_iter().for_each(|change| self.store.keep_change(change));
                self.settled.send_modify(|count| *count += 1);
            }
            StreamEvent::GateExpired { resource_type, released } => {
                counts.gates_expired += 1;
                let node = &proxy.introduction.node;
                warn!(%node, of_type = %resource_type, released, "a proxy was too slow for make before break");
            }
            StreamEvent::Stalled { resource_type, generation } => {
                counts.stalls += 1;
                let node = &proxy.introduction.node;
                warn!(%node, of_type = %resource_type, generation, "a proxy does not answer, its stream is closed");
            }
        }
        drop(state);
        if !spans.is_empty() {
            self.traces.store().insert(spans);
        }
    }

    /// Takes the next number of the sequence that applied and rejected configurations share.
    pub fn next_generation(&self) -> u64 {
        let mut state = self.lock();
        state.last_generation += 1;
        state.last_generation
    }

    /// A configuration is about to be published.
    pub fn applied(&self, entry: Entry, files: usize, findings: Vec<Finding>) -> usize {
        let proxies = {
            let mut state = self.lock();
            state.counts.applied += 1;
            let sessions: BTreeSet<u64> = state.proxies.keys().copied().collect();
            let proxies = sessions.len();
            self.set_current(&mut state, entry.generation, files, findings);
            self.enter(&mut state, entry, sessions);
            proxies
        };
        self.announce();
        proxies
    }

    /// What the same files say has changed with time and is about to be published. Whether the files are in force is
    /// another question.
    pub fn renewed(&self, entry: Entry) {
        {
            let mut state = self.lock();
            let sessions: BTreeSet<u64> = state.proxies.keys().copied().collect();
            state.generation = entry.generation;
            state.last_generation = state.last_generation.max(entry.generation);
            self.enter(&mut state, entry, sessions);
        }
        self.announce();
    }

    /// The configuration is what it was before (at start, or after a rejected edit was undone).
    pub fn resumed(&self, generation: u64, files: usize, findings: Vec<Finding>) {
        self.set_current(&mut self.lock(), generation, files, findings);
        self.announce();
    }

    /// A configuration was refused.
    pub fn rejected(&self, entry: Entry, files: usize, findings: Vec<Finding>) {
        {
            let mut state = self.lock();
            state.counts.rejected += 1;
            state.config.state = ConfigState::Rejected;
            state.config.since = self.clock.now().to_string();
            state.config.files = files;
            state.config.diagnostics = findings;
            self.enter(&mut state, entry, BTreeSet::new());
        }
        self.announce();
    }

    /// Into the log, the store on disk, and the traces.
    fn enter(&self, state: &mut State, entry: Entry, sessions: BTreeSet<u64>) {
        let now = self.clock.now();
        let compiled = change::entered(&entry, now);
        let change = state.log.enter(entry, sessions);
        // Where nobody is to answer, this is all that happens to it.
        let whole = (change.proxies == 0).then(|| change::complete(&change, now));
        self.traces.store().insert(std::iter::once(compiled).chain(whole));
        self.store.keep_change(change);
    }

    /// What the compiler says of the objects of the newest files, whether they are in force or not.
    pub fn compiled(&self, objects: Arc<[ObjectStatus]>) {
        self.lock().objects = objects;
    }

    /// The same, for whoever adds what proxies made of them.
    pub fn objects(&self) -> Arc<[ObjectStatus]> {
        self.lock().objects.clone()
    }

    /// Says that there is something to serve.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Whether there is something to serve.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Rings whenever a proxy has answered all it was sent.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// The store that the log is kept in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Rings when a change is entered.
    pub fn entered(&self) -> watch::Receiver<u64> {
        self.entered.subscribe()
    }

    /// The changes after a generation.
    pub fn changes_since(&self, generation: u64) -> Vec<Change> {
        self.lock().log.since(generation).cloned().collect()
    }

    /// The generation that proxies are given.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// The same, and whether the files say what it is.
    pub fn state(&self) -> (u64, ConfigState) {
        let state = self.lock();
        (state.generation, state.config.state)
    }

    /// How many clients are connected.
    pub fn connected(&self) -> usize {
        self.lock().proxies.len()
    }

    /// Counters, and how many proxies are connected by kind and by whether they have settled.
    pub fn counts(&self) -> (Counts, BTreeMap<(ProxyKind, bool), usize>) {
        let state = self.lock();
        let mut proxies: BTreeMap<(ProxyKind, bool), usize> = BTreeMap::new();
        for proxy in state.proxies.values() {
            let settled = proxy.settled >= state.generation;
            *proxies.entry((proxy.introduction.kind, settled)).or_default() += 1;
        }
        (state.counts.clone(), proxies)
    }

    /// Everything that is known.
    pub fn status(&self) -> Status {
        let now = self.clock.now();
        let state = self.lock();
        let proxies = state.proxies.values().map(|proxy| proxy.status(state.generation, now)).collect();
        Status { generation: state.generation, config: state.config.clone(), proxies, objects: Vec::new() }
    }

    fn set_current(&self, state: &mut State, generation: u64, files: usize, findings: Vec<Finding>) {
        state.generation = generation;
        state.last_generation = state.last_generation.max(generation);
        state.config = StatusConfig {
            directory: self.directory.clone(),
            state: ConfigState::Current,
            since: self.clock.now().to_string(),
            files,
            diagnostics: findings,
        };
    }

    fn announce(&self) {
        self.entered.send_replace(self.lock().last_generation);
        self.stir();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements; a panic elsewhere is no reason to stop answering.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    fn status(&self, generation: u64, now: Timestamp) -> ProxyStatus {
        let Introduction { node, kind, workload, mode, peer } = &self.introduction;
        let seen = self.types.keys().copied();
        let types: BTreeSet<ResourceType> = SHOWN.into_iter().chain(seen).collect();
        let nothing = TypeState::default();
        let answers = types.into_iter().map(|of_type| {
            let state = self.types.get(&of_type).unwrap_or(&nothing);
            (of_type.short().to_owned(), state.answers(self.settled > 0, now))
        });
        ProxyStatus {
            node: node.to_string(),
            kind: *kind,
            workload: workload.clone(),
            mode: match mode {
                Mode::Delta => "delta",
                Mode::StateOfTheWorld => "sotw",
            }
            .to_owned(),
            connected_since: self.since.to_string(),
            address: peer.to_string(),
            settled_generation: self.settled,
            generation,
            types: answers.collect(),
        }
    }
}

impl TypeState {
    /// `settled`: the stream has been brought up to date at least once.
    fn answers(&self, settled: bool, now: Timestamp) -> Answers {
        let asked = self.subscribed > 0 || self.wildcard;
        let state = match (&self.nack, self.sent, self.acked) {
            (Some(_), _, _) => SyncState::Nacked,
            // It came back with what it would have been sent: there is nothing to send, and so nothing to answer.
            (None, None, _) if asked && settled => SyncState::Synced,
            (None, None, _) => SyncState::NotSent,
            (None, Some(sent), Some(acked)) if acked >= sent => SyncState::Synced,
            (None, Some(_), _) => SyncState::Stale,
        };
        let nack = self.nack.as_ref().map(|(message, at)| Nack {
            message: message.to_string(),
            age_ms: u64::try_from(now.since(*at).as_millis()).unwrap_or(u64::MAX),
        });
        Answers {
            state,
            subscribed: self.subscribed,
            wildcard: self.wildcard,
            sent_generation: self.sent,
            acked_generation: self.acked,
            nack,
        }
    }
}

impl Outcome {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}
