//! A mesh with ten thousand routes and a thousand clusters: the memory that it takes, and the time until a proxy that starts
//! is ready.
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
/// In one HTTPRoute; Gateway API allows 16.
const ROUTES_PER_SERVICE: usize = 10;
/// In a file, so that none is larger than the control plane reads.
const SERVICES_PER_FILE: usize = 100;

const RSS: &str = "large-rss";
const RSS_DISK: &str = "large-rss-disk";
const START: &str = "start";
const START_DISK: &str = "start-disk";
const REGIME: &str = "1000 clusters";

/// What was allocated in passing is given back by then, or never.
const SETTLE: Duration = Duration::from_secs(2);
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Far below what is measured.
const LOOK_EVERY: Duration = Duration::from_micros(200);

pub(crate) async fn run(plan: &Plan, wanted: Wanted<'_>, bin: &Path, measured: &mut Measured) -> anyhow::Result<()> {
    if ![RSS, RSS_DISK, START, START_DISK].iter().any(|case| wanted.has(case)) {
        return Ok(());
    }
    let mut world = World::start(bin, |_| files())?;
    let state = world.folder.path().join("kept");
    let kept = |(program, mut words): (PathBuf, Vec<String>)| {
        words.extend(["--state-dir".to_owned(), state.display().to_string()]);
        (program, words)
    };
    let ours = kept(command(Peer::Ours, &world)?);
    let theirs = command(Peer::Envoy, &world)?;
    let bootstrap = world.folder.path().join("envoy-static.json");
    for (peer, run) in [(Peer::Ours, &ours), (Peer::Envoy, &theirs)] {
        eprintln!("{RSS} and {START} of {}", peer.name());
        let target = Target::begin(peer, &world, run.clone())?;
        world.answers_with(target.listens().http1, &host(SERVICES - 1), "/large/0")?;
        measured.know(&target);
        is_whole(&target)?;
        tokio::time::sleep(SETTLE).await;
        let (unit, rounds) = (Unit::Kib, vec![meter::resident_kib(target.pid())? as f64]);
        measured.series.push(Series { case: RSS, regime: REGIME, unit, peer, rounds });
        if peer == Peer::Envoy {
            on_disk::write(target.admin(), &bootstrap)?;
        }
        drop(target);
        starts(plan, START, peer, run, &world, measured)?;
    }
    world.end_control();
    let theirs = envoy_with(&bootstrap.display().to_string())?;
    for (peer, run) in [(Peer::Ours, &ours), (Peer::Envoy, &theirs)] {
        eprintln!("{START_DISK} of {}", peer.name());
        let target = starts(plan, START_DISK, peer, run, &world, measured)?;
        world.answers_with(target.listens().http1, &host(SERVICES - 1), "/large/0")?;
        is_whole(&target)?;
        tokio::time::sleep(SETTLE).await;
        let (unit, rounds) = (Unit::Kib, vec![meter::resident_kib(target.pid())? as f64]);
        measured.series.push(Series { case: RSS_DISK, regime: REGIME, unit, peer, rounds });
    }
    measured.series.retain(|series| wanted.has(series.case));
    Ok(())
}

/// Starts it again and again; the last one runs on.
fn starts(
    plan: &Plan,
    case: &'static str,
    peer: Peer,
    run: &(PathBuf, Vec<String>),
    world: &World,
    measured: &mut Measured,
) -> anyhow::Result<Target> {
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..plan.starts {
        // The one before gives its ports back first.
        drop(last.take());
        let target = Target::begin(peer, world, run.clone())?;
        rounds.push(until_ready(&target, world)?.as_secs_f64() * 1e3);
        last = Some(target);
    }
    measured.series.push(Series { case, regime: REGIME, unit: Unit::Millis, peer, rounds });
    last.context("no start was asked for")
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

/// Whether it has everything that it is measured with.
fn is_whole(target: &Target) -> anyhow::Result<()> {
    let dump = page(target.admin(), "/config_dump")?;
    let clusters = match target.peer {
        Peer::Envoy => {
            let text = page(target.admin(), "/stats?filter=cluster_manager.active_clusters")?;
            text.trim().rsplit(' ').next().and_then(|number| number.parse().ok()).context("no number of clusters")?
        }
        _ => dump.matches("{\"type\":\"CDS\"").count(),
    };
    let routes = dump.matches("\"/large/").count();
    ensure!(
        clusters >= SERVICES && routes >= SERVICES * ROUTES_PER_SERVICE,
        "{} has {clusters} clusters and {routes} routes only",
        target.peer.name()
    );
    Ok(())
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn host(number: usize) -> String {
    format!("{}.bench", name(number))
}

fn files() -> Vec<String> {
    let mut first = Objects::new();
    for gateway in Peer::gateways() {
        first.gateway(gateway, false);
    }
    let parents: Vec<&str> = Peer::gateways().iter().map(|(name, _)| *name).collect();
    let mut files = vec![first.into_text()];
    let numbers: Vec<usize> = (0..SERVICES).collect();
    for of_file in numbers.chunks(SERVICES_PER_FILE) {
        let mut objects = Objects::default();
        of_file.iter().for_each(|number| one(&mut objects, *number, &parents));
        files.push(objects.into_text());
    }
    files
}

/// A service with its host and routes. Each gives a tenth to the next service.
fn one(objects: &mut Objects, number: usize, parents: &[&str]) {
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
    let rules: String = (0..ROUTES_PER_SERVICE).map(rule).collect();
    objects.route(&name, parents, &host(number), &rules);
}
