//! Both ends over loopback, with real HTTP/2 between them.
//!
//! Nothing here sleeps: every step waits for an event of the client or the server. Time runs as it does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use super::client::{ClientEvent, Subscription, Update};
use super::codec::ClientCodec;
use super::server::{REQUEST_BYTES_MAX, STREAMS_PER_NODE_MAX};
use super::*;
use crate::ads::fixture::{cluster, endpoints};
use crate::ads::server::{EncodedResource, ResourceSet, StreamEvent};
use crate::ads::wire::{DeltaDiscoveryRequest, DiscoveryRequest, Request, Response, WireNode};
use crate::ads::{Mode, Node};
use crate::name::ResourceType;

const BOTH: [Mode; 2] = [Mode::Delta, Mode::StateOfTheWorld];
const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoint;
/// A test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives every node the same resources, except one that is not let in.
struct Everyone {
    resources: watch::Sender<Arc<ResourceSet>>,
    events: mpsc::UnboundedSender<StreamEvent>,
}

impl Control for Everyone {
    fn open(&self, node: &Node, _: Mode, peer: SocketAddr) -> Result<Session, Refusal> {
        assert!(peer.ip().is_loopback());
        if &*node.id == "intruder" {
            return Err(Refusal { code: 7, message: "not in this mesh".to_owned() });
        }
        let events = self.events.clone();
        Ok(Session {
            resources: self.resources.subscribe(),
            // A test that has seen enough does not listen any more.
            observer: Box::new(move |event| events.send(event).unwrap_or_default()),
        })
    }
}

/// A running server.
struct Server {
    address: SocketAddr,
    control: Arc<Everyone>,
    events: mpsc::UnboundedReceiver<StreamEvent>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), TransportError>>,
}

impl Server {
    async fn start(resources: &[&Arc<EncodedResource>]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, resources)
    }

    fn start_on(listener: TcpListener, resources: &[&Arc<EncodedResource>]) -> Self {
        let address = listener.local_addr().unwrap();
        let set = ResourceSet::new(1, resources.iter().map(|r| Arc::clone(r)));
        let (sender, events) = mpsc::unbounded_channel();
        let control = Arc::new(Everyone { resources: watch::Sender::new(Arc::new(set)), events: sender });
        let (stop, stopped) = oneshot::channel();
        let until = async move { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(serve(listener, Arc::clone(&control) as Arc<dyn Control>, until));
        Self { address, control, events, stop, task }
    }

    fn publish(&self, generation: u64, resources: &[&Arc<EncodedResource>]) {
        let next = |set: &mut Arc<ResourceSet>| {
            *set = Arc::new(set.successor(generation, resources.iter().map(|r| Arc::clone(r))));
        };
        self.control.resources.send_modify(next);
    }

    /// The next event for which `pick` has something.
    async fn event<T>(&mut self, mut pick: impl FnMut(&StreamEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = pick(&self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    async fn settled(&mut self) -> (u64, bool) {
        self.event(|event| match event {
            StreamEvent::Settled { generation, rejected } => Some((*generation, *rejected)),
            _ => None,
        })
        .await
    }

    async fn shut_down(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// A client and its events.
struct Proxy {
    handle: ClientHandle,
    events: mpsc::Receiver<ClientEvent>,
}

impl Proxy {
    fn start(server: SocketAddr, node: &str, mode: Mode) -> Self {
        let node = Node { id: node.into(), ..Node::default() };
        let (handle, events) = connect(ClientConfig { server: server.to_string(), node, mode, held: Vec::new() });
        handle.subscribe(CDS, Subscription::Wildcard);
        Self { handle, events }
    }

    async fn event(&mut self) -> ClientEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap()
    }

    async fn update(&mut self) -> Update {
        loop {
            if let ClientEvent::Update(update) = self.event().await {
                return update;
            }
        }
    }

    async fn disconnected(&mut self) -> String {
        loop {
            if let ClientEvent::Disconnected { reason } = self.event().await {
                return reason;
            }
        }
    }

    async fn accept_next(&mut self) {
        let update = self.update().await;
        self.accept(&update);
    }

    fn accept(&self, update: &Update) {
        self.handle.conclude(update.resource_type, Arc::clone(&update.nonce), Vec::new());
    }
}

fn names(update: &Update) -> Vec<&str> {
    update.changed.iter().map(|received| &*received.name).collect()
}

#[tokio::test]
async fn a_client_subscribes_and_follows_changes() {
    for mode in BOTH {
        let mut server = Server::start(&[&cluster("a", 1), &endpoints("a", 1)]).await;
        let mut proxy = Proxy::start(server.address, "web", mode);

        assert_eq!(proxy.event().await, ClientEvent::Connected);
        let clusters = proxy.update().await;
        assert_eq!((clusters.resource_type, names(&clusters)), (CDS, vec!["a"]));
        proxy.handle.subscribe(EDS, Subscription::Names(BTreeSet::from(["a".into()])));
        proxy.accept(&clusters);
        let assignment = proxy.update().await;
        assert_eq!((assignment.resource_type, names(&assignment)), (EDS, vec!["a"]));
        proxy.accept(&assignment);
        assert_eq!(server.settled().await, (1, false));

        server.publish(2, &[&cluster("a", 1), &endpoints("a", 2)]);
        let assignment = proxy.update().await;
        assert_eq!(names(&assignment), ["a"]);
        proxy.accept(&assignment);
        assert_eq!(server.settled().await, (2, false));

        server.publish(3, &[]);
        let gone = proxy.update().await;
        assert_eq!((names(&gone), &*gone.removed), (vec![], &[Arc::from("a")][..]));
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_server_by_name_and_ends_with_new_content() {
    for mode in BOTH {
        let mut server = Server::start(&[&cluster("a", 1)]).await;
        let mut proxy = Proxy::start(server.address, "web", mode);
        let update = proxy.update().await;

        proxy.handle.conclude(CDS, update.nonce, vec![("a".into(), "connect_timeout: no".to_owned())]);

        let message = server
            .event(|event| match event {
                StreamEvent::Nacked { message, .. } => Some(Arc::clone(message)),
                _ => None,
            })
            .await;
        assert_eq!(&*message, "a: connect_timeout: no");
        assert_eq!(server.settled().await, (1, true));
        server.publish(2, &[&cluster("a", 2)]);
        proxy.accept_next().await;
        assert_eq!(server.settled().await, (2, false));
    }
}

#[tokio::test]
async fn after_a_restart_of_the_server_no_resource_is_sent_again() {
    let set = [&cluster("a", 1), &cluster("b", 1)];
    let mut server = Server::start(&set).await;
    let address = server.address;
    let mut proxy = Proxy::start(address, "web", Mode::Delta);
    proxy.accept_next().await;
    server.settled().await;

    server.shut_down().await;
    assert!(proxy.disconnected().await.contains("shutting down"));
    let mut server = Server::start_on(TcpListener::bind(address).await.unwrap(), &set);

    let update = proxy.update().await;
    assert_eq!((names(&update), update.removed.len()), (vec![], 0));
    proxy.accept(&update);
    let sent = server
        .event(|event| match event {
            StreamEvent::Sent { resources, removed, .. } => Some((*resources, *removed)),
            _ => None,
        })
        .await;
    assert_eq!(sent, (0, 0));
    assert_eq!(server.settled().await, (1, false));
}

#[tokio::test]
async fn a_client_waits_for_a_server_that_is_not_there_yet() {
    for mode in BOTH {
        let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let mut proxy = Proxy::start(address, "web", mode);
        assert!(!proxy.disconnected().await.is_empty());

        let _server = Server::start_on(TcpListener::bind(address).await.unwrap(), &[&cluster("a", 1)]);

        assert_eq!(names(&proxy.update().await), ["a"]);
    }
}

#[tokio::test]
async fn r20_a_client_is_connected_only_when_the_stream_stands() {
    // A server that takes connections and says nothing at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut proxy = Proxy::start(address, "web", Mode::Delta);
    let (silent, _) = listener.accept().await.unwrap();
    assert!(proxy.events.try_recv().is_err());

    drop((listener, silent));

    assert!(matches!(proxy.event().await, ClientEvent::Disconnected { .. }), "and never Connected");
}

#[tokio::test]
async fn a_node_that_is_refused_learns_why() {
    for mode in BOTH {
        let server = Server::start(&[&cluster("a", 1)]).await;
        let mut proxy = Proxy::start(server.address, "intruder", mode);

        assert_eq!(proxy.disconnected().await, "PermissionDenied: not in this mesh");
    }
}

#[tokio::test]
async fn dropping_the_handle_ends_the_stream_and_frees_its_place() {
    for mode in BOTH {
        let mut server = Server::start(&[&cluster("a", 1)]).await;
        for _ in 0..=STREAMS_PER_NODE_MAX {
            let mut proxy = Proxy::start(server.address, "web", mode);
            proxy.accept_next().await;
            server.settled().await;
            let Proxy { handle, events } = proxy;
            drop((handle, events));
            // The session's receiver is dropped with the stream's task.
            tokio::time::timeout(PATIENCE, server.control.resources.closed()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn one_node_cannot_take_more_than_its_places() {
    let mut server = Server::start(&[&cluster("a", 1)]).await;
    let mut proxies = Vec::new();
    for _ in 0..STREAMS_PER_NODE_MAX {
        let mut proxy = Proxy::start(server.address, "web", Mode::Delta);
        proxy.accept_next().await;
        server.settled().await;
        proxies.push(proxy);
    }

    let mut one_more = Proxy::start(server.address, "web", Mode::Delta);
    assert!(one_more.disconnected().await.starts_with("ResourceExhausted: node web has"));
    assert_eq!(names(&Proxy::start(server.address, "other", Mode::Delta).update().await), ["a"]);
}

#[tokio::test]
async fn twenty_targets_of_one_grpc_client_get_a_stream_each_on_one_connection() {
    for (mode, path) in [(Mode::Delta, DELTA_PATH), (Mode::StateOfTheWorld, STATE_OF_THE_WORLD_PATH)] {
        let server = Server::start(&[&cluster("a", 1)]).await;
        let channel = channel_to(server.address).await;
        let mut open = Vec::new();
        for _ in 0..20 {
            let (requests, response) = stream_on(channel.clone(), mode, path).await;
            let node = Some(Box::new(WireNode { id: "app".to_owned(), ..WireNode::default() }));
            let type_url = CDS.type_url().to_owned();
            let first = match mode {
                Mode::Delta => Request::Delta(DeltaDiscoveryRequest { node, type_url, ..Default::default() }),
                Mode::StateOfTheWorld => {
                    Request::StateOfTheWorld(DiscoveryRequest { node, type_url, ..Default::default() })
                }
            };
            requests.send(first).await.unwrap();
            let mut responses = response.unwrap().into_inner();
            assert!(tokio::time::timeout(PATIENCE, responses.message()).await.unwrap().unwrap().is_some());
            open.push((requests, responses));
        }
        assert_eq!(open.len(), 20);
    }
}

type Opened = Result<tonic::Response<tonic::Streaming<Response>>, tonic::Status>;

/// A stream on which a test says what it likes.
async fn raw_stream(server: SocketAddr, path: &'static str) -> (mpsc::Sender<Request>, Opened) {
    stream_on(channel_to(server).await, Mode::Delta, path).await
}

async fn channel_to(server: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap()
}

async fn stream_on(channel: Channel, mode: Mode, path: &'static str) -> (mpsc::Sender<Request>, Opened) {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let (requests, outgoing) = mpsc::channel(8);
    let request = tonic::Request::new(ReceiverStream::new(outgoing));
    let path = http::uri::PathAndQuery::from_static(path);
    (requests, grpc.streaming(request, path, ClientCodec(mode)).await)
}

#[tokio::test]
async fn a_request_that_is_too_large_ends_the_stream() {
    let server = Server::start(&[&cluster("a", 1)]).await;
    let (requests, response) = raw_stream(server.address, DELTA_PATH).await;
    let node = Some(Box::new(WireNode { id: "x".repeat(REQUEST_BYTES_MAX + 1), ..WireNode::default() }));

    requests.send(Request::Delta(DeltaDiscoveryRequest { node, ..Default::default() })).await.unwrap();

    let status = response.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_request_without_a_node_ends_the_stream() {
    let server = Server::start(&[&cluster("a", 1)]).await;
    let (requests, response) = raw_stream(server.address, DELTA_PATH).await;

    requests.send(Request::Delta(DeltaDiscoveryRequest::default())).await.unwrap();

    let status = response.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_method_that_is_not_served_is_unimplemented() {
    let server = Server::start(&[]).await;

    let (_requests, response) = raw_stream(server.address, "/grpc.health.v1.Health/Watch").await;

    assert_eq!(response.unwrap_err().code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_client_that_closes_its_side_ends_the_stream_with_ok() {
    let server = Server::start(&[&cluster("a", 1)]).await;
    let (requests, response) = raw_stream(server.address, DELTA_PATH).await;
    let node = Some(Box::new(WireNode { id: "web".to_owned(), ..WireNode::default() }));
    let type_url = CDS.type_url().to_owned();
    requests.send(Request::Delta(DeltaDiscoveryRequest { node, type_url, ..Default::default() })).await.unwrap();
    let mut responses = response.unwrap().into_inner();
    assert!(responses.message().await.unwrap().is_some());

    drop(requests);

    assert_eq!(responses.message().await.unwrap(), None);
}

#[tokio::test]
async fn garbage_on_the_wire_ends_a_stream_and_nothing_else() {
    let server = Server::start(&[&cluster("a", 1)]).await;
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut channel = channel;
    for garbage in [&b"\x00\x00\x00\x00\x03\xff\xff\xff"[..], b"\x07\xff\xff\xff\xffxx", b"\x01\x00\x00\x00\x01a", b""]
    {
        use tonic::codegen::Service as _;
        let body = http_body_util::Full::new(Bytes::copy_from_slice(garbage));
        let request = http::Request::post(format!("http://{}{DELTA_PATH}", server.address))
            .body(tonic::body::Body::new(body))
            .unwrap();
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        let response = channel.call(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        assert_ne!(body.trailers().unwrap()["grpc-status"], "0");
    }

    assert_eq!(names(&Proxy::start(server.address, "web", Mode::Delta).update().await), ["a"]);
}
