//! The resources that a stream is to have: encoded once, shared by all streams, compared by pointer.
//!
//! # Why the set knows what changed
//! Thousands of streams learn of one change at the same moment. If each compared ten thousand names to find one, the
//! comparison would cost more than the sending. A set made by [`ResourceSet::successor`] carries the names that differ
//! from the set before it, computed once; a stream that is at most one generation behind only looks at those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::name::ResourceType;

/// One resource, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedResource {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// A hash of its content, so that every replica of the control plane gives the same.
    pub version: Arc<str>,
    /// An encoded `google.protobuf.Any`.
    pub any: Bytes,
    /// Only for those who ask for it by name: API listeners for gRPC clients, which Envoy must not see.
    pub named_only: bool,
    /// The clusters that this route or listener sends to: they must be there before it.
    pub clusters: Vec<Arc<str>>,
    /// For a cluster whose endpoints come over EDS: the assignment it needs.
    pub eds_name: Option<Arc<str>>,
    /// For a listener: the route configurations it names.
    pub routes: Vec<Arc<str>>,
    /// For a listener or a cluster: the secrets it names.
    pub secrets: Vec<Arc<str>>,
}

type ByName = BTreeMap<Arc<str>, Arc<EncodedResource>>;

/// Number of resource types.
const TYPES: usize = ResourceType::ALL.len();

/// All resources of one view at one generation. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    generation: u64,
    by_type: [Arc<ByName>; TYPES],
    /// What differs from the generation before; `None` when that is not known.
    since: Option<Arc<Changes>>,
}

/// The difference between a set and its predecessor.
#[derive(Debug)]
struct Changes {
    /// The predecessor's maps, to recognise a stream that holds exactly that one.
    from: [Arc<ByName>; TYPES],
    /// Names added, changed or removed, by type.
    names: [Vec<Arc<str>>; TYPES],
}

impl ResourceSet {
    /// A set without a predecessor. Of two resources with the same type and name the last stays.
    pub fn new(generation: u64, resources: impl IntoIterator<Item = Arc<EncodedResource>>) -> Self {
        let mut maps: [ByName; TYPES] = Default::default();
        for resource in resources {
            maps[index(resource.resource_type)].insert(Arc::clone(&resource.name), resource);
        }
        Self { generation, by_type: maps.map(Arc::new), since: None }
    }

    /// The set that follows `self`: shares what is equal and knows what is not. Prefer this over [`Self::new`] for
    /// every generation but the first.
    pub fn successor(&self, generation: u64, resources: impl IntoIterator<Item = Arc<EncodedResource>>) -> Self {
        let mut next = Self::new(generation, resources);
        let mut names: [Vec<Arc<str>>; TYPES] = Default::default();
        for (i, (old, new)) in self.by_type.iter().zip(next.by_type.iter_mut()).enumerate() {
            names[i] = differing(old, new).into_iter().collect();
            if names[i].is_empty() {
                *new = Arc::clone(old);
            }
        }
        next.since = Some(Arc::new(Changes { from: self.by_type.clone(), names }));
        next
    }

    /// Grows with every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The resource of this type and name.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<EncodedResource>> {
        self.by_type[index(resource_type)].get(name)
    }

    /// All resources of a type, by name.
    pub fn iter(&self, resource_type: ResourceType) -> impl Iterator<Item = &Arc<EncodedResource>> {
        self.by_type[index(resource_type)].values()
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.by_type.iter().map(|m| m.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_type.iter().all(|m| m.is_empty())
    }

    /// The names of a type that differ between `old` and `self`.
    pub(super) fn changed_since(&self, old: &Self, resource_type: ResourceType) -> Vec<Arc<str>> {
        let i = index(resource_type);
        if Arc::ptr_eq(&self.by_type[i], &old.by_type[i]) {
            return Vec::new();
        }
        match &self.since {
            Some(changes) if Arc::ptr_eq(&changes.from[i], &old.by_type[i]) => changes.names[i].clone(),
            _ => differing(&old.by_type[i], &self.by_type[i]).into_iter().collect(),
        }
    }
}

fn index(resource_type: ResourceType) -> usize {
    resource_type as usize
}

/// Names whose resource is not the same in both. Looking up and not merging keeps this readable; equal pointers are
/// the common case, and then no string is compared.
fn differing(old: &ByName, new: &ByName) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    for (name, resource) in new {
        let same = old.get(name).is_some_and(|before| same_content(before, resource));
        if !same {
            names.insert(Arc::clone(name));
        }
    }
    names.extend(old.keys().filter(|name| !new.contains_key(*name)).cloned());
    names
}

fn same_content(a: &Arc<EncodedResource>, b: &Arc<EncodedResource>) -> bool {
    Arc::ptr_eq(a, b) || (a.version == b.version && a.named_only == b.named_only)
}
