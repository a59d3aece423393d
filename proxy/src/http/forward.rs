//! One attempt to have a request answered by an endpoint.

use std::sync::Arc;
use std::time::Duration;

use tidegate_http1::{Framing, HeadEdits, ResponseHead};
use tidegate_report::ResponseFlag;

use super::call::{Call, Ending};
use super::exchange::{Caller, Exchange, Late, Reply, Start, Trouble};
use super::head::{Forwarding, request_edits, response_edits};
use crate::balance::InFlight;
use crate::clock::Slot;
use crate::config::registry::EndpointState;
use crate::router::Plan;
use crate::router::attempts::Failed;
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
}

/// How far an exchange on a connection came.
struct Done {
    ending: Ending,
    /// The connection can carry another exchange.
    reusable: bool,
}

/// Tries once. A failure before the answer's head leaves the caller unanswered, for another attempt or a refusal.
pub(crate) async fn attempt<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
) -> Result<Ending, Failed> {
    let cluster = attempt.plan.cluster;
    let Some(endpoint) = cluster.states.get(attempt.index) else {
        return Err(failed(Trouble::Upstream(Fault::Unprocessed), 0, false, false, caller));
    };
    let _in_flight = InFlight::count(endpoint);
    set_limits(call, caller, attempt.plan);
    let edits = edits(call, attempt, endpoint);
    if attempt.plan.http2 {
        over_http2(call, caller, reply, attempt, endpoint, &edits).await
    } else {
        over_http1(call, caller, reply, attempt, endpoint, &edits).await
    }
}

/// Limits run from the request's arrival through all attempts; a later attempt does not push them back.
fn set_limits(call: &Call<'_>, caller: &impl Caller, plan: &Plan<'_>) {
    let limits = plan.deadlines;
    let total = limits.total.filter(|_| caller.is_received());
    if let Some(limit) = shorter(limits.stream, total) {
        call.alarm.tighten(Slot::Total, limit.saturating_sub(crate::clock::now() - call.started));
    }
}

/// Waits for a connection inside the request's limits.
async fn within<T>(call: &Call<'_>, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Trouble> {
    match call.alarm.guard(work).await {
        Ok(result) => result.map_err(Trouble::Upstream),
        Err(_slot) => Err(Trouble::Late(Late::Total)),
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
        peer: call.peer,
        request_id: plan.request_id,
        endpoint_hostname: described.and_then(|endpoint| endpoint.hostname.as_deref()),
        attempt: attempt.count,
    };
    request_edits(call.request, &forwarding)
}

fn failed(trouble: Trouble, endpoint: u64, reused: bool, sent: bool, caller: &impl Caller) -> Failed {
    Failed { trouble, endpoint, reused, sent, replayable: !caller.is_touched() }
}

async fn over_http1<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    endpoint: &Arc<EndpointState>,
    edits: &HeadEdits,
) -> Result<Ending, Failed> {
    let (worker, plan) = (call.worker, attempt.plan);
    let only_once = !tidegate_traffic::retry::is_idempotent(call.request.method());
    let idle = attempt.may_reuse.then(|| worker.pools.take_http1(endpoint, only_once)).flatten();
    let reused = idle.is_some();
    let mut connection = match idle {
        Some(connection) => connection,
        None => {
            let opened = within(call, worker.pools.open_http1(endpoint, plan.terms)).await;
            count_connect(call, plan, opened.is_ok());
            opened.map_err(|trouble| failed(trouble, endpoint.id, false, false, caller))?
        }
    };
    connection
        .begin(call.request, edits, plan.upgrade)
        .map_err(|unwritable| failed(unwritable.into(), endpoint.id, reused, false, caller))?;
    let framing = call.request.framing();
    let written = Written::choose(<C::Body as Source>::RAW, framing, framing);
    let limits = tidegate_http1::Limits::default();
    let (sink, answer) = connection.split(&limits, call.request.method(), written);
    let done = converse(call, caller, reply, attempt, endpoint, reused, sink, answer).await?;
    if done.reusable {
        give_back(call, attempt, endpoint, connection);
    }
    Ok(done.ending)
}

fn give_back(call: &Call<'_>, attempt: &Attempt<'_, '_>, endpoint: &Arc<EndpointState>, connection: http1::Connection) {
    call.worker.pools.give_back(endpoint, connection, attempt.plan.terms, &call.worker.shared.limits);
}

fn count_connect(call: &Call<'_>, plan: &Plan<'_>, opened: bool) {
    let cells = plan.cluster.state.cells.of(call.worker.index);
    if opened { cells.connects.increment() } else { cells.connect_failures.increment() }
}

async fn over_http2<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    endpoint: &Arc<EndpointState>,
    edits: &HeadEdits,
) -> Result<Ending, Failed> {
    let (worker, plan) = (call.worker, attempt.plan);
    let opened = within(call, worker.pools.http2(endpoint, plan.terms, &worker.shared.limits)).await;
    let (connection, reused) = match opened {
        Ok((connection, reused)) => {
            if !reused {
                count_connect(call, plan, true);
            }
            (connection, reused)
        }
        Err(trouble) => {
            count_connect(call, plan, false);
            return Err(failed(trouble, endpoint.id, false, false, caller));
        }
    };
    let (sink, answer) = within(call, connection.begin(call.request, edits, plan.terms.connect_timeout))
        .await
        .map_err(|trouble| failed(trouble, endpoint.id, reused, false, caller))?;
    converse(call, caller, reply, attempt, endpoint, reused, sink, answer).await.map(|done| done.ending)
}

#[expect(clippy::too_many_arguments, reason = "the parties of an exchange; they live in different places")]
async fn converse<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    attempt: &Attempt<'_, '_>,
    endpoint: &EndpointState,
    reused: bool,
    sink: impl Sink,
    answer: impl Answer,
) -> Result<Done, Failed> {
    let plan = attempt.plan;
    let limits = &call.worker.shared.limits;
    let idle = plan.idle;
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
    };
    // Without a body the limit is running already.
    if exchange.caller.is_received() {
        exchange.total = None;
    }
    let head = match exchange.head(idle).await {
        Ok(head) => head,
        Err(trouble) => {
            let sent = exchange.upload.is_done() || exchange.unwanted || exchange.caller.is_touched();
            return Err(failed(trouble, endpoint.id, reused, sent, exchange.caller));
        }
    };
    let head = check_switch(head, plan.upgrade)
        .map_err(|fault| failed(Trouble::Upstream(fault), endpoint.id, reused, true, exchange.caller))?;
    Ok(finish(call, attempt, endpoint, &mut exchange, &head, idle).await)
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
    let edits = response_edits(call.request, head, manager, Some(plan.route), Some(&plan.chosen), &context);
    let uploaded = exchange.upload.is_done();
    let upgrade = status == 101;
    let start = Start { raw: <A::Body as Source>::RAW, close: !uploaded || upgrade, upgrade };
    if exchange.reply.begin(head, &edits, start).is_err() {
        call.worker.cells().reject(ResponseFlag::UpstreamProtocolError);
        exchange.reply.abort();
        return Done { ending: Ending::Abort, reusable: false };
    }
    call.count(status);
    plan.cluster.state.cells.of(call.worker.index).requests.count(status);
    if upgrade {
        call.alarm.clear(Slot::Total);
        let ended = exchange.tunnel(idle).await;
        let ending = if ended.is_ok() { Ending::Close } else { Ending::Abort };
        return Done { ending, reusable: false };
    }
    let limit = Some(call.worker.shared.limits.write_progress);
    exchange.upload.change_patience(Patience { source: idle, sink: limit });
    let relayed = exchange.relay(Patience { source: idle, sink: limit }).await;
    for slot in [Slot::Total, Slot::Upload, Slot::Download] {
        call.alarm.clear(slot);
    }
    match relayed {
        Ok(()) => {
            let whole = exchange.upload.is_done();
            let close = !whole || start.close || exchange.reply.must_close();
            let reusable = whole && head.keep_alive() && head.framing() != Framing::UntilClose;
            Done { ending: if close { Ending::Close } else { Ending::Reusable }, reusable }
        }
        Err(trouble) => {
            call.worker.cells().reject(flag(&trouble));
            exchange.reply.abort();
            Done { ending: Ending::Abort, reusable: false }
        }
    }
}

/// Why an answer that had begun was torn.
fn flag(trouble: &Trouble) -> ResponseFlag {
    match trouble {
        Trouble::Upstream(Fault::Protocol(_) | Fault::Unexpected(_)) => ResponseFlag::UpstreamProtocolError,
        Trouble::Upstream(Fault::Reset(_)) => ResponseFlag::UpstreamRemoteReset,
        Trouble::Upstream(Fault::Connect(_) | Fault::ConnectTimeout | Fault::Closed { .. } | Fault::Unprocessed) => {
            ResponseFlag::UpstreamConnectionTermination
        }
        Trouble::Caller(_) | Trouble::CallerGone | Trouble::Unwritable => ResponseFlag::DownstreamTermination,
        Trouble::Late(Late::Total) => ResponseFlag::UpstreamTimeout,
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
