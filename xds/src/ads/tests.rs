//! The two machines talking to each other, under random schedules.
//!
//! The consumer here is a small proxy: it takes all clusters and listeners, the endpoints of its clusters and the
//! routes of its listeners, applies an update when it is delivered and concludes it some time later. Messages wait in
//! both directions until the schedule delivers them; connections break between any two of them.
//!
//! Two things must hold. Whatever happened, once everything is delivered the proxy has exactly what it is to have. And
//! while nothing is refused and nobody is too slow, it never holds a route to a cluster that it does not have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::client::{Client, ClientEvent, Output, Subscription, Update};
use super::fixture::{cluster, endpoints, listener, route};
use super::server::{Action, EncodedResource, ResourceSet, Stream, StreamEvent};
use super::wire::{FRAME_HEADER_BYTES, Request, Response};
use super::{Mode, Node};
use crate::name::ResourceType;
use crate::resource::listener::{ListenerKind, NetworkFilter, RouteSource};
use crate::resource::{Decoded, Resource};

/// One configuration: revisions of clusters `a` to `d` (0: there is none), of listeners `l` and `m` together with the
/// route each names, and the clusters that routes `r` and `s` send to (those of them that exist).
#[derive(Clone, Debug)]
struct Config {
    clusters: [u8; 4],
    assignments: [u8; 4],
    listeners: [(u8, bool); 2],
    routes: [[bool; 4]; 2],
}

const CLUSTERS: [&str; 4] = ["a", "b", "c", "d"];
const LISTENERS: [&str; 2] = ["l", "m"];
const ROUTES: [&str; 2] = ["r", "s"];

impl Config {
    fn resources(&self) -> Vec<Arc<EncodedResource>> {
        let mut resources = Vec::new();
        let exists = |i: usize| self.clusters[i] > 0;
        for (i, name) in CLUSTERS.iter().enumerate().filter(|(i, _)| exists(*i)) {
            resources.push(cluster(name, self.clusters[i].into()));
            resources.push(endpoints(name, self.assignments[i].into()));
        }
        for (name, (revision, second)) in LISTENERS.iter().zip(self.listeners) {
            if revision > 0 {
                resources.push(listener(name, ROUTES[usize::from(second)], revision.into()));
            }
        }
        for (name, uses) in ROUTES.iter().zip(self.routes) {
            let used: Vec<&str> = (0..4).filter(|i| uses[*i] && exists(*i)).map(|i| CLUSTERS[i]).collect();
            resources.push(route(name, &used));
        }
        resources
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Config),
    ToServer,
    ToClient,
    /// Concludes the open update of this type.
    Conclude(usize),
    Reconnect,
    /// The proxy will refuse the first resource of the next update.
    Refuse,
    Wait(Duration),
}

fn config() -> impl Strategy<Value = Config> {
    let listeners = prop::array::uniform2((0..3_u8, any::<bool>()));
    let routes = prop::array::uniform2(prop::array::uniform4(any::<bool>()));
    (prop::array::uniform4(0..3_u8), prop::array::uniform4(0..3_u8), listeners, routes)
        .prop_map(|(clusters, assignments, listeners, routes)| Config { clusters, assignments, listeners, routes })
}

/// Steps of a well-behaved run.
fn calm_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => config().prop_map(Step::Publish),
        8 => Just(Step::ToServer),
        8 => Just(Step::ToClient),
        8 => (0..4_usize).prop_map(Step::Conclude),
        1 => Just(Step::Reconnect),
    ]
}

/// Steps of any run.
fn wild_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => calm_step(),
        1 => Just(Step::Refuse),
        1 => (0..8_000_u64).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

/// Names and reasons.
type Rejected = Vec<(Arc<str>, String)>;

/// Both ends and what is between them.
struct World {
    mode: Mode,
    now: Instant,
    set: ResourceSet,
    stream: Stream,
    client: Client,
    to_server: VecDeque<Request>,
    to_client: VecDeque<Bytes>,
    /// What the proxy has.
    proxy: BTreeMap<(ResourceType, Arc<str>), (Arc<str>, Resource)>,
    open: BTreeMap<ResourceType, (Update, Rejected)>,
    refuse_next: bool,
    refused: bool,
    settled: Option<u64>,
    closed: bool,
    /// A new state-of-the-world stream begins with the complete set of clusters and cannot know which old ones the
    /// proxy's routes still name.
    unordered: bool,
}

impl World {
    fn new(mode: Mode) -> Self {
        let mut world = Self {
            mode,
            now: tokio::time::Instant::now().into_std(),
            set: ResourceSet::default(),
            stream: Stream::new(mode),
            client: Client::new(mode, &Node::default(), []),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            proxy: BTreeMap::new(),
            open: BTreeMap::new(),
            refuse_next: false,
            refused: false,
            settled: None,
            closed: false,
            unordered: false,
        };
        let mut out = Vec::new();
        world.client.on_open(&mut out);
        world.client.subscribe(ResourceType::Cluster, Subscription::Wildcard, &mut out);
        world.client.subscribe(ResourceType::Listener, Subscription::Wildcard, &mut out);
        world.client_says(out);
        world
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Publish(config) => {
                self.set = self.set.successor(self.set.generation() + 1, config.resources());
                let mut out = Vec::new();
                self.stream.on_resources(&self.set, self.now, &mut out);
                self.server_says(out);
            }
            Step::ToServer => self.deliver_to_server(),
            Step::ToClient => self.deliver_to_client(),
            Step::Conclude(nth) => {
                let open: Vec<ResourceType> = self.open.keys().copied().collect();
                if !open.is_empty() {
                    self.conclude(open[nth % open.len()]);
                }
            }
            Step::Reconnect => self.reconnect(),
            Step::Refuse => self.refuse_next = true,
            Step::Wait(time) => {
                self.now += *time;
                let mut out = Vec::new();
                self.stream.on_tick(self.now, &mut out);
                self.server_says(out);
            }
        }
    }

    fn deliver_to_server(&mut self) {
        let Some(request) = self.to_server.pop_front() else { return };
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        let mut out = Vec::new();
        self.stream.on_request(Request::decode(self.mode, &*bytes).unwrap(), self.now, &mut out);
        self.server_says(out);
    }

    fn deliver_to_client(&mut self) {
        let Some(frame) = self.to_client.pop_front() else { return };
        let response = Response::decode(self.mode, frame.slice(FRAME_HEADER_BYTES..)).unwrap();
        let mut out = Vec::new();
        self.client.on_response(response, &mut out);
        self.client_says(out);
    }

    fn conclude(&mut self, of: ResourceType) {
        let Some((update, rejected)) = self.open.remove(&of) else { return };
        let mut out = Vec::new();
        self.client.conclude(of, &update.nonce, rejected, &mut out);
        self.client_says(out);
    }

    fn reconnect(&mut self) {
        while let Some(of) = self.open.keys().next().copied() {
            self.conclude(of);
        }
        self.to_server.clear();
        self.to_client.clear();
        self.client.on_close();
        self.stream = Stream::new(self.mode);
        self.closed = false;
        self.settled = None;
        self.unordered = self.mode == Mode::StateOfTheWorld;
        let mut out = Vec::new();
        self.stream.on_resources(&self.set, self.now, &mut out);
        self.server_says(out);
        let mut out = Vec::new();
        self.client.on_open(&mut out);
        self.client_says(out);
    }

    fn server_says(&mut self, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Send(frame) => self.to_client.push_back(frame),
                Action::Report(StreamEvent::Settled { generation, .. }) => self.settled = Some(generation),
                Action::Report(_) => {}
                Action::Close { .. } => self.closed = true,
            }
        }
    }

    fn client_says(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(request) => self.to_server.push_back(request),
                Output::Event(ClientEvent::Update(update)) => self.apply(update),
                Output::Event(event) => panic!("not the machine's: {event:?}"),
                Output::Reset { reason } => panic!("our server does not flood: {reason}"),
            }
        }
    }

    fn apply(&mut self, update: Update) {
        let of = update.resource_type;
        let mut rejected = Vec::new();
        for received in &update.changed {
            if std::mem::take(&mut self.refuse_next) {
                self.refused = true;
                rejected.push((Arc::clone(&received.name), "no".to_owned()));
                continue;
            }
            let Decoded { resource, .. } = received.decoded.clone().unwrap();
            self.proxy.insert((of, Arc::clone(&received.name)), (Arc::clone(&received.version), resource));
        }
        for name in &update.removed {
            self.proxy.remove(&(of, Arc::clone(name)));
        }
        assert!(self.open.insert(of, (update, rejected)).is_none(), "one open update per type");
        match of {
            ResourceType::Cluster => self.follow(ResourceType::Endpoint, self.names(of)),
            ResourceType::Listener => self.follow(ResourceType::Route, self.routes_of_listeners()),
            _ => {}
        }
    }

    /// Subscribes to what an update made necessary, and drops what it made superfluous.
    fn follow(&mut self, of: ResourceType, names: BTreeSet<Arc<str>>) {
        self.proxy.retain(|(t, name), _| *t != of || names.contains(name));
        let mut out = Vec::new();
        self.client.subscribe(of, Subscription::Names(names), &mut out);
        self.client_says(out);
    }

    fn names(&self, of: ResourceType) -> BTreeSet<Arc<str>> {
        self.proxy.keys().filter(|(t, _)| *t == of).map(|(_, name)| Arc::clone(name)).collect()
    }

    fn routes_of_listeners(&self) -> BTreeSet<Arc<str>> {
        let route_of = |resource: &Resource| {
            let Resource::Listener(listener) = resource else { return None };
            let ListenerKind::Socket(socket) = &listener.kind else { return None };
            let NetworkFilter::Http(manager) = &socket.filter_chains[0].filter else { return None };
            let RouteSource::Rds(name) = &manager.routes else { return None };
            Some(Arc::clone(name))
        };
        self.proxy.values().filter_map(|(_, resource)| route_of(resource)).collect()
    }

    /// Delivers everything until nobody has anything to say, letting time pass when the gate holds something.
    fn run_dry(&mut self) {
        for _ in 0..1000 {
            self.deliver_to_server();
            self.deliver_to_client();
            if let Some(of) = self.open.keys().next().copied() {
                self.conclude(of);
            }
            if self.to_server.is_empty() && self.to_client.is_empty() && self.open.is_empty() {
                let Some(deadline) = self.stream.next_deadline() else { return };
                self.now = deadline;
                let mut out = Vec::new();
                self.stream.on_tick(self.now, &mut out);
                self.server_says(out);
            }
        }
        panic!("the two never stop talking");
    }

    fn assert_converged(&self) {
        let versions = |of| -> BTreeMap<Arc<str>, Arc<str>> {
            self.set.iter(of).map(|r| (Arc::clone(&r.name), self.version(r))).collect()
        };
        let has = |of| -> BTreeMap<Arc<str>, Arc<str>> {
            let of_type = self.proxy.iter().filter(|((t, _), _)| *t == of);
            of_type.map(|((_, name), (version, _))| (Arc::clone(name), Arc::clone(version))).collect()
        };
        for of in [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener] {
            assert_eq!(has(of), versions(of), "{of}");
        }
        let mut wanted = versions(ResourceType::Route);
        let named = self.routes_of_listeners();
        wanted.retain(|name, _| named.contains(name));
        assert_eq!(has(ResourceType::Route), wanted, "RDS");
        if self.set.generation() > 0 {
            assert_eq!(self.settled, Some(self.set.generation()));
        }
    }

    /// The version as the client sees it: in state of the world it is a hash of the bytes.
    fn version(&self, resource: &EncodedResource) -> Arc<str> {
        match self.mode {
            Mode::Delta => Arc::clone(&resource.version),
            Mode::StateOfTheWorld => {
                let key = (resource.resource_type, Arc::clone(&resource.name));
                let Some((version, held)) = self.proxy.get(&key) else { return Arc::clone(&resource.version) };
                assert_eq!(held.version(), resource.version, "{key:?}");
                Arc::clone(version)
            }
        }
    }

    fn assert_no_dangling_route(&self) {
        let clusters = self.names(ResourceType::Cluster);
        for (_, resource) in self.proxy.values() {
            if matches!(resource, Resource::Route(_)) {
                let encoded = EncodedResource::new(resource);
                for name in &encoded.clusters {
                    assert!(clusters.contains(name), "{} names {name}, which is not there", encoded.name);
                }
            }
        }
    }
}

fn converges(mode: Mode, steps: &[Step]) {
    let mut world = World::new(mode);
    for step in steps {
        world.take(step);
    }
    world.refuse_next = false;
    world.run_dry();
    if !world.closed && world.set.generation() > 0 {
        assert_eq!(world.settled, Some(world.set.generation()), "refusals keep no stream from settling");
    }
    // What was refused is offered again on a new stream, and only there.
    if world.refused || world.closed {
        world.reconnect();
    }
    world.run_dry();
    world.assert_converged();
}

fn never_dangles(mode: Mode, steps: &[Step]) {
    let mut world = World::new(mode);
    for step in steps {
        world.take(step);
        if world.unordered {
            world.run_dry();
            world.unordered = false;
        }
        world.assert_no_dangling_route();
    }
    // The gate never had to give up: everything went by acknowledgements alone.
    let before = world.now;
    world.run_dry();
    world.assert_converged();
    assert_eq!(world.now, before, "nothing waited for a timeout");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_delta_client_ends_up_with_the_servers_set(steps in prop::collection::vec(wild_step(), 0..120)) {
        converges(Mode::Delta, &steps);
    }

    #[test]
    fn whatever_happens_a_state_of_the_world_client_ends_up_with_the_servers_set(
        steps in prop::collection::vec(wild_step(), 0..120)
    ) {
        converges(Mode::StateOfTheWorld, &steps);
    }

    #[test]
    fn a_delta_client_never_holds_a_route_to_a_cluster_it_does_not_have(
        steps in prop::collection::vec(calm_step(), 0..120)
    ) {
        never_dangles(Mode::Delta, &steps);
    }

    #[test]
    fn a_state_of_the_world_client_never_holds_a_route_to_a_cluster_it_does_not_have(
        steps in prop::collection::vec(calm_step(), 0..120)
    ) {
        never_dangles(Mode::StateOfTheWorld, &steps);
    }

    #[test]
    fn random_requests_never_panic_the_server(
        bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8),
        delta in any::<bool>()
    ) {
        let mode = if delta { Mode::Delta } else { Mode::StateOfTheWorld };
        let mut world = World::new(mode);
        world.take(&Step::ToServer);
        for bytes in bytes {
            if let Ok(request) = Request::decode(mode, &*bytes) {
                let mut out = Vec::new();
                world.stream.on_request(request, world.now, &mut out);
            }
        }
    }

    #[test]
    fn random_responses_never_panic_the_client(
        type_url in prop::sample::select(ResourceType::ALL.to_vec()),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8),
        delta in any::<bool>()
    ) {
        let mode = if delta { Mode::Delta } else { Mode::StateOfTheWorld };
        let mut world = World::new(mode);
        let mut out = Vec::new();
        world.client.subscribe(type_url, Subscription::Wildcard, &mut out);
        let bodies = bodies.into_iter().map(Bytes::from);
        let type_url = type_url.type_url().to_owned();
        let response = match mode {
            Mode::Delta => Response::Delta(super::wire::DeltaDiscoveryResponse {
                type_url,
                resources: bodies
                    .map(|b| super::wire::WrappedResource { resource: Some(b), ..Default::default() })
                    .collect(),
                ..Default::default()
            }),
            Mode::StateOfTheWorld => Response::StateOfTheWorld(super::wire::DiscoveryResponse {
                type_url,
                resources: bodies.collect(),
                ..Default::default()
            }),
        };
        world.client.on_response(response, &mut out);
        for output in out {
            if let Output::Event(ClientEvent::Update(update)) = output {
                let mut out = Vec::new();
                world.client.conclude(update.resource_type, &update.nonce, Vec::new(), &mut out);
            }
        }
    }
}
