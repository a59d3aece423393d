//! The small things that every message is made of: durations, ports, addresses, shares, names.
//!
//! Each has one rule about what is valid, so each is decoded in one place, with the encoder beside it.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::FieldError;
use super::matcher::Fraction;
use super::path::{At, Checked, ignored, refused};
use crate::proto::{self, core, types};

/// The longest duration that protobuf defines: 10 000 years.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// A duration that is not negative.
pub(super) fn duration(at: &At<'_>, value: proto::Duration) -> Checked<Duration> {
    let proto::Duration { seconds, nanos } = value;
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
        return Err(at.error("a duration may not be negative"));
    };
    if seconds > DURATION_SECONDS_MAX || nanos > 999_999_999 {
        return Err(at.error(format_args!("{seconds} s and {nanos} ns is not a valid duration")));
    }
    Ok(Duration::new(seconds, nanos))
}

/// The duration in `field`, if it is there. Zero stays zero.
pub(super) fn optional_duration(at: &At<'_>, field: &str, value: Option<proto::Duration>) -> Checked<Option<Duration>> {
    value.map(|d| duration(&at.field(field), d)).transpose()
}

/// A limit in `field`: `absent` when it is not there, and none at all when it is zero.
pub(super) fn limit(
    at: &At<'_>,
    field: &str,
    value: Option<proto::Duration>,
    absent: Option<Duration>,
) -> Checked<Option<Duration>> {
    Ok(match optional_duration(at, field, value)? {
        None => absent,
        Some(d) => Some(d).filter(|d| !d.is_zero()),
    })
}

/// A duration in `field` that must not be zero; `absent` when it is not there.
pub(super) fn positive_duration(
    at: &At<'_>,
    field: &str,
    value: Option<proto::Duration>,
    absent: Duration,
) -> Checked<Duration> {
    match optional_duration(at, field, value)? {
        None => Ok(absent),
        Some(d) => not_zero(&at.field(field), d),
    }
}

/// A duration that must not be zero.
pub(super) fn positive(at: &At<'_>, value: proto::Duration) -> Checked<Duration> {
    not_zero(at, duration(at, value)?)
}

fn not_zero(at: &At<'_>, value: Duration) -> Checked<Duration> {
    if value.is_zero() { Err(at.error("must be greater than zero")) } else { Ok(value) }
}

/// `None` for an absent and for a zero duration: for fields in which zero means that the feature is off.
pub(super) fn unless_zero(value: Option<proto::Duration>) -> Option<proto::Duration> {
    value.filter(|d| d.seconds != 0 || d.nanos != 0)
}

/// `None` for an absent and for a false flag.
pub(super) fn if_true(value: Option<proto::BoolValue>) -> Option<proto::BoolValue> {
    value.filter(|flag| flag.value)
}

/// A name that other resources or logs refer to: not empty, nothing that would break a line of a log.
pub(super) fn name(at: &At<'_>, field: &str, value: String) -> Checked<Arc<str>> {
    if value.is_empty() {
        return Err(at.field(field).missing());
    }
    label(at, field, value)
}

/// A name that may be empty.
pub(super) fn label(at: &At<'_>, field: &str, value: String) -> Checked<Arc<str>> {
    if value.chars().any(char::is_control) {
        return Err(at.field(field).error("contains a control character"));
    }
    Ok(value.into())
}

/// A port from 1 to 65535.
pub(super) fn port(at: &At<'_>, field: &str, value: u32) -> Checked<u16> {
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(at.field(field).error(format_args!("{value} is not a port from 1 to 65535"))),
    }
}

/// Host (an IP address or a name) and port of the socket address in `address`. The port may be zero.
pub(super) fn host_and_port(at: &At<'_>, value: Option<core::Address>) -> Checked<(String, u16)> {
    let address = &at.field("address");
    let Some(core::Address { address: Some(value) }) = value else { return Err(address.missing()) };
    let socket = match value {
        core::address::Address::SocketAddress(socket) => socket,
        core::address::Address::Pipe(_) => return Err(address.field("pipe").unsupported()),
        core::address::Address::EnvoyInternalAddress(_) => {
            return Err(address.field("envoy_internal_address").unsupported());
        }
    };
    let at = &address.field("socket_address");
    let core::SocketAddress {
        protocol,
        address,
        resolver_name,
        ipv4_compat,
        network_namespace_filepath,
        port_specifier,
    } = socket;
    refused!(at; protocol, resolver_name, network_namespace_filepath);
    ignored!(at; ipv4_compat);
    if address.is_empty() {
        return Err(at.field("address").missing());
    }
    match port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(port)) => match u16::try_from(port) {
            Ok(port) => Ok((address, port)),
            Err(_) => Err(at.field("port_value").error(format_args!("{port} is not a port from 1 to 65535"))),
        },
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => Err(at.field("named_port").unsupported()),
        None => Err(at.field("port_value").missing()),
    }
}

/// A socket address whose host is an IP address. The port may be zero.
pub(super) fn socket_address(at: &At<'_>, value: Option<core::Address>) -> Checked<SocketAddr> {
    let (host, port) = host_and_port(at, value)?;
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, port)),
        Err(_) => Err(at
            .field("address")
            .field("socket_address")
            .field("address")
            .error(format_args!("{host:?} is not an IP address"))),
    }
}

/// Refuses port zero, which only a listener may have (the system then chooses one).
pub(super) fn port_not_zero(at: &At<'_>, port: u16) -> Checked<()> {
    if port == 0 {
        let socket = at.field("address");
        let socket = socket.field("socket_address");
        return Err(socket.field("port_value").error("0 is not a port from 1 to 65535"));
    }
    Ok(())
}

/// The socket address of `host` (an IP address or a name) and `port`.
pub(super) fn encode_address(host: &str, port: u16) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}

/// A share of requests. Runtime keys are for changing it without a push; we have pushes.
pub(super) fn runtime_fraction(at: &At<'_>, value: core::RuntimeFractionalPercent) -> Checked<Fraction> {
    let core::RuntimeFractionalPercent { default_value, runtime_key } = value;
    ignored!(at; runtime_key);
    let at = &at.field("default_value");
    fractional_percent(at, default_value.ok_or_else(|| at.missing())?)
}

/// A share in `field`; an absent one is no request at all, as protobuf's default has it.
pub(super) fn percent(at: &At<'_>, field: &str, value: Option<types::FractionalPercent>) -> Checked<Fraction> {
    fractional_percent(&at.field(field), value.unwrap_or_default())
}

fn fractional_percent(at: &At<'_>, value: types::FractionalPercent) -> Checked<Fraction> {
    let types::FractionalPercent { numerator, denominator } = value;
    let denominator = match types::fractional_percent::DenominatorType::try_from(denominator) {
        Ok(types::fractional_percent::DenominatorType::Hundred) => 100,
        Ok(types::fractional_percent::DenominatorType::TenThousand) => 10_000,
        Ok(types::fractional_percent::DenominatorType::Million) => 1_000_000,
        Err(_) => return Err(at.field("denominator").error(format_args!("{denominator} is not known"))),
    };
    if numerator > denominator {
        return Err(at.error(format_args!("{numerator} of {denominator} is more than everything")));
    }
    Ok(Fraction { numerator, denominator })
}

pub(super) fn encode_fraction(value: Fraction) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent { default_value: Some(encode_percent(value)), runtime_key: String::new() }
}

pub(super) fn encode_percent(value: Fraction) -> types::FractionalPercent {
    use types::fractional_percent::DenominatorType;
    let denominator = match value.denominator {
        1_000_000 => DenominatorType::Million,
        10_000 => DenominatorType::TenThousand,
        _ => DenominatorType::Hundred,
    };
    types::FractionalPercent { numerator: value.numerator, denominator: denominator.into() }
}

/// Bytes written in the resource. A file's name or a variable's would make the outcome depend on the machine.
pub(super) fn inline_data(at: &At<'_>, field: &str, value: core::DataSource) -> Checked<Arc<[u8]>> {
    let at = &at.field(field);
    let core::DataSource { watched_directory, specifier } = value;
    ignored!(at; watched_directory);
    match specifier {
        Some(core::data_source::Specifier::InlineBytes(bytes)) => Ok(bytes.into()),
        Some(core::data_source::Specifier::InlineString(text)) => Ok(text.into_bytes().into()),
        Some(core::data_source::Specifier::Filename(_)) => Err(not_inline(&at.field("filename"))),
        Some(core::data_source::Specifier::EnvironmentVariable(_)) => {
            Err(not_inline(&at.field("environment_variable")))
        }
        None => Err(at.missing()),
    }
}

/// Refuses something that lies elsewhere.
pub(super) fn not_inline(at: &At<'_>) -> FieldError {
    at.error("is read by nobody here, because it differs between machines: write it inline")
}

/// Resources come over the stream on which this one came; anything else is refused.
pub(super) fn over_ads(at: &At<'_>, field: &str, value: Option<core::ConfigSource>) -> Checked<()> {
    let at = &at.field(field);
    let core::ConfigSource { authorities, initial_fetch_timeout, resource_api_version, config_source_specifier } =
        value.ok_or_else(|| at.missing())?;
    refused!(at; authorities);
    // Waiting has a deadline of our own; zero ("for ever") is what control planes write.
    if optional_duration(at, "initial_fetch_timeout", initial_fetch_timeout)?.is_some_and(|t| !t.is_zero()) {
        at.ignore("initial_fetch_timeout");
    }
    if resource_api_version == core::ApiVersion::V2 as i32 {
        return Err(at.field("resource_api_version").error("version 2 is not spoken any more"));
    }
    use core::config_source::ConfigSourceSpecifier as Source;
    match config_source_specifier {
        Some(Source::Ads(core::AggregatedConfigSource {}) | Source::Self_(_)) => Ok(()),
        Some(Source::Path(_)) => Err(at.field("path").unsupported()),
        Some(Source::PathConfigSource(_)) => Err(at.field("path_config_source").unsupported()),
        Some(Source::ApiConfigSource(_)) => Err(at.field("api_config_source").unsupported()),
        None => Err(at.error("names no source")),
    }
}

pub(super) fn encode_ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    }
}

/// A share in `field`, in hundredths that need not be whole; `absent` when it is not there.
pub(super) fn percentage(at: &At<'_>, field: &str, value: Option<types::Percent>, absent: f64) -> Checked<f64> {
    let Some(types::Percent { value }) = value else { return Ok(absent) };
    if (0.0..=100.0).contains(&value) {
        Ok(value)
    } else {
        Err(at.field(field).error(format_args!("{value} is not between 0 and 100")))
    }
}

pub(super) fn encode_percentage(value: f64) -> types::Percent {
    types::Percent { value }
}

pub(super) fn encode_duration(value: Duration) -> proto::Duration {
    proto::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        // Below 10^9 by `subsec_nanos`'s contract.
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

/// A limit whose absence on the wire would mean a default: none at all is written as zero.
pub(super) fn encode_limit(value: Option<Duration>) -> proto::Duration {
    encode_duration(value.unwrap_or_default())
}

pub(super) fn encode_bool(value: bool) -> proto::BoolValue {
    proto::BoolValue { value }
}

pub(super) fn encode_u32(value: u32) -> proto::UInt32Value {
    proto::UInt32Value { value }
}
