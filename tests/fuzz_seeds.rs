//! The fuzz targets' bodies over their stored seeds, and over every truncation of each seed.
//!
//! # Why here
//! The fuzzer itself needs a nightly compiler; this needs none, takes some seconds, and keeps the bodies compiling.

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
fn lines_of_access_logs_hold() {
    over_seeds("access_log_format", bodies::access_log_format);
}

#[test]
fn reports_of_edges_hold() {
    over_seeds("edge_reports", bodies::edge_reports);
}

#[test]
fn spans_of_strangers_hold() {
    over_seeds("trace_intake", bodies::trace_intake);
}

#[test]
fn answers_and_bodies_hold() {
    over_seeds("codec", bodies::codec);
}

#[test]
fn what_the_gate_forwards_holds() {
    over_seeds("gate", bodies::gate);
}

#[test]
fn http1_requests_hold() {
    over_seeds("http1_request", bodies::http1_request);
}

#[test]
fn http2_heads_hold() {
    over_seeds("http2_head", bodies::http2_head);
}

#[test]
fn kept_files_hold() {
    over_seeds("kept", bodies::kept);
}

#[test]
fn paths_hold() {
    over_seeds("path", bodies::path);
}

#[test]
fn policy_files_hold() {
    over_seeds("policy_yaml", bodies::policy_yaml);
}

#[test]
fn messages_about_limits_hold() {
    over_seeds("rate_limit", bodies::rate_limit);
}

#[test]
fn contexts_of_traces_hold() {
    over_seeds("trace_context", bodies::trace_context);
}

#[test]
fn traces_hold() {
    over_seeds("traceparent", bodies::traceparent);
}

#[test]
fn sequences_of_resources_hold() {
    over_seeds("xds_apply", bodies::xds_apply);
}

#[test]
fn xds_resources_hold() {
    over_seeds("xds_decode", bodies::xds_decode);
}

#[test]
fn every_target_has_its_seeds_and_its_place_in_the_script() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let script = std::fs::read_to_string(fuzz.join("run.sh")).expect("the script is there");
    let this = include_str!("fuzz_seeds.rs");
    let listed =
        script.lines().find_map(|line| line.strip_prefix("ALL=(")?.strip_suffix(')')).expect("a list of targets");
    let mut targets: Vec<String> = std::fs::read_dir(fuzz.join("targets"))
        .expect("targets are there")
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();

    assert_eq!(targets, listed.split(' ').collect::<Vec<_>>());
    for target in targets {
        assert!(this.contains(&format!("bodies::{target}")), "{target} does not run over its seeds");
    }
}
