//! What two proxies tell their control plane about the requests that went through both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_proxy::{Options, Proxy};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::report_service::{Edge, EdgeKey, EdgeReport, Protocol, ReportAck, Reporter, Security};
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::cluster::{Cluster, Discovery, ServiceName};
use tidegate_xds::resource::endpoint::LocalityEndpoints;
use tidegate_xds::resource::listener::{Direction, Listener};
use tidegate_xds::resource::route::{DirectResponse, RouteAction};
use tidegate_xds::transport::ClientConfig;
use tidegate_xds::transport::report::{EdgeReports, EdgeService, EdgeStream};
use tidegate_xds::transport::server::{Control, Other, Refusal, Session, serve_with_others};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::backend::{Switchable, nobody, says};
use crate::client::{Client, get};
use crate::resources::{
    all_to, cluster, http_listener, inline, localities, of_cluster, of_listener, options, route, routes, start_with,
};

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A control plane that only listens to reports: the newest numbers of each edge of each process.
#[derive(Clone)]
struct Collector {
    heard: Arc<Mutex<Heard>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Heard {
    edges: BTreeMap<(String, u64, u32), Edge>,
    /// Processes that have said their last.
    over: Vec<String>,
}

impl Control for Collector {
    fn open(&self, _: &Node, _: Mode, _: SocketAddr) -> Result<Session, Refusal> {
        Err(Refusal { code: 14, message: "only reports are taken here".to_owned() })
    }
}

impl EdgeReports for Collector {
    fn open(&self, _: SocketAddr) -> Box<dyn EdgeStream> {
        Box::new(Stream { collector: self.clone(), keys: BTreeMap::new() })
    }
}

struct Stream {
    collector: Collector,
    keys: BTreeMap<u32, EdgeKey>,
}

impl EdgeStream for Stream {
    fn take(&mut self, report: EdgeReport) -> Pin<Box<dyn Future<Output = Result<ReportAck, String>> + Send + '_>> {
        let EdgeReport { node, epoch, sequence, edges, last, .. } = report;
        let mut heard = self.collector.heard.lock().expect("no panic");
        for mut edge in edges {
            match edge.key.take() {
                Some(key) => drop(self.keys.insert(edge.id, key)),
                None => assert!(self.keys.contains_key(&edge.id), "edge {} was not named on this stream", edge.id),
            }
            edge.key = self.keys.get(&edge.id).cloned();
            heard.edges.insert((node.clone(), epoch, edge.id), edge);
        }
        if last {
            heard.over.push(node);
        }
        drop(heard);
        self.collector.changed.send_modify(|count| *count += 1);
        Box::pin(std::future::ready(Ok(ReportAck { sequence, interval_ms: 200 })))
    }
}

impl Collector {
    fn new() -> Self {
        Self { heard: Arc::default(), changed: watch::channel(0).0 }
    }

    /// Serves at an address until the sender says so or goes.
    async fn serve(&self, listener: TcpListener) -> watch::Sender<bool> {
        let (stop, stopping) = watch::channel(false);
        let service = EdgeService::new(Arc::new(self.clone()), stopping.clone());
        let others: Vec<Arc<dyn Other>> = vec![Arc::new(service)];
        let control: Arc<dyn Control> = Arc::new(self.clone());
        let mut until = stopping;
        tokio::spawn(async move {
            let stopped = async move { drop(until.wait_for(|stopped| *stopped).await) };
            serve_with_others(listener, control, None, others, stopped).await.expect("serves");
        });
        stop
    }

    /// Waits until what was heard is as wanted.
    async fn until(&self, wanted: impl Fn(&Heard) -> bool) {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            while !wanted(&self.heard.lock().expect("no panic")) {
                changes.changed().await.expect("alive");
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(ended.is_ok(), "heard only {:#?}", self.heard.lock().expect("no panic").edges);
    }

    /// Requests by reporter, source, destination, service and how they ended.
    fn totals(&self) -> BTreeMap<String, u64> {
        totals(&self.heard.lock().expect("no panic"))
    }
}

fn totals(heard: &Heard) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for edge in heard.edges.values() {
        let key = edge.key.clone().expect("named");
        let reporter = if key.reporter() == Reporter::Source { "source" } else { "destination" };
        let [from, to] = [&key.source, &key.destination].map(|workload| {
            workload
                .as_ref()
                .map_or_else(|| "?".to_owned(), |workload| format!("{}/{}", workload.app, workload.version))
        });
        let service = key.service.as_ref().map_or("?", |service| service.name.as_str());
        for outcome in &edge.outcomes {
            let name = format!("{reporter} {from} > {to} {service} {} {}", outcome.code, outcome.flags);
            *totals.entry(name.trim().to_owned()).or_default() += outcome.count;
        }
    }
    totals
}

fn whose(listener: Listener, direction: Direction, workload: &str) -> Resource {
    of_listener(Listener { direction, workload: Some(workload.into()), ..listener })
}

fn service(cluster: Cluster) -> Cluster {
    let service =
        ServiceName { host: "reviews.shop.svc.cluster.local".into(), name: "reviews".into(), namespace: "shop".into() };
    Cluster { service: Some(service), ..cluster }
}

/// An endpoint that is known to be a workload.
fn known(address: SocketAddr, workload: &str) -> Vec<LocalityEndpoints> {
    let mut localities = localities(&[address]);
    localities.iter_mut().flat_map(|l| &mut l.endpoints).for_each(|e| e.workload = Some(workload.into()));
    localities
}

fn reporting(node: &str, control: SocketAddr) -> Options {
    let node = Node { id: node.into(), user_agent: "tidegate-proxy".into(), ..Node::default() };
    let control = ClientConfig { server: control.to_string(), node, mode: Mode::Delta, held: Vec::new() };
    Options { control: Some(control), ..options() }
}

async fn server(control: SocketAddr, backend: SocketAddr) -> (Proxy, SocketAddr) {
    let listener = http_listener("in", inline(all_to("r", "inbound|80||")));
    let resources = vec![
        of_cluster(service(cluster("inbound|80||", Http1, &[backend]))),
        whose(listener, Direction::Inbound, "reviews-v1;shop;reviews;v1;"),
    ];
    start_with(reporting("reviews-v1.shop", control), resources).await
}

async fn client(control: SocketAddr, server: SocketAddr) -> (Proxy, SocketAddr) {
    let made = RouteAction::DirectResponse(DirectResponse { status: 404, body: Arc::default() });
    let listed = all_to("r", "reviews").virtual_hosts.remove(0).routes;
    let unreached = all_to("r", "nobody").virtual_hosts.remove(0).routes.remove(0).action;
    let mut all = vec![route("/made", made), route("/unreached", unreached)];
    all.extend(listed);
    let unreachable = known(nobody().await, "reviews-v2;shop;reviews;v2;");
    let resources = vec![
        of_cluster(service(Cluster {
            discovery: Discovery::Static(known(server, "reviews-v1;shop;reviews;v1;")),
            ..cluster("reviews", Http1, &[])
        })),
        of_cluster(service(Cluster { discovery: Discovery::Static(unreachable), ..cluster("nobody", Http1, &[]) })),
        whose(http_listener("in", inline(routes("r", all))), Direction::Outbound, "web-1;shop;web;v1;"),
    ];
    start_with(reporting("web-1.shop", control), resources).await
}

#[tokio::test]
async fn both_proxies_count_each_request_once_whatever_becomes_of_them_or_of_their_control_plane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let control = listener.local_addr().expect("bound");
    let collector = Collector::new();
    let stop = collector.serve(listener).await;
    let backend = Switchable::start("reviews").await;
    let (reviews, at) = server(control, backend.address).await;
    let (web, address) = client(control, at).await;

    let mut connection = Client::connect(address).await;
    for _ in 0..20 {
        assert_eq!(connection.get("/").await.status, 200);
    }
    backend.answer(503);
    for _ in 0..5 {
        assert_eq!(connection.get("/").await.status, 503);
    }
    assert_eq!(get(address, "/made").await.status, 404);
    assert_eq!(get(address, "/unreached").await.status, 503);
    let wanted = [
        ("destination web/v1 > reviews/v1 reviews 200", 20),
        ("destination web/v1 > reviews/v1 reviews 503", 5),
        ("source web/v1 > ? ? 404", 1),
        ("source web/v1 > reviews/v1 reviews 200", 20),
        ("source web/v1 > reviews/v1 reviews 503", 5),
        ("source web/v1 > reviews/v2 reviews 503 UF", 1),
    ];
    let wanted: BTreeMap<String, u64> = wanted.map(|(name, count)| (name.to_owned(), count)).into();
    collector.until(|heard| totals(heard) == wanted).await;

    // While nobody listens, requests go on; another one that listens at the same place hears of all of them.
    stop.send_replace(true);
    backend.answer(200);
    let listener = loop {
        match TcpListener::bind(control).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    for _ in 0..7 {
        assert_eq!(connection.get("/").await.status, 200);
    }
    let anew = Collector::new();
    let _stop = anew.serve(listener).await;
    drop(connection);
    // The last numbers of a process that ends are said as well.
    web.drain();
    web.ended().await;
    reviews.drain();
    reviews.ended().await;

    anew.until(|heard| heard.over.len() == 2).await;
    let mut wanted = wanted;
    for (name, count) in &mut wanted {
        *count += if name.ends_with("> reviews/v1 reviews 200") { 7 } else { 0 };
    }
    assert_eq!(anew.totals(), wanted);
    let heard = anew.heard.lock().expect("no panic");
    for edge in heard.edges.values() {
        let counted: u64 = edge.outcomes.iter().map(|outcome| outcome.count).sum();
        assert_eq!(edge.counts.iter().sum::<u64>(), counted, "each request is in the sketch");
        let key = edge.key.as_ref().expect("named");
        assert_eq!((key.protocol(), key.security() == Security::Plain), (Protocol::Http, key.service.is_some()));
    }
}

#[tokio::test]
async fn a_workload_does_not_see_that_its_proxy_was_told_who_calls() {
    let (collector, listener) = (Collector::new(), TcpListener::bind("127.0.0.1:0").await.expect("loopback"));
    let control = listener.local_addr().expect("bound");
    let _stop = collector.serve(listener).await;
    let (_reviews, at) = server(control, crate::backend::echo("reviews").await).await;
    let (_web, address) = client(control, at).await;
    let mut connection = Client::connect(address).await;

    for _ in 0..2 {
        let head = connection.get("/").await;
        assert_eq!(head.status, 200);
        assert!(!head.text().contains("x-mesh-source"), "{}", head.text());
    }

    let whom = |heard: &Heard| totals(heard).get("destination web/v1 > reviews/v1 reviews 200") == Some(&2);
    collector.until(whom).await;
}

#[tokio::test]
async fn a_proxy_ends_in_time_when_its_control_plane_does_not_listen() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let control = silent.local_addr().expect("bound");
    let (web, address) = client(control, says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await).await;
    assert_eq!(get(address, "/").await.status, 200);

    web.drain();

    tokio::time::timeout(PATIENCE, web.ended()).await.expect("ends");
}
