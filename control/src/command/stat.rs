//! `tidegate stat`: of each application or workload, how often it is called, how well and how fast it answers.
//!
//! Exit codes: 0 it is shown, 2 the control plane does not answer.

use std::process::ExitCode;

use clap::Args;

use super::graph::{Asked, latencies, left_out, per_second, percent};
use super::progress::Reader;
use super::status::{Form, align};
use super::{FINE, exit, show};
use crate::topology::model::{Health, NodeView, View};

/// Flags of `tidegate stat`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub asked: Asked,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Form,
}

/// Asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    match options.asked.ask_shown(Reader::of(options.output == Form::Json)).await {
        Ok((view, _)) => {
            let nodes: Vec<&NodeView> = view.nodes.iter().filter(|node| is_called(node)).collect();
            match options.output {
                Form::Table => show(&table(&nodes, &view)),
                Form::Json => show(&format!("{}\n", serde_json::to_string(&nodes).unwrap_or_default())),
            }
            exit(FINE)
        }
        Err(error) => options.asked.complain("stat", &error),
    }
}

/// Whoever only calls has no numbers of its own.
pub(super) fn is_called(node: &NodeView) -> bool {
    node.requests > 0 || node.errors > 0 || !node.services.is_empty()
}

/// One line for each.
pub(super) fn table(nodes: &[&NodeView], view: &View) -> String {
    if nodes.is_empty() {
        return format!("nobody was called in {:.0} s before {}\n", view.seconds, view.at);
    }
    let mut rows = vec![["NAME", "SUCCESS", "RPS", "P50", "P95", "P99", "HEALTH"].map(str::to_owned).to_vec()];
    rows.extend(nodes.iter().map(|node| row(node)));
    let mut text = String::new();
    align(&rows, &mut text);
    text + &left_out(view)
}

fn row(node: &NodeView) -> Vec<String> {
    let [p50, p95, p99] = latencies(&node.latency_ms);
    let happened = node.health != Health::Idle && (node.requests > 0 || node.errors > 0);
    let success = percent(happened.then_some(1.0 - node.error_share));
    vec![node.id.clone(), success, per_second(node.rps), p50, p95, p99, node.health.as_str().to_owned()]
}
