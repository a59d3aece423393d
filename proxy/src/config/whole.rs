//! What "complete before visible" means, said a second time.
//!
//! The assembler keeps the promise; this module asks, without knowing how it does, whether a snapshot that became visible
//! is one in which every request can find its way. Used by the simulation and by the fuzz targets only.

use std::sync::Arc;

#[cfg(feature = "fuzzing")]
use tidegate_xds::name::ResourceType;
#[cfg(feature = "fuzzing")]
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::listener::RouteSource;

use super::snapshot::{
    ActiveChain, ActiveCluster, ActiveListener, ChainKind, Snapshot, chains, eds_service, route_names,
};

/// Everything that a request could miss; empty for a snapshot that is whole.
pub(crate) fn missing(snapshot: &Snapshot) -> Vec<String> {
    let mut missing = Vec::new();
    for listener in snapshot.listeners.values() {
        for name in route_names(&listener.config).filter(|name| !snapshot.routes.contains_key(*name)) {
            missing.push(format!("listener {:?} without its route configuration {name:?}", listener.config.name));
        }
        if chains(&listener.config).count() != all_chains(listener).count() {
            missing.push(format!("listener {:?} without some of its chains", listener.config.name));
        }
        for chain in all_chains(listener) {
            chain_misses(snapshot, &listener.config.name, chain, &mut missing);
        }
    }
    for (name, routes) in &snapshot.routes {
        for cluster in routes.table.clusters().filter(|cluster| snapshot.cluster(cluster).is_none()) {
            missing.push(format!("route configuration {name:?} without its cluster {cluster:?}"));
        }
    }
    for cluster in snapshot.clusters.values() {
        cluster_misses(cluster, &mut missing);
    }
    missing
}

fn all_chains(listener: &ActiveListener) -> impl Iterator<Item = &ActiveChain> {
    listener.chains.iter().chain(&listener.default_chain)
}

fn chain_misses(snapshot: &Snapshot, listener: &str, chain: &ActiveChain, missing: &mut Vec<String>) {
    let mut cluster = |name: &Arc<str>| {
        if snapshot.cluster(name).is_none() {
            missing.push(format!("listener {listener:?} without its cluster {name:?}"));
        }
    };
    match &chain.kind {
        ChainKind::Tcp(proxy) => proxy.clusters.iter().for_each(|(name, _)| cluster(name)),
        ChainKind::Http(http) => {
            http.routes.table.clusters().for_each(&mut cluster);
            if let RouteSource::Rds(name) = &http.manager.routes
                && !snapshot.routes.get(name).is_some_and(|routes| Arc::ptr_eq(routes, &http.routes))
            {
                missing.push(format!("listener {listener:?} with another version of {name:?} than is visible"));
            }
        }
    }
}

fn cluster_misses(cluster: &ActiveCluster, missing: &mut Vec<String>) {
    let name = &cluster.config.name;
    if eds_service(&cluster.config).is_some() && cluster.assignment.is_none() {
        missing.push(format!("cluster {name:?} without its endpoint assignment"));
    }
    if cluster.states.len() != cluster.endpoints.endpoints().len() || cluster.live.load().len() != cluster.states.len()
    {
        missing.push(format!("cluster {name:?} does not know all of its endpoints"));
    }
}

/// The listeners that a caller can reach, for the question whether one was lost.
pub(crate) fn reachable(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<str>> {
    snapshot.listeners.values().map(|listener| &listener.config.name)
}

/// The resource of this type and name as requests see it.
#[cfg(feature = "fuzzing")]
pub(crate) fn visible(snapshot: &Snapshot, resource_type: ResourceType, name: &str) -> Option<Resource> {
    match resource_type {
        ResourceType::Cluster => {
            let cluster = snapshot.cluster(name)?;
            Some(Resource::Cluster(Arc::clone(&cluster.config)))
        }
        ResourceType::Endpoint => {
            let named = |cluster: &&Arc<ActiveCluster>| eds_service(&cluster.config).is_some_and(|eds| **eds == *name);
            let assignment = snapshot.clusters.values().find(named)?.assignment.as_ref()?;
            Some(Resource::Endpoint(Arc::clone(assignment)))
        }
        ResourceType::Listener => {
            let listener = snapshot.listeners.values().find(|listener| *listener.config.name == *name)?;
            Some(Resource::Listener(Arc::clone(&listener.config)))
        }
        ResourceType::Route => Some(Resource::Route(Arc::clone(&snapshot.routes.get(name)?.config))),
        ResourceType::Secret => None,
    }
}
