//! Protobuf to cluster: discovery. Everything else has a file of its own.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::num::NonZeroU32;
use std::sync::Arc;

use super::load_balancing::{self, Policies};
use super::{
    CONNECT_TIMEOUT_DEFAULT, Cluster, Discovery, DnsEndpoint, OutlierDetection, Policies as Behind, ServiceName,
    Thresholds,
};
use super::{circuit_breaker, health_check, ours, outlier, protocol};
use crate::proto::{cluster, core, dns_cluster, endpoint};
use crate::resource::endpoint::decode as endpoints;
use crate::resource::extension::{holds, message, unknown};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{host_and_port, label, name, over_ads, port_not_zero, positive_duration};
use crate::resource::tls::decode as tls;

pub(in crate::resource) fn decode(at: &At<'_>, message: cluster::Cluster) -> Checked<Cluster> {
    let cluster::Cluster {
        transport_socket_matches,
        transport_socket_matcher,
        name: cluster_name,
        alt_stat_name,
        stats_matcher,
        eds_cluster_config,
        connect_timeout,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        lb_policy,
        load_assignment,
        health_checks,
        max_requests_per_connection,
        circuit_breakers,
        upstream_http_protocol_options,
        common_http_protocol_options,
        http_protocol_options,
        http2_protocol_options,
        typed_extension_protocol_options,
        dns_refresh_rate,
        dns_jitter,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_lookup_family,
        dns_resolvers,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        wait_for_warm_on_init,
        outlier_detection,
        cleanup_interval,
        upstream_bind_config,
        lb_subset_config,
        common_lb_config,
        transport_socket,
        metadata,
        protocol_selection,
        upstream_connection_options,
        close_connections_on_host_health_failure,
        ignore_health_on_host_removal,
        filters,
        load_balancing_policy,
        lrs_server,
        lrs_report_endpoint_metrics,
        track_timeout_budgets,
        upstream_config,
        track_cluster_stats,
        preconnect_policy,
        connection_pool_per_downstream_connection,
        queuing_policies,
        cluster_discovery_type,
        lb_config,
    } = message;
    let name = name(at, "name", cluster_name)?;
    let tls = tls::upstream(at, transport_socket)?;
    refused!(at;
        transport_socket_matches, transport_socket_matcher, lb_subset_config, filters, upstream_config,
        connection_pool_per_downstream_connection
    );
    ignored!(at;
        alt_stat_name, stats_matcher, per_connection_buffer_limit_bytes, per_connection_buffer_high_watermark_timeout,
        http_protocol_options, dns_refresh_rate, dns_jitter, dns_failure_refresh_rate,
        respect_dns_ttl, use_tcp_for_dns_lookups, typed_dns_resolver_config, wait_for_warm_on_init, cleanup_interval,
        upstream_bind_config, upstream_connection_options, close_connections_on_host_health_failure,
        ignore_health_on_host_removal, lrs_server, lrs_report_endpoint_metrics, track_timeout_budgets,
        track_cluster_stats, preconnect_policy, queuing_policies
    );
    let resolvers = (dns_resolvers, dns_resolution_config);
    let sources = Sources { name: &name, eds_cluster_config, load_assignment, resolvers, family: dns_lookup_family };
    let discovery = discovery(at, cluster_discovery_type, sources)?;
    let balancing = Policies { lb_policy, lb_config, load_balancing_policy, common_lb_config };
    let choice = load_balancing::decode(at, &discovery, balancing)?;
    let legacy = protocol::Legacy {
        http2_protocol_options,
        protocol_selection,
        common_http_protocol_options,
        max_requests_per_connection,
        upstream_http_protocol_options,
        encrypted: tls.is_some(),
    };
    let options = protocol::decode(at, legacy, typed_extension_protocol_options)?;
    let (circuit_breakers, outlier_detection, (policies, service)) =
        limits(at, circuit_breakers, outlier_detection, metadata)?;
    Ok(Cluster {
        name,
        discovery,
        load_balancing: choice.load_balancing,
        connect_timeout: positive_duration(at, "connect_timeout", connect_timeout, CONNECT_TIMEOUT_DEFAULT)?,
        protocol: options.protocol,
        tls,
        idle_timeout: options.idle_timeout,
        max_requests_per_connection: options.max_requests_per_connection,
        circuit_breakers,
        outlier_detection,
        health_checks: health_check::decode(at, health_checks)?,
        panic_threshold_percent: choice.panic_threshold_percent,
        locality_weighted: choice.locality_weighted,
        policies,
        service,
    })
}

/// What [`limits`] gives.
type Limited = (Thresholds, Option<OutlierDetection>, (Behind, Option<ServiceName>));

/// Limits and ejections, each of which has a part in the metadata; and the policies and the service that stand there.
fn limits(
    at: &At<'_>,
    circuit_breakers: Option<cluster::CircuitBreakers>,
    outlier_detection: Option<cluster::OutlierDetection>,
    metadata: Option<core::Metadata>,
) -> Checked<Limited> {
    let mut thresholds = circuit_breaker::decode(at, circuit_breakers)?;
    let mut detection = outlier::decode(at, outlier_detection)?;
    let ours = ours::decode(at, metadata, detection.is_some())?;
    thresholds.max_requests_per_endpoint = ours.max_requests_per_endpoint;
    if let (Some(detection), Some(codes)) = (&mut detection, ours.failure_codes) {
        detection.failure_codes = codes;
    }
    Ok((thresholds, detection, (ours.policies, ours.service)))
}

/// Both families are asked for, whatever is set; what is set other than that is noted.
fn lookup_family(at: &At<'_>, family: i32) {
    let all = cluster::cluster::DnsLookupFamily::All as i32;
    if family != all && family != 0 {
        at.ignore("dns_lookup_family");
    }
}

/// The fields that say where endpoints come from.
struct Sources<'a> {
    name: &'a Arc<str>,
    eds_cluster_config: Option<cluster::cluster::EdsClusterConfig>,
    load_assignment: Option<endpoint::ClusterLoadAssignment>,
    resolvers: (Vec<core::Address>, Option<core::DnsResolutionConfig>),
    family: i32,
}

fn discovery(
    at: &At<'_>,
    kind: Option<cluster::cluster::ClusterDiscoveryType>,
    sources: Sources<'_>,
) -> Checked<Discovery> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let kind = match kind {
        // Protobuf's default, as Envoy reads it.
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => {
            DiscoveryType::try_from(kind).map_err(|_| at.field("type").error(format_args!("{kind} is not known")))?
        }
        Some(ClusterDiscoveryType::ClusterType(custom)) => custom_type(&at.field("cluster_type"), custom)?,
    };
    let Sources {
        name,
        eds_cluster_config,
        load_assignment,
        resolvers: (dns_resolvers, dns_resolution_config),
        family,
    } = sources;
    lookup_family(at, family);
    if kind != DiscoveryType::Eds {
        ignored!(at; eds_cluster_config);
    }
    match kind {
        DiscoveryType::Eds => {
            ignored!(at; load_assignment);
            let at = &at.field("eds_cluster_config");
            let cluster::cluster::EdsClusterConfig { eds_config, service_name } =
                eds_cluster_config.ok_or_else(|| at.missing())?;
            over_ads(at, "eds_config", eds_config)?;
            let service_name = label(at, "service_name", service_name)?;
            Ok(Discovery::Eds { service_name: if service_name.is_empty() { name.clone() } else { service_name } })
        }
        DiscoveryType::Static => match load_assignment {
            Some(message) => Ok(Discovery::Static(endpoints::embedded(&at.field("load_assignment"), message)?)),
            None => Ok(Discovery::Static(Vec::new())),
        },
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            // Another resolver may know other addresses for the name.
            refused!(at; dns_resolvers, dns_resolution_config);
            let at_assignment = &at.field("load_assignment");
            let message = load_assignment.ok_or_else(|| at_assignment.missing())?;
            let endpoints = dns_endpoints(at_assignment, message)?;
            if kind == DiscoveryType::LogicalDns {
                if endpoints.len() != 1 {
                    return Err(at_assignment.error("a LOGICAL_DNS cluster has exactly one endpoint"));
                }
                at.ignore("type");
            }
            Ok(Discovery::StrictDns { endpoints })
        }
        DiscoveryType::OriginalDst => {
            ignored!(at; load_assignment);
            Ok(Discovery::OriginalDestination)
        }
    }
}

/// The newer spelling of the DNS types.
fn custom_type(at: &At<'_>, message_: cluster::cluster::CustomClusterType) -> Checked<cluster::cluster::DiscoveryType> {
    use cluster::cluster::DiscoveryType;
    let cluster::cluster::CustomClusterType { name: _, typed_config } = message_;
    let at = &at.field("typed_config");
    let any = typed_config.ok_or_else(|| at.missing())?;
    if !holds::<dns_cluster::DnsCluster>(&any) {
        return Err(unknown(at, &any));
    }
    let dns_cluster::DnsCluster {
        dns_refresh_rate,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_jitter,
        typed_dns_resolver_config,
        dns_lookup_family,
        all_addresses_in_single_endpoint,
        dns_min_refresh_rate,
    } = message(at, &any.value)?;
    ignored!(at;
        dns_refresh_rate, dns_failure_refresh_rate, respect_dns_ttl, dns_jitter, typed_dns_resolver_config,
        dns_lookup_family, dns_min_refresh_rate
    );
    Ok(if all_addresses_in_single_endpoint { DiscoveryType::LogicalDns } else { DiscoveryType::StrictDns })
}

/// Names and ports. What else an endpoint has (weight, locality, health) is lost when a name becomes addresses.
fn dns_endpoints(at: &At<'_>, message: endpoint::ClusterLoadAssignment) -> Checked<Vec<DnsEndpoint>> {
    let localities = endpoints::without_policy(at, message)?;
    let mut names = Vec::new();
    for (i, locality) in localities.into_iter().enumerate() {
        let at = &at.item("endpoints", i);
        let (locality, lb_endpoints) = endpoints::locality_parts(at, locality)?;
        if locality.locality != Default::default() {
            at.ignore("locality");
        }
        if locality.priority != 0 {
            return Err(at.field("priority").error("priorities of names are not supported yet"));
        }
        if locality.weight.is_some_and(|w| w != NonZeroU32::MIN) {
            at.ignore("load_balancing_weight");
        }
        for (j, lb_endpoint) in lb_endpoints.into_iter().enumerate() {
            let at = &at.item("lb_endpoints", j);
            let parts = endpoints::endpoint_parts(at, lb_endpoint)?;
            if parts.weight.is_some_and(|w| w != NonZeroU32::MIN) {
                at.ignore("load_balancing_weight");
            }
            if parts.health != Default::default() {
                at.ignore("health_status");
            }
            if parts.workload.is_some() {
                at.ignore("metadata");
            }
            let at = &at.field("endpoint");
            if !parts.hostname.is_empty() {
                at.ignore("hostname");
            }
            let (host, port) = host_and_port(at, parts.address)?;
            port_not_zero(at, port)?;
            if host.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"-._:".contains(&b))) {
                let (at, host) = (at.field("address"), host);
                return Err(at
                    .field("socket_address")
                    .error(format_args!("{host:?} is neither a name nor an address")));
            }
            names.push(DnsEndpoint { host: host.into(), port });
        }
    }
    Ok(names)
}
