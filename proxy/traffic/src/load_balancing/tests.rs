//! Fairness, weights, and what happens when endpoints cannot be used.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tidegate_xds::resource::cluster::{HashFunction, SlowStart};
use tidegate_xds::resource::endpoint::Health;

use super::*;
use crate::testing::locality;
use crate::{ClusterSettings, EndpointHealth};

/// What is known of endpoints, by position.
#[derive(Default)]
struct Known {
    in_flight: Vec<u32>,
    unusable: Vec<usize>,
}

impl Load for Known {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight.get(index).copied().unwrap_or(0)
    }
    fn usable(&self, index: usize) -> bool {
        !self.unusable.contains(&index)
    }
}

fn equal(n: usize) -> EndpointSet {
    EndpointSet::build(&[locality(0, &vec![(1, Health::Healthy); n])])
}

fn weighted(weights: &[u32]) -> EndpointSet {
    EndpointSet::build(&[locality(0, &weights.iter().map(|w| (*w, Health::Healthy)).collect::<Vec<_>>())])
}

/// A fixed sequence of draws that is even enough for statistics (a Weyl sequence through a mixer).
fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 32)
    }
}

fn picks(balancer: &Balancer, set: &EndpointSet, load: &Known, n: usize) -> Vec<usize> {
    let mut counts = vec![0; set.len()];
    let mut random = draws(7);
    for _ in 0..n {
        counts[balancer.choose(set, load, None, &mut random).unwrap()] += 1;
    }
    counts
}

fn round_robin() -> Balancer {
    Balancer::RoundRobin(RoundRobin::default())
}

fn least_request() -> Balancer {
    Balancer::LeastRequest { choices: NonZeroU32::new(2).unwrap(), bias: 1.0 }
}

#[test]
fn round_robin_takes_endpoints_in_turn() {
    let (balancer, set) = (round_robin(), equal(3));

    let order: Vec<_> = (0..7).map(|_| balancer.choose(&set, &Known::default(), None, &mut || 0).unwrap()).collect();

    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn round_robin_is_exact_over_all_threads_together() {
    const THREADS: usize = 4;
    const PICKS_EACH: usize = 7 * 250;
    let (balancer, set) = (Balancer::RoundRobin(RoundRobin::starting_at(u64::from(u32::MAX))), equal(7));
    let counts: Vec<AtomicU32> = (0..7).map(|_| AtomicU32::new(0)).collect();

    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..PICKS_EACH {
                    let chosen = balancer.choose(&set, &Known::default(), None, &mut || 0).unwrap();
                    counts[chosen].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });

    let counts: Vec<u32> = counts.into_iter().map(AtomicU32::into_inner).collect();
    assert_eq!(counts, vec![(THREADS * PICKS_EACH / 7) as u32; 7]);
}

#[test]
fn weighted_round_robin_is_exact_over_a_round_and_does_not_burst() {
    let (balancer, set) = (round_robin(), weighted(&[5, 1, 2]));

    let order: Vec<_> = (0..8).map(|_| balancer.choose(&set, &Known::default(), None, &mut || 0).unwrap()).collect();

    let count = |i: usize| order.iter().filter(|chosen| **chosen == i).count();
    assert_eq!((count(0), count(1), count(2)), (5, 1, 2));
    let burst = order.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
    assert!(burst <= Some(3), "{order:?}");
}

#[test]
fn weights_with_a_common_divisor_are_as_good_as_equal() {
    let (balancer, set) = (round_robin(), weighted(&[1_000_000, 1_000_000]));

    assert_eq!(picks(&balancer, &set, &Known::default(), 10), [5, 5]);
}

#[test]
fn the_turns_of_an_unusable_endpoint_are_shared_by_all_others() {
    let known = Known { unusable: vec![1], ..Known::default() };

    assert_eq!(picks(&round_robin(), &equal(4), &known, 300), [100, 0, 100, 100]);
}

#[test]
fn the_last_usable_endpoint_is_found_by_every_balancer() {
    let set = weighted(&[1, 1_000, 1_000, 1_000, 1_000]);
    let known = Known { unusable: vec![1, 2, 3, 4], ..Known::default() };
    for balancer in [round_robin(), least_request(), Balancer::Random] {
        assert_eq!(picks(&balancer, &set, &known, 20), [20, 0, 0, 0, 0], "{balancer:?}");
    }
}

#[test]
fn nothing_is_chosen_when_nothing_is_usable() {
    let all = Known { unusable: vec![0, 1], ..Known::default() };
    let bad = EndpointSet::build(&[locality(0, &[(1, Health::Unhealthy), (1, Health::Draining)])]);
    for balancer in [round_robin(), least_request(), Balancer::Random] {
        assert_eq!(balancer.choose(&equal(2), &all, None, &mut draws(1)), None);
        assert_eq!(balancer.choose(&equal(0), &Known::default(), None, &mut draws(1)), None);
        assert_eq!(balancer.choose(&bad, &Known::default(), None, &mut draws(1)), None);
    }
}

#[test]
fn draining_and_unhealthy_endpoints_get_nothing_and_degraded_ones_only_what_spills() {
    let half = EndpointSet::build(&[locality(
        0,
        &[(1, Health::Healthy), (1, Health::Degraded), (1, Health::Draining), (1, Health::Unhealthy)],
    )]);
    for balancer in [round_robin(), least_request(), Balancer::Random] {
        let counts = picks(&balancer, &half, &Known::default(), 10_000);
        assert_eq!(counts[2..], [0, 0], "{balancer:?}");
        // A quarter of the priority is healthy and a quarter degraded: 35 % each, normalised to halves.
        assert!((4_500..5_500).contains(&counts[0]), "{balancer:?} {counts:?}");
    }
    let enough = EndpointSet::build(&[locality(
        0,
        &[(1, Health::Healthy), (1, Health::Healthy), (1, Health::Healthy), (1, Health::Degraded)],
    )]);
    assert_eq!(picks(&round_robin(), &enough, &Known::default(), 300), [100, 100, 100, 0]);
}

#[test]
fn a_lower_priority_takes_over_when_the_first_has_no_usable_endpoint() {
    let set = EndpointSet::build(&[locality(0, &[(1, Health::Healthy); 2]), locality(1, &[(1, Health::Healthy); 2])]);

    assert_eq!(picks(&round_robin(), &set, &Known::default(), 100), [50, 50, 0, 0]);
    let ejected = Known { unusable: vec![0, 1], ..Known::default() };
    let counts = picks(&least_request(), &set, &ejected, 100);
    assert_eq!(counts[..2], [0, 0]);
}

#[test]
fn least_request_takes_the_less_busy_of_those_it_draws() {
    let known = Known { in_flight: vec![10, 0], ..Known::default() };

    let counts = picks(&least_request(), &equal(2), &known, 10_000);

    // The busy one is taken only when both draws fall on it: one time in four.
    assert!((2_300..2_700).contains(&counts[0]), "{counts:?}");
}

#[test]
fn least_request_with_many_choices_finds_the_idle_one() {
    let many = Balancer::LeastRequest { choices: NonZeroU32::new(64).unwrap(), bias: 1.0 };
    let known = Known { in_flight: vec![3, 2, 0, 1], ..Known::default() };

    assert_eq!(picks(&many, &equal(4), &known, 100), [0, 0, 100, 0]);
}

/// Whether a count is within three standard deviations of what a share of `n` draws makes.
fn is_within_3_sigma(count: usize, n: usize, share: f64) -> bool {
    let (n, count) = (n as f64, count as f64);
    (count - n * share).abs() <= 3.0 * (n * share * (1.0 - share)).sqrt()
}

#[test]
fn least_request_with_weights_follows_envoys_dynamic_weight() {
    const N: usize = 20_000;
    let set = weighted(&[1, 3]);
    let with_bias = |bias| Balancer::LeastRequest { choices: NonZeroU32::new(2).unwrap(), bias };
    // weight / (in flight + 1)^bias: 1/3 to 3/6, 1 to 3 without bias, 1/9 to 3/36 with a bias of two.
    for (bias, in_flight, share) in
        [(1.0, [0, 0], 0.75), (1.0, [4, 4], 0.75), (1.0, [2, 5], 0.6), (0.0, [2, 5], 0.75), (2.0, [2, 5], 3.0 / 7.0)]
    {
        let known = Known { in_flight: in_flight.to_vec(), ..Known::default() };

        let counts = picks(&with_bias(bias), &set, &known, N);

        assert!(is_within_3_sigma(counts[1], N, share), "{bias} {in_flight:?} {counts:?}");
    }
}

#[test]
fn least_request_in_a_great_weighted_cluster_comes_close_to_the_dynamic_weight() {
    // A hundred endpoints, every second with twice the weight and twice the requests: the same dynamic weight of about one
    // in (1 + 1) and two in (3 + 1).
    let set = weighted(&[1, 2].repeat(50));
    let known = Known { in_flight: [1, 3].repeat(50), ..Known::default() };

    let counts = picks(&least_request(), &set, &known, 20_000);

    let heavy: usize = counts.iter().skip(1).step_by(2).sum();
    // Sixteen candidates stand for a hundred: the share is off by a few hundredths at most.
    assert!((9_600..10_900).contains(&heavy), "{heavy}");
}

#[test]
fn equal_hashes_lead_to_the_same_endpoint_and_a_missing_one_to_any() {
    let settings =
        || ClusterSettings { load_balancing: LoadBalancing::Maglev { table_size: 251 }, ..ClusterSettings::default() };
    let localities = [locality(0, &[(1, Health::Healthy); 5])];
    let set = EndpointSet::new(&localities, settings(), |_, _| EndpointHealth::default());
    let balancer = Balancer::new(&LoadBalancing::Maglev { table_size: 251 }, 1);
    let choose = |hash, known: &Known| balancer.choose(&set, known, hash, &mut draws(9)).unwrap();

    let at_home = choose(Some(77), &Known::default());
    assert!((0..20).all(|_| choose(Some(77), &Known::default()) == at_home));
    let without = Known { unusable: vec![at_home], ..Known::default() };
    let away = choose(Some(77), &without);
    assert!(away != at_home && choose(Some(77), &without) == away);
    let counts = picks(&balancer, &set, &Known::default(), 5_000);
    assert!(counts.iter().all(|count| is_within_3_sigma(*count, 5_000, 0.2)), "{counts:?}");
}

#[test]
fn a_hash_leads_to_the_same_endpoint_while_load_spills_to_another_priority() {
    let settings = ClusterSettings {
        load_balancing: LoadBalancing::RingHash { min_size: 64, max_size: 1024, function: HashFunction::XxHash },
        ..ClusterSettings::default()
    };
    let half = [(1, Health::Healthy), (1, Health::Unhealthy)];
    let set = EndpointSet::new(&[locality(0, &half), locality(1, &half)], settings, |_, _| EndpointHealth::default());
    for hash in 0..200 {
        let choose = |seed| Balancer::Hash.choose(&set, &Known::default(), Some(hash), &mut draws(seed)).unwrap();
        // Half of the first is healthy, so it carries 70 of 100 hashes.
        assert_eq!(choose(1), if hash % 100 < 70 { 0 } else { 2 });
        assert_eq!(choose(1), choose(2));
    }
}

#[test]
fn a_hash_without_a_table_still_finds_an_endpoint() {
    let counts: Vec<_> =
        (0..4).map(|hash| Balancer::Hash.choose(&equal(2), &Known::default(), Some(hash), &mut || 0)).collect();

    assert_eq!(counts, [Some(0), Some(1), Some(0), Some(1)]);
}

#[test]
fn random_choice_follows_the_weights() {
    let counts = picks(&Balancer::Random, &weighted(&[1, 2, 7]), &Known::default(), 10_000);

    assert!((800..1_200).contains(&counts[0]), "{counts:?}");
    assert!((1_750..2_250).contains(&counts[1]), "{counts:?}");
    assert!((6_700..7_300).contains(&counts[2]), "{counts:?}");
}

#[test]
fn a_choice_among_ten_thousand_asks_no_more_than_a_choice_among_two() {
    struct Counting(std::cell::Cell<u32>);
    impl Load for Counting {
        fn in_flight(&self, _index: usize) -> u32 {
            self.0.set(self.0.get() + 1);
            0
        }
        fn usable(&self, _index: usize) -> bool {
            self.0.set(self.0.get() + 1);
            true
        }
    }
    for balancer in [round_robin(), least_request(), Balancer::Random] {
        let asked = [2, 100, 10_000].map(|n| {
            let load = Counting(std::cell::Cell::new(0));
            balancer.choose(&equal(n), &load, None, &mut draws(3)).unwrap();
            load.0.get()
        });

        assert_eq!(asked, [asked[0]; 3], "{balancer:?}");
    }
}

#[test]
fn a_set_built_anew_goes_on_with_the_turns_of_the_one_before() {
    let (balancer, all) = (round_robin(), equal(4));
    let take = |set: &EndpointSet| balancer.choose(set, &Known::default(), None, &mut || 0).unwrap();
    assert_eq!([take(&all), take(&all)], [0, 1]);

    let degraded = all.with_health(|i, _| EndpointHealth { ejected: i == 3, ..EndpointHealth::default() });
    // Third turn of three, then from the first again; nobody begins anew.
    assert_eq!([take(&degraded), take(&degraded)], [2, 0]);
    assert_eq!([take(&all), take(&all)], [0, 1]);
}

proptest! {
    #[test]
    fn over_k_rounds_of_equal_endpoints_each_has_k_picks(n in 1_usize..50, k in 1_usize..20, start in any::<u32>()) {
        let balancer = Balancer::RoundRobin(RoundRobin::starting_at(start.into()));

        prop_assert_eq!(picks(&balancer, &equal(n), &Known::default(), n * k), vec![k; n]);
    }

    #[test]
    fn what_is_chosen_is_always_usable(
        endpoints in prop::collection::vec((1_u32..9, 0_usize..4), 0..12),
        unusable in prop::collection::vec(0_usize..12, 0..12),
        kind in 0_usize..3,
        seed in any::<u64>(),
    ) {
        const STATES: [Health; 4] = [Health::Healthy, Health::Degraded, Health::Draining, Health::Unhealthy];
        let balancer = [round_robin(), least_request(), Balancer::Random].into_iter().nth(kind).unwrap();
        let endpoints: Vec<_> = endpoints.iter().map(|(weight, state)| (*weight, STATES[*state])).collect();
        let (first, second) = endpoints.split_at(endpoints.len() / 2);
        let set = EndpointSet::build(&[locality(0, first), locality(1, second)]);
        let known = Known { unusable, ..Known::default() };
        let may = |i: usize| known.usable(i) && matches!(endpoints[i].1, Health::Healthy | Health::Degraded);

        match balancer.choose(&set, &known, None, &mut draws(seed)) {
            Some(chosen) => prop_assert!(may(chosen)),
            None => prop_assert!(!(0..endpoints.len()).any(may)),
        }
    }

    #[test]
    fn whatever_is_configured_and_learned_somebody_good_is_chosen_or_a_priority_panics(
        localities in prop::collection::vec(
            (0_u32..3, 0_u32..4, prop::collection::vec((1_u32..9, 0_usize..4), 0..5)),
            0..5,
        ),
        learned in prop::collection::vec((any::<bool>(), any::<bool>(), prop::option::of(0_u64..100)), 25),
        panic_threshold_percent in prop::sample::select(vec![0_u8, 50, 100]),
        locality_weighted in any::<bool>(),
        kind in 0_usize..5,
        seed in any::<u64>(),
    ) {
        const STATES: [Health; 4] = [Health::Healthy, Health::Degraded, Health::Draining, Health::Unhealthy];
        let slow = SlowStart { window: Duration::from_secs(60), aggression: 0.1, min_weight_percent: 0.0 };
        let load_balancing = [
            LoadBalancing::RoundRobin { slow_start: Some(slow.clone()) },
            LoadBalancing::LeastRequest {
                choices: NonZeroU32::new(2).unwrap(),
                active_request_bias: 1.5,
                slow_start: Some(slow),
            },
            LoadBalancing::Random,
            LoadBalancing::RingHash { min_size: 8, max_size: 64, function: HashFunction::Murmur2 },
            LoadBalancing::Maglev { table_size: 31 },
        ]
        .into_iter()
        .nth(kind)
        .unwrap();
        let localities: Vec<_> = localities
            .iter()
            .map(|(priority, weight, endpoints)| {
                let endpoints: Vec<_> = endpoints.iter().map(|(weight, s)| (*weight, STATES[*s])).collect();
                let mut locality = locality(*priority, &endpoints);
                locality.weight = NonZeroU32::new(*weight);
                locality
            })
            .collect();
        let balancer = Balancer::new(&load_balancing, seed);
        let settings =
            ClusterSettings { panic_threshold_percent, locality_weighted, load_balancing, ..ClusterSettings::default() };
        let fresh = EndpointSet::new(&localities, settings, |_, _| EndpointHealth::default());
        let set = fresh.with_health(|i, _| {
            let (ejected, degraded, age_s) = learned[i];
            EndpointHealth { ejected, failed_check: false, degraded, age: age_s.map(Duration::from_secs) }
        });
        for hash in [None, Some(seed)] {
            let chosen = balancer.choose(&set, &Known::default(), hash, &mut draws(seed));
            match chosen {
                Some(chosen) => prop_assert!(set.is_usable(chosen) || set.is_in_panic(chosen)),
                None => prop_assert!(set.usable() == 0 && (panic_threshold_percent == 0 || set.is_empty())),
            }
        }
    }
}
