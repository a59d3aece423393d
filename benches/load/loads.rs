//! Loads under which processor time is measured: all targets in turn, round after round.

use std::time::Duration;

use anyhow::Context as _;

use super::cases::{Measured, Plan, Series, Unable, Unit};
use super::load::{self, Aim, Exchange, Served};
use super::mesh::{HTTP1, HTTP2, HTTPS1, HTTPS2};
use super::peers::{Peer, Target};
use super::world::World;
use super::{handshakes, meter};

/// Requests a second of the open loop: far from saturation for all.
const RATE: u32 = 8_000;
/// Connections, caches and allocators are warm when it counts.
const WARM: Duration = Duration::from_secs(1);

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// For a host.
    Http1(Exchange, &'static str),
    Http2,
    /// TLS 1.3 before and behind the proxy.
    Https1,
    Https2,
    /// A connection for each request; behind the proxy they are kept.
    Handshakes,
    Rate,
}

/// A load with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) regime: &'static str,
    pub(crate) load: Load,
}

const MEDIAN: &str = "h1-rate-p50";

/// Those of the ordinary comparison.
pub(crate) const LOADS: [Case; 7] = [
    Case { name: "h1-get", regime: "saturated", load: Load::Http1(Exchange::Get, HTTP1) },
    Case { name: "h1-post", regime: "saturated", load: Load::Http1(Exchange::Post, HTTP1) },
    Case { name: "h1-tls", regime: "saturated", load: Load::Https1 },
    Case { name: "h2-unary", regime: "saturated", load: Load::Http2 },
    Case { name: "h2-tls", regime: "saturated", load: Load::Https2 },
    Case { name: "tls-handshake", regime: "saturated", load: Load::Handshakes },
    Case { name: "h1-rate", regime: "8000/s", load: Load::Rate },
];

impl Case {
    /// Of everything that comes of it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let median = matches!(self.load, Load::Rate).then_some(MEDIAN);
        std::iter::once(self.name).chain(median)
    }

    /// Why a peer cannot do it.
    fn unable(&self, peer: Peer) -> Option<&'static str> {
        match (self.load, peer) {
            (Load::Http2 | Load::Https2, Peer::Nginx) => Some("forwards HTTP/2 as HTTP/1.1 only"),
            (Load::Http2, Peer::Relay) => Some("its application speaks HTTP/1.1"),
            (Load::Https1 | Load::Https2 | Load::Handshakes, Peer::Relay) => Some("does not end TLS"),
            _ => None,
        }
    }
}

/// Measures all targets under a load.
pub(crate) async fn under_load(
    plan: &Plan,
    case: &Case,
    targets: &[Target],
    world: &World,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let Case { name, regime, load } = *case;
    let able: Vec<&Target> = targets.iter().filter(|target| case.unable(target.peer).is_none()).collect();
    for target in targets {
        let unable = case.unable(target.peer).map(|reason| Unable { case: name, peer: target.peer, reason });
        measured.unable.extend(unable);
    }
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); able.len()];
    let mut medians = costs.clone();
    for target in &able {
        offer(load, target, WARM, world).await?;
    }
    for round in 0..plan.rounds {
        eprintln!("{name}, round {} of {}", round + 1, plan.rounds);
        let mut order: Vec<usize> = (0..able.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let target = able[index];
            let before = meter::processor_time(target.pid())?;
            let served = offer(load, target, plan.time, world).await?;
            let spent = meter::processor_time(target.pid())?.saturating_sub(before);
            costs[index].push(spent.as_secs_f64() * 1e6 / served.requests as f64);
            medians[index].extend(served.median.map(|median| median.as_secs_f64() * 1e6));
        }
    }
    for ((target, costs), medians) in able.iter().zip(costs).zip(medians) {
        let peer = target.peer;
        measured.series.push(Series { case: name, regime, unit: Unit::MicrosPerRequest, peer, rounds: costs });
        if matches!(load, Load::Rate) {
            measured.series.push(Series { case: MEDIAN, regime, unit: Unit::MicrosMedian, peer, rounds: medians });
        }
    }
    Ok(())
}

/// Offers a load for a time.
pub(crate) async fn offer(load: Load, target: &Target, time: Duration, world: &World) -> anyhow::Result<Served> {
    let (at, folder) = (target.listens(), world.folder.path());
    let plain = |target, host| Aim { scheme: "http", target, host };
    let encrypted = |target, host| Aim { scheme: "https", target, host };
    let served = match load {
        Load::Http1(exchange, host) => load::http1(plain(at.http1, host), exchange, time, folder).await,
        Load::Http2 => load::http2(plain(at.http2, HTTP2), time).await,
        Load::Https1 => load::http1(encrypted(at.https1, HTTPS1), Exchange::Get, time, folder).await,
        Load::Https2 => load::http2(encrypted(at.https2, HTTPS2), time).await,
        Load::Handshakes => handshakes::run(at.https1, HTTPS1, time).await,
        Load::Rate => load::at_rate(at.http1, RATE, time).await,
    };
    served.with_context(|| format!("{} under {load:?}", target.peer.name()))
}
