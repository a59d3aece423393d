//! Limits in time.

use std::time::Duration;

/// Limits of an exchange. `None` is not limited; an explicit zero in a dialect that means "off" is `None` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's arrival to the answer's end, retries included.
    pub request: Option<Duration>,
    /// For one attempt at a backend.
    pub backend_request: Option<Duration>,
}
