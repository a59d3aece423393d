//! The caller's side of HTTP/2, by the `h2` crate directly: one task for the connection, one for each stream.
//!
//! # Limits
//! `h2` alone is permissive; every limit that hyper would set is set here, and two that no library has: idle connections
//! end, and a caller that opens streams only to reset them is cut off by a count that does not depend on scheduling.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tidegate_http1::{Framing, HeadEdits, Refusal, ResponseHead};
use tidegate_report::ResponseFlag;
use tokio::time::Sleep;
use tracing::debug;

use super::answer::rejected;
use super::budget::{Begun, Budget, PREMATURE};
use super::call::{Call, Ending};
use super::exchange::{Caller, Reply, Start, Trouble};
use super::head::{PeerName, Request as Seen, speaks_to_proxies};
use super::rejection::{Behind, Rejection};
use super::serve::serve;
use super::streams::Streams;
use crate::clock::{Alarm, Ring, Slot};
use crate::limits::{
    HTTP2_HEADER_LIST_BYTES_MAX, HTTP2_LOCAL_RESETS_MAX, HTTP2_SEND_BUFFER_BYTES_MAX, HTTP2_STREAMS_MAX,
};
use crate::listener::connection::{Connection, World};
use crate::telemetry::access_log::Outcome;
use crate::telemetry::trace::Hop;
use crate::telemetry::{Silence, WorkerCells};
use crate::wire::frames::{Counted, Meter};
use crate::wire::heads::{received_request, response_to_send};
use crate::wire::http2::{Http2Sink, Http2Source};
use crate::wire::socket::Rewound;
use crate::wire::windows::{Widths, Windows};
use crate::worker::Worker;

type Http2Connection = h2::server::Connection<Counted<Rewound>, Bytes>;

/// A request, and where its answer goes.
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// Serves a connection until it ends.
pub(crate) async fn run(worker: &Rc<Worker>, mut world: World, connection: Connection) {
    let Connection { socket, mut input, alarm, peer, peer_name, local } = connection;
    let counted = Counted::of_client(Rewound::new(input.take(), socket.into_inner()));
    let meter = counted.meter();
    drop(input);
    // Boxed, so that a connection does not carry the size of its handshake.
    let Some(mut connection) = Box::pin(shake_hands(worker, counted, &alarm)).await else { return };
    let idle = world.chain.manager.idle_timeout.map_or(worker.shared.limits.http2_idle, |idle| idle);
    let windows = Windows::new(Widths::DOWNSTREAM);
    let mut restraint = Restraint { budget: Rc::default(), meter, windows, held: None, told: false };
    let mut streams = Streams::default();
    let mut keep_alive = pin!(keep_alive(connection.ping_pong(), worker.shared.limits.http2_ping));
    let mut closing = false;
    alarm.set(Slot::Total, Some(idle));
    loop {
        if !closing && (worker.is_parting() || world.leaving) {
            closing = true;
            connection.graceful_shutdown();
        }
        let event = poll_fn(|cx| {
            let keep_alive = keep_alive.as_mut();
            poll_event(cx, &mut connection, &mut restraint, (&mut streams, worker.cells()), &alarm, keep_alive)
        })
        .await;
        match event {
            Event::Stream(asked) => {
                world.refresh(worker);
                restraint.windows.begin_stream();
                let outgrown = restraint.windows.outgrown();
                let begun = restraint.budget.begin();
                let (worker, world) = (Rc::clone(worker), world.clone());
                let peer = (peer, peer_name.clone());
                streams.begin(stream(worker, world, asked, outgrown, begun, peer, local));
            }
            Event::StreamEnded => {
                restraint.windows.end_stream();
                alarm.set(Slot::Total, Some(idle));
            }
            Event::Abused => {
                debug!(%peer, "too many streams opened for nothing, or too many control frames");
                worker.cells().reject(ResponseFlag::DownstreamProtocolError);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            Event::Idle if streams.is_empty() => {
                closing = true;
                worker.cells().cut(Silence::Idle);
                connection.graceful_shutdown();
                // Whoever does not answer the GOAWAY is gone.
                alarm.set(Slot::Total, Some(worker.shared.limits.closing_idle));
                if poll_fn(|cx| poll_closed(cx, &mut connection, &alarm)).await {
                    return;
                }
            }
            Event::Idle => alarm.set(Slot::Total, Some(idle)),
            Event::Poked => {
                if worker.view().listener(&world.listener.key).is_none() {
                    world.leaving = true;
                }
            }
            Event::Dead => return worker.cells().cut(Silence::Ping),
            Event::Closed => break,
        }
    }
    // The frames are all written; what streams still do, they do for themselves.
    streams.end(worker.cells()).await;
}

/// `None`: it came to nothing, or not in time.
async fn shake_hands(worker: &Worker, counted: Counted<Rewound>, alarm: &Alarm) -> Option<Http2Connection> {
    alarm.set(Slot::Total, Some(worker.shared.limits.detection));
    match alarm.guard(builder().handshake(counted)).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            debug!(%error, "HTTP/2 handshake failed");
            None
        }
        Err(_late) => {
            worker.cells().cut(Silence::Handshake);
            None
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HTTP2_HEADER_LIST_BYTES_MAX)
        .initial_window_size(Widths::DOWNSTREAM.initial())
        .initial_connection_window_size(Widths::DOWNSTREAM.of_connection())
        .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES_MAX)
        .max_local_error_reset_streams(Some(HTTP2_LOCAL_RESETS_MAX));
    builder
}

enum Event {
    Stream(Box<Asked>),
    StreamEnded,
    /// Its caller asks for more work than its messages are worth.
    Abused,
    Idle,
    Poked,
    /// No answer to a PING.
    Dead,
    Closed,
}

/// What holds a caller back.
struct Restraint {
    budget: Rc<Budget>,
    meter: Rc<Meter>,
    windows: Windows,
    /// Until when no further stream is begun.
    held: Option<Pin<Box<Sleep>>>,
    /// The caller has been told to go.
    told: bool,
}

impl Restraint {
    /// Says so once.
    fn must_end(&mut self) -> bool {
        let ends = !self.told && (self.meter.is_flooded() || self.budget.is_spent(self.meter.opened()));
        self.told |= ends;
        ends
    }

    /// Moves frames, and takes the next stream unless too many are at risk already. The library keeps those that wait, and counts
    /// the resets among them itself.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Http2Connection,
    ) -> Poll<Option<Result<Asked, h2::Error>>> {
        let tell = |window| connection.set_initial_window_size(window).is_ok();
        self.windows.adjust(self.meter.acknowledged(), tell);
        while self.budget.is_stretched() {
            let held = self.held.get_or_insert_with(|| Box::pin(tokio::time::sleep(PREMATURE)));
            if held.as_mut().poll(cx).is_pending() {
                return connection.poll_closed(cx).map(|closed| closed.err().map(Err));
            }
            self.held = None;
            self.budget.all_are_old();
        }
        self.held = None;
        connection.poll_accept(cx)
    }
}

fn poll_event(
    cx: &mut Context<'_>,
    connection: &mut Http2Connection,
    restraint: &mut Restraint,
    (streams, cells): (&mut Streams, &WorkerCells),
    alarm: &Alarm,
    keep_alive: Pin<&mut impl Future<Output = ()>>,
) -> Poll<Event> {
    match restraint.poll_accept(cx, connection) {
        Poll::Ready(Some(Ok(asked))) => return Poll::Ready(Event::Stream(Box::new(asked))),
        Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Event::Closed),
        Poll::Pending => {}
    }
    if restraint.must_end() {
        return Poll::Ready(Event::Abused);
    }
    if streams.poll_ended(cx, cells).is_ready() {
        return Poll::Ready(Event::StreamEnded);
    }
    if keep_alive.poll(cx).is_ready() {
        return Poll::Ready(Event::Dead);
    }
    match alarm.poll(cx) {
        Poll::Ready(Ring::Poked) => Poll::Ready(Event::Poked),
        Poll::Ready(Ring::Due(_)) => Poll::Ready(Event::Idle),
        Poll::Pending => Poll::Pending,
    }
}

/// After a GOAWAY: `true` when the connection is closed or the caller did not react. `false`: a stream came after all.
fn poll_closed(cx: &mut Context<'_>, connection: &mut Http2Connection, alarm: &Alarm) -> Poll<bool> {
    match connection.poll_closed(cx) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => alarm.poll(cx).map(|_| true),
    }
}

/// Ends when a PING is not answered in time.
async fn keep_alive(pings: Option<h2::PingPong>, every: Duration) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        match tokio::time::timeout(every, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Serves one stream.
async fn stream(
    worker: Rc<Worker>,
    world: World,
    asked: Box<Asked>,
    outgrown: Rc<Cell<bool>>,
    mut begun: Begun,
    (peer, peer_name): (SocketAddr, PeerName),
    local: Option<SocketAddr>,
) {
    let started = worker.wheel.stamp();
    let (request, respond) = *asked;
    let (parts, body) = request.into_parts();
    let body = Http2Source::measured(body, outgrown);
    let ended = body.is_done();
    let mut reply = Http2Reply { respond, sink: Http2Sink::default(), begun: false };
    let mut memory = worker.buffers.request();
    match received_request(&mut memory, &parts, ended) {
        Ok(mut head) => {
            if world.tls.is_some() {
                head.arrived_encrypted();
            }
            let mut caller = Http2Caller { source: body };
            let alarm = worker.wheel.alarm();
            let speaks_to_proxies = speaks_to_proxies(&head);
            let call = Call {
                worker: &worker,
                view: &world.view,
                listener: &world.listener,
                chain: &world.chain,
                request: &head,
                peer,
                peer_name: &peer_name,
                local,
                origin: &world.origin,
                tls: world.tls.as_deref(),
                server_name: world.server_name(),
                alarm: &alarm,
                started,
                started_at: worker.wall(started),
                seen: Seen::at(&head, &world.chain.manager, speaks_to_proxies),
                speaks_to_proxies,
                buckets: &begun.budget.buckets,
                outcome: Outcome::default(),
                trace: Hop::begin(&worker, &head),
            };
            let ending = serve(&call, &mut caller, &mut reply).await;
            begun.premature = ending == Ending::Abort && worker.wheel.stamp_now().since(started) < PREMATURE;
            memory = head.into_memory();
        }
        Err(refusal) => refuse(&worker, &world, &mut reply, refusal),
    }
    worker.buffers.give_back_request(memory);
}

fn refuse(worker: &Worker, world: &World, reply: &mut Http2Reply, refusal: Refusal) {
    let rejection = Rejection::refused(refusal);
    worker.cells().reject(rejection.flag);
    world.listener.state.cells.of(worker.index).requests.count(rejection.status);
    let error = world.listener.config.error_header.then(|| rejection.error(Behind::default()));
    let Some((head, body)) = rejected(&rejection, "GET", false, error.as_deref()) else { return };
    let start = Start { raw: false, close: true, upgrade: false };
    if reply.begin(&head, &HeadEdits::new(), start).is_ok()
        && let Some(stream) = &mut reply.sink.stream
    {
        // A stream that is gone needs no answer.
        drop(stream.send_data(body, true));
    }
}

struct Http2Caller {
    source: Http2Source,
}

impl Caller for Http2Caller {
    type Body = Http2Source;

    fn body(&mut self) -> &mut Http2Source {
        &mut self.source
    }

    fn source(&self) -> &Http2Source {
        &self.source
    }

    fn is_touched(&self) -> bool {
        self.source.touched
    }

    fn is_received(&self) -> bool {
        self.source.is_done()
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // A reset reaches the reply.
        Poll::Pending
    }
}

struct Http2Reply {
    respond: SendResponse<Bytes>,
    sink: Http2Sink,
    begun: bool,
}

impl Reply for Http2Reply {
    type Body = Http2Sink;

    fn interim(&mut self, head: &ResponseHead) -> Result<(), Trouble> {
        let Some(interim) = response_to_send(head, &HeadEdits::new()) else { return Ok(()) };
        self.respond.send_informational(interim).map_err(|_| Trouble::CallerGone)
    }

    fn begin(&mut self, head: &ResponseHead, edits: &HeadEdits, _start: Start) -> Result<(), Trouble> {
        let response = response_to_send(head, edits).ok_or(Trouble::Unwritable)?;
        let ended = matches!(head.framing(), Framing::None | Framing::Length(0));
        let stream = self.respond.send_response(response, ended).map_err(|_| Trouble::CallerGone)?;
        self.begun = true;
        self.sink = Http2Sink { stream: Some(stream), ended };
        Ok(())
    }

    fn body(&mut self) -> &mut Http2Sink {
        &mut self.sink
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.sink.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }

    fn abort(&mut self) {
        match &mut self.sink.stream {
            Some(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    fn reset(&mut self) {
        self.abort();
    }

    fn must_close(&self) -> bool {
        false
    }
}
