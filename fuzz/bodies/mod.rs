//! What must hold for any bytes: the bodies of the fuzz targets, as plain functions.
//!
//! # Why plain functions
//! A fuzzer needs a nightly compiler and hours; a test run has neither. `cargo test` runs the same bodies over the
//! stored seeds and over every truncation of them, so a body cannot rot and a seed that once failed stays covered.
//!
//! # Whose word counts
//! A body never asks the code under test whether it was right. It compares two ways to the same thing (written and read
//! again, whole and in pieces), asks an independent reader (hyper, h2), or says the rule a second time in other words.
#![allow(clippy::panic, clippy::expect_used, reason = "a body that does not hold panics: that is its verdict")]
#![allow(dead_code, reason = "each fuzz target uses one body")]

mod access_log;
mod apply;
mod codec;
mod gate;
mod head;
mod http2;
mod hyper_reader;
mod kept;
mod planes;
mod rate_limit;
mod reports;
mod spans;
mod trace;

#[allow(unused_imports, reason = "each fuzz target uses one body")]
pub(crate) use self::{
    access_log::access_log_format,
    apply::xds_apply,
    codec::codec,
    gate::gate,
    head::{http1_request, path, traceparent},
    http2::http2_head,
    kept::kept,
    planes::{policy_yaml, xds_decode},
    rate_limit::rate_limit,
    reports::edge_reports,
    spans::trace_intake,
    trace::trace_context,
};
