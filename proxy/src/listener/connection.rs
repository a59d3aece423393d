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

use super::chain;
use crate::clock::{Alarm, Slot};
use crate::config::snapshot::{ActiveListener, ChainKind, HttpChain};
use crate::telemetry::Silence;
use crate::wire::buffer::Input;
use crate::wire::socket::Socket;
use crate::worker::{Arrival, View, Worker};
use crate::{http, tcp};

/// What an HTTP/2 client with prior knowledge says first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that was accepted and not given to a protocol yet.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) input: Input,
    pub(crate) alarm: Alarm,
    pub(crate) peer: SocketAddr,
    /// Its address as text, for heads: written once for all requests.
    pub(crate) peer_ip: Rc<str>,
    pub(crate) local: Option<SocketAddr>,
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
    protocol: &'static str,
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
        let chain = now.as_ref().and_then(|listener| chain::choose(listener, self.local, Some(self.protocol)));
        match (now.as_ref(), chain.map(|chain| &chain.kind)) {
            (Some(listener), Some(ChainKind::Http(chain))) => {
                self.chain = Arc::clone(chain);
                self.listener = Arc::clone(listener);
                self.view = view;
            }
            (Some(_) | None, Some(ChainKind::Tcp(_)) | None) | (None, Some(ChainKind::Http(_))) => self.leaving = true,
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
    let local = stream.local_addr().ok();
    let destination = local.unwrap_or(listener.address);
    let mut connection = Connection {
        socket: Socket::new(stream),
        input: Input::new(&worker.buffers),
        alarm: worker.wheel.alarm(),
        peer: arrival.peer,
        peer_ip: arrival.peer.ip().to_canonical().to_string().into(),
        local,
    };
    let detection = listener.detection_timeout.unwrap_or(worker.shared.limits.detection);
    // A chain is chosen before the first byte where that is possible: in some protocols the server speaks first.
    let protocol = match chain::asks_for_protocol(&listener) {
        true => Some(detect(worker, &mut connection, detection).await),
        false => None,
    };
    if protocol == Some(Detected::Nothing) {
        return;
    }
    let chain = chain::choose(&listener, destination, protocol.map(Detected::alpn)).map(|chain| chain.kind.clone());
    match chain {
        Some(ChainKind::Tcp(proxy)) => Box::pin(tcp::run(worker, &view, &proxy, connection)).await,
        Some(ChainKind::Http(chain)) => {
            let speaks = match (chain.manager.codec, protocol) {
                (Codec::Http1, _) => Detected::Http1,
                (Codec::Http2, _) => Detected::Http2,
                (Codec::Auto, Some(known)) => known,
                (Codec::Auto, None) => detect(worker, &mut connection, detection).await,
            };
            let mut world =
                World { view, listener, chain, leaving: false, local: destination, protocol: speaks.alpn() };
            match speaks {
                Detected::Http1 => http::http1::run(worker, &mut world, &mut connection).await,
                Detected::Http2 => Box::pin(http::http2::run(worker, world, connection)).await,
                Detected::Nothing => {}
            }
        }
        None => debug!(listener = %listener.config.name, "no filter chain matches a connection"),
    }
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
            if compared == HTTP2_PREFACE.len() {
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
