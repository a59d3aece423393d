//! One resource type on the client's side: what is wanted, what is held, and what came and is not yet answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::nack::nack_message;
use super::{QUEUED_RESPONSES_MAX, Received, Subscription, Update};
use crate::ads::Mode;
use crate::ads::wire::{
    Any, DeltaDiscoveryRequest, DiscoveryRequest, INVALID_ARGUMENT, NameOnly, Request, ResourceError, Response,
    RpcStatus, WRAPPED_RESOURCE_TYPE_URL, WrappedResource,
};
use crate::name::ResourceType;
use crate::resource::{Decoded, FieldError};

/// What the protocol calls everything.
const WILDCARD: &str = "*";

/// Enough of a hash to tell contents apart.
type Fingerprint = [u8; 16];

/// A resource that the consumer took.
#[derive(Clone, Debug)]
struct Copy {
    version: Arc<str>,
    /// Not known of resources from an earlier life.
    fingerprint: Option<Fingerprint>,
}

#[derive(Debug)]
pub(super) struct Interest {
    resource_type: ResourceType,
    wanted: Subscription,
    held: BTreeMap<Arc<str>, Copy>,
    /// State of the world: the version of the last response that was accepted.
    version_info: String,
    /// A request was sent on this stream.
    begun: bool,
    /// State of the world: the nonce last answered on this stream.
    nonce: String,
    /// State of the world: names that were given up since the last answer. A server takes notice of a list only when
    /// its nonce is fresh, so it may not know; see [`Self::whole_requests`].
    lapsed: BTreeSet<Arc<str>>,
    /// State of the world: the list has changed since it was last sent. The answer that is due carries it.
    owes_list: bool,
    /// A response was delivered on this stream.
    answered: bool,
    /// Delivered and not concluded.
    delivered: Option<Delivered>,
    /// Received behind it.
    queue: VecDeque<Response>,
}

#[derive(Debug)]
struct Delivered {
    nonce: Arc<str>,
    version_info: String,
    accepted: Vec<(Arc<str>, Copy)>,
    removed: Vec<Arc<str>>,
    /// Rejected whatever the consumer says.
    faults: Vec<(Arc<str>, String)>,
    /// Its stream is gone: nobody waits for the answer.
    stale: bool,
}

/// A response in the form that both variants share.
struct Contents {
    nonce: Arc<str>,
    /// State of the world only.
    version_info: Option<String>,
    items: Vec<Item>,
    removed: Vec<Arc<str>>,
    errors: Vec<(Arc<str>, String)>,
    faults: Vec<(Arc<str>, String)>,
    /// Names in the response, good or bad.
    named: BTreeSet<Arc<str>>,
}

struct Item {
    name: Arc<str>,
    version: Arc<str>,
    fingerprint: Fingerprint,
    any: Any,
}

impl Interest {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Self {
            resource_type,
            wanted: Subscription::Names(BTreeSet::new()),
            held: BTreeMap::new(),
            version_info: String::new(),
            begun: false,
            nonce: String::new(),
            lapsed: BTreeSet::new(),
            owes_list: false,
            answered: false,
            delivered: None,
            queue: VecDeque::new(),
        }
    }

    /// Takes note of a resource from an earlier life.
    pub(super) fn hold(&mut self, name: Arc<str>, version: Arc<str>) {
        self.held.insert(name, Copy { version, fingerprint: None });
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.held.iter().map(|(name, copy)| (name, &copy.version))
    }

    /// Forgets what belonged to the last stream.
    pub(super) fn restart(&mut self) {
        self.begun = false;
        self.nonce.clear();
        self.lapsed.clear();
        self.owes_list = false;
        self.answered = false;
        self.queue.clear();
        if let Some(delivered) = &mut self.delivered {
            delivered.stale = true;
        }
    }

    /// The first request of this type on a stream, if anything is wanted. An empty one would ask for everything.
    pub(super) fn begin(&mut self, mode: Mode) -> Vec<Request> {
        if self.begun || self.wanted.is_empty() {
            return Vec::new();
        }
        self.begun = true;
        match mode {
            Mode::Delta => {
                let versions = self.held.iter().filter(|(name, _)| self.wanted.covers(name));
                vec![Request::Delta(DeltaDiscoveryRequest {
                    type_url: self.resource_type.type_url().to_owned(),
                    resource_names_subscribe: self.list(),
                    initial_resource_versions: versions
                        .map(|(name, copy)| (name.to_string(), copy.version.to_string()))
                        .collect(),
                    ..DeltaDiscoveryRequest::default()
                })]
            }
            Mode::StateOfTheWorld => self.whole_requests(None),
        }
    }

    pub(super) fn subscribe(&mut self, mode: Mode, what: Subscription, open: bool) -> Vec<Request> {
        if what == self.wanted {
            return Vec::new();
        }
        let before: BTreeSet<String> = self.list().into_iter().collect();
        self.wanted = what;
        self.forget_unwanted();
        if !open {
            return Vec::new();
        }
        if !self.begun {
            return self.begin(mode);
        }
        let after: BTreeSet<String> = self.list().into_iter().collect();
        match mode {
            Mode::Delta => vec![Request::Delta(DeltaDiscoveryRequest {
                type_url: self.resource_type.type_url().to_owned(),
                resource_names_subscribe: after.difference(&before).cloned().collect(),
                resource_names_unsubscribe: before.difference(&after).cloned().collect(),
                ..DeltaDiscoveryRequest::default()
            })],
            Mode::StateOfTheWorld => self.list_now_or_with_the_answer(),
        }
    }

    /// With a response unanswered, its nonce would make a list its ACK. The answer will carry the new list.
    fn list_now_or_with_the_answer(&mut self) -> Vec<Request> {
        self.owes_list = self.delivered.as_ref().is_some_and(|d| !d.stale) || !self.queue.is_empty();
        if self.owes_list { Vec::new() } else { self.whole_requests(None) }
    }

    /// Whether the server does not know yet what is wanted, and learns it by the next answer.
    pub(super) fn owes_list(&self) -> bool {
        self.owes_list
    }

    /// Whether an update with this nonce waits for its answer.
    pub(super) fn has_delivered(&self, nonce: &str) -> bool {
        self.delivered.as_ref().is_some_and(|delivered| *delivered.nonce == *nonce)
    }

    /// Asks for one resource as if for the first time.
    pub(super) fn ask_again(&mut self, mode: Mode, name: &Arc<str>) -> Vec<Request> {
        if !self.begun || !self.wanted.covers(name) {
            return Vec::new();
        }
        match mode {
            Mode::Delta => {
                let name = vec![name.to_string()];
                // To subscribe to a name is to ask for it, whether one has or not. Of everything, a name is asked for by giving
                // it up: the server has to say then what holds of it.
                let (subscribe, unsubscribe) = match &self.wanted {
                    Subscription::Names(_) => (name, Vec::new()),
                    Subscription::Wildcard => (Vec::new(), name),
                };
                vec![Request::Delta(DeltaDiscoveryRequest {
                    type_url: self.resource_type.type_url().to_owned(),
                    resource_names_subscribe: subscribe,
                    resource_names_unsubscribe: unsubscribe,
                    ..DeltaDiscoveryRequest::default()
                })]
            }
            Mode::StateOfTheWorld => {
                self.lapsed.insert(Arc::clone(name));
                self.list_now_or_with_the_answer()
            }
        }
    }

    /// What is not wanted is not held, nor taken up by concluding what brought it: who asks again must be told again.
    /// This is also for what came from an earlier life: nothing would ever update it.
    fn forget_unwanted(&mut self) {
        let wanted = &self.wanted;
        let mut gone: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut keep = |name: &Arc<str>| {
            let covered = wanted.covers(name);
            if !covered {
                gone.insert(Arc::clone(name));
            }
            covered
        };
        self.held.retain(|name, _| keep(name));
        if let Some(delivered) = &mut self.delivered {
            delivered.accepted.retain(|(name, _)| keep(name));
        }
        self.lapsed.append(&mut gone);
    }

    /// Whether there was room.
    pub(super) fn enqueue(&mut self, response: Response) -> bool {
        self.queue.push_back(response);
        self.queue.len() <= QUEUED_RESPONSES_MAX
    }

    /// Goes on to the next response that needs the consumer, answering on the way those that do not.
    pub(super) fn advance(&mut self, mode: Mode) -> (Vec<Request>, Option<Update>) {
        let mut answers = Vec::new();
        while self.delivered.is_none() {
            let Some(response) = self.queue.pop_front() else { break };
            let update = self.deliver(read(response));
            let first = !std::mem::replace(&mut self.answered, true);
            let idle = update.changed.is_empty() && update.removed.is_empty() && update.errors.is_empty();
            // Even what nobody wants any more is acknowledged, else the next request would carry a stale nonce.
            if self.wanted.is_empty() || (idle && !first) {
                answers.extend(self.conclude(mode, &update.nonce, Vec::new()).into_iter().flatten());
            } else {
                return (answers, Some(update));
            }
        }
        (answers, None)
    }

    /// Compares a response with what is held and remembers what follows if it is accepted.
    fn deliver(&mut self, contents: Contents) -> Update {
        let Contents { nonce, version_info, items, mut removed, errors, mut faults, named } = contents;
        let mut accepted = Vec::new();
        let mut changed = Vec::new();
        for Item { name, version, fingerprint, any } in items {
            if !self.wanted.covers(&name) {
                continue;
            }
            self.lapsed.remove(&name);
            let copy = Copy { version: Arc::clone(&version), fingerprint: Some(fingerprint) };
            let same = self.held.get(&name).is_some_and(|held| match held.fingerprint {
                Some(before) => before == fingerprint,
                None => held.version == version,
            });
            if same {
                self.held.insert(name, copy);
                continue;
            }
            let decoded = self.decode(&any);
            if let Err(error) = &decoded {
                faults.push((Arc::clone(&name), error.to_string()));
            }
            accepted.push((Arc::clone(&name), copy));
            changed.push(Received { name, version, value: any.value, decoded });
        }
        removed.retain(|name| self.held.contains_key(name) || self.wanted_by_name(name));
        let complete = version_info.is_some() && self.resource_type.is_complete_state();
        if complete {
            removed.extend(self.held.keys().filter(|name| !named.contains(*name)).cloned());
        }
        self.delivered = Some(Delivered {
            nonce: Arc::clone(&nonce),
            version_info: version_info.unwrap_or_default(),
            accepted,
            removed: removed.clone(),
            faults,
            stale: false,
        });
        Update { resource_type: self.resource_type, nonce, changed, removed, errors }
    }

    fn decode(&self, any: &Any) -> Result<Decoded, FieldError> {
        if any.type_url != self.resource_type.type_url() {
            return Err(FieldError {
                path: "type_url".to_owned(),
                reason: format!("{:?} in a response of {}", any.type_url, self.resource_type),
            });
        }
        Decoded::from_any(&any.type_url, &any.value)
    }

    /// Closes the delivered response. `None`: there is none with this nonce. No request: its stream is gone.
    pub(super) fn conclude(
        &mut self,
        mode: Mode,
        nonce: &str,
        rejected: Vec<(Arc<str>, String)>,
    ) -> Option<Vec<Request>> {
        let delivered = self.delivered.take_if(|d| *d.nonce == *nonce)?;
        let mut faults = rejected;
        for fault in delivered.faults {
            if !faults.iter().any(|(name, _)| *name == fault.0) {
                faults.push(fault);
            }
        }
        for name in &delivered.removed {
            self.held.remove(name);
        }
        let refused: BTreeSet<&str> = faults.iter().map(|(name, _)| &**name).collect();
        for (name, copy) in delivered.accepted {
            if !refused.contains(&*name) {
                self.held.insert(name, copy);
            }
        }
        if delivered.stale {
            return Some(Vec::new());
        }
        self.owes_list = false;
        let error = (!faults.is_empty()).then(|| RpcStatus { code: INVALID_ARGUMENT, message: nack_message(&faults) });
        self.nonce = delivered.nonce.to_string();
        if error.is_none() {
            self.version_info = delivered.version_info;
        }
        Some(match mode {
            Mode::Delta => vec![Request::Delta(DeltaDiscoveryRequest {
                type_url: self.resource_type.type_url().to_owned(),
                response_nonce: self.nonce.clone(),
                error_detail: error,
                ..DeltaDiscoveryRequest::default()
            })],
            Mode::StateOfTheWorld => {
                let requests = self.whole_requests(error);
                self.lapsed.clear();
                requests
            }
        })
    }

    /// A state-of-the-world request: always the whole list. Where a name was given up and is wanted again, the server
    /// may still take it for held and never send it; so it is first told a list without that name.
    fn whole_requests(&self, error_detail: Option<RpcStatus>) -> Vec<Request> {
        let whole = DiscoveryRequest {
            version_info: self.version_info.clone(),
            resource_names: self.list(),
            type_url: self.resource_type.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            ..DiscoveryRequest::default()
        };
        if !self.lapsed.iter().any(|name| self.wanted.covers(name)) {
            return vec![Request::StateOfTheWorld(DiscoveryRequest { error_detail, ..whole })];
        }
        let without = match &self.wanted {
            Subscription::Wildcard => Vec::new(),
            Subscription::Names(names) => names.difference(&self.lapsed).map(|name| name.to_string()).collect(),
        };
        let first = DiscoveryRequest { resource_names: without, error_detail, ..whole.clone() };
        vec![Request::StateOfTheWorld(first), Request::StateOfTheWorld(whole)]
    }

    /// The subscription as names. Everything is spelt out as `*`: an empty list means it only on a stream's first day.
    fn list(&self) -> Vec<String> {
        match &self.wanted {
            Subscription::Wildcard => vec![WILDCARD.to_owned()],
            Subscription::Names(names) => names.iter().map(|name| name.to_string()).collect(),
        }
    }

    fn wanted_by_name(&self, name: &str) -> bool {
        matches!(&self.wanted, Subscription::Names(names) if names.contains(name))
    }
}

// === Reading a response ===

/// Brings both variants to one form and finds what is wrong with the response itself.
fn read(response: Response) -> Contents {
    let (nonce, version_info, bodies, removed, errors) = match response {
        Response::Delta(r) => (r.nonce, None, r.resources, r.removed_resources, r.resource_errors),
        Response::StateOfTheWorld(r) => {
            let bodies = r.resources.into_iter().map(unwrap).collect();
            (r.nonce, Some(r.version_info), bodies, Vec::new(), r.resource_errors)
        }
    };
    let mut contents = Contents {
        nonce: nonce.into(),
        version_info,
        items: Vec::with_capacity(bodies.len()),
        removed: removed.into_iter().map(Arc::from).collect(),
        errors: errors.into_iter().map(read_error).collect(),
        faults: Vec::new(),
        named: BTreeSet::new(),
    };
    let mut repeated = BTreeSet::new();
    for (index, body) in bodies.into_iter().enumerate() {
        contents.take(index, body, &mut repeated);
    }
    contents.items.retain(|item| !repeated.contains(&item.name));
    contents.faults.extend(repeated.into_iter().map(|name| (name, "is in the response twice".to_owned())));
    contents
}

impl Contents {
    fn take(&mut self, index: usize, body: WrappedResource, repeated: &mut BTreeSet<Arc<str>>) {
        // A heartbeat: the resource is as it was.
        let Some(bytes) = body.resource else {
            self.named.insert(body.name.into());
            return;
        };
        let any = Any::decode(bytes);
        let name = match &any {
            _ if !body.name.is_empty() => body.name,
            Ok(any) => NameOnly::decode(&*any.value).map(|n| n.name).unwrap_or_default(),
            Err(_) => String::new(),
        };
        let name: Arc<str> = if name.is_empty() { format!("resource index {index}").into() } else { name.into() };
        let any = match any {
            Ok(any) => any,
            Err(error) => {
                self.named.insert(Arc::clone(&name));
                self.faults.push((name, format!("not an Any: {error}")));
                return;
            }
        };
        if !self.named.insert(Arc::clone(&name)) {
            repeated.insert(Arc::clone(&name));
        }
        let fingerprint = fingerprint(&any.value);
        let version = if body.version.is_empty() { hex(&fingerprint) } else { body.version.into() };
        self.items.push(Item { name, version, fingerprint, any });
    }
}

/// A state-of-the-world body: an `Any`, which may hold a wrapped resource in its turn.
fn unwrap(bytes: Bytes) -> WrappedResource {
    match Any::decode(bytes.clone()) {
        Ok(any) if any.type_url == WRAPPED_RESOURCE_TYPE_URL => WrappedResource::decode(any.value)
            .unwrap_or(WrappedResource { resource: Some(bytes), ..Default::default() }),
        _ => WrappedResource { resource: Some(bytes), ..WrappedResource::default() },
    }
}

fn read_error(error: ResourceError) -> (Arc<str>, String) {
    let name = error.resource_name.map(|n| n.name).unwrap_or_default();
    (name.into(), error.error_detail.map(|status| status.message).unwrap_or_default())
}

fn fingerprint(value: &[u8]) -> Fingerprint {
    let digest = Sha256::digest(value);
    let mut fingerprint = Fingerprint::default();
    fingerprint.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    fingerprint
}

fn hex(bytes: &[u8]) -> Arc<str> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
