//! Rate limits over real connections, as proxies and as Envoy ask for them.

use tidegate_policies::ir::rate_limit::OnStoreUnavailable;

use super::limits::SharedLimit;
use super::share::{Limit, Usage};
use super::*;

const LATER: Duration = Duration::from_secs(100);

pub(super) fn limits_that(on_unavailable: OnStoreUnavailable) -> Limits {
    let shared = SharedLimit {
        limit: Limit { per_second: 100.0, capacity: 50 },
        requests: 100,
        per_seconds: 1,
        shadow: false,
        on_unavailable,
        fields: Arc::default(),
    };
    Limits::from_iter([(Arc::from("shop/fair/all"), Arc::new(shared))])
}

pub(super) fn name(user: Option<&str>) -> Name {
    let rule = ("rule".to_owned(), "shop/fair/all".to_owned());
    let user = user.map(|user| ("header:end-user".to_owned(), user.to_owned()));
    user.into_iter().chain([rule]).collect()
}

pub(super) fn report(held: Option<Grant>) -> Report {
    Report { name: name(None), usage: Usage { held, ..Usage::default() } }
}

fn buckets(has_past: bool, now: Duration) -> Buckets {
    let mut buckets = Buckets::new(has_past, Keeping::Alone);
    buckets.set_limits(limits_that(OnStoreUnavailable::FallbackPerProxy), now, &mut Words::new());
    buckets
}

fn assigned(words: &Words, stream: u64) -> Grant {
    match &words[&stream][..] {
        [(_, Said::Assigned(grant))] => *grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_proxy_is_told_at_once_that_it_has_the_whole_limit() {
    let mut words = Words::new();

    buckets(false, LATER).report(1, &report(None), LATER, &mut words);

    let grant = assigned(&words, 1);
    assert_eq!(grant.capacity, 50);
    assert!((grant.per_second() - 100.0).abs() < 0.1, "{grant:?}");
}

#[test]
fn after_a_restart_nobody_gets_more_than_it_has_until_all_had_time_to_come_back() {
    let mut buckets = buckets(true, Duration::ZERO);
    let held = Grant { capacity: 17, refill: 1, interval_nanos: 30_000_000 };
    let mut words = Words::new();
    buckets.report(1, &report(Some(held)), Duration::from_millis(300), &mut words);
    buckets.report(2, &report(None), Duration::from_millis(300), &mut words);
    assert_eq!(assigned(&words, 1), held);
    assert_eq!(words.get(&2), None, "a newcomer waits");

    let mut words = Words::new();
    buckets.tick(LEARNING + ROUND, &mut words);

    assert!(assigned(&words, 2).per_second() > 40.0, "{words:?}");
}

#[test]
fn a_young_keeper_that_hears_of_leases_knows_that_it_was_restarted() {
    let mut buckets = buckets(false, Duration::ZERO);
    let held = Grant { capacity: 17, refill: 1, interval_nanos: 30_000_000 };
    let mut words = Words::new();

    buckets.report(1, &report(Some(held)), Duration::from_millis(300), &mut words);

    assert_eq!(assigned(&words, 1), held);
}

#[test]
fn a_confirmation_in_the_first_moments_is_no_sign_of_a_restart() {
    let mut buckets = buckets(false, Duration::ZERO);
    let mut words = Words::new();
    buckets.report(1, &report(None), ROUND, &mut words);
    let first = assigned(&words, 1);
    buckets.report(1, &report(Some(first)), ROUND, &mut Words::new());

    let mut words = Words::new();
    buckets.report(2, &report(None), 2 * ROUND, &mut words);
    let less = assigned(&words, 1);
    let mut words = Words::new();
    buckets.report(1, &report(Some(less)), 2 * ROUND, &mut words);

    let second = assigned(&words, 2);
    assert_eq!((first.capacity, less.capacity, second.capacity), (50, 25, 25));
}

#[test]
fn who_asks_for_each_request_gets_the_burst_once_and_then_the_rate() {
    let mut buckets = buckets(false, LATER);
    let mut passed = 0;
    for ms in 0..2_000 {
        let now = LATER + Duration::from_millis(ms);
        let verdicts = buckets.ask(&[(name(Some("jason")), 1)], now, &mut Words::new());
        passed += u32::from(verdicts[0].as_ref().expect("it is limited").is_within);
    }
    assert!((245..=250).contains(&passed), "{passed}");
}

#[test]
fn what_no_policy_limits_is_within_and_its_bucket_is_abandoned() {
    let mut buckets = buckets(false, LATER);
    let unknown: Name = Arc::from([("rule".to_owned(), "shop/gone/all".to_owned())]);
    let mut words = Words::new();

    let verdicts = buckets.ask(&[(unknown.clone(), 1)], LATER, &mut words);
    buckets.report(1, &Report { name: unknown.clone(), usage: Usage::default() }, LATER, &mut words);

    assert!(verdicts[0].is_none());
    assert_eq!(words[&1], [(unknown, Said::Abandoned)]);
}

#[test]
fn a_value_that_nobody_uses_is_forgotten_when_its_tokens_are_back_and_a_fixed_one_is_kept() {
    let mut buckets = buckets(false, LATER);
    let keyed = |held| Report { name: name(Some("jason")), usage: Usage { held, ..Usage::default() } };
    let mut words = Words::new();
    buckets.report(1, &keyed(None), LATER, &mut words);
    buckets.report(1, &keyed(Some(assigned(&words, 1))), LATER, &mut Words::new());
    buckets.report(1, &report(None), LATER, &mut Words::new());
    let mut words = Words::new();

    buckets.tick(LATER + 2 * FORGOTTEN_AFTER, &mut words);

    let abandoned: Vec<_> = words[&1].iter().filter(|(_, said)| *said == Said::Abandoned).collect();
    assert_eq!(abandoned, [&(name(Some("jason")), Said::Abandoned)]);
    assert_eq!(buckets.kept.len(), 1);
}
