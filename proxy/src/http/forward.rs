//! One attempt to have a request answered by an endpoint.

use std::sync::Arc;
use std::time::Duration;

use tidegate_http1::{Framing, HeadEdits, ResponseHead};
use tidegate_report::ResponseFlag;
use tidegate_traffic::fault::FaultPlan;

use super::call::{Call, Ending};
use super::exchange::{Caller, Exchange, Late, Reply, Start, Trouble, discard, pause};
use super::head::{Forwarding, request_edits, response_edits};
use crate::balance::outlier::Watched;
use crate::clock::Slot;
use crate::config::registry::EndpointState;
use crate::filter::Passed;
use crate::pool;
use crate::router::Plan;
use crate::router::attempts::{Failed, Record};
use crate::upstream::{Answer, Fault, http1};
use crate::wire::body::{Patience, Pump, Sink, Source};
use crate::wire::http1::Written;

/// Which attempt, on which endpoint.
pub(crate) struct Attempt<'a, 'c> {
    pub(crate) plan: &'a Plan<'c>,
    /// Of the endpoint in its cluster.
    pub(crate) index: usize,
    /// Beginning with 1.
    pub(crate) count: u32,
    /// An idle connection may be used.
    pub(crate) may_reuse: bool,
    /// What filters left for the two heads.
    pub(crate) passed: &'a Passed<'a>,
}

/// How far an exchange on a connection came.
struct Done {
    outcome: Result<Ending, Failed>,
    /// The connection can carry another exchange.
    reusable: bool,
}

impl From<Failed> for Done {
    fn from(failed: Failed) -> Self {
        Self { outcome: Err(failed), reusable: false }
    }
}

/// Tries once. A failure before the answer's head leaves the caller unanswered, for another attempt or a refusal.
pub(crate) async fn attempt<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    record: &mut Record<'_>,
) -> Result<Ending, Failed> {
    let cluster = attempt.plan.cluster;
    let Some(endpoint) = cluster.states.get(attempt.index) else {
        return Err(failed(Trouble::Upstream(Fault::Unprocessed), 0, false, false, caller));
    };
    let endpoint = &Watched::begin(cluster, attempt.index, endpoint, call.worker)
        .map_err(|limit| failed(Trouble::Upstream(Fault::Overflow(limit)), endpoint.id, false, false, caller))?;
    set_limits(call, caller, attempt);
    record.bandwidth = attempt.passed.bandwidth;
    let mut _fault = None;
    if let Some((fault, active)) = attempt.passed.attempt_fault(call) {
        record.bandwidth = fault.bandwidth.or(record.bandwidth);
        _fault = Some(active);
        suffer(call, caller, reply, &fault, attempt.plan)
            .await
            .map_err(|trouble| failed(trouble, endpoint.id, false, false, caller))?;
    }
    let edits = edits(call, attempt, endpoint);
    let tried = if attempt.plan.http2 {
        over_http2(call, caller, reply, attempt, record, endpoint, &edits).await
    } else {
        over_http1(call, caller, reply, attempt, record, endpoint, &edits).await
    };
    tried.inspect_err(|failed| endpoint.failed(&failed.trouble, failed.reused, failed.sent))
}

/// A fault of this attempt, inside its limit of time.
async fn suffer<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    fault: &FaultPlan,
    plan: &Plan<'_>,
) -> Result<(), Trouble> {
    if let Some(delay) = fault.delay {
        if let Some(limit) = plan.deadlines.per_try {
            call.alarm.set(Slot::Attempt, Some(limit));
        }
        pause(caller, reply, call.alarm, delay).await?;
    }
    fault.abort.map_or(Ok(()), |abort| Err(Trouble::Injected(abort)))
}

/// Limits of the whole run through all attempts; a later attempt does not push them back. Those of one attempt begin anew.
fn set_limits(call: &Call<'_>, caller: &impl Caller, attempt: &Attempt<'_, '_>) {
    for slot in [Slot::Attempt, Slot::Upload, Slot::Download] {
        call.alarm.clear(slot);
    }
    if attempt.count > 1 {
        return;
    }
    let limits = attempt.plan.deadlines;
    let now = crate::clock::now();
    let total =
        limits.total.filter(|_| caller.is_received()).map(|limit| limit.saturating_sub(now - attempt.passed.begun));
    let stream = limits.stream.map(|limit| limit.saturating_sub(now - call.started));
    if let Some(left) = shorter(stream, total) {
        call.alarm.tighten(Slot::Total, left);
    }
}

/// Waits for a connection inside the request's limits.
async fn within<T>(call: &Call<'_>, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Trouble> {
    match call.alarm.guard(work).await {
        Ok(result) => result.map_err(Trouble::Upstream),
        Err(Slot::Attempt) => Err(Trouble::Late(Late::Attempt)),
        Err(Slot::Total | Slot::Upload | Slot::Download) => Err(Trouble::Late(Late::Total)),
    }
}

fn edits(call: &Call<'_>, attempt: &Attempt<'_, '_>, endpoint: &EndpointState) -> HeadEdits {
    let plan = attempt.plan;
    let described = plan.cluster.endpoints.endpoint(attempt.index);
    let mut context = call.context(&plan.cluster.config.name);
    context.upstream_host = Some(endpoint.address);
    let forwarding = Forwarding {
        manager: &call.chain.manager,
        route: plan.route,
        forward: plan.forward,
        chosen: &plan.chosen,
        context,
        peer_ip: call.peer_ip,
        request_id: plan.request_id,
        endpoint_hostname: described.and_then(|endpoint| endpoint.hostname.as_deref()),
        attempt: attempt.count,
        speaks_to_proxies: call.speaks_to_proxies,
    };
    let context = forwarding.context;
    let mut edits = request_edits(call.request, &forwarding);
    attempt.passed.dress_request(call.request, &context, &mut edits);
    edits
}

fn failed(trouble: Trouble, endpoint: u64, reused: bool, sent: bool, caller: &impl Caller) -> Failed {
    Failed { trouble, endpoint, reused, sent, replayable: caller.is_replayable() }
}

async fn over_http1<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    record: &mut Record<'_>,
    endpoint: &Watched<'_>,
    edits: &HeadEdits,
) -> Result<Ending, Failed> {
    let (worker, plan) = (call.worker, attempt.plan);
    let only_once = !tidegate_traffic::retry::is_idempotent(call.request.method());
    let idle = attempt.may_reuse.then(|| worker.pools.take_http1(endpoint, &plan.terms, only_once)).flatten();
    let (mut connection, reused) = match idle {
        Some(connection) => (connection, true),
        None => {
            let opened = within(call, pool::waiting::http1(worker, endpoint, &plan.terms, attempt.may_reuse)).await;
            count_connect(call, plan, &opened);
            opened.map_err(|trouble| failed(trouble, endpoint.id, false, false, caller))?
        }
    };
    connection
        .begin(call.request, edits, plan.upgrade)
        .map_err(|unwritable| failed(unwritable.into(), endpoint.id, reused, false, caller))?;
    let framing = call.request.framing();
    let written = Written::choose(caller.shows_framing(), framing, framing);
    let limits = tidegate_http1::Limits::default();
    let (sink, answer) = connection.split(&limits, call.request.method(), written);
    let done = converse(call, caller, reply, attempt, record, endpoint, reused, sink, answer).await;
    if done.reusable {
        give_back(call, attempt, endpoint, connection);
    }
    done.outcome
}

fn give_back(call: &Call<'_>, attempt: &Attempt<'_, '_>, endpoint: &Arc<EndpointState>, connection: http1::Connection) {
    call.worker.pools.give_back(endpoint, connection, &attempt.plan.terms, &call.worker.shared.limits);
}

fn count_connect<T>(call: &Call<'_>, plan: &Plan<'_>, opened: &Result<(T, bool), Trouble>) {
    let cells = plan.cluster.state.cells.of(call.worker.index);
    match opened {
        Ok((_, false)) => cells.connects.increment(),
        Err(Trouble::Upstream(Fault::Connect(_) | Fault::Handshake(_) | Fault::ConnectTimeout)) => {
            cells.connect_failures.increment()
        }
        Ok((_, true)) | Err(_) => {}
    }
}

async fn over_http2<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    record: &mut Record<'_>,
    endpoint: &Watched<'_>,
    edits: &HeadEdits,
) -> Result<Ending, Failed> {
    let (worker, plan) = (call.worker, attempt.plan);
    let opened = within(call, worker.pools.http2(endpoint, &plan.terms, &worker.shared.limits)).await;
    count_connect(call, plan, &opened);
    let (connection, reused) = opened.map_err(|trouble| failed(trouble, endpoint.id, false, false, caller))?;
    let (sink, answer) = within(call, connection.begin(call.request, edits, &plan.terms))
        .await
        .map_err(|trouble| failed(trouble, endpoint.id, reused, false, caller))?;
    converse(call, caller, reply, attempt, record, endpoint, reused, sink, answer).await.outcome
}

#[expect(clippy::too_many_arguments, reason = "the parties of an exchange; they live in different places")]
async fn converse<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    record: &mut Record<'_>,
    endpoint: &Watched<'_>,
    reused: bool,
    sink: impl Sink,
    answer: impl Answer,
) -> Done {
    let plan = attempt.plan;
    let limits = &call.worker.shared.limits;
    let idle = shorter(plan.idle, plan.deadlines.per_try_idle);
    // Until the answer begins the caller owes its body; a gRPC stream may be silent for as long as it likes.
    let sending = if plan.deadlines.grpc { idle } else { shorter(idle, Some(limits.body_progress)) };
    let patience = Patience { source: sending, sink: Some(limits.write_progress) };
    let mut exchange = Exchange {
        caller,
        reply,
        sink,
        answer,
        alarm: call.alarm,
        upload: Pump::new(Slot::Upload, patience),
        unwanted: false,
        total: plan.deadlines.total,
        per_try: plan.deadlines.per_try,
    };
    // Without a body the limits run already.
    if exchange.caller.is_received() {
        exchange.total = None;
        if let Some(limit) = exchange.per_try.take() {
            call.alarm.tighten(Slot::Attempt, limit);
        }
    }
    let head = match exchange.head(idle).await {
        Ok(head) => head,
        Err(trouble) => {
            // What was silent is one attempt if its own limit is the shorter one.
            let trouble = match trouble {
                Trouble::Late(Late::Answer) if idle != plan.idle => Trouble::Late(Late::Attempt),
                other => other,
            };
            let sent = exchange.upload.is_done() || exchange.unwanted || exchange.caller.is_touched();
            return failed(trouble, endpoint.id, reused, sent, exchange.caller).into();
        }
    };
    let head = match check_switch(head, plan.upgrade) {
        Ok(head) => head,
        Err(fault) => return failed(Trouble::Upstream(fault), endpoint.id, reused, true, exchange.caller).into(),
    };
    endpoint.answered(head.status(), grpc_status(call, &head));
    if record.wants_another(&head, exchange.caller.is_replayable()) {
        let read = discard(exchange.answer.body()).await;
        let reusable = read && exchange.upload.is_done() && can_go_on(&head);
        let failed = failed(Trouble::Answered(head.status()), endpoint.id, reused, true, exchange.caller);
        return Done { outcome: Err(failed), reusable };
    }
    finish(call, attempt, record, endpoint, &mut exchange, &head, idle).await
}

/// The status of a gRPC answer that is over with its head.
fn grpc_status(call: &Call<'_>, head: &ResponseHead) -> Option<u32> {
    let status = head.field("grpc-status").filter(|_| call.is_grpc())?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// Whether the endpoint keeps the connection after this answer.
fn can_go_on(head: &ResponseHead) -> bool {
    head.keep_alive() && head.framing() != Framing::UntilClose
}

/// A 101 is an answer only to who asked for it.
fn check_switch(head: ResponseHead, asked: Option<&str>) -> Result<ResponseHead, Fault> {
    match (head.status(), asked) {
        (101, None) => Err(Fault::Unexpected("the endpoint switched protocols unasked")),
        (101, Some(kind)) if head.upgrade() != Some(kind) => {
            Err(Fault::Unexpected("the endpoint switched to another protocol than was asked for"))
        }
        _ => Ok(head),
    }
}

/// Relays the answer to its end. Nothing that happens here can be answered any more.
async fn finish<C: Caller, R: Reply, S: Sink, A: Answer>(
    call: &Call<'_>,
    attempt: &Attempt<'_, '_>,
    record: &Record<'_>,
    endpoint: &EndpointState,
    exchange: &mut Exchange<'_, C, R, S, A>,
    head: &ResponseHead,
    idle: Option<Duration>,
) -> Done {
    let plan = attempt.plan;
    let status = head.status();
    let mut context = call.context(&plan.cluster.config.name);
    context.upstream_host = Some(endpoint.address);
    context.response_code = Some(status);
    let manager = &call.chain.manager;
    let mut edits = response_edits(call.request, head, manager, Some(plan.route), Some(&plan.chosen), &context);
    attempt.passed.dress_served(head, &context, plan, &mut edits);
    call.alarm.clear(Slot::Attempt);
    exchange.caller.commit();
    let uploaded = exchange.upload.is_done();
    let upgrade = status == 101;
    let start = Start { raw: <A::Body as Source>::RAW, close: !uploaded || upgrade, upgrade };
    if exchange.reply.begin(head, &edits, start).is_err() {
        call.flag(ResponseFlag::UpstreamProtocolError);
        exchange.reply.abort();
        return Done { outcome: Ok(Ending::Abort), reusable: false };
    }
    call.count(status);
    plan.cluster.state.cells.of(call.worker.index).requests.count(status);
    if upgrade {
        call.alarm.clear(Slot::Total);
        let ended = exchange.tunnel(idle).await;
        let ending = if ended.is_ok() { Ending::Close } else { Ending::Abort };
        return Done { outcome: Ok(ending), reusable: false };
    }
    let limit = Some(call.worker.shared.limits.write_progress);
    exchange.upload.change_patience(Patience { source: idle, sink: limit });
    let relayed = exchange.relay(Patience { source: idle, sink: limit }, record.bandwidth).await;
    call.alarm.clear_all();
    match relayed {
        Ok(()) => {
            let whole = exchange.upload.is_done();
            let close = !whole || start.close || exchange.reply.must_close();
            let outcome = Ok(if close { Ending::Close } else { Ending::Reusable });
            Done { outcome, reusable: whole && can_go_on(head) }
        }
        Err(trouble) => {
            call.flag(flag(&trouble));
            exchange.reply.abort();
            Done { outcome: Ok(Ending::Abort), reusable: false }
        }
    }
}

/// Why an answer that had begun was torn.
fn flag(trouble: &Trouble) -> ResponseFlag {
    match trouble {
        Trouble::Upstream(Fault::Protocol(_) | Fault::Unexpected(_)) => ResponseFlag::UpstreamProtocolError,
        Trouble::Upstream(Fault::Reset(_)) => ResponseFlag::UpstreamRemoteReset,
        Trouble::Upstream(Fault::Overflow(_)) => ResponseFlag::UpstreamOverflow,
        Trouble::Upstream(
            Fault::Connect(_) | Fault::Handshake(_) | Fault::ConnectTimeout | Fault::Closed { .. } | Fault::Unprocessed,
        ) => ResponseFlag::UpstreamConnectionTermination,
        Trouble::Caller(_)
        | Trouble::CallerGone
        | Trouble::Unwritable
        | Trouble::Answered(_)
        | Trouble::Injected(_) => ResponseFlag::DownstreamTermination,
        Trouble::Late(Late::Total | Late::Attempt) => ResponseFlag::UpstreamTimeout,
        Trouble::Late(Late::CallerSending | Late::CallerReading | Late::UpstreamReading | Late::Answer) => {
            ResponseFlag::StreamIdleTimeout
        }
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}
