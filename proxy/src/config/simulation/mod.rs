//! A control plane and its proxies on a simulated network, with everything that goes wrong there.
//!
//! # What is real
//! The proxy's loop, its applier, its file on disk, the client and the server of ADS, gRPC and HTTP/2. Simulated are the
//! network below (`turmoil`) and the clocks of the hosts. Each host has one thread, so a seed decides everything that happens:
//! what is published, who crashes, which link is cut, held or slow, whose clock jumps, where a file is torn.
//!
//! # What must hold
//! After every turn of every proxy ([`onlooker`]): what is visible is whole, was published, and is nothing older than what
//! was visible before in the same life; a listener that serves goes on serving; nothing queues up. At the control plane: a
//! generation that counts as applied is applied; nothing is refused but what cannot be had. After a start from disk: all of
//! the file or nothing of it. After the last fault: every proxy has the last generation, and no dead stream is left.
//!
//! # Repeating a run
//! A failing seed is printed with the command that runs it alone.

mod faults;
mod network;
mod onlooker;
mod publisher;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::faults::{Run, Tally};

/// Seeds of one test run; `SEEDS=n` asks for another number, `SEED=n` for one of them.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64) -> Tally {
    match Run::new(seed).run_to_the_end() {
        Ok(tally) => tally,
        Err(why) => panic!("{why}\nrepeat: SEED={seed} cargo test -p tidegate-proxy --lib simulation -- --nocapture"),
    }
}

#[test]
fn whatever_fails_proxies_keep_their_routes_and_come_to_the_last_published_state() {
    let began = crate::clock::wall();
    let seeds = number("SEED").map_or_else(|| 0..number("SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let total = std::sync::Mutex::new(Tally::default());

    // Each run is one thread of its own; there are as many at once as there are cores.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let tally = run(seed);
                    if seeds.end - seeds.start == 1 {
                        println!("{}", tally.story.join("\n"));
                    }
                    total.lock().expect("no run has failed").add(&tally);
                }
            });
        }
    });

    let total = total.into_inner().expect("no run has failed");
    let took = crate::clock::wall().duration_since(began).unwrap_or_default();
    println!("seeds {seeds:?} in {:.1} s: {total}", took.as_secs_f64());
    assert!(total.simulated > Duration::ZERO);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..4 {
        let [first, second] = [run(seed), run(seed)].map(|tally| {
            let mut story = tally.story;
            // A host that crashes drops its streams at once, in no order.
            story.sort();
            story
        });

        assert_eq!(first, second, "seed {seed}");
    }
}
