//! Large meshes: the memory that they take, and the time until a proxy that starts is ready.
//!
//! # Two of them
//! Both have a thousand clusters, each with a host of its own. With ten routes for each host, ten thousand in all, it is memory
//! that counts; with one for each, a start.
//!
//! # Starts
//! From the control plane, which has everything compiled and at hand, and from disk, with no control plane: ours from the state
//! that it keeps, Envoy, which keeps none, from a bootstrap file made of what it had been told. A start lasts from the
//! creation of the process until `GET /ready` on its admin port is answered with 200.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::admin::{is_ready, page};
use super::cases::{Measured, Plan, Series, Unit, Wanted};
use super::mesh::Objects;
use super::peers::{Peer, Target, command, envoy_with};
use super::world::{World, one_of_many};
use super::{meter, on_disk};

/// As many clusters.
const SERVICES: usize = 1_000;
/// In a file, so that none is larger than the control plane reads.
const SERVICES_PER_FILE: usize = 100;

/// Where the configuration comes from; as a number, the position in lists of cases.
#[derive(Clone, Copy, Debug)]
enum Source {
    Control,
    Disk,
}

/// A mesh, and the cases that are measured with it, by [`Source`].
#[derive(Clone, Copy, Debug)]
struct Mesh {
    regime: &'static str,
    /// Gateway API allows 16 in one HTTPRoute.
    routes_per_service: usize,
    rss: [&'static str; 2],
    start: [&'static str; 2],
    /// Divides the number of starts of the plan.
    rarely: usize,
}

const MESHES: [Mesh; 2] = [
    Mesh {
        regime: "10000 routes",
        routes_per_service: 10,
        rss: ["large-rss", "large-rss-disk"],
        start: ["large-start", "large-start-disk"],
        rarely: 5,
    },
    Mesh {
        regime: "1000 clusters",
        routes_per_service: 1,
        rss: ["clusters-rss", "clusters-rss-disk"],
        start: ["start", "start-disk"],
        rarely: 1,
    },
];

/// What was allocated in passing is given back by then, or never.
const SETTLE: Duration = Duration::from_secs(1);
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Far below what is measured.
const LOOK_EVERY: Duration = Duration::from_micros(200);

pub(crate) async fn run(plan: &Plan, wanted: Wanted<'_>, bin: &Path, measured: &mut Measured) -> anyhow::Result<()> {
    for mesh in MESHES {
        if mesh.rss.iter().chain(&mesh.start).any(|case| wanted.has(case)) {
            measure(&mesh, plan, bin, measured).await?;
        }
    }
    measured.series.retain(|series| wanted.has(series.case));
    Ok(())
}

async fn measure(mesh: &Mesh, plan: &Plan, bin: &Path, measured: &mut Measured) -> anyhow::Result<()> {
    let mut world = World::start(bin, |_| mesh.files())?;
    let bootstrap = world.folder.path().join("envoy-static.json");
    let mut ours = command(Peer::Ours, &world)?;
    let mut theirs = command(Peer::Envoy, &world)?;
    drop(mesh.look(plan, Source::Control, Peer::Ours, &ours, &world, measured).await?);
    let envoy = mesh.look(plan, Source::Control, Peer::Envoy, &theirs, &world, measured).await?;
    on_disk::write(envoy.admin(), &bootstrap)?;
    drop(envoy);

    ours.1.extend(["--state-dir".to_owned(), world.folder.path().join("kept").display().to_string()]);
    let (keeps, _) = starts(1, Peer::Ours, &ours, &world)?;
    // What changes together is written together, a moment later.
    tokio::time::sleep(SETTLE).await;
    drop(keeps);
    world.end_control();
    theirs = envoy_with(&bootstrap.display().to_string())?;
    for (peer, run) in [(Peer::Ours, &ours), (Peer::Envoy, &theirs)] {
        drop(mesh.look(plan, Source::Disk, peer, run, &world, measured).await?);
    }
    Ok(())
}

/// Starts it again and again, and says how many milliseconds each took; the last one runs on.
fn starts(count: usize, peer: Peer, run: &(PathBuf, Vec<String>), world: &World) -> anyhow::Result<(Target, Vec<f64>)> {
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..count {
        // The one before gives its ports back first.
        drop(last.take());
        let target = Target::begin(peer, world, run.clone())?;
        rounds.push(until_ready(&target, world)?.as_secs_f64() * 1e3);
        last = Some(target);
    }
    Ok((last.context("no start was asked for")?, rounds))
}

fn until_ready(target: &Target, world: &World) -> anyhow::Result<Duration> {
    loop {
        if is_ready(target.admin()) {
            return Ok(target.age());
        }
        if target.age() > READY_LIMIT || target.is_gone() {
            bail!("{} is not ready after {:?}; logs:\n{}", target.peer.name(), target.age(), world.logs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Mesh {
    /// How long starts take, and how much memory the last one has in the end; it runs on.
    async fn look(
        &self,
        plan: &Plan,
        source: Source,
        peer: Peer,
        run: &(PathBuf, Vec<String>),
        world: &World,
        measured: &mut Measured,
    ) -> anyhow::Result<Target> {
        let (start, rss) = (self.start[source as usize], self.rss[source as usize]);
        eprintln!("{start} of {}", peer.name());
        let (target, rounds) = starts((plan.starts / self.rarely).max(1), peer, run, world)?;
        measured.know(&target);
        measured.series.push(Series { case: start, regime: self.regime, unit: Unit::Millis, peer, rounds });
        world.answers_with(target.listens().http1, &host(SERVICES - 1), "/large/0")?;
        self.is_whole(&target)?;
        tokio::time::sleep(SETTLE).await;
        let rounds = vec![meter::resident_kib(target.pid())? as f64];
        measured.series.push(Series { case: rss, regime: self.regime, unit: Unit::Kib, peer, rounds });
        Ok(target)
    }

    /// Whether it has everything that it is measured with.
    fn is_whole(&self, target: &Target) -> anyhow::Result<()> {
        let dump = page(target.admin(), "/config_dump")?;
        let clusters = match target.peer {
            Peer::Envoy => {
                let text = page(target.admin(), "/stats?filter=cluster_manager.active_clusters")?;
                text.trim()
                    .rsplit(' ')
                    .next()
                    .and_then(|number| number.parse().ok())
                    .context("no number of clusters")?
            }
            _ => dump.matches("{\"type\":\"CDS\"").count(),
        };
        let routes = dump.matches("\"/large/").count();
        ensure!(
            clusters >= SERVICES && routes >= SERVICES * self.routes_per_service,
            "{} has {clusters} clusters and {routes} routes only",
            target.peer.name()
        );
        Ok(())
    }

    fn files(&self) -> Vec<String> {
        let mut first = Objects::new();
        for gateway in Peer::gateways() {
            first.gateway(gateway, false);
        }
        let parents: Vec<&str> = Peer::gateways().iter().map(|(name, _)| *name).collect();
        let mut files = vec![first.into_text()];
        let numbers: Vec<usize> = (0..SERVICES).collect();
        for of_file in numbers.chunks(SERVICES_PER_FILE) {
            let mut objects = Objects::default();
            of_file.iter().for_each(|number| self.add(&mut objects, *number, &parents));
            files.push(objects.into_text());
        }
        files
    }

    /// A service with its host and routes. Each gives a tenth to the next service.
    fn add(&self, objects: &mut Objects, number: usize, parents: &[&str]) {
        let (name, next, port) = (name(number), name((number + 1) % SERVICES), one_of_many(0).port());
        objects.service_of_slices(&name, port);
        objects.governed_service(&name, "");
        objects.endpoints(&name, &[1, 2].map(|endpoint| one_of_many(2 * number + endpoint)));
        let rule = |path: usize| {
            format!(
                "  - matches: [{{path: {{type: PathPrefix, value: /large/{path}}}}}]
    backendRefs: [{{name: {name}, port: {port}, weight: 90}}, {{name: {next}, port: {port}, weight: 10}}]
"
            )
        };
        let rules: String = (0..self.routes_per_service).map(rule).collect();
        objects.route(&name, parents, &host(number), &rules);
    }
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn host(number: usize) -> String {
    format!("{}.bench", name(number))
}
