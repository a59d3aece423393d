//! Traffic management as pure decisions.
//!
//! The proxy asks, this crate answers: which route serves a request ([`RouteTable`]), which cluster ([`split`]), what the
//! forwarded head looks like ([`header_mutation`], [`rewrite`]), where a redirect points ([`redirect`]), how long it
//! may take ([`timeout`]), which endpoint gets it ([`load_balancing`]) and whether a failure may be tried again ([`retry`]).
//!
//! # Why there is no I/O here
//! A decision that takes time, randomness and the request as arguments can be tested exhaustively, replayed from a
//! log line and compared with another proxy's. Nothing in this crate opens a socket, reads a clock or rolls a die.
//!
//! # Compiled once, asked often
//! Typed resources are compiled when a snapshot is built: patterns, header names, formats and indices. Whatever a
//! resource asks for that is not done is refused then, with the field's path ([`CompileError`]), never ignored later.
//! Lookups allocate nothing.

mod endpoint_set;
mod error;
mod format;
pub mod header_mutation;
mod host;
pub mod load_balancing;
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

pub use endpoint_set::EndpointSet;
pub use error::CompileError;
pub use header_mutation::{Context, HeadEditor, apply_request, apply_response};
pub use load_balancing::{Balancer, Load};
pub use request::{RequestView, ResponseView};
pub use route::{CompiledAction, CompiledRoute, RouteTable};
pub use split::{Chosen, CompiledForward};
pub use timeout::{Deadlines, IdleLimit, deadlines};
