//! What is measured, in which order.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::instructions::Requests;
use super::load;
use super::loads::{LOADS, under_load};
use super::peers::{Peer, Target};
use super::world::World;
use super::{growth, instructions, large, mesh, meter, telemetry};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) idle: Duration,
    /// How often a start is timed.
    pub(crate) starts: usize,
}

impl Plan {
    pub(crate) const QUICK: Self =
        Self { rounds: 3, time: Duration::from_secs(1), idle: Duration::from_secs(2), starts: 3 };
    pub(crate) const FULL: Self =
        Self { rounds: 7, time: Duration::from_secs(4), idle: Duration::from_secs(10), starts: 11 };
}

/// Connections that are held idle.
const PAIRS: usize = 1_000;

/// What figures of a case are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Microseconds of processor time for a request.
    MicrosPerRequest,
    /// Microseconds that an answer takes, half of the time.
    MicrosMedian,
    /// Microseconds of processor time in a second without requests.
    MicrosPerSecond,
    /// Of the program, outside of the kernel.
    InstructionsPerRequest,
    Kib,
    /// KiB for each pair of idle connections.
    KibPerPair,
    Millis,
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MicrosPerRequest => "us/request",
            Self::MicrosMedian => "us",
            Self::MicrosPerSecond => "us/s",
            Self::InstructionsPerRequest => "instructions/request",
            Self::Kib => "KiB",
            Self::KibPerPair => "KiB/pair",
            Self::Millis => "ms",
        }
    }
}

/// A case of one target, a figure for each round.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) case: &'static str,
    pub(crate) regime: &'static str,
    pub(crate) unit: Unit,
    pub(crate) peer: Peer,
    pub(crate) rounds: Vec<f64>,
}

/// A peer that has no figure in a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unable {
    pub(crate) case: &'static str,
    pub(crate) peer: Peer,
    pub(crate) reason: &'static str,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) series: Vec<Series>,
    pub(crate) unable: Vec<Unable>,
    /// By peer.
    pub(crate) versions: Vec<(Peer, String)>,
}

impl Measured {
    pub(crate) fn know(&mut self, target: &Target) {
        if !self.versions.iter().any(|(peer, _)| *peer == target.peer) {
            self.versions.push((target.peer, target.version.clone()));
        }
    }
}

/// Which cases are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a>(pub(crate) &'a str);

impl Wanted<'_> {
    pub(crate) fn has(self, case: &str) -> bool {
        case.contains(self.0)
    }

    fn any(self, cases: &[&str]) -> bool {
        cases.iter().any(|case| self.has(case))
    }
}

const IDLE: [&str; 2] = ["idle-cpu", "idle-rss"];
const PAIRS_CASE: &str = "idle-pairs";
const INSTRUCTIONS: [(&str, Requests); 5] = [
    ("h1-instructions", Requests::Http1),
    ("h1-instructions-different", Requests::Http1Different),
    ("h1-instructions-traced", Requests::Http1Traced),
    ("h1-instructions-traced-before", Requests::Http1TracedBefore),
    ("h2-instructions", Requests::Http2),
];

/// Starts everything, measures, ends everything.
pub(crate) async fn run(plan: &Plan, only: &str, bin: &Path) -> anyhow::Result<Measured> {
    let wanted = Wanted(only);
    let mut measured = Measured::default();
    ordinary(plan, wanted, bin, &mut measured).await?;
    growth::run(plan, wanted, bin, &mut measured).await?;
    large::run(plan, wanted, bin, &mut measured).await?;
    telemetry::run(plan, wanted, bin, &mut measured).await?;
    for (case, requests) in INSTRUCTIONS.into_iter().filter(|(case, _)| wanted.has(case)) {
        eprintln!("{case}");
        let each = instructions::per_request(bin, requests, None).await?;
        let (unit, rounds) = (Unit::InstructionsPerRequest, vec![each as f64]);
        measured.series.push(Series { case, regime: "callgrind", unit, peer: Peer::Ours, rounds });
    }
    Ok(measured)
}

/// All of them with one small mesh.
async fn ordinary(plan: &Plan, wanted: Wanted<'_>, bin: &Path, measured: &mut Measured) -> anyhow::Result<()> {
    let loads: Vec<_> = LOADS.iter().filter(|load| load.names().any(|name| wanted.has(name))).collect();
    if loads.is_empty() && !wanted.any(&IDLE) && !wanted.has(PAIRS_CASE) {
        return Ok(());
    }
    let world = World::start(bin, |certificates| mesh::ordinary(&Peer::gateways(), certificates))?;
    let mut targets = Vec::new();
    for peer in Peer::ALL {
        let target = Target::start(peer, &world).with_context(|| format!("{} does not start", peer.name()))?;
        measured.know(&target);
        targets.push(target);
    }
    if wanted.any(&IDLE) {
        idle(plan, &targets, measured).await?;
    }
    for case in loads {
        under_load(plan, case, &targets, &world, measured).await?;
    }
    if wanted.has(PAIRS_CASE) {
        pairs(&targets, measured).await?;
    }
    Ok(())
}

/// Before anybody has asked for anything.
async fn idle(plan: &Plan, targets: &[Target], measured: &mut Measured) -> anyhow::Result<()> {
    eprintln!("idle: {:?}", plan.idle);
    let before: Vec<Duration> =
        targets.iter().map(|target| meter::processor_time(target.pid())).collect::<anyhow::Result<_>>()?;
    tokio::time::sleep(plan.idle).await;
    let [cpu, rss] = IDLE;
    for (target, before) in targets.iter().zip(before) {
        let spent = meter::processor_time(target.pid())?.saturating_sub(before);
        let one = |case, unit, figure| Series { case, regime: "idle", unit, peer: target.peer, rounds: vec![figure] };
        let per_second = spent.as_secs_f64() * 1e6 / plan.idle.as_secs_f64();
        measured.series.push(one(cpu, Unit::MicrosPerSecond, per_second));
        measured.series.push(one(rss, Unit::Kib, meter::resident_kib(target.pid())? as f64));
    }
    Ok(())
}

/// Memory of connections whose requests are all answered, on both sides of the proxy.
async fn pairs(targets: &[Target], measured: &mut Measured) -> anyhow::Result<()> {
    for target in targets {
        eprintln!("{PAIRS_CASE} of {}", target.peer.name());
        let before = meter::resident_kib(target.pid())?;
        let held = load::idle_pairs(target.listens().http1, PAIRS).await?;
        let grown = meter::resident_kib(target.pid())?.saturating_sub(before) as f64;
        drop(held);
        let (unit, rounds) = (Unit::KibPerPair, vec![grown / PAIRS as f64]);
        measured.series.push(Series { case: PAIRS_CASE, regime: "memory", unit, peer: target.peer, rounds });
    }
    Ok(())
}
