//! What the API says, as types that the server writes and `tidegate status` reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::changes::Change;

/// `GET /api/v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The generation that proxies are given.
    pub generation: u64,
    /// The configuration it was made of.
    pub config: StatusConfig,
    /// The connected proxies.
    pub proxies: Vec<ProxyStatus>,
    /// The objects of the newest files, in their order.
    #[serde(default)]
    pub objects: Vec<ObjectReport>,
}

/// What has become of an object, in the terms of Gateway API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// As written.
    pub kind: String,
    /// Empty for what is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// The generation that the conditions are about.
    pub observed_generation: u64,
    /// `Accepted`, `ResolvedRefs`, any number of `Ineffective`, `Programmed`.
    pub conditions: Vec<ConditionReport>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionReport {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

/// The configuration directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusConfig {
    /// Where it is.
    pub directory: String,
    /// Whether what stands there is what proxies are given.
    pub state: ConfigState,
    /// Since when (RFC 3339).
    pub since: String,
    /// How many files it has.
    pub files: usize,
    /// What there is to say about them.
    pub diagnostics: Vec<Finding>,
}

/// Whether the files are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigState {
    /// Proxies are given what the files say.
    Current,
    /// The files have errors; proxies keep the last good configuration.
    Rejected,
}

/// A diagnostic of the compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `P0107` of the compiler, or `C0001` of the control plane; `tidegate explain` has a page for each.
    pub code: String,
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// The file, relative to the directory; the directory itself when it is to blame.
    pub file: String,
    /// 1-based; 0 when there is no line to point at.
    pub line: u32,
    /// 1-based; 0 when there is no column.
    pub column: u32,
    /// How to mend it.
    pub help: Option<String>,
    /// Every place that it is about, the one above first; none when no line is to blame.
    #[serde(default)]
    pub places: Vec<Spot>,
}

/// A stretch of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// Relative to the directory.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters; 0 when the whole line is meant.
    pub column: u32,
    /// Characters from there on, line breaks included; 0 when the whole line is meant.
    pub length: u32,
    /// What is to be seen there; may be empty.
    pub label: String,
    /// The place to mend, as opposed to one that helps to understand.
    pub primary: bool,
}

impl Spot {
    /// A whole line.
    pub fn of_line(file: &str, line: u32) -> Self {
        Self { file: file.to_owned(), line, column: 0, length: 0, label: String::new(), primary: true }
    }
}

/// What a node was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// The sidecar of a workload.
    Sidecar,
    /// A gateway.
    Gateway,
    /// A proxyless client, or somebody unknown.
    Other,
}

impl ProxyKind {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Gateway => "gateway",
            Self::Other => "other",
        }
    }
}

/// A connected proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Its node id.
    pub node: String,
    /// What it was taken for.
    pub kind: ProxyKind,
    /// `namespace/name` of its workload or gateway.
    pub workload: Option<String>,
    /// `delta` or `sotw`.
    pub mode: String,
    /// RFC 3339.
    pub connected_since: String,
    /// Its end of the connection.
    pub address: String,
    /// Everything up to this generation has been sent and answered.
    pub settled_generation: u64,
    /// The generation it is given.
    pub generation: u64,
    /// By type of resource (`CDS`, `EDS`, `LDS`, `RDS`).
    pub types: BTreeMap<String, Answers>,
}

/// One type of resource at one proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// In one word.
    pub state: SyncState,
    /// How many names it subscribes to.
    pub subscribed: usize,
    /// Whether it subscribes to all there are, whatever they are called. Names may stand beside that.
    #[serde(default)]
    pub wildcard: bool,
    /// The generation of the last response.
    pub sent_generation: Option<u64>,
    /// The generation of the last response that it accepted.
    pub acked_generation: Option<u64>,
    /// The refusal that stands.
    pub nack: Option<Nack>,
}

/// How a proxy stands with one type of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SyncState {
    /// It has accepted the last response, or held what it asks for before it connected.
    Synced,
    /// It has not answered the last response yet.
    Stale,
    /// It refused the last response.
    Nacked,
    /// It was never sent anything of this type, and is not known to hold any.
    NotSent,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// What the proxy says is wrong.
    pub message: String,
    /// How long ago it said so.
    pub age_ms: u64,
}

/// `GET /api/v1/splits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Splits {
    /// The generation that proxies are given.
    pub generation: u64,
    /// By host and object.
    pub splits: Vec<SplitReport>,
}

/// A rule that shares requests out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitReport {
    /// The host that is called.
    pub host: String,
    /// `namespace/name` of the gateway where it holds; none inside the mesh.
    pub gateway: Option<String>,
    /// Of the object that says so; likewise the next two.
    pub namespace: String,
    /// See above.
    pub name: String,
    /// As written.
    pub kind: String,
    /// The rule's name; may be empty.
    pub route: String,
    /// `FILE:LINE` of the rule.
    pub source: String,
    /// In the order written.
    pub destinations: Vec<SplitDestination>,
}

/// One destination of a split. Shares are of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitDestination {
    /// The subset, else the service.
    pub name: String,
    /// Its host; empty if there is no such service.
    pub service: String,
    /// The label `version` of what is behind it, where that is one.
    pub version: Option<String>,
    /// As the files in force say.
    pub desired: f64,
    /// The newest share that every connected proxy which carries the route has taken; none when there is none such, or it is
    /// older than what is remembered.
    pub acknowledged: Option<f64>,
    /// So many have taken the split as it is in force.
    pub acknowledged_by: usize,
    /// Of so many that carry the route.
    pub of: usize,
    /// The share of requests that went there.
    pub observed: Option<f64>,
}

/// `GET /api/v1/changes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changes {
    /// Oldest first.
    pub changes: Vec<ChangeStatus>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeStatus {
    /// See [`Change`]; likewise below.
    pub generation: u64,
    /// RFC 3339.
    pub at: String,
    /// What it means.
    pub what: Vec<String>,
    /// The files that differ.
    pub files: Vec<String>,
    /// `applied` or `rejected`.
    pub result: &'static str,
    /// Proxies that were connected when it was published.
    pub proxies: usize,
    /// Those that have it.
    pub acked: usize,
    /// Those that refused some of it.
    pub nacked: usize,
    /// Those that went away without an answer. Nothing more will happen when `acked + nacked + left == proxies`.
    pub left: usize,
    /// From writing the file to the first proxy that applied something.
    pub first_ack_ms: Option<u64>,
    /// To the last.
    pub last_ack_ms: Option<u64>,
}

impl From<&Change> for ChangeStatus {
    fn from(change: &Change) -> Self {
        Self {
            generation: change.generation,
            at: change.at.to_string(),
            what: change.what.clone(),
            files: change.files.iter().map(ToString::to_string).collect(),
            result: change.result.as_str(),
            proxies: change.proxies,
            acked: change.acked,
            nacked: change.nacked,
            left: change.left,
            first_ack_ms: change.first_ack_ms,
            last_ack_ms: change.last_ack_ms,
        }
    }
}
