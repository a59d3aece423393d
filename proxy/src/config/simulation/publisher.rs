//! The control plane's side, and the notebook in which a run is written.
//!
//! What is published outlives a crash of the control plane, as policies in a directory do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidegate_xds::ads::server::{EncodedResource, ResourceSet, StreamEvent};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;
use tidegate_xds::transport::server::{Control, Refusal, Session};
use tokio::sync::watch;

use super::onlooker::Observed;
use super::world::{Key, Mesh};

/// What is known about a run, by everybody in it.
#[derive(Default)]
pub(super) struct Notebook {
    /// On the network's clock.
    pub(super) now: Duration,
    pub(super) story: Vec<String>,
    /// What does not hold.
    pub(super) findings: Vec<String>,
    /// Every version that was published, with the generation that had it first.
    published: BTreeMap<Key, BTreeMap<Arc<str>, u64>>,
    /// What a proxy must have that applied a generation: the generation that had each first.
    required: BTreeMap<u64, BTreeMap<Key, u64>>,
    /// Types of which something had to be refused, up to each generation.
    bad: BTreeMap<u64, BTreeSet<&'static str>>,
    pub(super) proxies: BTreeMap<Arc<str>, Observed>,
    /// The last generation of which each proxy has had and answered everything.
    pub(super) settled: BTreeMap<Arc<str>, u64>,
    /// Streams that are open at the control plane.
    pub(super) streams: usize,
    pub(super) nacks: u64,
    pub(super) acks: u64,
}

impl Notebook {
    pub(super) fn tell(&mut self, what: String) {
        let line = format!("{:9.3} {what}", self.now.as_secs_f64());
        self.story.push(line);
    }

    pub(super) fn find(&mut self, what: String) {
        self.tell(format!("DOES NOT HOLD: {what}"));
        self.findings.push(what);
    }

    /// The generation that published this first; `None`: nobody did.
    pub(super) fn published(&self, key: &Key, version: &str) -> Option<u64> {
        self.published.get(key)?.get(version).copied()
    }

    /// What a proxy has when it has applied this generation.
    pub(super) fn required(&self, generation: u64) -> Option<&BTreeMap<Key, u64>> {
        self.required.get(&generation)
    }

    fn publish(&mut self, mesh: &Mesh) -> Vec<Arc<EncodedResource>> {
        let generation = mesh.generation();
        let mut encoded = Vec::new();
        let mut required = BTreeMap::new();
        for (resource, must_have) in mesh.resources() {
            let key = key(&resource);
            let versions = self.published.entry(key.clone()).or_default();
            let first = *versions.entry(resource.version()).or_insert(generation);
            if must_have {
                required.insert(key, first);
            }
            encoded.push(EncodedResource::new(&resource));
        }
        self.required.insert(generation, required);
        let mut bad = self.bad.last_key_value().map(|(_, bad)| bad.clone()).unwrap_or_default();
        bad.extend(ResourceType::ALL.iter().filter(|known| mesh.is_bad(**known)).map(|known| known.short()));
        self.bad.insert(generation, bad);
        self.tell(format!("generation {generation} is published"));
        encoded
    }

    fn hear(&mut self, node: &Arc<str>, event: StreamEvent) {
        self.tell(format!("{node}: {event:?}"));
        match event {
            StreamEvent::Settled { generation, rejected } => {
                self.settled.insert(Arc::clone(node), generation);
                // A refusal in a generation that was overtaken is reported with the next one that settles.
                if !rejected {
                    self.check_settled(node, generation);
                }
            }
            StreamEvent::Nacked { resource_type, generation, message } => {
                self.nacks += 1;
                let bad = self.bad.get(&generation).is_some_and(|bad| bad.contains(resource_type.short()));
                if !bad && !self.is_excused(resource_type, generation, &message) {
                    self.find(format!("{node} refused good {resource_type} of generation {generation}: {message}"));
                }
            }
            StreamEvent::Acked { .. } => self.acks += 1,
            StreamEvent::Subscribed { .. }
            | StreamEvent::Sent { .. }
            | StreamEvent::Refused { .. }
            | StreamEvent::GateExpired { .. }
            | StreamEvent::Stalled { .. } => {}
        }
    }

    /// What waits for a slow link, or for a clock that jumps, is given up in time, and what was overtaken meanwhile may name
    /// what has gone. The proxy asks for it again when it lacks nothing.
    fn is_excused(&self, resource_type: ResourceType, generation: u64, message: &str) -> bool {
        let waits = matches!(resource_type, ResourceType::Listener | ResourceType::Route);
        let is_newest = self.required.last_key_value().is_some_and(|(newest, _)| *newest == generation);
        waits && (!is_newest || message.contains("have not arrived"))
    }

    /// What is reported as applied was applied, by this life of the proxy or one before.
    fn check_settled(&mut self, node: &Arc<str>, generation: u64) {
        let required = self.required.get(&generation).cloned().unwrap_or_default();
        let applied = self.proxies.get(node).map(|observed| observed.applied.clone()).unwrap_or_default();
        for (key, first) in required {
            if applied.get(&key).is_none_or(|seen| *seen < first) {
                let seen = applied.get(&key);
                self.find(format!("{node} counts as having generation {generation}, but of {key:?} it had {seen:?}"));
            }
        }
    }
}

pub(super) fn key(resource: &Resource) -> Key {
    (resource.resource_type(), Arc::clone(resource.name()))
}

/// The control plane.
pub(super) struct Publisher {
    sets: Mutex<Sets>,
    notebook: Arc<Mutex<Notebook>>,
}

#[derive(Default)]
struct Sets {
    newest: Arc<ResourceSet>,
    /// A channel for each stream: one channel for all would wake them in an order of its own choice.
    streams: Vec<watch::Sender<Arc<ResourceSet>>>,
}

impl Publisher {
    pub(super) fn new(notebook: &Arc<Mutex<Notebook>>) -> Self {
        Self { sets: Mutex::default(), notebook: Arc::clone(notebook) }
    }

    pub(super) fn publish(&self, mesh: &Mesh) {
        let encoded = lock(&self.notebook).publish(mesh);
        let Sets { newest, streams } = &mut *self.sets.lock().expect("nobody panics with the sets");
        *newest = Arc::new(newest.successor(mesh.generation(), encoded));
        streams.retain(|stream| stream.receiver_count() > 0);
        for stream in streams {
            stream.send_replace(Arc::clone(newest));
        }
    }

    fn subscribe(&self) -> watch::Receiver<Arc<ResourceSet>> {
        let Sets { newest, streams } = &mut *self.sets.lock().expect("nobody panics with the sets");
        let (stream, resources) = watch::channel(Arc::clone(newest));
        streams.push(stream);
        resources
    }
}

impl Control for Publisher {
    fn open(&self, node: &Node, _: Mode, _: SocketAddr) -> Result<Session, Refusal> {
        let node = Arc::clone(&node.id);
        let mut notebook = lock(&self.notebook);
        notebook.streams += 1;
        notebook.tell(format!("{node}: a stream begins"));
        let open = Open { node, notebook: Arc::clone(&self.notebook) };
        let observer = Box::new(move |event| lock(&open.notebook).hear(&open.node, event));
        Ok(Session { resources: self.subscribe(), observer })
    }
}

struct Open {
    node: Arc<str>,
    notebook: Arc<Mutex<Notebook>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut notebook = lock(&self.notebook);
        notebook.streams -= 1;
        notebook.tell(format!("{}: a stream ends", self.node));
    }
}

pub(super) fn lock(notebook: &Mutex<Notebook>) -> MutexGuard<'_, Notebook> {
    notebook.lock().expect("nobody panics with the notebook")
}
