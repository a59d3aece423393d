//! Says in xDS what the policy set says.
//!
//! Pure functions: a key and a [`Reader`](crate::world::Reader) go in, typed resources come out. One file per resource
//! type, and one per policy kind under the name that kind has everywhere else. Translation cannot fail: whatever may be
//! wrong with a policy was found by the compiler, which has lines and columns to point at.

pub mod circuit_breaker;
pub mod cluster;
mod cors;
pub mod endpoint;
mod fault;
pub mod filter;
mod governing;
mod header;
mod health_check;
pub mod listener;
pub mod load_balancing;
mod locality;
mod matching;
mod mirror;
pub mod name;
pub(crate) mod origin;
pub(crate) mod rate_limit;
mod retry;
mod rewrite;
pub mod route;
mod session;
mod share;
pub mod split;
pub mod tls;
pub(crate) mod written;

#[cfg(test)]
mod tests;
