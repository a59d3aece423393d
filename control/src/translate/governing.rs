//! What acts on a route besides routing: its rule's own policies, and where the rule says nothing those of services.
//!
//! # Which service speaks
//! If all destinations are one service (its versions included), that service; then the one that was called. Where a route
//! leads to several services, the one that was called speaks first, and then they in their order. A fault of a service
//! is for whatever reaches it, so it goes with the destination, not with the route.

use std::sync::Arc;

use tidegate_policies::ir::fault::Fault;
use tidegate_policies::ir::route::{Backend, RulePolicies};
use tidegate_policies::ir::timeout::Timeouts;
use tidegate_policies::ir::{ObjectName, Stated};
use tidegate_xds::resource::filter::{CORS, FilterOverride};
use tidegate_xds::resource::route::{ClusterSpecifier, Forward, Policies, Route, RouteAction};

use super::fault::{Faults, Place};
use super::header::Values;
use super::{cors, fault, mirror, origin, rate_limit, retry, session};
use crate::world::{Calls, ClientClass, Reader};

/// The route that policies are put on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'s> {
    /// Whose rules count.
    pub client: &'s ClientClass,
    /// The port that the client dials.
    pub port: u16,
    /// Proxyless gRPC clients understand retries that somebody asked for, and faults.
    pub grpc: bool,
    /// The service that is called, inside the mesh.
    pub called: Option<&'s ObjectName>,
    /// How values are written.
    pub values: Values,
}

/// What a rule says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'r> {
    /// Its limits in time.
    pub timeouts: Timeouts,
    /// Its policies.
    pub policies: &'r RulePolicies,
}

/// Puts policies on a route that forwards to `backends`, in the order of its clusters. Gives the route, and in front of it
/// those that its faults need.
pub(super) fn govern(
    mut route: Route,
    said: Said<'_>,
    backends: &[(&Backend, u32)],
    scene: Scene<'_>,
    reader: &Reader<'_>,
) -> Vec<Route> {
    let own = said.policies;
    let Route { action, filters, policies, .. } = &mut route;
    let mut of_members: Vec<Calls> = Vec::new();
    if let RouteAction::Forward(forward) = action {
        of_members = backends.iter().map(|(backend, _)| calls_of(backend, scene, reader)).collect();
        let speakers = speakers(backends, &of_members, scene, reader);
        limit_and_retry(forward, said, &speakers, scene, policies);
        if !scene.grpc {
            forward.mirrors = mirror::mirrors(&own.mirrors, scene.values, policies, reader);
            if let Some(stated) = first(own.session.as_ref(), &speakers, |calls| calls.session.as_ref()) {
                session::persist(&stated.value, forward, filters);
                origin::note(policies, "session", stated);
            }
            for stated in of_members.iter().filter_map(|calls| calls.load_balancing.as_ref()) {
                session::hash(&stated.value, forward);
            }
        }
    }
    if !scene.grpc {
        let shared = rate_limit::apply(&own.rate_limits, scene.port, filters, policies);
        if let RouteAction::Forward(forward) = action {
            forward.rate_limits.extend(shared);
        }
        if let Some(stated) = &own.cors {
            filters.insert(CORS.into(), FilterOverride { disabled: false, config: Some(cors::config(&stated.value)) });
            origin::note(policies, "cors", stated);
        }
    }
    let faults = faults(own.fault.as_ref(), &of_members, &route.action);
    fault::apply(route, &faults, scene.client, scene.port)
}

/// Limits in time and retries, which depend on each other.
fn limit_and_retry(
    forward: &mut Forward,
    said: Said<'_>,
    speakers: &[Calls],
    scene: Scene<'_>,
    policies: &mut Policies,
) {
    let mut timeouts = said.timeouts;
    if let Some(origin) = &said.policies.timeouts_from {
        // Said by a policy for this rule, so meant, even if it lifts a limit of the service.
        origin::note_origin(policies, "timeout", origin);
    } else if timeouts == Timeouts::default()
        && let Some(stated) = first(None, speakers, |calls| calls.timeouts.as_ref())
    {
        timeouts = *stated.value;
        origin::note(policies, "timeout", stated);
    }
    let policy = match first(said.policies.retry.as_ref(), speakers, |calls| calls.retry.as_ref()) {
        Some(stated) => {
            origin::note(policies, "retry", stated);
            retry::policy(&stated.value)
        }
        // A gRPC client has its own transparent retries, and no notion of the rest.
        None if scene.grpc => None,
        None => Some(retry::default_policy()),
    };
    let (policy, limit) = retry::limit_attempts(policy, timeouts.request, timeouts.backend_request);
    forward.retry = policy;
    forward.timeout = limit;
    forward.max_stream_duration = limit.filter(|_| scene.grpc);
}

/// The rule's own word, else the first speaker's.
fn first<'s, T>(
    own: Option<&'s Stated<T>>,
    speakers: &'s [Calls],
    of: impl Fn(&'s Calls) -> Option<&'s Stated<T>>,
) -> Option<&'s Stated<T>> {
    own.or_else(|| speakers.iter().find_map(of))
}

fn calls_of(backend: &Backend, scene: Scene<'_>, reader: &Reader<'_>) -> Calls {
    match backend {
        Backend::Service { service, port, subset } => {
            reader.calls(service, scene.client.namespace.as_deref(), *port, subset.as_deref())
        }
        Backend::Invalid(_) => Calls::default(),
    }
}

/// Who speaks for the route, the first one first.
fn speakers(backends: &[(&Backend, u32)], of_members: &[Calls], scene: Scene<'_>, reader: &Reader<'_>) -> Vec<Calls> {
    let mut targets: Vec<(&ObjectName, u16, Option<&Arc<str>>)> = Vec::new();
    for (backend, weight) in backends {
        if let Backend::Service { service, port, subset } = backend
            && *weight > 0
        {
            targets.push((service, *port, subset.as_ref()));
        }
    }
    let client = scene.client.namespace.as_deref();
    let called = scene.called.map(|name| reader.calls(name, client, scene.port, None));
    match targets.as_slice() {
        [] => called.into_iter().collect(),
        [(service, port, subset), rest @ ..] if rest.iter().all(|(other, _, _)| other == service) => {
            let version = subset.filter(|_| rest.iter().all(|(_, _, other)| other == subset));
            let of_service = reader.calls(service, client, *port, version.map(|subset| &**subset));
            std::iter::once(of_service).chain(called.filter(|_| scene.called != Some(service))).collect()
        }
        _ => called.into_iter().chain(of_members.iter().cloned()).collect(),
    }
}

/// The rule's fault on the whole route, or each destination's on what goes there.
fn faults<'f>(own: Option<&'f Stated<Fault>>, of_members: &'f [Calls], action: &RouteAction) -> Faults<'f> {
    if let Some(stated) = own {
        return vec![(Place::Route, stated)];
    }
    let RouteAction::Forward(forward) = action else { return Vec::new() };
    let place = |number| match forward.cluster {
        ClusterSpecifier::Weighted(_) => Place::Member(number),
        ClusterSpecifier::Cluster(_) | ClusterSpecifier::ClusterHeader(_) => Place::Route,
    };
    let faults =
        of_members.iter().enumerate().filter_map(|(number, calls)| Some((place(number), calls.fault.as_ref()?)));
    faults.collect()
}
