//! `tidegate status`: who is connected, and does it have the newest configuration.
//!
//! Exit codes: 0 everything is in force everywhere, 1 something is not, 2 the control plane does not answer.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{FINDINGS, FINE, USAGE, ask, exit, show};
use crate::api::model::{ConfigState, ProxyStatus, Status, SyncState};

/// A control plane on the same machine answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flags of `tidegate status`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The control plane's API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014")]
    pub api: String,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Form,
}

/// How the status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    let asked = ask::get(&options.api, "/api/v1/status", PATIENCE).await;
    let answer = asked.and_then(|bytes| Ok((serde_json::from_slice::<Status>(&bytes)?, bytes)));
    match answer {
        Ok((status, bytes)) => {
            match options.output {
                Form::Table => show(&table(&status)),
                Form::Json => show(&format!("{}\n", String::from_utf8_lossy(&bytes))),
            }
            exit(if is_in_force(&status) { FINE } else { FINDINGS })
        }
        Err(error) => {
            eprintln!("tidegate status: no control plane at {}: {error}", options.api);
            exit(USAGE)
        }
    }
}

fn is_in_force(status: &Status) -> bool {
    let settled = |proxy: &ProxyStatus| {
        proxy.settled_generation >= status.generation && !proxy.types.values().any(|t| t.state == SyncState::Nacked)
    };
    status.config.state == ConfigState::Current && status.proxies.iter().all(settled)
}

/// The status for a terminal.
fn table(status: &Status) -> String {
    let mut text = String::new();
    let state = match status.config.state {
        ConfigState::Current => "current",
        ConfigState::Rejected => "REJECTED, the last good one is served",
    };
    let config = &status.config;
    let mut rows = vec![
        ["NODE", "KIND", "MODE", "CONNECTED SINCE", "GENERATION", "CDS", "EDS", "LDS", "RDS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(status.proxies.iter().map(row));
    // Writing to a string cannot fail; here and below.
    writeln!(text, "generation {}, configuration {state} since {}", status.generation, config.since)
        .unwrap_or_default();
    writeln!(text, "{} files in {}", config.files, config.directory).unwrap_or_default();
    for finding in &config.diagnostics {
        let place = if finding.file.is_empty() {
            String::new()
        } else if finding.line == 0 {
            format!("{}: ", finding.file)
        } else {
            format!("{}:{}:{}: ", finding.file, finding.line, finding.column)
        };
        writeln!(text, "{place}{}[{}]: {}", finding.severity, finding.code, finding.message).unwrap_or_default();
        if let Some(help) = &finding.help {
            writeln!(text, "  help: {help}").unwrap_or_default();
        }
    }
    if status.proxies.is_empty() {
        text.push_str("no proxies are connected\n");
    } else {
        text.push('\n');
        align(&rows, &mut text);
    }
    for proxy in &status.proxies {
        for (of_type, answers) in &proxy.types {
            if let Some(nack) = &answers.nack {
                writeln!(text, "{} refused {of_type} {} ms ago: {}", proxy.node, nack.age_ms, nack.message)
                    .unwrap_or_default();
            }
        }
    }
    text
}

fn row(proxy: &ProxyStatus) -> Vec<String> {
    let word = |of_type: &str| match proxy.types.get(of_type).map(|t| t.state) {
        Some(SyncState::Synced) => "SYNCED",
        Some(SyncState::Stale) => "STALE",
        Some(SyncState::Nacked) => "NACKED",
        Some(SyncState::NotSent) | None => "-",
    };
    let generation = if proxy.settled_generation >= proxy.generation {
        proxy.settled_generation.to_string()
    } else {
        format!("{} of {}", proxy.settled_generation, proxy.generation)
    };
    // Whole seconds say enough to a person: `2026-11-20T23:41:13Z`.
    let since = proxy.connected_since.split('.').next().map(|s| format!("{}Z", s.trim_end_matches('Z')));
    let mut cells = vec![proxy.node.clone(), proxy.kind.as_str().to_owned(), proxy.mode.clone()];
    cells.extend([since.unwrap_or_default(), generation]);
    cells.extend(["CDS", "EDS", "LDS", "RDS"].map(|of_type| word(of_type).to_owned()));
    cells
}

/// Columns as wide as their widest cell.
fn align(rows: &[Vec<String>], text: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").unwrap_or_default();
        }
        writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
