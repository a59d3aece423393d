//! An HTTP/2 connection to an endpoint: many streams, one task that moves its frames.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, StatusCode};
use tidegate_http1::{Framing, HeadEdits, Refusal, RequestHead, ResponseHead};
use tidegate_traffic::circuit_breaker::Tripped;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

use super::{Answer, Fault};
use crate::balance::circuit_breaker::{Connected, Pending};
use crate::clock;
use crate::limits::{HTTP2_HEADER_LIST_BYTES_MAX, HTTP2_SEND_BUFFER_BYTES_MAX, PENDING_MAX};
use crate::pool::Terms;
use crate::wire::body::Broken;
use crate::wire::buffer::Buffers;
use crate::wire::frames::{Counted, Meter};
use crate::wire::heads::{received_response, request_to_send};
use crate::wire::http2::{Http2Sink, Http2Source, broken};
use crate::wire::socket::{Socket, Stream};
use crate::wire::windows::{Widths, Windows};

/// Streams that a fresh connection may open before the peer's SETTINGS have arrived.
const STREAMS_BEFORE_SETTINGS: usize = 100;

const MALFORMED: Refusal = Refusal { status: 502, reason: "malformed HTTP/2 answer", rfc: "RFC 9113 8.1.1" };

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    windows: Rc<Windows>,
    pub(crate) requests: Cell<u32>,
    /// When the last stream ended.
    used: Cell<Instant>,
    closed: Rc<Cell<bool>>,
    driver: JoinHandle<()>,
    /// Under which it is encrypted; 0: it is not.
    pub(crate) tls: u64,
    place: Connected,
    buffers: Rc<Buffers>,
}

impl Connection {
    /// Speaks the preface and starts the connection's task.
    pub(crate) async fn open(
        (socket, tls): (Socket, u64),
        (limit, ping): (Duration, Duration),
        place: Connected,
        buffers: &Rc<Buffers>,
    ) -> Result<Rc<Self>, Fault> {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(Widths::UPSTREAM.initial())
            .initial_connection_window_size(Widths::UPSTREAM.of_connection())
            .max_header_list_size(HTTP2_HEADER_LIST_BYTES_MAX)
            .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES_MAX)
            .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
            // Callers that cancel make us reset streams; a mesh upstream must not be lost for that.
            .max_local_error_reset_streams(None);
        let counted = Counted::of_server(socket.into_inner());
        let meter = counted.meter();
        let handshake = builder.handshake::<Counted<Stream>, Bytes>(counted);
        let (send, connection) = match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(Fault::Connect(error.to_string())),
            Err(_elapsed) => return Err(Fault::ConnectTimeout),
        };
        let closed = Rc::new(Cell::new(false));
        let windows = Rc::new(Windows::new(Widths::UPSTREAM));
        let driver = tokio::task::spawn_local(drive(connection, meter, Rc::clone(&windows), ping, Rc::clone(&closed)));
        Ok(Rc::new(Self {
            send,
            windows,
            requests: Cell::new(0),
            used: Cell::new(clock::now()),
            closed,
            driver,
            tls,
            place,
            buffers: Rc::clone(buffers),
        }))
    }

    /// Whether another stream may be opened now.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_closed() && self.windows.has_room() && !self.is_full()
    }

    /// Whether the peer allows no further stream.
    pub(crate) fn is_full(&self) -> bool {
        self.windows.streams() >= self.send.current_max_send_streams()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get() || self.driver.is_finished()
    }

    /// Whether no stream has been open on it for so long.
    pub(crate) fn is_stale(&self, now: Instant, idle: Duration) -> bool {
        self.windows.streams() == 0 && now.saturating_duration_since(self.used.get()) >= idle
    }

    /// Opens a stream with a request head.
    pub(crate) fn begin(self: &Rc<Self>, head: &RequestHead, edits: &HeadEdits) -> Result<Begun, Fault> {
        let request = request_to_send(head, edits, self.tls != 0);
        let request = request.ok_or(Fault::Unexpected("a rewritten head is not valid"))?;
        let method = request.method().clone();
        let ended = matches!(head.framing(), Framing::None | Framing::Length(0));
        self.windows.begin_stream();
        self.requests.set(self.requests.get().saturating_add(1));
        let guard = StreamGuard(Rc::clone(self));
        let mut sender = self.send.clone();
        // Always ready for a handle that has sent nothing, unless the connection has ended.
        let ready = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        if !matches!(ready, Poll::Ready(Ok(()))) {
            return Err(Fault::Unprocessed);
        }
        let (response, stream) = sender.send_request(request, ended).map_err(|_| Fault::Unprocessed)?;
        let sink = Http2Sink { stream: (!ended).then_some(stream), ended };
        Ok(Begun { sink, answer: Http2Answer { response, method, source: Http2Source::new(None), guard }, sender })
    }

    /// The same on a connection that may have no room. Above the peer's limit the library holds a stream back for as long as it
    /// takes, and any number of them.
    pub(crate) async fn begin_in_turn(
        self: &Rc<Self>,
        head: &RequestHead,
        edits: &HeadEdits,
        terms: &Terms,
    ) -> Result<Begun, Fault> {
        if !self.is_full() {
            return self.begin(head, edits);
        }
        let pending = Pending::enter(self.place.breaker(), &terms.thresholds, Tripped::Connections);
        let _pending = pending.map_err(Fault::Overflow)?;
        let mut begun = self.begin(head, edits)?;
        // Ready when the stream that this handle has sent is open.
        let opened = tokio::time::timeout(PENDING_MAX, poll_fn(|cx| begun.sender.poll_ready(cx))).await;
        opened.map_err(|_elapsed| Fault::Overflow(Tripped::PendingRequests))?.map_err(|_| Fault::Unprocessed)?;
        Ok(begun)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A stream that has been opened.
pub(crate) struct Begun {
    pub(crate) sink: Http2Sink,
    pub(crate) answer: Http2Answer,
    /// With which it was.
    sender: SendRequest<Bytes>,
}

struct StreamGuard(Rc<Connection>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.windows.end_stream();
        if self.0.windows.streams() == 0 {
            self.0.used.set(clock::now());
        }
    }
}

/// Moves frames until the connection ends; a peer that does not answer a PING is gone, and one that floods is let go.
async fn drive(
    mut connection: h2::client::Connection<Counted<Stream>, Bytes>,
    meter: Rc<Meter>,
    windows: Rc<Windows>,
    ping: Duration,
    closed: Rc<Cell<bool>>,
) {
    let mut pings = connection.ping_pong();
    let keep_alive = async {
        let Some(pings) = &mut pings else { return std::future::pending().await };
        loop {
            tokio::time::sleep(ping).await;
            match tokio::time::timeout(ping, pings.ping(h2::Ping::opaque())).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    // The connection is polled first: a flood is seen by it, and wakes this task.
    let flooded = poll_fn(|_cx| if meter.is_flooded() { Poll::Ready(()) } else { Poll::Pending });
    let moved = poll_fn(|cx| {
        windows.adjust(meter.acknowledged(), |window| connection.set_initial_window_size(window).is_ok());
        Pin::new(&mut connection).poll(cx)
    });
    tokio::select! {
        biased;
        _ended = moved => {}
        () = flooded => debug!("an endpoint sends too many control frames"),
        () = keep_alive => {}
    }
    closed.set(true);
}

/// The answer on a stream.
pub(crate) struct Http2Answer {
    response: ResponseFuture,
    method: Method,
    source: Http2Source,
    guard: StreamGuard,
}

impl Http2Answer {
    fn received(&self, seen: (StatusCode, &HeaderMap), framing: Option<Framing>) -> Result<ResponseHead, Fault> {
        let buffers = &self.guard.0.buffers;
        let mut memory = buffers.answer();
        let head = received_response(&mut memory, seen, &self.method, framing);
        buffers.give_back_answer(memory);
        head.map_err(Fault::Protocol)
    }
}

impl Answer for Http2Answer {
    type Body = Http2Source;

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Fault>> {
        if let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            let seen = (interim.status(), interim.headers());
            return Poll::Ready(self.received(seen, Some(Framing::None)));
        }
        match ready!(Pin::new(&mut self.response).poll(cx)) {
            Ok(response) => {
                let (parts, stream) = response.into_parts();
                let framing = if stream.is_end_stream() { None } else { Some(Framing::Chunked) };
                let head = self.received((parts.status, &parts.headers), framing);
                self.source = Http2Source::measured(stream, self.guard.0.windows.outgrown());
                Poll::Ready(head)
            }
            Err(error) => Poll::Ready(Err(fault(&error))),
        }
    }

    fn body(&mut self) -> &mut Http2Source {
        &mut self.source
    }
}

fn fault(error: &h2::Error) -> Fault {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => Fault::Unprocessed,
        // A GOAWAY without an error closes streams above its last one: they were not looked at.
        Some(h2::Reason::NO_ERROR) if error.is_go_away() => Fault::Unprocessed,
        // What the library itself found wrong: the endpoint has answered, but not in HTTP/2.
        Some(_) if error.is_library() => Fault::Protocol(MALFORMED),
        Some(_) | None => match broken(error) {
            Broken::Torn => Fault::Closed { seen: false },
            Broken::Reset(reason) => Fault::Reset(reason),
            Broken::Refused(refusal) => Fault::Protocol(refusal),
        },
    }
}
