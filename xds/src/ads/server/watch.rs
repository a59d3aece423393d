//! What one stream asks of one resource type, what it has, and what it is owed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::GATE_TIMEOUT;
use super::set::EncodedResource;
use crate::name::ResourceType;

/// Versions of one resource that the stream has rejected and that are remembered. A resource is edited by people; more
/// than this many wrong attempts on one connection mean that the oldest may be tried again.
const REJECTED_VERSIONS_MAX: usize = 8;

/// A name whose content changes while it waits starts its time at the gate anew, but in all it waits no longer than this
/// many times [`GATE_TIMEOUT`]: something that changes every second must not be held back forever.
const GATE_RESTARTS_MAX: u32 = 3;

/// The state of one type on one stream.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) subscription: Subscription,
    /// What the client has: acknowledged on this stream, or listed as held from an earlier one.
    pub(super) held: BTreeMap<Arc<str>, Held>,
    /// Versions that the client refused. Never sent again unless it asks.
    rejected: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Names to look at before the next response. Everything else is known to be as it should be.
    pub(super) due: BTreeMap<Arc<str>, Due>,
    /// A response is owed even if there is nothing to put in it: the client waits for a first answer.
    pub(super) owes_answer: bool,
    /// The response that is not answered yet. There is at most one.
    pub(super) in_flight: Option<InFlight>,
    /// The nonce of the last response.
    pub(super) last_nonce: Option<Box<str>>,
    /// Names in `due` that the gate holds back.
    pub(super) waiting: BTreeMap<Arc<str>, Waiting>,
    /// The last number of refused resources that was reported.
    pub(super) refused_reported: usize,
}

/// A name that the gate holds back.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Since when, whatever its content; with a refusal in the way, the last time that this was found.
    first: Instant,
    /// Since when with this content.
    since: Instant,
    /// The version that waits; `None` is a removal.
    version: Option<Arc<str>>,
    /// It waits for something that the client refused, and time does not help.
    pub(super) refused: bool,
}

impl Waiting {
    fn new(version: Option<&Arc<str>>, refused: bool, now: Instant) -> Self {
        Self { first: now, since: now, version: version.cloned(), refused }
    }

    /// When the gate lets it go; never while a refusal is in the way.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.refused).then(|| (self.since + GATE_TIMEOUT).min(self.first + GATE_TIMEOUT * GATE_RESTARTS_MAX))
    }
}

/// What the client has of a resource.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// This content.
    Content(Arc<EncodedResource>),
    /// A version from an earlier stream, whose content is not known here.
    Version(Arc<str>),
}

impl Held {
    pub(super) fn version(&self) -> &Arc<str> {
        match self {
            Self::Content(resource) => &resource.version,
            Self::Version(version) => version,
        }
    }

    pub(super) fn content(&self) -> Option<&Arc<EncodedResource>> {
        match self {
            Self::Content(resource) => Some(resource),
            Self::Version(_) => None,
        }
    }
}

/// Why a name is looked at; of two reasons the later in this list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The resource changed under a standing subscription. Waits for what it depends on.
    Changed,
    /// Newly subscribed to. Sent if the client does not have it; does not wait for acknowledgements.
    New,
    /// An assignment whose cluster was announced: sent even if the client has it.
    Warm,
    /// Asked for by name: answered whatever the client has, also when there is no such resource.
    Asked,
}

/// A response on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: Box<str>,
    pub(super) generation: u64,
    pub(super) sent_at: Instant,
    /// In order of their names.
    pub(super) resources: Vec<Arc<EncodedResource>>,
    /// In order.
    pub(super) removed: Vec<Arc<str>>,
}

impl InFlight {
    pub(super) fn carries(&self, name: &str) -> bool {
        self.resources.binary_search_by(|r| (*r.name).cmp(name)).is_ok()
    }

    pub(super) fn removes(&self, name: &str) -> bool {
        self.removed.binary_search_by(|n| (**n).cmp(name)).is_ok()
    }
}

impl Watch {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Self {
            subscription: Subscription::new(resource_type),
            held: BTreeMap::new(),
            rejected: BTreeMap::new(),
            due: BTreeMap::new(),
            owes_answer: false,
            in_flight: None,
            last_nonce: None,
            waiting: BTreeMap::new(),
            refused_reported: 0,
        }
    }

    /// Whether the subscription covers this resource.
    pub(super) fn wants(&self, resource: &EncodedResource) -> bool {
        self.subscription.names.contains(&resource.name) || (self.subscription.wildcard && !resource.named_only)
    }

    /// Whether a change of this name concerns the stream.
    pub(super) fn concerns(&self, name: &str) -> bool {
        self.subscription.wildcard || self.subscription.names.contains(name) || self.held.contains_key(name)
    }

    /// Looks at `name` before the next response.
    pub(super) fn examine(&mut self, name: Arc<str>, why: Due) {
        let entry = self.due.entry(name).or_insert(why);
        *entry = why.max(*entry);
    }

    pub(super) fn has_rejected(&self, resource: &EncodedResource) -> bool {
        self.rejected.get(&resource.name).is_some_and(|versions| versions.contains(&resource.version))
    }

    /// Whether the client has exactly this version.
    pub(super) fn has(&self, resource: &EncodedResource) -> bool {
        self.held.get(&resource.name).is_some_and(|held| *held.version() == resource.version)
    }

    /// Whether `resource` has to be sent, given why it is looked at.
    pub(super) fn must_send(&self, resource: &EncodedResource, why: Due) -> bool {
        match why {
            Due::Changed | Due::New => !self.has(resource) && !self.has_rejected(resource),
            Due::Warm => !self.has_rejected(resource),
            Due::Asked => true,
        }
    }

    /// Whether the client has refused anything that it still asks for.
    pub(super) fn has_refusals(&self) -> bool {
        !self.rejected.is_empty()
    }

    /// Names of which a version was refused at some time.
    pub(super) fn names_once_refused(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rejected.keys()
    }

    /// Whether something is to be sent or answered that time or the client can still bring on.
    pub(super) fn is_outstanding(&self) -> bool {
        self.in_flight.is_some() || self.owes_answer || self.due.keys().any(|name| !self.waits_for_refusal(name))
    }

    fn waits_for_refusal(&self, name: &str) -> bool {
        self.waiting.get(name).is_some_and(|waiting| waiting.refused)
    }

    /// Notes that the gate is closed for `version` of `name`. Whether it waits on; otherwise its time is over.
    pub(super) fn hold_back(
        &mut self,
        name: &Arc<str>,
        version: Option<&Arc<str>>,
        refused: bool,
        now: Instant,
    ) -> bool {
        let new = || Waiting::new(version, refused, now);
        let waiting = self.waiting.entry(Arc::clone(name)).or_insert_with(new);
        if refused || waiting.refused {
            // The clock is for a slow client. It starts when nothing that was refused is in the way any more.
            *waiting = new();
        } else if waiting.version.as_ref() != version {
            // What this content depends on may just have been sent: it has a time of its own.
            *waiting = Waiting { first: waiting.first, ..new() };
        }
        waiting.deadline().is_none_or(|deadline| now < deadline)
    }

    /// Forgets what the subscription no longer covers.
    pub(super) fn forget_unwanted(&mut self) {
        if self.subscription.wildcard {
            return;
        }
        let names = &self.subscription.names;
        self.held.retain(|name, _| names.contains(name));
        self.rejected.retain(|name, _| names.contains(name));
        self.due.retain(|name, _| names.contains(name));
        self.waiting.retain(|name, _| names.contains(name));
    }

    /// Takes the client's answer to the response in flight. With `nack`, the resources that its message names are
    /// rejected and the others are in use (partial acceptance). When it names none, or not all that it is about, nothing
    /// is known of the others, and what is not known to be in use counts as rejected.
    pub(super) fn conclude(&mut self, nack: Option<&str>) -> Option<InFlight> {
        let flight = self.in_flight.take()?;
        for name in &flight.removed {
            self.held.remove(name);
        }
        let blames = |resource: &EncodedResource| nack.is_some_and(|message| mentions(message, &resource.name));
        let names_none = nack.is_some() && !flight.resources.iter().any(|r| blames(r));
        let is_vague = names_none || nack.is_some_and(leaves_names_out);
        for resource in &flight.resources {
            if !self.wants(resource) {
                continue;
            }
            // What a state-of-the-world response repeats was accepted before.
            if blames(resource) || (is_vague && !self.has(resource)) {
                self.reject(resource);
            } else {
                self.held.insert(Arc::clone(&resource.name), Held::Content(Arc::clone(resource)));
                self.forgive(resource);
            }
        }
        Some(flight)
    }

    /// What was refused and then taken after all may be sent like anything else.
    fn forgive(&mut self, resource: &EncodedResource) {
        if let Some(versions) = self.rejected.get_mut(&resource.name) {
            versions.retain(|version| *version != resource.version);
            if versions.is_empty() {
                self.rejected.remove(&resource.name);
            }
        }
    }

    fn reject(&mut self, resource: &EncodedResource) {
        let versions = self.rejected.entry(Arc::clone(&resource.name)).or_default();
        if versions.contains(&resource.version) {
            return;
        }
        if versions.len() == REJECTED_VERSIONS_MAX {
            versions.remove(0);
        }
        versions.push(Arc::clone(&resource.version));
    }
}

/// Whether an error message names a resource: clients differ in form, but all of them write the name.
fn mentions(message: &str, name: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '|');
    !name.is_empty()
        && message.match_indices(name).any(|(at, _)| {
            let before = message[..at].chars().next_back();
            let after = message[at + name.len()..].chars().next();
            !before.is_some_and(continues) && !after.is_some_and(continues)
        })
}

/// Whether an error message ends with `and N more`, as this project's client writes when it cuts one short.
fn leaves_names_out(message: &str) -> bool {
    let count = message.strip_suffix(" more").and_then(|rest| rest.rsplit_once("; and "));
    count.is_some_and(|(_, count)| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Which resources of a type a stream asks for.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Everything that is not for named subscribers only.
    pub(super) wildcard: bool,
    /// These.
    pub(super) names: BTreeSet<Arc<str>>,
    /// A name (or `*`) was sent on this stream; from then on an empty list means nothing, not everything.
    named: bool,
    /// Whether an empty first request means everything.
    has_wildcard: bool,
}

/// The name that stands for everything.
pub(super) const WILDCARD: &str = "*";

/// What a request did to a subscription.
#[derive(Debug, Default)]
pub(super) struct SubscriptionChange {
    /// Everything is asked for and was not before.
    pub(super) wildcard_began: bool,
    /// Names asked for, in delta also those that were subscribed to already.
    pub(super) asked: Vec<Arc<str>>,
    /// Delta: names given up.
    pub(super) dropped: Vec<Arc<str>>,
    /// Something differs from before.
    pub(super) differs: bool,
}

impl Subscription {
    fn new(resource_type: ResourceType) -> Self {
        Self { wildcard: false, names: BTreeSet::new(), named: false, has_wildcard: resource_type.has_wildcard() }
    }

    /// Takes the full list of a state-of-the-world request.
    pub(super) fn replace(&mut self, list: &[String]) -> SubscriptionChange {
        let wildcard = match list {
            [] => !self.named && self.has_wildcard,
            list => list.iter().any(|name| name == WILDCARD),
        };
        self.named |= !list.is_empty();
        let names: BTreeSet<Arc<str>> =
            list.iter().filter(|name| *name != WILDCARD).map(|name| Arc::from(name.as_str())).collect();
        let change = SubscriptionChange {
            wildcard_began: wildcard && !self.wildcard,
            asked: names.difference(&self.names).cloned().collect(),
            dropped: Vec::new(),
            differs: wildcard != self.wildcard || names != self.names,
        };
        self.wildcard = wildcard;
        self.names = names;
        change
    }

    /// Takes the additions and removals of a delta request.
    pub(super) fn adjust(&mut self, first: bool, subscribe: &[String], unsubscribe: &[String]) -> SubscriptionChange {
        let mut change = SubscriptionChange::default();
        let before = self.wildcard;
        if first && subscribe.is_empty() && unsubscribe.is_empty() && self.has_wildcard {
            self.wildcard = true;
        }
        for name in subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            let name: Arc<str> = name.as_str().into();
            change.differs |= self.names.insert(Arc::clone(&name));
            change.asked.push(name);
        }
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
                continue;
            }
            let name: Arc<str> = name.as_str().into();
            change.differs |= self.names.remove(&name);
            change.asked.retain(|asked| *asked != name);
            change.dropped.push(name);
        }
        self.named |= !subscribe.is_empty() || !unsubscribe.is_empty();
        change.wildcard_began = self.wildcard && !before;
        change.differs |= self.wildcard != before;
        change
    }
}
