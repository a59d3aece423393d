//! From a request to a plan: which route, which cluster, which limits, which upgrade.

pub(crate) mod attempts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_http1::{RequestHead, Version, without_parameters};
use tidegate_traffic::{
    Chosen, CompiledAction, CompiledForward, CompiledRoute, Context, Deadlines, Hashed, Overrides, deadlines, redirect,
};
use tidegate_xds::resource::cluster::UpstreamProtocol;

use crate::config::snapshot::ActiveCluster;
use crate::filter::Subject;
use crate::http::call::Call;
use crate::http::head::{Request, RequestId, protocol};
use crate::http::rejection::{Behind, Rejection};
use crate::pool::{Keeping, Terms};

/// What is to be done with a request.
pub(crate) enum Decision<'c> {
    /// Not boxed: nearly every request is forwarded, and a box would be an allocation for each.
    Forward(Plan<'c>),
    /// Answered here, as configured.
    Answer(Made<'c>),
    /// With the route, where one was found.
    Reject(Rejection, Option<&'c CompiledRoute>),
}

/// An answer as a route says it.
pub(crate) struct Made<'c> {
    pub(crate) route: &'c CompiledRoute,
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Bytes,
}

impl<'c> Decision<'c> {
    /// The route, where one was found.
    pub(crate) fn route(&self) -> Option<&CompiledRoute> {
        match self {
            Self::Forward(plan) => Some(plan.route),
            Self::Answer(made) => Some(made.route),
            Self::Reject(_, route) => *route,
        }
    }

    /// What filters see of it.
    pub(crate) fn subject<'a>(&'a self, request: &'a Request<'a>) -> Subject<'a> {
        let (route, cluster) = match self {
            Self::Forward(plan) => (Some(plan.route), &*plan.cluster.config.name),
            Self::Answer(made) => (Some(made.route), ""),
            Self::Reject(_, route) => (*route, ""),
        };
        Subject { request, route, cluster }
    }

    /// What its route says to filters.
    pub(crate) fn overrides(&self) -> Overrides<'_> {
        match self {
            Self::Forward(plan) => plan.route.filters(Some(&plan.chosen)),
            Self::Answer(made) => made.route.filters(None),
            Self::Reject(_, route) => route.map_or_else(Overrides::default, |route| route.filters(None)),
        }
    }

    /// Where the policies that act on the request are written.
    pub(crate) fn behind(&self) -> Behind<'_> {
        match self {
            Self::Forward(plan) => {
                let cluster = &plan.cluster.config;
                Behind {
                    route: Some(&plan.route.policies),
                    cluster: Some(&cluster.policies),
                    written: Some((&plan.route.written, &cluster.name)),
                    changed_by: Some((plan.route, Some(&plan.chosen))),
                }
            }
            // Its own answer is changed where it is made; a filter's in its place is not, as in Envoy.
            Self::Answer(Made { route, .. }) => Behind { route: Some(&route.policies), ..Behind::default() },
            Self::Reject(_, Some(route)) => {
                Behind { route: Some(&route.policies), changed_by: Some((*route, None)), ..Behind::default() }
            }
            Self::Reject(_, None) => Behind::default(),
        }
    }
}

/// How a request is forwarded.
pub(crate) struct Plan<'c> {
    pub(crate) route: &'c CompiledRoute,
    pub(crate) forward: &'c CompiledForward,
    pub(crate) chosen: Chosen<'c>,
    pub(crate) cluster: &'c Arc<ActiveCluster>,
    pub(crate) deadlines: Deadlines,
    pub(crate) idle: Option<Duration>,
    /// The upgrade that is asked for and allowed.
    pub(crate) upgrade: Option<&'c str>,
    pub(crate) http2: bool,
    pub(crate) request_id: Option<RequestId>,
    /// The hash of the route's policy, and the cookies that it made.
    pub(crate) hashed: Hashed,
}

/// Decides. Two draws: a route's share and the choice between clusters must not be correlated.
pub(crate) fn decide<'c>(call: &Call<'c>) -> Decision<'c> {
    let request = call.request;
    if request.method() == "CONNECT" {
        return Decision::Reject(Rejection::CONNECT, None);
    }
    let matching = without_parameters(call.seen.path);
    let view = Request { path: &matching, ..call.view() };
    let Some(route) = call.chain.routes.table.find(&view, call.worker.random()) else {
        return Decision::Reject(Rejection::NO_ROUTE, None);
    };
    let forward = match &route.action {
        CompiledAction::Forward(forward) => &**forward,
        CompiledAction::Redirect(target) => {
            let location = redirect::location(target, &call.seen.hearing_all());
            return Decision::Answer(Made {
                route,
                status: target.status,
                location: Some(location),
                body: Bytes::new(),
            });
        }
        CompiledAction::DirectResponse { status, body } => {
            return Decision::Answer(Made {
                route,
                status: *status,
                location: None,
                body: Bytes::copy_from_slice(body),
            });
        }
    };
    let not_found = Rejection::no_cluster(forward.cluster_not_found_status);
    let hashed = hash(call, forward);
    let Some(chosen) = forward.choose(&call.view(), call.worker.random(), hashed.hash) else {
        return Decision::Reject(not_found, Some(route));
    };
    let Some(cluster) = call.view_cluster(&chosen.cluster) else { return Decision::Reject(not_found, Some(route)) };
    Decision::Forward(plan(call, route, forward, chosen, cluster, hashed))
}

fn plan<'c>(
    call: &Call<'c>,
    route: &'c CompiledRoute,
    forward: &'c CompiledForward,
    chosen: Chosen<'c>,
    cluster: &'c Arc<ActiveCluster>,
    hashed: Hashed,
) -> Plan<'c> {
    let request = call.request;
    let deadlines = deadlines(forward, &call.view());
    let http2 = speaks_http2(cluster, request);
    let manager = &call.chain.manager;
    // A switch of protocols is one connection's business: it works where both sides speak HTTP/1.1.
    let upgrade = request.upgrade().filter(|kind| !http2 && is_allowed(manager, forward, kind));
    let request_id = (manager.generate_request_id && request.field("x-request-id").is_none())
        .then(|| RequestId([call.worker.random(), call.worker.random()]));
    Plan {
        route,
        forward,
        chosen,
        cluster,
        idle: call.idle(deadlines.idle),
        deadlines,
        upgrade,
        http2,
        request_id,
        hashed,
    }
}

fn hash(call: &Call<'_>, forward: &CompiledForward) -> Hashed {
    let policies = forward.hash_policies();
    if policies.is_empty() {
        return Hashed::default();
    }
    policies.hash(&call.view(), Some(call.trusted_address()), &mut || call.worker.random())
}

/// What is spoken to a cluster about this request.
pub(crate) fn speaks_http2(cluster: &ActiveCluster, request: &RequestHead) -> bool {
    match cluster.config.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::SameAsDownstream => request.version() == Version::Http2,
    }
}

/// On which terms connections to a cluster are kept.
pub(crate) fn terms(call: &Call<'_>, cluster: &ActiveCluster) -> Terms {
    let Keeping { idle, requests_max } = keeping(call, cluster);
    Terms {
        connect_timeout: cluster.config.connect_timeout,
        idle,
        thresholds: cluster.config.circuit_breakers,
        requests_max,
        tls: cluster.tls.clone(),
    }
}

/// The part of these terms that a connection which goes back to its pool is asked about.
pub(crate) fn keeping(call: &Call<'_>, cluster: &ActiveCluster) -> Keeping {
    Keeping {
        idle: cluster.config.idle_timeout.unwrap_or(call.worker.shared.limits.upstream_idle),
        requests_max: cluster.config.max_requests_per_connection.map_or(u32::MAX, std::num::NonZeroU32::get),
    }
}

fn is_allowed(
    manager: &tidegate_xds::resource::listener::HttpConnectionManager,
    forward: &CompiledForward,
    kind: &str,
) -> bool {
    let of_listener = || manager.upgrades.iter().any(|upgrade| &*upgrade.kind == kind && upgrade.enabled);
    forward.upgrade(kind).unwrap_or_else(of_listener)
}

impl<'c> Call<'c> {
    fn view_cluster(&self, name: &str) -> Option<&'c Arc<ActiveCluster>> {
        self.view.cluster(name)
    }

    /// The request as rules see it.
    pub(crate) fn view(&self) -> Request<'c> {
        self.seen
    }

    /// What formats may read.
    pub(crate) fn context<'a>(&'a self, cluster: &'a str) -> Context<'a> {
        Context {
            downstream_remote: Some(self.peer),
            downstream_local: self.local,
            protocol: protocol(self.request),
            upstream_host: None,
            upstream_cluster: cluster,
            response_code: None,
            hostname: "",
            start_time: Some(self.started_at),
        }
    }

    /// Whether the caller speaks gRPC, so that refusals must too.
    pub(crate) fn is_grpc(&self) -> bool {
        tidegate_traffic::request::is_grpc(&self.seen)
    }

    pub(crate) fn is_head(&self) -> bool {
        self.request.method() == "HEAD"
    }
}
