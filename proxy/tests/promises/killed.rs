//! One of two backends is killed again and again under load, with what our control plane sends by default.
//!
//! The backends are processes of their own and die by `kill -9`: nothing of theirs gets a chance to say goodbye.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_xds::resource::cluster::{OutlierDetection, RetryBudget, Thresholds, UpstreamProtocol::Http1};
use tidegate_xds::resource::route::{RetryOn, RetryPolicy, RouteAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::backend::echo;
use crate::client::{Client, get};
use crate::resources::{cluster, forward, http_listener, inline, of_cluster, of_listener, proxy_with, route, routes};

/// Tells this test binary that it is a backend, and where.
const ROLE: &str = "TIDEGATE_TEST_BACKEND";

const KILLS: usize = 8;

const CALLERS: usize = 16;

/// Not a promise: the body of the processes that are killed.
#[tokio::test]
async fn a_backend_process() {
    let Ok(address) = std::env::var(ROLE) else { return };
    let listener = TcpListener::bind(address.as_str()).await.expect("the port is free");
    loop {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                while let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                    held.drain(..end + 4);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nmortal";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
                if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
                    return;
                }
            }
        });
    }
}

struct Mortal {
    address: SocketAddr,
    process: Child,
}

impl Mortal {
    async fn start(address: SocketAddr) -> Self {
        let this = std::env::current_exe().expect("a path");
        let process = Command::new(this)
            .args(["--exact", "killed::a_backend_process", "--nocapture"])
            .env(ROLE, address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { address, process }
    }

    fn kill(&mut self) {
        self.process.kill().expect("kill -9");
        self.process.wait().expect("gone");
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What callers saw.
#[derive(Default)]
struct Seen {
    good: AtomicUsize,
    mortal: AtomicUsize,
    failed: AtomicUsize,
    stop: AtomicBool,
}

async fn call(address: SocketAddr, seen: Arc<Seen>) {
    let mut client = Client::connect(address).await;
    while !seen.stop.load(Ordering::Relaxed) {
        let answer = client.get("/").await;
        let count = match (answer.status, answer.text()) {
            (200, "mortal") => &seen.mortal,
            (200, _) => &seen.good,
            _ => &seen.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until a count has grown by so many.
async fn more(count: &AtomicUsize, by: usize) {
    let until = count.load(Ordering::Relaxed) + by;
    while count.load(Ordering::Relaxed) < until {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_get_fails_while_one_of_two_backends_is_killed_eight_times() {
    kill_again_and_again(None, 3).await;
}

/// Every request that is under way when its backend dies was sent on a connection that had carried nothing before: what
/// is free of charge for a kept connection needs the policy here, and its budget must have room for all that one backend
/// had under way.
#[tokio::test]
async fn no_get_fails_either_when_every_request_has_a_connection_of_its_own() {
    kill_again_and_again(Some(NonZeroU32::MIN), CALLERS as u32).await;
}

async fn kill_again_and_again(requests_per_connection: Option<NonZeroU32>, min_concurrency: u32) {
    let steady = echo("steady").await;
    // Free now, and nobody else is given it while it is mentioned in a socket that is closing.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
    let mut mortal = Mortal::start(port).await;
    let mut defended = cluster("backend", Http1, &[steady, mortal.address]);
    defended.max_requests_per_connection = requests_per_connection;
    defended.outlier_detection = Some(OutlierDetection {
        consecutive_5xx: NonZeroU32::new(5),
        consecutive_gateway_failure: NonZeroU32::new(5),
        consecutive_local_origin_failure: NonZeroU32::new(2),
        split_local_origin: true,
        interval: Duration::from_millis(200),
        base_ejection_time: Duration::from_millis(200),
        max_ejection_time: Duration::from_millis(400),
        max_ejection_percent: 50,
        always_eject_one: true,
        ..OutlierDetection::default()
    });
    let budget = RetryBudget { percent: 20.0, min_concurrency };
    defended.circuit_breakers = Thresholds { retry_budget: Some(budget), ..Thresholds::default() };
    let mut retried = forward("backend");
    retried.retry = Some(RetryPolicy {
        retry_on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset],
        num_retries: 2,
        ..RetryPolicy::default()
    });
    let all = routes("r", vec![route("/", RouteAction::Forward(Box::new(retried)))]);
    let (proxy, address) = proxy_with(vec![of_cluster(defended), of_listener(http_listener("in", inline(all)))]).await;
    let seen = Arc::new(Seen::default());
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(call(address, Arc::clone(&seen)))).collect();

    for _ in 0..KILLS {
        more(&seen.mortal, 100).await;
        mortal.kill();
        more(&seen.good, 200).await;
        mortal = Mortal::start(port).await;
    }
    more(&seen.mortal, 100).await;
    seen.stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("every answer is whole");
    }

    let page = get(proxy.admin_address().expect("admin"), "/clusters").await;
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0, "{}", page.text());
    assert!(page.text().contains("ejections_total"), "{}", page.text());
}
