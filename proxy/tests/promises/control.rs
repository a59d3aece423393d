//! A proxy driven end to end by a control plane over the discovery service, in both variants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_proxy::{Options, Proxy};
use tidegate_xds::ads::server::{EncodedResource, ResourceSet, StreamEvent};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::listener::RouteSource;
use tidegate_xds::transport::{ClientConfig, Control, Refusal, Session, serve};
use tokio::sync::{mpsc, watch};

use crate::backend::echo;
use crate::client::{Client, get};
use crate::resources::{
    all_to, assignment, cluster, eds_cluster, http_listener, of_cluster, of_listener, of_routes, options,
};

const PATIENCE: Duration = Duration::from_secs(10);

struct Plane {
    resources: watch::Sender<Arc<ResourceSet>>,
    events: Mutex<mpsc::UnboundedSender<StreamEvent>>,
}

impl Control for Plane {
    fn open(&self, _node: &Node, _mode: Mode, _peer: SocketAddr) -> Result<Session, Refusal> {
        let events = self.events.lock().expect("alive").clone();
        Ok(Session { resources: self.resources.subscribe(), observer: Box::new(move |event| drop(events.send(event))) })
    }
}

struct Mesh {
    plane: Arc<Plane>,
    address: SocketAddr,
    events: mpsc::UnboundedReceiver<StreamEvent>,
    generation: u64,
    server: tokio::task::JoinHandle<()>,
}

impl Mesh {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (sender, events) = mpsc::unbounded_channel();
        let (resources, _) = watch::channel(Arc::new(ResourceSet::default()));
        let plane = Arc::new(Plane { resources, events: Mutex::new(sender) });
        let control: Arc<dyn Control> = Arc::clone(&plane) as Arc<dyn Control>;
        let server = tokio::spawn(async move {
            serve(listener, control, std::future::pending()).await.expect("serves");
        });
        Self { plane, address, events, generation: 0, server }
    }

    fn push(&mut self, resources: Vec<Resource>) {
        self.generation += 1;
        let encoded = resources.iter().map(EncodedResource::new);
        self.plane.resources.send_replace(Arc::new(ResourceSet::new(self.generation, encoded)));
    }

    /// Waits until the proxy has answered everything of the last push; `true` when something was refused.
    async fn settled(&mut self) -> bool {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("settles").expect("alive");
            if let StreamEvent::Settled { generation, rejected } = event
                && generation == self.generation
            {
                return rejected;
            }
        }
    }

    async fn nack(&mut self) -> (ResourceType, Arc<str>) {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("a NACK").expect("alive");
            if let StreamEvent::Nacked { resource_type, message, .. } = event {
                return (resource_type, message);
            }
        }
    }

    fn proxy(&self, mode: Mode, options: Options) -> Proxy {
        let node = Node { id: "reviews.shop".into(), user_agent: "tidegate-proxy".into(), ..Node::default() };
        let control = ClientConfig { server: self.address.to_string(), node, mode, held: Vec::new() };
        Proxy::start(Options { control: Some(control), ..options }).expect("starts")
    }
}

async fn listening(proxy: &Proxy) -> SocketAddr {
    let waiting = async {
        loop {
            if let Some(address) = proxy.listener_address("in").await {
                return address;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("listens")
}

fn shop(target: &str, clusters: &[(&str, SocketAddr)]) -> Vec<Resource> {
    let mut all = vec![of_routes(all_to("r", target)), of_listener(http_listener("in", RouteSource::Rds("r".into())))];
    for (name, address) in clusters {
        all.push(of_cluster(eds_cluster(name)));
        all.push(assignment(name, &[*address]));
    }
    all
}

async fn drives(mode: Mode) {
    let (one, two) = (echo("one").await, echo("two").await);
    let mut mesh = Mesh::start().await;
    mesh.push(shop("one", &[("one", one)]));
    let proxy = mesh.proxy(mode, options());
    assert!(!mesh.settled().await, "nothing is refused");
    let address = listening(&proxy).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.text(), "one GET / ");

    // What is settled is in force: no request after it sees the old route, and no request fails in between.
    for round in 0..20 {
        let (target, other) = if round % 2 == 0 { (("two", two), "two") } else { (("one", one), "one") };
        mesh.push(shop(target.0, &[target]));
        assert!(!mesh.settled().await, "nothing is refused");
        assert_eq!(client.get("/").await.text(), format!("{other} GET / "));
    }
}

#[tokio::test]
async fn a_control_plane_drives_the_proxy_incrementally() {
    drives(Mode::Delta).await;
}

#[tokio::test]
async fn a_control_plane_drives_the_proxy_with_the_state_of_the_world() {
    drives(Mode::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_bad_resource_is_refused_towards_the_control_plane_by_name_and_the_rest_applies() {
    let (one, two) = (echo("one").await, echo("two").await);
    let mut mesh = Mesh::start().await;
    mesh.push(shop("one", &[("one", one)]));
    let proxy = mesh.proxy(Mode::Delta, options());
    mesh.settled().await;
    let address = listening(&proxy).await;

    let mut resources = shop("two", &[("one", one), ("two", two)]);
    let mut bad = cluster("bad", Http1, &[]);
    bad.discovery = tidegate_xds::resource::cluster::Discovery::OriginalDestination;
    resources.push(of_cluster(bad));
    mesh.push(resources);

    let (resource_type, message) = mesh.nack().await;
    assert_eq!(resource_type, ResourceType::Cluster);
    assert!(message.contains("bad") && message.contains("type"), "{message}");
    assert!(mesh.settled().await, "something is refused");
    assert_eq!(get(address, "/").await.text(), "two GET / ");
}

#[tokio::test]
async fn the_proxy_serves_on_without_its_control_plane_and_restarts_without_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let kept = || Options { state_dir: Some(directory.path().to_owned()), ..options() };
    let mut mesh = Mesh::start().await;
    mesh.push(shop("one", &[("one", echo("one").await)]));
    let proxy = mesh.proxy(Mode::Delta, kept());
    mesh.settled().await;
    let address = listening(&proxy).await;

    mesh.server.abort();
    assert_eq!(get(address, "/").await.text(), "one GET / ");
    drop(proxy);
    let proxy = mesh.proxy(Mode::Delta, kept());

    assert_eq!(get(listening(&proxy).await, "/").await.text(), "one GET / ");
}
