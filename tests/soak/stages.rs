//! The stages, in their order. A further one is a variant, its place in [`Stage::ALL`], its name and its function.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::block_in_place;

use crate::harness::load::{Load, Seen};
use crate::harness::moving::{endpoints, listeners, numbered, set};
use crate::harness::process::signal;
use crate::harness::{Client, wait};
use crate::world::World;
use crate::{Form, broken, certificates, hostile, scarce, troubled};

/// A change that is not acknowledged by then is lost.
pub(crate) const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// The deadline of a drain, and a busy machine.
pub(crate) const END_LIMIT: Duration = Duration::from_secs(45);
/// Clients of a stage's own load wait as long as those of the whole run.
pub(crate) const PAUSE: Duration = Duration::from_millis(16);
/// From writing a file to an answer by it.
const CHANGE_MS_MAX: f64 = 100.0;
/// How much longer good requests may take beside attacks.
const BESIDE_ATTACKS_FACTOR_MAX: f64 = 2.0;

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
    BackendsMisbehave,
    ControlPlaneDies,
    CertificatesChange,
    UpgradesAndDrains,
    NetworkIsBad,
    HostileClients,
    DescriptorsRunOut,
    MemoryRunsOut,
    DiskIsFull,
    Quiet,
}

/// What a stage has seen itself, beside the load.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) note: String,
    /// What did not come about as promised.
    pub(crate) broken: Vec<String>,
    /// Measured times, what they may be, and of what.
    pub(crate) times: Vec<(f64, f64, String)>,
    /// Proxies that are other processes now, which are compared with themselves from here on.
    pub(crate) replaced: &'static [&'static str],
}

impl Outcome {
    pub(crate) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }

    /// Judged where the machine has the time for it.
    pub(crate) fn expect_in_time(&mut self, ms: f64, ms_max: f64, what: &str) {
        self.times.push((ms, ms_max, what.to_owned()));
    }
}

impl Stage {
    pub(crate) const ALL: [Self; 13] = [
        Self::Changes,
        Self::BadConfiguration,
        Self::BackendsDie,
        Self::BackendsMisbehave,
        Self::ControlPlaneDies,
        Self::CertificatesChange,
        Self::UpgradesAndDrains,
        Self::NetworkIsBad,
        Self::HostileClients,
        Self::DescriptorsRunOut,
        Self::MemoryRunsOut,
        Self::DiskIsFull,
        Self::Quiet,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::BadConfiguration => "bad configuration",
            Self::BackendsDie => "backends die",
            Self::BackendsMisbehave => "backends misbehave",
            Self::ControlPlaneDies => "control plane dies",
            Self::CertificatesChange => "certificates change",
            Self::UpgradesAndDrains => "upgrades and drains",
            Self::NetworkIsBad => "network is bad",
            Self::HostileClients => "hostile clients",
            Self::DescriptorsRunOut => "descriptors run out",
            Self::MemoryRunsOut => "memory runs out",
            Self::DiskIsFull => "disk is full",
            Self::Quiet => "quiet",
        }
    }

    pub(crate) async fn run(self, world: &mut World) -> Outcome {
        match self {
            Self::Changes => changes(world).await,
            Self::BadConfiguration => bad_configuration(world).await,
            Self::BackendsDie => troubled::backends_die(world).await,
            Self::BackendsMisbehave => troubled::backends_misbehave(world).await,
            Self::ControlPlaneDies => control_plane_dies(world).await,
            Self::CertificatesChange => certificates::certificates_change(world).await,
            Self::UpgradesAndDrains => upgrades_and_drains(world).await,
            Self::NetworkIsBad => troubled::network_is_bad(world).await,
            Self::HostileClients => hostile_clients(world).await,
            Self::DescriptorsRunOut => scarce::descriptors_run_out(world).await,
            Self::MemoryRunsOut => scarce::memory_runs_out(world).await,
            Self::DiskIsFull => scarce::disk_is_full(world).await,
            Self::Quiet => quiet(world).await,
        }
    }
}

impl World {
    /// The first in the whole plan, the second in the short one.
    pub(crate) fn amount(&self, full: u32, short: u32) -> u32 {
        match self.form {
            Form::Full => full,
            Form::Short => short,
        }
    }

    pub(crate) fn seconds(&self, full: u32, short: u32) -> Duration {
        Duration::from_secs(u64::from(self.amount(full, short)))
    }

    pub(crate) async fn change(&self, file: &str, text: String) {
        let generation = self.mesh.control.generation().await;
        self.mesh.control.write(file, text);
        self.changed(generation, file).await;
    }

    async fn changed(&self, generation: u64, file: &str) {
        let change = self.mesh.control.change_after(generation, 1, CHANGE_LIMIT).await;
        assert_eq!(change["result"], "applied", "{file}: {change}");
    }

    pub(crate) fn remove(&self, file: &str) {
        std::fs::remove_file(self.mesh.control.config.join(file)).expect("it was written before");
    }
}

async fn changes(world: &mut World) -> Outcome {
    let (routes, sets, changes) = (world.amount(1_000, 60), world.amount(200, 12), world.amount(20, 4));
    let web = world.mesh.outbound("web-v1");
    let load = Load::paced(web, "moving:9080", "/", (4, 2), PAUSE);
    let mut client = Client::new(web);
    let mut until_seen = Seen::default();
    for number in 1..=routes {
        let generation = world.mesh.control.generation().await;
        let written = wait::now();
        world.mesh.control.write("reviews.yaml", numbered(number.into()));
        while !is_routed_by(&mut client, number).await {
            assert!(written.elapsed() < CHANGE_LIMIT, "route {number} is not in use");
            wait::pass(Duration::from_millis(1)).await;
        }
        until_seen.took(written.elapsed());
        world.changed(generation, "reviews.yaml").await;
        if number % (routes / sets) == 0 {
            world.change("moving.yaml", endpoints(&world.moving, set(number / (routes / sets)))).await;
        }
        if number % (routes / changes) == 0 {
            world.change("front.yaml", listeners(world.gateway, number / (routes / changes))).await;
        }
    }
    let (p50, p99) = (until_seen.percentile_ms(50.0), until_seen.percentile_ms(99.0));
    let note = format!(
        "{routes} route changes, {sets} sets of endpoints, {changes} changes of listeners; in use after {p50:.0} ms, p99 {p99:.0} ms"
    );
    let mut outcome = Outcome { seen: load.stop().await, note, ..Outcome::default() };
    outcome.expect_in_time(p99, CHANGE_MS_MAX, "p99 from writing a route to an answer by it");
    outcome
}

async fn is_routed_by(client: &mut Client, number: u32) -> bool {
    let answer = client.get("reviews:9080", "/reviews/0").await;
    answer.is_ok_and(|answer| answer.headers.get("x-route").is_some_and(|route| *route == *number.to_string()))
}

async fn bad_configuration(world: &mut World) -> Outcome {
    let seed = 20_261_128;
    let mut random = StdRng::seed_from_u64(seed);
    let good = numbered(50);
    let cuts = world.amount(500, 30);
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
            world.remove(wrong.file);
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

async fn control_plane_dies(world: &mut World) -> Outcome {
    let (deaths, absent) = (world.amount(5, 2), world.seconds(30, 2));
    for death in 1..=deaths {
        let stopped = (death == deaths).then(|| world.mesh.proxies["front"].id());
        if let Some(stopped) = stopped {
            // One that does not read holds the push in its middle: others have it, this one has not.
            signal(stopped, "STOP");
            let generation = world.mesh.control.generation().await;
            world.mesh.control.write("moving.yaml", endpoints(&world.moving, set(death + 1)));
            wait::until("the push has begun", CHANGE_LIMIT, || async { is_under_way(world, generation).await }).await;
        }
        world.mesh.control.kill();
        if let Some(stopped) = stopped {
            signal(stopped, "CONT");
        }
        wait::pass(if death == 1 { absent } else { Duration::from_millis(500) }).await;
        world.mesh.control.restart().await;
        world.mesh.control.settled(world.mesh.proxies.len(), CHANGE_LIMIT).await;
    }
    // All of them, as before: the stage can come again, and then has something to change.
    world.change("moving.yaml", endpoints(&world.moving, 15)).await;
    let note =
        format!("killed {deaths} times, once for {absent:?}, once when one of the proxies had a push and one had not");
    Outcome { note, ..Outcome::default() }
}

/// Whether somebody has what came after this generation.
async fn is_under_way(world: &World, generation: u64) -> bool {
    let status = world.mesh.control.status().await;
    let proxies = status["proxies"].as_array().cloned().unwrap_or_default();
    proxies.iter().any(|proxy| proxy["settled_generation"].as_u64() > Some(generation))
}

async fn upgrades_and_drains(world: &mut World) -> Outcome {
    for _ in 0..2 {
        let mut old = world.mesh.upgrade("web-v1").await;
        let ended = block_in_place(|| old.ended(END_LIMIT));
        assert!(ended.success(), "{ended}\n{}", old.log());
        wait::pass(world.seconds(10, 0)).await;
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

/// The same load alone, and beside attacks.
async fn hostile_clients(world: &mut World) -> Outcome {
    let (web, time) = (world.mesh.outbound("web-v1"), world.seconds(45, 3));
    let good = || Load::paced(web, "reviews:9080", "/reviews/0", (4, 2), PAUSE);
    let load = good();
    wait::pass(time / 3).await;
    let mut seen = load.stop().await;
    let alone = seen.percentile_ms(99.0);
    let load = good();
    let counts = hostile::attack(web, time).await;
    let beside = load.stop().await;
    let p99 = beside.percentile_ms(99.0);
    seen.add(beside);
    let note = format!("{counts}; good p99 {alone:.1} ms alone, {p99:.1} ms beside");
    let mut outcome = Outcome { seen, note, ..Outcome::default() };
    outcome.expect_in_time(p99, alone * BESIDE_ATTACKS_FACTOR_MAX, "p99 of good requests beside attacks");
    outcome
}

async fn quiet(world: &mut World) -> Outcome {
    wait::pass(world.seconds(45, 1)).await;
    Outcome { note: "only the load".to_owned(), ..Outcome::default() }
}
