//! Limits in time as fields of a route.
//!
//! # Why one field for two limits
//! No policy asks for further attempts yet, so an exchange has one attempt and the limit of the attempt is a limit of
//! the exchange: the shorter of the two is what both mean together.

use std::time::Duration;

use tidegate_policies::ir::timeout::Timeouts;

/// The limit of the whole exchange; `None` is no limit.
pub(super) fn request_timeout(timeouts: &Timeouts) -> Option<Duration> {
    match (timeouts.request, timeouts.backend_request) {
        (Some(request), Some(attempt)) => Some(request.min(attempt)),
        (request, attempt) => request.or(attempt),
    }
}
