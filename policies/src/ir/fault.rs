//! Faults that are injected on purpose.

use std::time::{Duration, SystemTime};

use super::route::RequestMatch;
use super::share::Share;

/// What goes wrong, for whom, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Requests that match any of these; empty: all.
    pub matches: Vec<RequestMatch>,
    /// Wait so long before going on.
    pub delay: Option<(Duration, Share)>,
    /// Answer instead of forwarding.
    pub abort: Option<(Abort, Share)>,
    /// Bytes per second of the answer's body.
    pub bandwidth: Option<(u64, Share)>,
    /// Without effect from then on; `None`: until it is removed (Istio, or `permanent: true`).
    pub expires_at: Option<SystemTime>,
    /// Where it acts.
    pub applies_to: AppliesTo,
}

/// What an aborted request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status.
    Grpc(u32),
    /// The connection (or stream) is reset.
    Reset,
}

/// Where a fault acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppliesTo {
    /// Once, above timeouts and retries, which therefore do not see it.
    #[default]
    Route,
    /// At each attempt, below timeouts and retries, which therefore are exercised.
    Upstream,
}
