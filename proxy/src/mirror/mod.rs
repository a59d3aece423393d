//! Copies of requests that go elsewhere and are forgotten.
//!
//! # Why a task of its own
//! A mirror may be slow, reset connections or never read, and nobody who waits for the original may notice. So each copy is
//! a task with its own connection, its own deadline and its own bounds; it is outside of the circuit breaker's count, and
//! what it is answered is read and thrown away. What exceeds a bound is given up and counted, never waited for.

pub(crate) mod feed;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidegate_http1::{Framing, HeadEdits, RequestHead, ResponseHead};

use tidegate_traffic::mirror::CompiledMirror;

use self::feed::Fed;
use crate::balance::{self, InFlight};
use crate::clock::{Alarm, Ring, Slot};
use crate::config::registry::{ClusterState, EndpointState};
use crate::config::snapshot::ActiveCluster;
use crate::http::call::Call;
use crate::http::exchange::Caller;
use crate::http::head::{Forwarding, RequestEditor, request_edits};
use crate::http::replay::Replay;
use crate::limits::INTERIM_ANSWERS_MAX;
use crate::pool::{self, Terms};
use crate::router::{self, Plan};
use crate::upstream::Answer;
use crate::wire::body::{Closed, Form, Patience, Pump, PumpFault, Sink, Source};
use crate::wire::http1::Written;
use crate::worker::Worker;

/// Copies in flight on one worker. With what may wait for each ([`feed::FED_BYTES_MAX`]) that is at most 16 MiB, when every
/// one of them carries a large body to a target that does not read.
const PER_WORKER_MAX: u32 = 256;

/// Copies in flight to one cluster, over all workers: one silent target must not take all places.
const PER_CLUSTER_MAX: u32 = 128;

/// How long a target may take to answer where the route has no limit of time; Envoy's default for a route.
const ANSWER_DEFAULT: Duration = Duration::from_secs(15);

/// A request on its way to a mirror.
struct Copy {
    cluster: Arc<ActiveCluster>,
    head: RequestHead,
    edits: HeadEdits,
    http2: bool,
    terms: Terms,
    /// From the end of the request to the end of the answer.
    limit: Duration,
    body: Fed,
}

/// Why a copy did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The mirror was slower than the original, or the original ended early.
    Abandoned,
    /// The target could not be reached, broke off, or did not answer in time.
    Failed,
}

/// A place among the copies in flight.
struct Place {
    worker: Rc<Worker>,
    cluster: Arc<ClusterState>,
}

impl Place {
    fn take(worker: &Rc<Worker>, cluster: &Arc<ClusterState>) -> Option<Self> {
        let place = Self { worker: Rc::clone(worker), cluster: Arc::clone(cluster) };
        let here = worker.mirrors.get();
        worker.mirrors.set(here + 1);
        let there = cluster.active_mirrors.fetch_add(1, Ordering::Relaxed);
        (here < PER_WORKER_MAX && there < PER_CLUSTER_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.mirrors.set(self.worker.mirrors.get() - 1);
        self.cluster.active_mirrors.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends the copies that the route asks for. Each has its own draw.
pub(crate) fn copy<C: Caller>(call: &Call<'_>, plan: &Plan<'_>, caller: &mut Replay<'_, C>) {
    // What follows a switch of protocols is a conversation, not a request.
    if plan.upgrade.is_some() {
        return;
    }
    let request = call.view();
    for mirror in &plan.forward.mirrors {
        if !mirror.takes(&request, call.worker.random()) {
            continue;
        }
        // A target that is not known is skipped: the request itself must not suffer.
        let Some(cluster) = call.view.cluster(&mirror.cluster) else { continue };
        let (feed, body) = feed::pair();
        caller.feed(feed);
        let copy = Copy {
            cluster: Arc::clone(cluster),
            head: call.request.clone(),
            edits: edits(call, plan, mirror),
            http2: router::speaks_http2(cluster, call.request),
            terms: router::terms(call, cluster),
            limit: plan.deadlines.total.unwrap_or(ANSWER_DEFAULT),
            body,
        };
        start(call.worker, copy);
    }
}

/// The head that goes to the endpoint, and then the mirror's own words.
fn edits(call: &Call<'_>, plan: &Plan<'_>, mirror: &CompiledMirror) -> HeadEdits {
    let (context, trace) = (call.context(&mirror.cluster), call.trace.of_copy());
    let forwarding = Forwarding {
        request: call.view(),
        manager: &call.chain.manager,
        route: plan.route,
        forward: plan.forward,
        chosen: &plan.chosen,
        context,
        peer: call.peer_name,
        request_id: plan.request_id,
        trace: &trace,
        endpoint_hostname: None,
        attempt: 1,
        speaks_to_proxies: call.speaks_to_proxies,
    };
    let mut edits = HeadEdits::new();
    request_edits(&forwarding, &mut edits);
    let mut editor = RequestEditor { head: call.request, edits: &mut edits };
    mirror.apply(plan.route, &call.view(), &context, &mut editor);
    if let Some(authority) = mirror.authority(edits.authority_of(call.request)) {
        edits.authority(authority);
    }
    edits
}

/// Sends a copy, beside everything else.
fn start(worker: &Rc<Worker>, mut copy: Copy) {
    let state = Arc::clone(&copy.cluster.state);
    let Some(place) = Place::take(worker, &state) else {
        return state.cells.of(worker.index).mirror_abandoned.increment();
    };
    let task = async move {
        let worker = &place.worker;
        let alarm = worker.wheel.alarm();
        let sent = send(worker, &mut copy, &alarm).await;
        let cells = state.cells.of(worker.index);
        match sent {
            Ok(()) => cells.mirrored.increment(),
            Err(Lost::Abandoned) => cells.mirror_abandoned.increment(),
            Err(Lost::Failed) => cells.mirror_failed.increment(),
        }
    };
    // The runtime owns it: it ends by its own deadlines, or with the worker.
    drop(tokio::task::spawn_local(task));
}

async fn send(worker: &Rc<Worker>, copy: &mut Copy, alarm: &Alarm) -> Result<(), Lost> {
    let index = balance::choose(&copy.cluster, balance::Wish::default(), worker).map_err(|_| Lost::Failed)?;
    let cluster = Arc::clone(&copy.cluster);
    let endpoint = cluster.states.get(index).ok_or(Lost::Failed)?;
    let _in_flight = InFlight::enter(endpoint, &cluster.config.circuit_breakers).map_err(|_| Lost::Failed)?;
    if copy.http2 {
        over_http2(worker, copy, endpoint, alarm).await
    } else {
        over_http1(worker, copy, endpoint, alarm).await
    }
}

async fn over_http1(
    worker: &Rc<Worker>,
    copy: &mut Copy,
    endpoint: &Arc<EndpointState>,
    alarm: &Alarm,
) -> Result<(), Lost> {
    // There is no second attempt, so a connection that died while it lay idle must be seen before.
    let mut connection = match worker.pools.take_http1(endpoint, copy.terms.tls.as_ref(), true) {
        Some(connection) => connection,
        None => pool::waiting::http1(worker, endpoint, &copy.terms, true).await.map_err(|_| Lost::Failed)?.0,
    };
    connection.begin(&copy.head, &copy.edits, None).map_err(|_| Lost::Failed)?;
    let framing = copy.head.framing();
    let written = Written::choose(false, framing, framing);
    let (sink, answer) = connection.split(copy.head.method(), written);
    let reusable = converse(worker, &mut copy.body, copy.limit, alarm, sink, answer).await?;
    if reusable {
        worker.pools.give_back(endpoint, connection, copy.terms.keeping(), &worker.shared.limits);
    }
    Ok(())
}

async fn over_http2(
    worker: &Rc<Worker>,
    copy: &mut Copy,
    endpoint: &Arc<EndpointState>,
    alarm: &Alarm,
) -> Result<(), Lost> {
    let opened = worker.pools.http2(endpoint, &copy.terms, &worker.shared.limits).await;
    let (connection, _) = opened.map_err(|_| Lost::Failed)?;
    let begun = connection.begin_in_turn(&copy.head, &copy.edits, &copy.terms).await.map_err(|_| Lost::Failed)?;
    converse(worker, &mut copy.body, copy.limit, alarm, begun.sink, begun.answer).await.map(drop)
}

/// Sends the body as it comes and reads the answer into nothing. Whether the connection can carry another exchange.
async fn converse(
    worker: &Worker,
    body: &mut Fed,
    limit: Duration,
    alarm: &Alarm,
    mut sink: impl Sink,
    mut answer: impl Answer,
) -> Result<bool, Lost> {
    let patience = Patience { source: None, sink: Some(worker.shared.limits.write_progress.min(limit)) };
    let mut upload = Upload { pump: Pump::new(Slot::Upload, patience), unwanted: false, limit };
    let mut interims = 0;
    let head = poll_fn(|cx| {
        upload.poll(cx, body, &mut sink, alarm)?;
        loop {
            match answer.poll_head(cx) {
                Poll::Ready(Ok(head)) if head.is_interim() && interims < INTERIM_ANSWERS_MAX => interims += 1,
                Poll::Ready(Ok(head)) if head.is_interim() => return Poll::Ready(Err(Lost::Failed)),
                Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost::Failed)),
                Poll::Pending => return poll_deadline(cx, alarm),
            }
        }
    })
    .await?;
    let mut download = Pump::new(Slot::Download, Patience { source: Some(limit), sink: None });
    poll_fn(|cx| {
        upload.poll(cx, body, &mut sink, alarm)?;
        match download.poll(cx, answer.body(), &mut Nowhere, alarm) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Lost::Failed)),
            Poll::Pending => poll_deadline(cx, alarm),
        }
    })
    .await?;
    Ok(upload.pump.is_done() && is_reusable(&head))
}

fn is_reusable(head: &ResponseHead) -> bool {
    head.keep_alive() && head.framing() != Framing::UntilClose && head.status() != 101
}

fn poll_deadline<T>(cx: &mut Context<'_>, alarm: &Alarm) -> Poll<Result<T, Lost>> {
    loop {
        match ready!(alarm.poll(cx)) {
            Ring::Due(_) => return Poll::Ready(Err(Lost::Failed)),
            Ring::Poked => {}
        }
    }
}

struct Upload {
    pump: Pump,
    /// The target takes no more of the request. Its answer may still come.
    unwanted: bool,
    limit: Duration,
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>, body: &mut Fed, sink: &mut impl Sink, alarm: &Alarm) -> Result<(), Lost> {
        if self.pump.is_done() || self.unwanted {
            return Ok(());
        }
        match self.pump.poll(cx, body, sink, alarm) {
            Poll::Ready(Ok(())) => alarm.set(Slot::Total, Some(self.limit)),
            Poll::Ready(Err(PumpFault::Source(_))) => return Err(Lost::Abandoned),
            Poll::Ready(Err(PumpFault::Sink(Closed))) => {
                self.unwanted = true;
                alarm.clear(Slot::Upload);
                alarm.set(Slot::Total, Some(self.limit));
            }
            // The pump may wait for the target alone, and must hear all the same that the copy was given up.
            Poll::Pending if body.poll_overflow(cx).is_ready() => return Err(Lost::Abandoned),
            Poll::Pending => {}
        }
        Ok(())
    }
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn form(&self) -> Form {
        Form::Payload
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>> {
        source.consume(source.data().len());
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>, source: &mut impl Source) -> Poll<Result<(), Closed>> {
        drop(source.trailers());
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn open_tunnel(&mut self) {}
}
