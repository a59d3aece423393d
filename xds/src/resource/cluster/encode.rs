//! Cluster to protobuf.

use super::{
    Cluster, Discovery, DnsEndpoint, HashFunction, LoadBalancing, PANIC_THRESHOLD_PERCENT_DEFAULT, UpstreamProtocol,
};
use super::{circuit_breaker, health_check, ours, outlier, protocol};
use crate::proto::cluster::cluster::ring_hash_lb_config::HashFunction as OldFunction;
use crate::proto::lb_common::locality_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
use crate::proto::ring_hash::ring_hash::HashFunction as NewFunction;
use crate::proto::upstream_http::{self, http_protocol_options};
use crate::proto::{
    UInt64Value, cluster, core, endpoint, lb_common, least_request, maglev, random, ring_hash, round_robin,
};
use crate::resource::endpoint::encode::assignment;
use crate::resource::extension::pack;
use crate::resource::scalar::{encode_address, encode_ads, encode_duration, encode_percentage, encode_u32};
use crate::resource::tls;

pub(in crate::resource) fn encode(value: &Cluster) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy};
    let mut message = cluster::Cluster {
        name: value.name.to_string(),
        connect_timeout: Some(encode_duration(value.connect_timeout)),
        circuit_breakers: Some(circuit_breaker::encode(value)),
        health_checks: value.health_checks.iter().map(health_check::encode).collect(),
        metadata: ours::encode(value),
        transport_socket: value.tls.as_ref().map(tls::encode::upstream),
        typed_extension_protocol_options: [(protocol::HTTP_OPTIONS.to_owned(), pack(&http_options(value)))].into(),
        outlier_detection: value.outlier_detection.as_ref().map(outlier::encode),
        ..Default::default()
    };
    load_balancing(&mut message, value);
    let kind = match &value.discovery {
        Discovery::Eds { service_name } => {
            message.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(encode_ads()),
                service_name: if *service_name == value.name { String::new() } else { service_name.to_string() },
            });
            DiscoveryType::Eds
        }
        Discovery::Static(localities) => {
            message.load_assignment = Some(assignment(&value.name, localities));
            DiscoveryType::Static
        }
        Discovery::StrictDns { endpoints } => {
            message.load_assignment = Some(dns_assignment(&value.name, endpoints));
            message.dns_lookup_family = DnsLookupFamily::All.into();
            DiscoveryType::StrictDns
        }
        Discovery::OriginalDestination => {
            message.lb_policy = LbPolicy::ClusterProvided.into();
            // There is nothing to choose, whatever the value says, and Envoy refuses a choice.
            (message.lb_config, message.load_balancing_policy) = (None, None);
            DiscoveryType::OriginalDst
        }
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    message
}

/// What every client has is written the old way. The others stand in a list of which a client takes the first that it
/// has: gRPC's C core knows neither least request nor random nor a table, and refuses a cluster whose `lb_policy` names
/// one. A ring it knows by both ways.
fn load_balancing(message: &mut cluster::Cluster, value: &Cluster) {
    use cluster::cluster::{LbConfig, LbPolicy, RingHashLbConfig, RoundRobinLbConfig};
    message.common_lb_config = common(value, false);
    message.lb_policy = LbPolicy::RoundRobin.into();
    let weighted = value.locality_weighted;
    let preferred = match &value.load_balancing {
        LoadBalancing::RoundRobin { slow_start } => {
            message.common_lb_config = common(value, weighted);
            message.lb_config = slow_start.as_ref().map(|slow_start| {
                let slow_start_config = Some(cluster::cluster::SlowStartConfig {
                    slow_start_window: Some(encode_duration(slow_start.window)),
                    aggression: Some(number(slow_start.aggression)),
                    min_weight_percent: Some(encode_percentage(slow_start.min_weight_percent)),
                });
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config })
            });
            return;
        }
        LoadBalancing::Random => {
            let random = random::Random { locality_lb_config: locality(weighted) };
            policy("envoy.load_balancing_policies.random", &random)
        }
        LoadBalancing::LeastRequest { choices, active_request_bias, slow_start } => {
            let least_request = least_request::LeastRequest {
                // Envoy takes no less than two.
                choice_count: Some(encode_u32(choices.get().max(2))),
                active_request_bias: differs(*active_request_bias, 1.0).then(|| number(*active_request_bias)),
                slow_start_config: slow_start.as_ref().map(|slow_start| lb_common::SlowStartConfig {
                    slow_start_window: Some(encode_duration(slow_start.window)),
                    aggression: Some(number(slow_start.aggression)),
                    min_weight_percent: Some(encode_percentage(slow_start.min_weight_percent)),
                }),
                locality_lb_config: locality(weighted),
                ..Default::default()
            };
            policy("envoy.load_balancing_policies.least_request", &least_request)
        }
        LoadBalancing::RingHash { min_size, max_size, function } => {
            let size = |value: u64| Some(UInt64Value { value });
            let (old, new) = match function {
                HashFunction::XxHash => (OldFunction::XxHash, NewFunction::XxHash),
                HashFunction::Murmur2 => (OldFunction::MurmurHash2, NewFunction::MurmurHash2),
            };
            message.lb_policy = LbPolicy::RingHash.into();
            message.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: size(*min_size),
                hash_function: old.into(),
                maximum_ring_size: size(*max_size),
            }));
            let ring = ring_hash::RingHash {
                hash_function: new.into(),
                minimum_ring_size: size(*min_size),
                maximum_ring_size: size(*max_size),
                locality_weighted_lb_config: weighted.then_some(LocalityWeightedLbConfig {}),
                ..Default::default()
            };
            policy("envoy.load_balancing_policies.ring_hash", &ring)
        }
        LoadBalancing::Maglev { table_size } => {
            let table = maglev::Maglev {
                table_size: Some(UInt64Value { value: *table_size }),
                consistent_hashing_lb_config: None,
                locality_weighted_lb_config: weighted.then_some(LocalityWeightedLbConfig {}),
            };
            policy("envoy.load_balancing_policies.maglev", &table)
        }
    };
    let last = round_robin::RoundRobin { slow_start_config: None, locality_lb_config: locality(weighted) };
    let last = policy("envoy.load_balancing_policies.round_robin", &last);
    message.load_balancing_policy = Some(cluster::LoadBalancingPolicy { policies: vec![preferred, last] });
}

/// What holds for every policy; `None` when it says what is meant anyway. Envoy refuses weights of localities here beside a
/// list of policies, each of which has a place for them.
fn common(value: &Cluster, weighted: bool) -> Option<cluster::cluster::CommonLbConfig> {
    use cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    let panic = value.panic_threshold_percent;
    let config = cluster::cluster::CommonLbConfig {
        healthy_panic_threshold: (panic != PANIC_THRESHOLD_PERCENT_DEFAULT)
            .then(|| encode_percentage(f64::from(panic))),
        locality_config_specifier: weighted
            .then_some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})),
        ..Default::default()
    };
    (config != Default::default()).then_some(config)
}

fn locality(weighted: bool) -> Option<lb_common::LocalityLbConfig> {
    let specifier = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
    weighted.then_some(lb_common::LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

fn number(value: f64) -> core::RuntimeDouble {
    core::RuntimeDouble { default_value: value, runtime_key: String::new() }
}

/// Whether a number is not the very one that an absent field stands for.
fn differs(value: f64, default: f64) -> bool {
    value.to_bits() != default.to_bits()
}

fn policy<M: prost::Message + prost::Name>(name: &str, config: &M) -> cluster::load_balancing_policy::Policy {
    let typed_extension_config = core::TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(config)) };
    cluster::load_balancing_policy::Policy { typed_extension_config: Some(typed_extension_config) }
}

fn http_options(value: &Cluster) -> upstream_http::HttpProtocolOptions {
    use http_protocol_options::explicit_http_config::ProtocolConfig;
    use http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
    let explicit = |protocol: ProtocolConfig| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(protocol) })
    };
    let protocol = match value.protocol {
        UpstreamProtocol::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        UpstreamProtocol::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(Default::default())),
        UpstreamProtocol::SameAsDownstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Default::default()),
                http2_protocol_options: Some(Default::default()),
                http3_protocol_options: None,
            })
        }
    };
    let common = core::HttpProtocolOptions {
        idle_timeout: value.idle_timeout.map(encode_duration),
        max_requests_per_connection: value.max_requests_per_connection.map(|n| encode_u32(n.get())),
        ..Default::default()
    };
    upstream_http::HttpProtocolOptions {
        common_http_protocol_options: (common != Default::default()).then_some(common),
        upstream_protocol_options: Some(protocol),
        ..Default::default()
    }
}

fn dns_assignment(name: &str, endpoints: &[DnsEndpoint]) -> endpoint::ClusterLoadAssignment {
    let endpoint = |value: &DnsEndpoint| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(encode_address(&value.host, value.port)),
            ..Default::default()
        })),
        ..Default::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: endpoints.iter().map(endpoint).collect(),
            load_balancing_weight: Some(encode_u32(1)),
            ..Default::default()
        }],
        ..Default::default()
    }
}
