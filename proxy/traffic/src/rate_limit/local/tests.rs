//! Which buckets count, that a refusal is free, and what callers are told.

use std::num::NonZeroU32;

use tidegate_xds::resource::filter::{RateLimitAction, RateLimitActions, TokenBucket};
use tidegate_xds::resource::matcher::Fraction;

use super::super::Limiters;
use super::connection::LIMITS_PER_CONNECTION_MAX;
use super::*;
use crate::testing::{Head, Request};

const SECOND: u64 = 1_000_000_000;
const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };
const NONE: Fraction = Fraction { numerator: 0, denominator: 100 };
type Draw = fn() -> u64;

const DICE: LocalDice<Draw, Draw> = LocalDice { enabled: || 0, enforced: || 0 };

/// `capacity` tokens and one more each second.
fn bucket(capacity: u32) -> TokenBucket {
    TokenBucket { capacity, refill: NonZeroU32::MIN, interval: Duration::from_secs(1) }
}

fn limit(default: Option<TokenBucket>, descriptors: Vec<LocalDescriptor>) -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: "test".into(),
        status: 429,
        bucket: default,
        enabled: ALL,
        enforced: ALL,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        descriptors,
        stage: 0,
        per_connection: false,
        ratelimit_headers: true,
        always_consume_default: false,
        resource_exhausted: false,
        // The path of a request and its user are two descriptions.
        rate_limits: vec![actions(":path", "path"), actions("x-user", "user")],
        dynamic_descriptors_max: 100,
        retry_after: true,
        virtual_host_limits: VirtualHostLimits::Override,
    }
}

fn actions(header: &str, key: &str) -> RateLimitActions {
    let action = RateLimitAction::RequestHeader { header: header.into(), key: key.into(), skip_if_absent: false };
    RateLimitActions { stage: 0, actions: vec![action], hits: 1, lease: None }
}

fn descriptor(key: &str, value: &str, capacity: u32) -> LocalDescriptor {
    LocalDescriptor { entries: vec![(key.into(), value.into())], bucket: bucket(capacity) }
}

fn compile(limit: &LocalRateLimit) -> CompiledLocalRateLimit {
    CompiledLocalRateLimit::compile(limit, &Scope::new(&Limiters::default(), "test")).unwrap()
}

fn ask_with(
    limit: &CompiledLocalRateLimit,
    request: &Request,
    dice: LocalDice<impl FnOnce() -> u64, impl FnOnce() -> u64>,
    now: u64,
) -> LocalVerdict {
    limit.decide(limit.buckets(), request, Sources::default(), &Facts::default(), dice, now)
}

fn ask(limit: &CompiledLocalRateLimit, request: &Request, now: u64) -> LocalVerdict {
    ask_with(limit, request, DICE, now)
}

fn passes(limit: &CompiledLocalRateLimit, request: &Request, now: u64) -> bool {
    ask(limit, request, now).outcome == Outcome::Within
}

fn remaining(limit: &CompiledLocalRateLimit, request: &Request) -> u64 {
    let shadow = ask(limit, request, 0);
    shadow.quota.unwrap().remaining
}

#[test]
fn without_descriptors_all_requests_share_the_default_bucket() {
    let limit = compile(&limit(Some(bucket(2)), Vec::new()));

    assert!(passes(&limit, &Request::get("/a"), 0));
    assert!(passes(&limit, &Request::get("/b"), 0));
    assert_eq!(ask(&limit, &Request::get("/c"), 0).outcome, Outcome::Refused);
    assert!(passes(&limit, &Request::get("/c"), SECOND));
}

#[test]
fn who_is_told_nothing_passes_where_who_is_told_passes() {
    let constant = |value: &str, stage| {
        let action = RateLimitAction::GenericKey { key: "generic_key".into(), value: value.into() };
        RateLimitActions { stage, actions: vec![action], hits: 2, lease: None }
    };
    let of = |value| descriptor("generic_key", value, 7);
    let lists = [
        vec![],
        vec![constant("all", 0)],
        vec![constant("all", 1)],
        vec![constant("other", 0)],
        vec![constant("all", 0), constant("other", 1)],
        vec![constant("all", 0), constant("other", 0)],
        vec![constant("all", 0), actions("x-user", "generic_key")],
    ];
    for own in lists {
        for descriptors in [vec![], vec![of("all")], vec![of("")], vec![of(""), of("all")], vec![of("all"), of("ann")]]
        {
            for (default, always) in [(None, false), (Some(bucket(4)), false), (Some(bucket(4)), true)] {
                let outcomes = |is_told| {
                    let mut limit = limit(default, descriptors.clone());
                    limit.rate_limits.clone_from(&own);
                    limit.always_consume_default = always;
                    limit.ratelimit_headers = is_told;
                    let limit = compile(&limit);
                    let request = Request::get("/").with("x-user", "ann");
                    (0..12).map(|i| ask(&limit, &request, i / 6 * SECOND).outcome).collect::<Vec<_>>()
                };
                assert_eq!(outcomes(false), outcomes(true), "{own:?} of {descriptors:?}, {default:?}, {always}");
            }
        }
    }
}

#[test]
fn what_no_bucket_counts_is_not_asked_about() {
    let limit = compile(&limit(None, vec![descriptor("path", "/a", 1)]));

    let verdict = ask(&limit, &Request::get("/b"), 0);

    assert_eq!(verdict, LocalVerdict::NOT_ASKED);
}

#[test]
fn a_descriptors_bucket_replaces_the_default_one_unless_both_are_asked_for() {
    let request = Request::get("/a");
    let mut both = limit(Some(bucket(1)), vec![descriptor("path", "/a", 5)]);
    let only = compile(&both);
    both.always_consume_default = true;
    let both = compile(&both);

    assert_eq!((0..9).filter(|_| passes(&only, &request, 0)).count(), 5);
    assert_eq!((0..9).filter(|_| passes(&both, &request, 0)).count(), 1);
}

#[test]
fn an_empty_value_is_one_bucket_for_each_value() {
    let limit = compile(&limit(None, vec![descriptor("user", "", 1)]));
    let by = |user: &str| Request::get("/").with("x-user", user);

    assert!(passes(&limit, &by("ann"), 0));
    assert!(passes(&limit, &by("bob"), 0));
    assert!(!passes(&limit, &by("ann"), 0));
}

#[test]
fn a_value_that_is_named_has_its_own_bucket_instead_of_the_one_for_any() {
    let limit = compile(&limit(None, vec![descriptor("user", "", 1), descriptor("user", "ann", 3)]));
    let by = |user: &str| Request::get("/").with("x-user", user);

    assert_eq!((0..9).filter(|_| passes(&limit, &by("ann"), 0)).count(), 3);
    assert_eq!((0..9).filter(|_| passes(&limit, &by("bob"), 0)).count(), 1);
}

#[test]
fn all_buckets_must_let_a_request_through_and_a_refusal_takes_from_none() {
    let mut both = limit(Some(bucket(50)), vec![descriptor("path", "/a", 10), descriptor("user", "", 1)]);
    both.always_consume_default = true;
    let limit = compile(&both);
    let by = |user: &str| Request::get("/a").with("x-user", user);
    assert!(passes(&limit, &by("ann"), 0));

    for _ in 0..20 {
        assert_eq!(ask(&limit, &by("ann"), 0).outcome, Outcome::Refused);
    }

    // The path's bucket has paid for one request, and so has everybody's.
    let anonymous = Request::get("/a");
    assert_eq!(remaining(&limit, &anonymous), 10 - 1 - 1);
    assert_eq!(remaining(&limit, &Request::get("/other")), 50 - 2 - 1);
}

#[test]
fn a_description_may_take_several_tokens() {
    let mut heavy = limit(None, vec![descriptor("path", "/a", 10)]);
    heavy.rate_limits[0].hits = 4;
    let limit = compile(&heavy);

    assert_eq!((0..9).filter(|_| passes(&limit, &Request::get("/a"), 0)).count(), 2);
    assert!(passes(&limit, &Request::get("/a"), 2 * SECOND));
}

#[test]
fn the_shares_decide_who_is_asked_and_who_is_refused() {
    let mut half = limit(Some(bucket(0)), Vec::new());
    half.enabled = Fraction { numerator: 50, denominator: 100 };
    half.enforced = Fraction { numerator: 10, denominator: 100 };
    let limit = compile(&half);
    let outcome = |enabled: u64, enforced: u64| {
        let dice = LocalDice { enabled: || enabled, enforced: || enforced };
        ask_with(&limit, &Request::get("/"), dice, 0).outcome
    };

    assert_eq!(outcome(50, 0), Outcome::NotAsked);
    assert_eq!(outcome(49, 9), Outcome::Refused);
    assert_eq!(outcome(49, 10), Outcome::OverNotEnforced);
}

#[test]
fn a_shadow_limit_counts_tokens_and_refuses_nobody() {
    let mut shadow = limit(Some(bucket(1)), Vec::new());
    shadow.enforced = NONE;
    let limit = compile(&shadow);
    let request = Request::get("/");

    assert_eq!(ask(&limit, &request, 0).outcome, Outcome::Within);
    let over = ask(&limit, &request, 0);

    assert_eq!(over.outcome, Outcome::OverNotEnforced);
    assert_eq!(over.retry_after_seconds, None);
}

#[test]
fn a_caller_is_told_how_much_is_left_and_when_to_come_back() {
    let limit = compile(&limit(Some(bucket(2)), Vec::new()));
    let said = |now| {
        let mut head = Head::default();
        ask(&limit, &Request::get("/"), now).write(&mut head);
        head
    };
    let fields = |limit, remaining, reset| {
        Head::of(&[("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)])
    };

    assert_eq!(said(0), fields("2", "1", "0"));
    assert_eq!(said(0), fields("2", "0", "1"));
    let refused = said(SECOND / 2);
    let mut expected = Head::of(&[("x-envoy-ratelimited", "true")]);
    expected.0.extend(fields("2", "0", "1").0);
    expected.0.extend(Head::of(&[("retry-after", "1")]).0);
    assert_eq!(refused, expected);
}

#[test]
fn a_refusal_tells_of_the_bucket_that_takes_longest() {
    let slow = TokenBucket { capacity: 1, refill: NonZeroU32::MIN, interval: Duration::from_secs(30) };
    let hourly = LocalDescriptor { entries: vec![("user".into(), "ann".into())], bucket: slow };
    let limit = compile(&limit(None, vec![descriptor("path", "/a", 1), hourly]));
    let request = Request::get("/a").with("x-user", "ann");
    assert!(passes(&limit, &request, 0));

    let refused = ask(&limit, &request, SECOND / 10);

    assert_eq!(refused.retry_after_seconds, Some(30));
    assert_eq!(refused.quota, Some(Quota { limit: 1, remaining: 0, reset_seconds: 30 }));
}

#[test]
fn a_limit_of_nothing_never_says_when_to_come_back() {
    let limit = compile(&limit(Some(bucket(0)), Vec::new()));

    let refused = ask(&limit, &Request::get("/"), 0);

    assert_eq!((refused.outcome, refused.retry_after_seconds), (Outcome::Refused, None));
}

#[test]
fn statuses_that_are_no_errors_count_as_too_many_requests() {
    let status = |status| compile(&LocalRateLimit { status, ..limit(None, Vec::new()) }).status;

    assert_eq!((status(503), status(200), status(0), status(600)), (503, 429, 429, 429));
}

#[test]
fn grpc_callers_get_a_grpc_status() {
    let grpc = Request::get("/").with("content-type", "application/grpc");
    let mut config = limit(None, Vec::new());

    assert_eq!(compile(&config).grpc_status(&Request::get("/")), None);
    assert_eq!(compile(&config).grpc_status(&grpc), Some(14));
    config.resource_exhausted = true;
    assert_eq!(compile(&config).grpc_status(&grpc), Some(8));
}

#[test]
fn a_limit_that_is_compiled_again_keeps_its_tokens_and_one_of_another_size_does_not() {
    let limiters = Limiters::default();
    let scope = Scope::new(&limiters, "listener");
    let mut config = limit(Some(bucket(1)), vec![descriptor("user", "", 1)]);
    let first = CompiledLocalRateLimit::compile(&config, &scope).unwrap();
    let ann = Request::get("/").with("x-user", "ann");
    assert!(passes(&first, &ann, 0) && passes(&first, &Request::get("/"), 0));

    config.status = 503;
    let again = CompiledLocalRateLimit::compile(&config, &scope).unwrap();
    drop(first);
    assert!(!passes(&again, &ann, 0) && !passes(&again, &Request::get("/"), 0));

    config.bucket = Some(bucket(2));
    let larger = CompiledLocalRateLimit::compile(&config, &scope).unwrap();
    assert!(!passes(&larger, &ann, 0), "its own bucket did not change");
    assert!(passes(&larger, &Request::get("/"), 0));
}

#[test]
fn each_connection_has_buckets_of_its_own_across_snapshots() {
    let limiters = Limiters::default();
    let config = LocalRateLimit { per_connection: true, ..limit(Some(bucket(1)), Vec::new()) };
    let compiled = || CompiledLocalRateLimit::compile(&config, &Scope::new(&limiters, "listener")).unwrap();
    let first = compiled();
    let again = compiled();
    let (mut one, mut another) = (ConnectionBuckets::default(), ConnectionBuckets::default());
    let request = Request::get("/");
    let admitted = |limit: &CompiledLocalRateLimit, connection: &mut ConnectionBuckets| {
        let buckets = connection.of(limit);
        limit.decide(buckets, &request, Sources::default(), &Facts::default(), DICE, 0).outcome == Outcome::Within
    };

    assert!(admitted(&first, &mut one));
    assert!(admitted(&first, &mut another));
    assert!(!admitted(&first, &mut one));
    assert!(!admitted(&again, &mut one), "the same limit in the next snapshot");
}

#[test]
fn a_connection_keeps_a_bounded_number_of_limits() {
    let limiters = Limiters::default();
    let mut connection = ConnectionBuckets::default();

    for i in 0..100 {
        let config = limit(Some(bucket(1)), Vec::new());
        let scope = Scope::new(&limiters, format!("listener {i}"));
        connection.of(&CompiledLocalRateLimit::compile(&config, &scope).unwrap());
    }

    assert_eq!(connection.known.len(), LIMITS_PER_CONNECTION_MAX);
}
