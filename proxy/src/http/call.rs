//! One request with everything that was known when it arrived.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tidegate_http1::{RequestHead, ResponseHead};
use tidegate_report::ResponseFlag;
use tidegate_traffic::IdleLimit;
use tidegate_traffic::rate_limit::ConnectionBuckets;

use super::head::{PeerName, Request};
use crate::clock::{Alarm, Stamp};
use crate::config::snapshot::{ActiveListener, HttpChain};
use crate::telemetry::access_log::Outcome;
use crate::telemetry::edges::place::Origin;
use crate::telemetry::trace::Hop;
use crate::tls::server::ServerTls;
use crate::worker::{View, Worker};

/// A request in its world.
pub(crate) struct Call<'c> {
    pub(crate) worker: &'c Rc<Worker>,
    /// The configuration, loaded once for this request.
    pub(crate) view: &'c View,
    pub(crate) listener: &'c ActiveListener,
    pub(crate) chain: &'c HttpChain,
    pub(crate) request: &'c RequestHead,
    pub(crate) peer: SocketAddr,
    /// Its address as text.
    pub(crate) peer_name: &'c PeerName,
    pub(crate) local: Option<SocketAddr>,
    /// Who is at the other end of the connection.
    pub(crate) origin: &'c Origin,
    /// What the connection was terminated with.
    pub(crate) tls: Option<&'c ServerTls>,
    /// That the caller named under TLS.
    pub(crate) server_name: Option<&'c str>,
    pub(crate) alarm: &'c Alarm,
    pub(crate) started: Stamp,
    /// The same on the wall clock.
    pub(crate) started_at: SystemTime,
    /// The request as rules see it.
    pub(crate) seen: Request<'c>,
    /// The head has fields for proxies (`x-envoy-…`).
    pub(crate) speaks_to_proxies: bool,
    /// The connection's own tokens.
    pub(crate) buckets: &'c RefCell<ConnectionBuckets>,
    /// What becomes of it.
    pub(crate) outcome: Outcome,
    /// Its place in its trace.
    pub(crate) trace: Hop<'c>,
}

impl Call<'_> {
    /// How long a stream may stand still: the route's word, or the listener's.
    pub(crate) fn idle(&self, limit: IdleLimit) -> Option<Duration> {
        match limit {
            IdleLimit::Inherit => self.chain.manager.stream_idle_timeout,
            IdleLimit::Off => None,
            IdleLimit::After(after) => Some(after),
        }
    }

    /// The caller's address as far as it is trusted: of the connection where the mesh begins, and otherwise what the proxy
    /// in front of this one wrote last.
    pub(crate) fn trusted_address(&self) -> IpAddr {
        let manager = &self.chain.manager;
        let peer = self.peer.ip().to_canonical();
        let hops = usize::try_from(manager.xff_num_trusted_hops).unwrap_or(usize::MAX);
        let from_right = match (manager.use_remote_address, hops) {
            (true, 0) => return peer,
            (true, hops) => hops - 1,
            (false, hops) => hops,
        };
        let listed: Vec<&[u8]> =
            self.request.field_all("x-forwarded-for").flat_map(|field| field.split(|byte| *byte == b',')).collect();
        let nth = listed.iter().rev().nth(from_right);
        let address = nth.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<IpAddr>().ok());
        address.map_or(peer, |address| address.to_canonical())
    }

    /// The status of a gRPC answer that is over with its head.
    #[inline]
    pub(crate) fn grpc_status(&self, head: &ResponseHead) -> Option<u32> {
        let status = head.field("grpc-status").filter(|_| self.is_grpc())?;
        let status = std::str::from_utf8(status).ok()?.parse().ok();
        self.trace.grpc(status);
        status
    }

    /// Another endpoint is asked.
    pub(crate) fn attempt(&self, count: u32, endpoint: usize, upstream: Option<SocketAddr>) {
        self.outcome.attempt(count, endpoint, upstream, self.worker.wheel.stamp());
    }

    /// An endpoint's answer begins: counts it for the listener.
    pub(crate) fn served(&self, head: &ResponseHead) {
        self.count(head.status());
        self.outcome.served(self.worker.wheel.stamp());
        if let Some(log) = &self.worker.shared.access_log {
            let status = head.field("grpc-status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
            self.outcome.grpc_status.set(status);
            log.keep(head, &self.outcome);
        }
    }

    /// Counts the answer for the listener.
    pub(crate) fn count(&self, status: u16) {
        self.listener.state.cells.of(self.worker.index).requests.count(status);
        self.outcome.answered(status);
    }

    /// Counts why it did not go the ordinary way.
    pub(crate) fn flag(&self, flag: ResponseFlag) {
        self.worker.cells().reject(flag);
        self.outcome.flag(flag);
    }
}

/// How an exchange left the caller's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Ready for the next request.
    Reusable,
    /// Every byte of the answer is out, but nothing more may follow.
    Close,
    /// The answer was cut short, or the caller is gone.
    Abort,
}
