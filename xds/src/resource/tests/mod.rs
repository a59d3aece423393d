//! What the border promises: round trips, refusals with paths, no panic on any bytes, agreement with another decoder.

pub(crate) mod governed;
mod ignored;
mod interop;
mod refused_cluster;
mod refused_filter;
mod refused_listener;
mod refused_resilience;
mod refused_route;
mod robust;
mod round_trip;
mod sample;
mod strategy;
mod tls;

use std::sync::Arc;

use prost::Message;

use super::{Decoded, FieldError, Resource};
use crate::name::ResourceType;

/// Decodes a message as the resource that it is.
fn decode(kind: ResourceType, message: &impl Message) -> Result<Decoded, FieldError> {
    Decoded::from_any(kind.type_url(), &message.encode_to_vec())
}

/// Asserts that a resource is refused at `path` for a reason that contains `reason`.
#[track_caller]
fn assert_refused(kind: ResourceType, message: &impl Message, path: &str, reason: &str) {
    let error = decode(kind, message).expect_err("the resource should be refused");
    assert_eq!(error.path, path, "{error}");
    assert!(error.reason.contains(reason), "{error}");
}

fn arc(text: &str) -> Arc<str> {
    text.into()
}

/// Resources of each type, each with much in it.
fn samples() -> Vec<Resource> {
    vec![
        Resource::Listener(Arc::new(sample::listener())),
        Resource::Listener(Arc::new(sample::api_listener())),
        Resource::Route(Arc::new(sample::routes())),
        Resource::Cluster(Arc::new(sample::cluster())),
        Resource::Endpoint(Arc::new(sample::endpoints())),
        Resource::Secret(Arc::new(sample::certificate())),
        Resource::Listener(Arc::new(governed::listener())),
        Resource::Route(Arc::new(governed::routes())),
        Resource::Cluster(Arc::new(governed::cluster())),
        Resource::Endpoint(Arc::new(governed::endpoints())),
    ]
}
