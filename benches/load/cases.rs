//! What is measured, in which order.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::load::{self, Exchange, Served};
use super::meter;
use super::peers::{Peer, Target};
use super::world::World;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    rounds: usize,
    time: Duration,
    idle: Duration,
}

impl Plan {
    pub(crate) const QUICK: Self = Self { rounds: 3, time: Duration::from_secs(2), idle: Duration::from_secs(2) };
    pub(crate) const FULL: Self = Self { rounds: 7, time: Duration::from_secs(4), idle: Duration::from_secs(10) };
}

/// Requests a second of the open loop: far from saturation for all.
const RATE: u32 = 8_000;
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
    Kib,
    /// KiB for each pair of idle connections.
    KibPerPair,
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MicrosPerRequest => "us/request",
            Self::MicrosMedian => "us",
            Self::MicrosPerSecond => "us/s",
            Self::Kib => "KiB",
            Self::KibPerPair => "KiB/pair",
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

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) series: Vec<Series>,
    /// By peer.
    pub(crate) versions: Vec<(Peer, String)>,
}

/// A load that processor time is measured under.
#[derive(Clone, Copy, Debug)]
enum Load {
    Http1(Exchange),
    Http2,
    Rate,
}

const LOADS: [(&str, &str, Load); 4] = [
    ("h1-get", "saturated", Load::Http1(Exchange::Get)),
    ("h1-post", "saturated", Load::Http1(Exchange::Post)),
    ("h2-unary", "saturated", Load::Http2),
    ("h1-rate", "8000/s", Load::Rate),
];

/// Starts everything, measures, ends everything.
pub(crate) async fn run(plan: &Plan, only: &str, bin: &Path) -> anyhow::Result<Measured> {
    let wanted = |case: &str| case.contains(only);
    let world = World::start(bin, &Peer::gateways())?;
    let mut targets = Vec::new();
    for peer in Peer::ALL {
        targets.push(Target::start(peer, &world).with_context(|| format!("{} does not start", peer.name()))?);
    }
    let mut series = Vec::new();
    if wanted("idle") {
        idle(plan, &targets, &mut series).await?;
    }
    for (case, regime, load) in LOADS {
        if wanted(case) {
            under_load(plan, case, regime, load, &targets, &world, &mut series).await?;
        }
    }
    if wanted("idle-pairs") {
        pairs(&targets, &mut series).await?;
    }
    let versions = targets.iter().map(|target| (target.peer, target.version.clone())).collect();
    Ok(Measured { series, versions })
}

/// Before anybody has asked for anything.
async fn idle(plan: &Plan, targets: &[Target], series: &mut Vec<Series>) -> anyhow::Result<()> {
    eprintln!("idle: {:?}", plan.idle);
    let before: Vec<Duration> =
        targets.iter().map(|target| meter::processor_time(target.pid())).collect::<anyhow::Result<_>>()?;
    tokio::time::sleep(plan.idle).await;
    for (target, before) in targets.iter().zip(before) {
        let spent = meter::processor_time(target.pid())?.saturating_sub(before);
        let one = |case, unit, figure| Series { case, regime: "idle", unit, peer: target.peer, rounds: vec![figure] };
        let per_second = spent.as_secs_f64() * 1e6 / plan.idle.as_secs_f64();
        series.push(one("idle-cpu", Unit::MicrosPerSecond, per_second));
        series.push(one("idle-rss", Unit::Kib, meter::resident_kib(target.pid())? as f64));
    }
    Ok(())
}

async fn under_load(
    plan: &Plan,
    case: &'static str,
    regime: &'static str,
    load: Load,
    targets: &[Target],
    world: &World,
    series: &mut Vec<Series>,
) -> anyhow::Result<()> {
    let targets: Vec<&Target> =
        targets.iter().filter(|target| !matches!(load, Load::Http2) || target.peer.speaks_http2()).collect();
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); targets.len()];
    let mut medians = costs.clone();
    for target in &targets {
        // Connections, caches and allocators are warm when it counts.
        offer(load, target, Duration::from_secs(1), world).await?;
    }
    for round in 0..plan.rounds {
        eprintln!("{case}, round {} of {}", round + 1, plan.rounds);
        let mut order: Vec<usize> = (0..targets.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let target = targets[index];
            let before = meter::processor_time(target.pid())?;
            let served = offer(load, target, plan.time, world).await?;
            let spent = meter::processor_time(target.pid())?.saturating_sub(before);
            costs[index].push(spent.as_secs_f64() * 1e6 / served.requests as f64);
            medians[index].extend(served.median.map(|median| median.as_secs_f64() * 1e6));
        }
    }
    for ((target, costs), medians) in targets.iter().zip(costs).zip(medians) {
        let peer = target.peer;
        series.push(Series { case, regime, unit: Unit::MicrosPerRequest, peer, rounds: costs });
        if matches!(load, Load::Rate) {
            series.push(Series { case: "h1-rate-p50", regime, unit: Unit::MicrosMedian, peer, rounds: medians });
        }
    }
    Ok(())
}

async fn offer(load: Load, target: &Target, time: Duration, world: &World) -> anyhow::Result<Served> {
    let served = match load {
        Load::Http1(exchange) => load::http1(target.http1(), exchange, time, world.folder.path()).await,
        Load::Http2 => load::http2(target.http2(), time).await,
        Load::Rate => load::at_rate(target.http1(), RATE, time).await,
    };
    served.with_context(|| format!("{} under {load:?}", target.peer.name()))
}

/// Memory of connections whose requests are all answered, on both sides of the proxy.
async fn pairs(targets: &[Target], series: &mut Vec<Series>) -> anyhow::Result<()> {
    for target in targets {
        eprintln!("idle pairs of {}", target.peer.name());
        let before = meter::resident_kib(target.pid())?;
        let held = load::idle_pairs(target.http1(), PAIRS).await?;
        let grown = meter::resident_kib(target.pid())?.saturating_sub(before) as f64;
        drop(held);
        let rounds = vec![grown / PAIRS as f64];
        series.push(Series { case: "idle-pairs", regime: "memory", unit: Unit::KibPerPair, peer: target.peer, rounds });
    }
    Ok(())
}
