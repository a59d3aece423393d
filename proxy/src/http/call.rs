//! One request with everything that was known when it arrived.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tidegate_http1::RequestHead;
use tidegate_traffic::IdleLimit;
use tokio::time::Instant;

use crate::clock::Alarm;
use crate::config::snapshot::{ActiveListener, HttpChain};
use crate::worker::{View, Worker};

/// A request in its world.
pub(crate) struct Call<'c> {
    pub(crate) worker: &'c Rc<Worker>,
    /// The configuration, loaded once for this request.
    pub(crate) view: &'c View,
    pub(crate) listener: &'c ActiveListener,
    pub(crate) chain: &'c HttpChain,
    pub(crate) request: &'c RequestHead,
    pub(crate) peer: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) alarm: &'c Alarm,
    pub(crate) started: Instant,
}

impl Call<'_> {
    /// How long a stream may stand still: the route's word, or the listener's.
    pub(crate) fn idle(&self, limit: IdleLimit) -> Option<Duration> {
        match limit {
            IdleLimit::Inherit => self.chain.manager.stream_idle_timeout,
            IdleLimit::Off => None,
            IdleLimit::After(after) => Some(after),
        }
    }

    /// Counts the answer for the listener.
    pub(crate) fn count(&self, status: u16) {
        self.listener.state.cells.of(self.worker.index).requests.count(status);
    }
}

/// How an exchange left the caller's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Ready for the next request.
    Reusable,
    /// Every byte of the answer is out, but nothing more may follow.
    Close,
    /// The answer was cut short, or the caller is gone.
    Abort,
}
