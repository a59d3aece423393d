//! `tidegate`: the control plane of the mesh, and its command line. Sub-commands only; each has a file in `command`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_control::command::{self, USAGE, exit};
use tracing_subscriber::EnvFilter;

/// Control plane of the Tidegate service mesh
#[derive(Parser, Debug)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    /// Show no progress of what takes its time
    #[arg(long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Watch a directory of policies and serve them to proxies
    Serve(command::serve::Options),
    /// Say what is wrong with policy files
    Check(command::check::Options),
    /// Print the resources that a node would be given
    Compile(command::compile::Options),
    /// Show connected proxies and whether they have the newest configuration
    Status(command::status::Options),
    /// Show who calls whom
    Topology(command::topology::Options),
    /// Show success, rate and latency of each workload or application
    Stat(command::stat::Options),
    /// Follow who is called most, until Ctrl-C
    Top(command::top::Options),
    /// Show each edge with its service, latency and protection
    Edges(command::edges::Options),
    /// Explain the code of a finding, or what would happen to a request
    Explain(command::explain::Options),
    /// List the traces in the control plane, or show one
    Trace(command::trace::Options),
    /// Run the bookshop as a mesh on this machine, until Ctrl-C
    Demo(command::demo::Options),
}

fn main() -> ExitCode {
    // A wrong command line ends here, with clap's exit code, which is 2 as well.
    let arguments = Arguments::parse();
    if arguments.quiet {
        command::progress::be_quiet();
    }
    match arguments.command {
        Command::Check(options) => command::check::run(&options),
        Command::Compile(options) => command::compile::run(&options),
        Command::Explain(options) => on_runtime(command::explain::run(&options)),
        Command::Status(options) => on_runtime(command::status::run(&options)),
        Command::Topology(options) => on_runtime(command::topology::run(&options)),
        Command::Stat(options) => on_runtime(command::stat::run(&options)),
        Command::Top(options) => on_runtime(command::top::run(&options)),
        Command::Edges(options) => on_runtime(command::edges::run(&options)),
        Command::Trace(options) => on_runtime(command::trace::run(&options)),
        Command::Demo(options) => on_runtime(async {
            match command::demo::run(options).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("tidegate demo: {error:#}");
                    exit(USAGE)
                }
            }
        }),
        Command::Serve(options) => {
            log();
            on_runtime(async {
                match command::serve::run(options).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("tidegate serve: {error}");
                        exit(USAGE)
                    }
                }
            })
        }
    }
}

fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            eprintln!("tidegate: cannot start: {error}");
            exit(USAGE)
        }
    }
}

/// Logs go to standard error; `RUST_LOG` says how much, `info` when it says nothing.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
