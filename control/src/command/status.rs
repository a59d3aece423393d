//! `tidegate status`: who is connected, does it have the newest configuration, and what has become of each object.
//!
//! Exit codes: 0 everything is in force everywhere, 1 something is not, 2 the control plane does not answer.

mod objects;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub(super) use self::objects::align;
use super::progress::Reader;
use super::{FINDINGS, FINE, USAGE, ask, exit, show};
use crate::api::model::{ConfigState, ObjectReport, ProxyStatus, Status, SyncState};

/// A control plane on the same machine answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flags of `tidegate status`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The control plane's API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014")]
    pub api: String,
    /// Only objects of this kind, whatever the case: `httproute`, `RateLimit`
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
    /// Only the object of this name; the namespace is `default` when left out
    #[arg(value_name = "NAMESPACE/NAME", requires = "kind")]
    pub name: Option<String>,
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
    let asked =
        ask::get_shown(&options.api, "/api/v1/status", PATIENCE, Reader::of(options.output == Form::Json)).await;
    let answer = asked.and_then(|bytes| Ok((serde_json::from_slice::<Status>(&bytes)?, bytes)));
    match answer {
        Ok((status, _)) if options.kind.is_some() => show_objects(&status, options),
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

/// Prints some objects with all their conditions.
fn show_objects(status: &Status, options: &Options) -> ExitCode {
    let chosen = chosen(status, options.kind.as_deref(), options.name.as_deref());
    match options.output {
        Form::Table => show(&objects::details(&chosen)),
        Form::Json => show(&format!("{}\n", serde_json::to_string(&chosen).unwrap_or_default())),
    }
    if chosen.is_empty() {
        eprintln!("tidegate status: there is no such object");
    }
    exit(if !chosen.is_empty() && chosen.iter().all(|object| objects::is_well(object)) { FINE } else { FINDINGS })
}

fn chosen<'s>(status: &'s Status, kind: Option<&str>, name: Option<&str>) -> Vec<&'s ObjectReport> {
    let wanted = name.map(|name| name.split_once('/').unwrap_or(("default", name)));
    let of_kind = |object: &&ObjectReport| kind.is_none_or(|kind| object.kind.eq_ignore_ascii_case(kind));
    let of_name = |object: &&ObjectReport| wanted.is_none_or(|wanted| wanted == (&*object.namespace, &*object.name));
    status.objects.iter().filter(of_kind).filter(of_name).collect()
}

fn is_in_force(status: &Status) -> bool {
    let settled = |proxy: &ProxyStatus| {
        proxy.settled_generation >= status.generation && !proxy.types.values().any(|t| t.state == SyncState::Nacked)
    };
    status.config.state == ConfigState::Current
        && status.proxies.iter().all(settled)
        && status.objects.iter().all(objects::is_well)
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
    if !status.objects.is_empty() {
        text.push('\n');
        text.push_str(&objects::table(&status.objects));
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

#[cfg(test)]
mod tests;
