//! The control thread's loop: resources in, snapshots out, and the drain.
//!
//! One loop owns the [`Applier`], so that configuration changes one at a time whatever their source: the control plane, the
//! disk, a name's addresses, or a caller in the same process (tests, benches).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_xds::ads::client::{ClientEvent, Subscription, Update};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::{Decoded, Resource};
use tidegate_xds::transport::{ClientConfig, ClientHandle, Network, Tcp, connect_through};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

mod handing;
mod leaving;

use self::handing::Handing;
use self::leaving::Leaving;
use super::apply::{Applier, Change, Effect, Names, Offer, Ticket};
use super::persist::{self, Stored};
use crate::clock;
use crate::config::resolve::{Resolved, Resolver};
use crate::doors::Doors;
use crate::drain::Timing;
use crate::filter::lease::reporter::Reporter;
use crate::health::checks::Report;
use crate::health::keeper::Keeper;
use crate::supervisor::State;
use crate::telemetry::edges;
use crate::upgrade::{Giving, Step, Taken, UpgradeError};
use crate::worker::Shared;

/// Changes that come together are written together.
const SAVE_AFTER: Duration = Duration::from_millis(200);

/// A resource that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: Arc<str>,
    /// `field path: reason`.
    pub reason: String,
}

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// Apply changes; answered when all of them are concluded.
    Apply { changes: Vec<Change>, reply: oneshot::Sender<Vec<Refused>> },
    /// Where a listener listens.
    Address { listener: Arc<str>, reply: oneshot::Sender<Option<SocketAddr>> },
    /// All resources, as JSON texts by type.
    Dump { reply: oneshot::Sender<Vec<(ResourceType, String)>> },
    /// Leave.
    Drain(Timing),
    /// From the conversation with a process that takes over.
    Upgrade(Giving),
    /// End now.
    Stop,
}

/// Who waits for a ticket.
#[derive(Debug)]
enum Waiter {
    ControlPlane { resource_type: ResourceType, nonce: Arc<str> },
    Caller(u64),
}

#[derive(Debug)]
struct Caller {
    open: usize,
    refused: Vec<Refused>,
    reply: oneshot::Sender<Vec<Refused>>,
}

/// What comes to the loop from its own tasks.
#[derive(Debug)]
pub(crate) struct Sources {
    resolved: mpsc::Receiver<Resolved>,
    checked: mpsc::Receiver<Report>,
    steps: mpsc::Receiver<Step>,
}

/// The loop's state.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    applier: Applier,
    state_dir: Option<PathBuf>,
    /// Whom to ask, until it is asked.
    control: Option<ClientConfig>,
    client: Option<ClientHandle>,
    reporter: Option<JoinHandle<()>>,
    edges: Option<edges::reporter::Handle>,
    handing: Handing,
    waiters: BTreeMap<u64, Waiter>,
    callers: BTreeMap<u64, Caller>,
    next_caller: u64,
    save_at: Option<Instant>,
    saving: Option<JoinHandle<()>>,
    resolver: Resolver,
    keeper: Keeper,
    /// What tells this process from the one before.
    draw: u64,
    leaving: Option<Leaving>,
    /// What has been subscribed to by name; nothing is, before there is a name.
    named: BTreeSet<ResourceType>,
    /// Looks on after each turn.
    #[cfg(test)]
    pub(super) onlooker: Option<Onlooker>,
}

#[cfg(test)]
pub(super) type Onlooker = Box<dyn FnMut(&Seen<'_>)>;

/// What an onlooker sees of the loop.
#[cfg(test)]
pub(super) struct Seen<'a> {
    pub(super) applier: &'a Applier,
    /// Changes that somebody waits for.
    pub(super) waiters: usize,
}

impl Watch {
    /// `draw` is where round robins begin, and what tells this process from others.
    pub(crate) fn new(
        shared: Arc<Shared>,
        state_dir: Option<PathBuf>,
        control: Option<ClientConfig>,
        doors: Doors,
        draw: u64,
    ) -> (Self, Sources) {
        let (resolver, resolved) = Resolver::new();
        let (keeper, checked) = Keeper::new(draw);
        let (handing, steps) = Handing::new(doors);
        let applier = Applier::new(Arc::clone(&shared), draw);
        let watch = Self {
            shared,
            applier,
            state_dir,
            control,
            client: None,
            reporter: None,
            edges: None,
            handing,
            waiters: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_caller: 0,
            save_at: None,
            saving: None,
            resolver,
            keeper,
            draw,
            leaving: None,
            named: BTreeSet::new(),
            #[cfg(test)]
            onlooker: None,
        };
        (watch, Sources { resolved, checked, steps })
    }

    /// Runs until told to stop or drained, or until it is clear that there is no place to take.
    pub(crate) async fn run(
        self,
        commands: mpsc::UnboundedReceiver<Command>,
        sources: Sources,
        taken: Option<Taken>,
    ) -> Result<(), UpgradeError> {
        self.run_through(Tcp, commands, sources, taken).await
    }

    /// The same over another network.
    pub(crate) async fn run_through(
        mut self,
        network: impl Network,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut sources: Sources,
        taken: Option<Taken>,
    ) -> Result<(), UpgradeError> {
        self.shared.registry.services.live_on(tokio::runtime::Handle::current());
        self.begin(taken);
        let mut events = None;
        let mut result = Ok(());
        loop {
            self.react();
            if let Some(config) = self.control.take_if(|_| self.handing.may_ask(&self.shared)) {
                events = Some(self.connect(network.clone(), config));
            }
            let wake = self.next_wake();
            // In this order, so that the same events give the same run, which lets a simulation be repeated. Time is looked at in
            // each turn, whatever the turn was about.
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(command) => self.command(command),
                },
                // What comes while nothing may change waits.
                event = next_event(&mut events), if !self.handing.is_frozen() => match event {
                    Some(event) => self.event(event),
                    None => events = None,
                },
                Some(resolved) = sources.resolved.recv() => self.applier.resolved(resolved.cluster, resolved.assignment),
                Some(report) = sources.checked.recv() => {
                    if self.keeper.found(&report, clock::now()) {
                        self.applier.warmed();
                    }
                }
                () = self.shared.registry.learned.notified() => self.keeper.notice(clock::now()),
                () = self.shared.drain.connection_ended.notified(), if self.leaving.is_some() => {}
                Some(step) = sources.steps.recv() => result = self.step(step),
                () = sleep_until(wake) => {}
            }
            result = result.and_then(|()| self.handing.check(clock::now()));
            if result.is_err() || self.tick(clock::now()) {
                break;
            }
        }
        if self.save_at.is_some() && self.handing.has_place() {
            self.save();
        }
        if let Some(saving) = self.saving.take() {
            // The file is whole either way; waiting only makes it the newest.
            drop(saving.await);
        }
        self.applier.sockets.close();
        self.handing.released();
        // Whoever leaves in order has time for a word.
        if let Some(edges) = self.edges.take_if(|_| self.leaving.is_some()) {
            edges.finish().await;
        }
        self.handing.doors.close().await;
        result
    }

    /// With what the process before served, else with what is kept on disk.
    fn load(&mut self, served: Vec<Stored>) {
        let kept = match &self.state_dir {
            Some(directory) if served.is_empty() => persist::load(directory),
            Some(_) | None => served,
        };
        if kept.is_empty() {
            return;
        }
        let count = kept.len();
        let changes = changes(kept.into_iter().map(|stored| (stored.resource_type, offer(stored))));
        self.applier.offer_all(changes, clock::now());
        info!(resources = count, "kept configuration loaded");
    }

    fn connect(&mut self, network: impl Network, mut config: ClientConfig) -> mpsc::Receiver<ClientEvent> {
        // Aborted with the runtime, which ends with this loop, if not before.
        let reporter =
            tokio::spawn(Reporter::new(Arc::clone(&self.shared.registry.leases), config.server.clone()).run());
        self.reporter = Some(reporter);
        let (shared, node) = (Arc::clone(&self.shared), Arc::clone(&config.node.id));
        self.edges = Some(edges::reporter::Handle::start(shared, config.server.clone(), node, self.draw));
        let held = self.applier.stored();
        config.held = held.into_iter().map(|stored| (stored.resource_type, stored.name, stored.version)).collect();
        let (client, events) = connect_through(network, config);
        client.subscribe(ResourceType::Cluster, Subscription::Wildcard);
        client.subscribe(ResourceType::Listener, Subscription::Wildcard);
        self.client = Some(client);
        // What was loaded named them before there was anybody to ask.
        self.subscribe_to(self.applier.subscribed().clone());
        events
    }

    fn subscribe_to(&mut self, names: Names) {
        // Secrets first: what waits for one waits least.
        self.subscribe(ResourceType::Secret, names.secrets);
        self.subscribe(ResourceType::Endpoint, names.endpoints);
        self.subscribe(ResourceType::Route, names.routes);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Apply { changes, reply } => {
                let tickets = self.applier.offer_all(changes, clock::now());
                self.next_caller += 1;
                let caller = Caller { open: tickets.len(), refused: Vec::new(), reply };
                self.callers.insert(self.next_caller, caller);
                for Ticket(ticket) in tickets {
                    self.waiters.insert(ticket, Waiter::Caller(self.next_caller));
                }
            }
            Command::Address { listener, reply } => {
                let active = self.shared.snapshot.load();
                let found = active.listeners.values().find(|active| active.config.name == listener);
                let address = found.and_then(|active| self.applier.sockets.local(&active.key));
                // Whoever asked may have given up.
                reply.send(address).ok();
            }
            Command::Dump { reply } => {
                let resources = self.applier.resources();
                let texts = resources.iter().map(|resource| (resource.resource_type(), resource.to_json()));
                drop(reply.send(texts.collect()));
            }
            Command::Drain(timing) => {
                if self.handing.has_place() {
                    self.handing.doors.tell(State::Stopping);
                }
                self.begin_drain(timing);
            }
            Command::Upgrade(giving) => self.give(giving),
            Command::Stop => {}
        }
    }

    fn event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected => {
                self.shared.registry.control_connected.store(true, Ordering::Relaxed);
                info!("connected to the control plane");
            }
            ClientEvent::Disconnected { reason } => {
                let was = self.shared.registry.control_connected.swap(false, Ordering::Relaxed);
                if was {
                    warn!(reason, "lost the control plane; serving on");
                }
            }
            ClientEvent::Update(update) => self.update(update),
        }
    }

    fn update(&mut self, update: Update) {
        let offered = update.changed.into_iter().map(|received| Offer {
            name: received.name,
            version: received.version,
            value: received.value,
            resource: received.decoded.map(|decoded| decoded.resource).map_err(|error| error.to_string()),
        });
        let change =
            Change { resource_type: update.resource_type, offered: offered.collect(), removed: update.removed };
        let Ticket(ticket) = self.applier.offer(change, clock::now());
        let waiter = Waiter::ControlPlane { resource_type: update.resource_type, nonce: update.nonce };
        self.waiters.insert(ticket, waiter);
    }

    /// Passes on what the applier decided.
    fn react(&mut self) {
        for effect in self.applier.take_effects() {
            match effect {
                Effect::Concluded { ticket: Ticket(ticket), rejected } => self.concluded(ticket, rejected),
                Effect::Subscribe(names) => self.subscribe_to(names),
                Effect::AskAgain { resource_type, name } => {
                    // Whoever is connected later is offered everything.
                    if let Some(client) = &self.client {
                        client.ask_again(resource_type, name);
                    }
                }
                Effect::Published => {
                    let now = clock::nanos_since_start(clock::now());
                    self.shared.registry.leases.follow(&self.shared.snapshot.load(), now);
                    if self.state_dir.is_some() && self.save_at.is_none() {
                        self.save_at = Some(clock::now() + SAVE_AFTER);
                    }
                }
            }
        }
        if self.applier.is_whole() {
            self.shared.registry.ready.store(true, Ordering::Relaxed);
        }
        self.handing.settle(&self.shared);
        self.resolver.keep(self.applier.names_to_resolve());
        if self.applier.take_settled() {
            self.keeper.keep(self.applier.clusters(), clock::now());
        }
        #[cfg(test)]
        if let Some(onlooker) = &mut self.onlooker {
            onlooker(&Seen { applier: &self.applier, waiters: self.waiters.len() });
        }
    }

    fn subscribe(&mut self, resource_type: ResourceType, names: BTreeSet<Arc<str>>) {
        if let Some(client) = &self.client
            && (!names.is_empty() || self.named.contains(&resource_type))
        {
            self.named.insert(resource_type);
            client.subscribe(resource_type, Subscription::Names(names));
        }
    }

    fn concluded(&mut self, ticket: u64, rejected: Vec<(Arc<str>, String)>) {
        match self.waiters.remove(&ticket) {
            Some(Waiter::ControlPlane { resource_type, nonce }) => {
                if let Some(client) = &self.client {
                    client.conclude(resource_type, nonce, rejected);
                }
            }
            Some(Waiter::Caller(caller)) => {
                if let Some(waiting) = self.callers.get_mut(&caller) {
                    waiting.open -= 1;
                    waiting.refused.extend(rejected.into_iter().map(|(name, reason)| Refused { name, reason }));
                    if waiting.open == 0
                        && let Some(done) = self.callers.remove(&caller)
                    {
                        drop(done.reply.send(done.refused));
                    }
                }
            }
            // Loaded from disk: nobody waits.
            None => {}
        }
    }

    /// `true`: the process is done.
    fn tick(&mut self, now: Instant) -> bool {
        if self.applier.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.applier.tick(now);
        }
        if self.keeper.next_deadline().is_some_and(|deadline| deadline <= now) && self.keeper.tick(now) {
            self.applier.warmed();
        }
        if self.save_at.is_some_and(|at| at <= now) && self.may_save() {
            self.save();
        }
        self.leave(now)
    }

    /// One write at a time, and only by the process that has the place.
    fn may_save(&self) -> bool {
        self.handing.has_place() && self.saving.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn next_wake(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.next(self.shared.drain.is_closing()));
        let saving = self.save_at.filter(|_| self.may_save());
        let retry_save = self.save_at.filter(|_| saving.is_none()).map(|_| clock::now() + SAVE_AFTER);
        let (applier, keeper) = (self.applier.next_deadline(), self.keeper.next_deadline());
        [applier, keeper, saving, retry_save, leaving, self.handing.deadline()].into_iter().flatten().min()
    }

    fn save(&mut self) {
        self.save_at = None;
        let Some(directory) = self.state_dir.clone() else { return };
        let stored = self.applier.stored();
        self.saving = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = persist::save(&directory, &persist::encode(stored.iter())) {
                warn!(path = %directory.display(), %error, "configuration cannot be kept on disk");
            }
        }));
    }
}

fn offer(stored: Stored) -> Offer {
    let decoded = Decoded::from_any(stored.resource_type.type_url(), &stored.value);
    Offer {
        resource: decoded.map(|decoded| decoded.resource).map_err(|error| error.to_string()),
        name: stored.name,
        version: stored.version,
        value: stored.value,
    }
}

/// One change for each type, in the order in which types are applied.
pub(crate) fn changes(offers: impl Iterator<Item = (ResourceType, Offer)>) -> Vec<Change> {
    let mut by_type: BTreeMap<ResourceType, Vec<Offer>> = BTreeMap::new();
    for (resource_type, offer) in offers {
        by_type.entry(resource_type).or_default().push(offer);
    }
    let changes = by_type.into_iter();
    changes.map(|(resource_type, offered)| Change { resource_type, offered, removed: Vec::new() }).collect()
}

/// A typed resource on offer, as if it had come over the wire.
pub(crate) fn offer_typed(resource: Resource) -> (ResourceType, Offer) {
    let offer = Offer {
        name: Arc::clone(resource.name()),
        version: resource.version(),
        value: resource.encode_value(),
        resource: Ok(resource.clone()),
    };
    (resource.resource_type(), offer)
}

async fn next_event(events: &mut Option<mpsc::Receiver<ClientEvent>>) -> Option<ClientEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
