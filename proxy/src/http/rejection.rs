//! Answers that the proxy makes itself, and why.
//!
//! A closed set: each has its status, its response flag, a detail for machines and a sentence for people, in one place.

use tidegate_http1::Refusal;
use tidegate_report::ResponseFlag;

use super::exchange::{Late, Trouble};
use crate::upstream::Fault;
use crate::wire::body::Broken;

/// Why the proxy answers in place of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: u16,
    pub(crate) flag: ResponseFlag,
    /// One word for machines, as in Envoy's response code details.
    pub(crate) details: &'static str,
    /// One sentence for people.
    pub(crate) text: &'static str,
    /// The caller's connection cannot be used any more.
    pub(crate) close: bool,
}

const fn upstream(status: u16, flag: ResponseFlag, details: &'static str, text: &'static str) -> Rejection {
    Rejection { status, flag, details, text, close: false }
}

impl Rejection {
    pub(crate) const NO_ROUTE: Self =
        upstream(404, ResponseFlag::NoRoute, "route_not_found", "no virtual host or route matches this request");
    pub(crate) const CONNECT: Self =
        upstream(405, ResponseFlag::NoRoute, "connect_not_allowed", "CONNECT is not allowed here");
    pub(crate) const NO_ENDPOINT: Self = upstream(
        503,
        ResponseFlag::NoHealthyUpstream,
        "no_healthy_upstream",
        "the cluster has no endpoint that can be used",
    );
    pub(crate) const OVERFLOW: Self = upstream(
        503,
        ResponseFlag::UpstreamOverflow,
        "overflow",
        "the cluster has as many requests in flight as its circuit breaker allows",
    );
    pub(crate) const UNWRITABLE: Self = upstream(
        500,
        ResponseFlag::DownstreamProtocolError,
        "invalid_mutation",
        "a configured mutation makes the head invalid",
    );
    pub(crate) const HEAD_TIMEOUT: Self = Self {
        status: 408,
        flag: ResponseFlag::DownstreamProtocolError,
        details: "request_head_timeout",
        text: "the request head did not arrive in time",
        close: true,
    };

    /// The route's cluster is not known.
    pub(crate) fn no_cluster(status: u16) -> Self {
        upstream(status, ResponseFlag::NoCluster, "cluster_not_found", "the route's cluster is not known")
    }

    /// The caller's message breaks the protocol.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            flag: ResponseFlag::DownstreamProtocolError,
            details: "protocol_error",
            text: refusal.reason,
            close: true,
        }
    }

    /// What is answered to a trouble before the answer's head; `None`: nobody is there to be answered.
    pub(crate) fn of(trouble: &Trouble) -> Option<Self> {
        match trouble {
            Trouble::Upstream(fault) => Some(Self::of_fault(fault)),
            Trouble::Caller(Broken::Refused(refusal)) => Some(Self::refused(*refusal)),
            Trouble::Caller(Broken::Torn | Broken::Reset(_)) | Trouble::CallerGone => None,
            Trouble::Unwritable => Some(Self::UNWRITABLE),
            Trouble::Late(late) => Some(Self::of_lateness(*late)),
        }
    }

    fn of_fault(fault: &Fault) -> Self {
        use ResponseFlag as Flag;
        match fault {
            Fault::Connect(_) => upstream(
                503,
                Flag::UpstreamConnectionFailure,
                "upstream_connect_failure",
                "no connection to the endpoint could be made",
            ),
            Fault::ConnectTimeout => upstream(
                503,
                Flag::UpstreamConnectionFailure,
                "upstream_connect_timeout",
                "the endpoint did not take the connection in time",
            ),
            Fault::Closed { seen: false } => upstream(
                503,
                Flag::UpstreamConnectionTermination,
                "upstream_reset_before_response",
                "the endpoint closed the connection before it answered",
            ),
            Fault::Closed { seen: true } => upstream(
                502,
                Flag::UpstreamProtocolError,
                "upstream_head_incomplete",
                "the endpoint closed the connection in the middle of its answer's head",
            ),
            Fault::Reset(_) | Fault::Unprocessed => upstream(
                503,
                Flag::UpstreamRemoteReset,
                "upstream_remote_reset",
                "the endpoint reset the stream before it answered",
            ),
            Fault::Protocol(refusal) => {
                upstream(502, Flag::UpstreamProtocolError, "upstream_protocol_error", refusal.reason)
            }
            Fault::Unexpected(text) => upstream(502, Flag::UpstreamProtocolError, "upstream_unexpected_answer", text),
        }
    }

    fn of_lateness(late: Late) -> Self {
        match late {
            Late::Total => upstream(
                504,
                ResponseFlag::UpstreamTimeout,
                "response_timeout",
                "the endpoint did not answer within the route's time limit",
            ),
            Late::Answer => upstream(
                504,
                ResponseFlag::StreamIdleTimeout,
                "stream_idle_timeout",
                "nothing moved for longer than the stream's idle limit",
            ),
            Late::UpstreamReading => upstream(
                504,
                ResponseFlag::UpstreamTimeout,
                "upstream_write_timeout",
                "the endpoint stopped reading the request",
            ),
            Late::CallerSending | Late::CallerReading => Self {
                status: 408,
                flag: ResponseFlag::StreamIdleTimeout,
                details: "request_body_timeout",
                text: "the request's body stopped arriving",
                close: true,
            },
        }
    }

    /// The gRPC status for callers that speak it.
    pub(crate) fn grpc_status(&self) -> u8 {
        match (self.status, self.flag) {
            (504, ResponseFlag::UpstreamTimeout) => 4,
            (404, _) => 12,
            (400..=499, _) => 13,
            _ => 14,
        }
    }
}
