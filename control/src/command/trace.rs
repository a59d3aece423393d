//! `tidegate trace list`: the newest traces that meet some conditions. `tidegate trace show ID`: one of them as a tree.
//!
//! Both ask the query APIs that Jaeger's user interface asks too.
//!
//! Exit codes: 0 there is something to show, 1 there is not, 2 the control plane does not answer.

mod tree;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::StatusCode;
use serde::Deserialize;

use self::tree::{duration, tree};
use super::ask::AskError;
use super::progress::Reader;
use super::{FINDINGS, FINE, USAGE, ask, exit, show};
use crate::api::explain::encode;
use crate::clock::Timestamp;

/// A search through a full store takes some ten milliseconds; others may be before this one.
const PATIENCE: Duration = Duration::from_secs(15);
/// Services that a line of the list names.
const SERVICES_SHOWN_MAX: usize = 4;

/// Flags of `tidegate trace`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
    /// The control plane's API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014", global = true)]
    api: String,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// List the newest traces
    List(List),
    /// Show a trace as a tree of its spans
    Show(Show),
}

#[derive(Args, Clone, Debug)]
struct List {
    /// Only traces with a span of this service; the conditions below are of that span then
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only traces with a span of this operation
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Only traces with a span that failed
    #[arg(long)]
    errors: bool,
    /// Only traces with a span that took as long or longer, e.g. 10ms or 1.5s
    #[arg(long, value_name = "DURATION")]
    min_duration: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// How they are printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: ListForm,
}

#[derive(Args, Clone, Debug)]
struct Show {
    /// The trace's id: up to 32 hexadecimal digits
    #[arg(value_name = "ID")]
    id: String,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "tree")]
    output: ShowForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListForm {
    /// For people
    Table,
    /// For programs: the answer of Jaeger's API v3
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShowForm {
    /// For people
    Tree,
    /// For programs: the answer of Jaeger's API
    Json,
}

/// Asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    let printed = match &options.command {
        Command::List(list) => run_list(list, &options.api).await,
        Command::Show(show) => run_show(show, &options.api).await,
    };
    match printed {
        Ok(true) => exit(FINE),
        Ok(false) => exit(FINDINGS),
        Err(AskError::Refused(StatusCode::NOT_FOUND, _)) => {
            eprintln!("tidegate trace: there is no such trace; the oldest make room for newer ones");
            exit(FINDINGS)
        }
        Err(error) => {
            eprintln!("tidegate trace: the control plane at {}: {error}", options.api);
            exit(USAGE)
        }
    }
}

/// `false`: there is nothing to show.
async fn run_list(list: &List, api: &str) -> Result<bool, AskError> {
    let reader = Reader::of(list.output == ListForm::Json);
    let bytes = ask::get_shown(api, &list.path(), PATIENCE, reader).await?;
    let Summaries { summaries } = serde_json::from_slice(&bytes)?;
    match list.output {
        ListForm::Json => show(&format!("{}\n", String::from_utf8_lossy(&bytes))),
        ListForm::Table if summaries.is_empty() => eprintln!("tidegate trace: no traces were found"),
        ListForm::Table => show(&table(&summaries)),
    }
    Ok(!summaries.is_empty())
}

async fn run_show(options: &Show, api: &str) -> Result<bool, AskError> {
    let reader = Reader::of(options.output == ShowForm::Json);
    let bytes = ask::get_shown(api, &format!("/api/traces/{}", encode(&options.id)), PATIENCE, reader).await?;
    match options.output {
        ShowForm::Json => show(&format!("{}\n", String::from_utf8_lossy(&bytes))),
        ShowForm::Tree => show(&tree(&serde_json::from_slice(&bytes)?)),
    }
    Ok(true)
}

impl List {
    fn path(&self) -> String {
        let errors = self.errors.then(|| r#"{"error":"true"}"#.to_owned());
        let parameters = [
            ("query.searchDepth", Some(self.limit.to_string())),
            ("query.serviceName", self.service.clone()),
            ("query.operationName", self.operation.clone()),
            ("query.durationMin", self.min_duration.clone()),
            ("query.attributes", errors),
        ];
        let given = parameters.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encode(&value?))));
        format!("/api/v3/trace-summaries?{}", given.collect::<Vec<_>>().join("&"))
    }
}

#[derive(Deserialize)]
struct Summaries {
    summaries: Vec<Summary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    trace_id: String,
    root_service_name: String,
    root_operation_name: String,
    min_start_time_unix_nano: String,
    max_end_time_unix_nano: String,
    span_count: usize,
    error_span_count: usize,
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
}

/// Columns as wide as their widest cell.
fn table(summaries: &[Summary]) -> String {
    let head = ["TRACE", "BEGAN", "DURATION", "SPANS", "ERRORS", "ROOT", "SERVICES"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(summaries.iter().map(row)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(summary: &Summary) -> [String; 7] {
    let ns = |text: &str| text.parse::<u64>().unwrap_or(0);
    let (start, end) = (ns(&summary.min_start_time_unix_nano), ns(&summary.max_end_time_unix_nano));
    let names = summary.services.iter().map(|service| service.name.as_str());
    let mut services = names.take(SERVICES_SHOWN_MAX).collect::<Vec<_>>().join(", ");
    if let Some(more) = summary.services.len().checked_sub(SERVICES_SHOWN_MAX).filter(|more| *more > 0) {
        services.push_str(&format!(" and {more} more"));
    }
    [
        summary.trace_id.clone(),
        Timestamp::from_unix_ms(start / 1_000_000).to_string(),
        duration(end.saturating_sub(start) / 1_000),
        summary.span_count.to_string(),
        if summary.error_span_count == 0 { "-".to_owned() } else { summary.error_span_count.to_string() },
        format!("{}: {}", summary.root_service_name, summary.root_operation_name),
        services,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_names_only_what_was_asked_for() {
        let list = List {
            service: Some("a b".to_owned()),
            operation: None,
            errors: true,
            min_duration: None,
            limit: 5,
            output: ListForm::Table,
        };
        let expected = concat!(
            "/api/v3/trace-summaries?query.searchDepth=5&query.serviceName=a%20b",
            "&query.attributes=%7B%22error%22:%22true%22%7D"
        );
        assert_eq!(list.path(), expected);
    }

    #[test]
    fn a_list_is_a_table() {
        let summaries: Summaries = serde_json::from_str(
            r#"{"summaries":[{"traceId":"00000000000000000000000000000abc","rootServiceName":"front",
            "rootOperationName":"GET /","minStartTimeUnixNano":"1700000000000000000",
            "maxEndTimeUnixNano":"1700000000012345678","spanCount":3,"errorSpanCount":1,"orphanSpanCount":0,
            "services":[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"},{"name":"e"}]}]}"#,
        )
        .unwrap();

        let expected = concat!(
            "TRACE                             BEGAN                     DURATION  SPANS  ERRORS  ROOT          SERVICES\n",
            "00000000000000000000000000000abc  2023-11-14T22:13:20.000Z  12.3 ms   3      1       front: GET /  a, b, c, d and 1 more\n",
        );
        assert_eq!(table(&summaries.summaries), expected);
    }
}
