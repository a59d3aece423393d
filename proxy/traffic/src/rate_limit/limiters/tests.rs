//! What is found again and what is let go.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;

fn bucket(capacity: u32) -> TokenBucket {
    TokenBucket { capacity, refill: NonZeroU32::MIN, interval: Duration::from_secs(1) }
}

fn entries(value: &str) -> Vec<(Arc<str>, Arc<str>)> {
    vec![("rule".into(), value.into())]
}

#[test]
fn the_same_place_description_and_size_are_the_same_bucket() {
    let limiters = Limiters::default();
    let first = limiters.single("a", &entries("x"), bucket(1));

    assert!(Arc::ptr_eq(&first, &limiters.single("a", &entries("x"), bucket(1))));
    assert!(!Arc::ptr_eq(&first, &limiters.single("b", &entries("x"), bucket(1))));
    assert!(!Arc::ptr_eq(&first, &limiters.single("a", &entries("y"), bucket(1))));
    assert!(!Arc::ptr_eq(&first, &limiters.single("a", &entries("x"), bucket(2))));
}

#[test]
fn keyed_buckets_start_anew_when_their_bound_changes() {
    let limiters = Limiters::default();
    let first = limiters.keyed("a", &entries(""), bucket(1), 10);

    assert!(Arc::ptr_eq(&first, &limiters.keyed("a", &entries(""), bucket(1), 10)));
    assert!(!Arc::ptr_eq(&first, &limiters.keyed("a", &entries(""), bucket(1), 20)));
}

#[test]
fn what_nobody_uses_is_forgotten() {
    let limiters = Limiters::default();
    let kept = limiters.single("kept", &[], bucket(1));

    for i in 0..10_000 {
        limiters.single(&format!("route {i}"), &[], bucket(1));
    }

    assert!(limiters.len() <= SWEEP_AT_LEAST, "{}", limiters.len());
    assert!(Arc::ptr_eq(&kept, &limiters.single("kept", &[], bucket(1))));
}
