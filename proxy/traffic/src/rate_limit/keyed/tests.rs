//! Who shares a bucket, who is forgotten, and what it costs.

use std::num::NonZeroU32;
use std::time::Duration;

use tidegate_xds::resource::filter::TokenBucket;

use super::super::Rate;
use super::*;

fn rate() -> Rate {
    let refill = NonZeroU32::new(1).unwrap();
    Rate::new(TokenBucket { capacity: 1, refill, interval: Duration::from_secs(3_600) })
}

fn take(keyed: &Keyed, values: &[&str]) -> bool {
    keyed.with(values.iter().map(|value| value.as_bytes()), |bucket| bucket.try_take(&rate(), 1, 0))
}

#[test]
fn each_value_has_a_bucket_of_its_own() {
    let keyed = Keyed::new(100);

    assert!(take(&keyed, &["ann"]));
    assert!(take(&keyed, &["bob"]));
    assert!(!take(&keyed, &["ann"]));
    assert!(!take(&keyed, &["bob"]));
}

#[test]
fn where_one_part_ends_and_the_next_begins_matters() {
    let keyed = Keyed::new(100);

    assert!(take(&keyed, &["ab", "c"]));
    assert!(take(&keyed, &["a", "bc"]));
    assert!(take(&keyed, &["abc"]));
    assert!(take(&keyed, &["abc", ""]));
    assert!(!take(&keyed, &["ab", "c"]));
}

#[test]
fn the_value_that_was_not_asked_for_longest_is_forgotten() {
    let keyed = Keyed::new(3);
    for value in ["a", "b", "c"] {
        assert!(take(&keyed, &[value]));
    }
    assert!(!take(&keyed, &["a"]));

    assert!(take(&keyed, &["d"]));

    assert_eq!(keyed.len(), 3);
    assert!(!take(&keyed, &["a"]), "asked for after b");
    assert!(!take(&keyed, &["c"]));
    assert!(!take(&keyed, &["d"]));
    assert!(take(&keyed, &["b"]), "forgotten, so full again");
}

#[test]
fn ten_thousand_values_keep_their_buckets_within_the_bound() {
    let keyed = Keyed::new(20_000);
    let values: Vec<_> = (0..10_000).map(|i| format!("user-{i}")).collect();

    assert!(values.iter().all(|value| take(&keyed, &[value])));
    assert!(values.iter().all(|value| !take(&keyed, &[value])));
    for i in 0..50_000 {
        take(&keyed, &[&format!("stranger-{i}")]);
    }

    assert!(keyed.len() <= 20_000, "{}", keyed.len());
}

#[test]
fn no_configuration_makes_more_than_the_bound_or_less_than_one() {
    let room = |keyed: &Keyed| {
        let shards = keyed.shards.iter();
        shards.map(|shard| shard.lock().unwrap().keys_max).sum::<u32>()
    };

    assert_eq!(room(&Keyed::new(u32::MAX)), KEYS_MAX);
    assert_eq!(room(&Keyed::new(0)), 1);
    assert!(take(&Keyed::new(0), &["a"]));
}

#[test]
fn a_key_costs_no_more_than_is_said() {
    let keyed = Keyed::new(4_096);
    for i in 0..10_000 {
        take(&keyed, &[&format!("a value of {i} that is much longer than what is kept of it")]);
    }

    let bytes: usize = keyed
        .shards
        .iter()
        .map(|shard| {
            let shard = shard.lock().unwrap();
            // A table of n places has n/8 of reserve and a byte of its own for each.
            let places = shard.positions.capacity() * 8 / 7;
            shard.slots.capacity() * size_of::<Slot>() + places * (size_of::<(u128, u32)>() + 1)
        })
        .sum();

    assert!(bytes <= keyed.len() * KEY_BYTES_MAX, "{bytes} bytes for {} keys", keyed.len());
}

#[test]
fn the_list_survives_any_order_of_use() {
    let keyed = Keyed::new(5);
    let mut recent: Vec<u32> = Vec::new();
    let mut state = 1_u32;

    for _ in 0..5_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = state >> 28;
        let is_new = take(&keyed, &[&value.to_string()]);

        assert_eq!(is_new, !recent.contains(&value));
        recent.retain(|other| *other != value);
        recent.push(value);
        if recent.len() > 5 {
            recent.remove(0);
        }
    }
}
