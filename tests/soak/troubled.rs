//! Backends and a network that are not what they should be.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::fragile::application;
use crate::harness::load::Load;
use crate::harness::moving::endpoints;
use crate::harness::{Backend, wait};
use crate::relay::Relay;
use crate::run_tool;
use crate::stages::{Outcome, PAUSE};
use crate::world::World;

/// Requests that come back without an answer for each that does.
const REQUESTS_FACTOR_MAX: f64 = 1.2;
/// One request in so many.
const RESET_ONE_IN: u64 = 20;
const SLOWLY: Duration = Duration::from_millis(300);

/// Of each way of the far service.
const DELAY: Duration = Duration::from_millis(20);
const JITTER: Duration = Duration::from_millis(5);
/// What a lost packet may cost: the first retransmission of one that opens a connection (RFC 6298 2.1). Of one request in a
/// hundred it is no more.
const RETRANSMIT: Duration = Duration::from_secs(1);

pub(crate) async fn backends_die(world: &mut World) -> Outcome {
    let deaths = world.amount(8, 2);
    let pause = Duration::from_millis(world.amount(2_500, 700).into());
    let tried = Tried::begin(world, "fragile").await;
    let load = Load::paced(world.mesh.outbound("web-v1"), "fragile:9080", "/details/0", (8, 2), PAUSE);
    for _ in 0..deaths {
        wait::pass(pause).await;
        world.dying.kill();
        wait::pass(pause).await;
        world.dying = application(world.fragile[1], "v2", world.mesh.folder()).await;
    }
    let note = format!("one of two backends killed {deaths} times, default policy");
    tried.end(world, Outcome { seen: load.stop().await, note, ..Outcome::default() }).await
}

/// Three that answer beside one that does not, each in its own way, with the default policy.
pub(crate) async fn backends_misbehave(world: &mut World) -> Outcome {
    let hosts = [232, 233, 234, 235].map(|host| world.host(host));
    let mut good = Vec::new();
    for host in &hosts[..3] {
        good.push(Backend::echo(SocketAddr::from((*host, 9080)), "good").await);
    }
    let odd = Arc::new(Odd::default());
    let serving = Odd::serve(&odd, SocketAddr::from((hosts[3], 9080))).await;
    world.change("odd.yaml", endpoints(&hosts, 15).replace("moving", "odd")).await;
    let time = world.seconds(12, 1);
    let tried = Tried::begin(world, "odd").await;
    let load = Load::paced(world.mesh.outbound("web-v1"), "odd:9080", "/", (8, 2), PAUSE);

    wait::pass(time).await;
    odd.way.store(RESETTING, Ordering::Relaxed);
    wait::pass(time).await;
    odd.way.store(GOOD, Ordering::Relaxed);
    let resets = odd.resets.load(Ordering::Relaxed);
    let lost = swallow(hosts[3], time).await;
    let mut outcome = Outcome { seen: load.stop().await, ..Outcome::default() };
    outcome.expect(resets > 0 && lost > 0, || format!("{resets} resets, {lost} packets: no trouble"));
    outcome.note = format!(
        "one of four slow by {SLOWLY:?}, then resetting one in {RESET_ONE_IN} ({resets}), then swallowing all ({lost} packets)"
    );
    let outcome = tried.end(world, outcome).await;
    drop(serving);
    world.remove("odd.yaml");
    outcome
}

/// What a sidecar has tried for a cluster.
struct Tried {
    service: &'static str,
    retries: u64,
}

impl Tried {
    async fn begin(world: &World, service: &'static str) -> Self {
        Self { service, retries: Self::retries(world, service).await }
    }

    async fn retries(world: &World, service: &str) -> u64 {
        world.metric_of("web-v1", "tidegate_upstream_retries_total", service).await
    }

    /// The retries of this stage are bounded.
    async fn end(self, world: &World, mut outcome: Outcome) -> Outcome {
        let retries = Self::retries(world, self.service).await.saturating_sub(self.retries);
        let requests = outcome.seen.requests;
        let factor = 1.0 + retries as f64 / requests.max(1) as f64;
        outcome.expect(factor <= REQUESTS_FACTOR_MAX, || {
            format!("{retries} retries of {requests} requests to {}", self.service)
        });
        outcome.note = format!("{}; {retries} retries", outcome.note);
        outcome
    }
}

/// A backend with bad ways.
#[derive(Default)]
struct Odd {
    way: AtomicU8,
    requests: AtomicU64,
    resets: AtomicU64,
}

const SLOW: u8 = 0;
/// One request in [`RESET_ONE_IN`] ends with a reset of its connection.
const RESETTING: u8 = 1;
const GOOD: u8 = 2;

impl Odd {
    async fn serve(odd: &Arc<Self>, at: SocketAddr) -> Backend {
        let odd = Arc::clone(odd);
        Backend::raw(at, move |stream| Self::answer(Arc::clone(&odd), stream)).await
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut heads = Vec::new();
        let mut part = [0; 4_096];
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            heads.extend_from_slice(&part[..length]);
            while let Some(end) = heads.windows(4).position(|window| window == b"\r\n\r\n") {
                heads.drain(..end + 4);
                let number = self.requests.fetch_add(1, Ordering::Relaxed);
                match self.way.load(Ordering::Relaxed) {
                    SLOW => wait::pass(SLOWLY).await,
                    RESETTING if number.is_multiple_of(RESET_ONE_IN) => {
                        self.resets.fetch_add(1, Ordering::Relaxed);
                        stream.set_zero_linger().ok();
                        return;
                    }
                    _ => {}
                }
                if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Nothing arrives at this address for a while; how many packets did not.
async fn swallow(host: Ipv4Addr, time: Duration) -> u64 {
    let rules = format!(
        "add table inet hole; add chain inet hole arriving {{ type filter hook input priority 0; }}; \
         add rule inet hole arriving ip daddr {host} counter drop"
    );
    run_tool("nft", &[&rules]);
    wait::pass(time).await;
    dropped("hole")
}

/// Takes a table of rules away; how many packets it has dropped.
fn dropped(table: &str) -> u64 {
    let counted = run_tool("nft", &["list", "table", "inet", table]);
    run_tool("nft", &[&format!("delete table inet {table}")]);
    let packets = counted.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    packets.and_then(|packets| packets.parse().ok()).expect("nft counts what it drops")
}

/// Two packets of a hundred are lost, and one service is far away.
pub(crate) async fn network_is_bad(world: &mut World) -> Outcome {
    let hosts = [236, 237].map(|host| world.host(host));
    let mut parts = Vec::new();
    for host in hosts {
        let near = SocketAddr::from((host, 9080));
        let far = SocketAddr::from((host, 9081));
        parts.push((Backend::echo(far, "far").await, Relay::start(near, far, DELAY, JITTER).await));
    }
    world.change("far.yaml", endpoints(&hosts, 3).replace("moving", "far")).await;
    let rules = "add table inet loss; add chain inet loss arriving { type filter hook input priority 0; }; \
                 add rule inet loss arriving meta l4proto tcp numgen random mod 100 < 2 counter drop";
    run_tool("nft", &[rules]);
    let load = Load::paced(world.mesh.outbound("web-v1"), "far:9080", "/", (8, 2), PAUSE);
    wait::pass(world.seconds(50, 3)).await;
    let seen = load.stop().await;
    let packets = dropped("loss");
    let (p50, p99) = (seen.percentile_ms(50.0), seen.percentile_ms(99.0));
    let bound = (6 * (DELAY + JITTER) + RETRANSMIT).as_secs_f64() * 1_000.0;
    let mut outcome = Outcome { seen, ..Outcome::default() };
    outcome.expect(packets > 100, || format!("{packets} packets are no loss"));
    outcome.expect(p50 >= DELAY.as_secs_f64() * 1_000.0, || format!("half of the far requests took {p50:.1} ms only"));
    outcome.expect_in_time(p99, bound, "p99 of the far service");
    outcome.note = format!(
        "2 % of TCP lost ({packets} packets), {DELAY:?} ± {JITTER:?} each way: far p50 {p50:.0} ms, p99 {p99:.0} of {bound:.0} ms"
    );
    world.remove("far.yaml");
    outcome
}
