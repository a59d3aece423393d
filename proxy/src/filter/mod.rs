//! Filters: what happens between the choice of a route and the choice of an endpoint.
//!
//! The order is product semantics and the set is closed: an enum, no trait objects on the way. CORS and fault injection
//! are configured per route; this version of the resources carries no such configuration, so a listener may name the
//! filters (control planes always do) and they have nothing to do.

use tidegate_xds::resource::listener::HttpFilter;

/// A filter in its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Cors,
    Fault,
}

/// What a filter wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Continue,
}

/// Asks the filters in their order.
pub(crate) fn run(filters: &[Filter]) -> Verdict {
    for filter in filters {
        match filter {
            // Nothing is configured per route yet.
            Filter::Cors | Filter::Fault => {}
        }
    }
    Verdict::Continue
}

impl Filter {
    pub(crate) fn compile(filter: &HttpFilter) -> Self {
        match filter {
            HttpFilter::Cors => Self::Cors,
            HttpFilter::Fault => Self::Fault,
        }
    }
}
