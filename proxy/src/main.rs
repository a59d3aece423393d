//! Flags, signals, exit code. Everything else is in the library.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use tidegate_proxy::{Options, Proxy, Timing};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::transport::ClientConfig;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. The HTTP/2 library warns of each frame that a peer should not have sent: whoever
/// sends a hundred thousand would write as many lines.
const LOGGED: &str = "info,h2=error";

/// Tidegate's sidecar and gateway proxy.
#[derive(Debug, Parser)]
#[command(name = "tidegate-proxy", version)]
struct Flags {
    /// The control plane, HOST:PORT.
    #[arg(long, value_name = "HOST:PORT")]
    xds: String,
    /// Who this proxy is: WORKLOAD.NAMESPACE, or the name of a gateway.
    #[arg(long, value_name = "ID")]
    node: String,
    /// The service it stands beside.
    #[arg(long, value_name = "NAME", default_value = "")]
    cluster: String,
    /// Told to the control plane, KEY=VALUE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    /// Where the admin pages are served; loopback only.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// The variant of the discovery protocol.
    #[arg(long, value_enum, default_value_t = XdsMode::Delta)]
    xds_mode: XdsMode,
    /// Worker threads. Default: the CPU limit, at least 1 and at most 2.
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroUsize>,
    /// Keeps the last good configuration here, so that a restart does not need the control plane.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Write a JSON line for each request to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// On SIGTERM, go on accepting for this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain_seconds: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum XdsMode {
    Delta,
    Sotw,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Flags {
    fn options(self) -> Options {
        let node = Node {
            id: self.node.into(),
            cluster: self.cluster.into(),
            metadata: self.metadata.into_iter().collect(),
            user_agent: "tidegate-proxy".into(),
            user_agent_version: env!("CARGO_PKG_VERSION").into(),
            ..Node::default()
        };
        let mode = match self.xds_mode {
            XdsMode::Delta => Mode::Delta,
            XdsMode::Sotw => Mode::StateOfTheWorld,
        };
        let leaving = Duration::from_secs(self.drain_seconds);
        let deadline = Timing::default().deadline.max(leaving + Duration::from_secs(5));
        Options {
            workers: self.concurrency,
            state_dir: self.state_dir,
            admin: Some(self.admin),
            control: Some(ClientConfig { server: self.xds, node, mode, held: Vec::new() }),
            drain: Timing { leaving, deadline },
            access_log: self.access_log,
            ..Options::default()
        }
    }
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let proxy = Proxy::start(flags.options()).context("cannot start")?;
    info!(admin = ?proxy.admin_address(), version = env!("CARGO_PKG_VERSION"), "started");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
        loop {
            tokio::select! {
                _ = terminate.recv() => proxy.drain(),
                _ = interrupt.recv() => proxy.drain_fast(),
                // `POST /drain` and `POST /quitquitquit` end it as well.
                () = proxy.ended() => return anyhow::Ok(()),
            }
        }
    })?;
    proxy.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_options() {
        let flags = Flags::parse_from([
            "tidegate-proxy",
            "--xds",
            "127.0.0.1:15010",
            "--node",
            "reviews.shop",
            "--metadata",
            "a=b=c",
            "--xds-mode",
            "sotw",
            "--concurrency",
            "1",
            "--drain-seconds",
            "60",
        ]);

        let options = flags.options();

        let control = options.control.expect("a control plane");
        assert_eq!(control.mode, Mode::StateOfTheWorld);
        assert_eq!(control.node.metadata["a"], "b=c");
        assert!(options.drain.deadline > options.drain.leaving);
    }

    #[test]
    fn metadata_without_a_value_is_refused() {
        assert!(key_value("a").is_err());
    }
}
