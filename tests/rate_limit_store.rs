//! Promise: several control planes with a store keep one limit together, and without it each limit does what it says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tidegate_xds::rate_limit_service::descriptor::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use tidegate_xds::rate_limit_service::rls::RateLimitRequest;
use tidegate_xds::rate_limit_service::rls::rate_limit_response::Code;
use tidegate_xds::transport::rate_limit::Asking;
use tokio::task::JoinHandle;

use crate::harness::mesh::Plan;
use crate::harness::process::binary;
use crate::harness::store::Redis;
use crate::harness::{Client, Mesh, wait};
use crate::rate_limit::{BURST, OFFER, RATE, limit, offer};

const STORE_PORT: u16 = 6379;
/// Until both control planes have their parts, and their proxies leases.
const DIVIDED: Duration = Duration::from_secs(1);
/// A store that is gone is noticed within a second and a half, one that is back is learnt from for two.
const NOTICED: Duration = Duration::from_secs(8);

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
    let outbound = mesh.outbound("web-v1");
    accepted_of((0..3).map(|_| tokio::spawn(offer(outbound, 120, time))).collect()).await
}

async fn accepted_of(offers: Vec<JoinHandle<BTreeMap<u16, u64>>>) -> u64 {
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

#[tokio::test]
async fn a_control_plane_that_is_killed_and_comes_back_within_its_lease_changes_nothing() {
    let (mut mesh, _redis) = two_control_planes(SHARED).await;
    let outbound = mesh.outbound("web-v1");
    let offers: Vec<_> = (0..3).map(|_| tokio::spawn(offer(outbound, 120, OFFER))).collect();

    wait::pass(OFFER / 3).await;
    mesh.control.kill();
    wait::pass(OFFER / 3).await;
    mesh.control.restart().await;

    let accepted = accepted_of(offers).await;
    let wanted = RATE * OFFER.as_secs() + BURST;
    println!("one of 2 control planes is killed for {:?}: {accepted} of {wanted}", OFFER / 3);
    assert_within(accepted, wanted, 5);
}

#[tokio::test]
async fn without_the_store_each_control_plane_goes_on_with_its_part_and_an_empty_one_is_joined_again() {
    let (mesh, mut redis) = two_control_planes(SHARED).await;
    let outbound = mesh.outbound("web-v1");
    let offers: Vec<_> = (0..3).map(|_| tokio::spawn(offer(outbound, 120, OFFER))).collect();

    wait::pass(OFFER / 3).await;
    redis.kill();
    lost(&mesh).await;
    wait::pass(OFFER / 5).await;
    redis.restart().await;
    back(&mesh).await;

    let accepted = accepted_of(offers).await;
    let wanted = RATE * OFFER.as_secs() + BURST;
    println!("the store is killed and comes back empty: {accepted} of {wanted}");
    assert_within(accepted, wanted, 5);
    let log = mesh.control.log();
    assert_eq!(log.matches("the store is gone").count(), 1, "{log}");
    assert_eq!(log.matches("the store is back").count(), 1, "{log}");
}

#[tokio::test]
async fn without_the_store_everything_is_refused_where_the_limit_says_so() {
    let (mesh, mut redis) = two_control_planes(&format!("{SHARED}    onStoreUnavailable: Deny\n")).await;
    assert_eq!(status(&mesh).await, 200);

    redis.kill();
    lost(&mesh).await;
    turns_to(&mesh, 429).await;
    let seen = offer(mesh.outbound("web-v1"), 120, Duration::from_secs(1)).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&429], "{seen:?}");
    assert_eq!(asked(&mesh).await, [Code::OverLimit; 2]);

    shares_again(&mesh, &mut redis, "Deny").await;
}

#[tokio::test]
async fn without_the_store_everything_passes_where_the_limit_says_so() {
    let (mesh, mut redis) = two_control_planes(&format!("{SHARED}    onStoreUnavailable: Allow\n")).await;

    redis.kill();
    lost(&mesh).await;
    // More than the limit and its burst at once.
    wait::until("nobody is refused any more", NOTICED, || async {
        let seen = offer(mesh.outbound("web-v1"), 1_000, Duration::from_millis(300)).await;
        !seen.contains_key(&429)
    })
    .await;
    let seen = offer(mesh.outbound("web-v1"), 360, Duration::from_secs(2)).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
    assert_eq!(asked(&mesh).await, [Code::Ok; 2]);

    shares_again(&mesh, &mut redis, "Allow").await;
}

#[tokio::test]
async fn a_store_that_stalls_is_taken_for_gone_and_holds_no_request_up() {
    let (mesh, redis) = two_control_planes(&format!("{SHARED}    onStoreUnavailable: Allow\n")).await;
    let start = wait::now();
    redis.command("CLIENT PAUSE 3000 ALL").await.expect("Redis answers");

    let mut slowest = Duration::ZERO;
    while start.elapsed() < Duration::from_secs(2) {
        let asked = wait::now();
        assert!([200, 429].contains(&status(&mesh).await));
        slowest = slowest.max(asked.elapsed());
    }
    lost(&mesh).await;

    println!("with a store that stalls the slowest request took {slowest:?}");
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    back(&mesh).await;
}

#[tokio::test]
async fn who_asks_for_each_request_is_counted_across_control_planes() {
    let rule = "    key: [{header: end-user}]\n    scope: Shared\n    limit: {requests: 40, per: 1h, burst: 40}\n";
    let (mesh, redis) = two_control_planes(rule).await;
    let mut askers = askers(&mesh);

    // Both ask in turn, and then the second alone: what the first still holds goes to where it is wanted.
    let mut passed = 0;
    for round in 0..20 {
        for (at, asker) in askers.iter_mut().enumerate() {
            let code = ask(asker, Some("jason")).await;
            assert!(round > 0 || code == Code::Ok, "the first question at control plane {at} was refused");
            passed += u32::from(code == Code::Ok);
        }
    }
    let start = wait::now();
    while start.elapsed() < Duration::from_secs(4) {
        passed += u32::from(ask(&mut askers[1], Some("jason")).await == Code::Ok);
        wait::pass(Duration::from_millis(20)).await;
    }

    // Where there is a token for each, nobody has none: one may be left where nobody asks.
    let left = u32::from(ask(&mut askers[0], Some("jason")).await == Code::Ok);
    println!("40 an hour, asked at two control planes: {passed}, and left at the first: {left}");
    // Never more, and less only by the parts of tokens that lie at the store and at each of the two.
    assert!((38..=40).contains(&(passed + left)), "{passed} and {left}");
    let keys = redis.command("KEYS *").await.expect("Redis answers");
    assert!(!keys.contains("jason") && keys.contains("tidegate:limit:"), "{keys}");
}

#[tokio::test]
async fn a_url_that_is_no_store_is_refused_with_a_cure_and_without_its_password() {
    for url in ["redis://:hunter2@127.0.0.1:6379/first", "rediss://:hunter2@127.0.0.1", "http://:hunter2@127.0.0.1"] {
        let mut serve = Command::new(binary("tidegate"));
        serve.args(["serve", "--config", "/nonexistent", "--rate-limit-store", url]);
        let output = serve.output().expect("tidegate can be started");

        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--rate-limit-store") && said.contains("redis://127.0.0.1:6379/0"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// One request through the mesh.
async fn status(mesh: &Mesh) -> u16 {
    mesh.client("web-v1").get("reviews:9080", "/").await.expect("the mesh answers").status.as_u16()
}

/// Waits until so many in a row that no proxy can have been missed have this status.
async fn turns_to(mesh: &Mesh, wanted: u16) {
    wait::until(&format!("answers turn to {wanted}"), NOTICED, || async {
        for _ in 0..60 {
            if status(mesh).await != wanted {
                return false;
            }
        }
        true
    })
    .await;
}

/// The store is started again, empty, and the limit is one again.
async fn shares_again(mesh: &Mesh, redis: &mut Redis, word: &str) {
    redis.restart().await;
    back(mesh).await;
    // An empty store learns for two seconds, and what was given up is given again after it.
    wait::until("the limit is kept again", NOTICED, || async {
        let seen = offer(mesh.outbound("web-v1"), 1_000, Duration::from_millis(300)).await;
        seen.contains_key(&200) && seen.contains_key(&429)
    })
    .await;

    let time = OFFER / 2;
    let accepted = accepted_of_three_offers(mesh, time).await;
    let wanted = RATE * time.as_secs();
    println!("{word}: after the store has come back: {accepted} of {wanted} and at most {BURST}");
    assert!(accepted * 100 >= wanted * 95 && accepted * 100 <= (wanted + BURST) * 105, "{accepted} of {wanted}");
}

/// Both control planes say in their metrics that the store is gone.
async fn lost(mesh: &Mesh) {
    store_is(mesh, 0).await;
}

/// Both control planes say that they reach it.
async fn back(mesh: &Mesh) {
    store_is(mesh, 1).await;
}

async fn store_is(mesh: &Mesh, up: u8) {
    let line = format!("\ntidegate_control_rate_limit_store_up {up}\n");
    for control in [Some(&mesh.control), mesh.second.as_ref()].into_iter().flatten() {
        wait::until(&format!("a control plane says{}", line.trim_end()), NOTICED, || async {
            let page = Client::new(control.api).get("localhost", "/metrics").await;
            page.is_ok_and(|page| page.text().contains(&line))
        })
        .await;
    }
}

/// What both control planes say to who asks for each request.
async fn asked(mesh: &Mesh) -> [Code; 2] {
    let [mut first, mut second] = askers(mesh);
    [ask(&mut first, None).await, ask(&mut second, None).await]
}

fn askers(mesh: &Mesh) -> [Asking; 2] {
    let second = mesh.second.as_ref().expect("there are two").xds;
    [mesh.control.xds, second].map(|address| Asking::new(&address.to_string()).expect("an address"))
}

async fn ask(asking: &mut Asking, user: Option<&str>) -> Code {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let rule = entry("rule", "shop/fair/all");
    let entries = [rule].into_iter().chain(user.map(|user| entry("header:end-user", user))).collect();
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    let question = RateLimitRequest { domain: "tidegate".to_owned(), descriptors, hits_addend: 0 };
    asking.ask(question).await.expect("a control plane answers").overall_code()
}
