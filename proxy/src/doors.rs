//! The process's own two doors: the admin pages, and the socket at which a new process asks to take over.
//!
//! Only one process stands behind them at a time. Who takes over opens them when it accepts connections, who has gone over
//! closes them, so that an operator, a probe and a scraper always reach the process that has the future.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::admin::{self, Admin};
use crate::supervisor::{self, State};
use crate::upgrade::{self, Giver, Place};

/// See the module.
#[derive(Debug)]
pub(crate) struct Doors {
    /// The address that was asked for, and its socket.
    pub(crate) admin: Option<(SocketAddr, TcpListener)>,
    pub(crate) upgrade: Option<(Place, UnixListener)>,
    pub(crate) pages: Admin,
    /// What the admin pages look at.
    pub(crate) elsewhere: watch::Sender<bool>,
    /// Where the service manager listens.
    pub(crate) manager: Option<OsString>,
    pub(crate) open: Open,
}

/// What stands open.
#[derive(Debug, Default)]
pub(crate) struct Open {
    place: Option<Place>,
    serving: Option<JoinHandle<()>>,
    giving: Option<JoinHandle<()>>,
}

impl Doors {
    /// Stands behind both.
    pub(crate) fn open(&mut self) {
        let mut for_successor = None;
        if let Some((asked, admin)) = self.admin.take() {
            for_successor = admin.as_fd().try_clone_to_owned().map(|admin| (asked, admin)).ok();
            match tokio::net::TcpListener::from_std(admin) {
                Ok(admin) => self.open.serving = Some(tokio::spawn(admin::serve(admin, self.pages.clone()))),
                Err(error) => warn!(%error, "the admin pages cannot be served"),
            }
        }
        if let Some((place, listener)) = self.upgrade.take() {
            let (node, commands) = (Arc::clone(&self.pages.node), self.pages.commands.clone());
            let giver = Giver { node, admin: for_successor, commands };
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => self.open.giving = Some(tokio::spawn(upgrade::serve(listener, giver))),
                Err(error) => warn!(%error, "nobody will be able to take over"),
            }
            self.open.place = Some(place);
        }
    }

    /// Tells the service manager.
    pub(crate) fn tell(&self, state: State) {
        supervisor::tell(self.manager.as_deref(), state);
    }

    /// Leaves them to the process that has taken over.
    pub(crate) fn hand_over(&mut self) {
        self.elsewhere.send_replace(true);
        self.open.place = None;
    }

    /// Nobody can take over any more: the sockets are about to be closed. A conversation that has not come to its end breaks
    /// off, and the new process, which has the sockets, goes on alone.
    pub(crate) fn close_upgrade(&mut self) {
        if let Some(place) = self.open.place.take() {
            place.leave();
            if let Some(giving) = self.open.giving.take() {
                giving.abort();
            }
        }
    }

    /// Closes both. Who has taken over is told before this process ends.
    pub(crate) async fn close(&mut self) {
        self.close_upgrade();
        if let Some(serving) = self.open.serving.take() {
            serving.abort();
        }
        if let Some(giving) = self.open.giving.take() {
            // It has one word left to say, under a deadline of its own.
            drop(giving.await);
        }
    }
}
