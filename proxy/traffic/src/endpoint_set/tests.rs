//! Shares of priorities, against the published examples of Envoy's priority levels.

use proptest::prelude::*;

use super::*;
use crate::testing::locality;

fn counts(healthy: u32, degraded: u32, unhealthy: u32) -> Priority {
    Priority {
        healthy: (0..healthy).collect(),
        degraded: (0..degraded).collect(),
        total: (healthy + degraded + unhealthy).into(),
    }
}

/// The load of each priority when this percentage of its hundred endpoints is healthy.
fn healthy_shares(percentages: &[u32]) -> Vec<u32> {
    shares(&percentages.iter().map(|p| counts(*p, 0, 100 - p)).collect::<Vec<_>>()).0
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
    let (healthy, degraded) = shares(&[counts(50, 50, 0), counts(0, 0, 0)]);
    assert_eq!((healthy, degraded), (vec![70, 0], vec![30, 0]));

    let (healthy, degraded) = shares(&[counts(50, 50, 0), counts(100, 0, 0)]);
    assert_eq!((healthy, degraded), (vec![70, 30], vec![0, 0]));

    let (healthy, degraded) = shares(&[counts(0, 10, 0), counts(0, 0, 5)]);
    assert_eq!((healthy, degraded), (vec![0, 0], vec![100, 0]));
}

#[test]
fn endpoints_are_ordered_by_priority_whatever_the_order_of_localities() {
    let set = EndpointSet::build(&[
        locality(1, &[(1, Health::Healthy)]),
        locality(0, &[(2, Health::Healthy), (3, Health::Unhealthy)]),
        locality(1, &[(4, Health::Healthy)]),
    ]);

    let weights: Vec<u32> = set.endpoints().iter().map(|e| e.weight.get()).collect();
    assert_eq!((weights, set.len()), (vec![2, 3, 1, 4], 4));
    assert_eq!(set.pools.iter().map(|p| p.members.clone()).collect::<Vec<_>>(), [vec![0], vec![2, 3]]);
}

#[test]
fn a_set_without_endpoints_has_no_pools() {
    let set = EndpointSet::build(&[locality(0, &[])]);

    assert!(set.is_empty());
    assert_eq!(set.pools_from(set.pool_for(|| 0)).count(), 0);
    assert_eq!(set.endpoint(0), None);
}

#[test]
fn no_draw_is_made_while_one_pool_carries_everything() {
    let set = EndpointSet::build(&[locality(0, &[(1, Health::Healthy)]), locality(1, &[(1, Health::Healthy)])]);

    let first = set.pool_for(|| panic!("drawn"));

    assert_eq!(first, 0);
}

/// The largest distance between the turns that members have had and those that were due, over one round.
fn unfairness(weights: &[u32], start: u64) -> f64 {
    let endpoints: Vec<_> = weights.iter().map(|w| (*w, Health::Healthy)).collect();
    let set = EndpointSet::build(&[locality(0, &endpoints)]);
    let pool = &set.pools[0];
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let mut turns = vec![0_u32; weights.len()];
    let mut worst = 0_f64;
    for k in 1..=pool.total {
        turns[pool.turn(start + k)] += 1;
        for (turns, weight) in turns.iter().zip(weights) {
            worst = worst.max((f64::from(*turns) - k as f64 * f64::from(*weight) / sum).abs());
        }
    }
    for (turns, weight) in turns.iter().zip(weights) {
        let exact = u64::from(*turns) * u64::from(weights.iter().sum::<u32>()) == u64::from(*weight) * pool.total;
        assert!(exact, "{turns} turns in a round for a weight of {weight} in {weights:?}");
    }
    worst
}

#[test]
fn a_total_with_many_divisors_is_spread_evenly_too() {
    // 210 slots: the step nearest to the golden section that visits all of them visits them in clumps.
    let worst = unfairness(&[30, 18, 39, 35, 11, 11, 19, 5, 18, 21, 3], 3_458_454_209);

    assert!(worst < TURNS_OFF_MAX, "{worst} turns off");
}

/// Turns that a member may be early or late.
const TURNS_OFF_MAX: f64 = 3.0;

proptest! {
    #[test]
    fn shares_are_a_whole_when_anything_is_usable(
        parts in prop::collection::vec((0_u32..20, 0_u32..20, 0_u32..20), 1..6),
    ) {
        let priorities: Vec<Priority> = parts.iter().map(|(h, d, u)| counts(*h, *d, *u)).collect();
        let usable = parts.iter().any(|(h, d, _)| h + d > 0);

        let (healthy, degraded) = shares(&priorities);

        let sum: u32 = healthy.iter().chain(&degraded).sum();
        // Fewer than one usable in 140 rounds to nothing; with fewer than 60 endpoints that does not happen.
        prop_assert_eq!(sum, if usable { WHOLE } else { 0 });
    }

    #[test]
    fn a_step_visits_every_slot_once_a_round_and_evenly(total in 2_u64..100_000) {
        let step = spread(total);

        prop_assert_eq!(greatest_common_divisor(step, total), 1);
        // The golden section itself, with quotients of one, has a sum of 1.44 times this logarithm.
        let bound = 3 * u64::from(total.ilog2()) + 3;
        prop_assert!(unevenness(step, total).is_some_and(|sum| sum <= bound), "{:?}", unevenness(step, total));
    }

    #[test]
    fn weighted_turns_are_exact_over_a_round_and_even_within_it(
        weights in prop::collection::vec(1_u32..40, 2..12),
        start in any::<u32>(),
    ) {
        let worst = unfairness(&weights, start.into());

        prop_assert!(worst < TURNS_OFF_MAX, "{} turns off", worst);
    }
}
