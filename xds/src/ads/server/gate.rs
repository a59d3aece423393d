//! Make before break: may this go out yet?
//!
//! # The order
//! Clusters, their endpoints, listeners, routes; and what is no longer needed goes last. A route that arrives before
//! its cluster, or a cluster that leaves before its route, is a black hole for requests. So a *change* of a route or
//! listener waits until this stream has acknowledged the clusters it names (and their endpoints), and a removal waits
//! until nothing that the stream holds names the removed resource.
//!
//! # Why a new subscription does not wait
//! Envoy acknowledges a response with new clusters only when their endpoints have arrived. Holding the endpoints back
//! until the acknowledgement is a deadlock that only a timeout ends. What is newly asked for is therefore answered at
//! once; it waits only for clusters that are not even on their way, and those never wait for anything but the client.
//!
//! # What the gate does not ask
//! Clusters that the stream does not subscribe to, and clusters that do not exist. A gRPC client asks for clusters after
//! it has seen the route; gating its routes on them would never end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::set::{EncodedResource, ResourceSet};
use super::watch::{Held, Watch};
use crate::name::ResourceType;

/// The watches of the other types and the set that is being delivered.
pub(super) struct Gate<'a> {
    pub(super) watches: &'a BTreeMap<ResourceType, Watch>,
    pub(super) set: &'a ResourceSet,
}

/// What the stream's other resources name.
#[derive(Default)]
pub(super) struct References<'a> {
    names: BTreeSet<&'a str>,
    /// The stream holds resources whose content is not known here: they may name anything.
    unknown: bool,
    /// The stream has not yet shown what it holds of the types that could name this one.
    unseen: bool,
}

impl References<'_> {
    /// Whether `name`, of which the stream has `held`, may still be in use.
    pub(super) fn may_use(&self, name: &str, held: &Held) -> bool {
        // Only what was brought from an earlier stream can be named by something that this stream has not shown.
        self.unknown || self.names.contains(name) || (self.unseen && matches!(held, Held::Version(_)))
    }
}

impl<'a> Gate<'a> {
    /// Whether all that a changed route or listener sends to is in place.
    pub(super) fn is_ready(&self, resource: &EncodedResource) -> bool {
        self.all_clusters(resource, |name| self.cluster_is_ready(name))
    }

    /// Whether all that a newly subscribed route or listener sends to is at least on its way.
    pub(super) fn is_announced(&self, resource: &EncodedResource) -> bool {
        self.all_clusters(resource, |name| self.cluster_is_announced(name))
    }

    /// Whether what a changed route or listener sends to is not in place because the client refused it.
    pub(super) fn is_blocked_by_refusal(&self, resource: &EncodedResource) -> bool {
        !self.all_clusters(resource, |name| !self.cluster_is_refused(name))
    }

    fn all_clusters(&self, resource: &EncodedResource, holds: impl Fn(&str) -> bool) -> bool {
        let own = resource.clusters.iter();
        let through_routes =
            resource.routes.iter().filter_map(|name| self.set.get(ResourceType::Route, name)).flat_map(|r| &r.clusters);
        own.chain(through_routes).all(|name| holds(name))
    }

    /// Whether the client has no version of the cluster, or of its endpoints, and refused the one there is.
    fn cluster_is_refused(&self, name: &str) -> bool {
        let Some((watch, cluster)) = self.watched_cluster(name) else { return false };
        let Some(held) = watch.held.get(name) else { return watch.has_rejected(cluster) };
        let Some(assignment) = &held.content().unwrap_or(cluster).eds_name else { return false };
        let Some(endpoints) = self.watches.get(&ResourceType::Endpoint) else { return false };
        let current = self.set.get(ResourceType::Endpoint, assignment);
        !endpoints.held.contains_key(assignment)
            && current.is_some_and(|current| endpoints.wants(current) && endpoints.has_rejected(current))
    }

    fn cluster_is_ready(&self, name: &str) -> bool {
        let Some((watch, cluster)) = self.watched_cluster(name) else { return true };
        let Some(held) = watch.held.get(name) else { return false };
        if watch.in_flight.as_ref().is_some_and(|flight| flight.removes(name)) {
            return false;
        }
        let Some(assignment) = &held.content().unwrap_or(cluster).eds_name else { return true };
        let Some(endpoints) = self.watches.get(&ResourceType::Endpoint) else { return true };
        self.set.get(ResourceType::Endpoint, assignment).is_none() || endpoints.held.contains_key(assignment)
    }

    fn cluster_is_announced(&self, name: &str) -> bool {
        let Some((watch, cluster)) = self.watched_cluster(name) else { return true };
        match &watch.in_flight {
            Some(flight) if flight.removes(name) => false,
            Some(flight) if flight.carries(name) => true,
            _ => watch.held.contains_key(name) || watch.has_rejected(cluster),
        }
    }

    /// The cluster, if it exists and the stream subscribes to it.
    fn watched_cluster(&self, name: &str) -> Option<(&'a Watch, &'a Arc<EncodedResource>)> {
        let watch = self.watches.get(&ResourceType::Cluster)?;
        let cluster = self.set.get(ResourceType::Cluster, name)?;
        watch.wants(cluster).then_some((watch, cluster))
    }

    /// What may still name resources of this type.
    pub(super) fn references(&self, resource_type: ResourceType) -> References<'a> {
        let mut references = References::default();
        match resource_type {
            ResourceType::Cluster => {
                references.unseen = self.routes_are_unseen();
                for by in [ResourceType::Listener, ResourceType::Route] {
                    self.add(by, &mut references, |r, names| names.extend(r.clusters.iter().map(|n| &**n)));
                }
            }
            ResourceType::Endpoint => {
                self.add(ResourceType::Cluster, &mut references, |r, names| names.extend(r.eds_name.as_deref()));
            }
            ResourceType::Route => {
                self.add(ResourceType::Listener, &mut references, |r, names| {
                    names.extend(r.routes.iter().map(|n| &**n))
                });
            }
            ResourceType::Secret => {
                for by in [ResourceType::Cluster, ResourceType::Listener] {
                    self.add(by, &mut references, |r, names| names.extend(r.secrets.iter().map(|n| &**n)));
                }
            }
            ResourceType::Listener => {}
        }
        references
    }

    /// Clients subscribe to clusters first, so on a new stream their listeners and routes show themselves a moment
    /// later. Who has no listener with routes of its own never asks for any.
    fn routes_are_unseen(&self) -> bool {
        let Some(listeners) = self.watches.get(&ResourceType::Listener) else { return true };
        let held = listeners.held.values().filter_map(Held::content);
        let coming = listeners.in_flight.iter().flat_map(|flight| &flight.resources);
        !self.watches.contains_key(&ResourceType::Route) && held.chain(coming).any(|r| !r.routes.is_empty())
    }

    fn add(
        &self,
        by: ResourceType,
        references: &mut References<'a>,
        names_of: impl Fn(&'a EncodedResource, &mut BTreeSet<&'a str>),
    ) {
        let Some(watch) = self.watches.get(&by) else { return };
        for held in watch.held.values() {
            match held {
                Held::Content(resource) => names_of(resource, &mut references.names),
                Held::Version(_) => references.unknown = true,
            }
        }
        for resource in watch.in_flight.iter().flat_map(|flight| &flight.resources) {
            names_of(resource, &mut references.names);
        }
    }
}
