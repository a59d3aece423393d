//! One attempt to have a request answered by an endpoint.

use std::rc::Rc;
use std::time::Duration;

use tidegate_http1::{Framing, HeadEdits, ResponseHead, Unwritable};
use tidegate_report::ResponseFlag;
use tidegate_traffic::fault::FaultPlan;

use super::call::{Call, Ending};
use super::exchange::{Caller, Exchange, Late, Reply, Start, Trouble, discard, pause};
use super::head::{Forwarding, request_edits, response_edits};
use crate::balance::outlier::Watched;
use crate::clock::Slot;
use crate::filter::Passed;
use crate::pool;
use crate::router::attempts::{Failed, Record};
use crate::router::{self, Plan};
use crate::telemetry::edges::place::introduce;
use crate::upstream::{Answer, Fault, http1, http2};
use crate::wire::body::{Patience, Pump, Sink, Source};
use crate::wire::http1::Written;

/// One attempt, on one endpoint.
pub(crate) struct Attempt<'a, 'c> {
    call: &'a Call<'c>,
    plan: &'a Plan<'c>,
    /// Of the endpoint in its cluster.
    index: usize,
    endpoint: Watched<'a>,
    /// Beginning with 1.
    count: u32,
    /// An idle connection may be used.
    may_reuse: bool,
    /// What filters left for the two heads.
    passed: &'a Passed<'a>,
    /// How long the endpoint may be silent.
    idle: Option<Duration>,
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

impl Done {
    /// The answer had begun and cannot be finished.
    const TORN: Self = Self { outcome: Ok(Ending::Abort), reusable: false };
}

impl<'a, 'c> Attempt<'a, 'c> {
    /// Takes a place at the endpoint and sets the attempt's limits of time.
    #[inline]
    pub(crate) fn begin(
        call: &'a Call<'c>,
        plan: &'a Plan<'c>,
        index: usize,
        passed: &'a Passed<'a>,
        record: &Record<'_>,
        caller: &impl Caller,
    ) -> Result<Self, Failed> {
        let Some(endpoint) = plan.cluster.states.get(index) else {
            return Err(failed(Trouble::Upstream(Fault::Unprocessed), 0, false, false, caller));
        };
        let endpoint = Watched::begin(plan.cluster, index, endpoint, call.worker)
            .map_err(|limit| failed(Trouble::Upstream(Fault::Overflow(limit)), endpoint.id, false, false, caller))?;
        let idle = shorter(plan.idle, plan.deadlines.per_try_idle);
        let (count, may_reuse) = (record.count, record.may_reuse());
        let attempt = Self { call, plan, index, endpoint, count, may_reuse, passed, idle };
        attempt.set_limits(caller);
        Ok(attempt)
    }

    /// Tries once. A failure before the answer's head leaves the caller unanswered, for another attempt or a refusal.
    pub(crate) async fn run<C: Caller, R: Reply>(
        &self,
        caller: &mut C,
        reply: &mut R,
        record: &mut Record<'_>,
    ) -> Result<Ending, Failed> {
        record.bandwidth = self.passed.bandwidth;
        let mut _fault = None;
        if let Some((fault, active)) = self.passed.attempt_fault(self.call) {
            record.bandwidth = fault.bandwidth.or(record.bandwidth);
            _fault = Some(active);
            let suffered = Box::pin(suffer(self.call, caller, reply, &fault, self.plan)).await;
            suffered.map_err(|trouble| self.failed(trouble, false, false, caller))?;
        }
        let tried = if self.plan.http2 {
            self.over_http2(caller, reply, record).await
        } else {
            self.over_http1(caller, reply, record).await
        };
        tried.inspect_err(|failed| self.endpoint.failed(&failed.trouble, failed.reused, failed.sent))
    }

    fn failed(&self, trouble: Trouble, reused: bool, sent: bool, caller: &impl Caller) -> Failed {
        failed(trouble, self.endpoint.id, reused, sent, caller)
    }

    /// Limits of the whole run through all attempts; a later attempt does not push them back. Those of one attempt begin
    /// anew.
    #[inline]
    fn set_limits(&self, caller: &impl Caller) {
        let alarm = self.call.alarm;
        for slot in [Slot::Attempt, Slot::Upload, Slot::Download, Slot::Presence] {
            alarm.clear(slot);
        }
        if self.count > 1 {
            return;
        }
        let limits = &self.plan.deadlines;
        if limits.total.is_none() && limits.stream.is_none() {
            return;
        }
        let now = self.call.worker.wheel.stamp();
        let total = limits.total.filter(|_| caller.is_received());
        let total = total.map(|limit| limit.saturating_sub(now.since(self.passed.begun)));
        let stream = limits.stream.map(|limit| limit.saturating_sub(now.since(self.call.started)));
        if let Some(left) = shorter(stream, total) {
            alarm.tighten(Slot::Total, left);
        }
    }

    /// What the proxy and its configuration change about the request; `fresh`: the first on its connection. Its memory goes back with
    /// [`Buffers::give_back_edits`].
    ///
    /// [`Buffers::give_back_edits`]: crate::wire::buffer::Buffers::give_back_edits
    #[inline]
    fn edits(&self, fresh: bool) -> Box<HeadEdits> {
        let Self { call, plan, .. } = self;
        let described = plan.cluster.endpoints.endpoint(self.index);
        let mut context = call.context(&plan.cluster.config.name);
        context.upstream_host = Some(self.endpoint.address);
        let forwarding = Forwarding {
            request: call.seen,
            manager: &call.chain.manager,
            route: plan.route,
            forward: plan.forward,
            chosen: &plan.chosen,
            context,
            peer: call.peer_name,
            request_id: plan.request_id,
            trace: &call.trace,
            endpoint_hostname: described.and_then(|endpoint| endpoint.hostname.as_deref()),
            attempt: self.count,
            speaks_to_proxies: call.speaks_to_proxies,
        };
        let mut edits = call.worker.buffers.edits();
        request_edits(&forwarding, &mut edits);
        self.passed.dress_request(call.request, &forwarding.context, &mut edits);
        introduce(call, described.and_then(|endpoint| endpoint.workload.as_ref()), fresh, &mut edits);
        edits
    }

    async fn over_http1<C: Caller, R: Reply>(
        &self,
        caller: &mut C,
        reply: &mut R,
        record: &mut Record<'_>,
    ) -> Result<Ending, Failed> {
        let (worker, cluster) = (self.call.worker, self.plan.cluster);
        let (mut connection, reused) = match self.take_http1() {
            Some(connection) => (connection, true),
            None => {
                // What has come of the body waits in little memory: an endpoint may be slow to be reached.
                caller.body().settle();
                // Boxed, so that requests that find an idle connection do not carry the size of opening one.
                let opened = Box::pin(self.open_http1()).await;
                opened.map_err(|trouble| self.failed(trouble, false, false, caller))?
            }
        };
        let sending = self.send_head(&mut connection, !reused);
        sending.map_err(|unwritable| self.failed(unwritable.into(), reused, false, caller))?;
        let framing = self.call.request.framing();
        let written = Written::choose(caller.shows_framing(), framing, framing);
        let (sink, answer) = connection.split(self.call.request.method(), written);
        let mut exchange = self.exchange(caller, reply, sink, answer);
        let done = self.converse(&mut exchange, reused, record).await;
        if done.reusable {
            let keeping = router::keeping(self.call, cluster);
            worker.pools.give_back(&self.endpoint, connection, keeping, &worker.shared.limits);
        }
        done.outcome
    }

    /// A connection that lies idle.
    #[inline]
    fn take_http1(&self) -> Option<Box<http1::Connection>> {
        let only_once = !tidegate_traffic::retry::is_idempotent(self.call.request.method());
        let tls = self.plan.cluster.tls.as_ref();
        self.may_reuse.then(|| self.call.worker.pools.take_http1(&self.endpoint, tls, only_once)).flatten()
    }

    /// A connection where none lay idle, and whether it has carried an exchange before.
    async fn open_http1(&self) -> Result<(Box<http1::Connection>, bool), Trouble> {
        let terms = router::terms(self.call, self.plan.cluster);
        let opening = pool::waiting::http1(self.call.worker, &self.endpoint, &terms, self.may_reuse);
        let opened = within(self.call, opening).await;
        self.count_connect(&opened);
        opened
    }

    /// Writes the head into a connection's output.
    #[inline]
    fn send_head(&self, connection: &mut http1::Connection, fresh: bool) -> Result<(), Unwritable> {
        let edits = self.edits(fresh);
        let written = connection.begin(self.call.request, &edits, self.plan.upgrade);
        self.call.worker.buffers.give_back_edits(edits);
        written
    }

    fn count_connect<T>(&self, opened: &Result<(T, bool), Trouble>) {
        let cells = self.plan.cluster.state.cells.of(self.call.worker.index);
        match opened {
            Ok((_, false)) => cells.connects.increment(),
            Err(Trouble::Upstream(Fault::Connect(_) | Fault::Handshake(_) | Fault::ConnectTimeout)) => {
                cells.connect_failures.increment()
            }
            Ok((_, true)) | Err(_) => {}
        }
    }

    async fn over_http2<C: Caller, R: Reply>(
        &self,
        caller: &mut C,
        reply: &mut R,
        record: &mut Record<'_>,
    ) -> Result<Ending, Failed> {
        let terms = router::terms(self.call, self.plan.cluster);
        let (begun, reused) = match self.call.worker.pools.open_http2(&self.endpoint, &terms) {
            Some(connection) if !connection.is_full() => {
                let edits = self.edits(false);
                let begun = connection.begin(self.call.request, &edits);
                self.call.worker.buffers.give_back_edits(edits);
                (begun.map_err(Trouble::Upstream), true)
            }
            // Boxed, so that an exchange does not carry the size of opening a connection.
            open => Box::pin(self.begin_http2(open, &terms, caller)).await,
        };
        let begun = begun.map_err(|trouble| self.failed(trouble, reused, false, caller))?;
        let mut exchange = self.exchange(caller, reply, begun.sink, begun.answer);
        self.converse(&mut exchange, reused, record).await.outcome
    }

    /// A stream where no connection is open, or none has room, and whether its connection had carried others.
    async fn begin_http2(
        &self,
        open: Option<Rc<http2::Connection>>,
        terms: &pool::Terms,
        caller: &mut impl Caller,
    ) -> (Result<http2::Begun, Trouble>, bool) {
        let (call, worker) = (self.call, self.call.worker);
        let (connection, reused) = match open {
            Some(connection) => (connection, true),
            None => {
                caller.body().settle();
                let opening = Box::pin(worker.pools.http2(&self.endpoint, terms, &worker.shared.limits));
                let opened = within(call, opening).await;
                self.count_connect(&opened);
                match opened {
                    Ok(opened) => opened,
                    Err(trouble) => return (Err(trouble), false),
                }
            }
        };
        let edits = self.edits(!reused);
        let begun = within(call, Box::pin(connection.begin_in_turn(call.request, &edits, terms))).await;
        worker.buffers.give_back_edits(edits);
        (begun, reused)
    }

    /// The parties, brought together.
    fn exchange<'x, C: Caller, R: Reply, S: Sink, A: Answer>(
        &'x self,
        caller: &'x mut C,
        reply: &'x mut R,
        sink: S,
        answer: A,
    ) -> Exchange<'x, C, R, S, A> {
        let Self { call, plan, idle, .. } = self;
        let limits = &call.worker.shared.limits;
        // Until the answer begins the caller owes its body; a gRPC stream may be silent for as long as it likes.
        let sending = if plan.deadlines.grpc { *idle } else { shorter(*idle, Some(limits.body_progress)) };
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
            watched: false,
            total: plan.deadlines.total.filter(|_| !received),
            per_try: plan.deadlines.per_try.filter(|_| !received),
        }
    }

    /// Sends the request and relays the answer, unless another one is wanted.
    async fn converse<C: Caller, R: Reply, S: Sink, A: Answer>(
        &self,
        exchange: &mut Exchange<'_, C, R, S, A>,
        reused: bool,
        record: &mut Record<'_>,
    ) -> Done {
        let head = match exchange.head(self.idle).await {
            Ok(head) => head,
            Err(trouble) => return self.unanswered(trouble, reused, exchange).into(),
        };
        if let Err(fault) = check_switch(&head, self.plan.upgrade) {
            return self.failed(Trouble::Upstream(fault), reused, true, exchange.caller).into();
        }
        let grpc_status = self.call.grpc_status(&head);
        self.call.outcome.grpc_status.set(grpc_status.and_then(|status| status.try_into().ok()));
        self.endpoint.answered(head.status(), grpc_status);
        if record.wants_another(&head, exchange.caller.is_replayable()) {
            return Box::pin(self.give_up(&head, reused, exchange)).await;
        }
        let Ok(start) = self.begin_answer(&head, exchange) else { return self.torn(None, exchange) };
        if start.upgrade {
            return Box::pin(self.tunnel(exchange)).await;
        }
        let patience = Patience { source: self.idle, sink: Some(self.call.worker.shared.limits.write_progress) };
        exchange.upload.change_patience(patience);
        let relayed = exchange.relay(patience, record.bandwidth, &self.call.outcome.sent).await;
        self.call.alarm.clear_all();
        if let Some(status) = exchange.answer.body().grpc_status() {
            self.call.outcome.grpc_status.set(Some(status));
            self.call.trace.grpc(Some(status.into()));
        }
        if let Err(trouble) = relayed {
            return self.torn(Some(trouble), exchange);
        }
        let whole = exchange.upload.is_done();
        let close = !whole || start.close || exchange.reply.must_close();
        let reusable = whole && can_go_on(&head);
        self.call.worker.buffers.give_back_answer(head.into_memory());
        Done { outcome: Ok(if close { Ending::Close } else { Ending::Reusable }), reusable }
    }

    /// No answer came.
    fn unanswered<C: Caller, R, S, A>(
        &self,
        trouble: Trouble,
        reused: bool,
        exchange: &Exchange<'_, C, R, S, A>,
    ) -> Failed {
        // What was silent is one attempt if its own limit is the shorter one.
        let trouble = match trouble {
            Trouble::Late(Late::Answer) if self.idle != self.plan.idle => Trouble::Late(Late::Attempt),
            other => other,
        };
        let sent = exchange.upload.is_done() || exchange.unwanted || exchange.caller.is_touched();
        self.failed(trouble, reused, sent, exchange.caller)
    }

    /// Lets an answer go because the policy wants another one.
    async fn give_up<C: Caller, R: Reply, S: Sink, A: Answer>(
        &self,
        head: &ResponseHead,
        reused: bool,
        exchange: &mut Exchange<'_, C, R, S, A>,
    ) -> Done {
        let read = discard(exchange.answer.body()).await;
        let reusable = read && exchange.upload.is_done() && can_go_on(head);
        let failed = self.failed(Trouble::Answered(head.status()), reused, true, exchange.caller);
        Done { outcome: Err(failed), reusable }
    }

    /// Begins to answer. Nothing that happens from here on can be answered any more.
    #[inline]
    fn begin_answer<C: Caller, R: Reply, S: Sink, A: Answer>(
        &self,
        head: &ResponseHead,
        exchange: &mut Exchange<'_, C, R, S, A>,
    ) -> Result<Start, Trouble> {
        let Self { call, plan, passed, .. } = self;
        let status = head.status();
        call.alarm.clear(Slot::Attempt);
        exchange.caller.commit();
        let upgrade = status == 101;
        let start = Start { raw: <A::Body as Source>::RAW, close: !exchange.upload.is_done() || upgrade, upgrade };
        let mut context = call.context(&plan.cluster.config.name);
        context.upstream_host = Some(self.endpoint.address);
        context.response_code = Some(status);
        let manager = &call.chain.manager;
        let mut edits = call.worker.buffers.edits();
        response_edits(call.seen, head, manager, Some(plan.route), Some(&plan.chosen), &context, &mut edits);
        passed.dress_served(head, &context, plan, &mut edits);
        let begun = exchange.reply.begin(head, &edits, start);
        call.worker.buffers.give_back_edits(edits);
        begun?;
        call.served(head);
        plan.cluster.state.cells.of(call.worker.index).requests.count(status);
        Ok(start)
    }

    /// The answer cannot be finished: its trouble, or a head that cannot be written.
    fn torn<C, R: Reply, S, A>(&self, trouble: Option<Trouble>, exchange: &mut Exchange<'_, C, R, S, A>) -> Done {
        self.call.flag(trouble.as_ref().map_or(ResponseFlag::UpstreamProtocolError, Trouble::flag));
        exchange.reply.abort();
        Done::TORN
    }

    /// Both ends have switched to another protocol.
    async fn tunnel<C: Caller, R: Reply, S: Sink, A: Answer>(&self, exchange: &mut Exchange<'_, C, R, S, A>) -> Done {
        self.call.alarm.clear(Slot::Total);
        let ended = exchange.tunnel(self.idle, self.call.outcome.moved()).await;
        let ending = if ended.is_ok() { Ending::Close } else { Ending::Abort };
        Done { outcome: Ok(ending), reusable: false }
    }
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

/// Waits for a connection inside the request's limits.
async fn within<T>(call: &Call<'_>, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Trouble> {
    match call.alarm.guard(work).await {
        Ok(result) => result.map_err(Trouble::Upstream),
        Err(Slot::Attempt) => Err(Trouble::Late(Late::Attempt)),
        Err(Slot::Total | Slot::Upload | Slot::Download | Slot::Presence) => Err(Trouble::Late(Late::Total)),
    }
}

fn failed(trouble: Trouble, endpoint: u64, reused: bool, sent: bool, caller: &impl Caller) -> Failed {
    Failed { trouble, endpoint, reused, sent, replayable: caller.is_replayable() }
}

/// Whether the endpoint keeps the connection after this answer.
#[inline]
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

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}
