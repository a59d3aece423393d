//! Rate limits: the one that this process keeps by itself, and those that it shares with other proxies by leases.

use std::sync::Arc;

use tidegate_report::ResponseFlag;
use tidegate_traffic::rate_limit::{
    CompiledLocalRateLimit, CompiledPerRoute, CompiledSharedRateLimit, Descriptor, Facts, LocalDice, LocalVerdict,
    Outcome, REFUSED_BODY, Sources,
};
use tidegate_traffic::request::is_grpc;
use tidegate_xds::resource::filter::{Lease, Refusal};

use super::asking::{self, Answer};
use super::lease::cell::Word;
use crate::http::call::Call;
use crate::http::head::Request;
use crate::http::rejection::Rejection;

/// `UNAVAILABLE`
const GRPC_UNAVAILABLE: u32 = 14;
/// `RESOURCE_EXHAUSTED`
const GRPC_RESOURCE_EXHAUSTED: u32 = 8;

/// Asks a limit of this process. `now`: nanoseconds on the clock of all workers.
pub(crate) fn local(
    call: &Call<'_>,
    limit: &CompiledLocalRateLimit,
    request: &Request<'_>,
    sources: Sources<'_>,
    facts: &Facts<'_>,
    now: u64,
) -> LocalVerdict {
    let random = || call.worker.random();
    let dice = LocalDice { enabled: random, enforced: random };
    let verdict = if limit.per_connection {
        let mut own = call.buckets.borrow_mut();
        limit.decide(own.of(limit), request, sources, facts, dice, now)
    } else {
        limit.decide(limit.buckets(), request, sources, facts, dice, now)
    };
    let cells = call.listener.state.cells.of(call.worker.index);
    match verdict.outcome {
        Outcome::NotAsked => {}
        Outcome::Within => cells.rate_limit_passed.increment(),
        Outcome::OverNotEnforced => cells.rate_limit_shadowed.increment(),
        Outcome::Refused => cells.rate_limit_refused.increment(),
    }
    verdict
}

/// The answer to who is over the limit.
pub(crate) fn refusal(limit: &CompiledLocalRateLimit, request: &Request<'_>) -> Rejection {
    Rejection {
        status: limit.status,
        flag: ResponseFlag::RateLimited,
        also: None,
        details: "local_rate_limited",
        text: REFUSED_BODY,
        text_after_retry: None,
        close: false,
        grpc: limit.grpc_status(request),
        kind: Some("rate_limit"),
    }
}

/// What limits that are shared with other proxies say to a request.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) rejection: Option<Rejection>,
    /// It is over a limit, rather than that nobody could say so.
    pub(crate) is_over: bool,
    /// What the caller is told.
    pub(crate) verdict: Option<LocalVerdict>,
    /// What a service wants to be added.
    pub(crate) answer: Option<Answer>,
    /// The lease that refused it.
    pub(crate) refused_by: Option<Arc<Lease>>,
}

/// Asks the limits that are shared with other proxies: by lease where there is one, and else the service. `None`: they have
/// nothing to say.
pub(crate) async fn shared(
    call: &Call<'_>,
    limit: &CompiledSharedRateLimit,
    route: Option<&CompiledPerRoute>,
    request: &Request<'_>,
    sources: Sources<'_>,
    facts: &Facts<'_>,
) -> Option<Said> {
    let asked: Vec<Descriptor<'_>> = limit.descriptors(route, sources, request, facts, || call.worker.random());
    if asked.is_empty() {
        return None;
    }
    let is_enforced = limit.is_enforced(|| call.worker.random());
    let said = leased(call, limit, &asked, request, is_enforced);
    if said.rejection.is_some() || asked.iter().all(|descriptor| descriptor.lease.is_some()) {
        return Some(said);
    }
    // Large; whoever asks over the network can afford a box.
    Some(Box::pin(by_service(call, limit, route, &asked, request, is_enforced)).await)
}

/// Asks a service about what no lease keeps. No answer is no refusal unless the filter says so.
async fn by_service(
    call: &Call<'_>,
    limit: &CompiledSharedRateLimit,
    route: Option<&CompiledPerRoute>,
    asked: &[Descriptor<'_>],
    request: &Request<'_>,
    is_enforced: bool,
) -> Said {
    let service = &limit.service;
    let asked: Vec<&Descriptor<'_>> = asked.iter().filter(|descriptor| descriptor.lease.is_none()).collect();
    let cells = call.listener.state.cells.of(call.worker.index);
    let answer = match asking::ask(call, limit, limit.domain(route), &asked).await {
        Ok(answer) => answer,
        Err(reason) => {
            tracing::debug!(cluster = %service.cluster, reason, "the rate limit service cannot be asked");
            let status = service.status_on_error;
            let failed = Rejection { status, details: "rate_limiter_error", text: "", ..rejection(limit, request) };
            return Said { rejection: service.failure_mode_deny.then_some(failed), ..Said::default() };
        }
    };
    let quota = answer.quota.filter(|_| service.ratelimit_headers);
    let (is_over, is_refused) = (answer.is_over, answer.is_over && is_enforced);
    let counter = match (is_over, is_enforced) {
        (true, true) => &cells.rate_limit_refused,
        (true, false) => &cells.rate_limit_shadowed,
        (false, _) => &cells.rate_limit_passed,
    };
    counter.increment();
    let retry_after_seconds =
        answer.quota.filter(|_| is_refused && service.retry_after).map(|quota| quota.reset_seconds.max(1));
    let outcome = if is_refused && !service.without_ratelimited_header { Outcome::Refused } else { Outcome::Within };
    let verdict = LocalVerdict { outcome, quota, retry_after_seconds };
    let has_fields = !answer.response_fields.is_empty() || !answer.request_fields.is_empty();
    Said {
        rejection: is_refused.then(|| Rejection { text: "", ..rejection(limit, request) }),
        is_over: is_refused,
        verdict: (is_refused || quota.is_some()).then_some(verdict),
        answer: has_fields.then_some(answer),
        refused_by: None,
    }
}

/// Asks the leases. Descriptions without one are not theirs.
fn leased(
    call: &Call<'_>,
    limit: &CompiledSharedRateLimit,
    asked: &[Descriptor<'_>],
    request: &Request<'_>,
    is_enforced: bool,
) -> Said {
    let now = call.started.nanos();
    let leases = &call.worker.shared.registry.leases;
    let is_away = leases.is_away(now);
    let mut counting = Vec::with_capacity(asked.len());
    for descriptor in asked {
        let Some(lease) = descriptor.lease else { continue };
        let Some(cell) = leases.cell(descriptor, lease, now) else { continue };
        let word = cell.look(lease.on_unavailable, is_away, descriptor.hits, now);
        counting.push((cell, word, descriptor.hits, lease));
    }
    if counting.is_empty() {
        return Said::default();
    }
    let over = counting.iter().find(|(_, word, _, lease)| *word == Word::Over && !lease.shadow);
    let mut refusing = over.map(|(cell, _, hits, lease)| (cell, *hits, *lease));
    let mut is_shadowed = false;
    for (cell, word, hits, lease) in &counting {
        // A request that is refused by one limit takes nothing from the others.
        let is_over = match word {
            Word::NotKept => continue,
            Word::Over => true,
            Word::Within if refusing.is_some() && is_enforced => continue,
            // Somebody may have been faster since it was looked at.
            Word::Within => !cell.try_take(*hits, now),
        };
        cell.count(!is_over, *hits);
        is_shadowed |= is_over && (lease.shadow || !is_enforced);
        if is_over && !lease.shadow {
            refusing = refusing.or(Some((cell, *hits, *lease)));
        }
    }
    let cells = call.listener.state.cells.of(call.worker.index);
    match refusing {
        Some((cell, hits, lease)) if is_enforced => {
            cells.rate_limit_refused.increment();
            // At once would be refused again.
            let wait_seconds = cell.wait(hits, now).as_secs_f64().ceil().max(1.0);
            let retry_after_seconds = limit.service.retry_after.then_some(wait_seconds as u64);
            let verdict = LocalVerdict { outcome: Outcome::Refused, quota: None, retry_after_seconds };
            let verdict = (!limit.service.without_ratelimited_header).then_some(verdict);
            let Refusal { status, grpc_status, fields } = &lease.refusal;
            let grpc = is_grpc(request).then_some(*grpc_status);
            let rejection = Rejection { status: *status, grpc, ..rejection(limit, request) };
            let refused_by = (!fields.is_empty()).then(|| Arc::clone(lease));
            Said { rejection: Some(rejection), is_over: true, verdict, answer: None, refused_by }
        }
        _ => {
            if is_shadowed { &cells.rate_limit_shadowed } else { &cells.rate_limit_passed }.increment();
            Said::default()
        }
    }
}

/// The refusal of who is over a limit that many proxies share.
fn rejection(limit: &CompiledSharedRateLimit, request: &Request<'_>) -> Rejection {
    let service = &limit.service;
    let grpc = if service.resource_exhausted { GRPC_RESOURCE_EXHAUSTED } else { GRPC_UNAVAILABLE };
    Rejection {
        status: service.status,
        flag: ResponseFlag::RateLimited,
        also: None,
        details: "request_rate_limited",
        text: REFUSED_BODY,
        text_after_retry: None,
        close: false,
        grpc: is_grpc(request).then_some(grpc),
        kind: Some("rate_limit"),
    }
}

/// What descriptions may say besides the head.
pub(crate) fn facts<'a>(call: &Call<'_>, cluster: &'a str) -> Facts<'a> {
    Facts { remote: Some(call.trusted_address()), source_cluster: "", destination_cluster: cluster }
}
