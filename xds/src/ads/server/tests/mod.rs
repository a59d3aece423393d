//! What the server's machine promises, rule by rule (R1 to R20 of the protocol notes) and mistake by mistake.
//!
//! Every test runs in both variants unless its name says which. Rules and mistakes that are not the business of this
//! machine, and where they are looked after:
//!
//! | rule or mistake | where |
//! |---|---|
//! | R12 duplicate names are refused, R20 does-not-exist timer | the client: `ads::client::tests` |
//! | R15 aliases | they exist for VHDS, which is not served; such a subscription is answered "no such resource" |
//! | R16 TTL | the server sends no heartbeats; that the client understands them is tested in `ads::client::tests` |
//! | 13 routes of deleted listeners asked for after a reconnect, 15 a NACK taken for absence, 16 no ACK without subscribers | the client: `ads::client::tests` |
//! | 14 a cache key that misses an input | the control plane's translation, whose functions see nothing but their key |
//! | 17 memory of snapshots, 18 recomputing everything per proxy | here resources are shared and only changed names are looked at: `a_change_costs_the_names_that_changed`; the rest is the control plane's |
//! | 19 ECDS deleted before it is unreferenced | ECDS is not served; the same rule for routes, clusters and assignments is in [`make_before_break`] |

mod make_before_break;
mod mistakes;
mod refusals;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;

use super::{Action, EncodedResource, ResourceSet, Stream, StreamEvent};
use crate::ads::Mode;
use crate::ads::wire::{
    Any, DeltaDiscoveryRequest, DiscoveryRequest, FRAME_HEADER_BYTES, NameOnly, Request, Response, RpcStatus, WireNode,
};
use crate::name::ResourceType;

const BOTH: [Mode; 2] = [Mode::Delta, Mode::StateOfTheWorld];
const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoint;
const LDS: ResourceType = ResourceType::Listener;
const RDS: ResourceType = ResourceType::Route;
const SDS: ResourceType = ResourceType::Secret;

/// A response as a client reads it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    of: ResourceType,
    nonce: String,
    version: String,
    /// Names, in order.
    names: Vec<String>,
    bodies: BTreeMap<String, Any>,
    removed: Vec<String>,
    missing: Vec<String>,
}

/// A stream and the least a client does to talk to it.
struct Bench {
    mode: Mode,
    stream: Stream,
    now: Instant,
    events: Vec<StreamEvent>,
    closed: Option<(i32, String)>,
    introduced: bool,
    /// State of the world: the list and nonce to repeat, by type.
    lists: BTreeMap<ResourceType, (BTreeSet<String>, String)>,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            stream: Stream::new(mode),
            now: tokio::time::Instant::now().into_std(),
            events: Vec::new(),
            closed: None,
            introduced: false,
            lists: BTreeMap::new(),
        }
    }

    /// A stream that is to have these resources, as generation 1.
    fn with(mode: Mode, resources: &[&Arc<EncodedResource>]) -> Self {
        let mut bench = Self::new(mode);
        let sent = bench.publish(1, resources);
        assert_eq!(sent, [], "nothing is sent before it is asked for");
        bench
    }

    fn publish(&mut self, generation: u64, resources: &[&Arc<EncodedResource>]) -> Vec<Seen> {
        let set = ResourceSet::new(generation, resources.iter().map(|r| Arc::clone(r)));
        let mut out = Vec::new();
        self.stream.on_resources(&set, self.now, &mut out);
        self.take(out)
    }

    fn request(&mut self, request: Request) -> Vec<Seen> {
        let mut out = Vec::new();
        self.stream.on_request(request, self.now, &mut out);
        self.take(out)
    }

    fn tick_after(&mut self, time: Duration) -> Vec<Seen> {
        self.now += time;
        let mut out = Vec::new();
        self.stream.on_tick(self.now, &mut out);
        self.take(out)
    }

    /// Adds names to the subscription; none at all is the legacy wildcard of a first request.
    fn ask(&mut self, of: ResourceType, names: &[&str]) -> Vec<Seen> {
        match self.mode {
            Mode::Delta => self.delta(of, |r| r.resource_names_subscribe = owned(names)),
            Mode::StateOfTheWorld => {
                self.lists.entry(of).or_default().0.extend(owned(names));
                self.repeat(of, None)
            }
        }
    }

    /// Takes names out of it.
    fn drop_names(&mut self, of: ResourceType, names: &[&str]) -> Vec<Seen> {
        match self.mode {
            Mode::Delta => self.delta(of, |r| r.resource_names_unsubscribe = owned(names)),
            Mode::StateOfTheWorld => {
                self.lists.entry(of).or_default().0.retain(|name| !names.contains(&name.as_str()));
                self.repeat(of, None)
            }
        }
    }

    fn ack(&mut self, response: &Seen) -> Vec<Seen> {
        self.answer(response, None)
    }

    fn nack(&mut self, response: &Seen, message: &str) -> Vec<Seen> {
        self.answer(response, Some(message))
    }

    fn answer(&mut self, response: &Seen, error: Option<&str>) -> Vec<Seen> {
        let error = error.map(|message| RpcStatus { code: 3, message: message.to_owned() });
        match self.mode {
            Mode::Delta => self.delta(response.of, |r| {
                r.response_nonce.clone_from(&response.nonce);
                r.error_detail = error;
            }),
            Mode::StateOfTheWorld => {
                self.lists.entry(response.of).or_default().1.clone_from(&response.nonce);
                self.repeat(response.of, error)
            }
        }
    }

    fn delta(&mut self, of: ResourceType, fill: impl FnOnce(&mut DeltaDiscoveryRequest)) -> Vec<Seen> {
        let mut request = DeltaDiscoveryRequest { type_url: of.type_url().to_owned(), ..Default::default() };
        request.node = self.introduce();
        fill(&mut request);
        self.request(Request::Delta(request))
    }

    /// A state-of-the-world request with the list and nonce as they stand.
    fn repeat(&mut self, of: ResourceType, error_detail: Option<RpcStatus>) -> Vec<Seen> {
        let node = self.introduce();
        let (names, nonce) = self.lists.entry(of).or_default();
        let request = DiscoveryRequest {
            type_url: of.type_url().to_owned(),
            resource_names: names.iter().cloned().collect(),
            response_nonce: nonce.clone(),
            error_detail,
            node,
            ..Default::default()
        };
        self.request(Request::StateOfTheWorld(request))
    }

    fn introduce(&mut self) -> Option<Box<WireNode>> {
        let first = !std::mem::replace(&mut self.introduced, true);
        first.then(|| Box::new(node()))
    }

    fn take(&mut self, out: Vec<Action>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for action in out {
            assert_eq!(self.closed, None, "nothing follows a close");
            match action {
                Action::Send(frame) => seen.push(read(self.mode, &frame)),
                Action::Report(event) => self.events.push(event),
                Action::Close { code, message } => self.closed = Some((code, message)),
            }
        }
        seen
    }

    /// Sends an ACK to each of these and to whatever follows, until the server is quiet. Gives back all that followed.
    fn settle(&mut self, responses: Vec<Seen>) -> Vec<Seen> {
        let mut pending = std::collections::VecDeque::from(responses);
        let mut followed = Vec::new();
        while let Some(response) = pending.pop_front() {
            let more = self.ack(&response);
            followed.extend(more.iter().cloned());
            pending.extend(more);
        }
        followed
    }

    /// Subscribes like a proxy: clusters and listeners all, the others by name, everything acknowledged.
    fn start_proxy(&mut self, endpoints: &[&str], routes: &[&str]) {
        for (of, names) in [(CDS, &["*"] as &[&str]), (EDS, endpoints), (LDS, &["*"]), (RDS, routes)] {
            let sent = self.ask(of, names);
            self.settle(sent);
        }
    }

    fn settled(&self) -> Vec<(u64, bool)> {
        let settled = |event: &StreamEvent| match event {
            StreamEvent::Settled { generation, rejected } => Some((*generation, *rejected)),
            _ => None,
        };
        self.events.iter().filter_map(settled).collect()
    }
}

fn node() -> WireNode {
    WireNode { id: "web-1.shop".to_owned(), ..WireNode::default() }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn read(mode: Mode, frame: &[u8]) -> Seen {
    let len = u32::from_be_bytes(frame[1..FRAME_HEADER_BYTES].try_into().unwrap());
    assert_eq!((frame[0], len as usize), (0, frame.len() - FRAME_HEADER_BYTES), "a gRPC prefix");
    let response = Response::decode(mode, &frame[FRAME_HEADER_BYTES..]).unwrap();
    assert_eq!(response.frame(), frame, "written as the messages are");
    let of = ResourceType::from_type_url(response.type_url()).unwrap();
    let mut seen = Seen {
        of,
        nonce: response.nonce().to_owned(),
        version: String::new(),
        names: Vec::new(),
        bodies: BTreeMap::new(),
        removed: Vec::new(),
        missing: Vec::new(),
    };
    let errors = match response {
        Response::Delta(r) => {
            seen.version = r.system_version_info;
            seen.removed = r.removed_resources;
            for resource in r.resources {
                let any = Any::decode(resource.resource.unwrap()).unwrap();
                assert_eq!(NameOnly::decode(&*any.value).unwrap().name, resource.name);
                seen.names.push(resource.name.clone());
                seen.bodies.insert(resource.name, any);
            }
            r.resource_errors
        }
        Response::StateOfTheWorld(r) => {
            seen.version = r.version_info;
            for bytes in r.resources {
                let any = Any::decode(bytes).unwrap();
                let name = NameOnly::decode(&*any.value).unwrap().name;
                seen.names.push(name.clone());
                seen.bodies.insert(name, any);
            }
            r.resource_errors
        }
    };
    seen.missing = errors.into_iter().map(|e| e.resource_name.unwrap().name).collect();
    seen
}

/// The only response.
#[track_caller]
fn one(mut responses: Vec<Seen>) -> Seen {
    assert_eq!(responses.len(), 1, "one response: {responses:?}");
    responses.remove(0)
}

fn types(responses: &[Seen]) -> Vec<ResourceType> {
    responses.iter().map(|r| r.of).collect()
}

fn body(resource: &EncodedResource) -> Any {
    Any::decode(resource.any.clone()).unwrap()
}
