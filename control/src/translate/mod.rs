//! Says in xDS what the policy set says.
//!
//! Pure functions: a key and a [`Reader`](crate::world::Reader) go in, typed resources come out. One file per resource
//! type, and one per policy kind under the name that kind has everywhere else. Translation cannot fail: whatever may be
//! wrong with a policy was found by the compiler, which has lines and columns to point at.

pub mod cluster;
pub mod endpoint;
mod header;
pub mod listener;
pub mod load_balancing;
pub mod name;
mod rewrite;
pub mod route;
pub mod split;
pub mod timeout;

#[cfg(test)]
mod tests;
