//! Promise: several control planes with a store keep one limit together, and without it each limit does what it says.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::mesh::Plan;
use crate::harness::store::Redis;
use crate::harness::{Mesh, wait};
use crate::rate_limit::{BURST, OFFER, RATE, limit, offer};

const STORE_PORT: u16 = 6379;
/// Until both control planes have their parts, and their proxies leases.
const DIVIDED: Duration = Duration::from_secs(1);

/// Three proxies over two control planes, and a store.
async fn two_control_planes(rule: &str) -> (Mesh, Redis) {
    let plan: Plan = Mesh::plan().service("reviews", &["v1", "v2", "v3"]).second_control_plane(&["reviews-v3"]);
    let redis = Redis::start(SocketAddr::from((plan.spare_host(250), STORE_PORT))).await;
    let mesh = plan.policy("limit.yaml", &limit(rule)).rate_limit_store(&redis.url()).start().await;
    wait::pass(DIVIDED).await;
    (mesh, redis)
}

const SHARED: &str = "    scope: Shared\n    limit: {requests: 100, per: 1s, burst: 50}\n";

async fn accepted_of_three_offers(mesh: &Mesh, time: Duration) -> u64 {
    let offers: Vec<_> = (0..3).map(|_| tokio::spawn(offer(mesh.outbound("web-v1"), 120, time))).collect();
    let mut accepted = 0;
    for offer in offers {
        let seen = offer.await.expect("no panic");
        accepted += seen.get(&200).copied().unwrap_or_default();
        assert!(seen.keys().all(|status| [200, 429].contains(status)), "{seen:?}");
    }
    accepted
}

fn assert_within(accepted: u64, wanted: u64, percent: u64) {
    assert!(accepted.abs_diff(wanted) * 100 <= wanted * percent, "{accepted} of {wanted}");
}

#[tokio::test]
async fn three_proxies_of_two_control_planes_share_one_limit() {
    let (mesh, _redis) = two_control_planes(SHARED).await;

    let accepted = accepted_of_three_offers(&mesh, OFFER).await;

    let wanted = RATE * OFFER.as_secs() + BURST;
    println!("100/s shared by 3 proxies of 2 control planes: {accepted} of {wanted}");
    assert_within(accepted, wanted, 5);
}
