//! What the client's machine promises: to its consumer, and to the protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::*;
use crate::ads::fixture::{cluster, endpoints, route};
use crate::ads::server::EncodedResource;
use crate::ads::wire::{
    Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, ResourceError,
    ResourceName, RpcStatus, WRAPPED_RESOURCE_TYPE_URL, WrappedResource,
};

const BOTH: [Mode; 2] = [Mode::Delta, Mode::StateOfTheWorld];
const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoint;

/// A client, and what it said.
struct Bench {
    mode: Mode,
    client: Client,
    sent: Vec<Request>,
    updates: Vec<Update>,
    reset: Option<String>,
    nonces: u32,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        Self::holding(mode, &[])
    }

    fn holding(mode: Mode, held: &[&EncodedResource]) -> Self {
        let held = held.iter().map(|r| (r.resource_type, Arc::clone(&r.name), Arc::clone(&r.version)));
        let client = Client::new(mode, &Node { id: "web".into(), ..Node::default() }, held);
        Self { mode, client, sent: Vec::new(), updates: Vec::new(), reset: None, nonces: 0 }
    }

    /// Open and subscribed to all clusters, with these received and accepted.
    fn with_clusters(mode: Mode, clusters: &[&EncodedResource]) -> Self {
        let mut bench = Self::new(mode);
        bench.open();
        bench.subscribe(CDS, Subscription::Wildcard);
        bench.receive(CDS, clusters, &[]);
        bench.conclude(&[]);
        bench.sent.clear();
        bench
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(request) => self.sent.push(request),
                Output::Event(ClientEvent::Update(update)) => self.updates.push(update),
                Output::Event(event) => panic!("not the machine's: {event:?}"),
                Output::Reset { reason } => self.reset = Some(reason),
            }
        }
    }

    fn open(&mut self) {
        let mut out = Vec::new();
        self.client.on_open(&mut out);
        self.take(out);
    }

    fn reopen(&mut self) {
        self.client.on_close();
        self.sent.clear();
        self.open();
    }

    fn subscribe(&mut self, of: ResourceType, what: Subscription) {
        let mut out = Vec::new();
        self.client.subscribe(of, what, &mut out);
        self.take(out);
    }

    fn receive(&mut self, of: ResourceType, resources: &[&EncodedResource], removed: &[&str]) {
        let bodies = resources.iter().map(|r| (r.name.to_string(), r.version.to_string(), r.any.clone()));
        self.receive_raw(of, bodies.collect(), removed, Vec::new());
    }

    fn receive_raw(
        &mut self,
        of: ResourceType,
        bodies: Vec<(String, String, Bytes)>,
        removed: &[&str],
        resource_errors: Vec<ResourceError>,
    ) {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let type_url = of.type_url().to_owned();
        let response = match self.mode {
            Mode::Delta => Response::Delta(DeltaDiscoveryResponse {
                type_url,
                nonce,
                resources: bodies
                    .into_iter()
                    .map(|(name, version, any)| WrappedResource { name, version, resource: Some(any) })
                    .collect(),
                removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
                resource_errors,
                ..Default::default()
            }),
            Mode::StateOfTheWorld => Response::StateOfTheWorld(DiscoveryResponse {
                type_url,
                version_info: format!("v{nonce}"),
                nonce,
                resources: bodies.into_iter().map(|(_, _, any)| any).collect(),
                resource_errors,
            }),
        };
        self.respond(response);
    }

    fn respond(&mut self, response: Response) {
        let mut out = Vec::new();
        self.client.on_response(response, &mut out);
        self.take(out);
    }

    /// Answers the last update.
    fn conclude(&mut self, rejected: &[(&str, &str)]) {
        let Update { resource_type, nonce, .. } = self.updates.last().unwrap().clone();
        let rejected = rejected.iter().map(|(name, reason)| (Arc::from(*name), (*reason).to_owned())).collect();
        let mut out = Vec::new();
        self.client.conclude(resource_type, &nonce, rejected, &mut out);
        self.take(out);
    }

    fn last_update(&self) -> (Vec<&str>, Vec<&str>) {
        let update = self.updates.last().unwrap();
        (update.changed.iter().map(|r| &*r.name).collect(), update.removed.iter().map(|n| &**n).collect())
    }

    fn last(&self) -> Answer {
        match self.sent.last().unwrap().clone() {
            Request::Delta(DeltaDiscoveryRequest { response_nonce, error_detail, .. }) => {
                Answer { nonce: response_nonce, error: error_detail.map(|e| e.message), version: String::new() }
            }
            Request::StateOfTheWorld(DiscoveryRequest { response_nonce, error_detail, version_info, .. }) => {
                Answer { nonce: response_nonce, error: error_detail.map(|e| e.message), version: version_info }
            }
        }
    }

    fn held(&self, of: ResourceType) -> BTreeMap<String, String> {
        self.client.held(of).map(|(name, version)| (name.to_string(), version.to_string())).collect()
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    nonce: String,
    error: Option<String>,
    version: String,
}

fn names(names: &[&str]) -> Subscription {
    Subscription::Names(names.iter().map(|name| Arc::from(*name)).collect())
}

#[test]
fn the_node_goes_with_the_first_request_of_each_stream_and_no_other() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.subscribe(CDS, Subscription::Wildcard);
        bench.subscribe(EDS, names(&["a"]));
        assert_eq!(bench.sent, [], "nothing can be sent before a stream is open");

        for _ in 0..2 {
            bench.reopen();

            let nodes: Vec<_> = bench.sent.iter().map(|r| r.node().map(|n| &*n.id)).collect();
            assert_eq!(nodes, [Some("web"), None]);
        }
    }
}

#[test]
fn subscriptions_are_repeated_in_order_of_dependence_and_types_without_one_are_not_asked_for() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        for of in [ResourceType::Route, ResourceType::Listener, EDS, CDS] {
            bench.subscribe(of, names(&["x"]));
        }
        bench.subscribe(EDS, names(&[]));

        bench.reopen();

        let order: Vec<_> = bench.sent.iter().map(Request::type_url).collect();
        assert_eq!(order, [CDS, ResourceType::Listener, ResourceType::Route].map(ResourceType::type_url));
    }
}

#[test]
fn mistake_8_a_wildcard_is_always_spelt_out() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(CDS, Subscription::Wildcard);

        let asked = match &bench.sent[0] {
            Request::Delta(r) => &r.resource_names_subscribe,
            Request::StateOfTheWorld(r) => &r.resource_names,
        };
        assert_eq!(asked, &["*"]);
    }
}

#[test]
fn an_accepted_update_is_acknowledged_with_its_nonce_and_version() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(CDS, Subscription::Wildcard);
        bench.receive(CDS, &[&cluster("a", 1), &cluster("b", 1)], &[]);
        assert_eq!(bench.last_update().0, ["a", "b"]);
        assert!(bench.updates[0].changed[0].decoded.is_ok());

        bench.conclude(&[]);

        let version = if mode == Mode::Delta { "" } else { "v1" };
        assert_eq!(bench.last(), Answer { nonce: "1".into(), error: None, version: version.into() });
        assert_eq!(bench.held(CDS).len(), 2);
    }
}

#[test]
fn a_refusal_names_each_resource_and_keeps_what_was_held() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[&cluster("a", 1), &cluster("b", 1)]);
        let before = bench.held(CDS);
        bench.receive(CDS, &[&cluster("a", 2), &cluster("b", 2)], &[]);

        bench.conclude(&[("a", "connect_timeout: no")]);

        let version = if mode == Mode::Delta { "" } else { "v1" };
        let error = Some("a: connect_timeout: no".to_owned());
        assert_eq!(bench.last(), Answer { nonce: "2".into(), error, version: version.into() });
        assert_eq!(bench.held(CDS)["a"], before["a"], "partial acceptance: a is as it was");
        assert_ne!(bench.held(CDS)["b"], before["b"], "and b is new");
    }
}

#[test]
fn a_version_that_was_refused_is_not_listed_as_held_after_a_reconnect() {
    let mut bench = Bench::new(Mode::Delta);
    bench.open();
    bench.subscribe(CDS, Subscription::Wildcard);
    bench.receive(CDS, &[&cluster("good", 1), &cluster("bad", 1)], &[]);
    bench.conclude(&[("bad", "no")]);

    bench.reopen();

    let Request::Delta(request) = &bench.sent[0] else { panic!("delta") };
    assert_eq!(request.initial_resource_versions.keys().collect::<Vec<_>>(), ["good"]);
}

#[test]
fn what_is_held_from_an_earlier_life_is_listed_and_not_reported_when_it_comes_again() {
    let (a, b) = (cluster("a", 1), cluster("b", 1));
    let mut bench = Bench::holding(Mode::Delta, &[&a, &b]);
    bench.subscribe(CDS, names(&["a"]));
    bench.open();

    let Request::Delta(request) = &bench.sent[0] else { panic!("delta") };
    assert_eq!(request.initial_resource_versions, BTreeMap::from([("a".into(), a.version.to_string())]));
    bench.receive(CDS, &[&a], &[]);
    assert_eq!(bench.last_update(), (vec![], vec![]), "a first answer without news");
}

#[test]
fn resources_sent_again_unchanged_are_acknowledged_without_troubling_the_consumer() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[&cluster("a", 1), &cluster("b", 1)]);

        bench.receive(CDS, &[&cluster("a", 1), &cluster("b", 1)], &[]);
        assert_eq!((bench.updates.len(), bench.last().nonce, bench.last().error), (1, "2".into(), None));

        bench.receive(CDS, &[&cluster("a", 1), &cluster("b", 2)], &[]);
        assert_eq!(bench.last_update(), (vec!["b"], vec![]));
    }
}

#[test]
fn r11_omission_from_a_complete_state_is_a_removal() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[&cluster("a", 1), &cluster("b", 1)]);
        match mode {
            Mode::Delta => bench.receive(CDS, &[], &["b"]),
            Mode::StateOfTheWorld => bench.receive(CDS, &[&cluster("a", 1)], &[]),
        }

        assert_eq!(bench.last_update(), (vec![], vec!["b"]));
        bench.conclude(&[]);
        assert_eq!(bench.held(CDS).keys().collect::<Vec<_>>(), ["a"]);
    }
}

#[test]
fn r11_omission_of_endpoints_means_nothing() {
    let mut bench = Bench::new(Mode::StateOfTheWorld);
    bench.open();
    bench.subscribe(EDS, names(&["a", "b"]));
    bench.receive(EDS, &[&endpoints("a", 1), &endpoints("b", 1)], &[]);
    bench.conclude(&[]);

    bench.receive(EDS, &[&endpoints("a", 2)], &[]);
    assert_eq!(bench.last_update(), (vec!["a"], vec![]));
    bench.conclude(&[]);
    bench.receive(EDS, &[], &[]);
    assert_eq!((bench.updates.len(), bench.last().nonce), (2, "3".into()), "an empty response does nothing");
}

#[test]
fn r12_a_name_twice_in_a_response_is_refused_and_the_others_are_used() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(CDS, Subscription::Wildcard);
        bench.receive(CDS, &[&cluster("a", 1), &cluster("b", 1), &cluster("a", 2)], &[]);
        assert_eq!(bench.last_update().0, ["b"]);

        bench.conclude(&[]);

        assert_eq!(bench.last().error.unwrap(), "a: is in the response twice");
        assert_eq!(bench.held(CDS).keys().collect::<Vec<_>>(), ["b"]);
    }
}

#[test]
fn a_resource_that_does_not_decode_is_refused_even_if_the_consumer_does_not_say_so() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(CDS, Subscription::Wildcard);
        let not_a_cluster = Any { type_url: EDS.type_url().into(), value: b"\x0a\x01x".as_slice().into() };
        let bodies = vec![
            ("a".to_owned(), "1".to_owned(), cluster("a", 1).any.clone()),
            ("x".to_owned(), "1".to_owned(), not_a_cluster.encode_to_vec().into()),
            ("y".to_owned(), "1".to_owned(), Bytes::from_static(b"\xff")),
        ];
        bench.receive_raw(CDS, bodies, &[], Vec::new());

        bench.conclude(&[]);

        let error = bench.last().error.unwrap();
        let third = if mode == Mode::Delta { "y: not an Any" } else { "resource index 2: not an Any" };
        assert!(error.contains("x: type_url: ") && error.contains(third), "{error}");
        assert_eq!(bench.held(CDS).keys().collect::<Vec<_>>(), ["a"]);
    }
}

#[test]
fn mistake_15_refused_content_that_comes_again_is_reported_again() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[&cluster("a", 1)]);
        for _ in 0..2 {
            bench.receive(CDS, &[&cluster("a", 2)], &[]);
            assert_eq!(bench.last_update(), (vec!["a"], vec![]), "refusal is not absence");
            bench.conclude(&[("a", "no")]);
        }
        assert_eq!(bench.updates.len(), 3);
    }
}

#[test]
fn mistake_16_what_nobody_wants_any_more_is_acknowledged() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[&cluster("a", 1)]);
        bench.subscribe(CDS, names(&[]));

        bench.receive(CDS, &[&cluster("a", 2)], &[]);

        assert_eq!((bench.last().nonce, bench.last().error, bench.updates.len()), ("2".into(), None, 1));
    }
}

#[test]
fn mistake_13_after_a_reconnect_only_what_is_still_wanted_is_asked_for() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(ResourceType::Route, names(&["kept", "deleted"]));
        bench.receive(ResourceType::Route, &[&route("kept", &["a"]), &route("deleted", &["a"])], &[]);
        bench.conclude(&[]);
        bench.subscribe(ResourceType::Route, names(&["kept"]));

        bench.reopen();

        match &bench.sent[0] {
            Request::Delta(r) => {
                assert_eq!(r.resource_names_subscribe, ["kept"]);
                assert_eq!(r.initial_resource_versions.keys().collect::<Vec<_>>(), ["kept"]);
            }
            Request::StateOfTheWorld(r) => assert_eq!(r.resource_names, ["kept"]),
        }
    }
}

#[test]
fn delta_subscription_changes_are_sent_as_differences_without_a_nonce() {
    let mut bench = Bench::with_clusters(Mode::Delta, &[&cluster("a", 1)]);
    bench.receive(CDS, &[&cluster("a", 2)], &[]);

    bench.subscribe(CDS, names(&["a", "b"]));

    let Request::Delta(request) = bench.sent.last().unwrap() else { panic!("delta") };
    assert_eq!(request.resource_names_subscribe, ["a", "b"]);
    assert_eq!((&*request.resource_names_unsubscribe, &*request.response_nonce), (&["*".to_owned()][..], ""));
}

#[test]
fn a_state_of_the_world_subscription_change_waits_for_the_answer_that_would_otherwise_be_an_ack() {
    let mut bench = Bench::with_clusters(Mode::StateOfTheWorld, &[&cluster("a", 1)]);
    bench.receive(CDS, &[&cluster("a", 2)], &[]);
    bench.subscribe(CDS, names(&["a", "b"]));
    assert_eq!(bench.sent, []);

    bench.conclude(&[("a", "no")]);

    let [Request::StateOfTheWorld(request)] = &bench.sent[..] else { panic!("one request") };
    assert_eq!(request.resource_names, ["a", "b"]);
    assert!(request.error_detail.is_some());
    bench.subscribe(CDS, names(&["b"]));
    let Request::StateOfTheWorld(request) = bench.sent.last().unwrap() else { panic!("state of the world") };
    assert_eq!((&*request.resource_names, &*request.response_nonce), (&["b".to_owned()][..], "2"));
}

#[test]
fn one_update_of_a_type_is_open_at_a_time_and_a_flood_ends_the_connection() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[]);
        for revision in 1..=3 {
            bench.receive(CDS, &[&cluster("a", revision)], &[]);
        }
        assert_eq!(bench.updates.len(), 2, "the first, empty one and one more");
        bench.conclude(&[]);
        assert_eq!((bench.updates.len(), bench.last().nonce), (3, "2".into()));

        for revision in 4..=20 {
            bench.receive(CDS, &[&cluster("a", revision)], &[]);
        }
        assert!(bench.reset.unwrap().contains("without an answer"));
    }
}

#[test]
fn an_update_of_a_lost_stream_counts_when_it_is_concluded_but_is_not_answered() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[]);
        bench.receive(CDS, &[&cluster("a", 1)], &[]);
        bench.reopen();
        bench.nonces = 0;
        bench.receive(CDS, &[&cluster("a", 1)], &[]);
        let requests = bench.sent.len();

        bench.conclude(&[]);

        assert_eq!(bench.held(CDS).len(), 1);
        assert_eq!(bench.last_update(), (vec![], vec![]), "the new stream's first answer brings no news");
        assert_eq!(bench.sent.len(), requests, "the old nonce is not sent on the new stream");
        bench.conclude(&[]);
        assert_eq!(bench.last().nonce, "1");
    }
}

#[test]
fn a_nonce_that_is_not_the_open_updates_is_ignored() {
    let mut bench = Bench::with_clusters(Mode::Delta, &[]);
    bench.receive(CDS, &[&cluster("a", 1)], &[]);
    let mut out = Vec::new();

    bench.client.conclude(CDS, "other", Vec::new(), &mut out);

    assert_eq!(out, []);
    bench.conclude(&[]);
    assert_eq!(bench.last().nonce, "2");
}

#[test]
fn r10_a_delta_name_that_does_not_exist_is_reported_as_removed() {
    let mut bench = Bench::new(Mode::Delta);
    bench.open();
    bench.subscribe(EDS, names(&["a"]));

    bench.receive(EDS, &[], &["a", "never asked for"]);

    assert_eq!(bench.last_update(), (vec![], vec!["a"]));
}

#[test]
fn r16_a_heartbeat_changes_nothing_and_removes_nothing() {
    let mut bench = Bench::with_clusters(Mode::Delta, &[&cluster("a", 1)]);
    let version = bench.held(CDS)["a"].clone();

    bench.respond(Response::Delta(DeltaDiscoveryResponse {
        type_url: CDS.type_url().into(),
        nonce: "beat".into(),
        resources: vec![WrappedResource { name: "a".into(), version, resource: None }],
        ..Default::default()
    }));

    assert_eq!((bench.updates.len(), bench.last().nonce), (1, "beat".into()));
    assert_eq!(bench.held(CDS).len(), 1);
}

#[test]
fn a_resource_wrapped_in_state_of_the_world_is_unwrapped() {
    let mut bench = Bench::new(Mode::StateOfTheWorld);
    bench.open();
    bench.subscribe(CDS, Subscription::Wildcard);
    let inner = WrappedResource { name: "a".into(), version: "7".into(), resource: Some(cluster("a", 1).any.clone()) };
    let any = Any { type_url: WRAPPED_RESOURCE_TYPE_URL.into(), value: inner.encode_to_vec().into() };

    bench.receive_raw(CDS, vec![(String::new(), String::new(), any.encode_to_vec().into())], &[], Vec::new());

    let received = &bench.updates[0].changed[0];
    assert_eq!((&*received.name, &*received.version, received.decoded.is_ok()), ("a", "7", true));
}

#[test]
fn what_the_server_says_of_a_resource_it_cannot_give_reaches_the_consumer() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(EDS, names(&["a"]));
        let error = ResourceError {
            resource_name: Some(ResourceName { name: "a".into() }),
            error_detail: Some(RpcStatus { code: 7, message: "not yours".into() }),
        };

        bench.receive_raw(EDS, Vec::new(), &[], vec![error]);

        assert_eq!(bench.updates[0].errors, [(Arc::from("a"), "not yours".to_owned())]);
    }
}

#[test]
fn a_nack_is_never_longer_than_its_bound_and_counts_what_it_leaves_out() {
    let mut bench = Bench::with_clusters(Mode::Delta, &[]);
    bench.receive(CDS, &[&cluster("a", 1)], &[]);
    let reason = "é".repeat(500);
    let rejected: Vec<(String, &str)> = (0..20).map(|i| (format!("c{i}"), &*reason)).collect();

    bench.conclude(&rejected.iter().map(|(n, r)| (&**n, *r)).collect::<Vec<_>>());

    let error = bench.last().error.unwrap();
    assert!(error.len() <= NACK_BYTES_MAX && error.ends_with("; and 16 more"), "{}", error.len());

    let mut bench = Bench::with_clusters(Mode::Delta, &[]);
    bench.receive(CDS, &[&cluster("a", 1)], &[]);
    bench.conclude(&[("a", &"é".repeat(5000))]);
    let error = bench.last().error.unwrap();
    assert!(error.len() <= NACK_BYTES_MAX && error.starts_with("a: éé"), "{}", error.len());
}

#[test]
fn a_response_of_a_type_that_was_never_asked_for_is_ignored() {
    for mode in BOTH {
        let mut bench = Bench::with_clusters(mode, &[]);

        bench.receive(EDS, &[&endpoints("a", 1)], &[]);

        assert_eq!((bench.updates.len(), bench.sent.len()), (1, 0));
    }
}

#[test]
fn pauses_double_up_to_a_bound_differ_by_half_and_start_over_after_an_answer() {
    let mut back_off = BackOff::default();
    let nominal: Vec<_> = (0..8).map(|_| back_off.pause(0.5).as_millis()).collect();
    assert_eq!(nominal, [500, 1000, 2000, 2000, 2000, 2000, 2000, 2000]);

    back_off.reset();
    assert_eq!(back_off.pause(0.0).as_millis(), 250);
    back_off.reset();
    assert_eq!(back_off.pause(0.999).as_millis(), 749);
}

#[test]
fn a_name_given_up_and_wanted_again_before_the_answer_is_received_again() {
    let mut bench = Bench::new(Mode::StateOfTheWorld);
    bench.open();
    bench.subscribe(EDS, names(&["a", "b"]));
    bench.receive(EDS, &[&endpoints("a", 1), &endpoints("b", 1)], &[]);
    bench.sent.clear();
    bench.subscribe(EDS, names(&["b"]));
    bench.subscribe(EDS, names(&["a", "b"]));

    bench.conclude(&[]);

    let lists = bench.sent.iter().map(|r| match r {
        Request::StateOfTheWorld(r) => r.resource_names.clone(),
        Request::Delta(_) => panic!("state of the world"),
    });
    assert_eq!(lists.collect::<Vec<_>>(), [vec!["b"], vec!["a", "b"]], "the server never saw the list between");
    bench.receive(EDS, &[&endpoints("a", 1)], &[]);
    assert_eq!(bench.last_update().0, ["a"], "what was given up is not held, so it is news");
}

#[test]
fn what_was_given_up_before_its_update_was_concluded_is_not_held() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(EDS, names(&["a", "b"]));
        bench.receive(EDS, &[&endpoints("a", 1), &endpoints("b", 1)], &[]);
        bench.subscribe(EDS, names(&["b"]));

        bench.conclude(&[]);

        assert_eq!(bench.held(EDS).keys().collect::<Vec<_>>(), ["b"]);
    }
}

/// Type, nonce and names of what was sent.
fn lists(sent: &[Request]) -> Vec<(String, String, Vec<String>)> {
    let list = |request: &Request| match request.clone() {
        Request::StateOfTheWorld(r) => (r.type_url, r.response_nonce, r.resource_names),
        Request::Delta(r) => {
            let names = [r.resource_names_subscribe, r.resource_names_unsubscribe];
            (r.type_url, r.response_nonce, names.concat())
        }
    };
    sent.iter().map(list).collect()
}

#[test]
fn an_answer_waits_for_the_names_that_follow_from_it_where_those_wait_for_an_answer() {
    let mut bench = Bench::new(Mode::StateOfTheWorld);
    bench.open();
    bench.subscribe(CDS, Subscription::Wildcard);
    bench.subscribe(EDS, names(&["a"]));
    bench.receive(EDS, &[&endpoints("a", 1)], &[]);
    bench.receive(CDS, &[&cluster("a", 1), &cluster("b", 1)], &[]);
    bench.sent.clear();
    bench.subscribe(EDS, names(&["a", "b"]));

    bench.conclude(&[]);
    assert_eq!(bench.sent, [], "the server would take the clusters for done, and nobody has asked for the endpoints");
    let of_endpoints = bench.updates[0].clone();
    bench.updates.push(of_endpoints);
    bench.conclude(&[]);

    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let of = |of: ResourceType, nonce: &str, names: &[&str]| (of.type_url().to_owned(), nonce.to_owned(), text(names));
    assert_eq!(lists(&bench.sent), [of(EDS, "1", &["a", "b"]), of(CDS, "2", &["*"])]);
}

#[test]
fn a_refused_resource_is_asked_for_again_and_is_news_then() {
    for mode in BOTH {
        let mut bench = Bench::new(mode);
        bench.open();
        bench.subscribe(EDS, names(&["a", "b"]));
        bench.receive(EDS, &[&endpoints("a", 1), &endpoints("b", 1)], &[]);
        bench.conclude(&[("a", "too late")]);
        bench.sent.clear();

        let mut out = Vec::new();
        bench.client.ask_again(EDS, &"a".into(), &mut out);
        bench.take(out);

        let asked: Vec<_> = lists(&bench.sent).into_iter().map(|(_, _, names)| names.join(" ")).collect();
        match mode {
            Mode::Delta => assert_eq!(asked, ["a"]),
            Mode::StateOfTheWorld => assert_eq!(asked, ["b", "a b"], "given up, and asked for"),
        }
        bench.receive(EDS, &[&endpoints("a", 1)], &[]);
        assert_eq!(bench.last_update().0, ["a"]);
    }
}
