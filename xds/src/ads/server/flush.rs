//! Decides what goes out now, type by type, and writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::frame::Contents;
use super::gate::Gate;
use super::refusal::Refusals;
use super::set::{EncodedResource, ResourceSet};
use super::watch::{Due, Held, InFlight, Watch};
use super::{Action, Stream, StreamEvent};
use crate::ads::Mode;
use crate::name::ResourceType;

/// What a response will hold.
#[derive(Default)]
struct Batch {
    /// In order of names.
    resources: Vec<Arc<EncodedResource>>,
    /// In order.
    removed: Vec<Arc<str>>,
    /// Names asked for that do not exist, where omission does not say so.
    missing: Vec<Arc<str>>,
    /// A response is needed even if all of the above is empty.
    needed: bool,
    /// How many went out because their time at the gate was over.
    released: usize,
    /// Something that was looked at needed no sending after all.
    concluded: bool,
}

impl Stream {
    /// Sends whatever may be sent, then reports if everything is done.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(set) = self.set.clone() else { return };
        // What one type sends or finds settled may let another go on. Each round ends work, so the rounds end.
        while self.flush_once(&set, now, out) {}
        self.report_refused(&set, out);
        self.settle(&set, out);
    }

    /// Reports what is refused now, where that is not what was reported last.
    fn report_refused(&mut self, set: &ResourceSet, out: &mut Vec<Action>) {
        for (resource_type, watch) in &mut self.watches {
            let current = watch.names_once_refused().filter_map(|name| set.get(*resource_type, name));
            let names = current.filter(|r| watch.wants(r) && watch.has_rejected(r) && !watch.has(r)).count();
            if names != watch.refused_reported {
                watch.refused_reported = names;
                out.push(Action::Report(StreamEvent::Refused { resource_type: *resource_type, names }));
            }
        }
    }

    /// One round over all types, in order of dependence. Whether another may find more to do.
    fn flush_once(&mut self, set: &ResourceSet, now: Instant, out: &mut Vec<Action>) -> bool {
        let mut progress = false;
        for resource_type in ResourceType::ALL {
            let idle = |w: &Watch| w.in_flight.is_some() || (w.due.is_empty() && !w.owes_answer);
            if self.watches.get(&resource_type).is_none_or(idle) {
                continue;
            }
            let refusals = Refusals::of(&self.watches, set);
            let Some(mut watch) = self.watches.remove(&resource_type) else { continue };
            let gate = Gate { watches: &self.watches, set };
            let batch = pick(self.mode, resource_type, &mut watch, &gate, &refusals, now);
            progress |= batch.concluded;
            if batch.needed {
                self.send(resource_type, &mut watch, batch, now, out);
                progress = true;
            }
            self.watches.insert(resource_type, watch);
        }
        progress
    }

    fn send(
        &mut self,
        resource_type: ResourceType,
        watch: &mut Watch,
        batch: Batch,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(generation) = self.set.as_ref().map(ResourceSet::generation) else { return };
        if batch.released > 0 {
            out.push(Action::Report(StreamEvent::GateExpired { resource_type, released: batch.released }));
        }
        if resource_type == ResourceType::Cluster {
            self.warm(watch, &batch.resources);
            self.forget_warming(watch, &batch);
        }
        let nonce = self.next_nonce();
        let frame = Contents {
            mode: self.mode,
            type_url: resource_type.type_url(),
            nonce: &nonce,
            version: &match self.mode {
                Mode::Delta => generation.to_string(),
                Mode::StateOfTheWorld => content_version(&batch.resources),
            },
            resources: &batch.resources,
            removed: if self.mode == Mode::Delta { &batch.removed } else { &[] },
            missing: &batch.missing,
        }
        .encode();
        out.push(Action::Report(StreamEvent::Sent {
            resource_type,
            generation,
            resources: batch.resources.len(),
            removed: batch.removed.len(),
            bytes: frame.len(),
        }));
        out.push(Action::Send(frame));
        watch.owes_answer = false;
        watch.last_nonce = Some(nonce.clone());
        watch.in_flight =
            Some(InFlight { nonce, generation, sent_at: now, resources: batch.resources, removed: batch.removed });
    }

    /// A cluster that is announced (again) warms until its endpoints arrive, and a client that has them does not ask.
    fn warm(&mut self, clusters: &Watch, announced: &[Arc<EncodedResource>]) {
        let mut endpoints = self.watches.get_mut(&ResourceType::Endpoint);
        // A delta response holds what changed or was asked for. A state-of-the-world one repeats what the client has.
        for cluster in announced.iter().filter(|c| self.mode == Mode::Delta || !clusters.has(c)) {
            let Some(name) = &cluster.eds_name else { continue };
            match &mut endpoints {
                Some(watch) if watch.subscription.wildcard || watch.subscription.names.contains(name) => {
                    watch.examine(Arc::clone(name), Due::Warm);
                }
                _ => {
                    self.to_warm.insert(Arc::clone(name));
                }
            }
        }
    }

    /// Nobody will ask for the assignments of clusters that are gone.
    fn forget_warming(&mut self, clusters: &Watch, batch: &Batch) {
        // Refused clusters leave without a removal. With more names than clusters, some of those are left over.
        let has_more = self.to_warm.len() > clusters.held.len() + batch.resources.len();
        if self.to_warm.is_empty() || (batch.removed.is_empty() && !has_more) {
            return;
        }
        let stays = |name: &Arc<str>| batch.removed.binary_search(name).is_err();
        let held = clusters.held.iter().filter(|(name, _)| stays(name)).filter_map(|(_, held)| held.content());
        let named: BTreeSet<&Arc<str>> =
            held.chain(&batch.resources).filter_map(|cluster| cluster.eds_name.as_ref()).collect();
        self.to_warm.retain(|name| named.contains(name));
    }

    /// Reports once per generation that nothing of it is outstanding.
    fn settle(&mut self, set: &ResourceSet, out: &mut Vec<Action>) {
        let generation = set.generation();
        let outstanding = self.watches.is_empty() || self.watches.values().any(Watch::is_outstanding);
        if self.settled == Some(generation) || outstanding {
            return;
        }
        self.settled = Some(generation);
        // What is due and not outstanding is held back by a refusal.
        let held_back = self.watches.values().any(|w| !w.due.is_empty());
        let rejected = std::mem::take(&mut self.nacked) || held_back;
        out.push(Action::Report(StreamEvent::Settled { generation, rejected }));
    }
}

/// Goes through the names that are due.
fn pick(
    mode: Mode,
    resource_type: ResourceType,
    watch: &mut Watch,
    gate: &Gate<'_>,
    refusals: &Refusals,
    now: Instant,
) -> Batch {
    let mut batch = Batch { needed: watch.owes_answer, ..Batch::default() };
    let says_removal = mode == Mode::Delta || resource_type.is_complete_state();
    let mut references = None;
    let mut additions_wait = false;
    // What comes is looked at before what goes: a listener that replaces another should not leave a gap.
    let (coming, going): (Vec<_>, Vec<_>) = std::mem::take(&mut watch.due)
        .into_iter()
        .partition(|(name, _)| gate.set.get(resource_type, name).is_some_and(|r| watch.wants(r)));
    for (name, why) in coming.into_iter().chain(going) {
        let step = match gate.set.get(resource_type, &name).filter(|r| watch.wants(r)) {
            Some(resource) => look_at_resource(watch, resource, why, gate),
            None => {
                let references = references.get_or_insert_with(|| gate.references(resource_type));
                let in_use = |held: &Held| references.may_use(&name, held);
                let leaves_gap = resource_type == ResourceType::Listener && additions_wait;
                look_at_absence(watch, &name, why, says_removal, |held| !leaves_gap && !in_use(held))
            }
        };
        let open = match &step {
            Step::Send(_, open) | Step::Remove(open) => *open,
            Step::Nothing | Step::Missing => true,
        };
        let refused = !open
            && match &step {
                // Who asks for the first time has nothing to keep instead.
                Step::Send(resource, _) => why == Due::Changed && gate.is_blocked_by_refusal(resource),
                Step::Remove(_) => refusals.keeps(resource_type, &name),
                Step::Nothing | Step::Missing => false,
            };
        let version = match &step {
            Step::Send(resource, _) => Some(&resource.version),
            _ => None,
        };
        if !open && watch.hold_back(&name, version, refused, now) {
            watch.due.insert(name, why);
            additions_wait |= matches!(step, Step::Send(..));
            continue;
        }
        watch.waiting.remove(&name);
        batch.released += usize::from(!open);
        match step {
            Step::Nothing => batch.concluded = true,
            Step::Send(resource, _) => batch.resources.push(resource),
            Step::Remove(_) => batch.removed.push(name),
            Step::Missing if mode == Mode::Delta => batch.removed.push(name),
            Step::Missing if resource_type.is_complete_state() => batch.needed = true,
            Step::Missing => batch.missing.push(name),
        }
    }
    batch.needed |= !(batch.resources.is_empty() && batch.removed.is_empty() && batch.missing.is_empty());
    if batch.needed && mode == Mode::StateOfTheWorld && resource_type.is_complete_state() {
        complete(&mut batch, resource_type, watch, gate.set);
    }
    batch
}

/// What is to be done about one name; `bool`s say whether the gate is open.
enum Step {
    Nothing,
    Send(Arc<EncodedResource>, bool),
    Remove(bool),
    Missing,
}

fn look_at_resource(watch: &mut Watch, resource: &Arc<EncodedResource>, why: Due, gate: &Gate<'_>) -> Step {
    if !watch.must_send(resource, why) {
        if watch.has(resource) {
            // A version that was brought from an earlier stream: now its content is known.
            watch.held.insert(Arc::clone(&resource.name), Held::Content(Arc::clone(resource)));
        }
        return Step::Nothing;
    }
    let open = match why {
        Due::Changed => gate.is_ready(resource),
        Due::New | Due::Asked => gate.is_announced(resource),
        Due::Warm => true,
    };
    Step::Send(Arc::clone(resource), open)
}

fn look_at_absence(
    watch: &Watch,
    name: &str,
    why: Due,
    says_removal: bool,
    is_open: impl FnOnce(&Held) -> bool,
) -> Step {
    match watch.held.get(name) {
        Some(held) if says_removal => Step::Remove(is_open(held)),
        // The client keeps it until it stops asking for it.
        Some(_) => Step::Nothing,
        None if why == Due::Asked => Step::Missing,
        None => Step::Nothing,
    }
}

/// Turns a batch of changes into the complete state: what is not in it is gone for the client.
fn complete(batch: &mut Batch, resource_type: ResourceType, watch: &Watch, set: &ResourceSet) {
    let mut state: BTreeMap<Arc<str>, Arc<EncodedResource>> = watch
        .held
        .iter()
        .filter(|(name, _)| batch.removed.binary_search(name).is_err())
        .filter_map(|(name, held)| Some((Arc::clone(name), Arc::clone(held.content()?))))
        .collect();
    for resource in set.iter(resource_type).filter(|r| watch.wants(r)) {
        // What waits or was refused is represented by what the client has, if it has anything.
        if !watch.waiting.contains_key(&resource.name) && !watch.has_rejected(resource) {
            state.insert(Arc::clone(&resource.name), Arc::clone(resource));
        }
    }
    for resource in std::mem::take(&mut batch.resources) {
        state.insert(Arc::clone(&resource.name), resource);
    }
    batch.resources = state.into_values().collect();
}

/// A version for a set of resources that every replica computes alike.
fn content_version(resources: &[Arc<EncodedResource>]) -> String {
    let mut hash = Sha256::new();
    for resource in resources {
        hash.update(resource.name.as_bytes());
        hash.update([0]);
        hash.update(resource.version.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
