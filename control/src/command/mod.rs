//! One file for each sub-command of `tidegate`.

pub mod check;
pub mod compile;
pub mod demo;
pub mod explain;
pub mod serve;
pub mod status;

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
