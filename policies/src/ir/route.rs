//! Rules: which requests, and what is done with them.

use std::sync::Arc;

use super::cors::Cors;
use super::fault::Fault;
use super::mirror::Mirror;
use super::rate_limit::RateLimit;
use super::retry::Retry;
use super::session::SessionPersistence;
use super::split::Split;
use super::timeout::Timeouts;
use super::world::Labels;
use super::{ObjectName, Origin, Stated};

/// One match with its rule; a rule with several matches appears once for each, in final order.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteEntry {
    /// When.
    pub matches: RequestMatch,
    /// What.
    pub rule: Arc<RouteRule>,
}

/// A rule as written, after checking.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// Where it was written.
    pub origin: Origin,
    /// Its name (Istio `name`, Gateway API rule `name`), for logs; may be empty.
    pub name: Arc<str>,
    /// What it does.
    pub action: RuleAction,
    /// Changes to the request head.
    pub request_headers: HeaderChanges,
    /// Changes to the response head.
    pub response_headers: HeaderChanges,
    /// Changes to the path.
    pub path_rewrite: PathRewrite,
    /// Changes to the host.
    pub host_rewrite: Option<Arc<str>>,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// What acts on its requests besides routing.
    pub policies: RulePolicies,
    /// Whose rule it stands in the place of, when another object delegates to its own.
    pub delegated_by: Option<Arc<DelegatedBy>>,
}

/// A rule that leaves the choice to another object (Istio `delegate`).
#[derive(Clone, Debug, PartialEq)]
pub struct DelegatedBy {
    /// Where it was written.
    pub origin: Origin,
    /// Its name; may be empty.
    pub name: Arc<str>,
}

/// What acts on a rule's requests besides routing: what the rule says itself, and what our kinds say that are attached
/// to it, to its route, or to the gateway it belongs to. What is attached to a service is in its
/// [`super::load_balancing::BackendSettings`] and holds where a rule says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulePolicies {
    /// A fault.
    pub fault: Option<Stated<Fault>>,
    /// Limits; all are asked.
    pub rate_limits: Vec<Stated<RateLimit>>,
    /// Retries.
    pub retry: Option<Stated<Retry>>,
    /// Copies.
    pub mirrors: Vec<Stated<Mirror>>,
    /// Cross-origin requests.
    pub cors: Option<Stated<Cors>>,
    /// Sessions.
    pub session: Option<Stated<SessionPersistence>>,
    /// Where [`RouteRule::timeouts`] were written, when that is not the rule. They were then meant, even when they say
    /// that nothing is limited.
    pub timeouts_from: Option<Arc<Origin>>,
}

/// What a rule does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleAction {
    /// Shares requests out.
    Split(Split),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers by itself (Istio `directResponse`; 500 for a Gateway API rule without valid backends).
    DirectResponse { status: u16, body: Arc<str> },
}

/// When a rule applies. All parts must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestMatch {
    /// On the path without the query.
    pub path: PathMatch,
    /// `GET`, … compared exactly, or as a string match for Istio.
    pub method: Option<StringMatch>,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// On the host, for Istio's `authority`.
    pub authority: Option<StringMatch>,
    /// Names are lower-case.
    pub headers: Vec<(Arc<str>, HeaderMatch)>,
    /// By exact name.
    pub query_parameters: Vec<(Arc<str>, HeaderMatch)>,
    /// Only on this port of the service.
    pub port: Option<u16>,
    /// Only for these clients.
    pub client: ClientMatch,
    /// Only gRPC calls (a GRPCRoute).
    pub grpc: bool,
}

/// Which clients a rule is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientMatch {
    /// Clients in this namespace.
    pub namespace: Option<Arc<str>>,
    /// Clients with all these labels.
    pub labels: Labels,
}

/// A condition on the path.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PathMatch {
    /// None.
    #[default]
    Any,
    /// Equal.
    Exact { value: Arc<str>, ignore_case: bool },
    /// Istio: a string prefix, `/v1` matches `/v10`.
    StringPrefix { value: Arc<str>, ignore_case: bool },
    /// Gateway API: a segment prefix; has no trailing slash; `/` is [`PathMatch::Any`].
    SegmentPrefix(Arc<str>),
    /// The whole path matches (RE2 syntax).
    Regex(Arc<str>),
}

/// A condition on a string.
#[derive(Clone, Debug, PartialEq)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Starts with.
    Prefix(Arc<str>),
    /// The whole string matches (RE2 syntax).
    Regex(Arc<str>),
}

/// A condition on a header or query parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderMatch {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// Its value compares.
    Value(StringMatch),
    /// It is missing or its value does not compare (Istio `withoutHeaders`).
    NotValue(StringMatch),
}

/// Changes to a head: remove, then set, then add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderChanges {
    /// Replaces.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Adds a further field.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// Removes.
    pub remove: Vec<Arc<str>>,
}

/// Changes to the path.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PathRewrite {
    /// None.
    #[default]
    Keep,
    /// The whole path.
    Full(Arc<str>),
    /// The matched prefix.
    Prefix(Arc<str>),
    /// Every match of the pattern.
    Regex { pattern: Arc<str>, substitution: Arc<str> },
}

/// A redirect.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// New scheme.
    pub scheme: Option<Arc<str>>,
    /// New host.
    pub host: Option<Arc<str>>,
    /// New port.
    pub port: RedirectPort,
    /// New path.
    pub path: PathRewrite,
    /// 301, 302, 303, 307, 308.
    pub status: u16,
}

/// The port of a redirect's location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectPort {
    /// The port of the listener, left out when it is the scheme's own (Gateway API).
    #[default]
    Listener,
    /// As in the request.
    Request,
    /// The scheme's own.
    SchemeDefault,
    /// This.
    Number(u16),
}

/// A backend that a rule sends to.
#[derive(Clone, Debug, PartialEq)]
pub enum Backend {
    /// A service's port, or a version of it.
    Service { service: ObjectName, port: u16, subset: Option<Arc<str>> },
    /// A reference that does not resolve: its share of requests is answered with 500 (Gateway API), and why.
    Invalid(Arc<str>),
}
