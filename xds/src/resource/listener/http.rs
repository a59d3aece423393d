//! Protobuf to HTTP connection manager.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;
use std::time::Duration;

use super::{Codec, HttpConnectionManager, RouteSource, ServerHeader};
use crate::proto::hcm::{self, http_connection_manager as parts};
use crate::proto::{core, grpc_stats, router};
use crate::resource::cluster::protocol;
use crate::resource::extension::{holds, message, unknown};
use crate::resource::filter::{self, HttpFilter};
use crate::resource::header::header_value;
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::route::action::add_upgrade;
use crate::resource::route::{self, Upgrade};
use crate::resource::scalar::{if_true, label, limit, name, over_ads};

/// Time without a byte on a stream when the manager does not say; Envoy's default.
const STREAM_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Time without a request on a connection when the manager does not say; Envoy's default.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// What `server` says when the manager does not; Envoy's default.
const SERVER_NAME_DEFAULT: &str = "envoy";

pub(super) fn decode(at: &At<'_>, message: hcm::HttpConnectionManager) -> Checked<HttpConnectionManager> {
    let hcm::HttpConnectionManager {
        codec_type,
        stat_prefix,
        http_filters,
        add_user_agent,
        tracing,
        common_http_protocol_options,
        http1_safe_max_connection_duration,
        http_protocol_options,
        http2_protocol_options,
        http3_protocol_options,
        server_name,
        server_header_transformation,
        scheme_header_transformation,
        max_request_headers_kb,
        stream_idle_timeout,
        stream_flush_timeout,
        request_timeout,
        request_headers_timeout,
        drain_timeout,
        drain_timeout_jitter,
        delayed_close_timeout,
        access_log,
        access_log_flush_interval,
        flush_access_log_on_new_request,
        access_log_options,
        use_remote_address,
        xff_num_trusted_hops,
        original_ip_detection_extensions,
        early_header_mutation_extensions,
        internal_address_config,
        skip_xff_append,
        via,
        generate_request_id,
        preserve_external_request_id,
        always_set_request_id_in_response,
        forward_client_cert_details,
        set_current_client_cert_details,
        forward_client_cert_matcher,
        proxy_100_continue,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        upgrade_configs,
        normalize_path,
        merge_slashes: _, // Always done.
        path_with_escaped_slashes_action,
        request_id_extension,
        local_reply_config,
        strip_matching_host_port,
        stream_error_on_invalid_http_message,
        path_normalization_options,
        strip_trailing_host_dot,
        proxy_status_config,
        typed_header_validation_config,
        append_x_forwarded_port,
        append_local_overload,
        add_proxy_protocol_connection_state,
        forward_proto_config,
        route_specifier,
        strip_port_mode,
    } = message;
    let add_user_agent = if_true(add_user_agent);
    let strip_port_mode = strip_port_mode.filter(|parts::StripPortMode::StripAnyHostPort(strip)| *strip);
    refused!(at;
        add_user_agent, scheme_header_transformation, original_ip_detection_extensions,
        early_header_mutation_extensions, skip_xff_append, via, always_set_request_id_in_response,
        forward_client_cert_matcher, local_reply_config, strip_matching_host_port, path_normalization_options,
        strip_trailing_host_dot, append_x_forwarded_port, forward_proto_config, strip_port_mode
    );
    ignored!(at;
        tracing, http1_safe_max_connection_duration, http3_protocol_options, max_request_headers_kb,
        stream_flush_timeout, drain_timeout, drain_timeout_jitter, delayed_close_timeout, access_log,
        access_log_flush_interval, flush_access_log_on_new_request, access_log_options, internal_address_config,
        preserve_external_request_id, set_current_client_cert_details, proxy_100_continue,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6, request_id_extension,
        stream_error_on_invalid_http_message, proxy_status_config, typed_header_validation_config,
        append_local_overload, add_proxy_protocol_connection_state
    );
    path_handling(at, normalize_path, path_with_escaped_slashes_action)?;
    client_certificates(at, forward_client_cert_details)?;
    protocol::http1(&at.field("http_protocol_options"), http_protocol_options.unwrap_or_default());
    protocol::http2(&at.field("http2_protocol_options"), http2_protocol_options.unwrap_or_default());
    Ok(HttpConnectionManager {
        stat_prefix: label(at, "stat_prefix", stat_prefix)?,
        codec: codec(at, codec_type)?,
        routes: route_source(at, route_specifier)?,
        http_filters: filters(at, http_filters)?,
        upgrades: upgrades(at, upgrade_configs)?,
        stream_idle_timeout: limit(at, "stream_idle_timeout", stream_idle_timeout, Some(STREAM_IDLE_TIMEOUT_DEFAULT))?,
        idle_timeout: idle_timeout(at, common_http_protocol_options)?,
        request_headers_timeout: limit(at, "request_headers_timeout", request_headers_timeout, None)?,
        request_timeout: limit(at, "request_timeout", request_timeout, None)?,
        use_remote_address: use_remote_address.is_some_and(|flag| flag.value),
        xff_num_trusted_hops,
        generate_request_id: generate_request_id.is_none_or(|flag| flag.value),
        server_header: server_header(at, server_header_transformation, server_name)?,
    })
}

/// How long a connection may stand without a request; nothing else of the common options acts on this side.
fn idle_timeout(at: &At<'_>, options: Option<core::HttpProtocolOptions>) -> Checked<Option<Duration>> {
    let (idle_timeout, max_requests) = protocol::common(at, options)?;
    if max_requests.is_some() {
        at.field("common_http_protocol_options").ignore("max_requests_per_connection");
    }
    Ok(idle_timeout.map_or(Some(IDLE_TIMEOUT_DEFAULT), |d| Some(d).filter(|d| !d.is_zero())))
}

/// Paths are always normalised and escaped slashes always refused: one form for matching, logging and forwarding.
/// A wish for something laxer is noted.
fn path_handling(at: &At<'_>, normalize: Option<crate::proto::BoolValue>, escaped_slashes: i32) -> Checked<()> {
    use parts::PathWithEscapedSlashesAction as Action;
    if normalize.is_some_and(|flag| !flag.value) {
        at.ignore("normalize_path");
    }
    match Action::try_from(escaped_slashes) {
        Ok(Action::ImplementationSpecificDefault | Action::RejectRequest) => {}
        Ok(Action::KeepUnchanged | Action::UnescapeAndRedirect | Action::UnescapeAndForward) => {
            at.ignore("path_with_escaped_slashes_action");
        }
        Err(_) => {
            let at = at.field("path_with_escaped_slashes_action");
            return Err(at.error(format_args!("{escaped_slashes} is not known")));
        }
    }
    Ok(())
}

/// On a connection without a client certificate all of these remove the header, as Envoy does, except the last one,
/// which would believe anybody.
fn client_certificates(at: &At<'_>, details: i32) -> Checked<()> {
    use parts::ForwardClientCertDetails as Details;
    match Details::try_from(details) {
        Ok(Details::Sanitize) => Ok(()),
        Ok(Details::ForwardOnly | Details::AppendForward | Details::SanitizeSet) => {
            at.ignore("forward_client_cert_details");
            Ok(())
        }
        Ok(Details::AlwaysForwardOnly) => Err(at.field("forward_client_cert_details").unsupported()),
        Err(_) => Err(at.field("forward_client_cert_details").error(format_args!("{details} is not known"))),
    }
}

fn codec(at: &At<'_>, codec: i32) -> Checked<Codec> {
    match parts::CodecType::try_from(codec) {
        Ok(parts::CodecType::Auto) => Ok(Codec::Auto),
        Ok(parts::CodecType::Http1) => Ok(Codec::Http1),
        Ok(parts::CodecType::Http2) => Ok(Codec::Http2),
        Ok(parts::CodecType::Http3) => Err(at.field("codec_type").error("HTTP3 is not supported yet")),
        Err(_) => Err(at.field("codec_type").error(format_args!("{codec} is not known"))),
    }
}

fn server_header(at: &At<'_>, transformation: i32, server_name: String) -> Checked<ServerHeader> {
    use parts::ServerHeaderTransformation as Transformation;
    header_value(&at.field("server_name"), &server_name)?;
    let server: Arc<str> = if server_name.is_empty() { SERVER_NAME_DEFAULT.into() } else { server_name.into() };
    match Transformation::try_from(transformation) {
        Ok(Transformation::Overwrite) => Ok(ServerHeader::Overwrite(server)),
        Ok(Transformation::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent(server)),
        Ok(Transformation::PassThrough) => Ok(ServerHeader::PassThrough),
        Err(_) => Err(at.field("server_header_transformation").error(format_args!("{transformation} is not known"))),
    }
}

fn route_source(at: &At<'_>, specifier: Option<parts::RouteSpecifier>) -> Checked<RouteSource> {
    match specifier.ok_or_else(|| at.error("has no routes"))? {
        parts::RouteSpecifier::Rds(hcm::Rds { config_source, route_config_name }) => {
            let at = &at.field("rds");
            over_ads(at, "config_source", config_source)?;
            Ok(RouteSource::Rds(name(at, "route_config_name", route_config_name)?))
        }
        parts::RouteSpecifier::RouteConfig(message) => {
            Ok(RouteSource::Inline(Arc::new(route::decode::inline(&at.field("route_config"), message)?)))
        }
        parts::RouteSpecifier::ScopedRoutes(_) => Err(at.field("scoped_routes").unsupported()),
    }
}

fn upgrades(at: &At<'_>, configs: Vec<parts::UpgradeConfig>) -> Checked<Vec<Upgrade>> {
    let mut upgrades = Vec::with_capacity(configs.len());
    for (i, config) in configs.into_iter().enumerate() {
        let at = &at.item("upgrade_configs", i);
        let parts::UpgradeConfig { upgrade_type, filters, enabled } = config;
        refused!(at; filters);
        add_upgrade(at, &mut upgrades, &upgrade_type, enabled.is_none_or(|flag| flag.value))?;
    }
    Ok(upgrades)
}

/// What one entry of the filter list turned out to be.
enum Entry {
    Filter(HttpFilter),
    Router,
    Skipped,
}

fn filters(at: &At<'_>, messages: Vec<hcm::HttpFilter>) -> Checked<Vec<HttpFilter>> {
    let mut filters = Vec::with_capacity(messages.len());
    let mut router = None;
    for (i, message) in messages.into_iter().enumerate() {
        let at = &at.item("http_filters", i);
        if let Some(first) = router {
            return Err(at.error(format_args!("comes after the router, http_filters[{first}], which must be last")));
        }
        match entry(at, message)? {
            Entry::Filter(filter) if filters.iter().any(|known: &HttpFilter| known.name == filter.name) => {
                // Routes override a filter by its name.
                return Err(at.field("name").error(format_args!("{:?} is in the list twice", filter.name)));
            }
            Entry::Filter(filter) => filters.push(filter),
            Entry::Router => router = Some(i),
            Entry::Skipped => at.ignore_here(),
        }
    }
    match router {
        Some(_) => Ok(filters),
        None => Err(at.field("http_filters").error("must end in envoy.filters.http.router")),
    }
}

fn entry(at: &At<'_>, message_: hcm::HttpFilter) -> Checked<Entry> {
    use hcm::http_filter::ConfigType;
    let hcm::HttpFilter { name: filter_name, is_optional, disabled, config_type } = message_;
    let any = match config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) => return Err(at.field("config_discovery").unsupported()),
        None if is_optional => return Ok(Entry::Skipped),
        None => return Err(at.field("typed_config").missing()),
    };
    let at_config = &at.field("typed_config");
    if holds::<router::Router>(&any) {
        if disabled {
            return Err(at.field("disabled").error("the router cannot be disabled"));
        }
        check_router(at_config, message(at_config, &any.value)?)?;
        return Ok(Entry::Router);
    }
    match filter::decode::listed(at_config, &any)? {
        Some(config) => Ok(Entry::Filter(HttpFilter { name: name(at, "name", filter_name)?, disabled, config })),
        // The one that is named counts messages and does nothing else. One that is disabled could be switched on only by
        // a route's configuration for it, and that is refused.
        None if is_optional || disabled || holds::<grpc_stats::FilterConfig>(&any) => Ok(Entry::Skipped),
        None => Err(unknown(at_config, &any)),
    }
}

fn check_router(at: &At<'_>, message: router::Router) -> Checked<()> {
    let router::Router {
        dynamic_stats,
        start_child_span,
        upstream_log,
        upstream_log_options,
        suppress_envoy_headers,
        strict_check_headers,
        respect_expected_rq_timeout,
        suppress_grpc_request_failure_code_stats,
        upstream_http_filters,
        reject_connect_request_early_data,
    } = message;
    refused!(at; strict_check_headers, respect_expected_rq_timeout, upstream_http_filters);
    ignored!(at;
        dynamic_stats, start_child_span, upstream_log, upstream_log_options, suppress_envoy_headers,
        suppress_grpc_request_failure_code_stats, reject_connect_request_early_data
    );
    Ok(())
}
