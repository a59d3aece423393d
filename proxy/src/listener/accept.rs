//! Takes connections off a listening socket.
//!
//! # Why one acceptor and a hand-over, not SO_REUSEPORT
//! The kernel spreads *connections* by hash. In a mesh a few long connections carry all traffic, and a hash of three
//! connections over two workers leaves one worker idle every fourth time. The acceptor knows each worker's load.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::reserve::Reserve;
use crate::pressure::Step;
use crate::worker::{Arrival, Shared};

/// When descriptors or memory run out, accepting again at once would spin; connections end meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// Accepts in a row before other tasks of the worker get their turn.
const ACCEPTS_PER_TURN: u32 = 32;

/// What a connection takes before anything is read of it: its task and its socket, and what its caller has sent ahead, which the
/// kernel counts as ours from its accept on.
const ACCEPTED_BYTES_MAX: usize = 128 * 1024;

/// Takes connections for one listener until its handle is dropped.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: Arc<str>,
    /// Shared with the owner of all sockets, who may have to give it away.
    socket: Arc<TcpListener>,
    stop: oneshot::Receiver<()>,
    stopped: Arc<AtomicBool>,
}

/// Keeps an [`Acceptor`] going.
#[derive(Debug)]
pub(crate) struct Handle {
    _stop: oneshot::Sender<()>,
    stopped: Arc<AtomicBool>,
}

impl Handle {
    /// Whether the acceptor has given its socket back.
    pub(crate) fn watch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }
}

impl Acceptor {
    pub(crate) fn new(listener: Arc<str>, socket: Arc<TcpListener>) -> (Self, Handle) {
        let (sender, stop) = oneshot::channel();
        let stopped = Arc::new(AtomicBool::new(false));
        (Self { listener, socket, stop, stopped: Arc::clone(&stopped) }, Handle { _stop: sender, stopped })
    }

    /// Accepts until told to stop; then empties the queue, because those callers have been promised a connection.
    pub(crate) async fn run(self, shared: &Shared, worker: usize) {
        let Self { listener, socket, mut stop, stopped } = self;
        match watched(socket) {
            Ok(socket) => {
                tokio::select! {
                    _ended = &mut stop => {}
                    () = accept_for_ever(&socket, &listener, shared, worker) => {}
                }
                while let Ok((connection, peer)) = accept_one(socket.get_ref()) {
                    take(shared, worker, &listener, connection, peer);
                }
            }
            Err(error) => warn!(listener = %listener, %error, "cannot watch a listening socket"),
        }
        stopped.store(true, Ordering::Release);
        debug!(listener = %listener, "stopped accepting");
    }
}

#[expect(
    deprecated,
    reason = "the safe constructor; its successor asks for a promise that std's listener keeps anyway: one descriptor, for as long as it lives"
)]
fn watched(socket: Arc<TcpListener>) -> io::Result<AsyncFd<Arc<TcpListener>>> {
    AsyncFd::new(socket)
}

async fn accept_for_ever(socket: &AsyncFd<Arc<TcpListener>>, listener: &Arc<str>, shared: &Shared, worker: usize) {
    let mut reserve = Reserve::new();
    loop {
        while !has_memory(shared) {
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
        let mut ready = match socket.readable().await {
            Ok(ready) => ready,
            Err(error) => {
                warn!(listener = %listener, %error, "cannot watch a listening socket");
                return;
            }
        };
        for _ in 0..ACCEPTS_PER_TURN {
            if !has_memory(shared) {
                break;
            }
            match accept_one(socket.get_ref()) {
                Ok((connection, peer)) => take(shared, worker, listener, connection, peer),
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    break;
                }
                // The caller gave up while it was queued.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    shared.registry.cells.of(worker).accept_failures.increment();
                    debug!(listener = %listener, %error, "accept failed");
                    if matches!(error, Errno::MFILE | Errno::NFILE) {
                        reserve.turn_away(socket.get_ref());
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    break;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Whether there is memory for one more.
fn has_memory(shared: &Shared) -> bool {
    !shared.registry.pressure.is_at(Step::Standstill) && shared.registry.take_memory(ACCEPTED_BYTES_MAX)
}

pub(super) fn accept_one(socket: &TcpListener) -> Result<(TcpStream, SocketAddr), Errno> {
    let (connection, peer) = rustix::net::acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).unwrap_or(unspecified);
    Ok((TcpStream::from(connection), peer))
}

fn take(shared: &Shared, worker: usize, listener: &Arc<str>, socket: TcpStream, peer: SocketAddr) {
    if !shared.hand_over(Arrival { socket, peer, listener: Arc::clone(listener) }) {
        shared.registry.cells.of(worker).over_limit.increment();
    }
}

/// Opens a listening socket. The queue is as long as the kernel allows: a burst must wait, not fail.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    // A restarted proxy must get its port back while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
