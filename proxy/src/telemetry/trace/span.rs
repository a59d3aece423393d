//! A finished span as a worker leaves it: plain values, nothing formatted. What collectors are told is made of it elsewhere, on
//! the control thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_http1::Version;
use tidegate_report::ResponseFlag;
use tidegate_xds::resource::listener::Direction;
use tidegate_xds::resource::route::Policies;

use super::ids::{SpanId, TraceId};
use super::{Place, sw8};
use crate::http::call::{Call, Ending};
use crate::http::exchange::Trouble;
use crate::http::rejection::Rejection;
use crate::router::{Decision, Plan};

/// Of a text that a caller chose. Longer ones are cut: a span is a record, not a copy.
const TEXT_BYTES_MAX: usize = 256;

/// Which side of a call the hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is called.
    Server,
    /// It calls, for its application.
    Client,
}

/// One hop of a request, or one attempt of it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// What SkyWalking calls the trace and the parent.
    pub(crate) sw8: Option<Box<sw8::Caller>>,
    pub(crate) kind: Kind,
    /// A listener of a gateway, not of a sidecar.
    pub(crate) gateway: bool,
    pub(crate) started: SystemTime,
    pub(crate) duration: Duration,
    /// 0: there was no answer.
    pub(crate) status: u16,
    pub(crate) error: Option<ErrorType>,
    /// A bit for each flag, by its discriminant.
    pub(crate) flags: u64,
    /// Beginning with 1; 0 where nobody was asked.
    pub(crate) attempt: u32,
    pub(crate) copied: bool,
    pub(crate) method: &'static str,
    pub(crate) encrypted: bool,
    pub(crate) version: Version,
    pub(crate) path: Box<str>,
    pub(crate) authority: Box<str>,
    pub(crate) user_agent: Option<Box<str>>,
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) peer: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) listener: Arc<str>,
    pub(crate) route: Option<Route>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) grpc: Option<Grpc>,
}

/// The route that was found.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// May be empty.
    pub(crate) name: Arc<str>,
    pub(crate) virtual_host: Arc<str>,
    pub(crate) pattern: Option<Box<str>>,
    pub(crate) policies: Arc<Policies>,
}

/// A gRPC call.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    pub(crate) method: Box<str>,
    pub(crate) status: Option<u32>,
}

/// Why a span counts as failed, as `error.type` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// The status says it.
    Status(u16),
    /// There was no whole answer.
    Word(&'static str),
}

/// How a span ends.
#[derive(Debug)]
pub(crate) enum End<'t> {
    /// The request is over.
    Over(Ending),
    /// Only an attempt is: another one follows.
    Failed(&'t Trouble),
}

pub(crate) fn kind(call: &Call<'_>) -> Kind {
    match call.listener.config.direction {
        Direction::Outbound => Kind::Client,
        Direction::Inbound | Direction::Unspecified => Kind::Server,
    }
}

impl Span {
    pub(super) fn of(call: &Call<'_>, decision: &Decision<'_>, place: &Place<'_>, end: &End<'_>) -> Self {
        let plan: Option<&Plan<'_>> = match decision {
            Decision::Forward(plan) => Some(plan),
            Decision::Answer(_) | Decision::Reject(..) => None,
        };
        let (head, kind, outcome) = (call.request, kind(call), &call.outcome);
        let began = place.began.get().unwrap_or(call.started);
        let (status, error) = end.of(kind, outcome.status.get(), outcome.flags.get());
        let request_id = plan.and_then(|plan| plan.request_id);
        Self {
            trace: place.trace,
            id: place.span.get(),
            parent: place.parent,
            sw8: place.sw8.clone(),
            kind,
            gateway: call.listener.config.direction == Direction::Unspecified,
            started: call.worker.wall(began),
            duration: call.worker.wheel.stamp_now().since(began),
            status,
            error,
            flags: outcome.flags.get(),
            attempt: outcome.attempts.get(),
            copied: place.copied.get(),
            method: method(head.method()),
            encrypted: head.scheme() == Some("https"),
            version: head.version(),
            path: kept(head.path().as_bytes()),
            authority: kept(head.authority().as_bytes()),
            user_agent: head.field("user-agent").map(kept),
            request_id: match request_id {
                Some(id) => Some(kept(&id.text())),
                None => head.field("x-request-id").map(kept),
            },
            peer: call.peer,
            local: call.local,
            upstream: outcome.upstream.get(),
            listener: Arc::clone(&call.listener.config.name),
            route: decision.route().map(|route| Route {
                name: Arc::clone(&route.name),
                virtual_host: Arc::clone(&route.virtual_host),
                pattern: route.path_pattern().map(|pattern| kept(pattern.as_bytes())),
                policies: Arc::clone(&route.policies),
            }),
            cluster: plan.map(|plan| Arc::clone(&plan.cluster.config.name)),
            grpc: call.is_grpc().then(|| Grpc {
                method: kept(head.path().trim_start_matches('/').as_bytes()),
                status: place.grpc_status.get(),
            }),
        }
    }

    /// `{method} {pattern}`: as few as there are routes.
    pub(crate) fn name(&self) -> String {
        let pattern = self.route.as_ref().and_then(|route| route.pattern.as_deref());
        name(self.method, pattern)
    }

    pub(crate) fn has(&self, flag: ResponseFlag) -> bool {
        self.flags & 1 << flag as u8 != 0
    }

    /// About how many bytes it is on its way to a collector.
    pub(crate) fn weight(&self) -> usize {
        // Attributes and their names, without the texts that callers choose.
        const USUALLY: usize = 1024;
        let texts = [Some(&self.path), Some(&self.authority), self.user_agent.as_ref(), self.request_id.as_ref()];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let sw8 = self.sw8.as_ref().map_or(0, |caller| caller.trace.len() + caller.segment.len());
        USUALLY + 2 * texts + sw8
    }
}

impl End<'_> {
    /// The status and what is wrong with it: an answer that went wrong on the way is wrong whatever it says.
    fn of(&self, kind: Kind, answered: u16, flags: u64) -> (u16, Option<ErrorType>) {
        match self {
            Self::Failed(Trouble::Answered(status)) => (*status, Some(ErrorType::Status(*status))),
            Self::Failed(trouble) => (0, Some(ErrorType::Word(Rejection::of(trouble).map_or("gone", |of| of.details)))),
            Self::Over(ending) => {
                let flag = ResponseFlag::ALL.into_iter().find(|flag| flags & 1 << *flag as u8 != 0);
                let word = || ErrorType::Word(flag.map_or("torn", ResponseFlag::code));
                let error = match answered {
                    0 => Some(word()),
                    500.. => Some(ErrorType::Status(answered)),
                    400.. if kind == Kind::Client => Some(ErrorType::Status(answered)),
                    // A switch of protocols ends with its connection.
                    101 => None,
                    _ if *ending == Ending::Abort => Some(word()),
                    _ => None,
                };
                (answered, error)
            }
        }
    }
}

/// `{method} {pattern}`, or the method alone.
pub(crate) fn name(method_: &str, pattern: Option<&str>) -> String {
    let method = match method(method_) {
        "_OTHER" => "HTTP",
        known => known,
    };
    pattern.map_or_else(|| method.to_owned(), |pattern| format!("{method} {pattern}"))
}

/// The methods that OpenTelemetry knows: callers may invent any number of others.
fn method(method: &str) -> &'static str {
    const KNOWN: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

/// The beginning of a text, and no bytes that are none.
fn kept(bytes: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(bytes);
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text.get(..end).unwrap_or_default().into()
}
