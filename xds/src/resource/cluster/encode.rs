//! Cluster to protobuf.

use super::{Cluster, Discovery, DnsEndpoint, LoadBalancing, UpstreamProtocol, outlier, protocol};
use crate::proto::upstream_http::{self, http_protocol_options};
use crate::proto::{cluster, core, endpoint, least_request, random, round_robin};
use crate::resource::endpoint::encode::assignment;
use crate::resource::extension::pack;
use crate::resource::scalar::{encode_address, encode_ads, encode_duration, encode_u32};

pub(in crate::resource) fn encode(value: &Cluster) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy};
    let mut message = cluster::Cluster {
        name: value.name.to_string(),
        connect_timeout: Some(encode_duration(value.connect_timeout)),
        circuit_breakers: Some(circuit_breakers(value)),
        typed_extension_protocol_options: [(protocol::HTTP_OPTIONS.to_owned(), pack(&http_options(value)))].into(),
        outlier_detection: value.outlier_detection.as_ref().map(outlier::encode),
        ..Default::default()
    };
    load_balancing(&mut message, &value.load_balancing);
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
            DiscoveryType::OriginalDst
        }
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    message
}

/// What every client has is written the old way. The others stand in a list of which a client takes the first that it
/// has: gRPC's C core knows neither least request nor random and refuses a cluster whose `lb_policy` names one.
fn load_balancing(message: &mut cluster::Cluster, value: &LoadBalancing) {
    use cluster::cluster::LbPolicy;
    message.lb_policy = LbPolicy::RoundRobin.into();
    let preferred = match value {
        LoadBalancing::RoundRobin => return,
        LoadBalancing::Random => policy("envoy.load_balancing_policies.random", &random::Random::default()),
        LoadBalancing::LeastRequest { choices } => {
            // Envoy takes no less than two.
            let choice_count = Some(encode_u32(choices.get().max(2)));
            let least_request = least_request::LeastRequest { choice_count, ..Default::default() };
            policy("envoy.load_balancing_policies.least_request", &least_request)
        }
    };
    let last = policy("envoy.load_balancing_policies.round_robin", &round_robin::RoundRobin::default());
    message.load_balancing_policy = Some(cluster::LoadBalancingPolicy { policies: vec![preferred, last] });
}

fn policy<M: prost::Message + prost::Name>(name: &str, config: &M) -> cluster::load_balancing_policy::Policy {
    let typed_extension_config = core::TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(config)) };
    cluster::load_balancing_policy::Policy { typed_extension_config: Some(typed_extension_config) }
}

fn circuit_breakers(value: &Cluster) -> cluster::CircuitBreakers {
    let limits = &value.circuit_breakers;
    let thresholds = cluster::circuit_breakers::Thresholds {
        priority: core::RoutingPriority::Default.into(),
        max_connections: Some(encode_u32(limits.max_connections)),
        max_pending_requests: Some(encode_u32(limits.max_pending_requests)),
        max_requests: Some(encode_u32(limits.max_requests)),
        max_retries: Some(encode_u32(limits.max_retries)),
        ..Default::default()
    };
    cluster::CircuitBreakers { thresholds: vec![thresholds], per_host_thresholds: Vec::new() }
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
