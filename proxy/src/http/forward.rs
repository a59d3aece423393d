//! One attempt to have a request answered by an endpoint.

use std::time::Duration;

use tidegate_http1::{Framing, HeadEdits, ResponseHead, Unwritable};
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
use crate::router::attempts::{Failed, Record};
use crate::router::{self, Plan};
use crate::upstream::http2::Http2Answer;
use crate::upstream::{Answer, Fault, http1};
use crate::wire::body::{Patience, Pump, Sink, Source};
use crate::wire::http1::Written;
use crate::wire::http2::Http2Sink;

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
        Box::pin(suffer(call, caller, reply, &fault, attempt.plan))
            .await
            .map_err(|trouble| failed(trouble, endpoint.id, false, false, caller))?;
    }
    let tried = if attempt.plan.http2 {
        over_http2(call, caller, reply, attempt, record, endpoint).await
    } else {
        over_http1(call, caller, reply, attempt, record, endpoint).await
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
    let now = call.worker.wheel.stamp();
    let total = limits
        .total
        .filter(|_| caller.is_received())
        .map(|limit| limit.saturating_sub(now.since(attempt.passed.begun)));
    let stream = limits.stream.map(|limit| limit.saturating_sub(now.since(call.started)));
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

/// What the proxy and its configuration change about the request. Its memory goes back with [`Buffers::give_back_edits`].
///
/// [`Buffers::give_back_edits`]: crate::wire::buffer::Buffers::give_back_edits
fn edits(call: &Call<'_>, attempt: &Attempt<'_, '_>, endpoint: &EndpointState) -> HeadEdits {
    let plan = attempt.plan;
    let described = plan.cluster.endpoints.endpoint(attempt.index);
    let mut context = call.context(&plan.cluster.config.name);
    context.upstream_host = Some(endpoint.address);
    let forwarding = Forwarding {
        request: call.seen,
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
    let mut edits = call.worker.buffers.edits();
    request_edits(&forwarding, &mut edits);
    attempt.passed.dress_request(call.request, &forwarding.context, &mut edits);
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
) -> Result<Ending, Failed> {
    let (worker, plan) = (call.worker, attempt.plan);
    let only_once = !tidegate_traffic::retry::is_idempotent(call.request.method());
    let idle =
        attempt.may_reuse.then(|| worker.pools.take_http1(endpoint, plan.cluster.tls.as_ref(), only_once)).flatten();
    let (mut connection, reused) = match idle {
        Some(connection) => (connection, true),
        None => {
            // Boxed, so that requests that find an idle connection do not carry the size of opening one.
            let opened = Box::pin(open_http1(call, attempt, endpoint)).await;
            opened.map_err(|trouble| failed(trouble, endpoint.id, false, false, caller))?
        }
    };
    let sending = send_head(call, attempt, endpoint, &mut connection);
    sending.map_err(|unwritable| failed(unwritable.into(), endpoint.id, reused, false, caller))?;
    let framing = call.request.framing();
    let written = Written::choose(caller.shows_framing(), framing, framing);
    let limits = tidegate_http1::Limits::default();
    let (sink, answer) = connection.split(&limits, call.request.method(), written);
    let mut exchange = exchange(call, plan, caller, reply, sink, answer);
    let done = converse(call, attempt, record, endpoint, reused, &mut exchange).await;
    if done.reusable {
        worker.pools.give_back(endpoint, connection, router::keeping(call, plan.cluster), &worker.shared.limits);
    }
    done.outcome
}

/// A connection where none lay idle, and whether it has carried an exchange before.
async fn open_http1(
    call: &Call<'_>,
    attempt: &Attempt<'_, '_>,
    endpoint: &Watched<'_>,
) -> Result<(Box<http1::Connection>, bool), Trouble> {
    let terms = router::terms(call, attempt.plan.cluster);
    let opened = within(call, pool::waiting::http1(call.worker, endpoint, &terms, attempt.may_reuse)).await;
    count_connect(call, attempt.plan, &opened);
    opened
}

/// Writes the head into a connection's output.
fn send_head(
    call: &Call<'_>,
    attempt: &Attempt<'_, '_>,
    endpoint: &EndpointState,
    connection: &mut http1::Connection,
) -> Result<(), Unwritable> {
    let edits = edits(call, attempt, endpoint);
    let written = connection.begin(call.request, &edits, attempt.plan.upgrade);
    call.worker.buffers.give_back_edits(edits);
    written
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
) -> Result<Ending, Failed> {
    // Boxed, so that an exchange does not carry the size of opening a connection and a stream.
    let begun = Box::pin(begin_http2(call, attempt, endpoint)).await;
    let (sink, answer, reused) =
        begun.map_err(|(trouble, reused)| failed(trouble, endpoint.id, reused, false, caller))?;
    let mut exchange = exchange(call, attempt.plan, caller, reply, sink, answer);
    converse(call, attempt, record, endpoint, reused, &mut exchange).await.outcome
}

/// A stream with the head sent, and whether its connection had carried others; that also where it fails.
async fn begin_http2(
    call: &Call<'_>,
    attempt: &Attempt<'_, '_>,
    endpoint: &Watched<'_>,
) -> Result<(Http2Sink, Http2Answer, bool), (Trouble, bool)> {
    let (worker, plan) = (call.worker, attempt.plan);
    let terms = router::terms(call, plan.cluster);
    let (connection, reused) = match worker.pools.open_http2(endpoint, &terms) {
        Some(connection) => (connection, true),
        None => {
            let opening = Box::pin(worker.pools.http2(endpoint, &terms, &worker.shared.limits));
            let opened = within(call, opening).await;
            count_connect(call, plan, &opened);
            opened.map_err(|trouble| (trouble, false))?
        }
    };
    let edits = edits(call, attempt, endpoint);
    let begun = within(call, Box::pin(connection.begin(call.request, &edits, &terms))).await;
    worker.buffers.give_back_edits(edits);
    let (sink, answer) = begun.map_err(|trouble| (trouble, reused))?;
    Ok((sink, answer, reused))
}

/// The parties of an attempt, brought together.
fn exchange<'x, C: Caller, R: Reply, S: Sink, A: Answer>(
    call: &'x Call<'_>,
    plan: &Plan<'_>,
    caller: &'x mut C,
    reply: &'x mut R,
    sink: S,
    answer: A,
) -> Exchange<'x, C, R, S, A> {
    let limits = &call.worker.shared.limits;
    let idle = shorter(plan.idle, plan.deadlines.per_try_idle);
    // Until the answer begins the caller owes its body; a gRPC stream may be silent for as long as it likes.
    let sending = if plan.deadlines.grpc { idle } else { shorter(idle, Some(limits.body_progress)) };
    let patience = Patience { source: sending, sink: Some(limits.write_progress) };
    // Without a body the limits run already.
    let received = caller.is_received();
    if let Some(limit) = plan.deadlines.per_try.filter(|_| received) {
        call.alarm.tighten(Slot::Attempt, limit);
    }
    Exchange {
        caller,
        reply,
        sink,
        answer,
        alarm: call.alarm,
        upload: Pump::new(Slot::Upload, patience),
        unwanted: false,
        total: plan.deadlines.total.filter(|_| !received),
        per_try: plan.deadlines.per_try.filter(|_| !received),
    }
}

async fn converse<C: Caller, R: Reply, S: Sink, A: Answer>(
    call: &Call<'_>,
    attempt: &Attempt<'_, '_>,
    record: &mut Record<'_>,
    endpoint: &Watched<'_>,
    reused: bool,
    exchange: &mut Exchange<'_, C, R, S, A>,
) -> Done {
    let plan = attempt.plan;
    let idle = shorter(plan.idle, plan.deadlines.per_try_idle);
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
    if let Err(fault) = check_switch(&head, plan.upgrade) {
        return failed(Trouble::Upstream(fault), endpoint.id, reused, true, exchange.caller).into();
    }
    endpoint.answered(head.status(), grpc_status(call, &head));
    if record.wants_another(&head, exchange.caller.is_replayable()) {
        let read = discard(exchange.answer.body()).await;
        let reusable = read && exchange.upload.is_done() && can_go_on(&head);
        let failed = failed(Trouble::Answered(head.status()), endpoint.id, reused, true, exchange.caller);
        return Done { outcome: Err(failed), reusable };
    }
    let done = finish(call, attempt, record, endpoint, exchange, &head, idle).await;
    call.worker.buffers.give_back_head(head.into_memory());
    done
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
fn check_switch(head: &ResponseHead, asked: Option<&str>) -> Result<(), Fault> {
    match (head.status(), asked) {
        (101, None) => Err(Fault::Unexpected("the endpoint switched protocols unasked")),
        (101, Some(kind)) if head.upgrade() != Some(kind) => {
            Err(Fault::Unexpected("the endpoint switched to another protocol than was asked for"))
        }
        _ => Ok(()),
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
    call.alarm.clear(Slot::Attempt);
    exchange.caller.commit();
    let upgrade = status == 101;
    let start = Start { raw: <A::Body as Source>::RAW, close: !exchange.upload.is_done() || upgrade, upgrade };
    if begin(call, attempt, endpoint, exchange.reply, head, start).is_err() {
        call.flag(ResponseFlag::UpstreamProtocolError);
        exchange.reply.abort();
        return Done { outcome: Ok(Ending::Abort), reusable: false };
    }
    call.count(status);
    plan.cluster.state.cells.of(call.worker.index).requests.count(status);
    if upgrade {
        call.alarm.clear(Slot::Total);
        let ended = Box::pin(exchange.tunnel(idle)).await;
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

/// Writes the head of an answer with what the proxy and its configuration change about it.
fn begin(
    call: &Call<'_>,
    attempt: &Attempt<'_, '_>,
    endpoint: &EndpointState,
    reply: &mut impl Reply,
    head: &ResponseHead,
    start: Start,
) -> Result<(), Trouble> {
    let plan = attempt.plan;
    let mut context = call.context(&plan.cluster.config.name);
    context.upstream_host = Some(endpoint.address);
    context.response_code = Some(head.status());
    let manager = &call.chain.manager;
    let mut edits = response_edits(call.seen, head, manager, Some(plan.route), Some(&plan.chosen), &context);
    attempt.passed.dress_served(head, &context, plan, &mut edits);
    reply.begin(head, &edits, start)
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
