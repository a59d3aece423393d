//! Promise: generators that nobody here wrote find no failure, over HTTP/1.1 and HTTP/2.
//!
//! # Why they and not only our own load
//! A client written beside the proxy shares its author's beliefs. h2load multiplexes as browsers and gRPC do; wrk keeps
//! connections busy without a pause. What a request costs the sidecar is printed for whoever follows it over time; it is
//! not asserted, because shared machines are noisy.

use std::process::Command;

use crate::harness::Mesh;

/// Enough that a leak of streams or connections shows.
const REQUESTS: u32 = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn h2load_multiplexes_without_a_failure() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let url = format!("http://{}/reviews/0", mesh.outbound("web-v1"));

    let requests = REQUESTS.to_string();
    let arguments = ["-n", &requests, "-c", "4", "-m", "16", "-H", ":authority: reviews:9080", &url];
    let printed = run("h2load", &arguments).await;

    assert!(printed.contains(&format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout")), "{printed}");
    assert!(printed.contains(&format!("status codes: {REQUESTS} 2xx")), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrk_keeps_connections_busy_without_a_failure() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let url = format!("http://{}/reviews/0", mesh.outbound("web-v1"));
    let sidecar = mesh.proxies["web-v1"].id();

    let before = cpu_ticks(sidecar);
    let printed = run("wrk", &["-t1", "-c16", "-d2s", "-H", "Host: reviews:9080", &url]).await;
    let ticks = cpu_ticks(sidecar) - before;

    assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
    let requests = printed.lines().find_map(|l| l.trim().split_once(" requests in ")).expect("wrk counts");
    let requests: u64 = requests.0.parse().expect("wrk prints a number");
    assert!(requests > 100, "{printed}");
    // The kernel counts in hundredths of a second.
    println!("{requests} requests, {} us of CPU each in the client's sidecar", ticks * 10_000 / requests);
}

async fn run(tool: &'static str, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || Command::new(tool).args(arguments).output());
    let output = output.await.expect("the tool runs").unwrap_or_else(|e| panic!("{tool}: {e}: see tests/install.sh"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("load generators print text")
}

/// User and system time of a process.
fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
    let fields = stat.rsplit(") ").next().expect("the name ends with a bracket");
    let field = |n: usize| -> u64 { fields.split(' ').nth(n).and_then(|f| f.parse().ok()).expect("a number") };
    field(11) + field(12)
}
