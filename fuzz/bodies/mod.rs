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

mod apply;
mod codec;
mod gate;
mod head;
mod http2;
mod hyper_reader;
mod kept;
mod planes;
mod rate_limit;

pub(crate) use apply::xds_apply;
pub(crate) use codec::codec;
pub(crate) use gate::gate;
pub(crate) use head::{http1_request, path, traceparent};
pub(crate) use http2::http2_head;
pub(crate) use kept::kept;
pub(crate) use planes::{policy_yaml, xds_decode};
pub(crate) use rate_limit::rate_limit;
