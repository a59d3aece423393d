//! What a control plane makes of the store's answers. The store's own arithmetic is shown with a real one, in `tests/`.

use super::*;
use crate::rate_limit::share::{Grant, Usage};
use crate::rate_limit::tests::{limits_that, name, report};
use crate::rate_limit::{HERE, Said};

const LATER: Duration = Duration::from_secs(100);
const WHOLE: Limit = Limit { per_second: 100.0, capacity: 50 };
const HALF: Limit = Limit { per_second: 50.0, capacity: 25 };

fn together(word: OnStoreUnavailable) -> Buckets {
    let mut buckets = Buckets::new(false, Keeping::Together);
    buckets.set_limits(limits_that(word), LATER, &mut Words::new());
    buckets
}

fn reply(answer: u64, part: Limit) -> Vec<(Name, Reply)> {
    vec![(name(None), Reply { answer, part, is_in_demand: true })]
}

fn said(words: &Words) -> &Said {
    match &words[&1][..] {
        [(_, said)] => said,
        other => panic!("{other:?}"),
    }
}

fn grant(words: &Words) -> Grant {
    match said(words) {
        Said::Assigned(grant) | Said::GivenUp(grant) => *grant,
        Said::Abandoned => panic!("{words:?}"),
    }
}

/// One proxy that has its part of the limit.
fn with_one_proxy(word: OnStoreUnavailable) -> (Buckets, Grant) {
    let mut buckets = together(word);
    buckets.report(1, &report(None), LATER, &mut Words::new());
    buckets.questions(LATER);
    let mut words = Words::new();
    buckets.obey(reply(1, WHOLE), LATER, &mut words);
    let whole = grant(&words);
    buckets.report(1, &report(Some(whole)), LATER, &mut Words::new());
    (buckets, whole)
}

#[test]
fn nobody_is_told_anything_before_the_store_has_said_what_there_is() {
    let mut buckets = together(OnStoreUnavailable::FallbackPerProxy);
    let mut words = Words::new();

    buckets.report(1, &report(None), LATER, &mut words);

    assert!(words.is_empty() && buckets.has_new(), "{words:?}");
    let asked = buckets.questions(LATER);
    assert_eq!((asked.len(), asked[0].held, asked[0].limit), (1, None, WHOLE));
}

#[test]
fn less_is_confirmed_to_the_store_only_when_proxies_have_confirmed_it() {
    let (mut buckets, whole) = with_one_proxy(OnStoreUnavailable::FallbackPerProxy);
    let mut words = Words::new();

    buckets.obey(reply(2, HALF), LATER, &mut words);
    let half = grant(&words);
    let before = buckets.questions(LATER + ROUND).remove(0);
    buckets.report(1, &report(Some(half)), LATER + ROUND, &mut Words::new());
    let after = buckets.questions(LATER + ROUND).remove(0);

    assert_eq!((whole.capacity, half.capacity), (50, 25));
    assert_eq!((before.answer, before.fits, before.held.map(|held| held.capacity)), (2, false, Some(50)));
    assert_eq!((after.fits, after.held), (true, Some(HALF)));
}

#[test]
fn tokens_of_a_smaller_part_go_back_to_the_store() {
    let (mut buckets, _) = with_one_proxy(OnStoreUnavailable::FallbackPerProxy);
    let mut words = Words::new();
    buckets.obey(reply(2, HALF), LATER, &mut words);
    buckets.report(1, &report(Some(grant(&words))), LATER, &mut Words::new());

    buckets.tick(LATER + ROUND, &mut Words::new());
    let asked = buckets.questions(LATER + ROUND).remove(0);

    assert!((25.0..=31.0).contains(&asked.returned), "{asked:?}");
}

#[test]
fn who_asks_before_there_is_a_part_has_a_tenth_and_the_part_has_it_the_fewer() {
    let mut buckets = together(OnStoreUnavailable::FallbackPerProxy);
    let ask = |buckets: &mut Buckets| {
        let verdict = buckets.ask(&[(name(None), 1)], LATER, &mut Words::new()).remove(0);
        verdict.expect("it is limited").is_within
    };
    let first: Vec<bool> = (0..7).map(|_| ask(&mut buckets)).collect();

    buckets.questions(LATER);
    buckets.obey(reply(1, WHOLE), LATER, &mut Words::new());
    let then = (0..60).filter(|_| ask(&mut buckets)).count();

    assert_eq!(first, [true, true, true, true, true, false, false]);
    assert_eq!(then, 45);
    assert!(buckets.kept[&name(None)].bucket.level(HERE) == 0);
}

#[test]
fn without_the_store_a_part_is_kept_on_or_the_whole_limit_if_there_never_was_one() {
    let (mut buckets, whole) = with_one_proxy(OnStoreUnavailable::FallbackPerProxy);
    let mut words = Words::new();
    buckets.set_reached(false, LATER);
    buckets.tick(LATER, &mut words);
    assert_eq!(said(&words), &Said::Assigned(whole));

    let mut fresh = together(OnStoreUnavailable::FallbackPerProxy);
    fresh.report(1, &report(None), LATER, &mut Words::new());
    let mut words = Words::new();
    fresh.set_reached(false, LATER);
    fresh.tick(LATER, &mut words);
    assert_eq!(grant(&words).capacity, WHOLE.capacity);
}

#[test]
fn without_the_store_proxies_and_askers_go_by_the_limits_word_until_it_is_back() {
    for (word, is_refused) in [(OnStoreUnavailable::Deny, true), (OnStoreUnavailable::Allow, false)] {
        let (mut buckets, whole) = with_one_proxy(word);
        let mut words = Words::new();
        buckets.set_reached(false, LATER);
        buckets.tick(LATER, &mut words);
        assert_eq!(said(&words), &Said::GivenUp(whole), "{word:?}");

        let verdict = buckets.ask(&[(name(None), 1)], LATER, &mut Words::new()).remove(0);
        assert_eq!(verdict.is_some_and(|verdict| !verdict.is_within), is_refused, "{word:?}");

        let mut words = Words::new();
        buckets.set_reached(true, LATER);
        buckets.tick(LATER, &mut words);
        assert_eq!(said(&words), &Said::Assigned(whole), "{word:?}");
    }
}

#[test]
fn a_proxy_that_never_had_a_lease_hears_that_nobody_keeps_the_limit() {
    let mut buckets = together(OnStoreUnavailable::Deny);
    buckets.set_reached(false, LATER);
    let mut words = Words::new();

    buckets.report(1, &report(None), LATER, &mut words);

    assert!(matches!(said(&words), Said::GivenUp(Grant { capacity: 0, .. })), "{words:?}");
}

#[test]
fn one_exchange_has_a_bounded_number_of_questions_and_the_next_has_the_rest() {
    let mut buckets = together(OnStoreUnavailable::FallbackPerProxy);
    for user in 0..=QUESTIONS_MAX {
        let usage = Usage::default();
        let report = crate::rate_limit::wire::Report { name: name(Some(&user.to_string())), usage };
        buckets.report(1, &report, LATER, &mut Words::new());
    }

    assert_eq!(buckets.questions(LATER).len(), QUESTIONS_MAX);
    assert_eq!(buckets.questions(LATER).len(), 1);
}
