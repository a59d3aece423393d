//! What the API says of the topology, as types: written by the control plane, read by the command line and by tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /api/v1/topology`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub window: String,
    /// The time that was counted: somewhat less than the window, since the newest slot is not over.
    pub seconds: f64,
    pub at: String,
    /// When that time began.
    pub since: String,
    #[serde(rename = "type")]
    pub grouping: String,
    pub nodes: Vec<NodeView>,
    pub edges: Vec<EdgeView>,
    pub folded: Folded,
}

/// Who calls or is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    pub id: String,
    pub kind: NodeKind,
    pub namespace: String,
    pub name: String,
    /// Empty where a node stands for all of them.
    pub version: String,
    pub workloads: Vec<String>,
    /// Host names as which it was called.
    pub services: Vec<String>,
    pub health: Health,
    /// Towards it.
    pub requests: u64,
    pub rps: f64,
    pub errors: u64,
    pub error_share: f64,
    pub latency_ms: Latency,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    App,
    Workload,
    /// Called, and no workload is known that answered.
    Service,
    /// Outside the mesh, or not known.
    Unknown,
    /// All that found no place of their own.
    Other,
}

/// How somebody is, by the share of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    /// More than one in a thousand.
    Degraded,
    /// More than one in five.
    Failing,
    /// Nothing happens.
    Idle,
}

impl Health {
    /// By how much of what happened went wrong.
    pub fn of(happened: u64, errors: u64) -> Self {
        let share = share(errors, happened);
        match happened {
            0 => Self::Idle,
            _ if share > 0.2 => Self::Failing,
            _ if share > 0.001 => Self::Degraded,
            _ => Self::Healthy,
        }
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Idle => "idle",
        }
    }
}

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeView {
    /// `SOURCE>DESTINATION>PROTOCOL`
    pub id: String,
    pub source: String,
    pub destination: String,
    pub protocol: String,
    /// The host name that was asked for.
    pub service: String,
    pub mtls: Mtls,
    pub requests: u64,
    pub rps: f64,
    pub errors: u64,
    pub error_share: f64,
    /// Of what the source asked of this application, the part that came here. `None`: it asked nothing, or nobody answered.
    pub share: Option<f64>,
    /// By class of status; `0`: there was no answer.
    pub codes: BTreeMap<String, u64>,
    /// By response flag.
    pub flags: BTreeMap<String, u64>,
    pub latency_ms: Latency,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
    pub health: Health,
    pub reporters: Reporters,
}

/// Whether both sides proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mtls {
    Mutual,
    None,
    Unknown,
}

impl Mtls {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutual => "mutual",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// How long requests took, in milliseconds. Nothing where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

/// The same edge in the eyes of either side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reporters {
    pub source: Reported,
    pub destination: Reported,
}

/// What one side has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    pub requests: u64,
    pub errors: u64,
    pub latency_ms: Latency,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
}

/// What found no place of its own, since totals are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// Edges that made room.
    pub edges: u64,
    /// Requests on them, and those that proxies could not tell apart.
    pub requests: u64,
    /// Where only so many edges were asked for: what the others have, in the time that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// What was not asked for. Together with the edges that are shown it is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub edges: u64,
    /// Nodes that none of the edges shown begins or ends at.
    pub nodes: u64,
    pub requests: u64,
    pub errors: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
}

impl LeftOut {
    /// One edge more.
    pub(super) fn add(&mut self, edge: &EdgeView) {
        self.edges += 1;
        self.requests = self.requests.saturating_add(edge.requests);
        self.errors = self.errors.saturating_add(edge.errors);
        self.request_bytes = self.request_bytes.saturating_add(edge.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(edge.response_bytes);
        self.connections_opened = self.connections_opened.saturating_add(edge.connections_opened);
        self.connections_closed = self.connections_closed.saturating_add(edge.connections_closed);
    }
}

/// `GET /api/v1/topology/series`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub step_seconds: u64,
    pub points: Vec<Point>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it began.
    pub at: String,
    pub requests: u64,
    pub rps: f64,
    pub error_share: f64,
    #[serde(flatten)]
    pub latency_ms: Latency,
}

/// A part of a whole; nothing of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are past telling apart")]
    let (part, whole) = (part as f64, whole as f64);
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// So many in a time.
pub fn rate(count: u64, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are past telling apart")]
    let count = count as f64;
    if seconds > 0.0 { count / seconds } else { 0.0 }
}
