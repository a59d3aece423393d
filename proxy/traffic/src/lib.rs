//! Traffic management as pure decisions.
//!
//! The proxy asks, this crate answers: which route serves a request ([`RouteTable`]), which cluster ([`split`]), what
//! the forwarded head looks like ([`header_mutation`], [`rewrite`]), where a redirect points ([`redirect`]), how long
//! it may take ([`timeout`]), which endpoint gets it ([`load_balancing`], [`hash_policy`], [`session`]), whether there
//! is room for it ([`circuit_breaker`]), which endpoints are good ([`outlier`], [`health_check`]) and whether a failure
//! may be tried again ([`retry`]). Filters ([`filters`]) act before that: [`cors`], [`fault`], [`rate_limit`]; and
//! copies go elsewhere ([`mirror`]). What all that would come to for a request is told by [`explain`].
//!
//! # Why there is no I/O here
//! A decision that takes time, randomness and the request as arguments can be tested exhaustively, replayed from a
//! log line and compared with another proxy's. Nothing in this crate opens a socket, reads a clock or rolls a die.
//!
//! # Compiled once, asked often
//! Typed resources are compiled when a snapshot is built: patterns, header names, formats and indices. Whatever a
//! resource asks for that is not done is refused then, with the field's path ([`CompileError`]), never ignored later.
//! Lookups allocate nothing.

mod error;
// Nothing acts by it: it says what the others would do.
pub mod explain;
pub mod format;
pub mod header_mutation;
mod host;
mod matcher;
mod path_index;
mod pattern;
mod prefix_tree;
pub mod redirect;
pub mod request;
pub mod retry;
pub mod rewrite;
#[cfg(test)]
mod robustness;
pub mod route;
pub mod split;
#[cfg(test)]
mod testing;
mod text_map;
pub mod timeout;

// Choosing an endpoint, and what decides whether it may be chosen.
pub mod circuit_breaker;
mod cookie;
mod endpoint_set;
mod hash;
pub mod hash_policy;
pub mod health_check;
pub mod load_balancing;
pub mod outlier;
pub mod session;
pub use endpoint_set::{ClusterSettings, EndpointHealth, EndpointSet};
pub use hash_policy::{HashPolicies, Hashed};
pub use load_balancing::{Balancer, Load};
pub use outlier::{ClusterOutlier, EndpointOutlier};
pub use session::Sessions;

// What is done with a request besides routing it.
pub mod cors;
pub mod fault;
pub mod filters;
pub mod mirror;
pub mod rate_limit;

pub use error::CompileError;
pub use filters::{Chain, CompiledFilter, CompiledFilterConfig, Overrides, Scope};
pub use header_mutation::{Context, HeadEditor, apply_request, apply_response};
pub use rate_limit::Limiters;
pub use request::{RequestView, ResponseView};
pub use route::{CompiledAction, CompiledRoute, RouteTable};
pub use split::{Chosen, CompiledForward};
pub use timeout::{Deadlines, IdleLimit, deadlines};
