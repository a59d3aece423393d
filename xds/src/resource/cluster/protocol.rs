//! Protobuf to the protocol that is spoken to a cluster.
//!
//! # Why `auto_config` is refused
//! It lets the server choose by ALPN, so that a connection's protocol is known only once it stands, while the pool that
//! it belongs to is chosen before. Picking HTTP/1.1 instead would work until the server turns out to speak HTTP/2 only.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::UpstreamProtocol;
use crate::proto::upstream_http::{self, http_protocol_options};
use crate::proto::{Any, UInt32Value, cluster, core, hcm, upstream_codec, upstream_tcp};
use crate::resource::extension::{holds, message, unknown};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{optional_duration, unless_zero};

/// The key under which Envoy looks for [`upstream_http::HttpProtocolOptions`].
pub(super) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What a cluster says of its protocol.
pub(super) struct Options {
    pub(super) protocol: UpstreamProtocol,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_requests_per_connection: Option<NonZeroU32>,
}

/// The fields in which this was written before there were typed options.
pub(super) struct Legacy {
    pub(super) http2_protocol_options: Option<core::Http2ProtocolOptions>,
    pub(super) protocol_selection: i32,
    pub(super) common_http_protocol_options: Option<core::HttpProtocolOptions>,
    pub(super) max_requests_per_connection: Option<UInt32Value>,
    pub(super) upstream_http_protocol_options: Option<core::UpstreamHttpProtocolOptions>,
    /// Whether the cluster's connections are encrypted.
    pub(super) encrypted: bool,
}

pub(super) fn decode(at: &At<'_>, legacy: Legacy, typed: HashMap<String, Any>) -> Checked<Options> {
    let encrypted = legacy.encrypted;
    let mut options = self::legacy(at, legacy)?;
    let mut entries: Vec<_> = typed.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, any) in entries {
        let at = &at.key("typed_extension_protocol_options", &key);
        if holds::<upstream_http::HttpProtocolOptions>(&any) {
            options = self::typed(at, message(at, &any.value)?, encrypted)?;
        } else if holds::<upstream_tcp::TcpProtocolOptions>(&any) {
            at.ignore_here();
        } else {
            return Err(unknown(at, &any));
        }
    }
    Ok(options)
}

fn legacy(at: &At<'_>, legacy: Legacy) -> Checked<Options> {
    use cluster::cluster::ClusterProtocolSelection as Selection;
    let Legacy {
        http2_protocol_options,
        protocol_selection,
        common_http_protocol_options,
        max_requests_per_connection,
        upstream_http_protocol_options,
        encrypted,
    } = legacy;
    derived_names(at, upstream_http_protocol_options, encrypted)?;
    let protocol = match (Selection::try_from(protocol_selection), http2_protocol_options) {
        (Ok(Selection::UseDownstreamProtocol), _) => UpstreamProtocol::SameAsDownstream,
        (Ok(Selection::UseConfiguredProtocol), None) => UpstreamProtocol::Http1,
        (Ok(Selection::UseConfiguredProtocol), Some(options)) => {
            http2(&at.field("http2_protocol_options"), options);
            UpstreamProtocol::Http2
        }
        (Err(_), _) => {
            return Err(at.field("protocol_selection").error(format_args!("{protocol_selection} is not known")));
        }
    };
    let (idle_timeout, max_requests) = common(at, common_http_protocol_options)?;
    let max_requests_per_connection = max_requests_per_connection.and_then(|n| NonZeroU32::new(n.value));
    Ok(Options { protocol, idle_timeout, max_requests_per_connection: max_requests.or(max_requests_per_connection) })
}

fn typed(at: &At<'_>, message: upstream_http::HttpProtocolOptions, encrypted: bool) -> Checked<Options> {
    use http_protocol_options::explicit_http_config::ProtocolConfig;
    use http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
    let upstream_http::HttpProtocolOptions {
        common_http_protocol_options,
        upstream_http_protocol_options,
        http_filters,
        header_validation_config,
        outlier_detection,
        request_mirror_policies,
        hash_policy,
        retry_policy,
        upstream_protocol_options,
    } = message;
    refused!(at; outlier_detection, request_mirror_policies, retry_policy);
    ignored!(at; header_validation_config, hash_policy);
    derived_names(at, upstream_http_protocol_options, encrypted)?;
    upstream_filters(at, http_filters)?;
    let protocol = match upstream_protocol_options.ok_or_else(|| at.error("names no protocol"))? {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config }) => {
            let at = &at.field("explicit_http_config");
            match protocol_config.ok_or_else(|| at.error("names no protocol"))? {
                ProtocolConfig::HttpProtocolOptions(options) => {
                    http1(&at.field("http_protocol_options"), options);
                    UpstreamProtocol::Http1
                }
                ProtocolConfig::Http2ProtocolOptions(options) => {
                    http2(&at.field("http2_protocol_options"), options);
                    UpstreamProtocol::Http2
                }
                ProtocolConfig::Http3ProtocolOptions(_) => {
                    return Err(at.field("http3_protocol_options").unsupported());
                }
            }
        }
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options,
            http2_protocol_options,
            http3_protocol_options,
        }) => {
            let at = &at.field("use_downstream_protocol_config");
            // No listener of ours speaks HTTP/3, so no caller can ask for it.
            ignored!(at; http3_protocol_options);
            http1(&at.field("http_protocol_options"), http_protocol_options.unwrap_or_default());
            http2(&at.field("http2_protocol_options"), http2_protocol_options.unwrap_or_default());
            UpstreamProtocol::SameAsDownstream
        }
        UpstreamProtocolOptions::AutoConfig(_) => {
            return Err(at.field("auto_config").error("lets the server choose by ALPN, which is not supported yet"));
        }
    };
    let (idle_timeout, max_requests_per_connection) = common(at, common_http_protocol_options)?;
    Ok(Options { protocol, idle_timeout, max_requests_per_connection })
}

/// Server names taken from requests. Without encryption there is nothing to take them for.
fn derived_names(at: &At<'_>, options: Option<core::UpstreamHttpProtocolOptions>, encrypted: bool) -> Checked<()> {
    let Some(options) = options else { return Ok(()) };
    if !encrypted {
        at.ignore("upstream_http_protocol_options");
        return Ok(());
    }
    let at = &at.field("upstream_http_protocol_options");
    let core::UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header } = options;
    refused!(at; auto_sni, auto_san_validation, override_auto_sni_header);
    Ok(())
}

/// The only filter that a chain towards the server may have is the one that must be there.
fn upstream_filters(at: &At<'_>, filters: Vec<hcm::HttpFilter>) -> Checked<()> {
    for (i, filter) in filters.into_iter().enumerate() {
        let at = &at.item("http_filters", i);
        let hcm::HttpFilter { name: _, is_optional, disabled, config_type } = filter;
        match config_type {
            Some(hcm::http_filter::ConfigType::TypedConfig(any)) if holds::<upstream_codec::UpstreamCodec>(&any) => {}
            _ if is_optional || disabled => at.ignore_here(),
            Some(hcm::http_filter::ConfigType::TypedConfig(any)) => {
                return Err(unknown(&at.field("typed_config"), &any));
            }
            Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => {
                return Err(at.field("config_discovery").unsupported());
            }
            None => return Err(at.field("typed_config").missing()),
        }
    }
    Ok(())
}

/// Idle timeout and requests per connection, wherever they are written.
pub(in crate::resource) fn common(
    at: &At<'_>,
    options: Option<core::HttpProtocolOptions>,
) -> Checked<(Option<Duration>, Option<NonZeroU32>)> {
    let Some(options) = options else { return Ok((None, None)) };
    let at = &at.field("common_http_protocol_options");
    let core::HttpProtocolOptions {
        idle_timeout,
        max_connection_duration,
        max_connection_duration_jitter,
        max_headers_count,
        max_response_headers_kb,
        max_stream_duration,
        headers_with_underscores_action,
        max_requests_per_connection,
    } = options;
    let (max_stream_duration, max_connection_duration) =
        (unless_zero(max_stream_duration), unless_zero(max_connection_duration));
    refused!(at; max_stream_duration);
    ignored!(at;
        max_connection_duration, max_connection_duration_jitter, max_headers_count, max_response_headers_kb,
        headers_with_underscores_action
    );
    Ok((
        optional_duration(at, "idle_timeout", idle_timeout)?,
        max_requests_per_connection.and_then(|n| NonZeroU32::new(n.value)),
    ))
}

/// How HTTP/1 is written and read is fixed; a caller's wishes are noted.
pub(in crate::resource) fn http1(at: &At<'_>, options: core::Http1ProtocolOptions) {
    let core::Http1ProtocolOptions {
        allow_absolute_url,
        accept_http_10,
        default_host_for_http_10,
        header_key_format,
        enable_trailers,
        allow_chunked_length,
        override_stream_error_on_invalid_http_message,
        send_fully_qualified_url,
        use_balsa_parser,
        allow_custom_methods,
        ignore_http_11_upgrade,
    } = options;
    ignored!(at;
        allow_absolute_url, accept_http_10, default_host_for_http_10, header_key_format, enable_trailers,
        allow_chunked_length, override_stream_error_on_invalid_http_message, send_fully_qualified_url,
        use_balsa_parser, allow_custom_methods, ignore_http_11_upgrade
    );
}

/// The same for HTTP/2: windows, tables and flood guards are ours.
pub(in crate::resource) fn http2(at: &At<'_>, options: core::Http2ProtocolOptions) {
    let core::Http2ProtocolOptions {
        hpack_table_size,
        max_concurrent_streams,
        initial_stream_window_size,
        initial_connection_window_size,
        allow_connect,
        allow_metadata,
        max_outbound_frames,
        max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload,
        max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent,
        stream_error_on_invalid_http_messaging,
        override_stream_error_on_invalid_http_message,
        custom_settings_parameters,
        connection_keepalive,
        use_oghttp2_codec,
        max_metadata_size,
        enable_huffman_encoding,
        max_header_field_size_kb,
        disallow_obs_text,
        stream_reset_burst,
        stream_reset_rate,
    } = options;
    ignored!(at;
        hpack_table_size, max_concurrent_streams, initial_stream_window_size, initial_connection_window_size,
        allow_connect, allow_metadata, max_outbound_frames, max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload, max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
        override_stream_error_on_invalid_http_message, custom_settings_parameters, connection_keepalive,
        use_oghttp2_codec, max_metadata_size, enable_huffman_encoding, max_header_field_size_kb, disallow_obs_text,
        stream_reset_burst, stream_reset_rate
    );
}
