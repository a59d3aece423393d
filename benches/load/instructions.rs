//! User-space instructions of our proxy for each request, counted by callgrind.
//!
//! # Why instructions
//! Time on a shared machine swings by a tenth and more; a count of instructions is the same again for the same binary and the same
//! requests, so a gate on it can be strict. It says nothing of the kernel, which is half of the time: that is what the
//! comparison is for.
//!
//! # How
//! The proxy is run twice, for N and for 2 N requests. The difference is what N requests cost without start and end.
//!
//! # Heads that differ
//! What comes again as it came before is read for less, and here all requests are the same. So there is a second figure for
//! HTTP/1.1, of requests that have a line more, which no two have alike; the cost of that line is in it.
//!
//! # Traces
//! Nearly all requests of a mesh that is traced are not sampled. What they pay is a figure of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use tokio::net::TcpStream;

use super::load::{ask_with, streams};
use super::mesh::{HTTP1, HTTP2};
use super::peers::{Peer, ours};
use super::world::{LOAD_CORE, Process, World};
use super::{mesh, meter, peers};

const REQUESTS: u64 = 2_048;
/// Their requests are sent together and their answers awaited together, as under load.
const CONNECTIONS: u64 = 16;
/// The same over HTTP/2, with so many streams each.
const HTTP2_CONNECTIONS: u64 = 8;
const STREAMS: u64 = 32;
/// Callgrind makes everything fifty times slower.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What is asked, and in which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Requests {
    #[value(name = "http/1.1")]
    Http1,
    /// Heads differ in one line.
    #[value(name = "http/1.1-different")]
    Http1Different,
    /// Heads lie in a trace that nobody samples.
    #[value(name = "http/1.1-traced")]
    Http1Traced,
    /// The same, and their callers say so.
    #[value(name = "http/1.1-traced-before")]
    Http1TracedBefore,
    #[value(name = "http/2")]
    Http2,
}

impl Requests {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1 request",
            Self::Http1Different => "HTTP/1.1 request with a line that no other has",
            Self::Http1Traced => "HTTP/1.1 request that is traced and not sampled",
            Self::Http1TracedBefore => "HTTP/1.1 request whose caller traces it and does not sample it",
            Self::Http2 => "HTTP/2 request",
        }
    }
}

/// Counts, prints, and fails above `max`.
pub(crate) async fn run(
    bin: &Path,
    requests: Requests,
    max: Option<u64>,
    profile: Option<&Path>,
) -> anyhow::Result<()> {
    let each = per_request(bin, requests, profile).await?;
    println!("{each} instructions for each {} with all governance configured", requests.name());
    if let Some(max) = max {
        ensure!(each <= max, "more than the {max} that are allowed");
    }
    Ok(())
}

/// What a request costs.
pub(crate) async fn per_request(bin: &Path, asked: Requests, profile: Option<&Path>) -> anyhow::Result<u64> {
    let world = World::start(bin, |certificates| mesh::ordinary(&Peer::gateways()[..1], certificates))?;
    let once = count(&world, asked, REQUESTS).await?;
    let twice = count(&world, asked, 2 * REQUESTS).await?;
    if let Some(profile) = profile {
        std::fs::copy(profile_of(&world, 2 * REQUESTS), profile).context("cannot keep the profile")?;
    }
    Ok(twice.saturating_sub(once) / REQUESTS)
}

fn profile_of(world: &World, requests: u64) -> PathBuf {
    world.folder.path().join(format!("callgrind-{requests}.out"))
}

/// The instructions of a whole run.
async fn count(world: &World, asked: Requests, requests: u64) -> anyhow::Result<u64> {
    let file = profile_of(world, requests);
    let (program, arguments) = ours(world, Peer::Ours);
    let mut words = vec![
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", file.display()),
        program.display().to_string(),
    ];
    words.extend(arguments);
    if matches!(asked, Requests::Http1Traced | Requests::Http1TracedBefore) {
        // Nobody is there, and nobody is told anything.
        words.extend(["--trace-to", "otlp=127.0.0.1:9", "--trace-sample", "0"].map(str::to_owned));
    }
    let process = Process::start(LOAD_CORE, Path::new("valgrind"), &words, &world.log("valgrind"))?;
    let address = peers::http1_address(Peer::Ours);
    world.answers(address)?;
    match asked {
        Requests::Http1 | Requests::Http1Traced => ask_over_http1(address, requests, |_| String::new()).await?,
        Requests::Http1TracedBefore => {
            let line = |number| format!("traceparent: 00-0af7651916cd43dd{number:016x}-{:016x}-00\r\n", number + 1);
            ask_over_http1(address, requests, line).await?;
        }
        Requests::Http1Different => {
            ask_over_http1(address, requests, |number| format!("x-key: {number:016x}\r\n")).await?;
        }
        Requests::Http2 => {
            let rounds = requests / HTTP2_CONNECTIONS / STREAMS;
            let together = (0..HTTP2_CONNECTIONS).map(|_| streams(address, HTTP2, STREAMS, rounds));
            futures_util::future::try_join_all(together).await?;
        }
    }
    process.terminate()?;
    let start = meter::now();
    while !process.is_gone() {
        ensure!(start.elapsed() < END_LIMIT, "the proxy does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("callgrind wrote no {}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")).context("no totals")?;
    total.trim().parse().context("totals are no number")
}

async fn ask_over_http1(address: SocketAddr, requests: u64, lines: impl Fn(u64) -> String) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(TcpStream::connect(address).await?);
    }
    for round in 0..requests / CONNECTIONS {
        let lines: Vec<String> = (0..CONNECTIONS).map(|connection| lines(round * CONNECTIONS + connection)).collect();
        let together = streams.iter_mut().zip(&lines).map(|(stream, lines)| ask_with(stream, HTTP1, "/", lines));
        futures_util::future::try_join_all(together).await?;
    }
    Ok(())
}
