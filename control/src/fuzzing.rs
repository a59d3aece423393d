//! The doors of the fuzz targets: what they may reach of the inside, and nothing that ships has.
//!
//! The bodies in `fuzz/bodies` say what must hold; here is only how to get at it, without a runtime and without a clock.

pub use crate::api::answer_about_traces;
pub use crate::topology::fuzzing::{Books, Known};
