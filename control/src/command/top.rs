//! `tidegate top`: who is called most, drawn anew every two seconds.
//!
//! Exit codes: 0 it was shown until Ctrl-C, 2 the control plane does not answer.

use std::process::ExitCode;

use clap::Args;

use super::graph::Asked;
use super::progress::Reader;
use super::{FINE, exit, show, stat, watch};
use crate::topology::model::{NodeView, View, rate};

/// Flags of `tidegate top`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub asked: Asked,
    /// Show it once
    #[arg(long)]
    pub once: bool,
    /// How many
    #[arg(short = 'c', long, value_name = "N", default_value_t = 30)]
    pub count: usize,
}

/// Asks and prints.
pub async fn run(options: &Options) -> ExitCode {
    let picture = async |reader| {
        let (view, _) = options.asked.ask_shown(reader).await?;
        Ok(draw(&view, options.count))
    };
    let shown = if options.once {
        picture(Reader::Person).await.map(|text| show(&text))
    } else {
        watch::watch(Reader::Person, picture).await
    };
    match shown {
        Ok(()) => exit(FINE),
        Err(error) => options.asked.complain("top", &error),
    }
}

fn draw(view: &View, count: usize) -> String {
    let mut nodes: Vec<&NodeView> = view.nodes.iter().filter(|node| stat::is_called(node)).collect();
    nodes.sort_by(|a, b| b.rps.total_cmp(&a.rps).then_with(|| a.id.cmp(&b.id)));
    let called = nodes.len();
    nodes.truncate(count);
    let left_out = view.folded.left_out.unwrap_or_default();
    let total = view.edges.iter().map(|edge| edge.rps).sum::<f64>() + rate(left_out.requests, view.seconds);
    let edges = view.edges.len() as u64 + left_out.edges;
    let head = format!("{}  {called} called, {total:.1} rps on {edges} edges, {:.0} s", view.at, view.seconds);
    format!("{head}\n\n{}", stat::table(&nodes, view))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::model::{Health, Latency, NodeKind};

    fn node(name: &str, rps: f64) -> NodeView {
        NodeView {
            id: name.to_owned(),
            kind: NodeKind::App,
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            version: String::new(),
            workloads: Vec::new(),
            services: vec![name.to_owned()],
            health: Health::Degraded,
            requests: 200,
            rps,
            errors: 1,
            error_share: 0.005,
            latency_ms: Latency { p50: Some(1.0), p90: None, p95: Some(2.25), p99: None },
        }
    }

    #[test]
    fn whoever_is_called_most_is_first_and_whoever_is_not_called_is_not_there() {
        let mut caller = node("web", 0.0);
        (caller.requests, caller.errors, caller.services) = (0, 0, Vec::new());
        let nodes = vec![node("details", 1.0), node("reviews", 20.0), caller];
        let view = View { at: "now".to_owned(), nodes, ..View::default() };

        let text = draw(&view, 30);

        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0].split_whitespace().next(), Some("NAME"));
        assert_eq!(lines[1], "reviews  99.50 %  20.0  1.0 ms  2.2 ms  -    degraded");
        assert!(lines[2].starts_with("details") && lines.len() == 3, "{text}");
        assert_eq!(draw(&view, 1).lines().count(), 4);
    }
}
