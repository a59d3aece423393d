//! What of a route or a host travels as metadata: where it was written, which policies stand behind it and behind its
//! clusters, and the limits behind its descriptions.

use std::sync::Arc;

use super::{Policies, Route, RouteAction, VirtualHost, Written};
use crate::proto::Struct;
use crate::proto::core;
use crate::proto::value::Kind;
use crate::resource::filter::lease::{LEASES, Leases};
use crate::resource::filter::{FilterConfig, FilterOverrides, RateLimitActions, lease};
use crate::resource::metadata::{self, OURS, POLICIES};
use crate::resource::path::{At, Checked};
use crate::resource::scalar::label;

/// The key of [`Route::source`].
const SOURCE: &str = "source";
/// The key of [`VirtualHost::written`].
const WRITTEN: &str = "written";

/// Our part of a route's metadata.
#[derive(Default)]
pub(super) struct Ours {
    pub(super) source: Option<Arc<str>>,
    pub(super) policies: Policies,
    pub(super) leases: Leases,
}

/// Reads the metadata of a route.
pub(super) fn decode(at: &At<'_>, value: Option<core::Metadata>) -> Checked<Ours> {
    let mut ours = Ours::default();
    metadata::decode(at, value, OURS, |at, field, kind| match field {
        SOURCE if matches!(kind, Kind::StringValue(_)) => {
            ours.source = Some(metadata::text(at, field, kind)?).filter(|source| !source.is_empty());
            Ok(true)
        }
        POLICIES => match metadata::policies(&at.field(POLICIES), kind)? {
            Some(policies) => {
                ours.policies = policies;
                Ok(true)
            }
            None => Ok(false),
        },
        LEASES => ours.leases.read(at, kind),
        _ => Ok(false),
    })?;
    Ok(ours)
}

/// Reads the metadata of a host.
pub(super) fn decode_host(at: &At<'_>, value: Option<core::Metadata>, host: &mut VirtualHost) -> Checked<()> {
    let mut leases = Leases::default();
    metadata::decode(at, value, OURS, |at, field, kind| match field {
        LEASES => leases.read(at, kind),
        WRITTEN => match kind {
            Kind::StructValue(clusters) => {
                host.written = written(&at.field(WRITTEN), clusters)?;
                Ok(true)
            }
            _ => Ok(false),
        },
        _ => Ok(false),
    })?;
    attach_to_host(at, &leases, host);
    Ok(())
}

/// Places by cluster and kind. What is no such thing changes nothing, so it is noted only.
fn written(at: &At<'_>, clusters: Struct) -> Checked<Written> {
    let mut written = Written::new();
    metadata::fields(at, clusters, &mut |at, cluster, kind| {
        let Some(places) = metadata::policies(&at.field(cluster), kind)? else { return Ok(false) };
        written.insert(label(at, cluster, cluster.to_owned())?, places);
        Ok(true)
    })?;
    Ok(written)
}

/// Gives leases to the descriptions that filters have at this level, and says which descriptions those are.
pub(super) fn attach(leases: &Leases, filters: &mut FilterOverrides) {
    for value in filters.values_mut() {
        if let Some(FilterConfig::RateLimitPerRoute(config)) = &mut value.config {
            leases.attach(&mut Arc::make_mut(config).rate_limits);
        }
    }
}

/// The descriptions that filters have at this level.
pub(super) fn described(filters: &FilterOverrides) -> impl Iterator<Item = &RateLimitActions> {
    filters.values().flat_map(|value| match &value.config {
        Some(FilterConfig::RateLimitPerRoute(config)) => config.rate_limits.as_slice(),
        _ => &[],
    })
}

/// The descriptions of a route's own.
fn descriptions(action: &RouteAction) -> &[RateLimitActions] {
    match action {
        RouteAction::Forward(forward) => &forward.rate_limits,
        RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => &[],
    }
}

/// Gives leases to all descriptions of a route; what is left over is noted.
pub(super) fn attach_to_route(at: &At<'_>, leases: &Leases, route: &mut Route) {
    attach(leases, &mut route.filters);
    if let RouteAction::Forward(forward) = &mut route.action {
        leases.attach(&mut forward.rate_limits);
    }
    leases.note_unused(at, descriptions(&route.action).iter().chain(described(&route.filters)));
}

/// Gives leases to all descriptions of a host; what is left over is noted.
fn attach_to_host(at: &At<'_>, leases: &Leases, host: &mut VirtualHost) {
    attach(leases, &mut host.filters);
    leases.attach(&mut host.rate_limits);
    leases.note_unused(at, host.rate_limits.iter().chain(described(&host.filters)));
}

pub(super) fn encode(route: &Route) -> Option<core::Metadata> {
    let fields = [
        route.source.as_deref().map(|source| (SOURCE, metadata::encode_text(source))),
        metadata::encode_policies(&route.policies),
        lease::encode(descriptions(&route.action).iter().chain(described(&route.filters))),
    ];
    metadata::encode(OURS, fields.into_iter().flatten().collect())
}

pub(super) fn encode_host(host: &VirtualHost) -> Option<core::Metadata> {
    let clusters = host.written.iter();
    let clusters = clusters.filter_map(|(cluster, places)| Some((&**cluster, metadata::encode_policies(places)?.1)));
    let written = metadata::structure(clusters);
    let written = (!written.fields.is_empty()).then_some((WRITTEN, Kind::StructValue(written)));
    let fields = [lease::encode(host.rate_limits.iter().chain(described(&host.filters))), written];
    metadata::encode(OURS, fields.into_iter().flatten().collect())
}
