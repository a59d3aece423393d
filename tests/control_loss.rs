//! Promise: the data plane does not need the control plane. Its death is noticed by nobody, its return brings everybody up
//! to date.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::load::Load;
use crate::harness::moving::{endpoints, set};
use crate::harness::{Backend, Mesh, wait};
use crate::split::canary;

/// How long it stays away.
const ABSENCE: Duration = Duration::from_secs(30);
/// From a proxy's start to its first good answer, with nothing but its disk.
const START_LIMIT: Duration = Duration::from_secs(1);
/// From a configuration's arrival until it is on disk.
const SAVE_LIMIT: Duration = Duration::from_secs(5);
/// From the control plane's readiness until every proxy holds its newest configuration.
const RETURN_LIMIT: Duration = Duration::from_secs(5);
const DEATHS: u32 = 5;

#[tokio::test]
async fn thirty_seconds_without_a_control_plane_lose_nothing() {
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).service("idle", &["v1"]);
    let mut mesh = plan.policy("reviews.yaml", &canary(0, 100)).start().await;
    // Saving is put off for a moment, so that a burst of changes is written once.
    let state = mesh.folder().join("idle-v1-state");
    wait::until("the idle proxy has saved its configuration", SAVE_LIMIT, || async {
        std::fs::read_dir(&state).is_ok_and(|files| files.flatten().any(|f| f.metadata().is_ok_and(|m| m.len() > 0)))
    })
    .await;
    let load = Load::start(mesh.outbound("web-v1"), "reviews:9080", "/reviews/0", 4, 2);

    mesh.control.kill();
    let gone = wait::now();

    // A proxy that nobody talks to, so that its own absence is not counted as the control plane's.
    mesh.proxies.get_mut("idle-v1").expect("it was planned").kill();
    let start = wait::now();
    mesh.start_proxy("idle-v1");
    wait::until("a restarted proxy serves from disk", START_LIMIT, || async {
        let answer = mesh.client("idle-v1").get("reviews:9080", "/reviews/0").await;
        matches!(answer, Ok(a) if a.status == 200 && a.version() == "v2")
    })
    .await;
    println!("a proxy without a control plane served {:.0?} after its start", start.elapsed());
    mesh.ready("idle-v1", START_LIMIT).await;

    // The configuration is changed while nobody can hear of it.
    mesh.control.write("reviews.yaml", canary(100, 0));
    wait::pass(ABSENCE.saturating_sub(gone.elapsed())).await;
    mesh.control.restart().await;
    let returned = wait::now();
    mesh.control.settled(mesh.proxies.len(), RETURN_LIMIT).await;
    println!("all proxies were in step {:.0?} after the control plane's return", returned.elapsed());

    for workload in ["web-v1", "idle-v1"] {
        let answer = mesh.client(workload).get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        assert_eq!(answer.version(), "v1", "{workload} has the change that was made meanwhile");
    }
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{} requests: {:?}", seen.requests, seen.failures);
    assert!(seen.requests > 1_000, "{} requests are no load", seen.requests);
}

#[tokio::test]
async fn a_control_plane_that_is_killed_five_times_and_once_in_mid_push_loses_nothing() {
    let plan = Mesh::plan();
    let hosts = [220, 221, 222, 223].map(|host| plan.spare_host(host));
    let mut backends = Vec::new();
    for host in hosts {
        backends.push(Backend::echo(SocketAddr::from((host, 9080)), &host.to_string()).await);
    }
    let mut mesh = plan.policy("moving.yaml", &endpoints(&hosts, 15)).start().await;
    let load = Load::start(mesh.outbound("web-v1"), "moving:9080", "/", 8, 4);

    for death in 1..=DEATHS {
        wait::pass(Duration::from_millis(500)).await;
        if death == DEATHS {
            // Killed between the moment when it has the change and the one when everybody has acknowledged it.
            let generation = mesh.control.generation().await;
            mesh.control.write("moving.yaml", endpoints(&hosts, set(death + 2)));
            while mesh.control.generation().await == generation {}
        }
        mesh.control.kill();
        wait::pass(Duration::from_millis(500)).await;
        mesh.control.write("moving.yaml", endpoints(&hosts, set(death + 1)));
        mesh.control.restart().await;
        mesh.control.settled(mesh.proxies.len(), RETURN_LIMIT).await;
        let answer = mesh.client("web-v1").get("moving:9080", "/").await.expect("the mesh answers");
        let index = hosts.iter().position(|host| host.to_string() == answer.version()).expect("one of ours");
        assert_eq!(set(death + 1) >> index & 1, 1, "{} has gone while nobody could say so", answer.version());
    }
    let seen = load.stop().await;

    println!("{} requests over {DEATHS} deaths of the control plane: {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.requests > 1_000, "{} requests are no load", seen.requests);
}
