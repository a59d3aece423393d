//! Promise: endpoints that come and go, and listeners that change, open and close, cost nobody a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::load::Load;
use crate::harness::moving::{endpoints, listeners, set};
use crate::harness::{Backend, Client, Mesh, wait};

const ENDPOINT_SETS: u32 = 200;
const LISTENER_CHANGES: u32 = 20;
/// A single change that takes longer is lost.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);
/// Everything that is on its way over a connection has arrived by then.
const REMOVED_LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn two_hundred_sets_of_endpoints_lose_nothing() {
    let plan = Mesh::plan();
    let hosts = [220, 221, 222, 223].map(|host| plan.spare_host(host));
    let mut backends = BTreeMap::new();
    for host in hosts {
        backends.insert(host, Backend::echo(SocketAddr::from((host, 9080)), &host.to_string()).await);
    }
    let mesh = plan.policy("moving.yaml", &endpoints(&hosts, 15)).start().await;
    let mut client = mesh.client("web-v1");
    let load = Load::start(mesh.outbound("web-v1"), "moving:9080", "/", 8, 4);
    let mut generation = mesh.control.generation().await;
    let start = wait::now();

    for number in 1..=ENDPOINT_SETS {
        mesh.control.write("moving.yaml", endpoints(&hosts, set(number)));
        let change = mesh.control.change_after(generation, 1, CHANGE_LIMIT).await;
        assert_eq!(change["result"], "applied", "change {number}: {change}");
        generation = change["generation"].as_u64().expect("a change has a generation");

        let answer = client.get("moving:9080", "/").await.expect("the mesh answers");
        let index = hosts.iter().position(|host| host.to_string() == answer.version()).expect("one of ours");
        assert_eq!(set(number) >> index & 1, 1, "change {number}: {} has gone", answer.version());
    }
    let took = start.elapsed();
    let seen = load.stop().await;

    println!("{ENDPOINT_SETS} sets of endpoints in {took:.1?}: {} requests, {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.requests > 1_000 && seen.versions.len() == hosts.len(), "{:?}", seen.versions);
}

#[tokio::test]
async fn twenty_changes_of_listeners_lose_nothing() {
    let plan = Mesh::plan().service("reviews", &["v1"]);
    let address = plan.spare_host(200);
    let mut mesh = plan.policy("front.yaml", &listeners(address, 0)).start().await;
    mesh.start_gateway("front", address);
    mesh.ready("front", CHANGE_LIMIT).await;
    let (first, second) = (SocketAddr::from((address, 8080)), SocketAddr::from((address, 8081)));
    let load = Load::start(first, "shop.example.com", "/", 8, 4);
    let mut generation = mesh.control.generation().await;
    let mut on_second = 0;
    let start = wait::now();

    for number in 1..=LISTENER_CHANGES {
        mesh.control.write("front.yaml", listeners(address, number));
        let change = mesh.control.change_after(generation, 1, CHANGE_LIMIT).await;
        assert_eq!(change["result"], "applied", "change {number}: {change}");
        generation = change["generation"].as_u64().expect("a change has a generation");

        let host = format!("host-{number}.example.com");
        assert_eq!(Client::new(first).get(&host, "/").await.map(|answer| answer.status.as_u16()), Ok(200), "{host}");
        if number % 2 == 1 {
            let mut client = Client::new(second);
            for _ in 0..50 {
                let answer = client.get("shop.example.com", "/").await.expect("the second port is open");
                assert_eq!(answer.status, 200, "{}", answer.text());
                on_second += 1;
            }
        } else {
            wait::until("the second port is closed", REMOVED_LIMIT, || async {
                tokio::net::TcpStream::connect(second).await.is_err()
            })
            .await;
        }
    }
    let took = start.elapsed();
    let seen = load.stop().await;

    println!(
        "{LISTENER_CHANGES} changes of listeners in {took:.1?}: {} requests on the port that stayed, {on_second} on the one that came and went, {} failed",
        seen.requests, seen.failed
    );
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.requests > 500, "{} requests are no load", seen.requests);
}
