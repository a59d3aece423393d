//! What a proxy tells its control plane about traffic, as messages: who called whom, how often, how it ended, how long it took.
//!
//! # Cumulative, not what is new
//! Every number counts from the start of the process (the epoch). A message that is lost, or comes twice, or comes to another
//! control plane, changes nothing: the next one says all of it again, and the receiver takes the difference to what it heard
//! last of that epoch. Only edges that changed since the last acknowledged message are said.
//!
//! # The wire
//! `tidegate.report.v1.ReportService/StreamEdges`, a stream of [`EdgeReport`] up and of [`ReportAck`] down, on the port of ADS.
//! The messages are Protocol Buffers; a field's number is its contract, and numbers are not used again.

/// The method's path.
pub const EDGES_PATH: &str = "/tidegate.report.v1.ReportService/StreamEdges";

/// One part of what a proxy has counted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EdgeReport {
    /// The node's id, as in discovery requests.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Which process counts: drawn at its start, never zero.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// Grows by one from message to message of a stream, from 1.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// The edges that changed, or all of them at the beginning of a stream.
    #[prost(message, repeated, tag = "4")]
    pub edges: Vec<Edge>,
    /// Nothing follows from this process. Whoever acknowledges it has it on disk.
    #[prost(bool, tag = "5")]
    pub last: bool,
    /// Requests and connections on edges that found no place of their own; they are counted on the edge to `__other__`.
    #[prost(uint64, tag = "6")]
    pub folded: u64,
}

/// What has happened on one edge since the process began.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Edge {
    /// Its number in this epoch, which never stands for another edge.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Who and whom. There when this stream names the number for the first time.
    #[prost(message, optional, tag = "2")]
    pub key: Option<EdgeKey>,
    /// Requests by how they ended.
    #[prost(message, repeated, tag = "3")]
    pub outcomes: Vec<Outcome>,
    /// How long requests took: bucket numbers of `tidegate_report::Sketch`, each said as its distance to the one before.
    #[prost(uint32, repeated, tag = "4")]
    pub buckets: Vec<u32>,
    /// The counts of these buckets.
    #[prost(uint64, repeated, tag = "5")]
    pub counts: Vec<u64>,
    /// Bytes towards the destination: of bodies for HTTP, of everything for TCP.
    #[prost(uint64, tag = "6")]
    pub bytes_sent: u64,
    /// Bytes from it.
    #[prost(uint64, tag = "7")]
    pub bytes_received: u64,
    /// TCP connections begun.
    #[prost(uint64, tag = "8")]
    pub connections_opened: u64,
    /// TCP connections ended.
    #[prost(uint64, tag = "9")]
    pub connections_closed: u64,
}

/// Who calls whom.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct EdgeKey {
    /// Who counted: the caller's proxy, or the proxy of the one that was called.
    #[prost(enumeration = "Reporter", tag = "1")]
    pub reporter: i32,
    /// The caller.
    #[prost(message, optional, tag = "2")]
    pub source: Option<Workload>,
    /// Who was called; `None` when no endpoint was reached, or it is not known who it is.
    #[prost(message, optional, tag = "3")]
    pub destination: Option<Workload>,
    /// As what it was called.
    #[prost(message, optional, tag = "4")]
    pub service: Option<Service>,
    /// What was spoken.
    #[prost(enumeration = "Protocol", tag = "5")]
    pub protocol: i32,
    /// How it was protected.
    #[prost(enumeration = "Security", tag = "6")]
    pub security: i32,
}

/// A workload as Istio describes it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Workload {
    /// `reviews-v1`
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// The canonical service: the application that it is a version of.
    #[prost(string, tag = "3")]
    pub app: String,
    /// The canonical revision.
    #[prost(string, tag = "4")]
    pub version: String,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Service {
    /// `reviews.shop.svc.cluster.local`
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// Requests that ended alike.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Outcome {
    /// The status; 0: there was no answer.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// Response flags, joined by commas; empty: none.
    #[prost(string, tag = "2")]
    pub flags: String,
    /// The gRPC status.
    #[prost(uint32, optional, tag = "3")]
    pub grpc_status: Option<u32>,
    /// How many.
    #[prost(uint64, tag = "4")]
    pub count: u64,
}

/// What the control plane answers to each message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReportAck {
    /// The message's number.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// When the next report is wanted, in milliseconds; 0: as before.
    #[prost(uint32, tag = "2")]
    pub interval_ms: u32,
}

/// Whose view it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum Reporter {
    Unspecified = 0,
    /// The proxy of the caller, or a gateway.
    Source = 1,
    /// The proxy of the one that was called.
    Destination = 2,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum Protocol {
    Unspecified = 0,
    Http = 1,
    Grpc = 2,
    Tcp = 3,
}

/// How the connection between two proxies was protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum Security {
    /// Not known: the caller's proxy does not see who is behind TLS of its own.
    Unspecified = 0,
    /// Plaintext.
    Plain = 1,
    /// TLS where the caller did not say who it is.
    Tls = 2,
    /// TLS where both said who they are.
    Mutual = 3,
}
