//! The client's half of ADS: one [`Client`] per proxy, both variants, no I/O.
//!
//! # What the consumer sees
//! [`Update`]s: resources that are new or different, and names that are gone. Which variant of the protocol brought
//! them makes no difference: omission from a complete state has become `removed`, and what was sent again unchanged is
//! left out. Each update is answered with [`Client::conclude`]; until then no other of its type is delivered. The first
//! answer to a type on a connection is always delivered, even if it brings nothing: it says that there is nothing new.
//!
//! # Partial acceptance
//! The consumer uses the good resources of an update and names the bad ones. A rejected resource does not replace what
//! was held under its name, and a version that was rejected is never listed as held, so a server offers it again on the
//! next connection. Resources that do not decode, and names that come twice in one response, are rejected even if the
//! consumer does not name them.
//!
//! # Order of calls
//! Whoever derives a subscription from an update (endpoints from clusters, routes from listeners) subscribes first and
//! concludes then. The server thereby knows what is still wanted before it takes the update for done. In the
//! state-of-the-world variant a list of names has to wait for the answer to its own type; then the answer to the update that
//! the names come from waits with it.
//!
//! # What this module does not do
//! It has no timer for resources that never come. The protocol's 15 s (gRFC A57) count from
//! [`ClientEvent::Connected`], which is sent only when the stream really stands; whether to give up on a resource is the
//! consumer's decision. Names that the server itself declares missing come as `removed` (delta) or in
//! [`Update::errors`].

mod back_off;
mod interest;
mod nack;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use back_off::BackOff;
use bytes::Bytes;
use interest::Interest;

use super::wire::{Request, Response, WireNode};
use super::{Mode, Node};
use crate::name::ResourceType;
use crate::resource::{Decoded, FieldError};

/// Responses of one type that may wait behind an update that is not concluded. Ours sends none before the answer; other
/// servers send a few. A server that sends more is not listening.
pub const QUEUED_RESPONSES_MAX: usize = 16;
/// Length of a NACK's message. It ends in logs and status pages, and some servers put it in a header.
pub const NACK_BYTES_MAX: usize = 4096;

/// Which resources of a type are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// All that there are for this node.
    Wildcard,
    /// These. None at all when empty.
    Names(BTreeSet<Arc<str>>),
}

impl Subscription {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::Wildcard => true,
            Self::Names(names) => names.contains(name),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Names(names) if names.is_empty())
    }
}

/// What the client tells its consumer.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The stream stands.
    Connected,
    /// It does not; another attempt follows by itself. What was received stays valid.
    Disconnected { reason: String },
    /// New configuration, to be answered with `conclude`.
    Update(Update),
}

/// What changed of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The type.
    pub resource_type: ResourceType,
    /// To be given back to `conclude`.
    pub nonce: Arc<str>,
    /// New or different resources.
    pub changed: Vec<Received>,
    /// Names that are gone, or (delta) that were asked for and do not exist.
    pub removed: Vec<Arc<str>>,
    /// What the server said of resources that it cannot give: name and reason. What is held of them stays valid.
    pub errors: Vec<(Arc<str>, String)>,
}

/// One resource as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its name.
    pub name: Arc<str>,
    /// Its version; in the state-of-the-world variant a hash of its bytes.
    pub version: Arc<str>,
    /// The message inside the `Any`.
    pub value: Bytes,
    /// The same as a type, or why not.
    pub decoded: Result<Decoded, FieldError>,
}

/// What the caller of a [`Client`] must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this on the stream.
    Send(Request),
    /// Tell the consumer.
    Event(ClientEvent),
    /// Drop the connection: the server breaks the protocol.
    Reset { reason: String },
}

/// One proxy's side of the conversation.
#[derive(Debug)]
pub struct Client {
    mode: Mode,
    node: WireNode,
    interests: BTreeMap<ResourceType, Interest>,
    /// A stream is open: requests may be sent.
    open: bool,
    /// The node was sent on it.
    introduced: bool,
    /// Answers that wait for a list of names; one for each type at most, because no second update is delivered before.
    late: Vec<Late>,
}

/// An answer that is not sent yet.
#[derive(Debug)]
struct Late {
    resource_type: ResourceType,
    nonce: Arc<str>,
    rejected: Vec<(Arc<str>, String)>,
}

impl Client {
    /// A client that holds `held` (type, name, version) from an earlier life.
    pub fn new(mode: Mode, node: &Node, held: impl IntoIterator<Item = (ResourceType, Arc<str>, Arc<str>)>) -> Self {
        let mut interests: BTreeMap<ResourceType, Interest> = BTreeMap::new();
        for (resource_type, name, version) in held {
            interests.entry(resource_type).or_insert_with(|| Interest::new(resource_type)).hold(name, version);
        }
        Self { mode, node: WireNode::from(node), interests, open: false, introduced: false, late: Vec::new() }
    }

    /// A stream was opened: says again what is wanted and what is held.
    pub fn on_open(&mut self, out: &mut Vec<Output>) {
        self.open = true;
        self.introduced = false;
        let mut requests = Vec::new();
        for interest in self.interests.values_mut() {
            interest.restart();
            requests.extend(interest.begin(self.mode));
        }
        self.send(requests, out);
        // Whole lists were just sent.
        self.answer(out);
    }

    /// The stream ended.
    pub fn on_close(&mut self) {
        self.open = false;
    }

    /// Replaces the subscription of a type.
    pub fn subscribe(&mut self, resource_type: ResourceType, what: Subscription, out: &mut Vec<Output>) {
        let (mode, open) = (self.mode, self.open);
        let interest = self.interest(resource_type);
        let requests = interest.subscribe(mode, what, open);
        self.send(requests, out);
    }

    /// Asks for a resource that was rejected, as if for the first time: what was missing for it is there now. The answer is
    /// what holds by then, be it something else. Without a connection nothing is asked: a new one begins with everything.
    pub fn ask_again(&mut self, resource_type: ResourceType, name: &Arc<str>, out: &mut Vec<Output>) {
        if !self.open {
            return;
        }
        let mode = self.mode;
        let requests = self.interest(resource_type).ask_again(mode, name);
        self.send(requests, out);
    }

    /// Takes a response.
    pub fn on_response(&mut self, response: Response, out: &mut Vec<Output>) {
        let known = ResourceType::from_type_url(response.type_url());
        // Nobody asked for it, so there is nobody to accept or refuse it.
        let Some(interest) = known.and_then(|t| self.interests.get_mut(&t)) else { return };
        if !interest.enqueue(response) {
            out.push(Output::Reset { reason: format!("more than {QUEUED_RESPONSES_MAX} responses without an answer") });
            return;
        }
        let (requests, update) = interest.advance(self.mode);
        self.send(requests, out);
        out.extend(update.map(|u| Output::Event(ClientEvent::Update(u))));
    }

    /// Answers an update: with nothing rejected it is an ACK, else a NACK that names each (resource name, reason).
    /// A nonce that is not that of the update last delivered is ignored.
    pub fn conclude(
        &mut self,
        resource_type: ResourceType,
        nonce: &str,
        rejected: Vec<(Arc<str>, String)>,
        out: &mut Vec<Output>,
    ) {
        if !self.interest(resource_type).has_delivered(nonce) {
            return;
        }
        self.late.push(Late { resource_type, nonce: nonce.into(), rejected });
        self.answer(out);
    }

    /// Sends every answer that need not wait, those first that carry a list of names.
    fn answer(&mut self, out: &mut Vec<Output>) {
        let (mode, open) = (self.mode, self.open);
        let answered: BTreeSet<ResourceType> = self.late.iter().map(|late| late.resource_type).collect();
        let (interests, late) = (&self.interests, std::mem::take(&mut self.late));
        let owes = |names: &ResourceType| interests.get(names).is_some_and(Interest::owes_list);
        let (later, mut now): (Vec<_>, Vec<_>) = late.into_iter().partition(|late| {
            named_by(late.resource_type).iter().any(|names| owes(names) && !answered.contains(names))
        });
        now.sort_by_key(|late| !owes(&late.resource_type));
        self.late = later;
        for Late { resource_type, nonce, rejected } in now {
            let interest = self.interest(resource_type);
            let Some(answer) = interest.conclude(mode, &nonce, rejected) else { continue };
            let mut requests: Vec<Request> = answer.into_iter().filter(|_| open).collect();
            let (further, update) = interest.advance(mode);
            requests.extend(further);
            self.send(requests, out);
            out.extend(update.map(|u| Output::Event(ClientEvent::Update(u))));
        }
    }

    /// Names and versions held of a type, for whoever keeps them on disk.
    pub fn held(&self, resource_type: ResourceType) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.interests.get(&resource_type).into_iter().flat_map(Interest::held)
    }

    fn interest(&mut self, resource_type: ResourceType) -> &mut Interest {
        self.interests.entry(resource_type).or_insert_with(|| Interest::new(resource_type))
    }

    /// Sends, with the node on the first request of a stream.
    fn send(&mut self, requests: impl IntoIterator<Item = Request>, out: &mut Vec<Output>) {
        for mut request in requests {
            if !self.introduced {
                self.introduced = true;
                match &mut request {
                    Request::Delta(r) => r.node = Some(Box::new(self.node.clone())),
                    Request::StateOfTheWorld(r) => r.node = Some(Box::new(self.node.clone())),
                }
            }
            out.push(Output::Send(request));
        }
    }
}

/// What the resources of a type name, so that an update of it changes what is asked for.
fn named_by(resource_type: ResourceType) -> &'static [ResourceType] {
    match resource_type {
        ResourceType::Cluster => &[ResourceType::Endpoint, ResourceType::Secret],
        ResourceType::Listener => &[ResourceType::Route, ResourceType::Secret],
        ResourceType::Endpoint | ResourceType::Route | ResourceType::Secret => &[],
    }
}
