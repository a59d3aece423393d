//! The xDS resources as types that are valid by construction.
//!
//! Each file holds one resource: its types first, then `decode` (protobuf to type, refusing with a field path), then
//! `encode` (type to protobuf). The round trip type -> bytes -> type is a property test.
//!
//! # Every field has one of three fates
//! *Implemented*: it has a place in the type. *Ignored*: it cannot change behaviour we promise (a stat prefix, a
//! buffer hint); decoding records its path in [`Decoded::ignored`]. *Refused*: it would change behaviour and we do not
//! have it yet; decoding fails with its path. The decoders destructure each message without `..`, so a field that the
//! message crate adds does not compile until somebody has chosen.

pub mod cluster;
pub mod endpoint;
mod extension;
pub mod filter;
mod header;
mod json;
pub mod listener;
pub mod matcher;
mod metadata;
mod path;
pub mod route;
mod scalar;
pub mod secret;
mod stable;
pub mod tls;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use cluster::Cluster;
pub use endpoint::ClusterLoadAssignment;
pub use listener::Listener;
pub use route::RouteConfiguration;
pub use secret::Secret;

use self::extension::message;
use self::path::{At, Ignored};
use crate::name::ResourceType;
use crate::proto;

/// How much of the content hash a version shows: 128 bits, which no two configurations will ever share by chance.
const VERSION_BYTES: usize = 16;

/// A resource of any type.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// LDS
    Listener(Arc<Listener>),
    /// RDS
    Route(Arc<RouteConfiguration>),
    /// CDS
    Cluster(Arc<Cluster>),
    /// EDS
    Endpoint(Arc<ClusterLoadAssignment>),
    /// SDS
    Secret(Arc<Secret>),
}

impl Resource {
    /// Which type of resource this is.
    pub fn resource_type(&self) -> ResourceType {
        match self {
            Self::Listener(_) => ResourceType::Listener,
            Self::Route(_) => ResourceType::Route,
            Self::Cluster(_) => ResourceType::Cluster,
            Self::Endpoint(_) => ResourceType::Endpoint,
            Self::Secret(_) => ResourceType::Secret,
        }
    }

    /// The name by which it is subscribed to.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Listener(r) => &r.name,
            Self::Route(r) => &r.name,
            Self::Cluster(r) => &r.name,
            Self::Endpoint(r) => &r.cluster_name,
            Self::Secret(r) => &r.name,
        }
    }

    /// The protobuf message, not wrapped. The same resource gives the same bytes in every process.
    pub fn encode_value(&self) -> Bytes {
        match self {
            Self::Listener(r) => stable::encode(&listener::encode::encode(r)),
            Self::Route(r) => stable::encode(&route::encode::encode(r)),
            Self::Cluster(r) => stable::encode(&cluster::encode::encode(r)),
            Self::Endpoint(r) => stable::encode(&endpoint::encode::encode(r)),
            Self::Secret(r) => stable::encode(&secret::encode::encode(r)),
        }
        .into()
    }

    /// The message as a `google.protobuf.Any`.
    pub fn encode_any(&self) -> Bytes {
        let type_url = self.resource_type().type_url().to_owned();
        proto::Any { type_url, value: self.encode_value().into() }.encode_to_vec().into()
    }

    /// A hash of type and content, so that equal resources have equal versions whoever made them, and whenever.
    pub fn version(&self) -> Arc<str> {
        let mut hash = Sha256::new();
        hash.update(self.resource_type().type_url());
        // The name is in the message, and a type URL never contains this byte.
        hash.update([0]);
        hash.update(self.encode_value());
        let mut version = String::with_capacity(2 * VERSION_BYTES);
        for byte in &hash.finalize()[..VERSION_BYTES] {
            // Writing to a string cannot fail.
            write!(version, "{byte:02x}").unwrap_or_default();
        }
        version.into()
    }

    /// For people and their tools: `{"route": {"name": ...}}`. Secrets show what they are, never what they hold.
    pub fn to_json(&self) -> String {
        json::pretty(self)
    }
}

/// A resource taken from the wire, with what was seen but has no effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The resource.
    pub resource: Resource,
    /// Paths of fields that were set and are ignored on purpose, e.g. `filter_chains[0].filters[0].stat_prefix`.
    pub ignored: Vec<String>,
}

impl Decoded {
    /// Decodes one `google.protobuf.Any`, given as its type URL and its value.
    pub fn from_any(type_url: &str, value: &[u8]) -> Result<Self, FieldError> {
        let ignored = RefCell::new(Ignored::default());
        let at = &At::root(&ignored);
        let resource_type = ResourceType::from_type_url(type_url)
            .ok_or_else(|| at.error(format_args!("{type_url:?} is not a type of resource")))?;
        let resource = match resource_type {
            ResourceType::Listener => Resource::Listener(Arc::new(listener::decode::decode(at, message(at, value)?)?)),
            ResourceType::Route => Resource::Route(Arc::new(route::decode::decode(at, value)?)),
            ResourceType::Cluster => Resource::Cluster(Arc::new(cluster::decode::decode(at, message(at, value)?)?)),
            ResourceType::Endpoint => Resource::Endpoint(Arc::new(endpoint::decode::decode(at, message(at, value)?)?)),
            ResourceType::Secret => Resource::Secret(Arc::new(secret::decode::decode(at, message(at, value)?)?)),
        };
        Ok(Self { resource, ignored: ignored.into_inner().into_paths() })
    }
}

/// Why a resource was refused: what is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FieldError {
    /// The field's path from the resource's root, e.g. `virtual_hosts[0].routes[3].route.weighted_clusters`.
    pub path: String,
    /// What is wrong with it, lower case, no full stop.
    pub reason: String,
}

#[cfg(test)]
pub(crate) mod tests;
