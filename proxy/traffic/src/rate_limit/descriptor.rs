//! How a request is described to a rate limit.
//!
//! # A description is a list of entries
//! Each action of a list gives one entry, a key and a value. An action that finds nothing takes the whole description
//! with it, unless it was told to be left out instead. A limit is then looked up by the entries, all of them and in
//! order.
//!
//! # Whose descriptions count
//! - Those of the filter itself, if it has any; then nobody else's do.
//! - Otherwise the route's; and the virtual host's too where the route or the filter includes them, or where the route
//!   has none and the filter does not ignore the host's ([`VirtualHostLimits`]).
//!
//! Only lists of the filter's stage are asked. Whether a route "has none" is asked of all stages, as in Envoy.
//!
//! # Two differences from Envoy
//! A description without entries (every action was left out) describes nothing and is dropped. A query parameter's
//! value is percent-decoded before it counts, so that `%61` is no second name for `a`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tidegate_xds::resource::filter::{Lease, RateLimitAction, RateLimitActions, VirtualHostLimits};

use super::limiters::Entries;
use crate::error::CompileError;
use crate::matcher::{CompiledHeader, CompiledQuery, first_parameter};
use crate::request::{RequestView, Source};

/// One way to describe requests, compiled.
#[derive(Clone, Debug)]
pub struct CompiledActions {
    stage: u32,
    actions: Box<[Action]>,
    pub(super) hits: u32,
    lease: Option<Arc<Lease>>,
    /// What all of them say, where that is the same for all requests.
    constants: Option<Box<Entries>>,
}

#[derive(Clone, Debug)]
enum Action {
    SourceCluster,
    DestinationCluster,
    Field { source: Source, key: Arc<str>, skip_if_absent: bool },
    QueryParameter { parameter: Arc<str>, key: Arc<str>, skip_if_absent: bool },
    RemoteAddress,
    MaskedRemoteAddress { v4_prefix: u8, v6_prefix: u8 },
    Constant { key: Arc<str>, value: Arc<str> },
    HeaderMatch { key: Arc<str>, value: Arc<str>, expect: bool, headers: Box<[CompiledHeader]> },
    QueryMatch { key: Arc<str>, value: Arc<str>, expect: bool, parameters: Box<[CompiledQuery]> },
}

/// A description of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor<'a> {
    /// Never empty.
    pub entries: Vec<Entry<'a>>,
    /// How many tokens the request takes.
    pub hits: u32,
    /// The limit behind it, where the control plane said so.
    pub lease: Option<&'a Arc<Lease>>,
}

/// A key and its value. A value that is not UTF-8 has its broken bytes replaced, because the services that are asked
/// speak UTF-8 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a str,
    pub value: Cow<'a, str>,
}

/// What the proxy knows about a request besides its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The caller's address as far as it is trusted.
    pub remote: Option<IpAddr>,
    /// The cluster that this proxy's node belongs to.
    pub source_cluster: &'a str,
    /// The cluster that was chosen.
    pub destination_cluster: &'a str,
}

/// The descriptions that a route and its virtual host give.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'r> {
    pub(crate) route: &'r [CompiledActions],
    pub(crate) host: &'r [CompiledActions],
    pub(crate) include_host: bool,
}

impl Sources<'_> {
    pub(super) fn are_empty(&self) -> bool {
        self.route.is_empty() && self.host.is_empty()
    }
}

impl CompiledActions {
    /// Several lists. Errors are under `list`.
    pub(crate) fn compile_all(lists: &[RateLimitActions], list: &str) -> Result<Box<[Self]>, CompileError> {
        let lists = lists.iter().enumerate();
        lists.map(|(i, actions)| Self::compile(actions).map_err(|e| e.under(&format!("{list}[{i}]")))).collect()
    }

    fn compile(list: &RateLimitActions) -> Result<Self, CompileError> {
        let actions = list.actions.iter().enumerate();
        let actions = actions.map(|(i, action)| Action::compile(action).map_err(|e| e.under(&format!("actions[{i}]"))));
        let actions: Box<[Action]> = actions.collect::<Result<_, _>>()?;
        let constants = actions.iter().map(Action::constant).collect::<Option<Box<[_]>>>();
        Ok(Self {
            stage: list.stage,
            constants: constants.filter(|constants| !constants.is_empty()),
            actions,
            hits: list.hits,
            lease: list.lease.clone(),
        })
    }

    pub(super) fn stage(&self) -> u32 {
        self.stage
    }

    /// The keys and values of the description, where it is the same for all requests.
    #[inline]
    pub(super) fn constants(&self) -> Option<&Entries> {
        self.constants.as_deref()
    }

    /// The description of a request, if there is one.
    pub(super) fn describe<'a>(&'a self, request: &'a impl RequestView, facts: &Facts<'a>) -> Option<Descriptor<'a>> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.entry(request, facts) {
                Found::Entry(key, value) => entries.push(Entry { key, value }),
                Found::LeftOut => {}
                Found::Nothing => return None,
            }
        }
        (!entries.is_empty()).then_some(Descriptor { entries, hits: self.hits, lease: self.lease.as_ref() })
    }
}

/// All descriptions of a request that count for a filter. `own` are the filter's, or those that its override brings.
pub(crate) fn describe<'a>(
    own: &'a [CompiledActions],
    sources: Sources<'a>,
    host_limits: VirtualHostLimits,
    stage: u32,
    request: &'a impl RequestView,
    facts: &Facts<'a>,
) -> Vec<Descriptor<'a>> {
    lists(own, sources, host_limits, stage).filter_map(|list| list.describe(request, facts)).collect()
}

/// The ways to describe a request that count for a filter.
pub(super) fn lists<'a>(
    own: &'a [CompiledActions],
    sources: Sources<'a>,
    host_limits: VirtualHostLimits,
    stage: u32,
) -> impl Iterator<Item = &'a CompiledActions> {
    let no_lists: &[CompiledActions] = &[];
    let with_host = sources.include_host
        || match host_limits {
            VirtualHostLimits::Override => sources.route.is_empty(),
            VirtualHostLimits::Include => true,
            VirtualHostLimits::Ignore => false,
        };
    let (first, second) = match (own.is_empty(), with_host) {
        (false, _) => (own, no_lists),
        (true, true) => (sources.route, sources.host),
        (true, false) => (sources.route, no_lists),
    };
    first.iter().chain(second).filter(move |list| list.stage == stage)
}

enum Found<'a> {
    Entry(&'a str, Cow<'a, str>),
    LeftOut,
    Nothing,
}

impl Action {
    fn compile(action: &RateLimitAction) -> Result<Self, CompileError> {
        Ok(match action {
            RateLimitAction::SourceCluster => Self::SourceCluster,
            RateLimitAction::DestinationCluster => Self::DestinationCluster,
            RateLimitAction::RequestHeader { header, key, skip_if_absent } => {
                let source = Source::parse(header);
                let source = source.map_err(|reason| CompileError::new("request_headers.header_name", reason))?;
                Self::Field { source, key: Arc::clone(key), skip_if_absent: *skip_if_absent }
            }
            RateLimitAction::QueryParameter { parameter, key, skip_if_absent } => Self::QueryParameter {
                parameter: Arc::clone(parameter),
                key: Arc::clone(key),
                skip_if_absent: *skip_if_absent,
            },
            RateLimitAction::RemoteAddress => Self::RemoteAddress,
            RateLimitAction::MaskedRemoteAddress { v4_prefix, v6_prefix } => {
                let (v4_prefix, v6_prefix) = (*v4_prefix, *v6_prefix);
                if v4_prefix > 32 || v6_prefix > 128 {
                    return Err(CompileError::new("masked_remote_address", "a prefix is longer than an address"));
                }
                Self::MaskedRemoteAddress { v4_prefix, v6_prefix }
            }
            RateLimitAction::GenericKey { key, value } => {
                Self::Constant { key: Arc::clone(key), value: Arc::clone(value) }
            }
            RateLimitAction::HeaderValueMatch { key, value, expect_match, headers } => Self::HeaderMatch {
                key: Arc::clone(key),
                value: Arc::clone(value),
                expect: *expect_match,
                headers: CompiledHeader::compile_all(headers, "header_value_match.headers")?,
            },
            RateLimitAction::QueryParameterValueMatch { key, value, expect_match, parameters } => {
                let compiled = parameters.iter().enumerate().map(|(i, parameter)| {
                    let path = format!("query_parameter_value_match.query_parameters[{i}]");
                    CompiledQuery::compile(parameter).map_err(|e| e.under(&path))
                });
                Self::QueryMatch {
                    key: Arc::clone(key),
                    value: Arc::clone(value),
                    expect: *expect_match,
                    parameters: compiled.collect::<Result<_, _>>()?,
                }
            }
        })
    }

    /// What it says about every request.
    fn constant(&self) -> Option<(Arc<str>, Arc<str>)> {
        match self {
            Self::Constant { key, value } => Some((Arc::clone(key), Arc::clone(value))),
            Self::SourceCluster
            | Self::DestinationCluster
            | Self::Field { .. }
            | Self::QueryParameter { .. }
            | Self::RemoteAddress
            | Self::MaskedRemoteAddress { .. }
            | Self::HeaderMatch { .. }
            | Self::QueryMatch { .. } => None,
        }
    }

    fn entry<'a>(&'a self, request: &'a impl RequestView, facts: &Facts<'a>) -> Found<'a> {
        let given = |key, value: Option<Cow<'a, str>>, skip_if_absent| match value {
            Some(value) => Found::Entry(key, value),
            None if skip_if_absent => Found::LeftOut,
            None => Found::Nothing,
        };
        match self {
            Self::SourceCluster => Found::Entry("source_cluster", Cow::Borrowed(facts.source_cluster)),
            Self::DestinationCluster => Found::Entry("destination_cluster", Cow::Borrowed(facts.destination_cluster)),
            Self::Field { source, key, skip_if_absent } => given(key, source.first(request).map(text), *skip_if_absent),
            Self::QueryParameter { parameter, key, skip_if_absent } => {
                let value = request.query().and_then(|query| first_parameter(query, parameter));
                given(key, value.map(percent_decoded), *skip_if_absent)
            }
            Self::RemoteAddress => given("remote_address", facts.remote.map(|ip| ip.to_string().into()), false),
            Self::MaskedRemoteAddress { v4_prefix, v6_prefix } => {
                let network = facts.remote.map(|ip| masked(ip, *v4_prefix, *v6_prefix).into());
                given("masked_remote_address", network, false)
            }
            Self::Constant { key, value } => Found::Entry(key, Cow::Borrowed(value)),
            Self::HeaderMatch { key, value, expect, headers } => {
                let holds = headers.iter().all(|header| header.matches(request)) == *expect;
                given(key, holds.then_some(Cow::Borrowed(value)), false)
            }
            Self::QueryMatch { key, value, expect, parameters } => {
                let holds = parameters.iter().all(|parameter| parameter.matches(request.query())) == *expect;
                given(key, holds.then_some(Cow::Borrowed(value)), false)
            }
        }
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

/// The network of an address, `10.1.0.0/16`.
fn masked(ip: IpAddr, v4_prefix: u8, v6_prefix: u8) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4_prefix)).unwrap_or(0);
            format!("{}/{v4_prefix}", Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6_prefix)).unwrap_or(0);
            format!("{}/{v6_prefix}", Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// Decodes `%XX`. What is no escape stays as it is; a plus sign is a plus sign.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |i: usize| tail.get(i).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests;
