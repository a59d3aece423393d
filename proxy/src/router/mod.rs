//! From a request to a plan: which route, which cluster, which limits, which upgrade.

pub(crate) mod attempts;

use std::sync::Arc;
use std::time::Duration;

use tidegate_http1::Version;
use tidegate_traffic::{
    Chosen, CompiledAction, CompiledForward, CompiledRoute, Context, Deadlines, RequestView as _, deadlines, redirect,
};
use tidegate_xds::resource::cluster::UpstreamProtocol;

use crate::config::snapshot::ActiveCluster;
use crate::http::call::Call;
use crate::http::head::{Request, protocol};
use crate::http::rejection::Rejection;
use crate::pool::Terms;

/// What is to be done with a request.
pub(crate) enum Decision<'c> {
    Forward(Box<Plan<'c>>),
    /// Answered here, as configured.
    Answer {
        route: &'c CompiledRoute,
        status: u16,
        location: Option<String>,
        body: Arc<[u8]>,
    },
    Reject(Rejection),
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
    pub(crate) request_id: Option<u128>,
    pub(crate) terms: Terms,
}

/// Decides. Two draws: a route's share and the choice between clusters must not be correlated.
pub(crate) fn decide<'c>(call: &Call<'c>) -> Decision<'c> {
    let request = call.request;
    if request.method() == "CONNECT" {
        return Decision::Reject(Rejection::CONNECT);
    }
    let matching = request.path_for_matching();
    let view = Request { head: request, path: &matching };
    let Some(route) = call.chain.routes.table.find(&view, call.worker.random()) else {
        return Decision::Reject(Rejection::NO_ROUTE);
    };
    let forward = match &route.action {
        CompiledAction::Forward(forward) => &**forward,
        CompiledAction::Redirect(target) => {
            let location = redirect::location(target, &Request::new(request));
            return Decision::Answer { route, status: target.status, location: Some(location), body: Arc::new([]) };
        }
        CompiledAction::DirectResponse { status, body } => {
            return Decision::Answer { route, status: *status, location: None, body: Arc::clone(body) };
        }
    };
    let not_found = Rejection::no_cluster(forward.cluster_not_found_status);
    let Some(chosen) = forward.choose_cluster(&Request::new(request), call.worker.random()) else {
        return Decision::Reject(not_found);
    };
    let Some(cluster) = call.view_cluster(&chosen.cluster) else { return Decision::Reject(not_found) };
    Decision::Forward(Box::new(plan(call, route, forward, chosen, cluster)))
}

fn plan<'c>(
    call: &Call<'c>,
    route: &'c CompiledRoute,
    forward: &'c CompiledForward,
    chosen: Chosen<'c>,
    cluster: &'c Arc<ActiveCluster>,
) -> Plan<'c> {
    let request = call.request;
    let deadlines = deadlines(forward, &Request::new(request));
    let http2 = match cluster.config.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::SameAsDownstream => request.version() == Version::Http2,
    };
    let manager = &call.chain.manager;
    // A switch of protocols is one connection's business: it works where both sides speak HTTP/1.1.
    let upgrade = request.upgrade().filter(|kind| !http2 && is_allowed(manager, forward, kind));
    let request_id = (manager.generate_request_id && request.field("x-request-id").is_none())
        .then(|| u128::from(call.worker.random()) << 64 | u128::from(call.worker.random()));
    let limits = &call.worker.shared.limits;
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
        terms: Terms {
            connect_timeout: cluster.config.connect_timeout,
            idle: cluster.config.idle_timeout.unwrap_or(limits.upstream_idle),
            requests_max: cluster.config.max_requests_per_connection.map_or(u32::MAX, std::num::NonZeroU32::get),
        },
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
            start_time: Some(self.worker.wall(self.started)),
        }
    }

    /// Whether the caller speaks gRPC, so that refusals must too.
    pub(crate) fn is_grpc(&self) -> bool {
        tidegate_traffic::request::is_grpc(&Request::new(self.request))
    }

    pub(crate) fn is_head(&self) -> bool {
        Request::new(self.request).method() == "HEAD"
    }
}
