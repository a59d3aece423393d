//! Promise: a broken policy file breaks nothing. The last good configuration keeps serving, and the status names the file,
//! the line and the cure.

mod broken;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use self::broken::{Broken, GOOD, LONELY};
use crate::harness::load::Load;
use crate::harness::{Mesh, wait};
use crate::split::canary;

/// The file that is broken.
const FILE: &str = "reviews.yaml";
/// From a write to the verdict on it.
const VERDICT_LIMIT: Duration = Duration::from_secs(10);

async fn mesh() -> (Mesh, Load) {
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).service("lonely", &[]);
    let mesh = plan.policy(FILE, GOOD).start().await;
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/reviews/0", 2, 1);
    (mesh, load)
}

/// Ends the load. Everything broken asks for v2, so an answer from there shows that it was applied.
async fn assert_unharmed(mesh: &Mesh, load: Load) {
    let log = mesh.control.log();
    assert!(!log.contains("panicked"), "{log}");
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{} requests: {:?}", seen.requests, seen.failures);
    assert_eq!(seen.versions.get("v2"), None, "a broken file was applied: {:?}", seen.versions);
    assert!(seen.requests > 50, "{} requests are no load", seen.requests);
}

async fn state(mesh: &Mesh) -> String {
    mesh.control.status().await["config"]["state"].as_str().unwrap_or_default().to_owned()
}

async fn becomes(mesh: &Mesh, wanted: &str, why: &str) {
    wait::until(&format!("the configuration is {wanted} ({why})"), VERDICT_LIMIT, || async {
        state(mesh).await == wanted
    })
    .await;
}

/// Puts the good file back and sees it accepted.
async fn mend(mesh: &Mesh, after: &str) {
    mesh.control.write(FILE, GOOD);
    becomes(mesh, "current", &format!("the good file is back after {after}")).await;
}

/// What is missing from the findings on `file`: nothing, if they name it, a line and a cure.
fn faults_of_findings(status: &Value, file: &str, line: Option<u64>) -> Vec<String> {
    let all = status["config"]["diagnostics"].as_array().cloned().unwrap_or_default();
    let named = |d: &&Value| d["file"].as_str().is_some_and(|f| Path::new(f).ends_with(file));
    let findings: Vec<&Value> = all.iter().filter(named).collect();
    let mut faults = Vec::new();
    if findings.is_empty() {
        faults.push(format!("no finding names {file}: {all:?}"));
    }
    for finding in findings {
        if finding["line"].as_u64().unwrap_or(0) == 0 {
            faults.push(format!("no line: {finding}"));
        }
        for part in ["message", "help", "code"] {
            if finding[part].as_str().unwrap_or_default().is_empty() {
                faults.push(format!("no {part}: {finding}"));
            }
        }
    }
    let lines: Vec<u64> = all.iter().filter(named).filter_map(|d| d["line"].as_u64()).collect();
    if line.is_some_and(|line| !lines.contains(&line)) {
        faults.push(format!("line {} is guilty, named are {lines:?}: {all:?}", line.unwrap_or(0)));
    }
    faults
}

/// Writes the broken file and lists what is wrong with the verdict.
async fn try_broken(mesh: &Mesh, broken: &Broken) -> Vec<String> {
    mesh.control.write(broken.file, &broken.content);
    let start = wait::now();
    while state(mesh).await != "rejected" {
        if start.elapsed() > VERDICT_LIMIT {
            return vec!["it was accepted".to_owned()];
        }
        wait::pass(Duration::from_millis(2)).await;
    }
    faults_of_findings(&mesh.control.status().await, broken.file, broken.line)
}

#[tokio::test]
async fn broken_files_leave_the_last_good_configuration_and_say_how_to_mend_them() {
    let (mesh, load) = mesh().await;
    let mut faults = Vec::new();

    for broken in broken::all() {
        let found = try_broken(&mesh, &broken).await;
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", broken.kind)));
        if broken.file != FILE {
            std::fs::remove_file(mesh.control.config.join(broken.file)).expect("it was written");
        }
        mend(&mesh, broken.kind).await;
    }

    assert!(faults.is_empty(), "verdicts that help nobody:\n  {}", faults.join("\n  "));
    assert_unharmed(&mesh, load).await;
    mesh.apply(FILE, &canary(0, 100)).await;
    let answer = mesh.client("web-v1").get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
    assert_eq!(answer.version(), "v2", "after all that, a good change is applied");
}

#[tokio::test]
async fn a_file_cut_off_anywhere_changes_nothing() {
    let (mesh, load) = mesh().await;
    let sample = canary(0, 100);
    let mut faults = Vec::new();

    for end in 0..sample.len() {
        let broken = Broken { kind: "cut off", file: FILE, content: sample.as_bytes()[..end].to_vec(), line: None };
        let found = try_broken(&mesh, &broken).await;
        faults.extend(found.into_iter().map(|fault| format!("after {end} bytes: {fault}")));
        mend(&mesh, "a cut").await;
    }

    assert!(faults.is_empty(), "of {} cuts:\n  {}", sample.len(), faults.join("\n  "));
    assert_unharmed(&mesh, load).await;
}

#[tokio::test]
async fn a_route_to_a_service_without_endpoints_does_not_replace_one_that_works() {
    let (mesh, load) = mesh().await;
    let mut client = mesh.client("web-v1");

    mesh.control.write(FILE, LONELY);
    wait::until("the status names the route", VERDICT_LIMIT, || async {
        faults_of_findings(&mesh.control.status().await, FILE, None).is_empty()
    })
    .await;
    for _ in 0..500 {
        let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        assert_eq!((answer.status.as_u16(), answer.version()), (200, "v1"), "{}", answer.text());
    }
    let lonely = client.get("lonely:9080", "/").await.expect("the mesh answers");
    assert_eq!(lonely.status, 503, "nobody is there to answer: {}", lonely.text());

    mend(&mesh, "a route to nobody").await;
    assert_unharmed(&mesh, load).await;
}

#[tokio::test]
async fn a_directory_that_vanishes_and_returns_changes_nothing() {
    let (mesh, load) = mesh().await;
    let away = mesh.folder().join("away");

    std::fs::rename(&mesh.control.config, &away).expect("the test's folder is writable");
    becomes(&mesh, "rejected", "its directory is gone").await;
    let status = mesh.control.status().await;
    let findings = status["config"]["diagnostics"].as_array().cloned().unwrap_or_default();
    let cure = |d: &Value| !d["help"].as_str().unwrap_or_default().is_empty();
    let named = |d: &Value| d.to_string().contains("mesh");
    assert!(findings.iter().any(|d| cure(d) && named(d)), "no finding names the directory and a cure: {status}");

    std::fs::rename(&away, &mesh.control.config).expect("the test's folder is writable");
    becomes(&mesh, "current", "its directory is back").await;
    assert_unharmed(&mesh, load).await;
    mesh.apply(FILE, &canary(0, 100)).await;
    let answer = mesh.client("web-v1").get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
    assert_eq!(answer.version(), "v2", "the directory is watched again");
}
