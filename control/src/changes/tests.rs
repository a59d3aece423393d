//! How far a change has got, as answers come in.

use super::{CHANGES_MAX, ChangeLog, Entry, Outcome, Settlement};
use crate::clock::Timestamp;

fn entry(generation: u64, result: Outcome) -> Entry {
    Entry { generation, at: Timestamp::from_unix_ms(1_000), what: Vec::new(), files: Vec::new(), result }
}

fn answer(session: u64, generation: u64, at_ms: u64) -> Settlement {
    Settlement { session, generation, rejected: false, sent: true, at: Timestamp::from_unix_ms(at_ms) }
}

#[test]
fn times_run_from_the_write_to_the_first_and_the_last_answer() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1, 2].into());

    assert!(log.settle(answer(1, 5, 1_012)).complete.is_empty());
    let done = log.settle(answer(2, 5, 1_040));

    assert_eq!(done.took_ms, [40]);
    let change = &done.complete[0];
    assert_eq!((change.proxies, change.acked, change.nacked), (2, 2, 0));
    assert_eq!((change.first_ack_ms, change.last_ack_ms), (Some(12), Some(40)));
}

#[test]
fn a_proxy_that_had_nothing_to_apply_counts_but_gives_no_time() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1].into());

    log.settle(Settlement { sent: false, ..answer(1, 5, 1_012) });

    let change = log.since(0).next().unwrap();
    assert_eq!((change.acked, change.first_ack_ms), (1, None));
}

#[test]
fn an_answer_to_a_later_generation_settles_the_earlier_ones_once() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1].into());
    log.enter(entry(6, Outcome::Applied), [1].into());
    log.enter(entry(7, Outcome::Applied), [1].into());

    log.settle(answer(1, 6, 1_010));
    log.settle(answer(1, 6, 1_020));

    let acked: Vec<usize> = log.since(0).map(|c| c.acked).collect();
    assert_eq!(acked, [1, 1, 0]);
    assert_eq!(log.since(0).next().unwrap().last_ack_ms, Some(10));
}

#[test]
fn a_refusal_is_no_acknowledgement() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1, 2].into());

    log.settle(Settlement { rejected: true, ..answer(1, 5, 1_012) });

    let change = log.since(0).next().unwrap();
    assert_eq!((change.acked, change.nacked, change.first_ack_ms), (0, 1, None));
}

#[test]
fn a_proxy_that_connected_later_does_not_count() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1, 2].into());

    log.settle(answer(9, 5, 1_012));

    let change = log.since(0).next().unwrap();
    assert_eq!((change.acked, change.left), (0, 0));
}

#[test]
fn a_change_is_complete_when_the_last_proxy_goes_away_without_an_answer() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1, 2, 3].into());
    log.enter(entry(6, Outcome::Applied), [1, 2, 3].into());

    assert!(log.forget(3).is_empty());
    log.settle(answer(1, 6, 1_012));
    log.settle(answer(2, 5, 1_013));
    let complete = log.forget(2);
    let again = log.forget(2);
    log.settle(answer(2, 6, 1_014));

    assert_eq!(complete.iter().map(|c| c.generation).collect::<Vec<_>>(), [6]);
    assert!(again.is_empty());
    let counts: Vec<[usize; 4]> = log.since(0).map(|c| [c.proxies, c.acked, c.nacked, c.left]).collect();
    assert_eq!(counts, [[3, 2, 0, 1], [3, 1, 0, 2]]);
    assert_eq!(complete[0], *log.since(5).next().unwrap());
}

#[test]
fn a_change_of_an_earlier_process_waits_for_nobody() {
    let mut log = ChangeLog::default();
    log.enter(entry(5, Outcome::Applied), [1, 2].into());
    log.settle(answer(1, 5, 1_012));
    let json = serde_json::to_string(&log.since(0).collect::<Vec<_>>()).unwrap();

    let resumed = ChangeLog::resume(serde_json::from_str(&json).unwrap());

    let change = resumed.since(0).next().unwrap();
    assert_eq!((change.proxies, change.acked, change.left), (2, 1, 1));
}

#[test]
fn nobody_waits_for_a_rejected_change() {
    let mut log = ChangeLog::default();

    let change = log.enter(entry(5, Outcome::Rejected), [1].into());
    log.settle(answer(1, 5, 1_012));

    assert_eq!((change.proxies, log.since(0).next().unwrap().acked), (0, 0));
}

#[test]
fn the_log_keeps_the_newest_changes() {
    let mut log = ChangeLog::default();
    let last = CHANGES_MAX as u64 + 10;
    for generation in 1..=last {
        log.enter(entry(generation, Outcome::Applied), [].into());
    }

    assert_eq!(log.since(0).count(), CHANGES_MAX);
    assert_eq!(log.since(0).next().unwrap().generation, 11);
    assert_eq!(log.since(last - 1).map(|c| c.generation).collect::<Vec<_>>(), [last]);
}
