//! Weighted splits as weighted clusters.
//!
//! # A destination that does not exist
//! Gateway API wants its share of requests answered with 500. A weighted cluster that nobody defines would do that in
//! Envoy, but a proxy that waits for complete configuration would wait for it forever. So the share becomes a route of
//! its own in front, which answers by itself for that fraction of requests; the rest is split among what exists.

use std::sync::Arc;

use tidegate_policies::ir::route::Backend;
use tidegate_policies::ir::split::{Destination, Split};
use tidegate_xds::name::outbound_cluster;
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{ClusterSpecifier, HostRewrite, WeightedCluster, WeightedClusters};

use super::cluster::host;
use super::header::{Values, header_mutations};
use crate::world::Reader;

/// The finest share that xDS can express.
const DENOMINATOR: u32 = 1_000_000;

/// A split in terms of clusters.
#[derive(Debug, PartialEq)]
pub(super) struct Shares<'s> {
    /// What exists; `None` when no destination with a weight does.
    pub target: Option<(ClusterSpecifier, HostRewrite)>,
    /// The destinations that exist, in the order of their clusters, with their weights.
    pub members: Vec<(&'s Backend, u32)>,
    /// The share of requests whose destination does not exist.
    pub invalid: Option<Fraction>,
}

/// Resolves a split's destinations.
pub(super) fn shares<'s>(split: &'s Split, values: Values, reader: &Reader<'_>) -> Shares<'s> {
    let total: u64 = split.destinations.iter().map(|d| u64::from(d.weight)).sum();
    let (valid, invalid): (Vec<_>, Vec<_>) = split
        .destinations
        .iter()
        .map(|d| (d, cluster_of(&d.backend, reader)))
        .partition(|(_, cluster)| cluster.is_some());
    let lost: u64 = invalid.iter().map(|(d, _)| u64::from(d.weight)).sum();
    let valid: Vec<(&Destination, Arc<str>)> = valid.into_iter().filter_map(|(d, c)| Some((d, c?))).collect();
    let numerator = (lost * u64::from(DENOMINATOR)).checked_div(total).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let invalid = (lost > 0).then_some(Fraction { numerator, denominator: DENOMINATOR });
    let members = valid.iter().map(|(destination, _)| (&destination.backend, destination.weight)).collect();
    Shares { target: target(&valid, values), members, invalid }
}

/// The name of a destination's cluster; `None` when there is no such service or port.
pub(super) fn cluster_of(backend: &Backend, reader: &Reader<'_>) -> Option<Arc<str>> {
    match backend {
        Backend::Service { service, port, subset } => {
            let service = reader.service(service)?;
            service
                .ports
                .iter()
                .any(|p| p.port == *port)
                .then(|| outbound_cluster(*port, subset.as_deref(), &host(service)))
        }
        Backend::Invalid(_) => None,
    }
}

fn target(valid: &[(&Destination, Arc<str>)], values: Values) -> Option<(ClusterSpecifier, HostRewrite)> {
    // A lone destination without changes of its own needs no draw. It keeps the plain form that every client knows.
    if let [(only, cluster)] = valid
        && only.weight > 0
        && only.request_headers == Default::default()
        && only.response_headers == Default::default()
    {
        let rewrite = only.host_rewrite.clone().map_or(HostRewrite::Keep, HostRewrite::Literal);
        return Some((ClusterSpecifier::Cluster(cluster.clone()), rewrite));
    }
    let weighted = valid.iter().map(|(destination, cluster)| WeightedCluster {
        name: cluster.clone(),
        weight: destination.weight,
        request_headers: header_mutations(&destination.request_headers, values),
        response_headers: header_mutations(&destination.response_headers, values),
        host_rewrite: destination.host_rewrite.clone(),
        ..WeightedCluster::default()
    });
    Some((ClusterSpecifier::Weighted(WeightedClusters::new(weighted.collect())?), HostRewrite::Keep))
}
