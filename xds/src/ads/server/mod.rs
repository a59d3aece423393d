//! The server's half of ADS: one [`Stream`] per client, both variants, no I/O.
//!
//! # What a stream keeps
//! Per resource type: what the client asks for, what it has acknowledged, what it refused, the one response that is not
//! answered yet, and the names that must be looked at before the next one. A change costs a stream the names that
//! changed, not the names there are. While a response is unanswered, further changes only add to those names: a slow
//! client costs memory for names, never a queue of responses.
//!
//! # Order
//! Types are visited clusters first, routes last, and [`gate`] decides what has to wait for an acknowledgement. Nothing
//! waits longer than [`GATE_TIMEOUT`] for a slow client. A listener that goes waits for one that comes.
//!
//! # After a refusal
//! A refused version is not sent again on the stream, whatever else happens; new content is. In the state-of-the-world
//! variant, where a response must repeat every cluster or listener, the last accepted content stands in. What depends on
//! the refused version waits for new content without a limit of time, see [`refusal`].
//!
//! # What this module does not do
//! It sends no heartbeats (TTL) and knows no aliases or federation. It answers delta subscriptions to types that it
//! does not know with "no such resource", and says nothing to state-of-the-world ones.

mod encode;
mod flush;
mod frame;
mod gate;
mod refusal;
mod request;
mod set;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use set::{EncodedResource, ResourceSet};
use watch::{Due, Waiting, Watch};

use super::wire::{self, Request};
use super::{Mode, Node};
use crate::name::ResourceType;

/// A change that waits for an acknowledgement goes out after this, acknowledged or not: a client that applies slowly
/// must not keep its configuration from ever changing. New content starts this time anew, up to three times as long.
pub const GATE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that does not answer a response for this long is taken for dead; reconnecting costs it nothing.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Names that one stream may subscribe to per type: ten thousand services with a handful of subsets each.
pub const SUBSCRIPTION_NAMES_MAX: usize = 50_000;
/// Length of a resource name: a DNS name with a port, a subset and a prefix is below 400.
pub const RESOURCE_NAME_BYTES_MAX: usize = 1024;
/// Size of a node. Istio's agents put labels and annotations of the pod into its metadata, some kilobytes.
pub const NODE_BYTES_MAX: usize = 64 * 1024;

/// What the caller of a [`Stream`] must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this gRPC frame.
    Send(Bytes),
    /// Tell whoever watches the stream.
    Report(StreamEvent),
    /// End the stream with this gRPC status. The stream takes nothing any more.
    Close { code: i32, message: String },
}

/// What happened on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The client's subscription to a type is new or changed.
    Subscribed { resource_type: ResourceType, names: usize, wildcard: bool },
    /// A response was handed to the transport.
    Sent { resource_type: ResourceType, generation: u64, resources: usize, removed: usize, bytes: usize },
    /// The client took the response that was sent for `generation`.
    Acked { resource_type: ResourceType, generation: u64 },
    /// The client refused it, or parts of it.
    Nacked { resource_type: ResourceType, generation: u64, message: Arc<str> },
    /// The client refuses this many of the resources that it asks for and is to have now; what it has of them is older
    /// or nothing. Whenever the number differs from the last report, so also when new content makes it zero.
    Refused { resource_type: ResourceType, names: usize },
    /// Everything of `generation` that this stream subscribes to has been sent and answered, or cannot be sent because
    /// of a refusal. `rejected`: some answer since the last such event was a NACK, or something is held back by an
    /// earlier one. Once per generation; generations that were overtaken are skipped.
    Settled { generation: u64, rejected: bool },
    /// Changes went out although what they depend on was not acknowledged within [`GATE_TIMEOUT`].
    GateExpired { resource_type: ResourceType, released: usize },
    /// The client did not answer within [`STALL_TIMEOUT`]; the stream is closed.
    Stalled { resource_type: ResourceType, generation: u64 },
}

/// One client's stream.
#[derive(Debug)]
pub struct Stream {
    mode: Mode,
    node: Option<Node>,
    set: Option<ResourceSet>,
    watches: BTreeMap<ResourceType, Watch>,
    /// Assignments whose clusters were announced before the client asked for the assignment: they are sent when it
    /// does, even if it says that it has them.
    to_warm: BTreeSet<Arc<str>>,
    nonces: u64,
    /// The last generation that [`StreamEvent::Settled`] was reported for.
    settled: Option<u64>,
    /// A NACK of a later generation came since then.
    nacked: bool,
    closed: bool,
}

impl Stream {
    /// A stream on which nothing was said yet.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            node: None,
            set: None,
            watches: BTreeMap::new(),
            to_warm: BTreeSet::new(),
            nonces: 0,
            settled: None,
            nacked: false,
            closed: false,
        }
    }

    /// Who is at the other end, once it has said so.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Takes a request.
    pub fn on_request(&mut self, request: Request, now: Instant, out: &mut Vec<Action>) {
        if self.closed {
            return;
        }
        let taken = self.admit(&request).and_then(|()| match request {
            Request::Delta(r) => self.on_delta(&r, out),
            Request::StateOfTheWorld(r) => self.on_state_of_the_world(&r, out),
        });
        match taken {
            Ok(()) => self.flush(now, out),
            Err(refusal) => self.close(refusal.code, refusal.message, out),
        }
    }

    /// Takes the resources that the client is to have.
    pub fn on_resources(&mut self, set: &ResourceSet, now: Instant, out: &mut Vec<Action>) {
        if self.closed {
            return;
        }
        let (before, why) = match self.set.take() {
            Some(before) => (before, Due::Changed),
            // What was subscribed to before there was anything is still a new subscription.
            None => (ResourceSet::default(), Due::New),
        };
        for (resource_type, watch) in &mut self.watches {
            for name in set.changed_since(&before, *resource_type) {
                if watch.concerns(&name) {
                    watch.examine(name, why);
                }
            }
        }
        self.set = Some(set.clone());
        self.flush(now, out);
    }

    /// Acts on deadlines that have passed.
    pub fn on_tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.closed {
            return;
        }
        let stalled = self.watches.iter().find_map(|(resource_type, watch)| {
            let flight = watch.in_flight.as_ref()?;
            (now >= flight.sent_at + STALL_TIMEOUT).then_some((*resource_type, flight.generation))
        });
        if let Some((resource_type, generation)) = stalled {
            out.push(Action::Report(StreamEvent::Stalled { resource_type, generation }));
            let message = format!("no answer to {resource_type} for {} s", STALL_TIMEOUT.as_secs());
            self.close(wire::UNAVAILABLE, message, out);
            return;
        }
        self.flush(now, out);
    }

    /// When [`Self::on_tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let stalls =
            self.watches.values().filter_map(|w| w.in_flight.as_ref()).map(|flight| flight.sent_at + STALL_TIMEOUT);
        // What waits behind an unanswered response is looked at when the answer comes.
        let gates = self
            .watches
            .values()
            .filter(|w| w.in_flight.is_none())
            .flat_map(|w| w.waiting.values())
            .filter_map(Waiting::deadline);
        stalls.chain(gates).min()
    }

    fn close(&mut self, code: i32, message: String, out: &mut Vec<Action>) {
        self.closed = true;
        self.watches.clear();
        self.set = None;
        out.push(Action::Close { code, message });
    }
}
