//! The whole control plane in one process: files in, a real discovery client out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_policies::ir::fault::Fault;
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::Discovery;
use tidegate_xds::transport::client::{ClientConfig, ClientEvent, ClientHandle, Subscription, connect};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::reading::{REPORT_BYTES_MAX, shorten};
use super::{Keeper, Options, Running, ServeError, start};
use crate::ads::Hub;
use crate::api::model::{ConditionStatus, ConfigState, ProxyKind, Status, SyncState};
use crate::changes::{Change, ChangeLog, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::command::ask;
use crate::fixture::{fault, mesh, named, stated};
use crate::fleet::Fleet;
use crate::source::file::SETTLE;
use crate::store::Store;

/// Far above everything that happens here.
const DEADLINE: Duration = Duration::from_secs(30);
const MESH: &str = include_str!("../../../testdata/canary.in.yaml");
const OUTBOUND: &str = "RDS outbound";

fn weights(v1: u32, v2: u32) -> String {
    MESH.replace("weight: 90", &format!("weight: {v1}")).replace("weight: 10", &format!("weight: {v2}"))
}

struct Home {
    directory: TempDir,
}

impl Home {
    fn new(mesh: &str) -> Self {
        let home = Self { directory: TempDir::new().unwrap() };
        fs::create_dir(home.config()).unwrap();
        home.write(mesh);
        home
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("mesh")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn write(&self, mesh: &str) {
        fs::write(self.config().join("mesh.yaml"), mesh).unwrap();
    }

    async fn serve(&self) -> Running {
        let any = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            config: self.config(),
            xds: any,
            api: any,
            state: Some(self.state()),
            rate_limit_store: None,
            assets_dir: None,
            api_hosts: Vec::new(),
            traces: Default::default(),
        };
        start(options, Clock::system()).await.unwrap()
    }
}

/// A client that takes what it is given and subscribes as a proxy does.
struct Proxy {
    handle: ClientHandle,
    events: mpsc::Receiver<ClientEvent>,
    /// `TYPE NAME` -> version.
    held: BTreeMap<String, Arc<str>>,
    /// What each update brought.
    updates: Vec<Vec<String>>,
    refuse_routes: bool,
    /// For the message of a test that fails.
    connection: Vec<String>,
}

impl Proxy {
    fn connect(server: SocketAddr, id: &str, mode: Mode, held: &BTreeMap<String, Arc<str>>) -> Self {
        let types: BTreeMap<&str, ResourceType> = ResourceType::ALL.into_iter().map(|t| (t.short(), t)).collect();
        let versions = held.iter().map(|(key, version)| {
            let (of_type, name) = key.split_once(' ').unwrap();
            (types[of_type], Arc::from(name), version.clone())
        });
        let node = Node { id: id.into(), ..Node::default() };
        let config = ClientConfig { server: server.to_string(), node, mode, held: versions.collect() };
        let (handle, events) = connect(config);
        handle.subscribe(ResourceType::Cluster, Subscription::Wildcard);
        handle.subscribe(ResourceType::Listener, Subscription::Wildcard);
        let names_of = |of_type: &str| {
            let keys = held.keys().filter_map(|key| key.strip_prefix(of_type)).map(|name| Arc::from(name.trim()));
            Subscription::Names(keys.collect::<BTreeSet<Arc<str>>>())
        };
        if !held.is_empty() {
            handle.subscribe(ResourceType::Endpoint, names_of("EDS"));
            handle.subscribe(ResourceType::Route, names_of("RDS"));
        }
        Self { handle, events, held: held.clone(), updates: Vec::new(), refuse_routes: false, connection: Vec::new() }
    }

    /// Takes updates until `enough`.
    async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        timeout(DEADLINE, async {
            while !enough(self) {
                let event = self.events.recv().await.expect("the client runs");
                self.take(event);
            }
        })
        .await
        .unwrap_or_else(|_| panic!("not within the deadline; so far: {:?} {:?}", self.updates, self.connection));
    }

    fn take(&mut self, event: ClientEvent) {
        let update = match event {
            ClientEvent::Update(update) => update,
            other => {
                self.connection.push(format!("{other:?}"));
                return;
            }
        };
        let of_type = update.resource_type;
        let key = |name: &str| format!("{of_type} {name}");
        self.updates.push(update.changed.iter().map(|r| key(&r.name)).collect());
        let mut eds = BTreeSet::new();
        let mut rejected = Vec::new();
        for received in &update.changed {
            let resource = &received.decoded.as_ref().expect("what the control plane sends is valid").resource;
            if let Resource::Cluster(cluster) = resource
                && let Discovery::Eds { service_name } = &cluster.discovery
            {
                eds.insert(service_name.clone());
            }
            if self.refuse_routes && of_type == ResourceType::Route {
                rejected.push((received.name.clone(), "virtual_hosts[0]: not today".to_owned()));
            } else {
                self.held.insert(key(&received.name), received.version.clone());
            }
        }
        for name in &update.removed {
            self.held.remove(&key(name));
        }
        self.handle.conclude(of_type, update.nonce, rejected);
        if !eds.is_empty() {
            self.handle.subscribe(ResourceType::Endpoint, Subscription::Names(eds));
        }
        if of_type == ResourceType::Listener {
            let routes = BTreeSet::from([Arc::from("outbound")]);
            self.handle.subscribe(ResourceType::Route, Subscription::Names(routes));
        }
    }
}

/// Waits until the control plane knows that every proxy has its newest generation.
async fn in_force(running: &Running) {
    let mut settled = running.fleet.settled();
    let work = async {
        loop {
            let status = running.fleet.status();
            if status.proxies.iter().all(|p| p.settled_generation >= status.generation) {
                return;
            }
            settled.changed().await.unwrap();
        }
    };
    timeout(DEADLINE, work).await.expect("every proxy answers");
}

/// The next change after `generation`, once it is entered.
async fn change_after(running: &Running, generation: u64) -> Change {
    let mut entered = running.fleet.entered();
    let arrival = async {
        loop {
            if let Some(change) = running.fleet.changes_since(generation).into_iter().next() {
                return change;
            }
            entered.changed().await.unwrap();
        }
    };
    timeout(DEADLINE, arrival).await.expect("a change is entered")
}

async fn ready(running: &Running) {
    let mut ready = running.fleet.ready();
    timeout(DEADLINE, ready.wait_for(|ready| *ready)).await.expect("ready before the deadline").unwrap();
}

async fn connected(running: &Running, id: &str, mode: Mode) -> Proxy {
    let mut proxy = Proxy::connect(running.xds, id, mode, &BTreeMap::new());
    proxy
        .until(|p| p.held.contains_key(OUTBOUND) && p.held.contains_key("EDS outbound|80||web.shop.svc.cluster.local"))
        .await;
    in_force(running).await;
    proxy.updates.clear();
    proxy
}

async fn a_weight_edit_arrives_alone(mode: Mode) {
    let home = Home::new(&weights(90, 10));
    let running = home.serve().await;
    let mut proxy = connected(&running, "web-1.shop", mode).await;
    let before = proxy.held.clone();
    let generation = running.fleet.generation();

    home.write(&weights(50, 50));
    proxy.until(|p| p.held.get(OUTBOUND) != before.get(OUTBOUND)).await;

    in_force(&running).await;
    assert_eq!(proxy.updates, [[OUTBOUND.to_owned()]]);
    let change = change_after(&running, generation).await;
    assert_eq!(change.what, ["reviews.shop (everyone): v1 90 % / v2 10 % -> v1 50 % / v2 50 %"]);
    assert_eq!((change.proxies, change.acked, change.nacked), (1, 1, 0));
    assert_eq!(change.files, [Arc::<str>::from("mesh.yaml")]);
    let (first, last) = (change.first_ack_ms.unwrap(), change.last_ack_ms.unwrap());
    assert!(first <= last && u128::from(last) < DEADLINE.as_millis());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_edit_arrives_as_exactly_one_route_configuration_over_delta() {
    a_weight_edit_arrives_alone(Mode::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_edit_arrives_as_exactly_one_route_configuration_over_state_of_the_world() {
    a_weight_edit_arrives_alone(Mode::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_edit_changes_nothing_and_is_reported_until_it_is_mended() {
    let home = Home::new(&weights(90, 10));
    let running = home.serve().await;
    let mut proxy = connected(&running, "web-1.shop", Mode::Delta).await;
    let good = running.fleet.generation();

    home.write(&format!("{MESH}\n---\nkind: [\n"));
    let rejected = change_after(&running, good).await;

    assert_eq!((rejected.result, rejected.proxies), (Outcome::Rejected, 0));
    let status = running.fleet.status();
    assert_eq!((status.generation, status.config.state), (good, ConfigState::Rejected));
    let finding = &status.config.diagnostics[0];
    assert_eq!((&*finding.file, &*finding.severity), ("mesh.yaml", "error"));
    assert!(finding.line > 60 && finding.code.starts_with('P'));

    home.write(&weights(80, 20));
    proxy.until(|p| !p.updates.is_empty()).await;
    in_force(&running).await;

    assert_eq!(proxy.updates, [[OUTBOUND.to_owned()]]);
    let status = running.fleet.status();
    assert_eq!(status.config.state, ConfigState::Current);
    assert!(status.generation > rejected.generation && status.config.diagnostics.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_edit_is_reported_although_its_file_is_touched_again_and_again() {
    let home = Home::new(MESH);
    let running = home.serve().await;
    ready(&running).await;
    let good = running.fleet.generation();

    home.write("kind: [");
    let rejected = async {
        loop {
            // Closing a file that was open for writing is an event, and its content is the same.
            drop(fs::OpenOptions::new().append(true).open(home.config().join("mesh.yaml")).unwrap());
            if let Ok(change) = timeout(SETTLE / 5, change_after(&running, good)).await {
                return change;
            }
        }
    };
    let rejected = timeout(DEADLINE, rejected).await.expect("the verdict is not lost");

    assert_eq!(rejected.result, Outcome::Rejected);
    assert_eq!(running.fleet.status().config.state, ConfigState::Rejected);
    running.stop().await;
}

/// A mesh whose calls to reviews go to a service that nobody stands behind.
fn to_nobody() -> String {
    let lonely = "apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: shop}
spec:
  selector: {app: lonely}
  ports:
  - {name: http, port: 9080}
";
    format!("{}---\n{lonely}", MESH.replace("{host: reviews, subset: v1}", "{host: lonely}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_to_nobody_is_refused_also_after_a_restart_until_somebody_is_there() {
    let home = Home::new(MESH);
    let running = home.serve().await;
    ready(&running).await;
    let good = running.fleet.generation();

    home.write(&to_nobody());
    let rejected = change_after(&running, good).await;

    assert_eq!(rejected.result, Outcome::Rejected);
    let status = running.fleet.status();
    assert_eq!((status.generation, status.config.state), (good, ConfigState::Rejected));
    let finding = &status.config.diagnostics[0];
    assert_eq!((&*finding.code, &*finding.file), ("C0101", "mesh.yaml"));
    assert!(finding.line > 60 && finding.message.contains("90 % of requests to shop/lonely"), "{finding:?}");
    running.stop().await;

    let running = home.serve().await;
    let rejected = change_after(&running, rejected.generation).await;
    assert_eq!((rejected.result, running.fleet.status().generation), (Outcome::Rejected, good));

    let workload = "apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {name: lonely-1, namespace: shop, labels: {app: lonely}}
spec:
  address: 127.0.2.3
  ports:
  - {name: http, port: 9080}
";
    fs::write(home.config().join("lonely.yaml"), workload).unwrap();
    let accepted = change_after(&running, rejected.generation).await;
    assert_eq!(accepted.result, Outcome::Applied);
    assert_eq!(running.fleet.status().config.state, ConfigState::Current);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_configuration_may_route_to_nobody() {
    let home = Home::new(&to_nobody());
    let running = home.serve().await;

    ready(&running).await;

    assert_eq!(running.fleet.status().config.state, ConfigState::Current);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undoing_a_broken_edit_is_current_again_and_sends_nothing() {
    let home = Home::new(MESH);
    let running = home.serve().await;
    let mut proxy = connected(&running, "web-1.shop", Mode::Delta).await;
    let good = running.fleet.generation();
    home.write("kind: [");
    let rejected = change_after(&running, good).await;

    let mut entered = running.fleet.entered();
    entered.mark_unchanged();
    home.write(MESH);
    timeout(DEADLINE, entered.changed()).await.expect("the end of the trouble is announced").unwrap();

    let status = running.fleet.status();
    assert_eq!((status.generation, status.config.state), (good, ConfigState::Current));
    assert!(running.fleet.changes_since(rejected.generation).is_empty());
    // Whatever had been sent would arrive before the next change.
    home.write(&weights(1, 1));
    proxy.until(|p| !p.updates.is_empty()).await;
    assert_eq!(proxy.updates, [[OUTBOUND.to_owned()]]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_sends_nothing_again_and_keeps_its_generation() {
    let home = Home::new(&weights(90, 10));
    let running = home.serve().await;
    let proxy = connected(&running, "web-1.shop", Mode::Delta).await;
    let (held, generation) = (proxy.held.clone(), running.fleet.generation());
    drop(proxy);
    running.stop().await;

    let running = home.serve().await;
    ready(&running).await;
    let mut proxy = Proxy::connect(running.xds, "web-1.shop", Mode::Delta, &held);
    let mut settled = running.fleet.settled();
    timeout(DEADLINE, async {
        // The client must be polled for its stream to move.
        tokio::select! {
            () = proxy.until(|_| false) => {}
            rung = settled.wait_for(|count| *count > 0) => assert!(rung.is_ok()),
        }
    })
    .await
    .expect("the proxy settles");

    assert_eq!(running.fleet.generation(), generation);
    let sent: Vec<&String> = proxy.updates.iter().flatten().collect();
    assert!(sent.is_empty(), "{sent:?}");
    let status = running.fleet.status();
    assert_eq!(status.proxies[0].settled_generation, generation);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_broken_files_serves_the_last_good_ones_and_says_so() {
    let home = Home::new(&weights(90, 10));
    let running = home.serve().await;
    let proxy = connected(&running, "web-1.shop", Mode::Delta).await;
    let (held, generation) = (proxy.held.clone(), running.fleet.generation());
    drop(proxy);
    running.stop().await;
    home.write("kind: [");

    let running = home.serve().await;
    let rejected = change_after(&running, generation).await;
    let proxy = connected(&running, "web-1.shop", Mode::Delta).await;

    assert_eq!(rejected.result, Outcome::Rejected);
    let status = running.fleet.status();
    assert_eq!((status.generation, status.config.state), (generation, ConfigState::Rejected));
    assert_eq!(proxy.held, held);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_configuration_it_is_not_ready_and_streams_wait_for_the_first() {
    let home = Home::new("kind: [");
    let running = home.serve().await;
    change_after(&running, 0).await;
    assert!(!*running.fleet.ready().borrow());
    let mut proxy = Proxy::connect(running.xds, "web-1.shop", Mode::Delta, &BTreeMap::new());

    home.write(MESH);
    proxy.until(|p| p.held.contains_key(OUTBOUND)).await;

    assert!(*running.fleet.ready().borrow());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_vanishes_changes_nothing() {
    let home = Home::new(MESH);
    let running = home.serve().await;
    let mut proxy = connected(&running, "web-1.shop", Mode::Delta).await;
    let good = running.fleet.generation();

    fs::remove_dir_all(home.config()).unwrap();
    let rejected = change_after(&running, good).await;

    assert_eq!(rejected.result, Outcome::Rejected);
    let status = running.fleet.status();
    assert_eq!(status.generation, good);
    let finding = &status.config.diagnostics[0];
    assert!(["C0001", "C0002"].contains(&&*finding.code), "gone, or empty on the way there: {finding:?}");
    assert_eq!(finding.file, home.config().display().to_string());
    assert!(finding.help.is_some());
    fs::create_dir(home.config()).unwrap();
    home.write(&weights(10, 90));
    proxy.until(|p| !p.updates.is_empty()).await;
    assert_eq!(proxy.updates, [[OUTBOUND.to_owned()]]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_with_its_reason() {
    let home = Home::new(&weights(90, 10));
    let running = home.serve().await;
    let mut proxy = connected(&running, "web-1.shop", Mode::Delta).await;
    proxy.refuse_routes = true;
    let generation = running.fleet.generation();

    home.write(&weights(50, 50));
    proxy.until(|p| !p.updates.is_empty()).await;
    in_force(&running).await;

    let status = running.fleet.status();
    let routes = &status.proxies[0].types["RDS"];
    assert_eq!(routes.state, SyncState::Nacked);
    assert!(routes.nack.as_ref().unwrap().message.contains("not today"));
    assert_eq!(status.proxies[0].kind, ProxyKind::Sidecar);
    let change = change_after(&running, generation).await;
    assert_eq!((change.acked, change.nacked), (0, 1));
    let answer = ask::get(&running.api.to_string(), "/api/v1/status", DEADLINE).await.unwrap();
    let status: Status = serde_json::from_slice(&answer).unwrap();
    let programmed = |kind: &str| {
        let object = status.objects.iter().find(|o| o.kind == kind && o.name == "reviews").expect("reported");
        let said = object.conditions.iter().find(|c| c.kind == "Programmed").expect("said");
        (said.status, said.message.clone())
    };
    let (refused, why) = programmed("VirtualService");
    assert!(refused == ConditionStatus::False && why.starts_with("0/1 proxies") && why.contains("not today"), "{why}");
    let (taken, version) = programmed("DestinationRule");
    assert!(taken == ConditionStatus::True && version.starts_with("1/1 proxies at version "), "{version}");
    running.stop().await;
}

#[test]
fn other_work_goes_on_while_a_configuration_is_published() {
    let fleet = Arc::new(Fleet::new("mesh".to_owned(), Clock::system(), Store::none(), ChangeLog::default(), 0));
    let hub = Arc::new(Hub::new(fleet.clone()));
    let mut keeper = Keeper {
        hub: hub.clone(),
        fleet,
        clock: Clock::system(),
        applied: None,
        last_good: None,
        said: Arc::default(),
        expires: None,
    };
    let (occupied, is_occupied) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let guard = hub.occupy();
        occupied.send(()).unwrap();
        released.recv().unwrap();
        drop(guard);
    });
    is_occupied.recv_timeout(DEADLINE).unwrap();

    // One thread for everything: if publishing took it, nobody would be left to let publishing go on.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let other_work = async {
            // Long enough for publishing to have begun.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            release.send(()).unwrap();
        };
        runtime.block_on(async { tokio::join!(keeper.publish(Arc::new(mesh()), 1), other_work) });
        done.send(()).unwrap();
    });

    is_done.recv_timeout(DEADLINE).expect("published before the deadline");
}

#[tokio::test]
async fn a_port_beyond_loopback_is_refused() {
    let home = Home::new(MESH);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for (xds, api, flag) in
        [("0.0.0.0:0", any, "xds"), ("[::]:0", any, "xds"), ("127.0.0.1:0", "0.0.0.0:0".parse().unwrap(), "api")]
    {
        let options = Options {
            config: home.config(),
            xds: xds.parse().unwrap(),
            api,
            state: Some(home.state()),
            rate_limit_store: None,
            assets_dir: None,
            api_hosts: Vec::new(),
            traces: Default::default(),
        };

        let refused = start(options, Clock::system()).await;

        assert!(matches!(refused, Err(ServeError::NotLoopback { flag: of, .. }) if of == flag));
    }
}

#[tokio::test]
async fn an_occupied_port_is_an_error_at_once() {
    let home = Home::new(MESH);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let xds = taken.local_addr().unwrap();
    let options = Options {
        config: home.config(),
        xds,
        api: any,
        state: Some(home.state()),
        rate_limit_store: None,
        assets_dir: None,
        api_hosts: Vec::new(),
        traces: Default::default(),
    };

    let refused = start(options, Clock::system()).await;

    assert!(matches!(refused, Err(ServeError::Bind { flag: "xds", .. })));
    assert!(Path::new(&home.config()).exists());
}

#[test]
fn a_long_report_is_cut_between_two_lines() {
    let mut long = "error: wörds\n".repeat(REPORT_BYTES_MAX);
    let mut short = "error: words\n".to_owned();

    shorten(&mut long);
    shorten(&mut short);

    assert!(long.len() < REPORT_BYTES_MAX + 100);
    assert!(
        long.ends_with("wörds\n... more findings are shown by `tidegate check`\n"),
        "{}",
        &long[long.len() - 100..]
    );
    assert_eq!(short, "error: words\n");
}

#[tokio::test]
async fn what_has_expired_is_dropped_once_and_logged_as_a_change() {
    let now = Arc::new(AtomicU64::new(0));
    let read = now.clone();
    let clock = Clock::of(move || Timestamp::from_unix_ms(read.load(Ordering::Relaxed)));
    let fleet = Arc::new(Fleet::new("mesh".to_owned(), clock.clone(), Store::none(), ChangeLog::default(), 0));
    let hub = Arc::new(Hub::new(fleet.clone()));
    let mut keeper = Keeper {
        hub: hub.clone(),
        fleet: fleet.clone(),
        clock,
        applied: None,
        last_good: None,
        said: Arc::default(),
        expires: None,
    };
    let mut set = mesh();
    let slow = Fault { expires_at: Some(Timestamp::from_unix_ms(1_000).0), ..fault() };
    set.backends.get_mut(&named("reviews")).unwrap().traffic.fault = Some(stated("Fault", "slow", slow));
    let is_slow = || hub.world().policies().backends[&named("reviews")].traffic.fault.is_some();

    keeper.publish(Arc::new(set), 0).await;
    keeper.expire().await;
    assert!(is_slow() && fleet.changes_since(0).is_empty(), "its time has not come");
    now.store(1_000, Ordering::Relaxed);
    keeper.expire().await;
    keeper.expire().await;

    assert!(!is_slow());
    let what: Vec<String> = fleet.changes_since(0).into_iter().flat_map(|change| change.what).collect();
    assert_eq!(what, ["the fault shop/slow (mesh.yaml:40) has expired"]);
    assert_eq!((keeper.expires, fleet.generation()), (None, 1));
}
