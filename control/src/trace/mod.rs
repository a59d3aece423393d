//! Traces: taken in from whoever sends them, kept for a while, shown through the query APIs that people's tools speak.
//!
//! # Why in the control plane
//! A mesh's first question after "who fails?" is "what happened to this request?". With a store of its own, in memory, it is
//! answered on a machine that has nothing else installed; who has Jaeger, Tempo or SkyWalking points proxies there instead.
//!
//! # A span's way
//! [`intake`] bounds what is read from the network; [`otlp`], [`otlp_json`], [`zipkin`] and [`skywalking`] turn it into the one form
//! of [`model`]; [`store`] keeps it and lets the oldest traces go; [`search`] and [`dependencies`] look through it. The query APIs are
//! in [`crate::api`].

pub mod change;
pub mod dependencies;
pub mod grpc;
pub mod intake;
pub mod json;
pub mod model;
pub mod otlp;
pub mod otlp_json;
pub mod search;
mod services;
pub mod skywalking;
pub mod store;
pub mod wire;
pub mod zipkin;

use self::model::Span;

/// Takes spans as they are decoded.
pub trait Sink {
    /// One more.
    fn span(&mut self, span: Span);

    /// One that cannot be kept, and why.
    fn reject(&mut self, why: &'static str);
}

#[cfg(test)]
pub(crate) mod fixture;
