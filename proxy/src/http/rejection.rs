//! Answers that the proxy makes itself, and why.
//!
//! A closed set: each has its status, its response flag, a detail for machines and a sentence for people, in one place.
//! Statuses and bodies are Envoy's, so that whoever reads its answers reads ours. What an operator needs beyond them is in
//! `x-mesh-error`: the flag, the policy that stands behind the answer, and the detail.

use tidegate_http1::Refusal;
use tidegate_report::ResponseFlag;
use tidegate_traffic::circuit_breaker::Tripped;
use tidegate_traffic::route::written;
use tidegate_traffic::{Chosen, CompiledRoute};
use tidegate_xds::resource::route::{Policies, Written};

use super::exchange::{Late, Trouble};
use crate::filter::fault;
use crate::upstream::Fault;
use crate::wire::body::Broken;

/// Why the proxy answers in place of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: u16,
    pub(crate) flag: ResponseFlag,
    /// What else was the case: retries that were spent, or that a breaker forbade.
    pub(crate) also: Option<ResponseFlag>,
    /// One word for machines, as in Envoy's response code details.
    pub(crate) details: &'static str,
    /// One sentence for people.
    pub(crate) text: &'static str,
    /// The sentence where this was not the first attempt, if it differs.
    pub(crate) text_after_retry: Option<&'static str>,
    /// The caller's connection cannot be used any more.
    pub(crate) close: bool,
    /// The status for callers that speak gRPC, where it does not follow from `status`.
    pub(crate) grpc: Option<u32>,
    /// Which kind of policy stands behind it.
    pub(crate) kind: Option<&'static str>,
}

const fn upstream(status: u16, flag: ResponseFlag, details: &'static str, text: &'static str) -> Rejection {
    Rejection { status, flag, also: None, details, text, text_after_retry: None, close: false, grpc: None, kind: None }
}

/// An exchange that ended before an answer. `texts`: of the first attempt, and of a later one.
const fn reset(status: u16, flag: ResponseFlag, details: &'static str, texts: [&'static str; 2]) -> Rejection {
    Rejection { text_after_retry: Some(texts[1]), ..upstream(status, flag, details, texts[0]) }
}

/// Envoy's two sentences for a reason.
macro_rules! reset_texts {
    ($reason:literal) => {
        [
            concat!("upstream connect error or disconnect/reset before headers. reset reason: ", $reason),
            concat!(
                "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: ",
                $reason
            ),
        ]
    };
}

/// What stands behind an answer: the route and the cluster, where the request had come so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind<'a> {
    /// The policies of the route.
    pub(crate) route: Option<&'a Policies>,
    /// The policies of the cluster,
    pub(crate) cluster: Option<&'a Policies>,
    /// and where they are written, for clusters by name. Looked up only when it is to be said.
    pub(crate) written: Option<(&'a Written, &'a str)>,
    /// The route that changes the answer's head, with what was chosen on it.
    pub(crate) changed_by: Option<(&'a CompiledRoute, Option<&'a Chosen<'a>>)>,
}

impl<'a> Behind<'a> {
    /// The object and where it is written, in one text for a route and in two for a cluster.
    fn policy(&self, kind: &str) -> Option<[&'a str; 2]> {
        let of = |policies: Option<&'a Policies>| policies?.get(kind).map(|policy| &**policy);
        let place = || self.written.and_then(|(all, cluster)| written(all, cluster, kind));
        let of_cluster = || of(self.cluster).map(|object| [object, place().unwrap_or_default()]);
        of(self.route).map(|policy| [policy, ""]).or_else(of_cluster)
    }
}

impl Rejection {
    pub(crate) const NO_ROUTE: Self = upstream(404, ResponseFlag::NoRoute, "route_not_found", "");
    pub(crate) const CONNECT: Self =
        upstream(405, ResponseFlag::NoRoute, "connect_not_allowed", "CONNECT is not allowed here");
    pub(crate) const NO_ENDPOINT: Self =
        upstream(503, ResponseFlag::NoHealthyUpstream, "no_healthy_upstream", "no healthy upstream");
    pub(crate) const DROP_OVERLOAD: Self = upstream(503, ResponseFlag::DropOverload, "drop_overload", "drop overload");
    pub(crate) const UNWRITABLE: Self = upstream(
        500,
        ResponseFlag::DownstreamProtocolError,
        "invalid_mutation",
        "a configured mutation makes the head invalid",
    );
    pub(crate) const HEAD_TIMEOUT: Self = Self {
        close: true,
        ..upstream(
            408,
            ResponseFlag::DownstreamProtocolError,
            "request_head_timeout",
            "the request head did not arrive in time",
        )
    };

    pub(crate) const OVERLOAD: Self =
        Self { close: true, ..upstream(503, ResponseFlag::Overload, "memory_pressure", "memory is scarce") };

    /// The route's cluster is not known.
    pub(crate) fn no_cluster(status: u16) -> Self {
        upstream(status, ResponseFlag::NoCluster, "cluster_not_found", "")
    }

    /// A limit of the cluster's circuit breaker.
    pub(crate) fn overflow(limit: Tripped) -> Self {
        let details = match limit {
            Tripped::Connections => "overflow{max_connections}",
            Tripped::PendingRequests => "overflow{max_pending_requests}",
            Tripped::Requests => "overflow{max_requests}",
            Tripped::Retries => "overflow{max_retries}",
            Tripped::RetryBudget => "overflow{retry_budget}",
            Tripped::ConnectionsPerEndpoint => "overflow{max_connections_per_endpoint}",
            Tripped::RequestsPerEndpoint => "overflow{max_requests_per_endpoint}",
        };
        let texts = reset_texts!("overflow");
        Self { kind: Some("circuit_breaker"), ..reset(503, ResponseFlag::UpstreamOverflow, details, texts) }
    }

    /// The caller's message breaks the protocol.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let rejection =
            upstream(refusal.status, ResponseFlag::DownstreamProtocolError, "protocol_error", refusal.reason);
        Self { close: true, ..rejection }
    }

    /// The same for a request that was sent before.
    pub(crate) fn after_retry(self) -> Self {
        Self { text: self.text_after_retry.unwrap_or(self.text), ..self }
    }

    /// The value of `x-mesh-error`.
    pub(crate) fn error(&self, behind: Behind<'_>) -> String {
        let mut error = self.flag.to_string();
        if let Some(also) = self.also {
            error.push(',');
            error.push_str(also.code());
        }
        if let Some(policy) = self.kind.and_then(|kind| behind.policy(kind)) {
            error.push_str("; policy=");
            for (number, part) in policy.into_iter().filter(|part| !part.is_empty()).enumerate() {
                error.push_str(if number > 0 { " " } else { "" });
                // Names of files may hold what a field may not.
                error.extend(part.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }));
            }
        }
        error.push_str("; details=");
        error.push_str(self.details);
        error
    }

    /// What is answered to a trouble before the answer's head; `None`: nobody is there to be answered.
    pub(crate) fn of(trouble: &Trouble) -> Option<Self> {
        match trouble {
            Trouble::Upstream(fault) => Some(Self::of_fault(fault)),
            Trouble::Caller(Broken::Refused(refusal)) => Some(Self::refused(*refusal)),
            Trouble::Caller(Broken::Torn | Broken::Reset(_)) | Trouble::CallerGone => None,
            // An answer that was thrown away for another attempt, and then there was none.
            Trouble::Answered(status) => Some(upstream(
                *status,
                ResponseFlag::RetryLimitExceeded,
                "retry_abandoned",
                "the endpoint's answer was given up for another attempt",
            )),
            Trouble::Injected(abort) => fault::rejection(*abort),
            Trouble::Unwritable => Some(Self::UNWRITABLE),
            Trouble::Late(late) => Some(Self::of_lateness(*late)),
        }
    }

    fn of_fault(fault: &Fault) -> Self {
        use ResponseFlag as Flag;
        match fault {
            Fault::Connect(_) => reset(
                503,
                Flag::UpstreamConnectionFailure,
                "upstream_connect_failure",
                reset_texts!("remote connection failure"),
            ),
            Fault::Handshake(fault) => {
                reset(503, Flag::UpstreamConnectionFailure, fault.details(), reset_texts!("remote connection failure"))
            }
            Fault::ConnectTimeout => reset(
                503,
                Flag::UpstreamConnectionFailure,
                "upstream_connect_timeout",
                reset_texts!("connection timeout"),
            ),
            Fault::Closed { seen: false } => reset(
                503,
                Flag::UpstreamConnectionTermination,
                "upstream_reset_before_response",
                reset_texts!("connection termination"),
            ),
            Fault::Closed { seen: true } => protocol_error("upstream_head_incomplete"),
            Fault::Reset(_) | Fault::Unprocessed => {
                reset(503, Flag::UpstreamRemoteReset, "upstream_remote_reset", reset_texts!("remote reset"))
            }
            Fault::Overflow(limit) => Self::overflow(*limit),
            Fault::Protocol(_) => protocol_error("upstream_protocol_error"),
            Fault::Unexpected(_) => protocol_error("upstream_unexpected_answer"),
        }
    }

    fn of_lateness(late: Late) -> Self {
        let timeout = |details| Self {
            kind: Some("timeout"),
            ..upstream(504, ResponseFlag::UpstreamTimeout, details, "upstream request timeout")
        };
        match late {
            Late::Total => timeout("response_timeout"),
            Late::Attempt => Self { kind: Some("retry"), ..timeout("upstream_per_try_timeout") },
            Late::UpstreamReading => timeout("upstream_write_timeout"),
            Late::Answer => upstream(504, ResponseFlag::StreamIdleTimeout, "stream_idle_timeout", "stream timeout"),
            Late::CallerSending | Late::CallerReading => Self {
                close: true,
                ..upstream(408, ResponseFlag::StreamIdleTimeout, "request_body_timeout", "stream timeout")
            },
        }
    }

    /// The status for callers that speak gRPC.
    pub(crate) fn grpc_status(&self) -> u32 {
        match (self.grpc, self.status, self.flag) {
            (Some(status), _, _) => status,
            (None, 504, ResponseFlag::UpstreamTimeout) => 4,
            (None, 401, _) => 16,
            (None, 403, _) => 7,
            (None, 404, _) => 12,
            (None, 429, _) => 14,
            (None, 400, _) => 13,
            (None, 502..=504, _) => 14,
            (None, _, _) => 2,
        }
    }
}

fn protocol_error(details: &'static str) -> Rejection {
    reset(502, ResponseFlag::UpstreamProtocolError, details, reset_texts!("protocol error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_field_names_flags_policy_and_detail() {
        let route = Policies::from([("timeout".into(), "shop/slow reviews.yaml:12".into())]);
        let cluster = Policies::from([("circuit_breaker".into(), "shop/br\u{e9}aker\n".into())]);
        let places = Policies::from([("circuit_breaker".into(), "b.yaml:1".into())]);
        let written = Written::from([("reviews".into(), places)]);
        let behind = Behind {
            route: Some(&route),
            cluster: Some(&cluster),
            written: Some((&written, "reviews")),
            changed_by: None,
        };

        let late = Rejection::of(&Trouble::Late(Late::Total)).expect("answered");
        assert_eq!(late.error(behind), "UT; policy=shop/slow reviews.yaml:12; details=response_timeout");
        assert_eq!(
            Rejection::overflow(Tripped::Requests).error(behind),
            "UO; policy=shop/br?aker? b.yaml:1; details=overflow{max_requests}"
        );
        let lost = Behind { written: None, ..behind };
        assert_eq!(
            Rejection::overflow(Tripped::Requests).error(lost),
            "UO; policy=shop/br?aker?; details=overflow{max_requests}"
        );
        let spent = Rejection { also: Some(ResponseFlag::RetryLimitExceeded), ..Rejection::NO_ENDPOINT };
        assert_eq!(spent.error(behind), "UH,URX; details=no_healthy_upstream");
    }
}
