//! Load: wrk for HTTP/1.1 and h2load for HTTP/2 as fast as they can, both also under TLS, a loop of our own at a given rate.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::mesh::HTTP1;
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
    /// The same, with one of [`KEYS`] values of `x-key` after the other.
    GetKeyed,
    /// 1 KiB there, 16 KiB back.
    Post,
}

const CONNECTIONS: u32 = 64;
/// Callers that a consistent hash tells apart: so few that the connections to their endpoints are always in use.
pub(crate) const KEYS: u32 = 8;
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

/// Where a load goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    pub(crate) scheme: &'static str,
    pub(crate) target: SocketAddr,
    pub(crate) host: &'static str,
}

impl Aim {
    fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.target)
    }
}

/// HTTP/1.1 over 64 connections, as fast as it goes.
pub(crate) async fn http1(aim: Aim, exchange: Exchange, time: Duration, folder: &Path) -> anyhow::Result<Served> {
    let Aim { target, host, .. } = aim;
    let mut command = pinned("wrk");
    let seconds = time.as_secs().max(1);
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency"]);
    command.args(["-H", &format!("Host: {host}")]);
    let script = match exchange {
        Exchange::Get => None,
        Exchange::GetKeyed => Some(keyed(host)),
        Exchange::Post => Some("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 1024)\n".to_owned()),
    };
    if let Some(script) = script {
        let file = folder.join("wrk.lua");
        std::fs::write(&file, script)?;
        command.arg("-s").arg(file);
    }
    let text = run(command.arg(aim.url())).await?;
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

/// Requests that are made once and then sent in turn, so that they cost the load nothing.
fn keyed(host: &str) -> String {
    format!(
        "local requests, turn = {{}}, 0
for key = 1, {KEYS} do
  requests[key] = \"GET / HTTP/1.1\\r\\nHost: {host}\\r\\nx-key: \" .. key .. \"\\r\\n\\r\\n\"
end
request = function()
  turn = turn % {KEYS} + 1
  return requests[turn]
end
"
    )
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

/// HTTP/2 over 8 connections with 32 streams each, as fast as it goes.
pub(crate) async fn http2(aim: Aim, time: Duration) -> anyhow::Result<Served> {
    let mut command = pinned("h2load");
    let seconds = time.as_secs().max(1);
    command.args(["-c8", "-m32", "-t1", &format!("-D{seconds}"), "-H", &format!(":authority: {}", aim.host)]);
    let text = run(command.arg(aim.url())).await?;
    // requests: 123 total, 123 started, 123 done, 123 succeeded, 0 failed, 0 errored, 0 timeout
    let line = text.lines().find(|line| line.starts_with("requests:")).context("h2load counts no requests")?;
    let number = |word: &str| {
        let (before, _) = line.split_once(word)?;
        before.rsplit(' ').find(|part| !part.is_empty())?.parse::<u64>().ok()
    };
    let (Some(done), Some(failed)) = (number(" succeeded"), number(" failed")) else { bail!("{line}") };
    ensure!(failed == 0 && done > 0, "{} fails requests: {line}", aim.target);
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
        tokio::time::timeout(PATIENCE, ask(&mut stream, HTTP1, "/")).await.context("no answer")??;
        took.push(sent.elapsed());
        due += gap;
    }
    Ok(took)
}

/// One request and its whole answer.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    path: &str,
) -> anyhow::Result<()> {
    ask_with(stream, host, path, "").await
}

/// The same with more lines in its head.
pub(crate) async fn ask_with(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    path: &str,
    lines: &str,
) -> anyhow::Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").as_bytes()).await?;
    stream.flush().await?;
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

/// Over one HTTP/2 connection, so many requests at once, again and again.
pub(crate) async fn streams(target: SocketAddr, host: &str, at_once: u64, rounds: u64) -> anyhow::Result<()> {
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(target).await?).await?;
    let driven = tokio::spawn(connection);
    for _ in 0..rounds {
        let mut answers = Vec::new();
        for _ in 0..at_once {
            let request = http::Request::get(format!("http://{host}/")).body(())?;
            client = client.ready().await?;
            answers.push(client.send_request(request, true)?.0);
        }
        for answer in answers {
            let mut answer = answer.await?;
            ensure!(answer.status() == 200, "answered with {}", answer.status());
            while let Some(bytes) = answer.body_mut().data().await {
                answer.body_mut().flow_control().release_capacity(bytes?.len())?;
            }
        }
    }
    drop(client);
    driven.await.context("a connection panicked")?.context("a connection was not ended in order")
}

/// Opens so many connections that each have a request open at the same time, and keeps them when all are answered.
pub(crate) async fn idle_pairs(target: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        opening.spawn(async move {
            let mut stream = TcpStream::connect(target).await?;
            tokio::time::timeout(PATIENCE, ask(&mut stream, HTTP1, "/slow")).await.context("no answer")??;
            anyhow::Ok(stream)
        });
    }
    let mut streams = Vec::new();
    while let Some(opened) = opening.join_next().await {
        streams.push(opened.context("a connection panicked")??);
    }
    Ok(streams)
}
