//! The contract between the planes: configuration going down.
//!
//! Everything that crosses the wire between `tidegate` and `tidegate-proxy` (or a real Envoy, or a gRPC client) is
//! named here and nowhere else. Three layers, each usable without the next:
//!
//! - [`resource`]: the resources as types that are valid by construction. A value that exists has passed every check.
//! - [`ads`]: the Aggregated Discovery Service, client and server, as pure state machines: `(event, now) -> actions`.
//! - [`transport`]: the thin gRPC glue that moves the state machines' bytes (feature `transport`).
//!
//! # Why types of our own between protobuf and the planes
//! Envoy's messages are permissive: every field is optional, limits live in annotations that the Rust messages do not
//! carry, and an unknown extension is a byte string. Both planes would have to ask the same questions again at each
//! use. Here they are asked once, at the border, and the answer names the field's path.

pub mod ads;
pub mod name;
mod proto;
pub mod rate_limit_service;
pub mod report_service;
pub mod resource;
#[cfg(feature = "transport")]
pub mod transport;
