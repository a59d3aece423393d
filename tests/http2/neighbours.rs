//! Callers that stop reading, and those whose answers come over the same connection from the same endpoint.

use std::time::Duration;

use super::attacks::{connect, get_big};
use super::frames::*;
use super::victim::{Victim, sum_of};
use crate::harness::{Client, wait};

/// As many streams as a caller may have open.
const STREAMS_MAX: u32 = 100;

/// 30 s without progress, and a busy machine. Before a caller that answers no PING is gone.
const RESET_LIMIT: Duration = Duration::from_secs(38);

/// 99 of 100 answers, from the moment at which those of the others stand still; and every one. Who had to wait for a stopped reader
/// would wait for 30 s.
const ANSWER_LIMIT: Duration = Duration::from_millis(100);
const EVERY_ANSWER_LIMIT: Duration = Duration::from_secs(1);

const MEMORY_KIB_MAX: u64 = 4 * 1024;
const CPU_MAX: Duration = Duration::from_millis(100);

/// A caller that gives no window: what was read of each answer stays, and each stream is cut off for making no progress.
#[tokio::test]
async fn windows_that_stay_shut_hold_little_and_not_for_long() {
    let victim = Victim::start().await;

    let (heard, cost) = victim.costs(stands_still(&victim, STREAMS_MAX, std::future::pending())).await;

    println!("{STREAMS_MAX} answers of 1 MB into no window: {cost:?}");
    assert!(heard.resets >= STREAMS_MAX, "only {} were reset", heard.resets);
    assert!(!heard.closed, "a caller that is not gone has other streams to ask for");
    assert!(cost.memory_kib <= MEMORY_KIB_MAX && cost.cpu <= CPU_MAX, "{cost:?}");
}

#[tokio::test]
async fn readers_that_stop_keep_nothing_from_their_neighbours() {
    let (few, more, many) = tokio::join!(beside(4), beside(16), beside(STREAMS_MAX));

    for (count, waits, heard) in [few, more, many] {
        let [middle, most, longest] = [waits.len() / 2, waits.len() * 99 / 100, waits.len() - 1].map(|at| waits[at]);
        println!("beside {count:>3}: {} answers, median {middle:?}, p99 {most:?}, longest {longest:?}", waits.len());
        assert!(heard.resets >= count && !heard.closed, "only {} were reset", heard.resets);
        assert!(waits.len() > 100, "others were asked for all that time");
        assert!(most <= ANSWER_LIMIT, "beside {count} stopped readers one of 100 waited {most:?}");
        assert!(longest <= EVERY_ANSWER_LIMIT, "beside {count} stopped readers one waited {longest:?}");
    }
}

/// How long others wait beside so many stopped readers until those are reset, the shortest first.
async fn beside(count: u32) -> (u32, Vec<Duration>, Heard) {
    let victim = Victim::over("grpc").await;
    let to = victim.address();
    assert_eq!(Client::new(to).get("reviews:9080", "/").await.expect("served").status, 200);
    let mut waits = Vec::new();

    let neighbour = async {
        let mut client = Client::new(to);
        loop {
            for path in ["/", "/", "/", "/large"] {
                let start = wait::now();
                let answer = client.get("reviews:9080", path).await.expect("others are served");
                waits.push(start.elapsed());
                assert_eq!(answer.status, 200);
                wait::pass(Duration::from_millis(20)).await;
            }
        }
    };
    let heard = stands_still(&victim, count, neighbour).await;

    let connects = sum_of(&victim.mesh, "reviews-v1", "tidegate_upstream_connect_total{").await;
    assert!(connects <= 2, "{connects} connections: the others were not beside the stopped readers");
    waits.sort();
    (count, waits, heard)
}

/// Asks for so many large answers, gives no window for any, and waits until all are reset. When they have begun, `meanwhile` does.
async fn stands_still(victim: &Victim, count: u32, meanwhile: impl Future<Output = ()>) -> Heard {
    let mut connection = connect(victim.address(), &setting(INITIAL_WINDOW_SIZE, 0)).await;
    let ids = (0..count).map(|index| 2 * index + 1);
    assert!(connection.say(&ids.flat_map(get_big).collect::<Vec<u8>>()).await);
    assert!(connection.hears(ANSWERS_LIMIT, |heard| heard.heads >= count).await, "all answers begin");
    tokio::select! {
        _in_time = connection.hears(RESET_LIMIT, |heard| heard.resets >= count || heard.closed) => connection.heard(),
        () = meanwhile => connection.heard(),
    }
}

const ANSWERS_LIMIT: Duration = Duration::from_secs(5);
