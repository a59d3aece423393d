//! The Aggregated Discovery Service as pure state machines.
//!
//! [`client`] and [`server`] each take an event and the time and give actions back. They own versions, nonces, ACK and
//! NACK, for both variants of the protocol, and nothing else: no socket, no clock, no task. `transport` moves what they
//! say.

pub mod client;
#[cfg(test)]
pub(crate) mod fixture;
pub mod server;
#[cfg(test)]
mod tests;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::resource::endpoint::Locality;

/// The variant of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// `DeltaAggregatedResources`: only what changed, each resource with a version of its own.
    #[default]
    Delta,
    /// `StreamAggregatedResources`: state of the world.
    StateOfTheWorld,
}

/// Who is asking: `envoy.config.core.v3.Node`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Unique in the mesh.
    pub id: Arc<str>,
    /// The service the proxy stands beside.
    pub cluster: Arc<str>,
    /// String members of the metadata; other values as JSON text.
    pub metadata: BTreeMap<String, String>,
    /// Where it runs.
    pub locality: Locality,
    /// `tidegate-proxy`, `envoy`, `gRPC C-core linux`, …
    pub user_agent: Arc<str>,
    /// Its version, as text.
    pub user_agent_version: Arc<str>,
    /// What it understands beyond the protocol, e.g. `xds.config.supports-resource-ttl`.
    pub client_features: Vec<Arc<str>>,
}
