//! From resources to what a request asks.
//!
//! [`watch`] receives resources, [`apply`] decides which of them may become visible together, [`snapshot`] is what then is
//! visible, [`persist`] keeps the last good resources on disk, and [`registry`] holds what was learned meanwhile.

pub(crate) mod apply;
pub(crate) mod persist;
pub(crate) mod registry;
pub(crate) mod resolve;
#[cfg(test)]
mod simulation;
pub(crate) mod snapshot;
pub(crate) mod watch;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod whole;
