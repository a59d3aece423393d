//! `tidegate edges`: each edge with the service that was asked for, its latency and how it is protected.
//!
//! Exit codes: 0 they are shown, 2 the control plane does not answer.

use std::process::ExitCode;

use clap::Args;

use super::graph::{Asked, latencies, left_out, per_second, percent};
use super::progress::Reader;
use super::status::{Form, align};
use super::{FINE, exit, show};
use crate::topology::model::{EdgeView, Mtls, View};

/// Flags of `tidegate edges`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub asked: Asked,
    /// How they are printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Form,
}

/// Asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    match options.asked.ask_shown(Reader::of(options.output == Form::Json)).await {
        Ok((view, _)) => {
            match options.output {
                Form::Table => show(&table(&view)),
                Form::Json => show(&format!("{}\n", serde_json::to_string(&view.edges).unwrap_or_default())),
            }
            exit(FINE)
        }
        Err(error) => options.asked.complain("edges", &error),
    }
}

fn table(view: &View) -> String {
    if view.edges.is_empty() {
        return "no proxy has reported a request or a connection\n".to_owned();
    }
    let header = ["SOURCE", "DESTINATION", "SERVICE", "PROTOCOL", "RPS", "SUCCESS", "P50", "P95", "P99", "MTLS"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(view.edges.iter().map(row));
    let mut text = String::new();
    align(&rows, &mut text);
    text + &left_out(view)
}

fn row(edge: &EdgeView) -> Vec<String> {
    let [p50, p95, p99] = latencies(&edge.latency_ms);
    let success = percent((edge.requests > 0 || edge.errors > 0).then_some(1.0 - edge.error_share));
    let mtls = match edge.mtls {
        Mtls::Mutual => "yes",
        Mtls::None => "NO",
        Mtls::Unknown => "-",
    };
    let [source, destination, service, protocol] =
        [&edge.source, &edge.destination, &edge.service, &edge.protocol].map(Clone::clone);
    vec![source, destination, service, protocol, per_second(edge.rps), success, p50, p95, p99, mtls.to_owned()]
}
