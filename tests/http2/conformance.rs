//! The public conformance suite, h2spec: every case of its sections on HTTP/2 and HPACK, the strict ones included.

use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::victim::Victim;
use crate::harness::process::root;

/// All of them are asked.
const CASES: &str = "146 tests, 145 passed, 0 skipped, 1 failed";

/// The one that a port for both protocols cannot pass: what does not begin as HTTP/2 is a message of HTTP/1.1, and a bad one is
/// answered in its words (RFC 9112 3) before the connection is closed. The suite takes the answer for a frame.
const NOT_ITS_PROTOCOL: &str = "Sends invalid connection preface";

#[tokio::test]
async fn every_case_of_the_conformance_suite_passes() {
    let victim = Victim::start().await;
    let listener = victim.address();

    let mut suite = Command::new(h2spec());
    suite.args(["--strict", "--host", &listener.ip().to_string(), "--port", &listener.port().to_string()]);
    let ran = tokio::task::spawn_blocking(move || suite.output()).await.expect("no panic").expect("h2spec starts");
    let report = String::from_utf8_lossy(&ran.stdout).into_owned();

    let failures: Vec<&str> = report.split("Failures:").nth(1).into_iter().flat_map(str::lines).collect();
    let failed: Vec<&str> = failures.iter().filter(|line| line.contains('×')).copied().collect();
    println!("{}", report.lines().rev().find(|line| line.contains(" tests, ")).unwrap_or("no count"));
    assert!(report.contains(CASES), "{report}");
    assert!(failed.iter().all(|line| line.contains(NOT_ITS_PROTOCOL)), "{}", failures.join("\n"));
}

#[tokio::test]
async fn what_begins_as_neither_protocol_is_refused_and_closed() {
    let victim = Victim::start().await;
    let mut stream = TcpStream::connect(victim.address()).await.expect("the sidecar listens");

    stream.write_all(b"INVALID CONNECTION PREFACE\r\n\r\n").await.expect("a few bytes are taken");
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;

    assert!(end.is_ok(), "the connection is closed");
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
}

fn h2spec() -> std::path::PathBuf {
    let path = root().join("target/tools/h2spec");
    assert!(path.exists(), "{} is missing: run `bash tests/install.sh`", path.display());
    path
}
