//! Shares of priorities, against the published examples of Envoy's priority levels.

use proptest::prelude::*;

use super::*;

fn counts(healthy: u64, degraded: u64, unhealthy: u64) -> Census {
    Census { healthy, degraded, total: healthy + degraded + unhealthy }
}

fn shares(census: &[Census], panic_threshold_percent: u8) -> (Vec<u32>, Vec<u32>) {
    share_out(census, 140, panic_threshold_percent).into_iter().map(|load| (load.healthy, load.degraded)).unzip()
}

/// The load of each priority when this percentage of its hundred endpoints is healthy.
fn healthy_shares(percentages: &[u64]) -> Vec<u32> {
    shares(&percentages.iter().map(|p| counts(*p, 0, 100 - p)).collect::<Vec<_>>(), 0).0
}

fn panics(percentages: &[u64], threshold: u8) -> (Vec<u32>, Vec<bool>) {
    let census: Vec<Census> = percentages.iter().map(|p| counts(*p, 0, 100 - p)).collect();
    share_out(&census, 140, threshold).into_iter().map(|load| (load.healthy, load.panic)).unzip()
}

#[test]
fn two_priorities_share_load_by_health() {
    for (health, expected) in
        [(100, [100, 0]), (72, [100, 0]), (71, [99, 1]), (50, [70, 30]), (25, [35, 65]), (0, [0, 100])]
    {
        assert_eq!(healthy_shares(&[health, 100]), expected, "{health} %");
    }
}

#[test]
fn three_priorities_share_load_by_health() {
    for (health, expected) in [
        ([100, 100, 100], [100, 0, 0]),
        ([72, 72, 100], [100, 0, 0]),
        ([71, 71, 100], [99, 1, 0]),
        ([50, 50, 100], [70, 30, 0]),
        ([50, 25, 100], [70, 30, 0]),
        ([25, 25, 100], [35, 35, 30]),
    ] {
        assert_eq!(healthy_shares(&health), expected, "{health:?}");
    }
}

#[test]
fn load_is_normalised_when_all_priorities_together_do_not_suffice() {
    assert_eq!(healthy_shares(&[25, 25]), [50, 50]);
    assert_eq!(healthy_shares(&[20, 5]), [80, 20]);
    assert_eq!(healthy_shares(&[5, 0]), [100, 0]);
    // A third of 100 rounds down three times; what is left goes to the first.
    assert_eq!(healthy_shares(&[24, 24, 24]), [34, 33, 33]);
    assert_eq!(healthy_shares(&[0, 0]), [0, 0]);
}

#[test]
fn degraded_endpoints_are_used_after_the_healthy_ones_of_all_priorities() {
    assert_eq!(shares(&[counts(50, 50, 0), counts(0, 0, 0)], 0), (vec![70, 0], vec![30, 0]));
    assert_eq!(shares(&[counts(50, 50, 0), counts(100, 0, 0)], 0), (vec![70, 30], vec![0, 0]));
    assert_eq!(shares(&[counts(0, 10, 0), counts(0, 0, 5)], 0), (vec![0, 0], vec![100, 0]));
}

#[test]
fn a_scaled_load_is_rounded_down_and_the_first_gets_the_rest() {
    // 14, 28 and 14 % healthy, 28, 14 and 0 % degraded.
    let census = [counts(10, 20, 70), counts(20, 10, 70), counts(10, 0, 90)];

    assert_eq!(shares(&census, 0), (vec![16, 28, 14], vec![28, 14, 0]));
}

#[test]
fn nobody_panics_while_all_together_suffice() {
    assert_eq!(panics(&[72, 72], 50), (vec![100, 0], vec![false, false]));
    assert_eq!(panics(&[71, 71], 50), (vec![99, 1], vec![false, false]));
    assert_eq!(panics(&[50, 60], 50), (vec![70, 30], vec![false, false]));
    // Few of the first are healthy, and the second carries it.
    assert_eq!(panics(&[5, 100], 50), (vec![7, 93], vec![false, false]));
}

#[test]
fn a_priority_below_the_threshold_panics_when_all_together_do_not_suffice() {
    assert_eq!(panics(&[5, 65], 50), (vec![8, 92], vec![true, false]));
    assert_eq!(panics(&[0, 65], 50), (vec![0, 100], vec![true, false]));
    assert_eq!(panics(&[5, 65], 0), (vec![8, 92], vec![false, false]));
}

#[test]
fn load_follows_size_when_everybody_panics() {
    assert_eq!(panics(&[25, 25], 50), (vec![50, 50], vec![true, true]));
    assert_eq!(panics(&[0, 0], 50), (vec![50, 50], vec![true, true]));
    let loads = share_out(&[counts(0, 0, 1), counts(0, 0, 2), counts(0, 0, 0)], 140, 50);
    assert_eq!(loads.iter().map(|load| load.healthy).collect::<Vec<_>>(), [34, 66, 0]);
    // Without panic there is nobody left to ask.
    assert_eq!(panics(&[0, 0], 0), (vec![0, 0], vec![false, false]));
}

#[test]
fn degraded_endpoints_keep_a_priority_from_panic() {
    let [load] = share_out(&[counts(20, 30, 50)], 140, 50)[..] else { panic!("one") };

    assert_eq!(load, Load { healthy: 40, degraded: 60, panic: false });
}

#[test]
fn an_overprovisioning_of_its_own_counts() {
    let census = [counts(50, 0, 50), counts(100, 0, 0)];

    assert_eq!(share_out(&census, 200, 50)[0].healthy, 100);
    assert_eq!(share_out(&census, 100, 50)[0].healthy, 50);
}

proptest! {
    #[test]
    fn shares_are_a_whole_when_anything_is_usable_or_panics(
        parts in prop::collection::vec((0_u64..20, 0_u64..20, 0_u64..20), 1..6),
        threshold in 0_u8..=100,
    ) {
        let census: Vec<Census> = parts.iter().map(|(h, d, u)| counts(*h, *d, *u)).collect();
        let usable = parts.iter().any(|(h, d, _)| h + d > 0);
        let exists = parts.iter().any(|(h, d, u)| h + d + u > 0);

        let loads = share_out(&census, 140, threshold);

        let sum: u32 = loads.iter().map(|load| load.healthy + load.degraded).sum();
        // Fewer than one usable in 140 rounds to nothing; with fewer than 60 endpoints that does not happen.
        prop_assert_eq!(sum, if usable || (threshold > 0 && exists) { WHOLE } else { 0 });
        for (load, census) in loads.iter().zip(&census) {
            prop_assert!(load.panic || (load.healthy == 0 || census.healthy > 0));
        }
    }
}
