//! Promises to users, kept over real processes: one file per promise, in the harness's words.
//!
//! # Why one binary
//! Linking is the slow part of an integration test. One binary links once, and the harness is compiled once.
//!
//! Run by `make test`, which builds the processes first. A single promise: `make test ARGS=split`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy.toml exempts only the functions that are marked as tests"
)]

mod harness;

mod bad_input;
mod churn;
mod circuit_breaker;
mod clients;
mod console;
mod control_loss;
mod delegate;
mod demo;
mod differential;
mod drain;
mod explain;
mod farewell;
mod fault;
mod fidelity;
mod gateway;
mod http2;
mod https;
mod interop;
mod kubesphere;
mod load_balancing;
mod load_generators;
mod locality;
mod metrics;
mod mirror;
mod outage;
mod overload;
mod pains;
mod protocols;
mod rate_limit;
mod rate_limit_script;
mod rate_limit_store;
mod route_changes;
mod session;
mod slow_clients;
mod split;
mod timeout;
mod topology;
mod topology_load;
mod trace_store;
mod tracing;
mod upgrade;
