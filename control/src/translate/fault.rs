//! Faults as overrides of a filter.
//!
//! # A fault for some requests
//! The filter can ask for headers, all of which must match. What it cannot be asked (alternatives, query parameters)
//! becomes a narrowed copy of the route in front of it, for each alternative one, so that any Envoy obeys.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tidegate_policies::ir::Stated;
use tidegate_policies::ir::fault::{Abort, AppliesTo, Fault};
use tidegate_policies::ir::route::RequestMatch;
use tidegate_xds::resource::filter::{
    FAULT, Fault as XdsFault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay, FilterConfig, FilterOverride,
    FilterOverrides,
};
use tidegate_xds::resource::matcher::HeaderMatcher;
use tidegate_xds::resource::route::{ClusterSpecifier, Route, RouteAction};

use super::matching::{as_headers, query_parameters};
use super::origin;
use super::share::fraction;
use crate::world::ClientClass;

const KIB: u64 = 1024;

/// Where a fault acts on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On all requests of the route.
    Route,
    /// On those that a member of a weighted choice gets.
    Member(usize),
}

/// The faults of one route.
pub(super) type Faults<'f> = Vec<(Place, &'f Stated<Fault>)>;

/// How a fault is said for the clients of a class that dial a port.
enum Saying<'f> {
    /// Not for them.
    Never,
    /// By the filter, for requests with these headers.
    Headers(Vec<HeaderMatcher>),
    /// By a copy of the route for each of these.
    Copies(Vec<&'f RequestMatch>),
}

/// Puts faults on a route, and in front of it what they need.
pub(super) fn apply(mut route: Route, faults: &Faults<'_>, client: &ClientClass, port: u16) -> Vec<Route> {
    let mut copied: Vec<(&Stated<Fault>, Vec<&RequestMatch>)> = Vec::new();
    for (place, stated) in faults {
        match saying(&stated.value, client, port) {
            Saying::Never => {}
            Saying::Headers(headers) => set(&mut route, *place, stated, headers),
            Saying::Copies(matches) if copied.iter().all(|(known, _)| !Arc::ptr_eq(&known.value, &stated.value)) => {
                copied.push((stated, matches));
            }
            Saying::Copies(_) => {}
        }
    }
    let mut routes = Vec::new();
    for (fault, matches) in copied {
        for alternative in matches {
            let mut copy = route.clone();
            copy.matches.headers.extend(as_headers(alternative));
            copy.matches.query_parameters.extend(query_parameters(alternative));
            let places = faults.iter().filter(|(_, stated)| Arc::ptr_eq(&stated.value, &fault.value));
            places.for_each(|(place, stated)| set(&mut copy, *place, stated, Vec::new()));
            routes.push(copy);
        }
    }
    routes.push(route);
    routes
}

fn saying<'f>(fault: &'f Fault, client: &ClientClass, port: u16) -> Saying<'f> {
    if fault.matches.is_empty() {
        return Saying::Headers(Vec::new());
    }
    let here = |m: &&RequestMatch| m.port.is_none_or(|wanted| wanted == port) && client.admits(&m.client);
    let matches: Vec<&RequestMatch> = fault.matches.iter().filter(here).collect();
    match matches.as_slice() {
        [] => Saying::Never,
        [only] if only.query_parameters.is_empty() => Saying::Headers(as_headers(only)),
        _ => Saying::Copies(matches),
    }
}

fn set(route: &mut Route, place: Place, stated: &Stated<Fault>, headers: Vec<HeaderMatcher>) {
    let config = FilterConfig::Fault(Arc::new(XdsFault { headers, ..config(&stated.value) }));
    let said = FilterOverride { disabled: false, config: Some(config) };
    let overrides: Option<&mut FilterOverrides> = match place {
        Place::Route => Some(&mut route.filters),
        Place::Member(number) => match &mut route.action {
            RouteAction::Forward(forward) => match &mut forward.cluster {
                ClusterSpecifier::Weighted(weighted) => weighted.clusters.get_mut(number).map(|m| &mut m.filters),
                ClusterSpecifier::Cluster(_) | ClusterSpecifier::ClusterHeader(_) => None,
            },
            RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => None,
        },
    };
    if let Some(overrides) = overrides {
        overrides.insert(FAULT.into(), said);
        origin::note(&mut route.policies, "fault", stated);
    }
}

/// The fault for every request.
pub(super) fn config(fault: &Fault) -> XdsFault {
    let Fault { matches: _, delay, abort, bandwidth, expires_at, applies_to } = fault;
    XdsFault {
        delay: delay.map(|(time, share)| FaultDelay { fixed: Some(time), percentage: fraction(share) }),
        abort: abort.map(|(with, share)| FaultAbort { with: answer(with), percentage: fraction(share) }),
        bandwidth: bandwidth.map(|(bytes_per_second, share)| FaultBandwidth {
            // The wire counts in KiB; slower than one is said as one, because zero would be no limit.
            kib_per_second: Some((bytes_per_second / KIB).max(1)),
            percentage: fraction(share),
        }),
        expires_at_unix_s: expires_at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
        per_attempt: *applies_to == AppliesTo::Upstream,
        ..XdsFault::default()
    }
}

fn answer(abort: Abort) -> FaultAnswer {
    match abort {
        Abort::Http(status) => FaultAnswer::Http(status),
        Abort::Grpc(status) => FaultAnswer::Grpc(status),
        Abort::Reset => FaultAnswer::Reset,
    }
}
