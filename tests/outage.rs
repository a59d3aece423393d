//! Promise: with nothing configured, the death of a backend is not noticed by callers whose requests may run twice.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::fragile::{application, slice};
use crate::harness::load::Load;
use crate::harness::{Mesh, wait};

const DEATHS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn a_backend_that_is_killed_eight_times_under_load_fails_no_idempotent_request() {
    let plan = Mesh::plan();
    let addresses = [220, 221].map(|host| SocketAddr::from((plan.spare_host(host), 9080)));
    let mesh = plan.policy("fragile.yaml", &slice(addresses)).start().await;
    let _stays = application(addresses[0], "v1", mesh.folder()).await;
    let mut dies = application(addresses[1], "v2", mesh.folder()).await;
    let load = Load::start(mesh.outbound("web-v1"), "fragile:9080", "/details/0", 16, 2);

    for _ in 0..DEATHS {
        wait::pass(BETWEEN / 2).await;
        dies.kill();
        wait::pass(BETWEEN / 2).await;
        dies = application(addresses[1], "v2", mesh.folder()).await;
    }
    let seen = load.stop().await;

    println!("{} requests over {DEATHS} deaths of one of two backends: {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.requests > 5_000, "{} requests are no load", seen.requests);
}
