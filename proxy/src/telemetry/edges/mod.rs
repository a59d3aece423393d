//! Who calls whom, how often, how it ended and how long it took: counted exactly, for the control plane and for Prometheus.
//!
//! # What a request pays
//! Its edge is found once for each endpoint and once for each connection that arrives, and kept there as a handle
//! ([`place`]). A request adds to a dozen numbers of its worker's own row ([`cells`]): no lock, no look-up by name, no text.
//!
//! # Bounds
//! Those of the [`table`]: what finds no place is counted on one edge to [`table::OTHER`], and how often is counted as well.
//! An edge that nobody holds any more and that has been still for [`FORGOTTEN_AFTER`] is let go.

pub(crate) mod cells;
pub(crate) mod place;
pub(crate) mod reporter;
pub(crate) mod table;

use std::time::Duration;

use self::cells::{Ended, Request};
pub(crate) use self::table::{Edge, Edges};
use crate::http::call::Call;
use crate::router::Decision;

/// How long an edge that nobody holds stays, so that scrapers see its last numbers.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Counts a request that is over.
pub(crate) fn record(call: &Call<'_>, decision: &Decision<'_>) {
    if !call.worker.shared.counts_edges {
        return;
    }
    let outcome = &call.outcome;
    let request = Request {
        ended: Ended { code: outcome.status(), grpc_status: outcome.grpc_status.get(), flags: outcome.flag_bits() },
        // To when the last of the answer came in: what the proxy did with it since is some microseconds, which the clock of this
        // moment does not cost.
        took: call.worker.wheel.stamp().since(call.started),
        received: outcome.received.get(),
        sent: outcome.sent.get(),
    };
    place::of(call, decision, |edge| edge.rows.of(call.worker.index).count(&request));
}
