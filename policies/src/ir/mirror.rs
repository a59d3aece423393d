//! Copies of requests that are sent elsewhere and forgotten.

use std::sync::Arc;

use super::route::{Backend, HeaderChanges};
use super::share::Share;

/// One copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Where to.
    pub backend: Backend,
    /// Of which share of requests.
    pub share: Share,
    /// Changes to the copy's head.
    pub request_headers: HeaderChanges,
    /// A host that replaces the copy's.
    pub host_rewrite: Option<Arc<str>>,
}
