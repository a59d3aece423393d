//! The envelope messages of discovery, as they stand on the wire.
//!
//! # Why messages of our own
//! The message crate holds bodies as `Vec<u8>` and maps as `HashMap`. The first forces a copy of each resource for each
//! stream, the second makes the bytes differ from run to run. Here bodies are [`Bytes`], shared by all streams, and maps
//! are ordered. Where a message is only passed on, its field is declared as bytes: an embedded message and a byte string
//! look the same on the wire, so an already encoded `Any` goes in without being parsed.
//!
//! Field numbers are those of the public API (`envoy.service.discovery.v3`, `envoy.config.core.v3`, `google.rpc`).
//! Unknown fields are skipped.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{Mode, Node};
use crate::resource::endpoint::Locality;

/// `google.rpc.Code.INVALID_ARGUMENT`, which NACKs carry and malformed streams are closed with.
pub const INVALID_ARGUMENT: i32 = 3;
/// `google.rpc.Code.NOT_FOUND`.
pub const NOT_FOUND: i32 = 5;
/// `google.rpc.Code.RESOURCE_EXHAUSTED`.
pub const RESOURCE_EXHAUSTED: i32 = 8;
/// `google.rpc.Code.UNAVAILABLE`.
pub const UNAVAILABLE: i32 = 14;

/// The gRPC message prefix: a flag and a length.
pub const FRAME_HEADER_BYTES: usize = 5;

/// The type URL of [`WrappedResource`] when it stands in an `Any`.
pub const WRAPPED_RESOURCE_TYPE_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// `envoy.service.discovery.v3.DiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct DiscoveryRequest {
    /// The version last accepted.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Who asks; on the first request of a stream at least.
    #[prost(message, optional, boxed, tag = "2")]
    pub node: Option<Box<WireNode>>,
    /// The whole subscription.
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    /// The type asked for.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The nonce of the response this one answers.
    #[prost(string, tag = "5")]
    pub response_nonce: String,
    /// Present in a NACK and only there.
    #[prost(message, optional, tag = "6")]
    pub error_detail: Option<RpcStatus>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct DiscoveryResponse {
    /// The version of this response.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Encoded `google.protobuf.Any`s.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// The type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be echoed.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// What the server has to say about resources it cannot give.
    #[prost(message, repeated, tag = "7")]
    pub resource_errors: Vec<ResourceError>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks; on the first request of a stream at least.
    #[prost(message, optional, boxed, tag = "1")]
    pub node: Option<Box<WireNode>>,
    /// The type asked for.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names added to the subscription.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names taken out of it.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client holds from an earlier stream.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The nonce of the response this one answers; empty when it answers none.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Present in a NACK and only there.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<RpcStatus>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaDiscoveryResponse {
    /// For debugging only.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// Added or changed.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<WrappedResource>,
    /// The type.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be echoed.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Gone, or never there.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// What the server has to say about resources it cannot give.
    #[prost(message, repeated, tag = "9")]
    pub resource_errors: Vec<ResourceError>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, Message)]
pub struct WrappedResource {
    /// The resource's own version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// An encoded `google.protobuf.Any`; absent in a heartbeat.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub resource: Option<Bytes>,
    /// The resource's name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// What `value` is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `envoy.service.discovery.v3.ResourceError`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceError {
    /// Which resource.
    #[prost(message, optional, tag = "1")]
    pub resource_name: Option<ResourceName>,
    /// What is wrong.
    #[prost(message, optional, tag = "2")]
    pub error_detail: Option<RpcStatus>,
}

/// `envoy.service.discovery.v3.ResourceName`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceName {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// A `google.rpc.Code`.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The first field of every resource type of ours is its name, so that it can be told even when the rest is refused.
#[derive(Clone, PartialEq, Message)]
pub struct NameOnly {
    /// `name` or `cluster_name`.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, Message)]
pub struct WireNode {
    /// Unique in the mesh.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The service it stands beside.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Anything.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
    /// Where it runs.
    #[prost(message, optional, tag = "4")]
    pub locality: Option<WireLocality>,
    /// Which program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// Which version, as text or in numbers.
    #[prost(oneof = "UserAgentVersion", tags = "7, 8")]
    pub user_agent_version: Option<UserAgentVersion>,
    /// What it understands.
    #[prost(string, repeated, tag = "10")]
    pub client_features: Vec<String>,
}

/// The version of the asking program.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum UserAgentVersion {
    /// Free text.
    #[prost(string, tag = "7")]
    Text(String),
    /// `envoy.config.core.v3.BuildVersion`.
    #[prost(message, tag = "8")]
    Build(BuildVersion),
}

/// `envoy.config.core.v3.BuildVersion`, without its metadata.
#[derive(Clone, PartialEq, Message)]
pub struct BuildVersion {
    /// The number.
    #[prost(message, optional, tag = "1")]
    pub version: Option<SemanticVersion>,
}

/// `envoy.type.v3.SemanticVersion`.
#[derive(Clone, PartialEq, Message)]
pub struct SemanticVersion {
    /// X of X.Y.Z
    #[prost(uint32, tag = "1")]
    pub major: u32,
    /// Y
    #[prost(uint32, tag = "2")]
    pub minor: u32,
    /// Z
    #[prost(uint32, tag = "3")]
    pub patch: u32,
}

/// `envoy.config.core.v3.Locality`.
#[derive(Clone, PartialEq, Message)]
pub struct WireLocality {
    /// E.g. a cloud's region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Within the region.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// Within the zone.
    #[prost(string, tag = "3")]
    pub sub_zone: String,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    /// Its members.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Which kind.
    #[prost(oneof = "ValueKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<ValueKind>,
}

/// The kinds of [`Value`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ValueKind {
    /// `null`
    #[prost(int32, tag = "1")]
    Null(i32),
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A string.
    #[prost(string, tag = "3")]
    Text(String),
    /// A truth value.
    #[prost(bool, tag = "4")]
    Bool(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Object(Struct),
    /// An array.
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
pub struct ListValue {
    /// Its elements.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// A request of either variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// On `DeltaAggregatedResources`.
    Delta(DeltaDiscoveryRequest),
    /// On `StreamAggregatedResources`.
    StateOfTheWorld(DiscoveryRequest),
}

impl Request {
    /// Reads a request of the given variant.
    pub fn decode(mode: Mode, buffer: impl bytes::Buf) -> Result<Self, prost::DecodeError> {
        match mode {
            Mode::Delta => DeltaDiscoveryRequest::decode(buffer).map(Self::Delta),
            Mode::StateOfTheWorld => DiscoveryRequest::decode(buffer).map(Self::StateOfTheWorld),
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, buffer: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        match self {
            Self::Delta(r) => r.encode(buffer),
            Self::StateOfTheWorld(r) => r.encode(buffer),
        }
    }

    /// Who asks, where the request says so.
    pub fn node(&self) -> Option<&WireNode> {
        match self {
            Self::Delta(r) => r.node.as_deref(),
            Self::StateOfTheWorld(r) => r.node.as_deref(),
        }
    }

    /// The type asked for.
    pub fn type_url(&self) -> &str {
        match self {
            Self::Delta(r) => &r.type_url,
            Self::StateOfTheWorld(r) => &r.type_url,
        }
    }
}

/// A response of either variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// On `DeltaAggregatedResources`.
    Delta(DeltaDiscoveryResponse),
    /// On `StreamAggregatedResources`.
    StateOfTheWorld(DiscoveryResponse),
}

impl Response {
    /// Reads a response of the given variant.
    pub fn decode(mode: Mode, buffer: impl bytes::Buf) -> Result<Self, prost::DecodeError> {
        match mode {
            Mode::Delta => DeltaDiscoveryResponse::decode(buffer).map(Self::Delta),
            Mode::StateOfTheWorld => DiscoveryResponse::decode(buffer).map(Self::StateOfTheWorld),
        }
    }

    /// The type answered.
    pub fn type_url(&self) -> &str {
        match self {
            Self::Delta(r) => &r.type_url,
            Self::StateOfTheWorld(r) => &r.type_url,
        }
    }

    /// To be echoed.
    pub fn nonce(&self) -> &str {
        match self {
            Self::Delta(r) => &r.nonce,
            Self::StateOfTheWorld(r) => &r.nonce,
        }
    }

    /// As one gRPC message, ready for the wire.
    pub fn frame(&self) -> Bytes {
        match self {
            Self::Delta(r) => frame(r),
            Self::StateOfTheWorld(r) => frame(r),
        }
    }
}

/// A message with its gRPC prefix.
fn frame(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(FRAME_HEADER_BYTES + len);
    buffer.put_u8(0);
    // A message above 4 GiB cannot be framed; the sets that a control plane holds are orders of magnitude smaller.
    buffer.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode_raw(&mut buffer);
    buffer.freeze()
}

// === Node ===

impl From<&WireNode> for Node {
    fn from(node: &WireNode) -> Self {
        let locality = node.locality.as_ref().map_or_else(Locality::default, |l| Locality {
            region: l.region.as_str().into(),
            zone: l.zone.as_str().into(),
            sub_zone: l.sub_zone.as_str().into(),
        });
        let user_agent_version: Arc<str> = match &node.user_agent_version {
            None => "".into(),
            Some(UserAgentVersion::Text(text)) => text.as_str().into(),
            Some(UserAgentVersion::Build(build)) => {
                let v = build.version.clone().unwrap_or_default();
                format!("{}.{}.{}", v.major, v.minor, v.patch).into()
            }
        };
        let members = node.metadata.iter().flat_map(|s| &s.fields);
        Self {
            id: node.id.as_str().into(),
            cluster: node.cluster.as_str().into(),
            metadata: members.map(|(name, value)| (name.clone(), value.to_text())).collect(),
            locality,
            user_agent: node.user_agent_name.as_str().into(),
            user_agent_version,
            client_features: node.client_features.iter().map(|f| f.as_str().into()).collect(),
        }
    }
}

impl From<&Node> for WireNode {
    fn from(node: &Node) -> Self {
        let fields: BTreeMap<_, _> = node
            .metadata
            .iter()
            .map(|(name, text)| (name.clone(), Value { kind: Some(ValueKind::Text(text.clone())) }))
            .collect();
        Self {
            id: node.id.to_string(),
            cluster: node.cluster.to_string(),
            metadata: (!fields.is_empty()).then_some(Struct { fields }),
            locality: (node.locality != Locality::default()).then(|| WireLocality {
                region: node.locality.region.to_string(),
                zone: node.locality.zone.to_string(),
                sub_zone: node.locality.sub_zone.to_string(),
            }),
            user_agent_name: node.user_agent.to_string(),
            user_agent_version: (!node.user_agent_version.is_empty())
                .then(|| UserAgentVersion::Text(node.user_agent_version.to_string())),
            client_features: node.client_features.iter().map(|f| f.to_string()).collect(),
        }
    }
}

impl Value {
    /// A string as it is, anything else as JSON.
    fn to_text(&self) -> String {
        if let Some(ValueKind::Text(text)) = &self.kind {
            return text.clone();
        }
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match &self.kind {
            None | Some(ValueKind::Null(_)) => out.push_str("null"),
            Some(ValueKind::Number(n)) if n.is_finite() => out.push_str(&n.to_string()),
            // JSON has no word for these.
            Some(ValueKind::Number(_)) => out.push_str("null"),
            Some(ValueKind::Text(text)) => write_json_string(text, out),
            Some(ValueKind::Bool(b)) => out.push_str(if *b { "true" } else { "false" }),
            Some(ValueKind::Object(object)) => {
                out.push('{');
                for (i, (name, value)) in object.fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_json_string(name, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            Some(ValueKind::List(list)) => {
                out.push('[');
                for (i, value) in list.values.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    value.write_json(out);
                }
                out.push(']');
            }
        }
    }
}

fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
