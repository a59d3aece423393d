//! Looks at a proxy after each turn of its loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;

use super::publisher::{Notebook, key, lock};
use super::world::{ALWAYS, Key};
use crate::config::persist::Stored;
use crate::config::snapshot::Snapshot;
use crate::config::watch::Onlooker;
use crate::config::whole;

/// Updates that one stream may leave unanswered: one of each type.
const WAITERS: usize = ResourceType::ALL.len();
/// Changes that wait for what they name: those, and what was read from disk.
const WAITING: usize = 2 * ResourceType::ALL.len();

/// What was seen of a proxy.
#[derive(Default)]
pub(super) struct Observed {
    /// What is visible now, by the generation that published it first.
    pub(super) visible: BTreeMap<Key, u64>,
    /// The newest that ever was, over all lives.
    pub(super) applied: BTreeMap<Key, u64>,
    /// What is on disk when a life begins.
    pub(super) kept: Vec<Stored>,
    pub(super) turns: u64,
}

/// The onlooker of one life.
pub(super) fn onlooker(notebook: &Arc<Mutex<Notebook>>, node: &Arc<str>) -> Onlooker {
    let (notebook, node) = (Arc::clone(notebook), Arc::clone(node));
    let mut last: Option<Arc<Snapshot>> = None;
    let mut newest: BTreeMap<Key, u64> = BTreeMap::new();
    Box::new(move |seen| {
        let notebook = &mut *lock(&notebook);
        let (waiters, waiting) = (seen.waiters, seen.applier.waiting());
        if waiters > WAITERS || waiting > WAITING {
            notebook.find(format!("{node}: {waiters} updates unanswered, {waiting} changes waiting"));
        }
        notebook.proxies.entry(Arc::clone(&node)).or_default().turns += 1;
        let snapshot = seen.applier.active();
        if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, snapshot)) {
            return;
        }
        for missing in whole::missing(snapshot) {
            notebook.find(format!("{node}: {missing}"));
        }
        let visible = generations(notebook, &node, snapshot);
        match &last {
            None => begin(notebook, &node, snapshot),
            Some(last) => {
                if snapshot.generation <= last.generation {
                    notebook.find(format!("{node}: generation {} came after {}", snapshot.generation, last.generation));
                }
                if is_reachable(last) && !is_reachable(snapshot) {
                    notebook.find(format!("{node} lost its listener"));
                }
            }
        }
        for (key, generation) in &visible {
            let before = newest.insert(key.clone(), *generation);
            if before.is_some_and(|before| before > *generation) {
                notebook.find(format!("{node}: {key:?} went from {before:?} back to {generation}"));
            }
        }
        let observed = notebook.proxies.entry(Arc::clone(&node)).or_default();
        for (key, generation) in &visible {
            let applied = observed.applied.entry(key.clone()).or_default();
            *applied = (*applied).max(*generation);
        }
        observed.visible = visible;
        notebook.tell(format!("{node}: snapshot {} is visible", snapshot.generation));
        last = Some(Arc::clone(snapshot));
    })
}

fn is_reachable(snapshot: &Snapshot) -> bool {
    whole::reachable(snapshot).any(|name| **name == *ALWAYS)
}

/// What is visible, each with the generation that published it first. What nobody published is found.
fn generations(notebook: &mut Notebook, node: &str, snapshot: &Snapshot) -> BTreeMap<Key, u64> {
    let clusters = snapshot.clusters.values();
    let assignments = clusters.clone().filter_map(|cluster| cluster.assignment.clone());
    let visible = clusters
        .map(|cluster| Resource::Cluster(Arc::clone(&cluster.config)))
        .chain(assignments.map(Resource::Endpoint))
        .chain(snapshot.routes.values().map(|routes| Resource::Route(Arc::clone(&routes.config))))
        .chain(snapshot.listeners.values().map(|listener| Resource::Listener(Arc::clone(&listener.config))));
    let mut generations = BTreeMap::new();
    for resource in visible {
        let key = key(&resource);
        match notebook.published(&key, &resource.version()) {
            Some(generation) => drop(generations.insert(key, generation)),
            None => notebook.find(format!("{node}: {key:?} was never published like this")),
        }
    }
    generations
}

/// The first turn of a life: the file is applied whole or not at all, and what served when it was written serves.
fn begin(notebook: &mut Notebook, node: &Arc<str>, snapshot: &Snapshot) {
    let kept = notebook.proxies.get(node).map(|observed| observed.kept.clone()).unwrap_or_default();
    let has = |resource_type, name: &str| {
        kept.iter().any(|stored| stored.resource_type == resource_type && *stored.name == *name)
    };
    for name in whole::reachable(snapshot).filter(|name| !has(ResourceType::Listener, name)) {
        notebook.find(format!("{node}: listener {name} is not from the file"));
    }
    for name in snapshot.clusters.keys().filter(|name| !has(ResourceType::Cluster, name)) {
        notebook.find(format!("{node}: cluster {name} is not from the file"));
    }
    let served = has(ResourceType::Listener, ALWAYS) && has(ResourceType::Route, ALWAYS);
    if served && !is_reachable(snapshot) {
        let kept: Vec<String> = kept.iter().map(|kept| format!("{} {}", kept.resource_type, kept.name)).collect();
        notebook.find(format!("{node} does not serve what it has on disk: {kept:?}"));
    }
}
