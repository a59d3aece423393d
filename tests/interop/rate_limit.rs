//! The protocol of rate limit services, held against other people's halves of it: a real Envoy asks our control plane, and
//! our proxy asks a service of somebody else.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_xds::ads::server::ResourceSet;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::UpstreamProtocol;
use tidegate_xds::resource::filter::{
    FilterConfig, HttpFilter, RATE_LIMIT, RateLimitAction, RateLimitActions, RateLimitService, RequestType,
};
use tidegate_xds::resource::listener::{Direction, Listener, ListenerKind, NetworkFilter};
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::RouteAction;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::envoy::{Envoy, Variant};
use super::scripted::Scripted;
use super::world::{cluster, encode, endpoints, routes, socket};
use crate::harness::address::Subnet;
use crate::harness::mesh::{ADMIN, spawn_proxy};
use crate::harness::process::{Process, root, tool};
use crate::harness::{Backend, Client, Mesh, wait};
use crate::rate_limit::{limit, offer};

const LISTENS_LIMIT: Duration = Duration::from_secs(20);
const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };

/// A mesh whose `reviews` stands behind an Envoy, which is told by us whom to ask: us.
async fn envoy_before_reviews(rule: &str) -> (Mesh, Envoy) {
    let plan = Mesh::plan().service("reviews", &["v1"]).without_proxies("reviews");
    let mesh = plan.policy("limit.yaml", &limit(rule)).start().await;
    let admin = mesh.admin("reviews-v1");
    let envoy = Envoy::start("reviews-v1.shop", mesh.control.xds, admin, Variant::Delta, mesh.folder()).await;
    wait::until("Envoy lets requests through to reviews", LISTENS_LIMIT, || async {
        let request = Request::get("/").header("host", "reviews:9080").header("end-user", "nobody");
        mesh.client("web-v1").send(request).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    (mesh, envoy)
}

#[tokio::test]
async fn envoy_asks_our_control_plane_and_lets_through_what_it_says() {
    let rule = "    scope: Shared\n    limit: {requests: 100, per: 1s, burst: 50}\n";
    let (mesh, envoy) = envoy_before_reviews(rule).await;
    let time = Duration::from_secs(5);

    let seen = offer(mesh.outbound("web-v1"), 300, time).await;

    println!("Envoy, 100/s with a burst of 50, 300/s offered for {time:?}: {seen:?}");
    let (accepted, wanted) = (seen[&200], 100 * time.as_secs() + 50);
    assert!(accepted.abs_diff(wanted) * 100 <= wanted * 5, "{accepted} of {wanted}");
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [200, 429]);
    assert_eq!(envoy.refusals().await, 0, "{}", envoy.log());
}

#[tokio::test]
async fn envoy_lets_each_caller_through_as_often_as_our_control_plane_says() {
    let rule = "    key: [{header: end-user}]\n    scope: Shared\n    limit: {requests: 20, per: 1h, burst: 20}\n    \
                onDeny: {headers: {add: [{name: x-plan, value: free}]}}\n";
    let (mesh, _envoy) = envoy_before_reviews(rule).await;
    let mut client = mesh.client("web-v1");

    for user in ["jason", "julia"] {
        let mut passed = 0;
        let mut refused = None;
        for _ in 0..60 {
            let request = Request::get("/").header("host", "reviews:9080").header("end-user", user);
            let answer = client.send(request).await.expect("the mesh answers");
            passed += u32::from(answer.status == 200);
            refused = (answer.status == 429).then_some(answer).or(refused);
        }

        println!("Envoy, 20 an hour for {user}: {passed} of 60");
        assert_eq!(passed, 20, "{user}");
        let refused = refused.expect("forty were refused");
        assert_eq!(refused.headers["x-envoy-ratelimited"], "true");
        assert_eq!(refused.headers["x-plan"], "free");
    }
}

/// Somebody else's rate limit service, as a process.
struct Service {
    questions: Lines<BufReader<ChildStdout>>,
    // Killed when dropped.
    _process: Child,
}

impl Service {
    async fn start(address: SocketAddr) -> Self {
        let mut process = Command::new(tool("python/bin/python"))
            .arg(root().join("tests/interop/rls_server.py"))
            .arg(address.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python can be started");
        let questions = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut service = Self { questions, _process: process };
        assert_eq!(service.line().await, "ready");
        service
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(LISTENS_LIMIT, self.questions.next_line()).await;
        line.expect("the service speaks in time").expect("its output is text").expect("the service still runs")
    }

    /// What it was asked next.
    async fn question(&mut self) -> Value {
        serde_json::from_str(&self.line().await).expect("it prints JSON")
    }
}

/// Our proxy, told by a control plane in the test to ask that service.
struct Asking {
    service: Service,
    client: Client,
    _server: Scripted,
    _proxy: Process,
    _backend: Backend,
    _folder: TempDir,
}

impl Asking {
    async fn start(deny_on_failure: bool) -> Self {
        let (subnet, folder) = (Subnet::take(), TempDir::new().expect("a temporary folder can be made"));
        let host = subnet.host(1);
        let [xds, outbound] = [15010, 15001].map(|port| SocketAddr::from((host, port)));
        let limits = SocketAddr::from((subnet.host(20), 8081));
        let service = Service::start(limits).await;
        let backend = Backend::echo((subnet.host(11), 9080).into(), "v1").await;
        let resources = resources(outbound, limits, &backend, deny_on_failure);
        let server = Scripted::start(xds, ResourceSet::new(1, encode(resources)));
        let proxy = spawn_proxy("one", host, xds, folder.path());
        wait::until("our proxy listens", LISTENS_LIMIT, || async {
            assert_eq!(server.refusals(), 0, "{}", server.last_refusal());
            tokio::net::TcpStream::connect(SocketAddr::from((host, ADMIN))).await.is_ok()
                && tokio::net::TcpStream::connect(outbound).await.is_ok()
        })
        .await;
        server.settled(1).await;
        let client = Client::new(outbound);
        Self { service, client, _server: server, _proxy: proxy, _backend: backend, _folder: folder }
    }

    async fn get(&mut self, user: &str) -> crate::harness::client::Answer {
        let request = Request::get("/reviews/0").header("host", "reviews:9080").header("x-user", user);
        self.client.send(request).await.expect("our proxy answers")
    }
}

fn resources(outbound: SocketAddr, limits: SocketAddr, backend: &Backend, deny_on_failure: bool) -> Vec<Resource> {
    let filter = RateLimitService {
        domain: "shop".into(),
        stage: 0,
        request_type: RequestType::Both,
        timeout: Duration::from_millis(300),
        failure_mode_deny: deny_on_failure,
        resource_exhausted: false,
        cluster: "limits".into(),
        ratelimit_headers: true,
        without_ratelimited_header: false,
        status: 429,
        response_headers: Vec::new(),
        status_on_error: 503,
        retry_after: false,
        enabled: ALL,
        enforced: ALL,
        rate_limits: Vec::new(),
    };
    let mut socket = socket(outbound);
    if let NetworkFilter::Http(manager) = &mut socket.filter_chains[0].filter {
        let config = FilterConfig::RateLimit(Arc::new(filter));
        manager.http_filters = vec![HttpFilter { name: RATE_LIMIT.into(), disabled: false, config }];
    }
    let by_user = RateLimitActions {
        stage: 0,
        actions: vec![
            RateLimitAction::GenericKey { key: "rule".into(), value: "fair".into() },
            RateLimitAction::RequestHeader { header: "x-user".into(), key: "user".into(), skip_if_absent: false },
        ],
        hits: 3,
        lease: None,
    };
    let mut config = routes("v1");
    if let RouteAction::Forward(forward) = &mut config.virtual_hosts[0].routes[0].action {
        forward.rate_limits = vec![by_user];
    }
    let mut asked = cluster("limits");
    asked.protocol = UpstreamProtocol::Http2;
    vec![
        Resource::Listener(Arc::new(Listener {
            name: "outbound".into(),
            kind: ListenerKind::Socket(Box::new(socket)),
            direction: Direction::Outbound,
            error_header: true,
            workload: None,
        })),
        Resource::Route(Arc::new(config)),
        Resource::Cluster(Arc::new(cluster("v1"))),
        Resource::Endpoint(Arc::new(endpoints("v1", backend.address))),
        Resource::Cluster(Arc::new(asked)),
        Resource::Endpoint(Arc::new(endpoints("limits", limits))),
    ]
}

fn field<'a>(answer: &'a crate::harness::client::Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn our_proxy_asks_somebody_elses_service_and_does_what_it_says() {
    let mut asking = Asking::start(false).await;

    let within = asking.get("ann").await;
    let wanted = |user: &str| {
        let entries = [["rule", "fair"], ["user", user]];
        json!({"domain": "shop", "descriptors": [{"entries": entries, "hits": 3}], "hits_addend": 0})
    };
    assert_eq!(asking.service.question().await, wanted("ann"));
    assert_eq!((within.status.as_u16(), within.version()), (200, "v1"));
    assert_eq!(field(&within, "x-plan"), Some("free"));
    assert_eq!(field(&within, "x-ratelimit-remaining"), Some("6"));

    let over = asking.get("over").await;
    assert_eq!(asking.service.question().await, wanted("over"));
    assert_eq!((over.status.as_u16(), over.version()), (429, ""));
    assert_eq!(field(&over, "x-envoy-ratelimited"), Some("true"));
    assert_eq!(field(&over, "x-plan"), Some("free"));
    assert!(field(&over, "x-ratelimit-limit").is_some_and(|limit| limit.starts_with('7')), "{:?}", over.headers);
    assert_eq!(field(&over, "x-ratelimit-remaining"), Some("0"));
    assert_eq!(field(&over, "x-ratelimit-reset"), Some("9"));
    assert!(field(&over, "x-mesh-error").is_some_and(|why| why.contains("RL")), "{:?}", over.headers);
}

#[tokio::test]
async fn a_service_that_is_silent_is_not_waited_for_longer_than_the_filter_says() {
    for (deny_on_failure, status) in [(false, 200), (true, 503)] {
        let mut asking = Asking::start(deny_on_failure).await;
        let start = wait::now();

        let answer = asking.get("silent").await;

        let took = start.elapsed();
        assert_eq!(answer.status.as_u16(), status);
        assert!((Duration::from_millis(290)..Duration::from_secs(2)).contains(&took), "{took:?}");
    }
}
