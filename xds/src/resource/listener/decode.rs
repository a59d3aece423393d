//! Protobuf to listener: address, filter chains and their matches. What speaks HTTP is in `http`.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Direction, FilterChain, FilterChainMatch, Listener, ListenerKind, NetworkFilter, SocketListener};
use super::{http, tcp};
use crate::proto::{core, hcm, http_inspector, listener, original_dst, tcp_proxy, tls_inspector};
use crate::resource::extension::{holds, message, unknown};
use crate::resource::metadata::{self, ISTIO, OURS, WORKLOAD};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{if_true, label, name, optional_duration, port, port_not_zero, socket_address};
use crate::resource::tls::decode as tls;

pub(in crate::resource) fn decode(at: &At<'_>, message: listener::Listener) -> Checked<Listener> {
    let listener::Listener {
        name: listener_name,
        address,
        additional_addresses,
        stat_prefix,
        stats_matcher,
        filter_chains,
        fcds_config,
        filter_chain_matcher,
        use_original_dst,
        default_filter_chain,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        metadata,
        deprecated_v1,
        drain_type,
        listener_filters,
        listener_filters_timeout,
        continue_on_listener_filters_timeout,
        transparent,
        freebind,
        socket_options,
        tcp_fast_open_queue_length,
        traffic_direction,
        udp_listener_config,
        api_listener,
        connection_balance_config,
        reuse_port,
        enable_reuse_port,
        access_log,
        tcp_backlog_size,
        max_connections_to_accept_per_socket_event,
        bind_to_port,
        enable_mptcp,
        ignore_global_conn_limit,
        bypass_overload_manager,
        tcp_keepalive,
        listener_specifier,
    } = message;
    let name = name(at, "name", listener_name)?;
    let transparent = if_true(transparent);
    refused!(at;
        additional_addresses, fcds_config, filter_chain_matcher, transparent, udp_listener_config, listener_specifier
    );
    ignored!(at;
        stat_prefix, stats_matcher, per_connection_buffer_limit_bytes, per_connection_buffer_high_watermark_timeout,
        drain_type, continue_on_listener_filters_timeout, freebind, socket_options,
        tcp_fast_open_queue_length, connection_balance_config, reuse_port, enable_reuse_port, access_log,
        tcp_backlog_size, max_connections_to_accept_per_socket_event, enable_mptcp, ignore_global_conn_limit,
        bypass_overload_manager, tcp_keepalive
    );
    let (error_header, workload) = known_metadata(at, metadata)?;
    let direction = match core::TrafficDirection::try_from(traffic_direction) {
        Ok(core::TrafficDirection::Unspecified) => Direction::Unspecified,
        Ok(core::TrafficDirection::Inbound) => Direction::Inbound,
        Ok(core::TrafficDirection::Outbound) => Direction::Outbound,
        Err(_) => return Err(at.field("traffic_direction").error(format_args!("{traffic_direction} is not known"))),
    };
    if let Some(api) = api_listener {
        refused!(at; filter_chains, default_filter_chain, listener_filters);
        ignored!(at; address, use_original_dst, deprecated_v1, listener_filters_timeout, bind_to_port);
        let kind = ListenerKind::Api(Box::new(api_manager(&at.field("api_listener"), api)?));
        return Ok(Listener { name, kind, direction, error_header, workload });
    }
    let old_bind = deprecated_v1.and_then(|listener::listener::DeprecatedV1 { bind_to_port }| bind_to_port);
    let bind_to_port = bind_to_port.or(old_bind).is_none_or(|flag| flag.value);
    let address = socket_address(at, address)?;
    if !bind_to_port {
        // Port 0 lets the system choose; a listener without a socket has nobody to choose for it.
        port_not_zero(at, address.port())?;
    }
    listener_filters_are_known(at, listener_filters)?;
    let chains = filter_chains.into_iter().enumerate();
    let chains = chains.map(|(i, c)| chain(&at.item("filter_chains", i), c)).collect::<Checked<Vec<_>>>()?;
    unique_matches(at, &chains)?;
    let default = default_filter_chain.map(|c| chain(&at.field("default_filter_chain"), c)).transpose()?;
    if chains.is_empty() && default.is_none() {
        return Err(at.field("filter_chains").missing());
    }
    let kind = ListenerKind::Socket(Box::new(SocketListener {
        address,
        bind_to_port,
        use_original_dst: use_original_dst.is_some_and(|flag| flag.value),
        filter_chains: chains,
        default_filter_chain: default,
        detection_timeout: optional_duration(at, "listener_filters_timeout", listener_filters_timeout)?,
    }));
    Ok(Listener { name, kind, direction, error_header, workload })
}

/// Whether answers made here say why, and beside whom the listener stands.
fn known_metadata(at: &At<'_>, value: Option<core::Metadata>) -> Checked<(bool, Option<Arc<str>>)> {
    let (mut shown, mut workload) = (true, None);
    metadata::decode_of(at, value, &[OURS, ISTIO], |at, owner, field, kind| match (owner, field) {
        (OURS, super::METADATA_ERROR_HEADER) => {
            shown = metadata::flag(at, field, &kind)?;
            Ok(true)
        }
        (ISTIO, WORKLOAD) => metadata::workload(at, kind, &mut workload),
        _ => Ok(false),
    })?;
    Ok((shown, workload))
}

fn api_manager(at: &At<'_>, api: listener::ApiListener) -> Checked<super::HttpConnectionManager> {
    let listener::ApiListener { api_listener } = api;
    let at = &at.field("api_listener");
    let any = api_listener.ok_or_else(|| at.missing())?;
    if !holds::<hcm::HttpConnectionManager>(&any) {
        return Err(unknown(at, &any));
    }
    http::decode(at, message(at, &any.value)?)
}

/// The filters that look at a connection's first bytes or at where it was going. The data plane does both whenever a
/// chain's match asks for it, so their presence says nothing new; how they would go about it is noted.
fn listener_filters_are_known(at: &At<'_>, filters: Vec<listener::ListenerFilter>) -> Checked<()> {
    use listener::listener_filter::ConfigType;
    for (i, filter) in filters.into_iter().enumerate() {
        let at = &at.item("listener_filters", i);
        let listener::ListenerFilter { name: _, filter_disabled, config_type } = filter;
        ignored!(at; filter_disabled);
        let any = match config_type {
            Some(ConfigType::TypedConfig(any)) => any,
            Some(ConfigType::ConfigDiscovery(_)) => return Err(at.field("config_discovery").unsupported()),
            None => return Err(at.field("typed_config").missing()),
        };
        let at = &at.field("typed_config");
        if holds::<tls_inspector::TlsInspector>(&any) {
            let tls_inspector::TlsInspector {
                enable_ja3_fingerprinting,
                enable_ja4_fingerprinting,
                initial_read_buffer_size,
                close_connection_on_client_hello_parsing_errors,
                max_client_hello_size,
            } = message(at, &any.value)?;
            ignored!(at;
                enable_ja3_fingerprinting, enable_ja4_fingerprinting, initial_read_buffer_size,
                close_connection_on_client_hello_parsing_errors, max_client_hello_size
            );
        } else if !holds::<http_inspector::HttpInspector>(&any) && !holds::<original_dst::OriginalDst>(&any) {
            return Err(unknown(at, &any));
        }
    }
    Ok(())
}

fn unique_matches(at: &At<'_>, chains: &[FilterChain]) -> Checked<()> {
    let mut seen: HashMap<&FilterChainMatch, usize> = HashMap::new();
    for (i, chain) in chains.iter().enumerate() {
        match seen.entry(&chain.matches) {
            Entry::Occupied(first) => {
                let at = at.item("filter_chains", i);
                return Err(at
                    .field("filter_chain_match")
                    .error(format_args!("is the same as that of filter_chains[{}]", first.get())));
            }
            Entry::Vacant(entry) => entry.insert(i),
        };
    }
    Ok(())
}

fn chain(at: &At<'_>, message_: listener::FilterChain) -> Checked<FilterChain> {
    let listener::FilterChain {
        filter_chain_match,
        filters,
        use_proxy_proto,
        metadata,
        transport_socket,
        transport_socket_connect_timeout,
        name,
    } = message_;
    let use_proxy_proto = if_true(use_proxy_proto);
    refused!(at; use_proxy_proto);
    ignored!(at; metadata, transport_socket_connect_timeout);
    let tls = tls::downstream(at, transport_socket)?;
    let last = filters.len().checked_sub(1).ok_or_else(|| at.field("filters").missing())?;
    let mut terminal = None;
    for (i, filter) in filters.into_iter().enumerate() {
        let at = &at.item("filters", i);
        // All filters that we have are terminal, so any filter before the last is one too many.
        let filter = network_filter(at, filter)?;
        if i < last {
            return Err(at.error("must be the last filter of its chain"));
        }
        terminal = Some(filter);
    }
    let filter = terminal.ok_or_else(|| at.field("filters").missing())?;
    Ok(FilterChain {
        name: label(at, "name", name)?,
        matches: filter_chain_match
            .map(|message| chain_match(&at.field("filter_chain_match"), message))
            .transpose()?
            .unwrap_or_default(),
        tls,
        filter,
    })
}

fn network_filter(at: &At<'_>, filter: listener::Filter) -> Checked<NetworkFilter> {
    use listener::filter::ConfigType;
    let listener::Filter { name: _, config_type } = filter;
    let any = match config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) => return Err(at.field("config_discovery").unsupported()),
        None => return Err(at.field("typed_config").missing()),
    };
    let at = &at.field("typed_config");
    if holds::<hcm::HttpConnectionManager>(&any) {
        let message: hcm::HttpConnectionManager = message(at, &any.value)?;
        if message.stat_prefix.is_empty() {
            return Err(at.field("stat_prefix").missing());
        }
        return Ok(NetworkFilter::Http(Box::new(http::decode(at, message)?)));
    }
    if holds::<tcp_proxy::TcpProxy>(&any) {
        return Ok(NetworkFilter::Tcp(tcp::decode(at, message(at, &any.value)?)?));
    }
    Err(unknown(at, &any))
}

fn chain_match(at: &At<'_>, message: listener::FilterChainMatch) -> Checked<FilterChainMatch> {
    let listener::FilterChainMatch {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = message;
    refused!(at;
        address_suffix, suffix_len, direct_source_prefix_ranges, source_type, source_prefix_ranges, source_ports
    );
    let ranges = prefix_ranges.into_iter().enumerate();
    let names = server_names.into_iter().enumerate();
    if !matches!(transport_protocol.as_str(), "" | "raw_buffer" | "tls") {
        return Err(at.field("transport_protocol").error(format_args!("{transport_protocol:?} is not supported")));
    }
    Ok(FilterChainMatch {
        destination_port: destination_port.map(|p| port(at, "destination_port", p.value)).transpose()?,
        prefix_ranges: ranges.map(|(i, r)| prefix_range(&at.item("prefix_ranges", i), r)).collect::<Checked<_>>()?,
        server_names: names.map(|(i, n)| server_name(&at.item("server_names", i), &n)).collect::<Checked<_>>()?,
        transport_protocol: transport_protocol.into(),
        application_protocols: application_protocols.into_iter().map(Arc::from).collect(),
    })
}

fn prefix_range(at: &At<'_>, range: core::CidrRange) -> Checked<(IpAddr, u8)> {
    let core::CidrRange { address_prefix, prefix_len } = range;
    let address: IpAddr = address_prefix
        .parse()
        .map_err(|_| at.field("address_prefix").error(format_args!("{address_prefix:?} is not an IP address")))?;
    let length = prefix_len.map_or(0, |len| len.value);
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = u8::try_from(length)
        .ok()
        .filter(|len| *len <= bits)
        .ok_or_else(|| at.field("prefix_len").error(format_args!("{length} is more than the {bits} bits there are")))?;
    Ok((address, length))
}

/// A server name, or `*.` and a suffix; lower-case from here on.
fn server_name(at: &At<'_>, name: &str) -> Checked<Arc<str>> {
    if name.is_empty() || name.strip_prefix("*.").unwrap_or(name).contains('*') {
        return Err(at.error(format_args!("{name:?} is neither a name nor *. and a suffix")));
    }
    Ok(name.to_ascii_lowercase().into())
}
