//! Where the policies behind clusters are written, said with the routes that lead there.
//!
//! # Why there
//! An answer names its policy and the line it was written on. A line moves whenever somebody writes a comment above it. A
//! cluster that carried lines would be made anew for that, with its connections and first health checks, by every data plane
//! that has it; listeners would be drained. Of what proxies are given, only routes are exchanged for nothing.

use tidegate_policies::ir::load_balancing::BackendSettings;
use tidegate_policies::ir::route::{Backend, RouteEntry, RuleAction};
use tidegate_xds::resource::route::{Policies, Written};

use super::cluster::behind;
use super::load_balancing::settings;
use super::{origin, split};
use crate::world::{ClientClass, Reader};

/// The places behind the clusters that rules lead clients to.
pub(super) fn of_rules<'e>(
    rules: impl IntoIterator<Item = &'e RouteEntry>,
    client: &ClientClass,
    reader: &Reader<'_>,
) -> Written {
    let splits = rules.into_iter().filter_map(|entry| match &entry.rule.action {
        RuleAction::Split(split) => Some(split),
        RuleAction::Redirect(_) | RuleAction::DirectResponse { .. } => None,
    });
    of_backends(splits.flat_map(|split| &split.destinations).map(|destination| &destination.backend), client, reader)
}

/// The places behind the clusters of backends.
pub(super) fn of_backends<'b>(
    backends: impl IntoIterator<Item = &'b Backend>,
    client: &ClientClass,
    reader: &Reader<'_>,
) -> Written {
    let mut written = Written::new();
    for backend in backends {
        let Backend::Service { service, port, subset } = backend else { continue };
        let Some(cluster) = split::cluster_of(backend, reader) else { continue };
        let places = reader.places(service, client.namespace.as_deref(), *port, subset.as_deref());
        if !places.is_empty() {
            written.insert(cluster, places);
        }
    }
    written
}

/// The places of the settings that a cluster has.
pub(crate) fn places(backend: Option<&BackendSettings>, subset: Option<&str>, port: u16) -> Policies {
    behind(&settings(backend, subset, port), origin::place)
}
