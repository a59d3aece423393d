//! Clusters, endpoint assignments and secrets that are refused, each with the path of the guilty field.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{arc, assert_refused, decode, sample};
use crate::name::ResourceType;
use crate::proto::{self, Any, UInt32Value, cluster, core, dns_cluster, endpoint, least_request, tls, upstream_http};
use crate::resource::cluster::{
    Cluster, Discovery, DnsEndpoint, LoadBalancing, OutlierDetection, SuccessRate, Thresholds, UpstreamProtocol,
};
use crate::resource::endpoint::{ClusterLoadAssignment, Health};
use crate::resource::extension::pack;
use crate::resource::{Resource, cluster::encode, endpoint::encode as endpoints, secret::encode as secrets};

/// The sample as a message, changed.
fn changed(change: impl FnOnce(&mut cluster::Cluster)) -> cluster::Cluster {
    let mut message = encode::encode(&sample::cluster());
    change(&mut message);
    message
}

#[track_caller]
fn refused(change: impl FnOnce(&mut cluster::Cluster), path: &str, reason: &str) {
    assert_refused(ResourceType::Cluster, &changed(change), path, reason);
}

#[track_caller]
fn accepted(change: impl FnOnce(&mut cluster::Cluster)) -> (Arc<Cluster>, Vec<String>) {
    let decoded = decode(ResourceType::Cluster, &changed(change)).unwrap_or_else(|e| panic!("{e}"));
    match decoded.resource {
        Resource::Cluster(cluster) => (cluster, decoded.ignored),
        other => panic!("a cluster comes back: {other:?}"),
    }
}

#[track_caller]
fn refused_endpoints(change: impl FnOnce(&mut endpoint::ClusterLoadAssignment), path: &str, reason: &str) {
    let mut message = endpoints::encode(&sample::endpoints());
    change(&mut message);
    assert_refused(ResourceType::Endpoint, &message, path, reason);
}

fn kind(kind: cluster::cluster::DiscoveryType) -> Option<cluster::cluster::ClusterDiscoveryType> {
    Some(cluster::cluster::ClusterDiscoveryType::Type(kind.into()))
}

fn socket(message: &mut endpoint::LbEndpoint) -> &mut core::SocketAddress {
    let Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &mut message.host_identifier else {
        panic!("the sample has endpoints")
    };
    let Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) }) = &mut endpoint.address
    else {
        panic!("the sample has socket addresses")
    };
    socket
}

const ADDRESS: &str = "endpoints[0].lb_endpoints[0].endpoint.address.socket_address";

#[test]
fn a_cluster_without_a_name() {
    refused(|m| m.name.clear(), "name", "is required");
}

#[test]
fn encryption_is_refused_rather_than_left_out() {
    let tls = core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&tls::UpstreamTlsContext::default()))),
    };
    refused(|m| m.transport_socket = Some(tls), "transport_socket.typed_config.common_tls_context", "is required");
    refused(|m| m.transport_socket_matches.push(Default::default()), "transport_socket_matches", "not supported yet");
}

#[test]
fn plaintext_written_out_is_plaintext() {
    let raw = core::TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&proto::raw_buffer::RawBuffer {}))),
    };
    let (cluster, ignored) = accepted(|m| m.transport_socket = Some(raw));

    assert_eq!((cluster.as_ref(), ignored), (&sample::cluster(), Vec::new()));
}

#[test]
fn subsets() {
    refused(|m| m.lb_subset_config = Some(Default::default()), "lb_subset_config", "not supported yet");
}

#[test]
fn an_unknown_type_of_cluster() {
    use cluster::cluster::ClusterDiscoveryType;
    refused(|m| m.cluster_discovery_type = Some(ClusterDiscoveryType::Type(9)), "type", "9 is not known");
    let custom = |any: Any| {
        let custom = cluster::cluster::CustomClusterType { name: "c".into(), typed_config: Some(any) };
        |m: &mut cluster::Cluster| m.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(custom))
    };
    let aggregate = Any { type_url: "type.googleapis.com/a.Aggregate".into(), value: Vec::new() };
    refused(custom(aggregate), "cluster_type.typed_config", "a.Aggregate");
}

#[test]
fn endpoints_that_do_not_come_over_the_stream() {
    refused(|m| m.eds_cluster_config = None, "eds_cluster_config", "is required");
    refused(|m| m.eds_cluster_config = Some(Default::default()), "eds_cluster_config.eds_config", "is required");
    refused(
        |m| {
            let source = m.eds_cluster_config.as_mut().and_then(|c| c.eds_config.as_mut()).expect("the sample is EDS");
            source.config_source_specifier =
                Some(core::config_source::ConfigSourceSpecifier::PathConfigSource(Default::default()));
        },
        "eds_cluster_config.eds_config.path_config_source",
        "not supported yet",
    );
}

#[test]
fn a_connection_that_may_take_no_time() {
    refused(|m| m.connect_timeout = Some(Default::default()), "connect_timeout", "greater than zero");
}

#[test]
fn balancing_that_we_do_not_have() {
    use cluster::cluster::LbPolicy;
    let written = |policy: i32| {
        move |m: &mut cluster::Cluster| {
            m.load_balancing_policy = None;
            m.lb_policy = policy;
        }
    };
    refused(written(LbPolicy::ClusterProvided.into()), "lb_policy", "ORIGINAL_DST");
    refused(written(LbPolicy::LoadBalancingPolicyConfig.into()), "load_balancing_policy", "is required");
    refused(written(4), "lb_policy", "4 is not known");
}

#[test]
fn a_choice_among_one() {
    refused(
        |m| {
            let config = cluster::cluster::LeastRequestLbConfig {
                choice_count: Some(UInt32Value { value: 1 }),
                ..Default::default()
            };
            m.load_balancing_policy = None;
            m.lb_policy = cluster::cluster::LbPolicy::LeastRequest.into();
            m.lb_config = Some(cluster::cluster::LbConfig::LeastRequestLbConfig(config));
        },
        "least_request_lb_config.choice_count",
        "1 is below 2",
    );
}

fn policies(configs: Vec<Any>) -> Option<cluster::LoadBalancingPolicy> {
    let policy = |any: Any| cluster::load_balancing_policy::Policy {
        typed_extension_config: Some(core::TypedExtensionConfig { name: "p".into(), typed_config: Some(any) }),
    };
    Some(cluster::LoadBalancingPolicy { policies: configs.into_iter().map(policy).collect() })
}

#[test]
fn the_first_policy_that_we_have_is_taken() {
    let unknown = Any { type_url: "type.googleapis.com/a.RingHash".into(), value: Vec::new() };
    let config = least_request::LeastRequest { choice_count: Some(UInt32Value { value: 5 }), ..Default::default() };
    let (cluster, ignored) = accepted(|m| {
        m.load_balancing_policy =
            policies(vec![unknown.clone(), pack(&config), pack(&proto::random::Random::default())]);
    });

    assert_eq!(
        cluster.load_balancing,
        LoadBalancing::LeastRequest {
            choices: NonZeroU32::new(5).expect("5"),
            active_request_bias: 1.0,
            slow_start: None
        }
    );
    assert_eq!(ignored, ["load_balancing_policy.policies[0].typed_extension_config"]);
    refused(|m| m.load_balancing_policy = policies(vec![unknown]), "load_balancing_policy.policies", "a.RingHash");
}

#[test]
fn a_scan_of_all_endpoints() {
    let config = least_request::LeastRequest { selection_method: 1, ..Default::default() };
    refused(
        |m| m.load_balancing_policy = policies(vec![pack(&config)]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.selection_method",
        "not supported yet",
    );
}

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn http(change: impl FnOnce(&mut upstream_http::HttpProtocolOptions)) -> impl FnOnce(&mut cluster::Cluster) {
    |m| {
        use prost::Message;
        let any = m.typed_extension_protocol_options.get_mut(HTTP).expect("the sample has options");
        let mut options = upstream_http::HttpProtocolOptions::decode(&any.value[..]).expect("ours");
        change(&mut options);
        *any = pack(&options);
    }
}

#[test]
fn a_protocol_that_is_not_said_or_not_had() {
    use upstream_http::http_protocol_options::{AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions};
    let at = format!("typed_extension_protocol_options[{HTTP:?}]");
    refused(http(|m| m.upstream_protocol_options = None), &at, "names no protocol");
    let explicit = UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: None });
    refused(
        http(|m| m.upstream_protocol_options = Some(explicit)),
        &format!("{at}.explicit_http_config"),
        "names no protocol",
    );
    let auto = UpstreamProtocolOptions::AutoConfig(AutoHttpConfig::default());
    refused(http(|m| m.upstream_protocol_options = Some(auto)), &format!("{at}.auto_config"), "ALPN");
    refused(
        http(|m| m.http_filters.push(Default::default())),
        &format!("{at}.http_filters[0].typed_config"),
        "is required",
    );
}

#[test]
fn options_of_an_unknown_protocol() {
    let any = Any { type_url: "type.googleapis.com/a.B".into(), value: Vec::new() };
    refused(
        |m| drop(m.typed_extension_protocol_options.insert("a".into(), any)),
        "typed_extension_protocol_options[\"a\"]",
        "a.B",
    );
}

#[test]
fn the_old_way_to_ask_for_http2() {
    #[expect(deprecated, reason = "old control planes send it")]
    let (cluster, _) = accepted(|m| {
        m.typed_extension_protocol_options.clear();
        m.http2_protocol_options = Some(Default::default());
    });

    assert_eq!(cluster.protocol, UpstreamProtocol::Http2);
}

#[test]
fn a_bare_cluster_has_the_documented_defaults() {
    let message = cluster::Cluster { name: "a".into(), ..Default::default() };
    let Resource::Cluster(cluster) = decode(ResourceType::Cluster, &message).expect("valid").resource else {
        panic!("a cluster comes back")
    };

    assert_eq!(
        *cluster,
        Cluster {
            load_balancing: LoadBalancing::ROUND_ROBIN,
            connect_timeout: Duration::from_secs(5),
            protocol: UpstreamProtocol::Http1,
            tls: None,
            idle_timeout: None,
            max_requests_per_connection: None,
            circuit_breakers: Thresholds {
                max_connections: 1024,
                max_pending_requests: 1024,
                max_requests: 1024,
                max_retries: 3,
                ..Thresholds::default()
            },
            outlier_detection: None,
            ..Cluster::new(arc("a"), Discovery::Static(Vec::new()))
        }
    );
}

#[test]
fn an_empty_outlier_detection_has_the_documented_defaults() {
    let (cluster, _) = accepted(|m| m.outlier_detection = Some(Default::default()));

    let five = NonZeroU32::new(5);
    let expected = OutlierDetection {
        consecutive_5xx: five,
        consecutive_gateway_failure: None,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        max_ejection_percent: 10,
        // Rates are watched unless they are switched off.
        success_rate: Some(SuccessRate { min_hosts: 5, request_volume: 100, stdev_factor_thousandths: 1900 }),
        ..OutlierDetection::default()
    };
    assert_eq!(cluster.outlier_detection, Some(expected));
}

#[test]
fn outlier_detection_out_of_range() {
    let outlier = |change: fn(&mut cluster::OutlierDetection)| {
        move |m: &mut cluster::Cluster| change(m.outlier_detection.as_mut().expect("the sample has one"))
    };
    refused(
        outlier(|m| m.max_ejection_percent = Some(UInt32Value { value: 101 })),
        "outlier_detection.max_ejection_percent",
        "101 is above 100",
    );
    refused(
        outlier(|m| m.enforcing_consecutive_5xx = Some(UInt32Value { value: 101 })),
        "outlier_detection.enforcing_consecutive_5xx",
        "101 is above 100",
    );
    refused(outlier(|m| m.interval = Some(Default::default())), "outlier_detection.interval", "greater than zero");
    refused(
        outlier(|m| m.max_ejection_time = Some(proto::Duration { seconds: 1, nanos: 0 })),
        "outlier_detection.max_ejection_time",
        "shorter",
    );
}

#[test]
fn a_name_where_only_an_address_will_do() {
    let mut message = encode::encode(&sample::static_cluster());
    let assignment = message.load_assignment.as_mut().expect("a static cluster carries its endpoints");
    socket(&mut assignment.endpoints[0].lb_endpoints[0]).address = "example.org".into();

    assert_refused(
        ResourceType::Cluster,
        &message,
        &format!("load_assignment.{ADDRESS}.address"),
        "\"example.org\" is not an IP address",
    );
}

#[test]
fn a_name_that_is_none() {
    let mut message = encode::encode(&sample::dns_cluster());
    let assignment = message.load_assignment.as_mut().expect("a DNS cluster carries its names");
    socket(&mut assignment.endpoints[0].lb_endpoints[0]).address = "a b".into();

    assert_refused(
        ResourceType::Cluster,
        &message,
        &format!("load_assignment.{ADDRESS}"),
        "neither a name nor an address",
    );
}

#[test]
fn logical_dns_has_one_name_and_is_noted() {
    let mut message = encode::encode(&sample::dns_cluster());
    message.cluster_discovery_type = kind(cluster::cluster::DiscoveryType::LogicalDns);
    let decoded = decode(ResourceType::Cluster, &message).expect("valid");
    let Resource::Cluster(cluster) = decoded.resource else { panic!("a cluster comes back") };
    assert_eq!(decoded.ignored, ["type"]);
    let endpoints = vec![DnsEndpoint { host: arc("example.org"), port: 443 }];
    assert_eq!(cluster.discovery, Discovery::StrictDns { endpoints });

    let assignment = message.load_assignment.as_mut().expect("a DNS cluster carries its names");
    let second = assignment.endpoints[0].lb_endpoints[0].clone();
    assignment.endpoints[0].lb_endpoints.push(second);
    assert_refused(ResourceType::Cluster, &message, "load_assignment", "exactly one endpoint");
}

#[test]
fn the_newer_spelling_of_dns_clusters() {
    let mut message = encode::encode(&sample::dns_cluster());
    let custom = cluster::cluster::CustomClusterType {
        name: "envoy.cluster.dns".into(),
        typed_config: Some(pack(&dns_cluster::DnsCluster::default())),
    };
    message.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::ClusterType(custom));

    let decoded = decode(ResourceType::Cluster, &message).expect("valid");
    assert_eq!(decoded.resource, Resource::Cluster(Arc::new(sample::dns_cluster())));
}

#[test]
fn an_assignment_without_a_name() {
    refused_endpoints(|m| m.cluster_name.clear(), "cluster_name", "is required");
}

#[test]
fn an_endpoint_without_an_address() {
    refused_endpoints(
        |m| m.endpoints[0].lb_endpoints[0].host_identifier = None,
        "endpoints[0].lb_endpoints[0].endpoint",
        "is required",
    );
    refused_endpoints(
        |m| {
            let endpoint = endpoint::Endpoint::default();
            m.endpoints[0].lb_endpoints[0].host_identifier =
                Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint));
        },
        "endpoints[0].lb_endpoints[0].endpoint.address",
        "is required",
    );
}

#[test]
fn an_endpoint_with_a_wrong_port() {
    use core::socket_address::PortSpecifier;
    let port = |specifier: Option<PortSpecifier>| {
        |m: &mut endpoint::ClusterLoadAssignment| {
            socket(&mut m.endpoints[0].lb_endpoints[0]).port_specifier = specifier;
        }
    };
    let at = format!("{ADDRESS}.port_value");
    refused_endpoints(port(Some(PortSpecifier::PortValue(0))), &at, "0 is not a port");
    refused_endpoints(port(Some(PortSpecifier::PortValue(65_536))), &at, "65536 is not a port");
    refused_endpoints(port(None), &at, "is required");
    refused_endpoints(
        port(Some(PortSpecifier::NamedPort("http".into()))),
        &format!("{ADDRESS}.named_port"),
        "not supported yet",
    );
}

#[test]
fn an_endpoint_over_udp() {
    refused_endpoints(
        |m| socket(&mut m.endpoints[0].lb_endpoints[0]).protocol = 1,
        &format!("{ADDRESS}.protocol"),
        "not supported yet",
    );
}

#[test]
fn weights_of_zero_and_weights_that_overflow() {
    refused_endpoints(
        |m| m.endpoints[0].lb_endpoints[0].load_balancing_weight = Some(UInt32Value { value: 0 }),
        "endpoints[0].lb_endpoints[0].load_balancing_weight",
        "at least 1",
    );
    refused_endpoints(
        |m| {
            m.endpoints[0].lb_endpoints[0].load_balancing_weight = Some(UInt32Value { value: u32::MAX });
            let second = m.endpoints[0].lb_endpoints[0].clone();
            m.endpoints[0].lb_endpoints.push(second);
        },
        "endpoints[0].lb_endpoints",
        "2^32",
    );
    refused_endpoints(
        |m| {
            m.endpoints[0].load_balancing_weight = Some(UInt32Value { value: u32::MAX });
            let second = m.endpoints[0].clone();
            m.endpoints.push(second);
        },
        "endpoints[1].load_balancing_weight",
        "2^32",
    );
}

#[test]
fn a_priority_beyond_the_table() {
    refused_endpoints(|m| m.endpoints[0].priority = 129, "endpoints[0].priority", "129 is above 128");
}

#[test]
fn an_unknown_health() {
    refused_endpoints(
        |m| m.endpoints[0].lb_endpoints[0].health_status = 6,
        "endpoints[0].lb_endpoints[0].health_status",
        "6 is not known",
    );
}

#[test]
fn a_timed_out_endpoint_is_unhealthy() {
    let mut message = endpoints::encode(&sample::endpoints());
    message.endpoints[0].lb_endpoints[0].health_status = core::HealthStatus::Timeout.into();
    let decoded = decode(ResourceType::Endpoint, &message).expect("valid");
    let expected = |health: Health| -> ClusterLoadAssignment {
        let mut assignment = sample::endpoints();
        assignment.localities[0].endpoints[0].health = health;
        assignment
    };

    assert_eq!(decoded.resource, Resource::Endpoint(Arc::new(expected(Health::Unhealthy))));
}

#[track_caller]
fn refused_secret(secret: tls::Secret, path: &str, reason: &str) {
    let error = decode(ResourceType::Secret, &secret).expect_err("the secret should be refused");
    assert_eq!(error.path, path, "{error}");
    assert!(error.reason.contains(reason), "{error}");
    assert!(!error.to_string().contains("c2VjcmV0"), "an error shows a key");
}

fn certificate(change: impl FnOnce(&mut tls::TlsCertificate)) -> tls::Secret {
    let mut message = secrets::encode(&sample::certificate());
    let Some(tls::secret::Type::TlsCertificate(certificate)) = &mut message.r#type else { panic!("a certificate") };
    change(certificate);
    message
}

#[test]
fn a_certificate_without_its_halves() {
    refused_secret(certificate(|m| m.certificate_chain = None), "tls_certificate.certificate_chain", "is required");
    refused_secret(certificate(|m| m.private_key = None), "tls_certificate.private_key", "is required");
    refused_secret(
        certificate(|m| std::mem::swap(&mut m.certificate_chain, &mut m.private_key)),
        "tls_certificate.certificate_chain",
        "is not PEM",
    );
}

#[test]
fn a_certificate_that_lies_in_a_file() {
    let specifier = Some(core::data_source::Specifier::Filename("/key".into()));
    let file = core::DataSource { specifier, ..Default::default() };
    refused_secret(
        certificate(|m| m.private_key = Some(file)),
        "tls_certificate.private_key.filename",
        "write it inline",
    );
}

#[test]
fn a_secret_that_holds_nothing_or_something_else() {
    refused_secret(tls::Secret { name: "a".into(), r#type: None }, "(root)", "holds nothing");
    let generic = tls::secret::Type::GenericSecret(Default::default());
    refused_secret(tls::Secret { name: "a".into(), r#type: Some(generic) }, "generic_secret", "not supported yet");
    refused_secret(tls::Secret { name: String::new(), ..certificate(|_| ()) }, "name", "is required");
}

#[test]
fn a_rule_about_whom_to_trust_is_never_left_out() {
    let mut message = secrets::encode(&sample::roots());
    let Some(tls::secret::Type::ValidationContext(context)) = &mut message.r#type else { panic!("roots") };
    context.match_typed_subject_alt_names.push(Default::default());

    refused_secret(message, "validation_context.match_typed_subject_alt_names", "not supported yet");
}
