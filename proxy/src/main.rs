//! Flags, signals, exit code. Everything else is in the library.
//!
//! # Exit codes
//! 0: asked to end, and ended, be it at the deadline. 1: could not start, or could not take over. 143 and 130: asked a second
//! time, by SIGTERM or SIGINT, and ended at once.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use rustix::process::Signal;
use tidegate_proxy::{
    AccessLogCollector, AccessLogFilter, AccessLogFormat, AccessLogOptions, AccessLogRedaction, Options, Proxy,
    Successors, Timing, TraceShare, TraceTo, Tracing, is_first,
};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::transport::ClientConfig;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tracing::{info, warn};
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
    #[command(flatten)]
    logging: Logging,
    /// Send spans of sampled requests to a collector: otlp=HOST:PORT, otlp-http=URL, zipkin=URL, skywalking=HOST:PORT, or
    /// `control`, the address of --xds. In plaintext. May be repeated.
    #[arg(long, value_name = "KIND=ADDRESS", value_parser = trace_to)]
    trace_to: Vec<Collector>,
    /// How many of the requests that come without a decision are sampled.
    #[arg(long, value_name = "PERCENT", default_value = "1", requires = "trace_to")]
    trace_sample: TraceShare,
    /// Do not count who calls whom: no topology, and no istio_* metrics of this proxy.
    #[arg(long)]
    no_edges: bool,
    /// On SIGTERM, go on accepting for this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain_seconds: u64,
    /// On SIGTERM, and after an upgrade, cut what is still open after this long. Never below the time of --drain-seconds
    /// plus 5.
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    drain_deadline_seconds: u64,
    /// Upgrade without losing a connection: a new process with the same path takes the listening sockets of the one that
    /// answers there, which then drains and ends. Without one it starts as usual, and answers there itself. SIGUSR2 starts
    /// the new process from the running one. The socket is for the same user only.
    #[arg(long, value_name = "PATH")]
    upgrade_socket: Option<PathBuf>,
}

/// docs/access-logs.md
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("log").args(["access_log", "access_log_to"]).multiple(true)))]
struct Logging {
    /// Write a line for each request and each TCP connection to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Send a record for each request and each TCP connection to a collector of OpenTelemetry, over gRPC in plaintext.
    #[arg(long, value_name = "otlp=HOST:PORT")]
    access_log_to: Option<AccessLogCollector>,
    /// How a line is written: json, text (Istio's default), otel (OpenTelemetry's attributes), ecs (Elastic Common Schema), or a
    /// format with Envoy's operators, such as '%START_TIME% %REQ(:METHOD)% %RESPONSE_CODE%'.
    #[arg(long, value_name = "FORMAT", default_value = "json", requires = "log")]
    access_log_format: AccessLogFormat,
    /// Which requests have a line, if not all: any of errors (5xx, no answer, flagged), status>=N, slow>=MILLISECONDS,
    /// sample=PERCENT%, with commas.
    #[arg(long, value_name = "CONDITIONS", requires = "log")]
    access_log_filter: Option<AccessLogFilter>,
    /// What is not shown: query (the whole query string) and names of headers, with commas. Credentials in well-known headers and
    /// query parameters never are, unless this is none.
    #[arg(long, value_name = "WHAT", requires = "log")]
    access_log_redact: Option<AccessLogRedaction>,
}

impl Logging {
    fn options(self) -> Option<AccessLogOptions> {
        let (file, collector) = (self.access_log, self.access_log_to);
        (file.is_some() || collector.is_some()).then(|| AccessLogOptions {
            file,
            collector,
            format: self.access_log_format,
            filter: self.access_log_filter.unwrap_or_default(),
            redaction: self.access_log_redact.unwrap_or_default(),
        })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum XdsMode {
    Delta,
    Sotw,
}

/// Where spans go, as it is written.
#[derive(Clone, Debug)]
enum Collector {
    Control,
    To(TraceTo),
}

fn trace_to(text: &str) -> Result<Collector, String> {
    if text == "control" { Ok(Collector::Control) } else { text.parse().map(Collector::To) }
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
        let to = self.trace_to.into_iter().map(|to| match to {
            Collector::Control => TraceTo::Otlp(self.xds.clone()),
            Collector::To(to) => to,
        });
        let tracing = Tracing { to: to.collect(), share: self.trace_sample };
        let leaving = Duration::from_secs(self.drain_seconds);
        let deadline = Duration::from_secs(self.drain_deadline_seconds).max(leaving + Duration::from_secs(5));
        Options {
            workers: self.concurrency,
            state_dir: self.state_dir,
            admin: Some(self.admin),
            control: Some(ClientConfig { server: self.xds, node, mode, held: Vec::new() }),
            drain: Timing { leaving, deadline },
            access_log: self.logging.options(),
            no_edges: self.no_edges,
            tracing,
            upgrade: self.upgrade_socket,
            manager: std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
            ..Options::default()
        }
    }
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    match run(Flags::parse()) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let mut signals = runtime.block_on(async { Signals::watch() })?;
    let upgrades = flags.upgrade_socket.is_some();
    // As it is now: a new program may be put there while this one runs.
    let program = std::env::current_exe().context("cannot find out which program this is")?;
    let mut successors = Successors::new(program, std::env::args_os().skip(1).collect());
    let proxy = Proxy::start(flags.options()).context("cannot start")?;
    info!(admin = ?proxy.admin_address(), version = env!("CARGO_PKG_VERSION"), "started");
    let cut = runtime.block_on(async {
        let mut asked_to_end = false;
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                // `POST /drain`, `POST /quitquitquit` and a process that took over end it as well.
                () = proxy.ended() => return None,
            };
            match signal {
                Signal::TERM | Signal::INT if asked_to_end => return Some(signal),
                Signal::TERM => proxy.drain(),
                Signal::INT => proxy.drain_fast(),
                Signal::HUP => proxy.reload(),
                Signal::USR2 if upgrades => start(&mut successors),
                Signal::USR2 => warn!("SIGUSR2 starts a new process only where there is an --upgrade-socket"),
                _child => successors.reap(),
            }
            asked_to_end |= matches!(signal, Signal::TERM | Signal::INT);
        }
    });
    if let Some(signal) = cut {
        warn!(connections = proxy.connections(), "asked to end a second time: ending at once");
        proxy.stop();
        proxy.join()?;
        return Ok(ExitCode::from(128 + u8::try_from(signal.as_raw()).unwrap_or_default()));
    }
    proxy.join()?;
    if is_first() {
        return Ok(runtime.block_on(outlive(signals, successors)));
    }
    Ok(ExitCode::SUCCESS)
}

fn start(successors: &mut Successors) {
    if let Err(error) = successors.start() {
        warn!(%error, "the new process cannot be started; serving on");
    }
}

/// The first process of a container stays until the processes that took its place have ended, because they end with it.
async fn outlive(mut signals: Signals, mut successors: Successors) -> ExitCode {
    loop {
        successors.reap();
        if successors.is_empty() {
            return successors.code().map_or(ExitCode::SUCCESS, ExitCode::from);
        }
        match signals.next().await {
            Signal::USR2 => start(&mut successors),
            Signal::CHILD => {}
            passed_on => successors.tell(passed_on),
        }
    }
}

/// The signals that mean something here.
struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    upgrade: Stream,
    child: Stream,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watch = |kind, name| signal(kind).with_context(|| format!("cannot watch {name}"));
        Ok(Self {
            terminate: watch(SignalKind::terminate(), "SIGTERM")?,
            interrupt: watch(SignalKind::interrupt(), "SIGINT")?,
            hang_up: watch(SignalKind::hangup(), "SIGHUP")?,
            upgrade: watch(SignalKind::user_defined2(), "SIGUSR2")?,
            child: watch(SignalKind::child(), "SIGCHLD")?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.upgrade.recv() => Signal::USR2,
            _ = self.child.recv() => Signal::CHILD,
        }
    }
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
    fn spans_go_where_flags_say_and_to_the_control_plane_where_that_is_said() {
        let parse = |more: &[&str]| {
            let usual = ["tidegate-proxy", "--xds", "127.0.0.1:15010", "--node", "reviews.shop"];
            Flags::try_parse_from(usual.iter().chain(more)).map(Flags::options)
        };

        let two = parse(&["--trace-to", "control", "--trace-to", "zipkin=http://127.0.0.1:9411/api/v2/spans"]);

        let to: Vec<_> = two.expect("two collectors").tracing.to.iter().map(ToString::to_string).collect();
        assert_eq!(to, ["otlp=127.0.0.1:15010", "zipkin=http://127.0.0.1:9411/api/v2/spans"]);
        assert!(parse(&[]).expect("no collector").tracing.to.is_empty());
        for wrong in
            [&["--trace-to", "otlp"][..], &["--trace-to", "control", "--trace-sample", "101"], &["--trace-sample", "5"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn metadata_without_a_value_is_refused() {
        assert!(key_value("a").is_err());
    }
}
