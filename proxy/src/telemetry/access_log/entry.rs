//! What is known of a request, or of a TCP connection, when it is over.
//!
//! Everything is borrowed: formats take what they want, and what no format wants costs nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tidegate_http1::RequestHead;
use tidegate_traffic::route::written;

use super::{OfBytes, Outcome};
use crate::clock;
use crate::http::call::Call;
use crate::http::head::RequestId;
use crate::http::rejection::Behind;
use crate::router::Decision;
use crate::telemetry::trace::ids::text;
use crate::telemetry::trace::w3c;

/// What a line is made of.
pub(crate) struct Entry<'e> {
    /// When the line is made.
    pub(super) now: SystemTime,
    pub(super) started_at: SystemTime,
    pub(super) duration: Duration,
    pub(super) listener: &'e str,
    pub(super) remote: SocketAddr,
    /// The caller as far as it is trusted, see [`Call::trusted_address`].
    pub(super) client: IpAddr,
    pub(super) local: Option<SocketAddr>,
    pub(super) server_name: Option<&'e str>,
    /// `None`: a TCP connection.
    pub(super) request: Option<&'e RequestHead>,
    /// That was made here.
    pub(super) request_id: Option<[u8; 36]>,
    pub(super) route: Option<Place<'e>>,
    pub(super) cluster: Option<&'e str>,
    pub(super) behind: Behind<'e>,
    /// From the request to the beginning of an endpoint's answer.
    pub(super) response_time: Option<Duration>,
    /// What the endpoint took for that, since it was chosen.
    pub(super) upstream_time: Option<Duration>,
    /// Digits of the trace and of the span here, where this proxy has one.
    pub(super) hop: Option<([u8; 32], [u8; 16])>,
    pub(super) outcome: &'e Outcome,
}

/// Where a route is.
#[derive(Clone, Copy)]
pub(super) struct Place<'e> {
    pub(super) virtual_host: &'e str,
    pub(super) name: &'e str,
    /// Where it was written, `FILE:LINE`.
    pub(super) source: Option<&'e str>,
}

impl<'e> Entry<'e> {
    pub(super) fn of_request(call: &'e Call<'_>, decision: &'e Decision<'_>) -> Self {
        let plan = match decision {
            Decision::Forward(plan) => Some(plan),
            Decision::Answer(_) | Decision::Reject(..) => None,
        };
        let place = |route: &'e tidegate_traffic::CompiledRoute| Place {
            virtual_host: &route.virtual_host,
            name: &route.name,
            source: route.source.as_deref(),
        };
        let Outcome { asked_at, answered_at, .. } = &call.outcome;
        let answered_at = answered_at.get();
        Self {
            now: clock::wall(),
            started_at: call.started_at,
            duration: call.worker.wheel.stamp_now().since(call.started),
            listener: &call.listener.config.name,
            remote: call.peer,
            client: call.trusted_address(),
            local: call.local,
            server_name: call.server_name,
            request: Some(call.request),
            request_id: plan.and_then(|plan| plan.request_id).map(RequestId::text),
            route: decision.route().map(place),
            cluster: plan.map(|plan| &*plan.cluster.config.name),
            behind: decision.behind(),
            response_time: answered_at.map(|at| at.since(call.started)),
            upstream_time: answered_at.zip(asked_at.get()).map(|(at, asked)| at.since(asked)),
            hop: call.trace.ids().map(|(trace, span)| (trace.digits(), span.digits())),
            outcome: &call.outcome,
        }
    }

    pub(super) fn of_bytes(bytes: &'e OfBytes<'_>) -> Self {
        let OfBytes { worker, started, .. } = bytes;
        Self {
            now: clock::wall(),
            started_at: worker.wall(*started),
            duration: worker.wheel.stamp_now().since(*started),
            listener: bytes.listener,
            remote: bytes.remote,
            client: bytes.remote.ip().to_canonical(),
            local: bytes.local,
            server_name: bytes.server_name,
            request: None,
            request_id: None,
            route: None,
            cluster: bytes.cluster.get(),
            behind: Behind::default(),
            response_time: None,
            upstream_time: None,
            hop: None,
            outcome: &bytes.outcome,
        }
    }

    /// Trace and span: those that this proxy reports, or else, where it reports none, those that the caller says properly.
    pub(super) fn trace(&self) -> Option<(&str, &str)> {
        let hop = self.hop.as_ref().map(|(trace, span)| (text(trace), text(span)));
        hop.or_else(|| w3c::parts(self.request?))
    }

    pub(super) fn milliseconds(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// The caller's address with its port, where it is the connection's.
    pub(super) fn client(&self) -> SocketAddr {
        match self.remote.ip().to_canonical() == self.client {
            true => self.remote,
            false => SocketAddr::new(self.client, 0),
        }
    }

    /// Host and port of the authority.
    pub(super) fn host(&self) -> Option<(&'e str, Option<u16>)> {
        let authority = self.request?.authority();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, port.parse().ok())
            }
            Some(_) | None => (authority, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty()).then_some((host, port))
    }

    /// 5xx, no answer, or anything that was flagged.
    pub(super) fn is_failed(&self) -> bool {
        let status = self.outcome.status.get();
        self.outcome.flags.get() != 0 || status >= 500 || (status == 0 && self.request.is_some())
    }

    /// Each as `KIND NAMESPACE/NAME FILE:LINE`: of the route, then of the cluster.
    pub(super) fn policies(&self) -> impl Iterator<Item = [&'e str; 3]> {
        let Behind { route, cluster, written: places, .. } = self.behind;
        let of_route = route.into_iter().flatten().map(|(kind, from)| [&**kind, &**from, ""]);
        let of_cluster = cluster.into_iter().flatten().map(move |(kind, object)| {
            let place = places.and_then(|(all, cluster)| written(all, cluster, kind));
            [&**kind, &**object, place.unwrap_or_default()]
        });
        of_route.chain(of_cluster)
    }
}
