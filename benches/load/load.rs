//! Load: wrk for HTTP/1.1 and h2load for HTTP/2 as fast as they can, a loop of our own at a given rate.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::meter;
use super::world::LOAD_CORE;

/// What a load saw.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) requests: u64,
    /// Median time of an answer, where the load measures it.
    pub(crate) median: Option<Duration>,
}

/// What is asked for again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// 100 bytes back.
    Get,
    /// 1 KiB there, 16 KiB back.
    Post,
}

const CONNECTIONS: u32 = 64;
/// A loop that waits for longer than this for one answer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("taskset is not there")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", LOAD_CORE, program]);
    command
}

/// HTTP/1.1 over 64 connections, as fast as it goes.
pub(crate) async fn http1(
    target: SocketAddr,
    exchange: Exchange,
    time: Duration,
    folder: &Path,
) -> anyhow::Result<Served> {
    let mut command = pinned("wrk");
    let seconds = time.as_secs().max(1);
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency", "-H", "Host: h1.bench"]);
    if exchange == Exchange::Post {
        let script = folder.join("post.lua");
        std::fs::write(&script, "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 1024)\n")?;
        command.arg("-s").arg(script);
    }
    let text = run(command.arg(format!("http://{target}/"))).await?;
    for trouble in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(trouble), "{target} fails requests:\n{text}");
    }
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok())
        .with_context(|| format!("wrk says nothing of its requests:\n{text}"))?;
    let median = text.lines().find_map(|line| line.trim().strip_prefix("50%")).and_then(|text| duration(text.trim()));
    Ok(Served { requests, median })
}

/// As wrk writes it: `812.00us`, `1.20ms`, `2.01s`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * scale))
}

/// HTTP/2 in clear text, 8 connections with 32 streams each.
pub(crate) async fn http2(target: SocketAddr, time: Duration) -> anyhow::Result<Served> {
    let mut command = pinned("h2load");
    let seconds = time.as_secs().max(1);
    command.args(["-c8", "-m32", "-t1", &format!("-D{seconds}"), "-H", ":authority: h2.bench"]);
    let text = run(command.arg(format!("http://{target}/"))).await?;
    // requests: 123 total, 123 started, 123 done, 123 succeeded, 0 failed, 0 errored, 0 timeout
    let line = text.lines().find(|line| line.starts_with("requests:")).context("h2load counts no requests")?;
    let number = |word: &str| {
        let (before, _) = line.split_once(word)?;
        before.rsplit(' ').find(|part| !part.is_empty())?.parse::<u64>().ok()
    };
    let (Some(done), Some(failed)) = (number(" succeeded"), number(" failed")) else { bail!("{line}") };
    ensure!(failed == 0 && done > 0, "{target} fails requests: {line}");
    Ok(Served { requests: done, median: None })
}

/// HTTP/1.1 at a rate, over 64 connections whose requests are spread evenly; no request waits for another connection's.
pub(crate) async fn at_rate(target: SocketAddr, per_second: u32, time: Duration) -> anyhow::Result<Served> {
    let gap = Duration::from_secs(1) * CONNECTIONS / per_second;
    let start = meter::now();
    let mut loops = JoinSet::new();
    for number in 0..CONNECTIONS {
        loops.spawn(steady(target, gap * number / CONNECTIONS, gap, time));
    }
    let mut all: Vec<Duration> = Vec::new();
    while let Some(done) = loops.join_next().await {
        all.extend(done.context("a loop panicked")??);
    }
    ensure!(start.elapsed() < time + PATIENCE, "{target} is slower than {per_second} requests a second");
    all.sort();
    let median = all.get(all.len() / 2).copied();
    Ok(Served { requests: all.len() as u64, median })
}

async fn steady(target: SocketAddr, offset: Duration, gap: Duration, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let start = tokio::time::Instant::from_std(meter::now()) + offset;
    let mut took = Vec::new();
    let mut due = start;
    while due < start + time {
        tokio::time::sleep_until(due).await;
        let sent = meter::now();
        tokio::time::timeout(PATIENCE, ask(&mut stream, "/")).await.context("no answer")??;
        took.push(sent.elapsed());
        due += gap;
    }
    Ok(took)
}

/// One request and its whole answer.
pub(crate) async fn ask(stream: &mut TcpStream, path: &str) -> anyhow::Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h1.bench\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the connection ended");
        let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        // Every answer to GET has a hundred bytes.
        if answer.len() >= end + 4 + 100 {
            return Ok(());
        }
    }
}

/// Opens so many connections that each have a request open at the same time, and keeps them when all are answered.
pub(crate) async fn idle_pairs(target: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        opening.spawn(async move {
            let mut stream = TcpStream::connect(target).await?;
            tokio::time::timeout(PATIENCE, ask(&mut stream, "/slow")).await.context("no answer")??;
            anyhow::Ok(stream)
        });
    }
    let mut streams = Vec::new();
    while let Some(opened) = opening.join_next().await {
        streams.push(opened.context("a connection panicked")??);
    }
    Ok(streams)
}
