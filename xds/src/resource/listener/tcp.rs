//! Protobuf to TCP proxy and back.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::time::Duration;

use super::TcpProxy;
use crate::proto::tcp_proxy::{self, tcp_proxy as parts};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{encode_limit, limit, name, unless_zero};

/// Time without a byte when the proxy does not say; Envoy's default.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);

pub(super) fn decode(at: &At<'_>, message: tcp_proxy::TcpProxy) -> Checked<TcpProxy> {
    let tcp_proxy::TcpProxy {
        stat_prefix,
        on_demand,
        metadata_match,
        idle_timeout,
        downstream_idle_timeout,
        upstream_idle_timeout,
        access_log,
        max_connect_attempts,
        backoff_options,
        hash_policy,
        tunneling_config,
        max_downstream_connection_duration,
        max_downstream_connection_duration_jitter_percentage,
        access_log_flush_interval,
        flush_access_log_on_connected,
        access_log_options,
        proxy_protocol_tlvs,
        proxy_protocol_tlv_merge_policy,
        upstream_connect_mode,
        max_early_data_bytes,
        check_drain_close,
        cluster_specifier,
    } = message;
    let max_downstream_connection_duration = unless_zero(max_downstream_connection_duration);
    refused!(at;
        on_demand, downstream_idle_timeout, upstream_idle_timeout, tunneling_config,
        max_downstream_connection_duration, proxy_protocol_tlvs, upstream_connect_mode
    );
    // Connections have no hash: a cluster that chooses by one chooses by chance for them.
    ignored!(at;
        metadata_match, access_log, max_connect_attempts, backoff_options, hash_policy,
        max_downstream_connection_duration_jitter_percentage, access_log_flush_interval,
        flush_access_log_on_connected, access_log_options, proxy_protocol_tlv_merge_policy, max_early_data_bytes,
        check_drain_close
    );
    let clusters = match cluster_specifier.ok_or_else(|| at.error("names no cluster"))? {
        parts::ClusterSpecifier::Cluster(cluster) => vec![(name(at, "cluster", cluster)?, 1)],
        parts::ClusterSpecifier::WeightedClusters(parts::WeightedCluster { clusters }) => {
            weighted(&at.field("weighted_clusters"), clusters)?
        }
    };
    Ok(TcpProxy {
        stat_prefix: name(at, "stat_prefix", stat_prefix)?,
        clusters,
        idle_timeout: limit(at, "idle_timeout", idle_timeout, Some(IDLE_TIMEOUT_DEFAULT))?,
    })
}

fn weighted(
    at: &At<'_>,
    clusters: Vec<parts::weighted_cluster::ClusterWeight>,
) -> Checked<Vec<(std::sync::Arc<str>, u32)>> {
    if clusters.is_empty() {
        return Err(at.field("clusters").missing());
    }
    let mut decoded = Vec::with_capacity(clusters.len());
    for (i, cluster) in clusters.into_iter().enumerate() {
        let at = &at.item("clusters", i);
        let parts::weighted_cluster::ClusterWeight { name: cluster, weight, metadata_match } = cluster;
        ignored!(at; metadata_match);
        if weight == 0 {
            return Err(at.field("weight").error("must be at least 1"));
        }
        decoded.push((name(at, "name", cluster)?, weight));
    }
    if decoded.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>() > u64::from(u32::MAX) {
        return Err(at.error("the weights add up to more than 2^32 - 1"));
    }
    Ok(decoded)
}

pub(super) fn encode(value: &TcpProxy) -> tcp_proxy::TcpProxy {
    let specifier = match value.clusters.as_slice() {
        [(cluster, 1)] => parts::ClusterSpecifier::Cluster(cluster.to_string()),
        clusters => {
            let clusters = clusters.iter().map(|(cluster, weight)| parts::weighted_cluster::ClusterWeight {
                name: cluster.to_string(),
                weight: *weight,
                ..Default::default()
            });
            parts::ClusterSpecifier::WeightedClusters(parts::WeightedCluster { clusters: clusters.collect() })
        }
    };
    tcp_proxy::TcpProxy {
        stat_prefix: value.stat_prefix.to_string(),
        idle_timeout: Some(encode_limit(value.idle_timeout)),
        cluster_specifier: Some(specifier),
        ..Default::default()
    }
}
