//! What the commands that show the topology have in common: their flags, the question, and how numbers are written.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{self, AskError, waiting_for};
use super::progress::{Reader, during};
use super::{USAGE, exit};
use crate::api::explain::encode;
use crate::topology::model::{Latency, LeftOut, View};
use crate::topology::query::{Grouping, Query, Window};

/// The graph of a large mesh takes some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// The control plane's API
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014")]
    pub api: String,
    /// How far back: 1m, 5m, 10m, 1h, 24h, total
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = Window::parse)]
    pub window: Window,
    /// What a node stands for: versionedApp, app, workload, service
    #[arg(long = "type", value_name = "TYPE", default_value = "versionedApp", value_parser = Grouping::parse)]
    pub grouping: Grouping,
    /// Only what begins or ends in these namespaces
    #[arg(short, long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespace: Vec<String>,
    /// Only so many edges, those with the most requests
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
}

impl Asked {
    /// The graph, as it came and as it is understood.
    pub(super) async fn ask(&self) -> Result<(View, String), AskError> {
        let namespaces = self.namespace.iter().map(|name| encode(name)).collect();
        let query = Query { window: self.window, grouping: self.grouping, namespaces, limit: self.limit };
        let bytes = ask::get(&self.api, &format!("/api/v1/topology?{}", query.to_text()), PATIENCE).await?;
        Ok((serde_json::from_slice(&bytes)?, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// As [`Self::ask`], for who waits before a terminal.
    pub(super) async fn ask_shown(&self, reader: Reader) -> Result<(View, String), AskError> {
        during(&waiting_for(&self.api), reader, self.ask()).await
    }

    /// There is no answer.
    pub(super) fn complain(&self, command: &str, error: &AskError) -> ExitCode {
        eprintln!("tidegate {command}: no topology from a control plane at {}: {error}", self.api);
        exit(USAGE)
    }
}

/// A line about what was not asked for; empty where that is nothing.
pub(super) fn left_out(view: &View) -> String {
    match view.folded.left_out {
        Some(LeftOut { edges, requests, errors, .. }) if edges > 0 => {
            format!("{edges} more edges with {requests} requests and {errors} errors are left out: --limit\n")
        }
        Some(_) | None => String::new(),
    }
}

/// `2.0`
pub(super) fn per_second(rate: f64) -> String {
    format!("{rate:.1}")
}

/// `99.17 %`; nothing where nothing happened.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// P50, P95 and P99, each `1.2 ms`.
pub(super) fn latencies(latency: &Latency) -> [String; 3] {
    let ms = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    [latency.p50, latency.p95, latency.p99].map(ms)
}
