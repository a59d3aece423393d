//! The gRPC glue of both ends: it moves what the state machines of [`ads`](crate::ads) say, and decides nothing.
//!
//! # Why tonic's transport but not its encoder
//! The encoder copies each message into a buffer that every stream keeps. A control plane with thousands of streams
//! would hold each resource thousands of times. The server therefore answers with a body of frames that are already
//! encoded; requests are small and are decoded the ordinary way.

pub mod client;
mod codec;
pub mod rate_limit;
pub mod report;
pub mod server;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

pub use client::{ClientConfig, ClientHandle, Network, Tcp, connect, connect_through};
pub use server::{Control, Refusal, Session, serve, serve_incoming};

/// The service's name on the wire.
const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
/// Its method for the delta variant.
const DELTA_PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Its method for the state-of-the-world variant.
const STATE_OF_THE_WORLD_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// How often a silent connection is asked whether anybody is there. Network gear forgets idle flows after minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the answer may take. A host that is gone is noticed within the sum of the two.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a transport could not work at all. What ends a single stream is an event, not an error.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The listener or the protocol library failed.
    #[error("the xDS listener failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// In `[0, 1)`. Only spreads reconnects; the standard library's random hash keys are random enough for that.
fn random() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish();
    f64::from((bits >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}
