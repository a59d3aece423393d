//! Our proxy beside its peers: the same work, the same machine, the same minutes.
//!
//! # How it measures
//! Proxies are pinned to one core with one worker each, the backend and the load to the other. All targets are up at once
//! and are measured in turn, the order reversed every other round, because these machines are shared and their speed
//! drifts. The figure is the processor time of the target's process (user and system, all threads) for each request; a
//! ratio is the median of the ratios within a round. Microseconds belong to the machine, ratios travel.
//!
//! # Meshes
//! One after the other: an ordinary one for all peers ([`mesh`]), grown ones for our proxy twice ([`growth`]), large ones for ours
//! and Envoy ([`large`]). What is to be reached is in [`goals`].
//!
//! # What "the same work" is
//! Ours and Envoy are driven by one control plane with one configuration in which every governance feature is set: routes,
//! a split, retries, a breaker, ejection, a local rate limit, a fault. nginx, HAProxy and the relay only forward.

mod admin;
mod backend;
mod cases;
mod certificates;
mod configurations;
mod goals;
mod growth;
mod handshakes;
mod instructions;
mod large;
mod load;
mod loads;
mod mesh;
mod meter;
mod on_disk;
mod peers;
mod relay;
mod report;
mod telemetry;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use self::backend::Places;
use self::cases::Plan;

/// Measures our proxy beside its peers.
#[derive(Debug, Parser)]
struct Flags {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Fewer and shorter rounds: under four minutes, for a first look
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "WORD", default_value = "")]
    only: String,
    /// Where the binaries of Tidegate are
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    bin: PathBuf,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.json")]
    report: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// An application that answers at once (started by the comparison itself)
    #[command(hide = true)]
    Backend(#[command(flatten)] Places),
    /// Counts the instructions of our proxy for each request
    Instructions {
        /// What is asked for, by which protocol
        #[arg(long, value_enum, default_value = "http/1.1")]
        requests: instructions::Requests,
        /// Fail above this
        #[arg(long, value_name = "N")]
        max: Option<u64>,
        /// Keep the profile, for callgrind_annotate
        #[arg(long, value_name = "FILE")]
        profile: Option<PathBuf>,
    },
    /// Copies bytes: the least that any proxy does (started by the comparison itself)
    #[command(hide = true)]
    Relay { listen: SocketAddr, to: SocketAddr },
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    match flags.verb {
        Some(Verb::Backend(places)) => runtime.block_on(backend::run(&places)),
        Some(Verb::Relay { listen, to }) => runtime.block_on(relay::run(listen, to)),
        Some(Verb::Instructions { requests, max, profile }) => {
            runtime.block_on(instructions::run(&flags.bin, requests, max, profile.as_deref()))
        }
        None => {
            let plan = if flags.quick { Plan::QUICK } else { Plan::FULL };
            let measured = runtime.block_on(cases::run(&plan, &flags.only, &flags.bin))?;
            print!("{}{}", report::table(&measured), report::verdicts(&measured));
            report::write(&measured, &flags.report)
        }
    }
}
