//! What stays as it is because the client refused what should have replaced it.
//!
//! # Why this is not the gate's clock
//! The gate gives up on a client that is slow. A client that has refused something is not slow: more time changes
//! nothing, and going on without the refused part turns a rejected change into an outage. What hangs on a refusal
//! therefore waits until the content changes, however long that takes, and is not counted as outstanding.
//!
//! # How far a refusal reaches
//! A refused cluster holds back the routes and listeners that would send to it. A route that stays as it is, refused
//! itself or held back, keeps the clusters that its old content names, and those keep their endpoints. A listener that
//! stays keeps its routes in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::gate::Gate;
use super::set::{EncodedResource, ResourceSet};
use super::watch::{Due, Watch};
use crate::name::ResourceType;

/// Names of one type that must not go.
#[derive(Debug, Default)]
struct Kept {
    names: BTreeSet<Arc<str>>,
    /// Something stays whose content is not known here: it may name anything.
    all: bool,
}

impl Kept {
    fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

/// What the stream keeps because of refusals. Empty, and cheap, on a stream that has refused nothing.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    routes: Kept,
    clusters: Kept,
    endpoints: Kept,
    /// A new listener is held back, so those that it replaces stay.
    listeners: bool,
}

impl Refusals {
    pub(super) fn of(watches: &BTreeMap<ResourceType, Watch>, set: &ResourceSet) -> Self {
        let mut this = Self::default();
        if !watches.values().any(Watch::has_refusals) {
            return this;
        }
        let gate = Gate { watches, set };
        // From those that name others to those that are named, so that each step knows what the one before keeps.
        if let Some(listeners) = watches.get(&ResourceType::Listener) {
            let held_back = |r: &Arc<EncodedResource>| listeners.wants(r) && is_held_back(listeners, r, &gate);
            this.listeners = set.iter(ResourceType::Listener).any(held_back);
        }
        for by in [ResourceType::Listener, ResourceType::Route, ResourceType::Cluster] {
            let Some(watch) = watches.get(&by) else { continue };
            for (name, held) in &watch.held {
                let stays = match set.get(by, name).filter(|r| watch.wants(r)) {
                    Some(current) if watch.has(current) => false,
                    Some(current) => watch.has_rejected(current) || is_held_back(watch, current, &gate),
                    None => this.keeps(by, name),
                };
                if stays {
                    this.keep_named_by(by, held.content());
                }
            }
        }
        this
    }

    /// Whether the client still needs `name`, which is to be removed, until something that it refused is replaced.
    pub(super) fn keeps(&self, resource_type: ResourceType, name: &str) -> bool {
        match resource_type {
            ResourceType::Secret => false,
            ResourceType::Listener => self.listeners,
            ResourceType::Route => self.routes.contains(name),
            ResourceType::Cluster => self.clusters.contains(name),
            ResourceType::Endpoint => self.endpoints.contains(name),
        }
    }

    fn keep_named_by(&mut self, by: ResourceType, content: Option<&Arc<EncodedResource>>) {
        match content {
            Some(resource) => {
                self.routes.names.extend(resource.routes.iter().cloned());
                self.clusters.names.extend(resource.clusters.iter().cloned());
                self.endpoints.names.extend(resource.eds_name.clone());
            }
            None => {
                self.routes.all |= by == ResourceType::Listener;
                self.clusters.all |= matches!(by, ResourceType::Listener | ResourceType::Route);
                self.endpoints.all |= by == ResourceType::Cluster;
            }
        }
    }
}

/// Whether a change is not sent because it names something that was refused. First answers are sent all the same.
fn is_held_back(watch: &Watch, resource: &EncodedResource, gate: &Gate<'_>) -> bool {
    watch.due.get(&resource.name) == Some(&Due::Changed) && gate.is_blocked_by_refusal(resource)
}
