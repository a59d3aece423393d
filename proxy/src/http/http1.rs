//! The caller's side of HTTP/1.1: heads off the connection one by one, answers back onto it.
//!
//! Requests are served in the order in which they came; pipelined ones wait in the input. Between two requests the
//! connection holds no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memchr::memchr;
use tidegate_http1::{
    ConnectionField, Framing, HeadEdits, HeadMemory, Limits, Parsed, RequestHead, ResponseHead, Version,
    parse_request_in, write_response,
};
use tidegate_traffic::rate_limit::ConnectionBuckets;

use super::answer::rejected;
use super::call::{Call, Ending};
use super::exchange::{Caller, Reply, Start, Trouble};
use super::head::{Request, speaks_to_proxies};
use super::rejection::{Behind, Rejection};
use super::serve::serve;
use crate::clock::{Ring, Slot};
use crate::listener::connection::{Connection, World};
use crate::telemetry::Silence;
use crate::telemetry::access_log::Outcome;
use crate::telemetry::trace::Hop;
use crate::wire::buffer::Output;
use crate::wire::http1::{Body, Http1Sink, Http1Source, Written};
use crate::wire::socket::Writing;
use crate::worker::Worker;

/// How long the end of a connection is waited for after our side was closed. Closing with unread input would reset the
/// connection, and the reset may overtake the answer on its way (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// No deadline. Finite, so that the connection stays in the wheel and can be poked.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a connection keeps the memory of its last exchange for the next one. Busy callers come back sooner; who does not
/// is idle, and idle connections are many: this is half of what one costs.
const WARM: Duration = Duration::from_millis(50);

/// Why a connection has no request in hand.
#[derive(Debug)]
enum Left {
    /// Nobody has asked for anything for as long as was to be waited.
    Quiet,
    /// What came is no request, or did not come in time.
    Refused(Rejection),
    /// The caller closed, or the connection was not wanted any more.
    Over,
    /// Nothing may follow the last answer.
    Close,
    /// The last answer was cut short, or the caller is gone.
    Abort { reset: bool },
}

/// Serves a connection until it ends.
pub(crate) async fn run(worker: &Rc<Worker>, world: &mut World, connection: &mut Connection) {
    let mut output = Output::new(&worker.buffers);
    let buckets = RefCell::default();
    // The caller of a new connection owes its first head, whatever idle limit holds between requests.
    let mut idle = Some(worker.shared.limits.head);
    loop {
        let left = match read_head(worker, world, connection, idle, &mut HeadMemory::default()).await {
            // Boxed, so that an idle connection does not carry the size of an exchange.
            Ok(request) => Box::pin(busy(worker, world, connection, &mut output, &buckets, request)).await,
            Err(Left::Quiet) => return worker.cells().cut(Silence::Idle),
            Err(left) => left,
        };
        match left {
            // Nobody who was busy when it was told to leave has heard it.
            Left::Quiet if is_unwanted(worker, world) => idle = Some(worker.shared.limits.closing_idle),
            Left::Quiet => idle = world.chain.manager.idle_timeout.map(|idle| idle.saturating_sub(WARM)),
            Left::Refused(rejection) => {
                return Box::pin(refuse(worker, world, connection, &mut output, rejection)).await;
            }
            Left::Over => return,
            Left::Close => return Box::pin(linger(connection)).await,
            Left::Abort { reset } => {
                if reset {
                    connection.socket.reset_on_close();
                }
                return;
            }
        }
    }
}

/// Serves one request after the other for as long as they come in quick succession.
async fn busy(
    worker: &Rc<Worker>,
    world: &mut World,
    connection: &mut Connection,
    output: &mut Output,
    buckets: &RefCell<ConnectionBuckets>,
    mut request: RequestHead,
) -> Left {
    // Of the last head: the next one is likely to be like it.
    let mut memory;
    let left = loop {
        world.refresh(worker);
        let (ending, reset) = exchange(worker, world, &request, connection, output, buckets).await;
        memory = request.into_memory();
        match ending {
            Ending::Reusable => {}
            Ending::Close => break Left::Close,
            Ending::Abort => break Left::Abort { reset },
        }
        let warm = world.chain.manager.idle_timeout.map_or(WARM, |idle| idle.min(WARM));
        request = match read_head(worker, world, connection, Some(warm), &mut memory).await {
            Ok(request) => request,
            Err(left) => break left,
        };
    };
    worker.buffers.give_back_request(memory);
    left
}

/// One request.
async fn exchange(
    worker: &Rc<Worker>,
    world: &World,
    request: &RequestHead,
    connection: &mut Connection,
    output: &mut Output,
    buckets: &RefCell<ConnectionBuckets>,
) -> (Ending, bool) {
    let mut body = Body::new(request.framing());
    let (reading, writing) = connection.socket.split();
    let mut caller = Http1Caller { source: Http1Source { reading, input: &mut connection.input, body: &mut body } };
    let close = !request.keep_alive() || world.leaving || worker.is_parting();
    let mut reply = Http1Reply::new(writing, output, request.version(), close);
    let speaks_to_proxies = speaks_to_proxies(request);
    let started = worker.wheel.stamp();
    let call = Call {
        worker,
        view: &world.view,
        listener: &world.listener,
        chain: &world.chain,
        request,
        peer: connection.peer,
        peer_name: &connection.peer_name,
        local: connection.local,
        origin: &world.origin,
        tls: world.tls.as_deref(),
        server_name: world.server_name(),
        alarm: &connection.alarm,
        started,
        started_at: worker.wall(started),
        seen: Request::at(request, &world.chain.manager, speaks_to_proxies),
        speaks_to_proxies,
        buckets,
        outcome: Outcome::default(),
        trace: Hop::begin(worker, request),
    };
    let ending = serve(&call, &mut caller, &mut reply).await;
    (ending, reply.reset)
}

/// The next head. Its deadline begins with its first byte; that is waited for as long as `idle` says. `memory` is that of the
/// head before, or empty.
async fn read_head(
    worker: &Worker,
    world: &World,
    connection: &mut Connection,
    idle: Option<Duration>,
    memory: &mut HeadMemory,
) -> Result<RequestHead, Left> {
    let head_limit = world.chain.manager.request_headers_timeout.unwrap_or(worker.shared.limits.head);
    let Connection { socket, input, alarm, .. } = connection;
    let (mut reading, _) = socket.split();
    let mut begun = !input.is_empty();
    let mut unparsed = begun;
    let mut unwanted = false;
    // The first bytes have come and their deadline is not set yet.
    let mut first = false;
    alarm.set(Slot::Total, Some(if begun { head_limit } else { idle.unwrap_or(FAR) }));
    let incoming = poll_fn(|cx| {
        loop {
            if unparsed {
                unparsed = false;
                if memory.bytes() == 0 {
                    *memory = worker.buffers.request();
                }
                match parse_request_in(memory, input.bytes(), &Limits::STRICT) {
                    Ok(Parsed::Complete { mut head, consumed }) => {
                        input.consume(consumed);
                        if world.tls.is_some() {
                            head.arrived_encrypted();
                        }
                        return Poll::Ready(Ok(head));
                    }
                    // Who is slow to say it all holds no more than what was said.
                    Ok(Parsed::Partial) => worker.buffers.give_back_request(std::mem::take(memory)),
                    Err(refusal) => return Poll::Ready(Err(Left::Refused(Rejection::refused(refusal)))),
                }
            }
            let held = input.bytes().len();
            match input.poll_fill(cx, &mut reading) {
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::OutOfMemory => {
                    return Poll::Ready(Err(Left::Refused(Rejection::OVERLOAD)));
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Left::Over)),
                Poll::Ready(Ok(_)) => {
                    first |= !begun;
                    begun = true;
                    // A head ends with a line feed: without one among the new bytes there is nothing to parse.
                    let fresh = input.bytes().get(held..).unwrap_or_default();
                    unparsed = held == 0 || input.is_full() || memchr(b'\n', fresh).is_some();
                    continue;
                }
                Poll::Pending => {}
            }
            // Nearly every head arrives whole, and then there is nothing to wait for.
            if std::mem::take(&mut first) {
                alarm.set(Slot::Total, Some(head_limit));
            }
            match alarm.poll(cx) {
                Poll::Ready(Ring::Due(_)) if begun => return Poll::Ready(Err(Left::Refused(Rejection::HEAD_TIMEOUT))),
                Poll::Ready(Ring::Due(_)) if unwanted => {
                    worker.cells().cut(Silence::Idle);
                    return Poll::Ready(Err(Left::Over));
                }
                Poll::Ready(Ring::Due(_)) => return Poll::Ready(Err(Left::Quiet)),
                Poll::Ready(Ring::Poked) if !begun && is_unwanted(worker, world) => {
                    unwanted = true;
                    // Not what is left of being warm: the request that is on its way arrives meanwhile.
                    alarm.set(Slot::Total, Some(worker.shared.limits.closing_idle));
                }
                Poll::Ready(Ring::Poked) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    alarm.clear(Slot::Total);
    incoming
}

/// Whether an idle connection should go: the process or its listener does.
fn is_unwanted(worker: &Worker, world: &World) -> bool {
    worker.is_parting() || worker.view().listener(&world.listener.key).is_none()
}

/// Answers a message that is none, and closes.
async fn refuse(
    worker: &Worker,
    world: &World,
    connection: &mut Connection,
    output: &mut Output,
    rejection: Rejection,
) {
    worker.cells().reject(rejection.flag);
    world.listener.state.cells.of(worker.index).requests.count(rejection.status);
    let error = world.listener.config.error_header.then(|| rejection.error(Behind::default()));
    let Some((head, body)) = rejected(&rejection, "GET", false, error.as_deref()) else { return };
    let framing = Framing::Length(body.len() as u64);
    let none = HeadEdits::new();
    let written = write_response(output.buffer(), &head, &none, framing, ConnectionField::Close, false);
    if written.is_err() {
        return;
    }
    output.buffer().extend_from_slice(&body);
    connection.alarm.set(Slot::Total, Some(worker.shared.limits.write_progress));
    let (_, mut writing) = connection.socket.split();
    let flushed = connection.alarm.guard(poll_fn(|cx| output.poll_flush(cx, &mut writing))).await;
    if matches!(flushed, Ok(Ok(()))) {
        linger(connection).await;
    }
}

/// Closes our side, then reads and forgets until the caller closes too.
async fn linger(connection: &mut Connection) {
    let Connection { socket, input, alarm, .. } = connection;
    let (mut reading, mut writing) = socket.split();
    alarm.set(Slot::Total, Some(LINGER));
    let over = poll_fn(|cx| {
        if ready!(writing.poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        loop {
            input.consume(input.bytes().len());
            match ready!(input.poll_fill(cx, &mut reading)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    });
    // A caller that goes on sending has had its second.
    alarm.guard(over).await.ok();
}

struct Http1Caller<'a> {
    source: Http1Source<'a>,
}

impl<'a> Caller for Http1Caller<'a> {
    type Body = Http1Source<'a>;

    fn body(&mut self) -> &mut Http1Source<'a> {
        &mut self.source
    }

    fn source(&self) -> &Http1Source<'a> {
        &self.source
    }

    fn is_touched(&self) -> bool {
        self.source.body.touched
    }

    fn is_received(&self) -> bool {
        self.source.body.is_done()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The next request is waiting: the caller is there, and one is enough to hold.
        if !self.source.input.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.source.input.poll_fill(cx, &mut self.source.reading)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => {
                self.source.input.settle();
                Poll::Pending
            }
        }
    }
}

struct Http1Reply<'a> {
    sink: Http1Sink<'a>,
    http10: bool,
    close: bool,
    until_close: bool,
    /// The answer was cut short and the caller could take the connection's end for its end.
    reset: bool,
}

impl<'a> Http1Reply<'a> {
    fn new(writing: Writing<'a>, output: &'a mut Output, version: Version, close: bool) -> Self {
        let sink = Http1Sink::new(writing, output);
        Self { sink, http10: version == Version::Http10, close, until_close: false, reset: false }
    }
}

impl<'a> Reply for Http1Reply<'a> {
    type Body = Http1Sink<'a>;

    fn interim(&mut self, head: &ResponseHead) -> Result<(), Trouble> {
        // RFC 9110 §15.2: HTTP/1.0 knows none.
        if self.http10 {
            return Ok(());
        }
        let none = HeadEdits::new();
        write_response(self.sink.output.buffer(), head, &none, Framing::None, ConnectionField::None, false)?;
        Ok(())
    }

    fn begin(&mut self, head: &ResponseHead, edits: &HeadEdits, start: Start) -> Result<(), Trouble> {
        let from = head.framing();
        let to = match from {
            Framing::Chunked if self.http10 => Framing::UntilClose,
            Framing::UntilClose if !self.http10 && !start.upgrade => Framing::Chunked,
            Framing::None | Framing::Length(_) | Framing::Chunked | Framing::UntilClose => from,
        };
        self.until_close = to == Framing::UntilClose;
        self.close |= start.close || self.until_close;
        let connection = match (start.upgrade, self.close) {
            (true, _) => ConnectionField::Upgrade,
            (false, true) => ConnectionField::Close,
            (false, false) if self.http10 => ConnectionField::KeepAlive10,
            (false, false) => ConnectionField::None,
        };
        write_response(self.sink.output.buffer(), head, edits, to, connection, self.http10)?;
        self.sink.written = Written::choose(start.raw, from, to);
        self.sink.ended = false;
        Ok(())
    }

    fn body(&mut self) -> &mut Http1Sink<'a> {
        &mut self.sink
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // Seen by whoever reads.
        Poll::Pending
    }

    fn abort(&mut self) {
        self.reset = self.until_close;
    }

    fn reset(&mut self) {
        self.reset = true;
    }

    fn must_close(&self) -> bool {
        self.close
    }
}
