//! What a request means: the answer to a response, a change of the subscription, or both.

use std::sync::Arc;

use prost::Message;

use super::frame::Contents;
use super::watch::{Due, Held, WILDCARD, Watch};
use super::{Action, NODE_BYTES_MAX, RESOURCE_NAME_BYTES_MAX, SUBSCRIPTION_NAMES_MAX, Stream, StreamEvent};
use crate::ads::wire::{
    DeltaDiscoveryRequest, DiscoveryRequest, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, Request, RpcStatus,
};
use crate::ads::{Mode, Node};
use crate::name::ResourceType;

/// Why a stream is closed.
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) message: String,
}

fn refuse<T>(code: i32, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, message: message.into() })
}

impl Stream {
    /// Checks what holds for every request, and remembers the node.
    pub(super) fn admit(&mut self, request: &Request) -> Result<(), Refused> {
        let mode = match request {
            Request::Delta(_) => Mode::Delta,
            Request::StateOfTheWorld(_) => Mode::StateOfTheWorld,
        };
        if mode != self.mode {
            return refuse(INVALID_ARGUMENT, "a request of the other variant of the protocol");
        }
        let too_long = |name: &String| name.len() > RESOURCE_NAME_BYTES_MAX;
        let any_too_long = match request {
            Request::Delta(r) => {
                r.resource_names_subscribe.iter().chain(r.initial_resource_versions.keys()).any(too_long)
            }
            Request::StateOfTheWorld(r) => r.resource_names.iter().any(too_long),
        };
        if any_too_long {
            return refuse(INVALID_ARGUMENT, format!("a resource name is longer than {RESOURCE_NAME_BYTES_MAX} bytes"));
        }
        match (&self.node, request.node()) {
            // Repeated nodes are allowed and change nothing: the first one decided what this stream is shown.
            (Some(_), _) => Ok(()),
            (None, None) => refuse(INVALID_ARGUMENT, "the first request of a stream carries the node"),
            (None, Some(node)) if node.encoded_len() > NODE_BYTES_MAX => {
                refuse(RESOURCE_EXHAUSTED, format!("the node is larger than {NODE_BYTES_MAX} bytes"))
            }
            (None, Some(node)) => {
                self.node = Some(Node::from(node));
                Ok(())
            }
        }
    }

    pub(super) fn on_delta(&mut self, r: &DeltaDiscoveryRequest, out: &mut Vec<Action>) -> Result<(), Refused> {
        let Some(resource_type) = ResourceType::from_type_url(&r.type_url) else {
            self.answer_unknown_type(r, out);
            return Ok(());
        };
        let first = !self.watches.contains_key(&resource_type);
        let watch = self.watches.entry(resource_type).or_insert_with(|| Watch::new(resource_type));

        let answers = watch.in_flight.as_ref().is_some_and(|flight| *flight.nonce == r.response_nonce);
        if answers && !r.response_nonce.is_empty() {
            self.nacked |= conclude(watch, resource_type, r.error_detail.as_ref(), self.settled, out);
        }

        // A stale nonce only means that nothing was acknowledged; the subscription counts all the same.
        if first {
            for (name, version) in &r.initial_resource_versions {
                let name: Arc<str> = name.as_str().into();
                watch.held.insert(Arc::clone(&name), Held::Version(version.as_str().into()));
                watch.examine(name, Due::New);
            }
        }
        let change = watch.subscription.adjust(first, &r.resource_names_subscribe, &r.resource_names_unsubscribe);
        let names = watch.subscription.names.len();
        if names > SUBSCRIPTION_NAMES_MAX || watch.held.len() > SUBSCRIPTION_NAMES_MAX {
            return refuse(RESOURCE_EXHAUSTED, format!("more than {SUBSCRIPTION_NAMES_MAX} names of one type"));
        }
        for name in change.asked {
            let warm = resource_type == ResourceType::Endpoint && self.to_warm.remove(&name);
            let brought = first && watch.held.contains_key(&name);
            watch.examine(name, if brought && !warm { Due::New } else { Due::Asked });
        }
        for name in change.dropped {
            // With a wildcard, giving up a name changes what the client knows about it: tell it what holds now.
            if watch.subscription.wildcard {
                watch.examine(name, Due::Asked);
            }
        }
        self.began(resource_type, change.wildcard_began, first || change.differs, out);
        Ok(())
    }

    pub(super) fn on_state_of_the_world(&mut self, r: &DiscoveryRequest, out: &mut Vec<Action>) -> Result<(), Refused> {
        // There is no way to say "no such resource" to a type without names; the client's own timer says it.
        let Some(resource_type) = ResourceType::from_type_url(&r.type_url) else { return Ok(()) };
        let first = !self.watches.contains_key(&resource_type);
        let watch = self.watches.entry(resource_type).or_insert_with(|| Watch::new(resource_type));

        match &watch.in_flight {
            Some(flight) if *flight.nonce == r.response_nonce => {
                self.nacked |= conclude(watch, resource_type, r.error_detail.as_ref(), self.settled, out);
            }
            // Stale: written before the client saw the last response. The list comes again with the fresh nonce.
            Some(_) => return Ok(()),
            None => {
                let stale = !r.response_nonce.is_empty() && watch.last_nonce.as_deref() != Some(&*r.response_nonce);
                if stale && !first {
                    return Ok(());
                }
            }
        }

        let change = watch.subscription.replace(&r.resource_names);
        if watch.subscription.names.len() > SUBSCRIPTION_NAMES_MAX {
            return refuse(RESOURCE_EXHAUSTED, format!("more than {SUBSCRIPTION_NAMES_MAX} names of one type"));
        }
        for name in change.asked {
            if resource_type == ResourceType::Endpoint {
                self.to_warm.remove(&name);
            }
            watch.examine(name, Due::Asked);
        }
        self.began(resource_type, change.wildcard_began, first || change.differs, out);
        Ok(())
    }

    /// Follows up a change of the subscription.
    fn began(&mut self, resource_type: ResourceType, wildcard_began: bool, differs: bool, out: &mut Vec<Action>) {
        let Some(watch) = self.watches.get_mut(&resource_type) else { return };
        watch.forget_unwanted();
        if wildcard_began {
            watch.owes_answer = true;
            for resource in self.set.iter().flat_map(|set| set.iter(resource_type)) {
                let warm = resource_type == ResourceType::Endpoint && self.to_warm.remove(&resource.name);
                watch.examine(Arc::clone(&resource.name), if warm { Due::Warm } else { Due::New });
            }
        }
        if differs {
            let Watch { subscription, .. } = watch;
            out.push(Action::Report(StreamEvent::Subscribed {
                resource_type,
                names: subscription.names.len(),
                wildcard: subscription.wildcard,
            }));
        }
    }

    /// Says of every name of a type that is not served that there is no such resource, so that nobody waits for it.
    fn answer_unknown_type(&mut self, r: &DeltaDiscoveryRequest, out: &mut Vec<Action>) {
        let asked = r.resource_names_subscribe.iter().filter(|name| *name != WILDCARD);
        let mut removed: Vec<Arc<str>> = asked.map(|name| name.as_str().into()).collect();
        removed.sort_unstable();
        removed.dedup();
        // With a nonce and without names it is an answer, and answers are not answered.
        if removed.is_empty() && !r.response_nonce.is_empty() {
            return;
        }
        let nonce = self.next_nonce();
        let contents = Contents {
            mode: self.mode,
            type_url: &r.type_url,
            nonce: &nonce,
            version: "",
            resources: &[],
            removed: &removed,
            missing: &[],
        };
        out.push(Action::Send(contents.encode()));
    }

    /// Unique on the stream, across types.
    pub(super) fn next_nonce(&mut self) -> Box<str> {
        self.nonces += 1;
        format!("{:x}", self.nonces).into()
    }
}

/// Takes an ACK or NACK of the response in flight. Whether it refuses something of a generation that is not yet settled:
/// a later refusal, of what was asked for after that, says nothing about the generation that comes next.
fn conclude(
    watch: &mut Watch,
    resource_type: ResourceType,
    error: Option<&RpcStatus>,
    settled: Option<u64>,
    out: &mut Vec<Action>,
) -> bool {
    let message = error.map(|status| status.message.as_str());
    let Some(flight) = watch.conclude(message) else { return false };
    let generation = flight.generation;
    out.push(Action::Report(match message {
        None => StreamEvent::Acked { resource_type, generation },
        Some(message) => StreamEvent::Nacked { resource_type, generation, message: message.into() },
    }));
    message.is_some() && settled.is_none_or(|settled| generation > settled)
}
