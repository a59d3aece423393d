//! One file for each sub-command of `tidegate`.

pub(crate) mod ask;
pub mod check;
pub mod compile;
pub mod demo;
pub mod edges;
pub mod explain;
mod graph;
pub mod progress;
pub mod serve;
pub mod stat;
pub mod status;
pub mod top;
pub mod topology;
pub mod trace;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use clap::ValueEnum;

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Nothing to complain about.
pub const FINE: u8 = 0;
/// There are findings, or the thing asked for does not exist.
pub const FINDINGS: u8 = 1;
/// The command line is wrong, or the command could not do its work.
pub const USAGE: u8 = 2;

/// An exit code.
pub fn exit(code: u8) -> ExitCode {
    ExitCode::from(code)
}

/// Prints; a reader that went away (`tidegate status | head`) is no reason to fail.
pub(crate) fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
