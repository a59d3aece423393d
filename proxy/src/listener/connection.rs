//! One downstream connection: whose it is, what it speaks, who serves it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tidegate_xds::resource::listener::Codec;
use tokio::net::TcpStream;
use tracing::debug;

use super::chain::{self, Shown};
use crate::clock::{Alarm, Slot};
use crate::config::snapshot::{ActiveListener, ChainKind, HttpChain};
use crate::http::head::PeerName;
use crate::telemetry::Silence;
use crate::telemetry::edges::place::Origin;
use crate::tls::hello::{self, Hello, Seen};
use crate::tls::server::{Failure, ServerTls};
use crate::wire::buffer::Input;
use crate::wire::socket::Socket;
use crate::worker::{Arrival, View, Worker};
use crate::{http, tcp};

/// What an HTTP/2 client with prior knowledge says first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Of any frame (RFC 9113 4.1).
const FRAME_HEAD_BYTES: usize = 9;

/// A connection that was accepted and not given to a protocol yet.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) input: Input,
    pub(crate) alarm: Alarm,
    pub(crate) peer: SocketAddr,
    /// Its address as text, for heads: written once for all requests.
    pub(crate) peer_name: PeerName,
    pub(crate) local: Option<SocketAddr>,
}

impl Connection {
    fn new(worker: &Worker, stream: TcpStream, peer: SocketAddr) -> Self {
        Self {
            local: stream.local_addr().ok(),
            socket: Socket::new(stream),
            input: Input::new(&worker.buffers),
            alarm: worker.wheel.alarm(),
            peer,
            peer_name: PeerName::of(peer),
        }
    }
}

/// The configuration as an HTTP connection sees it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) view: View,
    pub(crate) listener: Arc<ActiveListener>,
    pub(crate) chain: Arc<HttpChain>,
    /// The listener is gone: the connection ends with its current exchange, in the world it knew.
    pub(crate) leaving: bool,
    local: SocketAddr,
    protocol: Option<&'static str>,
    /// What the caller said first, under TLS.
    hello: Option<Rc<Hello>>,
    /// What the connection was terminated with.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// Who is at the other end.
    pub(crate) origin: Rc<Origin>,
}

impl World {
    /// Looks at the current configuration. Called once for each request, so that a change acts on the next request of an
    /// open connection.
    pub(crate) fn refresh(&mut self, worker: &Worker) {
        let view = worker.view();
        if view.is(&self.view) || self.leaving {
            return;
        }
        let now = view.listener(&self.listener.key).cloned();
        let shown = Shown { destination: self.local, hello: self.hello.as_deref(), protocol: self.protocol };
        let chain = now.as_ref().and_then(|listener| chain::choose(listener, shown));
        let chain = chain.filter(|chain| self.is_let_in_by(chain.tls.as_ref()));
        match (now.as_ref(), chain.map(|chain| &chain.kind)) {
            (Some(listener), Some(ChainKind::Http(chain))) => {
                self.chain = Arc::clone(chain);
                self.listener = Arc::clone(listener);
                self.view = view;
            }
            (Some(_) | None, Some(ChainKind::Tcp(_)) | None) | (None, Some(ChainKind::Http(_))) => self.leaving = true,
        }
    }

    /// The name that the caller gave under TLS.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.hello.as_ref()?.server_name.as_deref()
    }

    /// Whether a caller that was let in once would be let in now. A new certificate of ours changes nothing about that.
    fn is_let_in_by(&self, now: Option<&Arc<ServerTls>>) -> bool {
        match (&self.tls, now) {
            (None, None) => true,
            (Some(then), Some(now)) => Arc::ptr_eq(then, now) || then.admits_like(now),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Serves a connection from its first byte to its last.
pub(crate) async fn run(worker: &Rc<Worker>, arrival: Arrival) {
    let view = worker.view();
    let Some(listener) = view.listener(&arrival.listener).cloned() else { return };
    listener.state.cells.of(worker.index).connections.increment();
    let stream = match TcpStream::from_std(arrival.socket) {
        Ok(stream) => stream,
        Err(error) => {
            debug!(%error, "cannot watch an accepted connection");
            return;
        }
    };
    let mut connection = Connection::new(worker, stream, arrival.peer);
    let destination = connection.local.unwrap_or(listener.address);
    let detection = listener.detection_timeout.unwrap_or(worker.shared.limits.detection);
    // A chain is chosen before the first byte where that is possible: in some protocols the server speaks first.
    let greets = chain::asks_for_hello(&listener);
    let hello = match greets {
        true => match greet(worker, &mut connection, detection).await {
            Ok(hello) => hello.map(Rc::new),
            Err(failure) => return worker.cells().tls_failed(failure),
        },
        false => None,
    };
    let mut protocol = match hello.is_none() && chain::asks_for_protocol(&listener) {
        true => Some(detect(worker, &mut connection, detection).await),
        false => None,
    };
    if protocol == Some(Detected::Nothing) {
        return;
    }
    let shown = Shown { destination, hello: hello.as_deref(), protocol: protocol.map(Detected::alpn) };
    let chosen = chain::choose(&listener, shown).map(|chain| (chain.kind.clone(), chain.tls.clone()));
    let (chain, tls) = chosen.unzip();
    let tls = tls.flatten();
    // An answer in plaintext would be read as a broken handshake, and one to plaintext is none; the end says it better.
    match (&tls, &hello, &chain) {
        (Some(tls), Some(_), _) => match Box::pin(secure(worker, connection, tls)).await {
            Ok(secured) => (connection, protocol) = secured,
            Err(failure) => return worker.cells().tls_failed(failure),
        },
        (Some(_), None, _) => return worker.cells().tls_failed(Failure::Plaintext),
        (None, Some(_), Some(ChainKind::Http(_)) | None) => return worker.cells().tls_failed(Failure::NothingInCommon),
        (None, Some(_), Some(ChainKind::Tcp(_))) | (None, None, _) => {}
    }
    if greets {
        connection.alarm.clear(Slot::Total);
    }
    match chain {
        Some(ChainKind::Tcp(proxy)) => {
            let server_name = hello.as_ref().and_then(|hello| hello.server_name.as_deref());
            Box::pin(tcp::run(worker, &view, (&listener, server_name), &proxy, connection)).await;
        }
        Some(ChainKind::Http(chain)) => {
            let speaks = match (chain.manager.codec, protocol) {
                (Codec::Http1, _) => Detected::Http1,
                (Codec::Http2, _) => Detected::Http2,
                (Codec::Auto, Some(known)) => known,
                (Codec::Auto, None) => detect(worker, &mut connection, detection).await,
            };
            let mut world = World {
                view,
                listener,
                chain,
                leaving: false,
                local: destination,
                protocol: hello.is_none().then(|| speaks.alpn()),
                hello,
                tls,
                origin: Rc::default(),
            };
            match speaks {
                Detected::Http1 => http::http1::run(worker, &mut world, &mut connection).await,
                Detected::Http2 => Box::pin(http::http2::run(worker, world, connection)).await,
                Detected::Nothing => {}
            }
        }
        None => debug!(listener = %listener.config.name, "no filter chain matches a connection"),
    }
}

/// Reads what the caller says first. `Ok(None)`: it does not speak TLS. What was read stays in the input; the alarm goes
/// on until the handshake is over.
async fn greet(worker: &Worker, connection: &mut Connection, limit: Duration) -> Result<Option<Hello>, Failure> {
    connection.alarm.set(Slot::Total, Some(limit));
    let input = &mut connection.input;
    let (mut reading, _) = connection.socket.split();
    let greeting = poll_fn(|cx| {
        loop {
            match hello::look(input.bytes()) {
                Seen::Plaintext => return Poll::Ready(Ok(None)),
                Seen::Hello(hello) => return Poll::Ready(Ok(Some(hello))),
                Seen::Garbage => return Poll::Ready(Err(Failure::Garbage)),
                Seen::More => {}
            }
            match input.poll_fill(cx, &mut reading) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    connection.alarm.guard(greeting).await.unwrap_or_else(|_late| {
        worker.cells().cut(Silence::Detection);
        Err(Failure::Late)
    })
}

/// Shakes hands, inside the time that is left of the detection.
async fn secure(
    worker: &Worker,
    connection: Connection,
    tls: &ServerTls,
) -> Result<(Connection, Option<Detected>), Failure> {
    let Connection { socket, mut input, alarm, peer, peer_name, local } = connection;
    let handshake = tls.accept(input.take(), socket);
    drop(input);
    let socket = alarm.guard(Box::pin(handshake)).await.unwrap_or_else(|_late| {
        worker.cells().cut(Silence::Handshake);
        Err(Failure::Late)
    })?;
    worker.cells().tls_handshakes.increment();
    let protocol = match socket.protocol().as_deref() {
        Some(b"h2") => Some(Detected::Http2),
        Some(b"http/1.1" | b"http/1.0") => Some(Detected::Http1),
        Some(_) | None => None,
    };
    let input = Input::new(&worker.buffers);
    Ok((Connection { socket, input, alarm, peer, peer_name, local }, protocol))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detected {
    Http1,
    Http2,
    /// The caller closed, or said nothing in time.
    Nothing,
}

impl Detected {
    fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2c",
            Self::Nothing => "",
        }
    }
}

/// Reads until the first bytes tell the protocol. What was read stays in the input.
async fn detect(worker: &Worker, connection: &mut Connection, limit: Duration) -> Detected {
    connection.alarm.set(Slot::Total, Some(limit));
    let input = &mut connection.input;
    let (mut reading, _) = connection.socket.split();
    let detected = poll_fn(|cx| {
        loop {
            let seen = input.bytes();
            let compared = seen.len().min(HTTP2_PREFACE.len());
            if seen[..compared] != HTTP2_PREFACE[..compared] {
                return Poll::Ready(Detected::Http1);
            }
            // The preface ends with a frame (RFC 9113 3.4). Until its head is there, nothing is kept for a connection but these bytes.
            if seen.len() >= HTTP2_PREFACE.len() + FRAME_HEAD_BYTES {
                return Poll::Ready(Detected::Http2);
            }
            match input.poll_fill(cx, &mut reading) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Detected::Nothing),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let detected = connection.alarm.guard(detected).await.unwrap_or_else(|_late| {
        worker.cells().cut(Silence::Detection);
        Detected::Nothing
    });
    connection.alarm.clear(Slot::Total);
    detected
}
