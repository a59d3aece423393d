//! How endpoints are laid out, what their health changes, and how evenly weighted turns are spread.

use proptest::prelude::*;
use tidegate_xds::resource::cluster::SlowStart;

use super::pool::{greatest_common_divisor, spread, unevenness, whole};
use super::*;
use crate::testing::locality;

#[test]
fn endpoints_are_ordered_by_priority_whatever_the_order_of_localities() {
    let set = EndpointSet::build(&[
        locality(1, &[(1, Health::Healthy)]),
        locality(0, &[(2, Health::Healthy), (3, Health::Unhealthy)]),
        locality(1, &[(4, Health::Healthy)]),
    ]);

    let weights: Vec<u32> = set.endpoints().iter().map(|e| e.weight.get()).collect();
    assert_eq!((weights, set.len()), (vec![2, 3, 1, 4], 4));
    assert_eq!(set.pools.iter().map(|p| p.members().to_vec()).collect::<Vec<_>>(), [vec![0], vec![2, 3]]);
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

/// Healthy endpoints in localities of one priority, with the localities' weights.
fn weighted_localities(localities: &[(u32, usize)]) -> Vec<LocalityEndpoints> {
    let one = |(weight, n): &(u32, usize)| LocalityEndpoints {
        weight: NonZeroU32::new(*weight),
        ..locality(0, &vec![(1, Health::Healthy); *n])
    };
    localities.iter().map(one).collect()
}

fn ejected(positions: &[usize]) -> impl Fn(usize, &Endpoint) -> EndpointHealth {
    let positions = positions.to_vec();
    move |i, _| EndpointHealth { ejected: positions.contains(&i), ..EndpointHealth::default() }
}

/// Each endpoint's weight in the first pool.
fn weights(set: &EndpointSet) -> Vec<u64> {
    let pool = &set.pools[0];
    let weight = |i: u32| pool.members().iter().position(|m| *m == i).map_or(0, |place| pool.weight(place));
    (0..set.len() as u32).map(weight).collect()
}

#[test]
fn what_was_learned_takes_an_endpoint_out_of_its_pool_and_moves_load() {
    let localities = [locality(0, &[(1, Health::Healthy); 2]), locality(1, &[(1, Health::Healthy)])];
    let all = EndpointSet::build(&localities);
    let half = all.with_health(ejected(&[0]));

    assert_eq!(
        half.pools.iter().map(|p| (p.members().to_vec(), p.share)).collect::<Vec<_>>(),
        [(vec![1], 70), (vec![2], 30)]
    );
    assert!(!half.is_usable(0) && half.is_usable(1));
    assert_eq!((half.usable(), half.len()), (2, 3));
    assert!(Arc::ptr_eq(&all.layout, &half.layout));
    let failed = all.with_health(|i, _| EndpointHealth { failed_check: i < 2, ..EndpointHealth::default() });
    assert_eq!(failed.pools.iter().map(|p| p.members().to_vec()).collect::<Vec<_>>(), [vec![2]]);
    let degraded = all.with_health(|i, _| EndpointHealth { degraded: i == 0, ..EndpointHealth::default() });
    assert_eq!(
        degraded.pools.iter().map(|p| (p.members()[0], p.share)).collect::<Vec<_>>(),
        [(1, 70), (2, 30), (0, 0)]
    );
}

#[test]
fn a_priority_in_panic_uses_all_of_its_endpoints() {
    let settings = ClusterSettings { panic_threshold_percent: 50, ..ClusterSettings::default() };
    let localities = [locality(0, &[(1, Health::Healthy), (1, Health::Healthy), (1, Health::Unhealthy)])];
    let calm = EndpointSet::new(&localities, settings, ejected(&[]));
    assert!(!calm.is_in_panic(0));

    let panicking = calm.with_health(ejected(&[0]));

    assert!(panicking.is_in_panic(0) && panicking.is_in_panic(2));
    assert_eq!(
        panicking.pools.iter().map(|p| (p.members().to_vec(), p.share)).collect::<Vec<_>>(),
        [(vec![0, 1, 2], 100)]
    );
    assert!(!panicking.is_usable(0));
}

#[test]
fn a_locality_counts_by_its_weight_until_too_few_of_its_endpoints_are_usable() {
    let settings = ClusterSettings { locality_weighted: true, ..ClusterSettings::default() };
    let localities = weighted_localities(&[(1, 2), (2, 4), (0, 3)]);
    let all = EndpointSet::new(&localities, settings, ejected(&[]));
    // One third for two, two thirds for four, nothing for a locality without a weight.
    assert_eq!(weights(&all), [1, 1, 1, 1, 1, 1, 0, 0, 0]);

    // Three of four: 1.4 x 3/4 is still a whole; so three share what four had.
    assert_eq!(weights(&all.with_health(ejected(&[2]))), [3, 3, 0, 4, 4, 4, 0, 0, 0]);
    // Two of four: 1.4 x 1/2 of the weight, 1.4 : 1.
    assert_eq!(weights(&all.with_health(ejected(&[2, 3]))), [5, 5, 0, 0, 7, 7, 0, 0, 0]);
    // Nobody with a weight is left: the others serve.
    assert_eq!(weights(&all.with_health(ejected(&[0, 1, 2, 3, 4, 5]))), [0, 0, 0, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn localities_in_a_hash_table_are_envoys() {
    let settings = || ClusterSettings {
        locality_weighted: true,
        load_balancing: LoadBalancing::Maglev { table_size: 17 },
        ..ClusterSettings::default()
    };
    let endpoint = |port: u16, weight: u32| {
        let mut one = locality(0, &[(weight, Health::Healthy)]);
        one.endpoints[0].address.set_port(port);
        one
    };
    let slots = |weights: &[(u32, u16, u32)]| {
        let localities: Vec<_> = weights
            .iter()
            .map(|(locality, port, weight)| LocalityEndpoints {
                weight: NonZeroU32::new(*locality),
                ..endpoint(*port, *weight)
            })
            .collect();
        let set = EndpointSet::new(&localities, settings(), ejected(&[]));
        let table = set.pools[0].table().unwrap();
        let port = |member: u32| set.endpoints()[member as usize].address.port();
        (0..17).map(|hash| port(table.find(hash, |_| true).unwrap()) - 90).collect::<Vec<_>>()
    };

    // Equal localities: weights within them do not count.
    assert_eq!(slots(&[(1, 90, 1), (1, 91, 2)]), [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]);
    assert_eq!(slots(&[(8, 90, 1), (0, 92, 3), (2, 91, 2)]), [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn a_table_is_kept_while_its_pool_does_not_change() {
    let settings =
        ClusterSettings { load_balancing: LoadBalancing::Maglev { table_size: 251 }, ..ClusterSettings::default() };
    let localities = [locality(0, &[(1, Health::Healthy); 3]), locality(1, &[(1, Health::Healthy); 3])];
    let all = EndpointSet::new(&localities, settings, ejected(&[]));

    let changed = all.with_health(ejected(&[0]));

    let tables =
        |set: &EndpointSet| set.pools.iter().map(|p| Arc::clone(p.shared_table().unwrap())).collect::<Vec<_>>();
    assert!(!Arc::ptr_eq(&tables(&all)[0], &tables(&changed)[0]));
    assert!(Arc::ptr_eq(&tables(&all)[1], &tables(&changed)[1]));
}

#[test]
fn a_young_endpoint_has_a_part_of_its_weight_until_it_is_grown_up() {
    let slow_start = Some(SlowStart { window: Duration::from_secs(60), aggression: 1.0, min_weight_percent: 10.0 });
    let settings =
        ClusterSettings { load_balancing: LoadBalancing::RoundRobin { slow_start }, ..ClusterSettings::default() };
    let localities = [locality(0, &[(1, Health::Healthy), (2, Health::Healthy)])];
    let aged = |seconds| {
        move |i: usize, _: &Endpoint| EndpointHealth {
            age: (i == 1).then_some(Duration::from_secs(seconds)),
            ..EndpointHealth::default()
        }
    };

    let set = EndpointSet::new(&localities, settings, aged(0));
    assert_eq!((weights(&set), set.is_warming()), (vec![5, 1], true));
    let set = set.with_health(aged(30));
    assert_eq!((weights(&set), set.is_warming()), (vec![1, 1], true));
    let set = set.with_health(aged(60));
    assert_eq!((weights(&set), set.is_warming()), (vec![1, 2], false));
}

#[test]
fn an_address_has_the_position_of_its_endpoint() {
    let set = EndpointSet::build(&[locality(1, &[(1, Health::Healthy)]), locality(0, &[(1, Health::Healthy); 3])]);

    assert_eq!(set.position(([127, 0, 0, 1], 3).into()), Some(2));
    assert_eq!(set.position(([127, 0, 0, 1], 9).into()), None);
}

#[test]
fn weights_that_are_no_small_ratios_are_kept_to_a_millionth() {
    assert_eq!(whole(&[0.5, 1.5, 0.25]), [2, 6, 1]);
    let odd = whole(&[1.0, std::f64::consts::PI]);
    assert!((odd[1] as f64 / odd[0] as f64 - std::f64::consts::PI).abs() < 1e-5);
    // Weights that are nothing beside others, as at the beginning of a slow start without a least share.
    for tiny in [1e-12, 1e-60, 0.0] {
        let [small, great, other] = whole(&[tiny, 1.0, 1.0])[..] else { panic!("three") };
        assert!(small == 1 && great == other && (1 << 20..1 << 45).contains(&great), "{tiny} {small} {great}");
    }
}

/// The largest distance between the turns that members have had and those that were due, over one round.
fn unfairness(weights: &[u32], start: u64) -> f64 {
    let endpoints: Vec<_> = weights.iter().map(|w| (*w, Health::Healthy)).collect();
    let set = EndpointSet::build(&[locality(0, &endpoints)]);
    let pool = &set.pools[0];
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let mut turns = vec![0_u32; weights.len()];
    let mut worst = 0_f64;
    for k in 1..=pool.total() {
        turns[pool.turn(start + k)] += 1;
        for (turns, weight) in turns.iter().zip(weights) {
            worst = worst.max((f64::from(*turns) - k as f64 * f64::from(*weight) / sum).abs());
        }
    }
    for (turns, weight) in turns.iter().zip(weights) {
        let exact = u64::from(*turns) * u64::from(weights.iter().sum::<u32>()) == u64::from(*weight) * pool.total();
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
