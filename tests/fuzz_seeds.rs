//! The fuzz targets' bodies over their stored seeds, and over every truncation of each seed.
//!
//! # Why here
//! The fuzzer itself needs a nightly compiler; this needs none, takes a second, and keeps the bodies compiling.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::path::Path;

/// Longer seeds are cut at steps, so that one large seed does not take the whole run.
const TRUNCATIONS_MAX: usize = 400;

fn over_seeds(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).expect("each target has seeds").flatten() {
        let bytes = std::fs::read(entry.path()).expect("a seed can be read");
        for end in (0..bytes.len()).step_by(bytes.len() / TRUNCATIONS_MAX + 1) {
            body(&bytes[..end]);
        }
        body(&bytes);
        seeds += 1;
    }
    assert!(seeds >= 3, "{target} has only {seeds} seeds in {}", folder.display());
}

#[test]
fn http1_requests_hold() {
    over_seeds("http1_request", bodies::http1_request);
}

#[test]
fn policy_files_hold() {
    over_seeds("policy_yaml", bodies::policy_yaml);
}

#[test]
fn xds_resources_hold() {
    over_seeds("xds_decode", bodies::xds_decode);
}
