//! The listening sockets of the process. Lives on the control thread.
//!
//! A socket is opened when its listener is accepted (an address that is taken must be refused by name) and accepts when the
//! listener becomes visible. It stays open across changes of the listener's configuration.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::accept::{Acceptor, Handle, listen};
use crate::config::snapshot::Snapshot;
use crate::worker::{Order, Shared};

#[derive(Debug)]
enum State {
    /// Open; nobody accepts yet.
    Waiting(TcpListener),
    /// An acceptor has it.
    Accepting { handle: Handle },
}

#[derive(Debug)]
struct Bound {
    state: State,
    local: SocketAddr,
}

/// All listening sockets, by the key of their listener.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    bound: HashMap<Arc<str>, Bound>,
    /// Acceptors that have been told to stop and may still hold their socket.
    ending: Vec<Arc<AtomicBool>>,
    next_worker: usize,
}

impl Sockets {
    /// Opens a socket, unless it is open already.
    pub(crate) fn bind(&mut self, key: &Arc<str>, address: SocketAddr) -> io::Result<()> {
        if self.bound.contains_key(key) {
            return Ok(());
        }
        let socket = listen(address)?;
        let local = socket.local_addr()?;
        self.bound.insert(Arc::clone(key), Bound { state: State::Waiting(socket), local });
        Ok(())
    }

    /// Accepts for every listener of the snapshot, and for no other. `wanted` names listeners that are not visible yet:
    /// their sockets stay open.
    pub(crate) fn reconcile(&mut self, snapshot: &Snapshot, wanted: impl Fn(&str) -> bool, shared: &Shared) {
        let ending = &mut self.ending;
        self.bound.retain(|key, bound| {
            let kept = snapshot.listeners.contains_key(key) || wanted(key);
            if !kept && let State::Accepting { handle } = &bound.state {
                ending.push(handle.watch());
            }
            kept
        });
        if shared.drain.is_closing() {
            return;
        }
        let Some(workers) = shared.workers.get() else { return };
        for key in snapshot.listeners.keys() {
            let Some(bound) = self.bound.remove(key) else { continue };
            let state = match bound.state {
                State::Waiting(socket) => {
                    let (acceptor, handle) = Acceptor::new(Arc::clone(key), socket);
                    let worker = &workers[self.next_worker % workers.len()];
                    self.next_worker += 1;
                    // Workers outlive the control thread.
                    drop(worker.send(Order::Accept(acceptor)));
                    State::Accepting { handle }
                }
                accepting @ State::Accepting { .. } => accepting,
            };
            self.bound.insert(Arc::clone(key), Bound { state, local: bound.local });
        }
    }

    /// Stops accepting everywhere.
    pub(crate) fn close(&mut self) {
        for bound in self.bound.values() {
            if let State::Accepting { handle } = &bound.state {
                self.ending.push(handle.watch());
            }
        }
        self.bound.clear();
    }

    /// Whether every acceptor that was told to stop has emptied its queue and closed its socket.
    pub(crate) fn closed(&mut self) -> bool {
        self.ending.retain(|stopped| !stopped.load(Ordering::Acquire));
        self.ending.is_empty()
    }

    /// The address that a listener really has: port 0 was replaced by the kernel's choice.
    pub(crate) fn local(&self, key: &str) -> Option<SocketAddr> {
        self.bound.get(key).map(|bound| bound.local)
    }
}
