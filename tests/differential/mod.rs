//! Promise: what a route says is done as Envoy does it, or there is a reason on a list.
//!
//! Random tables and random requests, from a seed; both proxies are sent the same resources by our server. A short run
//! is part of every test; `make differential` makes 10,000 comparisons, or as many as `ARGS` says.

mod backend;
mod client;
mod difference;
mod requests;
mod tables;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tidegate_xds::resource::{Resource, RouteConfiguration};

use self::difference::{Outcome, compare, explain};
use self::requests::Request;
use self::tables::Tables;
use self::world::{Kind, Side};
use crate::harness::process::root;
use crate::harness::wait;

/// Comparisons of a run that nobody asked to be longer.
const COMPARISONS_DEFAULT: u64 = 1_500;
const SEED_DEFAULT: u64 = 1;
const REQUESTS_PER_TABLE: u64 = 50;
/// Copies travel on their own; this long after an answer they have arrived.
const COPY_LIMIT: Duration = Duration::from_millis(500);
/// Unexplained differences after which there is no point in going on.
const FOUND_MAX: usize = 25;

/// A number from the environment, as the Makefile passes it.
fn parameter(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Sends a request and waits for what its copies wrote.
async fn ask(side: &mut Side, request: &Request) -> Outcome {
    let answer = side.client.ask(request).await;
    Outcome { answer, arrived: side.journal.of(&request.id) }
}

/// Waits until as many requests have arrived on one side as on the other, or no more will come.
async fn even_out(sides: &mut [Side; 2], outcomes: &mut [Outcome; 2], id: &str) {
    let start = wait::now();
    while outcomes[0].arrived.len() != outcomes[1].arrived.len() && start.elapsed() < COPY_LIMIT {
        wait::pass(Duration::from_millis(2)).await;
        for (side, outcome) in sides.iter().zip(outcomes.iter_mut()) {
            outcome.arrived = side.journal.of(id);
        }
    }
    for side in sides {
        side.journal.forget(id);
    }
}

/// Puts a table into force on both sides. `false`: both refused it.
async fn publish(sides: &mut [Side; 2], number: u64, table: &RouteConfiguration, found: &mut Vec<String>) -> bool {
    let [ours, envoy] = sides;
    match tokio::join!(ours.publish(number, table), envoy.publish(number, table)) {
        (Ok(()), Ok(())) => true,
        (Err(_), Err(_)) => false,
        (ours, envoy) => {
            found.push(format!("table {number} is taken by one only: ours {ours:?}, Envoy {envoy:?}"));
            false
        }
    }
}

/// Writes a table that made a difference where people can look at it.
fn keep(number: u64, table: &RouteConfiguration) {
    let folder = root().join("target/differential");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let json = Resource::Route(Arc::new(table.clone())).to_json();
    std::fs::write(folder.join(format!("table-{number}.json")), json).expect("the target folder is writable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_served_as_envoy_serves_them() {
    let seed = parameter("DIFFERENTIAL_SEED", SEED_DEFAULT);
    let wanted = parameter("DIFFERENTIAL_COMPARISONS", COMPARISONS_DEFAULT);
    let mut rng = StdRng::seed_from_u64(seed);
    let folders = [TempDir::new().expect("a folder"), TempDir::new().expect("a folder")];
    let first = Tables::new(&mut rng).table(1);
    let mut sides = [
        Side::start(Kind::Ours, &first, folders[0].path()).await,
        Side::start(Kind::Envoy, &first, folders[1].path()).await,
    ];
    let (mut made, mut number) = (0, 1);
    // Of each connection.
    let mut last: [Option<Request>; 2] = [None, None];
    let mut found: Vec<String> = Vec::new();
    let mut reasons: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    while made < wanted && found.len() < FOUND_MAX {
        number += 1;
        let table = Tables::new(&mut rng).table(number);
        if !publish(&mut sides, number, &table, &mut found).await {
            continue;
        }
        for _ in 0..REQUESTS_PER_TABLE.min(wanted - made) {
            made += 1;
            let request = Request::random(&mut rng, made);
            let before_it = last[usize::from(request.http2)].replace(request.clone());
            let [ours, envoy] = &mut sides;
            let (a, b) = tokio::join!(ask(ours, &request), ask(envoy, &request));
            let mut outcomes = [a, b];
            even_out(&mut sides, &mut outcomes, &request.id).await;
            *statuses.entry(outcomes[0].answer.status).or_default() += 1;
            let before = found.len();
            if outcomes.iter().any(|outcome| outcome.answer.status == 0) {
                found.push(format!("table {number}, no answer to {request:?}, before it {before_it:?}"));
            }
            for difference in compare(&outcomes[0], &outcomes[1]) {
                match explain(&difference, &request) {
                    Some(why) => *reasons.entry((difference.what, why)).or_default() += 1,
                    None => found.push(format!("table {number}, {request:?}\n    {difference:?}")),
                }
            }
            if found.len() > before {
                keep(number, &table);
            }
        }
    }
    println!("{made} comparisons over {} tables, seed {seed}; statuses {statuses:?}", number - 1);
    for ((what, why), times) in &reasons {
        println!("explained {times} x {what}: {why}");
    }
    println!("{} unexplained differences", found.len());
    assert!(found.is_empty(), "seed {seed}, tables in target/differential:\n{}", found.join("\n"));
}
