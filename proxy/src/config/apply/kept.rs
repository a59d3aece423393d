//! What a restart needs: everything that serves now, in the version that serves.
//!
//! # Why that is not what is wanted
//! The control plane may have taken a cluster away, or given it a form that is not whole yet, while a route still sends to
//! the one before. A file of what is wanted would then hold a route without its cluster, and a proxy that starts from it while
//! the control plane is away would serve less than before. And what nobody names any more must not go from one life to the
//! next: nothing would ever take it away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::{Listener, Resource};

use super::{Applier, Wanted};
use crate::config::persist::Stored;
use crate::config::snapshot::{Snapshot, eds_service, route_names};

/// The EDS services of all clusters, wanted or in use.
pub(super) fn services<'a>(
    wanted: &'a BTreeMap<Arc<str>, Wanted<Cluster>>,
    active: &'a Snapshot,
) -> BTreeSet<&'a Arc<str>> {
    let wanted = wanted.values().map(|wanted| &wanted.config);
    let in_use = active.clusters.values().map(|active| &active.config);
    wanted.chain(in_use).filter_map(|cluster| eds_service(cluster)).collect()
}

/// The route configurations that listeners name, wanted or in use.
pub(super) fn routes<'a>(
    wanted: &'a BTreeMap<Arc<str>, Wanted<Listener>>,
    active: &'a Snapshot,
) -> BTreeSet<&'a Arc<str>> {
    let wanted = wanted.values().map(|wanted| &wanted.config);
    let in_use = active.listeners.values().map(|active| &active.config);
    wanted.chain(in_use).flat_map(|listener| route_names(listener)).collect()
}

impl Applier {
    /// For the disk and for the control plane's question what is held.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        let services = services(&self.desired.clusters, &self.active);
        let assignments = self.desired.assignments.iter().filter(|(name, _)| services.contains(*name));
        let assignments = assignments.map(|(_, wanted)| wanted.stored.clone());
        self.stored_clusters().chain(assignments).chain(self.stored_routes()).chain(self.stored_listeners()).collect()
    }

    fn stored_clusters(&self) -> impl Iterator<Item = Stored> {
        let (wanted, active) = (&self.desired.clusters, &self.active.clusters);
        let in_use = active.iter().map(|(name, active)| match wanted.get(name) {
            Some(wanted) if Arc::ptr_eq(&wanted.config, &active.config) => wanted.stored.clone(),
            Some(_) | None => stored_anew(Resource::Cluster(Arc::clone(&active.config))),
        });
        let others = wanted.iter().filter(|(name, _)| !active.contains_key(*name));
        in_use.chain(others.map(|(_, wanted)| wanted.stored.clone()))
    }

    fn stored_routes(&self) -> impl Iterator<Item = Stored> {
        let named = routes(&self.desired.listeners, &self.active);
        let wanted = self.desired.routes.iter().filter(move |(name, _)| named.contains(*name));
        wanted.filter_map(|(name, wanted)| match self.active.routes.get(name) {
            Some(active) if Arc::ptr_eq(active, &wanted.config) => Some(wanted.stored.clone()),
            Some(active) => Some(stored_anew(Resource::Route(Arc::clone(&active.config)))),
            None => self.unless_held(&wanted.stored),
        })
    }

    /// Also a listener that waits for its routes by name, and so is not held, does not serve yet.
    fn stored_listeners(&self) -> impl Iterator<Item = Stored> {
        self.desired.listeners.iter().filter_map(|(name, wanted)| {
            match self.active.listeners.values().find(|active| active.config.name == *name) {
                Some(active) if Arc::ptr_eq(&active.config, &wanted.config) => Some(wanted.stored.clone()),
                Some(active) => Some(stored_anew(Resource::Listener(Arc::clone(&active.config)))),
                None => self.unless_held(&wanted.stored),
            }
        })
    }

    fn unless_held(&self, stored: &Stored) -> Option<Stored> {
        (!self.is_held(stored.resource_type, &stored.name)).then(|| stored.clone())
    }
}

/// The bytes in which it came may be gone with the wish for it. The version is one of the content, as ours are; a control
/// plane that counts otherwise sends the resource once more.
pub(super) fn stored_anew(resource: Resource) -> Stored {
    Stored {
        resource_type: resource.resource_type(),
        name: Arc::clone(resource.name()),
        version: resource.version(),
        value: resource.encode_value(),
    }
}
