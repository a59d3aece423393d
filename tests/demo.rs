//! Promise: `tidegate demo` ends by itself with nothing failed, the YAML's shares, and no process left behind.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::load::assert_share;
use crate::harness::process::binary;

/// Long enough for a few hundred requests.
const RUN: &str = "12s";

#[test]
fn the_demo_reports_shares_and_changes_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.json");

    let output = Command::new(binary("tidegate"))
        .args(["demo", "--for", RUN, "--report"])
        .arg(&report)
        .arg("--dir")
        .arg(folder.path().join("demo"))
        .output()
        .expect("the demo starts");

    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(report).expect("a report")).expect("JSON");
    let requests = report["requests"].as_u64().expect("a count");
    assert!(requests > 200, "only {requests} requests");
    assert_eq!(report["failed"], 0, "{printed}");
    let version = |v: &str| report["versions"][v].as_u64().unwrap_or(0);
    assert_eq!(version("reviews/v1") + version("reviews/v2"), requests);
    assert_share("reviews v2 of 90/10", version("reviews/v2"), requests, 0.10);
    let change = &report["changes"][0];
    assert_eq!((&change["proxies"], &change["acked"]), (&7.into(), &7.into()), "{printed}");
    println!("the demo's own edit reached the last proxy in {} ms", change["last_ack_ms"]);
    assert!(!still_running(folder.path()), "a process of the demo is still there");
}

/// Every process of the demo was given a path in its folder.
fn still_running(folder: &std::path::Path) -> bool {
    let needle = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    processes
        .filter(|p| p.file_name().to_string_lossy().parse::<u32>().is_ok())
        .any(|p| std::fs::read(p.path().join("cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(&needle)))
}
