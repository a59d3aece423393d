//! The rate limit that a service keeps: protobuf to filter and override, and back.
#![expect(deprecated, reason = "the old version of the API is named in order to refuse it")]

use std::sync::Arc;
use std::time::Duration;

use super::local_rate_limit::{STATUS_DEFAULT, encode_status, status};
use super::{RateLimitPerRoute, RateLimitService, RequestType, VirtualHostLimits, actions};
use crate::proto::core::{self, grpc_service};
use crate::proto::ratelimit::{
    self, rate_limit::XRateLimitHeadersRfcVersion, rate_limit_per_route::VhRateLimitsOptions,
};
use crate::proto::ratelimit_config::RateLimitServiceConfig;
use crate::resource::header::{encode_list, list};
use crate::resource::matcher::Fraction;
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{
    encode_duration, encode_fraction, label, name, optional_duration, runtime_fraction, unless_zero,
};

/// How long the service may take when the filter does not say; Envoy's default.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(20);
/// The answer when the service fails and requests are refused then; Envoy's default.
const STATUS_ON_ERROR_DEFAULT: u16 = 500;

pub(super) fn decode(at: &At<'_>, message: ratelimit::RateLimit) -> Checked<RateLimitService> {
    let ratelimit::RateLimit {
        domain,
        stage,
        request_type,
        timeout,
        failure_mode_deny,
        rate_limited_as_resource_exhausted,
        rate_limit_service,
        enable_x_ratelimit_headers,
        disable_x_envoy_ratelimited_header,
        rate_limited_status,
        response_headers_to_add,
        status_on_error,
        stat_prefix,
        filter_enabled,
        filter_enforced,
        failure_mode_deny_percent,
        rate_limits,
        metadata_namespace,
        enable_retry_after_header,
    } = message;
    refused!(at; failure_mode_deny_percent);
    // The namespace is for what a service says to other filters, and none of ours listens.
    ignored!(at; stat_prefix, metadata_namespace);
    let share = |field: &str, value| match value {
        Some(fraction) => runtime_fraction(&at.field(field), fraction),
        None => Ok(Fraction::ALL),
    };
    Ok(RateLimitService {
        domain: name(at, "domain", domain)?,
        stage: actions::stage(at, stage)?,
        request_type: match request_type.as_str() {
            "" | "both" => RequestType::Both,
            "internal" => RequestType::Internal,
            "external" => RequestType::External,
            other => return Err(at.field("request_type").error(format_args!("{other:?} is not known"))),
        },
        timeout: optional_duration(at, "timeout", timeout)?.unwrap_or(TIMEOUT_DEFAULT),
        failure_mode_deny,
        resource_exhausted: rate_limited_as_resource_exhausted,
        cluster: service(&at.field("rate_limit_service"), rate_limit_service)?,
        ratelimit_headers: match XRateLimitHeadersRfcVersion::try_from(enable_x_ratelimit_headers) {
            Ok(XRateLimitHeadersRfcVersion::Off) => false,
            Ok(XRateLimitHeadersRfcVersion::DraftVersion03) => true,
            Err(_) => return Err(at.field("enable_x_ratelimit_headers").error("is not known")),
        },
        without_ratelimited_header: disable_x_envoy_ratelimited_header,
        status: status(at, "rate_limited_status", rate_limited_status, STATUS_DEFAULT)?,
        response_headers: list(at, "response_headers_to_add", response_headers_to_add)?,
        status_on_error: status(at, "status_on_error", status_on_error, STATUS_ON_ERROR_DEFAULT)?,
        retry_after: enable_retry_after_header,
        enabled: share("filter_enabled", filter_enabled)?,
        enforced: share("filter_enforced", filter_enforced)?,
        rate_limits: actions::decode(at, rate_limits)?,
    })
}

/// The cluster in which the service is.
fn service(at: &At<'_>, message: Option<RateLimitServiceConfig>) -> Checked<Arc<str>> {
    let RateLimitServiceConfig { grpc_service, transport_api_version } = message.ok_or_else(|| at.missing())?;
    if transport_api_version == core::ApiVersion::V2 as i32 {
        return Err(at.field("transport_api_version").error("version 2 is not spoken any more"));
    }
    let at = &at.field("grpc_service");
    let core::GrpcService { timeout, initial_metadata, retry_policy, target_specifier } =
        grpc_service.ok_or_else(|| at.missing())?;
    refused!(at; initial_metadata, retry_policy);
    // The filter's own counts.
    let timeout = unless_zero(timeout);
    ignored!(at; timeout);
    match target_specifier.ok_or_else(|| at.error("names no service"))? {
        grpc_service::TargetSpecifier::EnvoyGrpc(message) => {
            let at = &at.field("envoy_grpc");
            let grpc_service::EnvoyGrpc {
                cluster_name,
                authority,
                retry_policy,
                max_receive_message_length,
                skip_envoy_headers,
            } = message;
            refused!(at; retry_policy);
            ignored!(at; authority, max_receive_message_length, skip_envoy_headers);
            name(at, "cluster_name", cluster_name)
        }
        grpc_service::TargetSpecifier::GoogleGrpc(_) => Err(at.field("google_grpc").unsupported()),
    }
}

/// What a route says.
pub(super) fn decode_override(at: &At<'_>, message: ratelimit::RateLimitPerRoute) -> Checked<RateLimitPerRoute> {
    let ratelimit::RateLimitPerRoute { vh_rate_limits, override_option, rate_limits, domain } = message;
    // Envoy has not made it do anything either.
    ignored!(at; override_option);
    Ok(RateLimitPerRoute {
        virtual_host_limits: match VhRateLimitsOptions::try_from(vh_rate_limits) {
            Ok(VhRateLimitsOptions::Override) => VirtualHostLimits::Override,
            Ok(VhRateLimitsOptions::Include) => VirtualHostLimits::Include,
            Ok(VhRateLimitsOptions::Ignore) => VirtualHostLimits::Ignore,
            Err(_) => return Err(at.field("vh_rate_limits").error("is not known")),
        },
        rate_limits: actions::decode(at, rate_limits)?,
        domain: Some(domain).filter(|d| !d.is_empty()).map(|d| label(at, "domain", d)).transpose()?,
    })
}

pub(super) fn encode(value: &RateLimitService) -> ratelimit::RateLimit {
    let request_type = match value.request_type {
        RequestType::Both => "",
        RequestType::Internal => "internal",
        RequestType::External => "external",
    };
    let headers = if value.ratelimit_headers {
        XRateLimitHeadersRfcVersion::DraftVersion03
    } else {
        XRateLimitHeadersRfcVersion::Off
    };
    let target = grpc_service::EnvoyGrpc { cluster_name: value.cluster.to_string(), ..Default::default() };
    let service = core::GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    };
    let share = |fraction: Fraction| (fraction != Fraction::ALL).then(|| encode_fraction(fraction));
    ratelimit::RateLimit {
        domain: value.domain.to_string(),
        stage: value.stage,
        request_type: request_type.to_owned(),
        timeout: Some(encode_duration(value.timeout)),
        failure_mode_deny: value.failure_mode_deny,
        rate_limited_as_resource_exhausted: value.resource_exhausted,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(service),
            transport_api_version: core::ApiVersion::V3.into(),
        }),
        enable_x_ratelimit_headers: headers.into(),
        disable_x_envoy_ratelimited_header: value.without_ratelimited_header,
        rate_limited_status: encode_status(value.status, STATUS_DEFAULT),
        response_headers_to_add: encode_list(&value.response_headers),
        status_on_error: encode_status(value.status_on_error, STATUS_ON_ERROR_DEFAULT),
        filter_enabled: share(value.enabled),
        filter_enforced: share(value.enforced),
        rate_limits: actions::encode(&value.rate_limits),
        enable_retry_after_header: value.retry_after,
        ..Default::default()
    }
}

pub(super) fn encode_override(value: &RateLimitPerRoute) -> ratelimit::RateLimitPerRoute {
    let virtual_host = match value.virtual_host_limits {
        VirtualHostLimits::Override => VhRateLimitsOptions::Override,
        VirtualHostLimits::Include => VhRateLimitsOptions::Include,
        VirtualHostLimits::Ignore => VhRateLimitsOptions::Ignore,
    };
    ratelimit::RateLimitPerRoute {
        vh_rate_limits: virtual_host.into(),
        rate_limits: actions::encode(&value.rate_limits),
        domain: value.domain.as_deref().unwrap_or_default().to_owned(),
        ..Default::default()
    }
}
