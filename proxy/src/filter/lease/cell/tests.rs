//! What a lease lets through, whoever changes it meanwhile.

use std::num::NonZeroU32;

use tidegate_xds::resource::filter::Refusal;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn lease(on_unavailable: OnUnavailable) -> Arc<Lease> {
    let refill = NonZeroU32::new(100).expect("not zero");
    let limit = TokenBucket { capacity: 50, refill, interval: Duration::from_secs(1) };
    Arc::new(Lease { limit, on_unavailable, shadow: false, refusal: Refusal::default() })
}

fn cell(on_unavailable: OnUnavailable) -> Cell {
    Cell::new([("rule", "shop/fair/all")].into_iter(), &lease(on_unavailable), 0)
}

fn grant(capacity: u32, per_second: u32) -> Grant {
    Grant { capacity, refill: per_second, interval_nanos: SECOND }
}

/// How many single tokens can be taken at a moment.
fn drain(cell: &Cell, now: u64) -> u32 {
    let mut taken = 0;
    while cell.try_take(1, now) {
        taken += 1;
    }
    taken
}

#[test]
fn before_the_first_lease_a_tenth_is_allowed() {
    let cell = cell(OnUnavailable::FallbackPerProxy);

    assert_eq!(drain(&cell, 0), 5);
    assert_eq!(drain(&cell, SECOND / 2), 5);
    assert_eq!(cell.held(), None);
}

#[test]
fn a_larger_lease_brings_its_tokens_and_what_was_used_stays_used() {
    let cell = cell(OnUnavailable::FallbackPerProxy);
    assert_eq!(drain(&cell, 0), 5);

    cell.assign(grant(20, 10), Duration::from_secs(5), 0);

    assert_eq!(drain(&cell, 0), 15);
    assert_eq!(drain(&cell, SECOND), 10);
    assert_eq!(cell.held(), Some(grant(20, 10)));
}

#[test]
fn a_smaller_lease_drops_what_does_not_fit() {
    let cell = cell(OnUnavailable::FallbackPerProxy);
    cell.assign(grant(20, 10), Duration::from_secs(5), 0);

    cell.assign(grant(8, 10), Duration::from_secs(5), 0);

    assert_eq!(drain(&cell, 0), 8);
}

#[test]
fn parts_of_tokens_are_not_lost_when_the_lease_changes_often() {
    let cell = cell(OnUnavailable::FallbackPerProxy);
    cell.assign(grant(20, 10), Duration::from_secs(5), 0);
    drain(&cell, 0);

    // A hundred changes a second for ten seconds, each between two tokens.
    let mut taken = 0;
    for change in 1..=1_000_u64 {
        let now = change * SECOND / 100;
        let seconds = 1 + change % 2;
        let same = Grant { capacity: 20, refill: 10 * seconds as u32, interval_nanos: seconds * SECOND };
        cell.assign(same, Duration::from_secs(5), now);
        taken += drain(&cell, now);
    }

    assert!((99..=101).contains(&taken), "{taken}");
}

#[test]
fn without_the_control_plane_the_last_lease_goes_on_or_the_limits_own_word_holds() {
    let (goes_on, passes, refuses) =
        (cell(OnUnavailable::FallbackPerProxy), cell(OnUnavailable::Allow), cell(OnUnavailable::Deny));
    for cell in [&goes_on, &passes, &refuses] {
        cell.assign(grant(1, 1), Duration::from_secs(5), 0);
        assert!(cell.try_take(1, 0));
    }
    let look = |cell: &Cell, now| cell.look(cell.limit.load().on_unavailable, true, 1, now);

    for cell in [&goes_on, &passes, &refuses] {
        assert_eq!(look(cell, SECOND / 2), Word::Over, "the lease still holds");
    }
    assert_eq!(look(&goes_on, 6 * SECOND), Word::Within);
    assert_eq!(look(&passes, 6 * SECOND), Word::NotKept);
    assert_eq!(look(&refuses, 6 * SECOND), Word::Over);
}

#[test]
fn who_never_had_a_lease_keeps_the_whole_limit_alone() {
    let cell = cell(OnUnavailable::FallbackPerProxy);

    cell.go_alone(0);

    assert_eq!(drain(&cell, 0), 50);
    assert_eq!(drain(&cell, SECOND), 50);
    assert_eq!(cell.held(), Some(grant(50, 100)));
}

#[test]
fn workers_that_take_at_once_take_no_more_than_there_is() {
    let cell = Arc::new(cell(OnUnavailable::FallbackPerProxy));
    cell.assign(grant(10_000, 1), Duration::from_secs(5), 0);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let cell = Arc::clone(&cell);
            std::thread::spawn(move || drain(&cell, 0))
        })
        .collect();
    // Changes while they take.
    for _ in 0..100 {
        cell.assign(grant(10_000, 2), Duration::from_secs(5), 0);
        cell.assign(grant(10_000, 1), Duration::from_secs(5), 0);
    }

    let taken: u32 = workers.into_iter().map(|worker| worker.join().expect("no panic")).sum();

    assert_eq!(taken + drain(&cell, 0), 10_000);
}
