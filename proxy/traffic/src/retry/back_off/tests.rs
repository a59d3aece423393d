//! Bounds of pauses.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_bound_doubles_and_one_more_until_the_longest() {
    let back_off = BackOff::default();
    let longest = |nth| {
        let draws = (0..2_000_000_u64).step_by(7).map(|draw| draw * 1_000);
        draws.map(|draw| back_off.pause(nth, draw)).max().unwrap()
    };

    for (nth, bound) in [(1, 25 * MS), (2, 75 * MS), (3, 175 * MS), (4, 250 * MS), (40, 250 * MS)] {
        let seen = longest(nth);
        assert!(seen < bound && seen > bound - MS, "{nth}: {seen:?}");
    }
}

#[test]
fn a_base_of_nothing_is_a_millisecond_and_the_longest_is_never_shorter_than_the_base() {
    let nothing = BackOff::new(Duration::ZERO, Duration::ZERO);
    let odd = BackOff::new(50 * MS, 10 * MS);

    assert_eq!(nothing.pause(9, 999_999), Duration::from_nanos(999_999));
    assert_eq!(nothing.pause(9, 1_000_000), Duration::ZERO);
    assert_eq!(odd.pause(1, 49_000_000), 49 * MS);
}

#[test]
fn who_was_told_to_wait_waits_as_long_or_half_as_much_again() {
    assert_eq!(at_least(2 * 1_000 * MS, 0), 2_000 * MS);
    assert_eq!(at_least(2 * 1_000 * MS, 999_999_999), 3_000 * MS - Duration::from_nanos(1));
    assert_eq!(at_least(Duration::ZERO, 5), Duration::ZERO);
}

proptest! {
    #[test]
    fn no_pause_is_longer_than_the_longest(base in any::<u32>(), max in any::<u32>(), nth in 1_u32.., draw in any::<u64>()) {
        let (base, max) = (Duration::from_micros(base.into()), Duration::from_micros(max.into()));

        let pause = BackOff::new(base, max).pause(nth, draw);

        prop_assert!(pause < max.max(base).max(MS));
    }
}
