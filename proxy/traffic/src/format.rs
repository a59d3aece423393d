//! Header values with operators: `%REQ(X-ID)%`, `%DOWNSTREAM_REMOTE_ADDRESS%`, …
//!
//! # Why compiled
//! A value is parsed once, when the configuration arrives, and an operator that is not known is refused there with its
//! field's path. At a request only a list of parts is walked.
//!
//! # Missing values
//! What is not there is empty, so that a header made only of it is not written (unless `keep_empty`).

pub mod grammar;

use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;
use std::time::SystemTime;

use self::grammar::{Named, Piece, alternatives};
use crate::request::{RequestView, ResponseView, Source, is_token};

/// What the proxy knows about an exchange besides the heads. What is not known yet stays empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The caller.
    pub downstream_remote: Option<SocketAddr>,
    /// Where the caller connected to.
    pub downstream_local: Option<SocketAddr>,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'a str,
    /// The endpoint.
    pub upstream_host: Option<SocketAddr>,
    /// The cluster.
    pub upstream_cluster: &'a str,
    /// The status of the answer.
    pub response_code: Option<u16>,
    /// This machine's name.
    pub hostname: &'a str,
    /// When the request arrived.
    pub start_time: Option<SystemTime>,
}

/// All that a format may read.
pub(crate) struct Values<'a, Q, S> {
    pub(crate) request: &'a Q,
    pub(crate) response: &'a S,
    pub(crate) context: &'a Context<'a>,
    pub(crate) route_name: &'a str,
    pub(crate) virtual_host: &'a str,
}

/// A compiled value.
#[derive(Clone, Debug)]
pub(crate) struct Format(Box<[Part]>);

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    Operator { operator: Operator, bytes_max: Option<usize> },
}

#[derive(Clone, Debug)]
enum Operator {
    Request { source: Source, alternative: Option<Source> },
    Response { name: Box<str>, alternative: Option<Box<str>> },
    DownstreamRemoteAddress(AddressPart),
    DownstreamLocalAddress(AddressPart),
    UpstreamHost,
    UpstreamCluster,
    Protocol,
    StartTime,
    RouteName,
    VirtualHostName,
    ResponseCode,
    Hostname,
}

#[derive(Clone, Copy, Debug)]
enum AddressPart {
    Whole,
    WithoutPort,
    Port,
}

impl Format {
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        for piece in grammar::pieces(text)? {
            match piece {
                Piece::Literal(text) => literal.extend_from_slice(text.as_bytes()),
                Piece::Operator(named) => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                    }
                    parts.push(parse_operator(&named)?);
                }
            }
        }
        if let Some(byte) = literal.iter().chain(parts.iter().flat_map(Part::literal)).find(|b| !is_field_byte(**b)) {
            return Err(format!("the byte {byte:#04x} cannot stand in a header value"));
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self(parts.into()))
    }

    /// The value; borrowed when it needs nothing of the request.
    pub(crate) fn value<'f, Q: RequestView, S: ResponseView>(&'f self, values: &Values<'_, Q, S>) -> Cow<'f, [u8]> {
        match &*self.0 {
            [] => Cow::Borrowed(b""),
            [Part::Literal(literal)] => Cow::Borrowed(literal),
            parts => {
                let mut out = Vec::new();
                for part in parts {
                    part.write(values, &mut out);
                }
                Cow::Owned(out)
            }
        }
    }
}

impl Part {
    fn literal(&self) -> &[u8] {
        match self {
            Self::Literal(literal) => literal,
            Self::Operator { .. } => &[],
        }
    }

    fn write<Q: RequestView, S: ResponseView>(&self, values: &Values<'_, Q, S>, out: &mut Vec<u8>) {
        match self {
            Self::Literal(literal) => out.extend_from_slice(literal),
            Self::Operator { operator, bytes_max } => {
                let start = out.len();
                operator.write(values, out);
                // Parsers refuse such bytes already; a value is the last place where one could split a head in two.
                for byte in out[start..].iter_mut().filter(|b| !is_field_byte(**b)) {
                    *byte = b' ';
                }
                if let Some(max) = bytes_max {
                    out.truncate((start + max).min(out.len()));
                }
            }
        }
    }
}

impl Operator {
    fn write<Q: RequestView, S: ResponseView>(&self, values: &Values<'_, Q, S>, out: &mut Vec<u8>) {
        let context = values.context;
        match self {
            Self::Request { source, alternative } => {
                let second = || alternative.as_ref().and_then(|a| a.first(values.request));
                out.extend_from_slice(&source.first(values.request).or_else(second).unwrap_or_default());
            }
            Self::Response { name, alternative } => {
                let second = || alternative.as_ref().and_then(|a| values.response.header(a).next());
                let value = values.response.header(name).next().or_else(second);
                out.extend_from_slice(value.unwrap_or_default());
            }
            Self::DownstreamRemoteAddress(part) => write_address(context.downstream_remote, *part, out),
            Self::DownstreamLocalAddress(part) => write_address(context.downstream_local, *part, out),
            Self::UpstreamHost => write_address(context.upstream_host, AddressPart::Whole, out),
            Self::UpstreamCluster => out.extend_from_slice(context.upstream_cluster.as_bytes()),
            Self::Protocol => out.extend_from_slice(context.protocol.as_bytes()),
            Self::StartTime => {
                if let Some(start) = context.start_time {
                    write_text(out, format_args!("{}", Timestamp(start)));
                }
            }
            Self::RouteName => out.extend_from_slice(values.route_name.as_bytes()),
            Self::VirtualHostName => out.extend_from_slice(values.virtual_host.as_bytes()),
            Self::ResponseCode => {
                if let Some(code) = context.response_code {
                    write_text(out, format_args!("{code}"));
                }
            }
            Self::Hostname => out.extend_from_slice(context.hostname.as_bytes()),
        }
    }
}

fn write_address(address: Option<SocketAddr>, part: AddressPart, out: &mut Vec<u8>) {
    let Some(address) = address else { return };
    match part {
        AddressPart::Whole => write_text(out, format_args!("{address}")),
        AddressPart::WithoutPort => write_text(out, format_args!("{}", address.ip())),
        AddressPart::Port => write_text(out, format_args!("{}", address.port())),
    }
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

/// RFC 9110 §5.5, without obs-fold.
fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn parse_operator(named: &Named<'_>) -> Result<Part, String> {
    let operator = match (named.name, named.argument) {
        ("REQ", Some(argument)) => {
            let (first, second) = alternatives(argument);
            Operator::Request { source: Source::parse(first)?, alternative: second.map(Source::parse).transpose()? }
        }
        ("RESP", Some(argument)) => {
            let (first, second) = alternatives(argument);
            let name = |name: &str| match is_token(name) {
                true => Ok(name.to_ascii_lowercase().into_boxed_str()),
                false => Err(format!("`{name}` is not a header name")),
            };
            Operator::Response { name: name(first)?, alternative: second.map(name).transpose()? }
        }
        ("DOWNSTREAM_REMOTE_ADDRESS", None) => Operator::DownstreamRemoteAddress(AddressPart::Whole),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", None) => Operator::DownstreamRemoteAddress(AddressPart::WithoutPort),
        ("DOWNSTREAM_REMOTE_PORT", None) => Operator::DownstreamRemoteAddress(AddressPart::Port),
        ("DOWNSTREAM_LOCAL_ADDRESS", None) => Operator::DownstreamLocalAddress(AddressPart::Whole),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", None) => Operator::DownstreamLocalAddress(AddressPart::WithoutPort),
        ("DOWNSTREAM_LOCAL_PORT", None) => Operator::DownstreamLocalAddress(AddressPart::Port),
        ("UPSTREAM_HOST", None) => Operator::UpstreamHost,
        ("UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW", None) => Operator::UpstreamCluster,
        ("PROTOCOL", None) => Operator::Protocol,
        ("START_TIME", None) => Operator::StartTime,
        ("ROUTE_NAME", None) => Operator::RouteName,
        ("VIRTUAL_HOST_NAME", None) => Operator::VirtualHostName,
        ("RESPONSE_CODE", None) => Operator::ResponseCode,
        ("HOSTNAME", None) => Operator::Hostname,
        _ => return Err(named.unsupported()),
    };
    Ok(Part::Operator { operator, bytes_max: named.bytes_max })
}

/// `2026-01-31T12:00:00.000Z`.
struct Timestamp(SystemTime);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DAY_SECONDS: u64 = 86_400;
        let since_epoch = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since_epoch.as_secs() / DAY_SECONDS, since_epoch.as_secs() % DAY_SECONDS);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let millis = since_epoch.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last day of a year and months follow one formula.
pub fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_EPOCH: u64 = 719_468; // from 0000-03-01
    const ERA_DAYS: u64 = 146_097; // 400 years
    let shifted = days + DAYS_TO_EPOCH;
    let (era, of_era) = (shifted / ERA_DAYS, shifted % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
