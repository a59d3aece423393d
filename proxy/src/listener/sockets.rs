//! The listening sockets of the process. Lives on the control thread.
//!
//! A socket is opened when its listener is accepted (an address that is taken must be refused by name) and accepts when the
//! listener becomes visible. It stays open across changes of the listener's configuration. A process that takes the place of
//! another begins with that one's sockets and accepts on none of them before it is told to ([`crate::upgrade`]).

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::accept::{Acceptor, Handle, listen};
use crate::config::snapshot::Snapshot;
use crate::upgrade::{Inherited, Parcel, Role};
use crate::worker::{Order, Shared};

#[derive(Debug)]
enum State {
    /// Nobody accepts yet.
    Waiting,
    /// An acceptor has it, too.
    Accepting { handle: Handle },
}

#[derive(Debug)]
struct Bound {
    socket: Arc<TcpListener>,
    state: State,
    /// What the configuration asks for.
    address: SocketAddr,
    local: SocketAddr,
}

/// All listening sockets, by the key of their listener.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    bound: HashMap<Arc<str>, Bound>,
    /// Acceptors that have been told to stop and may still hold their socket.
    ending: Vec<Arc<AtomicBool>>,
    next_worker: usize,
    /// Sockets of the process that ran before, for listeners that are not wanted yet.
    inherited: Vec<Inherited>,
    /// Another process accepts still.
    held: bool,
}

impl Sockets {
    /// Opens a socket, unless it is open already.
    pub(crate) fn bind(&mut self, key: &Arc<str>, address: SocketAddr) -> io::Result<()> {
        if self.bound.contains_key(key) {
            return Ok(());
        }
        // A port that the kernel chose is known by its listener's name alone.
        let same = |other: &Inherited| other.address == address && (address.port() != 0 || other.key == *key);
        let socket = match self.inherited.iter().position(same) {
            Some(index) => self.inherited.swap_remove(index).socket,
            None => listen(address)?,
        };
        let local = socket.local_addr()?;
        self.bound.insert(Arc::clone(key), Bound { socket: Arc::new(socket), state: State::Waiting, address, local });
        Ok(())
    }

    /// Begins with the sockets of the process that ran before, which accepts still.
    pub(crate) fn inherit(&mut self, inherited: Vec<Inherited>) {
        self.inherited = inherited;
        self.held = true;
    }

    /// Accepts from now on. What was inherited for nobody is closed.
    pub(crate) fn open(&mut self, snapshot: &Snapshot, shared: &Shared) {
        self.inherited.clear();
        self.held = false;
        self.accept(snapshot, shared);
    }

    /// Every socket once more, for a process that takes over.
    pub(crate) fn parcels(&self) -> io::Result<Vec<Parcel>> {
        let parcel = |(key, bound): (&Arc<str>, &Bound)| {
            let descriptor = bound.socket.as_fd().try_clone_to_owned()?;
            Ok(Parcel { role: Role::Listener, key: Arc::clone(key), address: Some(bound.address), descriptor })
        };
        self.bound.iter().map(parcel).collect()
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
        self.accept(snapshot, shared);
    }

    fn accept(&mut self, snapshot: &Snapshot, shared: &Shared) {
        if shared.drain.is_closing() || self.held {
            return;
        }
        let Some(workers) = shared.workers.get() else { return };
        for key in snapshot.listeners.keys() {
            let Some(bound) = self.bound.get_mut(key) else { continue };
            match bound.state {
                State::Waiting => {
                    let (acceptor, handle) = Acceptor::new(Arc::clone(key), Arc::clone(&bound.socket));
                    let worker = &workers[self.next_worker % workers.len()];
                    self.next_worker += 1;
                    // Workers outlive the control thread.
                    drop(worker.send(Order::Accept(acceptor)));
                    bound.state = State::Accepting { handle };
                }
                State::Accepting { .. } => {}
            }
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
