//! The stages, in their order. A further one is a variant, its place in [`Stage::ALL`], its name and its function.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::block_in_place;

use crate::harness::fragile::application;
use crate::harness::load::{Load, Seen, fail};
use crate::harness::mesh::proxy_command;
use crate::harness::moving::{endpoints, listeners, numbered, set};
use crate::harness::process::Process;
use crate::harness::{Client, wait};
use crate::hostile;
use crate::world::{World, descriptors, ticks};
use crate::{Form, broken, run_tool};

/// A change that is not acknowledged by then is lost.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// The deadline of a drain, and a busy machine.
const END_LIMIT: Duration = Duration::from_secs(45);
/// Clients of a stage's own load wait as long as those of the whole run.
const PAUSE: Duration = Duration::from_millis(16);

/// Whichever replica there is.
const EITHER: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Changes,
    BadConfiguration,
    BackendsDie,
    ControlPlaneDies,
    UpgradesAndDrains,
    PacketsAreLost,
    HostileClients,
    DescriptorsRunOut,
    Quiet,
}

/// What a stage has seen itself, beside the load.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) note: String,
    /// Proxies that are other processes now, which are compared with themselves from here on.
    pub(crate) replaced: &'static [&'static str],
}

impl Stage {
    pub(crate) const ALL: [Self; 9] = [
        Self::Changes,
        Self::BadConfiguration,
        Self::BackendsDie,
        Self::ControlPlaneDies,
        Self::UpgradesAndDrains,
        Self::PacketsAreLost,
        Self::HostileClients,
        Self::DescriptorsRunOut,
        Self::Quiet,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::BadConfiguration => "bad configuration",
            Self::BackendsDie => "backends die",
            Self::ControlPlaneDies => "control plane dies",
            Self::UpgradesAndDrains => "upgrades and drains",
            Self::PacketsAreLost => "packets are lost",
            Self::HostileClients => "hostile clients",
            Self::DescriptorsRunOut => "descriptors run out",
            Self::Quiet => "quiet",
        }
    }

    pub(crate) async fn run(self, world: &mut World) -> Outcome {
        match self {
            Self::Changes => changes(world).await,
            Self::BadConfiguration => bad_configuration(world).await,
            Self::BackendsDie => backends_die(world).await,
            Self::ControlPlaneDies => control_plane_dies(world).await,
            Self::UpgradesAndDrains => upgrades_and_drains(world).await,
            Self::PacketsAreLost => packets_are_lost(world).await,
            Self::HostileClients => hostile_clients(world).await,
            Self::DescriptorsRunOut => descriptors_run_out(world).await,
            Self::Quiet => quiet(world).await,
        }
    }
}

impl World {
    /// The first in the whole plan, the second in the short one.
    fn amount(&self, full: u32, short: u32) -> u32 {
        match self.form {
            Form::Full => full,
            Form::Short => short,
        }
    }

    fn seconds(&self, full: u32, short: u32) -> Duration {
        Duration::from_secs(u64::from(self.amount(full, short)))
    }

    async fn change(&self, file: &str, text: String) {
        let generation = self.mesh.control.generation().await;
        self.mesh.control.write(file, text);
        let change = self.mesh.control.change_after(generation, 1, CHANGE_LIMIT).await;
        assert_eq!(change["result"], "applied", "{file}: {change}");
    }
}

async fn changes(world: &mut World) -> Outcome {
    let (routes, sets, changes) = (world.amount(1_000, 100), world.amount(200, 20), world.amount(20, 4));
    let load = Load::paced(world.mesh.outbound("web-v1"), "moving:9080", "/", (4, 2), PAUSE);
    for number in 1..=routes {
        world.change("reviews.yaml", numbered(number.into())).await;
        if number % (routes / sets) == 0 {
            world.change("moving.yaml", endpoints(&world.moving, set(number / (routes / sets)))).await;
        }
        if number % (routes / changes) == 0 {
            world.change("front.yaml", listeners(world.gateway, number / (routes / changes))).await;
        }
    }
    let note = format!("{routes} route changes, {sets} sets of endpoints, {changes} changes of listeners");
    Outcome { seen: load.stop().await, note, ..Outcome::default() }
}

async fn bad_configuration(world: &mut World) -> Outcome {
    let seed = 20_261_128;
    let mut random = StdRng::seed_from_u64(seed);
    let good = numbered(50);
    let cuts = world.amount(600, 30);
    for _ in 0..cuts {
        world.mesh.control.write("reviews.yaml", &good.as_bytes()[..random.random_range(1..good.len())]);
        wait::pass(Duration::from_millis(50)).await;
    }
    let mut kinds = 0;
    for wrong in broken::all() {
        // A file that was cut may be a whole one, so each begins from the good one.
        world.mesh.control.write("reviews.yaml", &good);
        settled(world).await;
        world.mesh.control.write(wrong.file, &wrong.content);
        wait::until(&format!("{} is refused", wrong.kind), CHANGE_LIMIT, || async {
            world.mesh.control.status().await["config"]["state"] == "rejected"
        })
        .await;
        kinds += 1;
        if wrong.file != "reviews.yaml" {
            std::fs::remove_file(world.mesh.control.config.join(wrong.file)).expect("it was just written");
        }
    }
    world.mesh.control.write("reviews.yaml", &good);
    settled(world).await;
    Outcome { note: format!("{kinds} kinds refused, {cuts} files cut at random (seed {seed})"), ..Outcome::default() }
}

async fn settled(world: &World) {
    wait::until("the good configuration is current again", CHANGE_LIMIT, || async {
        world.mesh.control.status().await["config"]["state"] == "current"
    })
    .await;
}

async fn backends_die(world: &mut World) -> Outcome {
    let deaths = world.amount(8, 2);
    let pause = Duration::from_millis(world.amount(3_500, 700).into());
    let load = Load::paced(world.mesh.outbound("web-v1"), "fragile:9080", "/details/0", (8, 2), PAUSE);
    for _ in 0..deaths {
        wait::pass(pause).await;
        world.dying.kill();
        wait::pass(pause).await;
        world.dying = application(world.fragile[1], "v2", world.mesh.folder()).await;
    }
    let note = format!("one of two backends killed {deaths} times, default policy");
    Outcome { seen: load.stop().await, note, ..Outcome::default() }
}

async fn control_plane_dies(world: &mut World) -> Outcome {
    let (deaths, absent) = (world.amount(5, 2), world.seconds(30, 2));
    for death in 1..=deaths {
        let generation = world.mesh.control.generation().await;
        if death == deaths {
            world.mesh.control.write("moving.yaml", endpoints(&world.moving, set(death + 1)));
            while world.mesh.control.generation().await == generation {}
        }
        world.mesh.control.kill();
        wait::pass(if death == 1 { absent } else { Duration::from_millis(500) }).await;
        world.mesh.control.restart().await;
        world.mesh.control.settled(world.mesh.proxies.len(), CHANGE_LIMIT).await;
    }
    let note = format!("killed {deaths} times, once for {absent:?}, once in mid push");
    Outcome { note, ..Outcome::default() }
}

async fn upgrades_and_drains(world: &mut World) -> Outcome {
    for _ in 0..2 {
        let mut old = world.mesh.upgrade("web-v1").await;
        let ended = block_in_place(|| old.ended(END_LIMIT));
        assert!(ended.success(), "{ended}\n{}", old.log());
        wait::pass(world.seconds(20, 0)).await;
    }
    // The replicas of one version would be none for the other.
    world.change("reviews.yaml", EITHER.to_owned()).await;
    let replica = world.mesh.proxies.get_mut("reviews-v1").expect("planned");
    let ended = block_in_place(|| replica.terminate(END_LIMIT));
    assert!(ended.success(), "{ended}");
    world.mesh.restart_proxy("reviews-v1", &[]).await;
    world.mesh.control.settled(world.mesh.proxies.len(), CHANGE_LIMIT).await;
    let note = "2 upgrades, 1 of 2 replicas drained and restarted".to_owned();
    Outcome { note, replaced: &["reviews-v1", "web-v1"], ..Outcome::default() }
}

async fn packets_are_lost(world: &mut World) -> Outcome {
    let rules = "add table inet loss; add chain inet loss arriving { type filter hook input priority 0; }; \
                 add rule inet loss arriving meta l4proto tcp numgen random mod 100 < 2 counter drop";
    run_tool("nft", &[rules]);
    wait::pass(world.seconds(60, 4)).await;
    let counted = run_tool("nft", &["list", "table", "inet", "loss"]);
    run_tool("nft", &["delete table inet loss"]);
    let packets = counted.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    let packets: u64 = packets.and_then(|packets| packets.parse().ok()).expect("nft counts what it drops");
    assert!(packets > 100, "{packets} packets are no loss");
    Outcome { note: format!("2 % of TCP, {packets} packets lost"), ..Outcome::default() }
}

async fn hostile_clients(world: &mut World) -> Outcome {
    let counts = hostile::attack(world.mesh.outbound("web-v1"), world.seconds(60, 4)).await;
    Outcome { note: counts.to_string(), ..Outcome::default() }
}

/// The gateway with few descriptors, beside the one that is under load.
async fn descriptors_run_out(world: &mut World) -> Outcome {
    let host = std::net::Ipv4Addr::from(u32::from(world.gateway) + 1);
    let listens = SocketAddr::from((host, 8080));
    // Nobody is told before its proxy is there.
    let own = listeners(host, 0).replace("front", "poor").replace("name: shop,", "name: poor,");
    world.mesh.control.write("poor.yaml", own);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$@\"", "sh"]);
    let plain = proxy_command(("poor", "shop"), host, world.mesh.control.xds, world.mesh.folder(), false);
    command.arg(plain.get_program()).args(plain.get_args());
    let mut poor = Process::start("proxy-poor", world.mesh.folder(), &mut command);
    let mut good = Client::new(listens);
    wait::until("the gateway with few descriptors answers", CHANGE_LIMIT, || async {
        matches!(Client::new(listens).get("shop.example.com", "/").await, Ok(answer) if answer.status == 200)
    })
    .await;
    let mut seen = Seen::default();
    good.get("shop.example.com", "/").await.expect("it answers");
    let crowd = hostile::crowd(listens, 600).await;
    let (before, start, time) = (ticks(poor.id()), wait::now(), world.seconds(40, 2));
    while start.elapsed() < time {
        seen.requests += 1;
        if let Err(why) = good.get("shop.example.com", "/").await {
            fail(&mut seen, format!("a connection that was there before: {why}"));
        }
        wait::pass(PAUSE).await;
    }
    let busy = (ticks(poor.id()) - before) as f64 / time.as_secs_f64();
    let open = descriptors(poor.id());
    drop(crowd);
    let freed = wait::now();
    wait::until("new connections are served again", Duration::from_secs(2), || async {
        matches!(Client::new(listens).get("shop.example.com", "/").await, Ok(answer) if answer.status == 200)
    })
    .await;
    let recovered = freed.elapsed();
    assert!(poor.is_running() && busy < 20.0, "{busy} % of a processor");
    let note = format!(
        "600 connections to 300 descriptors: {open} open, {busy:.0} % of a processor, well again after {recovered:.0?}"
    );
    poor.signal("INT");
    block_in_place(|| poor.ended(END_LIMIT));
    std::fs::remove_file(world.mesh.control.config.join("poor.yaml")).expect("it was just written");
    Outcome { seen, note, ..Outcome::default() }
}

async fn quiet(world: &mut World) -> Outcome {
    wait::pass(world.seconds(120, 1)).await;
    Outcome { note: "only the load".to_owned(), ..Outcome::default() }
}
