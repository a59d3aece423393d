//! The control plane of Tidegate, as a library for its own binary and for tests.
//!
//! # A policy's way
//! [`source`] watches a directory; the compiler of `tidegate-policies` turns its files into a policy set; [`world`]
//! indexes it; [`translate`] says it in xDS; [`snapshot`] encodes what changed; [`ads`] hands it to proxies and hears
//! from them what they made of it. Every stage before `ads` is a pure function of its input.

pub mod ads;
pub mod api;
pub mod changes;
pub mod clock;
pub mod command;
pub mod compile;
pub mod describe;
pub mod expiry;
pub mod explain;
pub mod finding;
#[cfg(test)]
mod fixture;
pub mod fleet;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod loaded;
pub mod place;
pub mod process;
pub mod programmed;
pub mod rate_limit;
pub mod snapshot;
pub mod source;
pub mod splits;
pub mod spoilt;
pub mod store;
pub mod stranded;
pub mod topology;
pub mod trace;
pub mod translate;
pub mod world;
