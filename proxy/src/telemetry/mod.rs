//! Counters that cost a request next to nothing.
//!
//! # Why every worker has a cell of its own
//! An atomic addition on a line that another core also writes costs about as much as parsing a head. Each counter is
//! therefore a row of cells, one line per worker, and only that worker writes its cell: a plain load and store. Readers
//! (the Prometheus page) add the cells up.
//!
//! Handles are resolved when the snapshot is built; nothing on a request's way looks a metric up by name.

pub(crate) mod access_log;
pub(crate) mod edges;
pub(crate) mod istio;
pub(crate) mod prometheus;
mod sharded;
pub(crate) mod trace;

use std::sync::atomic::AtomicU64;

use tidegate_report::ResponseFlag;

pub(crate) use self::sharded::{Cell, Sharded, settled};
use crate::tls::server::Failure;

/// Answers by class: 1xx to 5xx.
#[derive(Debug, Default)]
pub(crate) struct ByClass([Cell; 5]);

impl ByClass {
    pub(crate) const LABELS: [&'static str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

    pub(crate) fn count(&self, status: u16) {
        let class = usize::from((status / 100).clamp(1, 5)) - 1;
        self.0[class].increment();
    }

    pub(crate) fn cell(&self, class: usize) -> &Cell {
        &self.0[class.min(4)]
    }
}

/// What is counted for a listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCells {
    pub(crate) requests: ByClass,
    pub(crate) connections: Cell,
    pub(crate) rate_limit_passed: Cell,
    pub(crate) rate_limit_shadowed: Cell,
    pub(crate) rate_limit_refused: Cell,
}

/// What is counted for a cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterCells {
    pub(crate) requests: ByClass,
    pub(crate) connects: Cell,
    pub(crate) connect_failures: Cell,
    pub(crate) retries: Cell,
    /// Refused because the control plane asked for it.
    pub(crate) dropped: Cell,
    pub(crate) mirrored: Cell,
    pub(crate) mirror_abandoned: Cell,
    pub(crate) mirror_failed: Cell,
}

/// Why a connection was let go whose caller was silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Before its first bytes told the protocol.
    Detection,
    /// While HTTP/2 was being set up.
    Handshake,
    /// Between requests.
    Idle,
    /// Asked by a PING.
    Ping,
}

impl Silence {
    pub(crate) const ALL: [Self; 4] = [Self::Detection, Self::Handshake, Self::Idle, Self::Ping];

    /// The label `reason`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Ping => "ping",
        }
    }
}

/// What is counted for a worker as a whole.
#[derive(Debug, Default)]
pub(crate) struct WorkerCells {
    rejections: [Cell; ResponseFlag::ALL.len()],
    cuts: [Cell; Silence::ALL.len()],
    tls_failures: [Cell; Failure::ALL.len()],
    pub(crate) tls_handshakes: Cell,
    pub(crate) panics: Cell,
    /// Connections that this worker has been given and not finished. Acceptors on other workers add to it, so that it is a
    /// true atomic; it changes once per connection, not per request.
    pub(crate) connections: AtomicU64,
    pub(crate) accept_failures: Cell,
    pub(crate) over_limit: Cell,
}

impl WorkerCells {
    pub(crate) fn reject(&self, flag: ResponseFlag) {
        self.rejections[flag as usize].increment();
    }

    /// A connection is let go, without a word.
    pub(crate) fn cut(&self, silence: Silence) {
        self.cuts[silence as usize].increment();
    }

    /// A caller's handshake came to nothing.
    pub(crate) fn tls_failed(&self, failure: Failure) {
        self.tls_failures[failure as usize].increment();
    }

    pub(crate) fn tls_failures(&self, failure: Failure) -> &Cell {
        &self.tls_failures[failure as usize]
    }

    pub(crate) fn cuts(&self, silence: Silence) -> &Cell {
        &self.cuts[silence as usize]
    }

    pub(crate) fn rejections(&self, flag: ResponseFlag) -> &Cell {
        &self.rejections[flag as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_over_all_workers() {
        let sharded: Sharded<ListenerCells> = Sharded::new(2);
        sharded.of(0).requests.count(200);
        sharded.of(1).requests.count(204);
        sharded.of(1).requests.count(503);

        assert_eq!(sharded.sum(|row| row.requests.cell(1)), 2);
        assert_eq!(sharded.sum(|row| row.requests.cell(4)), 1);
    }

    #[test]
    fn a_status_outside_of_the_classes_is_counted_with_the_nearest() {
        let classes = ByClass::default();
        classes.count(999);
        classes.count(42);

        assert_eq!((classes.cell(0).value(), classes.cell(4).value()), (1, 1));
    }
}
