//! What looking costs: our own proxy twice, one that counts, traces and logs, and one that does none of it.
//!
//! Spans go to the control plane of the comparison over OTLP, so that they are taken; the access log goes to a file.

use std::path::Path;

use super::cases::{Measured, Plan, Wanted};
use super::load::Exchange;
use super::loads::{Case, Load, under_load};
use super::mesh::{self, HTTP1};
use super::peers::{Peer, Target, ours};
use super::world::World;

/// What is asked for, and the words by which the proxy does so.
const CASES: [(Case, &[&str]); 4] = [
    (case("telemetry-metrics", "on to off"), &[]),
    (case("telemetry-traces-1", "1 % to off"), &["--trace-to", "control", "--trace-sample", "1"]),
    (case("telemetry-traces-100", "100 % to off"), &["--trace-to", "control", "--trace-sample", "100"]),
    (
        case("telemetry-all", "all to off"),
        &["--trace-to", "control", "--trace-sample", "100", "--access-log", "/dev/null"],
    ),
];

const fn case(name: &'static str, regime: &'static str) -> Case {
    Case { name, regime, load: Load::Http1(Exchange::Get, HTTP1) }
}

pub(crate) async fn run(plan: &Plan, wanted: Wanted<'_>, bin: &Path, measured: &mut Measured) -> anyhow::Result<()> {
    for (case, words) in CASES.into_iter().filter(|(case, _)| wanted.has(case.name)) {
        let gateways = [Peer::Ours.gateway(), Peer::Small.gateway()];
        let world = World::start(bin, |certificates| mesh::ordinary(&gateways, certificates))?;
        let mut targets = Vec::new();
        for (peer, words) in [(Peer::Ours, words), (Peer::Small, &["--no-edges"][..])] {
            let (program, mut arguments) = ours(&world, peer);
            arguments.extend(words.iter().map(|word| (*word).to_owned()));
            let target = Target::begin(peer, &world, (program, arguments))?;
            world.answers(target.listens().http1)?;
            measured.know(&target);
            targets.push(target);
        }
        under_load(plan, &case, &targets, &world, measured).await?;
    }
    Ok(())
}
