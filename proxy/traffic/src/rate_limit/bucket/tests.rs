//! Exactness: by schedules of any kind, over long times, and from several threads.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(capacity: u32, refill: u32, interval: Duration) -> Rate {
    Rate::new(TokenBucket { capacity, refill: NonZeroU32::new(refill).unwrap(), interval })
}

fn per_second(capacity: u32, refill: u32) -> Rate {
    rate(capacity, refill, Duration::from_secs(1))
}

#[test]
fn a_new_bucket_is_full_whenever_it_is_made() {
    for now in [0, 1, 7 * SECOND + 3, u64::MAX] {
        let (bucket, rate) = (Bucket::default(), per_second(3, 1));

        let taken = (0..5).filter(|_| bucket.try_take(&rate, 1, now)).count();

        assert_eq!(taken, 3, "at {now}");
    }
}

#[test]
fn a_spent_bucket_admits_again_after_one_fill_interval() {
    let (bucket, rate) = (Bucket::default(), per_second(1, 1));
    let start = 1_234_567_890;
    assert!(bucket.try_take(&rate, 1, start));

    assert!(!bucket.try_take(&rate, 1, start + SECOND - 1_000_000));
    assert!(bucket.try_take(&rate, 1, start + SECOND));
}

#[test]
fn a_slow_bucket_counts_from_the_take_and_not_from_an_hours_mark() {
    let hour = 3_600 * SECOND;
    let (bucket, rate) = (Bucket::default(), rate(1, 1, Duration::from_secs(3_600)));
    let start = hour - SECOND;
    assert!(bucket.try_take(&rate, 1, start));

    assert!(!bucket.try_take(&rate, 1, hour + SECOND));
    assert!(!bucket.try_take(&rate, 1, start + hour - 1_000));
    assert!(bucket.try_take(&rate, 1, start + hour));
}

#[test]
fn a_capacity_of_zero_lets_nothing_through() {
    let (bucket, rate) = (Bucket::default(), per_second(0, 100));

    assert!(!bucket.try_take(&rate, 1, 50 * SECOND));
    assert_eq!(bucket.remaining(&rate, 50 * SECOND), 0);
    assert_eq!(bucket.wait(&rate, 1, 50 * SECOND), None);
}

#[test]
fn more_than_the_capacity_is_never_there_and_nothing_always_is() {
    let (bucket, rate) = (Bucket::default(), per_second(5, 5));

    assert!(!bucket.try_take(&rate, 6, 100 * SECOND));
    assert_eq!(bucket.wait(&rate, 6, 100 * SECOND), None);
    assert!(bucket.try_take(&rate, 5, 100 * SECOND));
    assert!(bucket.try_take(&rate, 0, 100 * SECOND));
}

#[test]
fn a_clock_that_goes_backwards_gives_nothing() {
    let (bucket, rate) = (Bucket::default(), per_second(10, 10));
    let noon = 1_000 * SECOND;
    assert!(bucket.try_take(&rate, 10, noon));

    for back in [noon - 1, noon - 500 * SECOND, 0] {
        assert!(!bucket.try_take(&rate, 1, back), "at {back}");
        assert_eq!(bucket.remaining(&rate, back), 0);
    }
    assert!(!bucket.try_take(&rate, 1, noon));
    assert!(bucket.try_take(&rate, 10, noon + SECOND));
}

#[test]
fn ten_years_of_a_rate_that_divides_nothing_lose_no_token() {
    let rate = rate(20, 7, Duration::from_nanos(1_000_000_007));
    let bucket = Bucket::default();
    let ten_years = 10 * 365 * 24 * 3_600 * SECOND;

    // Emptied every 0.9 intervals, so it never runs over.
    let mut taken = 0_u64;
    let mut now = ten_years;
    for _ in 0..200_000 {
        while bucket.try_take(&rate, 1, now) {
            taken += 1;
        }
        now += 900_000_000;
    }
    now -= 900_000_000;

    let gained = u128::from(now - ten_years) * 7 / 1_000_000_007;
    let exact = u64::try_from(gained).unwrap() + 20;
    assert!((exact - 1..=exact + 1).contains(&taken), "{taken} of {exact}");
}

#[test]
fn absurd_rates_count_without_overflow() {
    for capacity in [1, u32::MAX] {
        for (refill, interval) in [(u32::MAX, Duration::from_nanos(1)), (1, Duration::MAX), (u32::MAX, Duration::MAX)] {
            let (bucket, rate) = (Bucket::default(), rate(capacity, refill, interval));
            for now in [0, SECOND, u64::MAX / 2, u64::MAX] {
                assert!(bucket.remaining(&rate, now) <= u64::from(capacity));
                bucket.try_take(&rate, 1, now);
                bucket.try_take(&rate, capacity, now);
                bucket.wait(&rate, capacity, now);
            }
        }
    }
}

#[test]
fn workers_that_race_share_one_burst() {
    let (bucket, rate) = (Bucket::default(), per_second(1_000, 1));
    let offers = || (0..5_000).filter(|_| bucket.try_take(&rate, 1, SECOND)).count();

    let taken: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(offers)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });

    assert_eq!(taken, 1_000);
}

/// Rates from a token an hour to ten million a second.
fn rates() -> impl Strategy<Value = (u32, u32, u64)> {
    let intervals = prop_oneof![
        Just(50_000_000_u64),
        Just(SECOND),
        Just(60 * SECOND),
        Just(3_600 * SECOND),
        50_000_000_u64..100 * SECOND
    ];
    let refills = prop_oneof![1_u32..10, 1_u32..500_000];
    (1_u32..200, refills, intervals)
}

proptest! {
    #[test]
    fn no_schedule_of_offers_gets_more_than_rate_times_time_and_one_burst(
        (capacity, refill, interval) in rates(),
        start in 0..1_000_000 * SECOND,
        // In hundredths of a token's time, so that every rate is offered around its limit.
        offers in prop::collection::vec((0_u64..400, 1_u32..4, 0_u64..30), 1..300),
    ) {
        let rate = rate(capacity, refill, Duration::from_nanos(interval));
        let bucket = Bucket::default();
        let mut now = start;
        let mut accepted: Vec<(u64, u64)> = Vec::new();

        for (gap, tokens, backwards) in offers {
            now += u64::try_from(u128::from(gap) * u128::from(interval) / u128::from(refill) / 100).unwrap();
            // Now and then a worker's reading of the clock is older than another's.
            if bucket.try_take(&rate, tokens, now.saturating_sub(backwards)) {
                accepted.push((now, tokens.into()));
            }
        }

        for (i, (from, _)) in accepted.iter().enumerate() {
            let mut sum = 0_u128;
            for (to, tokens) in &accepted[i..] {
                sum += u128::from(*tokens);
                // In tokens times the interval, so that nothing is rounded; a part of a token and the clock's 30 ns are
                // spare.
                let spare = u128::from(interval) / 1_000 + 60 * u128::from(refill);
                let gained = u128::from(to - from) * u128::from(refill);
                prop_assert!(sum * u128::from(interval) <= u128::from(capacity) * u128::from(interval) + gained + spare);
            }
        }
    }

    #[test]
    fn offers_without_a_pause_get_all_of_it_but_one((capacity, refill, interval) in rates(), start in 0..1_000_000 * SECOND) {
        let rate = rate(capacity, refill, Duration::from_nanos(interval));
        let bucket = Bucket::default();

        let mut taken = 0_u128;
        let mut now = start;
        for _ in 0..500 {
            while bucket.try_take(&rate, 1, now) {
                taken += 1;
            }
            now += u64::try_from(bucket.wait(&rate, 1, now).unwrap().as_nanos()).unwrap();
        }
        taken += u128::from(bucket.remaining(&rate, now));

        let gained = u128::from(now - start) * u128::from(refill) / u128::from(interval);
        let exact = u128::from(capacity) + gained;
        prop_assert!(taken <= exact + 1 && taken + 1 >= exact, "{} of {}", taken, exact);
    }

    #[test]
    fn after_the_wait_that_was_said_the_tokens_are_there_and_not_much_earlier(
        (capacity, refill, interval) in rates(),
        start in 0..1_000_000 * SECOND,
        tokens in 1_u32..200,
    ) {
        prop_assume!(tokens <= capacity);
        let rate = rate(capacity, refill, Duration::from_nanos(interval));
        let bucket = Bucket::default();
        while bucket.try_take(&rate, 1, start) {}

        let wait = u64::try_from(bucket.wait(&rate, tokens, start).unwrap().as_nanos()).unwrap();

        prop_assert!(wait > 0);
        prop_assert!(!bucket.try_take(&rate, tokens, start + wait - 1));
        prop_assert!(bucket.try_take(&rate, tokens, start + wait));
    }
}
