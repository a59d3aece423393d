//! Which endpoints carry what: priorities, panic, shares that are refused.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proxy::Proxy;
use tidegate_xds::resource::Resource;
use tidegate_xds::resource::cluster::{Cluster, LoadBalancing, SlowStart};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{HashPolicy, HashSource, RouteAction};
use tokio::time::Instant;

use crate::backend::Switchable;
use crate::client::{Client, seen};
use crate::resources::{
    all_to, eds_cluster, forward, http_listener, inline, of_cluster, of_listener, proxy_with, route, routes,
};

fn locality(zone: &str, priority: u32, endpoints: &[(SocketAddr, Health)]) -> LocalityEndpoints {
    let endpoint = |(address, health): &(SocketAddr, Health)| Endpoint {
        address: *address,
        weight: NonZeroU32::MIN,
        health: *health,
        hostname: None,
        workload: None,
    };
    LocalityEndpoints {
        locality: Locality { zone: zone.into(), ..Locality::default() },
        priority,
        weight: None,
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn assignment(localities: Vec<LocalityEndpoints>) -> Resource {
    Resource::Endpoint(Arc::new(ClusterLoadAssignment { localities, ..ClusterLoadAssignment::empty("backend".into()) }))
}

async fn in_front_of(cluster: Cluster, assigned: Resource) -> (Proxy, SocketAddr) {
    proxy_with(vec![of_cluster(cluster), assigned, of_listener(http_listener("in", inline(all_to("r", "backend"))))])
        .await
}

/// How many of so many requests were answered by name.
async fn share(address: SocketAddr, count: usize, name: &str) -> usize {
    let mut client = Client::connect(address).await;
    let mut found = 0;
    for _ in 0..count {
        found += usize::from(client.get("/").await.text() == name);
    }
    found
}

#[tokio::test]
async fn load_stays_local_spills_in_proportion_and_comes_back() {
    let (near, far) = (Switchable::start("near").await, Switchable::start("far").await);
    let mut local_ones = vec![near.address];
    for _ in 1..4 {
        local_ones.push(Switchable::start("near").await.address);
    }
    let local = |healthy: usize| {
        let health = |index: usize| if index < healthy { Health::Healthy } else { Health::Unhealthy };
        let here: Vec<_> = local_ones.iter().enumerate().map(|(index, address)| (*address, health(index))).collect();
        assignment(vec![locality("here", 0, &here), locality("there", 1, &[(far.address, Health::Healthy)])])
    };
    let mut cluster = eds_cluster("backend");
    cluster.panic_threshold_percent = 0;
    let (proxy, address) = in_front_of(cluster, local(4)).await;
    assert_eq!(share(address, 100, "far").await, 0);

    // Three of four carry everything: 140 % of 75 % is more than all.
    assert_eq!(proxy.apply([local(3)]).await, Vec::new());
    assert_eq!(share(address, 100, "far").await, 0);
    // Two of four carry 70 %.
    assert_eq!(proxy.apply([local(2)]).await, Vec::new());
    let spilled = share(address, 1000, "far").await;
    // Three standard deviations of a binomial draw are 43; five are never met by chance.
    assert!((300_usize - 73..=300 + 73).contains(&spilled), "{spilled}");
    assert_eq!(proxy.apply([local(0)]).await, Vec::new());
    assert_eq!(share(address, 100, "far").await, 100);
    assert_eq!(proxy.apply([local(4)]).await, Vec::new());

    assert_eq!(share(address, 100, "far").await, 0);
}

#[tokio::test]
async fn a_priority_with_too_few_good_endpoints_panics_unless_it_must_not() {
    let (good, bad) = (Switchable::start("good").await, Switchable::start("bad").await);
    let other = Switchable::start("bad").await;
    let assigned = || {
        let endpoints =
            [(good.address, Health::Healthy), (bad.address, Health::Unhealthy), (other.address, Health::Unhealthy)];
        assignment(vec![locality("here", 0, &endpoints)])
    };
    let mut cluster = eds_cluster("backend");
    cluster.panic_threshold_percent = 50;
    let (proxy, address) = in_front_of(cluster.clone(), assigned()).await;

    assert!(share(address, 90, "bad").await > 30, "all are used");
    seen(&proxy, &format!("backend::{}::panic::true", bad.address)).await;
    cluster.panic_threshold_percent = 0;
    assert_eq!(proxy.apply([of_cluster(cluster)]).await, Vec::new());

    assert_eq!(share(address, 90, "bad").await, 0);
}

#[tokio::test]
async fn a_share_that_the_control_plane_wants_dropped_is_refused() {
    let good = Switchable::start("good").await;
    let share = |numerator| {
        Resource::Endpoint(Arc::new(ClusterLoadAssignment {
            localities: vec![locality("here", 0, &[(good.address, Health::Healthy)])],
            drop_overloads: vec![("lb".into(), Fraction { numerator, denominator: 100 })],
            ..ClusterLoadAssignment::empty("backend".into())
        }))
    };
    let (proxy, address) = in_front_of(eds_cluster("backend"), share(100)).await;
    let mut client = Client::connect(address).await;

    let refused = client.get("/").await;
    assert_eq!((refused.status, refused.text()), (503, "drop overload"));
    assert_eq!(refused.field("x-mesh-error"), Some("DO; details=drop_overload"));
    assert_eq!(good.requests(), 0);
    assert_eq!(proxy.apply([share(0)]).await, Vec::new());

    assert_eq!(client.get("/").await.status, 200);
}

/// One request with a key; the name of who answered.
async fn ask(client: &mut Client, key: usize) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nx-user: user-{key}\r\n\r\n")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

#[tokio::test]
async fn a_key_keeps_its_endpoint_while_that_lives_and_few_move_when_one_goes() {
    const KEYS: usize = 500;
    let names = ["a", "b", "c", "d", "e"];
    let mut endpoints = Vec::new();
    for name in names {
        endpoints.push(Switchable::start(name).await.address);
    }
    let assigned = |without: Option<usize>| {
        let health = |index| if Some(index) == without { Health::Unhealthy } else { Health::Healthy };
        let here: Vec<_> = endpoints.iter().enumerate().map(|(index, address)| (*address, health(index))).collect();
        assignment(vec![locality("here", 0, &here)])
    };
    let mut cluster = eds_cluster("backend");
    cluster.load_balancing = LoadBalancing::Maglev { table_size: 65_537 };
    let mut hashed = forward("backend");
    hashed.hash_policy = vec![HashPolicy { source: HashSource::Header("x-user".into()), terminal: false }];
    let all = routes("r", vec![route("/", RouteAction::Forward(Box::new(hashed)))]);
    let (proxy, address) =
        proxy_with(vec![of_cluster(cluster), assigned(None), of_listener(http_listener("in", inline(all)))]).await;
    let mut client = Client::connect(address).await;
    let mut homes = Vec::with_capacity(KEYS);
    for key in 0..KEYS {
        homes.push(ask(&mut client, key).await);
    }

    // Over another connection, which another worker serves.
    let mut client = Client::connect(address).await;
    for key in (0..KEYS).chain(0..KEYS).chain(0..KEYS) {
        assert_eq!(ask(&mut client, key).await, homes[key]);
    }
    assert_eq!(proxy.apply([assigned(Some(0))]).await, Vec::new());

    let mut moved = 0;
    for (key, home) in homes.iter().enumerate() {
        let now = ask(&mut client, key).await;
        assert_ne!(now, "a");
        moved += usize::from(home != "a" && now != *home);
    }
    // A perfect table would move none of the others; Maglev trades a little of that for even shares.
    assert!(moved <= KEYS / 20, "{moved} of {KEYS} keys moved that had no need to");
    assert_eq!(proxy.apply([assigned(None)]).await, Vec::new());
    for (key, home) in homes.iter().enumerate() {
        assert_eq!(ask(&mut client, key).await, *home);
    }
}

#[tokio::test]
async fn a_new_endpoint_begins_with_a_small_share_and_grows_to_its_own() {
    let (old, young) = (Switchable::start("old").await, Switchable::start("young").await);
    let assigned = |endpoints: &[SocketAddr]| {
        let here: Vec<_> = endpoints.iter().map(|address| (*address, Health::Healthy)).collect();
        assignment(vec![locality("here", 0, &here)])
    };
    let window = Duration::from_millis(800);
    let slow_start = Some(SlowStart { window, aggression: 1.0, min_weight_percent: 10.0 });
    let mut cluster = eds_cluster("backend");
    cluster.load_balancing = LoadBalancing::RoundRobin { slow_start };
    let began = Instant::now();
    let (proxy, address) = in_front_of(cluster, assigned(&[old.address])).await;
    while began.elapsed() < window {
        share(address, 10, "old").await;
    }

    let joined = Instant::now();
    assert_eq!(proxy.apply([assigned(&[old.address, young.address])]).await, Vec::new());
    // A machine that is busy with something else may be late; then the share may have grown already.
    let first = share(address, 40, "young").await;
    assert!(first <= 13 || joined.elapsed() > window / 4, "{first} of 40");
    while joined.elapsed() < window + window / 10 {
        share(address, 10, "old").await;
    }

    let grown = share(address, 100, "young").await;
    assert_eq!(grown, 50);
}
