//! Decides what may become visible: complete before visible.
//!
//! # The rule
//! Resources arrive one by one and out of order. A request must never meet half of a change, so what arrives is *wanted*
//! first and becomes *active* when everything it names is there: a cluster with its endpoints, a route with its clusters, a
//! listener with its routes. Until then the version before stays active. What cannot become whole within
//! [`HOLD`] is refused with the reason, and asked for again when it lacks nothing ([`given_up`]).
//!
//! # Refused alone
//! Each resource of a push is judged by itself: a bad one is named with its field path, the good ones apply.
//!
//! # Kept though removed
//! A cluster that an active route still names stays until no route does, whatever order the control plane chose.

mod assemble;
mod change;
mod encryption;
mod given_up;
mod kept;
mod naming;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_traffic::{Chain, RouteTable, Scope};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::cluster::{Cluster, Discovery};
use tidegate_xds::resource::endpoint::ClusterLoadAssignment;
use tidegate_xds::resource::listener::{ListenerKind, RouteSource};
use tidegate_xds::resource::{Listener, Resource};
use tokio::time::Instant;
use tracing::{info, warn};

pub(crate) use self::change::{Change, Effect, Names, Offer, Ticket};
use self::given_up::GivenUp;
use super::persist::Stored;
use super::snapshot::{ActiveCluster, ActiveRoutes, Snapshot, key, managers};
use crate::listener::sockets::Sockets;
use crate::tls::material::Keyring;
use crate::worker::{Order, Shared};

/// How long a route may wait for its clusters, and a cluster for its endpoints: as long as xDS clients wait before they
/// take a resource for non-existent.
pub(crate) const HOLD: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct Wanted<T> {
    config: Arc<T>,
    stored: Stored,
}

/// What the control plane wants, by type.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    clusters: BTreeMap<Arc<str>, Wanted<Cluster>>,
    assignments: BTreeMap<Arc<str>, Wanted<ClusterLoadAssignment>>,
    listeners: BTreeMap<Arc<str>, Wanted<Listener>>,
    routes: BTreeMap<Arc<str>, Wanted<ActiveRoutes>>,
    /// Compiled inline routes of wanted listeners, by the listener's and the configuration's identity.
    inline: BTreeMap<Arc<str>, Vec<Arc<ActiveRoutes>>>,
    /// Clusters that are whole but for their first health checks.
    warming: BTreeMap<Arc<str>, Arc<ActiveCluster>>,
    /// Addresses of clusters that are resolved by name.
    resolved: BTreeMap<Arc<str>, Arc<ClusterLoadAssignment>>,
    /// Certificates, keys and roots.
    keyring: Keyring,
}

/// A change that waits for what it names.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    resource_type: ResourceType,
    waiting: BTreeSet<Arc<str>>,
    rejected: Vec<(Arc<str>, String)>,
    deadline: Instant,
}

/// The owner of the configuration. Lives on the control thread.
#[derive(Debug)]
pub(crate) struct Applier {
    shared: Arc<Shared>,
    pub(crate) sockets: Sockets,
    desired: Desired,
    active: Arc<Snapshot>,
    pending: Vec<Pending>,
    given_up: GivenUp,
    effects: Vec<Effect>,
    subscribed: Names,
    /// When files with certificates are read again.
    look_at: Option<Instant>,
    next_ticket: u64,
    draw: u64,
    /// Listeners have been named, be it that there are none.
    listeners_known: bool,
    /// The clusters may have changed since [`Self::take_settled`] was last asked.
    settled: bool,
}

impl Applier {
    /// `draw` is where round robins begin.
    pub(crate) fn new(shared: Arc<Shared>, draw: u64) -> Self {
        let active = shared.snapshot.load_full();
        Self {
            shared,
            sockets: Sockets::default(),
            desired: Desired::default(),
            active,
            pending: Vec::new(),
            given_up: GivenUp::default(),
            effects: Vec::new(),
            subscribed: Names::default(),
            look_at: None,
            next_ticket: 0,
            draw,
            listeners_known: false,
            settled: false,
        }
    }

    /// Whether every listener that is wanted is active.
    pub(crate) fn is_whole(&self) -> bool {
        self.listeners_known
            && self
                .desired
                .listeners
                .keys()
                .all(|name| self.active.listeners.values().any(|active| active.config.name == *name))
    }

    /// Takes one change in and makes visible what is whole.
    pub(crate) fn offer(&mut self, change: Change, now: Instant) -> Ticket {
        let ticket = self.accept(change, now);
        self.settle();
        ticket
    }

    /// Takes several changes in before anything becomes visible: what was kept on disk, or a test's whole configuration.
    pub(crate) fn offer_all(&mut self, changes: impl IntoIterator<Item = Change>, now: Instant) -> Vec<Ticket> {
        let tickets = changes.into_iter().map(|change| self.accept(change, now)).collect();
        self.settle();
        tickets
    }

    /// The addresses that a name resolved to.
    pub(crate) fn resolved(&mut self, cluster: Arc<str>, assignment: ClusterLoadAssignment) {
        let known = self.desired.resolved.get(&cluster);
        if known.is_none_or(|known| **known != assignment) {
            self.desired.resolved.insert(cluster, Arc::new(assignment));
            self.settle();
        }
    }

    /// A cluster's first health checks have ended.
    pub(crate) fn warmed(&mut self) {
        self.settle();
    }

    /// Whether there may be other clusters than when it was last asked.
    pub(crate) fn take_settled(&mut self) -> bool {
        std::mem::take(&mut self.settled)
    }

    /// Clusters whose endpoints are to be looked after: those in use, and those that are about to be.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<ActiveCluster>> {
        let about_to = &self.desired.warming;
        let in_use = self.active.clusters.iter().filter(|(name, _)| !about_to.contains_key(*name));
        in_use.map(|(_, cluster)| cluster).chain(about_to.values())
    }

    /// What happened since it was last asked.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What is asked for by name.
    pub(crate) fn subscribed(&self) -> &Names {
        &self.subscribed
    }

    /// When [`Self::tick`] wants to be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.deadline).chain(self.look_at).min()
    }

    /// Refuses what has waited too long.
    pub(crate) fn tick(&mut self, now: Instant) {
        let expired: Vec<_> = self.pending.extract_if(.., |pending| pending.deadline <= now).collect();
        for pending in expired {
            self.give_up(pending);
        }
        self.look_at_files(now);
        self.settle();
    }

    #[cfg(test)]
    pub(super) fn active(&self) -> &Arc<Snapshot> {
        &self.active
    }

    /// Changes that wait for what they name.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Names that must be resolved, by cluster.
    pub(crate) fn names_to_resolve(&self) -> Vec<(Arc<str>, Arc<Cluster>)> {
        let by_name = self
            .desired
            .clusters
            .iter()
            .filter(|(_, wanted)| matches!(wanted.config.discovery, Discovery::StrictDns { .. }));
        by_name.map(|(name, wanted)| (Arc::clone(name), Arc::clone(&wanted.config))).collect()
    }

    /// Every resource that is wanted, for `/config_dump`.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let desired = &self.desired;
        let clusters = desired.clusters.values().map(|w| Resource::Cluster(Arc::clone(&w.config)));
        let assignments = desired.assignments.values().map(|w| Resource::Endpoint(Arc::clone(&w.config)));
        let routes = desired.routes.values().map(|w| Resource::Route(Arc::clone(&w.config.config)));
        let listeners = desired.listeners.values().map(|w| Resource::Listener(Arc::clone(&w.config)));
        clusters.chain(assignments).chain(routes).chain(listeners).collect()
    }

    fn accept(&mut self, change: Change, now: Instant) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let mut waiting = BTreeSet::new();
        let mut rejected = Vec::new();
        self.listeners_known |= change.resource_type == ResourceType::Listener;
        for name in &change.removed {
            self.given_up.forget(change.resource_type, name);
            self.remove(change.resource_type, name);
        }
        for offer in change.offered {
            let name = Arc::clone(&offer.name);
            self.given_up.forget(change.resource_type, &name);
            let judged = match offer.resource {
                Ok(resource) => {
                    let stored = Stored {
                        resource_type: change.resource_type,
                        name: Arc::clone(&name),
                        version: offer.version,
                        value: offer.value,
                    };
                    self.want(resource, stored)
                }
                Err(reason) => Err(reason),
            };
            match judged {
                Ok(()) => drop(waiting.insert(name)),
                Err(reason) => {
                    warn!(r#type = %change.resource_type, name = %name, reason, "resource refused");
                    rejected.push((name, reason));
                }
            }
        }
        let deadline = now + HOLD;
        let resource_type = change.resource_type;
        self.count_rejected(resource_type, rejected.len());
        self.pending.push(Pending { ticket, resource_type, waiting, rejected, deadline });
        ticket
    }

    fn count_rejected(&self, resource_type: ResourceType, count: usize) {
        if let Some(index) = ResourceType::ALL.iter().position(|known| *known == resource_type) {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.shared.registry.config_rejected[index].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Checks a resource by itself.
    fn want(&mut self, resource: Resource, stored: Stored) -> Result<(), String> {
        match resource {
            Resource::Cluster(config) => {
                check_cluster(&config)?;
                self.check_encryption(&config)?;
                self.desired.clusters.insert(Arc::clone(&config.name), Wanted { config, stored });
            }
            Resource::Endpoint(config) => {
                self.desired.assignments.insert(Arc::clone(&config.cluster_name), Wanted { config, stored });
            }
            Resource::Route(config) => {
                let table = RouteTable::compile_in(&config, &self.shared.registry.limiters)
                    .map_err(|error| error.to_string())?;
                let name = Arc::clone(&config.name);
                let config = Arc::new(ActiveRoutes { config, table });
                self.desired.routes.insert(name, Wanted { config, stored });
            }
            Resource::Listener(config) => self.want_listener(config, stored)?,
            Resource::Secret(secret) => self.desired.keyring.accept(&secret)?,
        }
        Ok(())
    }

    fn want_listener(&mut self, config: Arc<Listener>, stored: Stored) -> Result<(), String> {
        let name = Arc::clone(&config.name);
        let ListenerKind::Socket(socket) = &config.kind else {
            // Read by gRPC clients only. Not refused: it is right, and nothing for us to do.
            return Ok(());
        };
        if !socket.bind_to_port {
            return Err("bind_to_port: listeners without a socket are not supported yet".to_owned());
        }
        if socket.use_original_dst {
            return Err("use_original_dst: redirected connections are not supported yet".to_owned());
        }
        let key = key(&name, socket.address);
        let same = |other: &Wanted<Listener>| match &other.config.kind {
            ListenerKind::Socket(other_socket) => super::snapshot::key(&other.config.name, other_socket.address) == key,
            ListenerKind::Api(_) => false,
        };
        if let Some((other, _)) = self.desired.listeners.iter().find(|(other, wanted)| **other != name && same(wanted))
        {
            return Err(format!("address: {} is taken by listener {other:?}", socket.address));
        }
        let mut inline = Vec::new();
        for (index, manager) in managers(&config).enumerate() {
            let scope = Scope::new(&self.shared.registry.limiters, assemble::filter_place(&name, index));
            Chain::compile(&manager.http_filters, &scope).map_err(|error| error.to_string())?;
            if let RouteSource::Inline(routes) = &manager.routes {
                let table = RouteTable::compile_in(routes, &self.shared.registry.limiters);
                let table = table.map_err(|error| format!("route_config: {error}"))?;
                inline.push(Arc::new(ActiveRoutes { config: Arc::clone(routes), table }));
            }
        }
        self.check_terminations(&config)?;
        self.sockets
            .bind(&key, socket.address)
            .map_err(|error| format!("address: cannot listen on {}: {error}", socket.address))?;
        self.desired.inline.insert(Arc::clone(&name), inline);
        self.desired.listeners.insert(name, Wanted { config, stored });
        Ok(())
    }

    fn is_held(&self, resource_type: ResourceType, name: &Arc<str>) -> bool {
        self.pending.iter().any(|held| held.resource_type == resource_type && held.waiting.contains(name))
    }

    fn remove(&mut self, resource_type: ResourceType, name: &Arc<str>) {
        match resource_type {
            ResourceType::Cluster => {
                self.desired.clusters.remove(name);
                self.desired.resolved.remove(name);
            }
            // The addresses of a cluster in use are worth more than the news that there are none: they stay until the
            // cluster goes or a new assignment comes.
            ResourceType::Endpoint => {}
            ResourceType::Listener => {
                self.desired.listeners.remove(name);
                self.desired.inline.remove(name);
            }
            // A route goes with the last listener that names it.
            ResourceType::Route | ResourceType::Secret => {}
        }
    }

    /// Makes visible what is whole, and concludes what has nothing left to wait for.
    fn settle(&mut self) {
        self.settled = true;
        let assembled = assemble::assemble(&mut self.desired, &self.active, &self.shared.registry, self.draw);
        if assemble::differs(&assembled, &self.active) {
            self.publish(assembled);
        }
        self.forget_unnamed();
        self.plan_to_look();
        // Before anything is concluded: the control plane must know what is still wanted before it takes a change for done.
        self.subscribe();
        self.conclude();
        self.ask_again();
    }

    fn publish(&mut self, mut snapshot: Snapshot) {
        snapshot.generation = self.active.generation + 1;
        let snapshot = Arc::new(snapshot);
        self.active = Arc::clone(&snapshot);
        let desired = &self.desired;
        // Before anybody can see the snapshot: a worker lets connections go that are to be let go when it first sees it, and
        // what is said later it does not hear.
        self.shared.registry.keep(
            |cluster| snapshot.clusters.contains_key(cluster) || desired.warming.contains_key(cluster),
            |listener| snapshot.listeners.values().any(|active| *active.config.name == *listener),
        );
        self.shared.snapshot.store(Arc::clone(&snapshot));
        let wanted = |key_wanted: &str| {
            desired.listeners.values().any(|w| match &w.config.kind {
                ListenerKind::Socket(socket) => *key(&w.config.name, socket.address) == *key_wanted,
                ListenerKind::Api(_) => false,
            })
        };
        self.sockets.reconcile(&snapshot, wanted, &self.shared);
        self.shared.tell_all(|| Order::Refresh);
        self.shared.registry.config_applied.fetch_add(1, Ordering::Relaxed);
        info!(
            generation = snapshot.generation,
            listeners = snapshot.listeners.len(),
            clusters = snapshot.clusters.len(),
            "configuration applied"
        );
        self.effects.push(Effect::Published);
    }

    fn conclude(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for change in &mut pending {
            change.waiting.retain(|name| assemble::missing(&self.desired, &self.active, change.resource_type, name));
        }
        pending.retain_mut(|change| {
            if change.waiting.is_empty() {
                let rejected = std::mem::take(&mut change.rejected);
                self.effects.push(Effect::Concluded { ticket: change.ticket, rejected });
            }
            !change.waiting.is_empty()
        });
        self.pending = pending;
    }

    fn give_up(&mut self, pending: Pending) {
        let mut rejected = pending.rejected;
        for name in pending.waiting {
            let reason = assemble::reason(&self.desired, pending.resource_type, &name);
            warn!(r#type = %pending.resource_type, name = %name, reason, "resource refused");
            self.remember(pending.resource_type, &name);
            self.revert(pending.resource_type, &name);
            rejected.push((name, reason));
            self.count_rejected(pending.resource_type, 1);
        }
        self.effects.push(Effect::Concluded { ticket: pending.ticket, rejected });
    }

    /// The active version is the wanted one again.
    fn revert(&mut self, resource_type: ResourceType, name: &Arc<str>) {
        match resource_type {
            ResourceType::Route => match self.active.routes.get(name) {
                Some(active) => {
                    if let Some(wanted) = self.desired.routes.get_mut(name) {
                        wanted.config = Arc::clone(active);
                        wanted.stored = kept::stored_anew(Resource::Route(Arc::clone(&active.config)));
                    }
                }
                None => drop(self.desired.routes.remove(name)),
            },
            ResourceType::Listener => match self.active.listeners.values().find(|active| active.config.name == *name) {
                Some(active) => {
                    if let Some(wanted) = self.desired.listeners.get_mut(name) {
                        wanted.config = Arc::clone(&active.config);
                        wanted.stored = kept::stored_anew(Resource::Listener(Arc::clone(&active.config)));
                    }
                    self.desired.inline.insert(Arc::clone(name), assemble::inline_routes(active));
                }
                None => {
                    self.desired.listeners.remove(name);
                    self.desired.inline.remove(name);
                }
            },
            // These never wait.
            ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => {}
        }
    }
}

fn check_cluster(cluster: &Cluster) -> Result<(), String> {
    match &cluster.discovery {
        Discovery::Eds { .. } | Discovery::Static(_) | Discovery::StrictDns { .. } => Ok(()),
        Discovery::OriginalDestination => Err("type: ORIGINAL_DST is not supported yet".to_owned()),
    }
}

#[cfg(test)]
mod tests;
