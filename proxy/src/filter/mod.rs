//! Filters: what happens between the choice of a route and the choice of an endpoint.
//!
//! The order is the listener's list and the set is closed: an enum, no trait objects on the way. What a filter does here is
//! the most specific word of the route's overrides, decided in `tidegate-traffic`; this module asks and obeys.
//!
//! # What is left for later
//! Some filters have a word about the answer, or about the attempts. They leave it in [`Passed`], which goes down the
//! corridor beside the request: every answer is dressed with it, also one that is made here, because a browser reads a
//! refusal only with the fields that CORS gives it.

pub(crate) mod asking;
pub(crate) mod fault;
pub(crate) mod lease;
pub(crate) mod rate_limit;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_http1::{HeadEdits, RequestHead, ResponseHead};
use tidegate_traffic::cors::{Allowed, CorsVerdict, Preflight};
use tidegate_traffic::fault::{Bandwidth, CompiledFault, FaultPlan};
use tidegate_traffic::header_mutation::HeadEditor as _;
use tidegate_traffic::rate_limit::{LocalVerdict, Outcome, Sources};
use tidegate_traffic::{CompiledFilterConfig, CompiledRoute, Context, Overrides};
use tidegate_traffic::{
    header_mutation::Additions, rate_limit::CompiledLocalRateLimit, rate_limit::CompiledSharedRateLimit,
};
use tidegate_xds::resource::filter::{Lease, RefusalField};

use self::fault::ActiveFault;
use crate::balance::Session;
use crate::clock::{self, Slot, Stamp};
use crate::http::call::Call;
use crate::http::exchange::{Caller, Reply, Trouble, pause};
use crate::http::head::{Request, RequestEditor, ResponseEditor};
use crate::http::rejection::Rejection;
use crate::router::Plan;

/// What a request is about, as filters see it. Without a route the listener's own words hold.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) route: Option<&'a CompiledRoute>,
    pub(crate) cluster: &'a str,
}

/// What filters left for later.
pub(crate) struct Passed<'a> {
    subject: Subject<'a>,
    cors: Option<Allowed<'a>>,
    verdicts: Vec<LocalVerdict>,
    /// A limit that the request was over.
    over: Option<(&'a CompiledLocalRateLimit, Outcome)>,
    /// What rate limit services want to be added.
    asked: Vec<asking::Answer>,
    /// A limit of many proxies that refused it.
    over_shared: Option<&'a CompiledSharedRateLimit>,
    /// The lease by which, if what it wants to be said is not the usual.
    refused_by: Option<Arc<Lease>>,
    /// Faults that act on each attempt.
    per_attempt: Option<&'a CompiledFault>,
    pub(crate) bandwidth: Option<Bandwidth>,
    /// When the route's time began: an injected delay does not count.
    pub(crate) begun: Stamp,
    active: Option<ActiveFault>,
    pub(crate) session: Option<Session<'a>>,
}

/// Why a request goes no further.
pub(crate) enum Stop<'a> {
    /// A browser's question is answered.
    Preflight(Preflight<'a>),
    Reject(Rejection),
    /// The caller sees a reset.
    Reset,
    Trouble(Trouble),
}

impl<'a> Passed<'a> {
    pub(crate) fn new(call: &Call<'_>, subject: Subject<'a>) -> Self {
        Self {
            subject,
            cors: None,
            verdicts: Vec::new(),
            over: None,
            asked: Vec::new(),
            over_shared: None,
            refused_by: None,
            per_attempt: None,
            bandwidth: None,
            begun: call.started,
            active: None,
            session: None,
        }
    }

    /// Changes the head of the request on its way up.
    pub(crate) fn dress_request(&self, head: &RequestHead, context: &Context<'_>, edits: &mut HeadEdits) {
        if let (Some((limit, Outcome::OverNotEnforced)), Some(route)) = (self.over, self.subject.route) {
            let additions: &Additions = &limit.request_headers_when_not_enforced;
            additions.apply(route, self.subject.request, context, &mut RequestEditor { head, edits });
        }
        self.asked.iter().for_each(|answer| answer.request_fields.write(&mut RequestEditor { head, edits }));
    }

    /// Changes the head of an answer, whoever made it.
    pub(crate) fn dress(&self, head: &ResponseHead, context: &Context<'_>, edits: &mut HeadEdits) {
        let is_limited = !self.verdicts.is_empty() || !self.asked.is_empty() || self.over_shared.is_some();
        if self.cors.is_none() && self.over.is_none() && !is_limited {
            return;
        }
        let mut editor = ResponseEditor { head, edits };
        for verdict in &self.verdicts {
            verdict.write(&mut editor);
        }
        self.asked.iter().for_each(|answer| answer.response_fields.write(&mut editor));
        if let (Some((limit, Outcome::Refused)), Some(route)) = (self.over, self.subject.route) {
            limit.response_headers.apply(route, self.subject.request, context, &mut editor);
        }
        if let (Some(limit), Some(route)) = (self.over_shared, self.subject.route) {
            limit.response_headers.apply(route, self.subject.request, context, &mut editor);
        }
        for RefusalField { name, value, append } in self.refused_by.iter().flat_map(|lease| &lease.refusal.fields) {
            if *append {
                editor.append(name, value.as_bytes());
            } else {
                editor.set(name, value.as_bytes());
            }
        }
        if let Some(allowed) = &self.cors {
            allowed.write(&mut editor);
        }
    }

    /// Changes the head of an answer that an endpoint gave to a request of this plan.
    pub(crate) fn dress_served(
        &self,
        head: &ResponseHead,
        context: &Context<'_>,
        plan: &Plan<'_>,
        edits: &mut HeadEdits,
    ) {
        for cookie in &plan.hashed.set_cookies {
            edits.append("set-cookie", cookie.as_bytes());
        }
        if let (Some(Session { sessions, carried }), Some(served_by)) = (self.session, context.upstream_host)
            && let Some((name, value)) = sessions.write(carried, served_by, since_1970())
        {
            edits.append(name, value.as_bytes());
        }
        self.dress(head, context, edits);
    }

    /// The fault of this attempt.
    pub(crate) fn attempt_fault(&self, call: &Call<'_>) -> Option<(FaultPlan, ActiveFault)> {
        fault::decide(call, self.per_attempt?, self.subject.request, self.subject.cluster)
    }
}

/// The time of day, for what expires.
fn since_1970() -> Duration {
    clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Asks the filters in their order.
pub(crate) async fn run<'a, C: Caller, R: Reply>(
    call: &'a Call<'_>,
    overrides: &'a Overrides<'a>,
    passed: &mut Passed<'a>,
    caller: &mut C,
    reply: &mut R,
) -> Result<(), Stop<'a>> {
    let Subject { request, route, cluster, .. } = passed.subject;
    let sources = route.map_or_else(Sources::default, CompiledRoute::rate_limits);
    let facts = rate_limit::facts(call, cluster);
    // Tokens are shared by all workers, so they count on one clock.
    let mut now = passed.begun.nanos();
    for filter in call.chain.filters.iter() {
        match overrides.effective(filter) {
            None => {}
            Some(CompiledFilterConfig::Cors(policy)) => {
                let verdict = policy.as_ref().map(|policy| policy.decide(request, call.worker.random()));
                match verdict {
                    Some(CorsVerdict::Preflight(preflight)) => return Err(Stop::Preflight(preflight)),
                    Some(CorsVerdict::Allowed(allowed)) => passed.cors = Some(allowed),
                    Some(CorsVerdict::Pass) | None => {}
                }
            }
            Some(CompiledFilterConfig::Fault(fault)) if fault.per_attempt() => passed.per_attempt = Some(fault),
            Some(CompiledFilterConfig::Fault(fault)) => {
                if let Some((plan, active)) = fault::decide(call, fault, request, cluster) {
                    passed.active = Some(active);
                    passed.bandwidth = plan.bandwidth;
                    // Rare, and larger than everything else here: boxed, so that other requests do not carry it.
                    Box::pin(suffer(call, &plan, passed, caller, reply)).await?;
                    now = passed.begun.nanos();
                }
            }
            Some(CompiledFilterConfig::LocalRateLimit(limit)) if limit.counts_nothing() => {}
            Some(CompiledFilterConfig::LocalRateLimit(limit)) => {
                let verdict = rate_limit::local(call, limit, request, sources, &facts, now);
                if verdict.says_something() {
                    passed.verdicts.push(verdict);
                }
                match verdict.outcome {
                    Outcome::NotAsked | Outcome::Within => {}
                    Outcome::OverNotEnforced => passed.over = Some((limit, verdict.outcome)),
                    Outcome::Refused => {
                        passed.over = Some((limit, verdict.outcome));
                        return Err(Stop::Reject(rate_limit::refusal(limit, request)));
                    }
                }
            }
            Some(config @ CompiledFilterConfig::SharedRateLimit(_))
            | Some(config @ CompiledFilterConfig::SharedRateLimitPerRoute(_)) => {
                let CompiledFilterConfig::SharedRateLimit(limit) = &filter.config else { continue };
                let word = match config {
                    CompiledFilterConfig::SharedRateLimitPerRoute(word) => Some(&**word),
                    _ => None,
                };
                if limit.asks_nothing(word, sources) {
                    continue;
                }
                let said = rate_limit::shared(call, limit, word, request, sources, &facts).await;
                let Some(said) = said else { continue };
                passed.verdicts.extend(said.verdict);
                passed.asked.extend(said.answer);
                passed.refused_by = said.refused_by;
                if let Some(rejection) = said.rejection {
                    passed.over_shared = said.is_over.then_some(limit);
                    return Err(Stop::Reject(rejection));
                }
            }
            Some(CompiledFilterConfig::StatefulSession(Some(sessions))) if sessions.applies_to(request.path) => {
                let carried = sessions.read(request, since_1970());
                passed.session = Some(Session { sessions, carried });
            }
            Some(CompiledFilterConfig::StatefulSession(_)) => {}
        }
    }
    Ok(())
}

/// First the delay, then the abort.
async fn suffer<C: Caller, R: Reply>(
    call: &Call<'_>,
    plan: &FaultPlan,
    passed: &mut Passed<'_>,
    caller: &mut C,
    reply: &mut R,
) -> Result<(), Stop<'static>> {
    if let Some(delay) = plan.delay {
        call.alarm.clear(Slot::Attempt);
        pause(caller, reply, call.alarm, delay).await.map_err(Stop::Trouble)?;
        passed.begun = call.worker.wheel.stamp();
    }
    match plan.abort {
        Some(abort) => Err(fault::rejection(abort).map_or(Stop::Reset, Stop::Reject)),
        None => Ok(()),
    }
}
