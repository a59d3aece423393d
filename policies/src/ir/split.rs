//! Weighted splits: canary and blue-green are both this.

use std::sync::Arc;

use super::route::{Backend, HeaderChanges};

/// A weighted choice among destinations. Weights are relative; at least one is not zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// In the order written.
    pub destinations: Vec<Destination>,
}

/// One destination of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Where to.
    pub backend: Backend,
    /// Its relative weight; zero gets nothing.
    pub weight: u32,
    /// Changes to requests sent here.
    pub request_headers: HeaderChanges,
    /// Changes to answers from here.
    pub response_headers: HeaderChanges,
    /// A host that replaces the request's for this destination.
    pub host_rewrite: Option<Arc<str>>,
}
