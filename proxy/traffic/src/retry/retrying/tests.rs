//! Each condition, in every situation it is for and not for, and the bounds on all of them.

use proptest::prelude::*;
use tidegate_xds::resource::matcher::{HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::{RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy};

use super::super::{ENDPOINTS_MAX, FREE_RETRIES_MAX, Phase};
use super::*;
use crate::testing::{Head, Request};

const MOMENT: Moment = Moment { jitter: 0, now_unix_s: 1_000 };
const PHASES: [Phase; 5] = [Phase::Connecting, Phase::NotSent, Phase::Refused, Phase::Sent, Phase::TimedOut];

fn on(conditions: &[RetryOn]) -> RetryPolicy {
    RetryPolicy { retry_on: conditions.to_vec(), ..RetryPolicy::default() }
}

fn compile(policy: &RetryPolicy) -> CompiledRetry {
    CompiledRetry::compile(policy).unwrap()
}

fn failed(phase: Phase) -> Failure {
    Failure { phase, reused_connection: false, answer_seen: false, replayable: true }
}

fn is_again(next: Next) -> bool {
    matches!(next, Next::Again { .. })
}

fn answered(policy: &RetryPolicy, status: u16, head: &[(&str, &str)]) -> bool {
    let policy = compile(policy);
    let mut retrying = Retrying::new(Some(&policy), &Request::get("/").method("POST"));
    is_again(retrying.after_answer(status, &Head::of(head), true, MOMENT, || true))
}

/// Whether the policy alone, when the rule without one is exhausted, tries again.
fn policy_retries(policy: &RetryPolicy, phase: Phase) -> bool {
    let policy = compile(&RetryPolicy { num_retries: 100, ..policy.clone() });
    let mut retrying = Retrying::new(Some(&policy), &Request::get("/").method("POST"));
    for _ in 0..ENDPOINTS_MAX {
        retrying.after_failure(failed(Phase::Connecting), MOMENT, || true);
    }
    is_again(retrying.after_failure(failed(phase), MOMENT, || true))
}

#[test]
fn each_status_condition_takes_its_statuses_and_no_other() {
    let listed = RetryPolicy { status_codes: vec![418, 503], ..on(&[RetryOn::RetriableStatusCodes]) };
    let cases = [
        (on(&[RetryOn::FiveXx]), (500..600).collect()),
        (on(&[RetryOn::GatewayError]), vec![502, 503, 504]),
        (on(&[RetryOn::Retriable4xx]), vec![409]),
        (listed, vec![418, 503]),
        (on(&[RetryOn::Reset, RetryOn::ConnectFailure, RetryOn::RefusedStream]), vec![]),
    ];
    for (policy, expected) in cases {
        let taken: Vec<u16> = (200..=600).filter(|status| answered(&policy, *status, &[])).collect();
        assert_eq!(taken, expected, "{:?}", policy.retry_on);
    }
}

#[test]
fn a_rate_limited_answer_is_tried_again_only_where_that_is_asked_for() {
    let limited = [("x-envoy-ratelimited", "true")];

    assert!(!answered(&on(&[RetryOn::FiveXx]), 503, &limited));
    assert!(answered(&on(&[RetryOn::RateLimited]), 429, &limited));
    assert!(!answered(&on(&[RetryOn::RateLimited]), 429, &[]));
}

#[test]
fn a_grpc_status_counts_in_the_head() {
    let cases = [
        (RetryOn::Cancelled, "1"),
        (RetryOn::DeadlineExceeded, "4"),
        (RetryOn::ResourceExhausted, "8"),
        (RetryOn::Internal, "13"),
        (RetryOn::Unavailable, "14"),
    ];
    for (condition, wanted) in cases {
        for status in ["0", "1", "2", "4", "8", "13", "14", "", "x"] {
            let again = answered(&on(&[condition]), 200, &[("grpc-status", status)]);
            assert_eq!(again, status == wanted, "{condition:?} {status}");
        }
    }
}

#[test]
fn an_answers_headers_may_ask_for_a_retry() {
    let again = HeaderMatcher {
        name: "x-again".into(),
        condition: HeaderCondition::Value(StringMatcher::Exact { value: "yes".into(), ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    };
    let policy = RetryPolicy { retriable_headers: vec![again], ..on(&[RetryOn::RetriableHeaders]) };

    assert!(answered(&policy, 200, &[("x-again", "yes")]));
    assert!(!answered(&policy, 200, &[("x-again", "no")]));
    assert!(!answered(&RetryPolicy { retry_on: Vec::new(), ..policy }, 200, &[("x-again", "yes")]));
}

#[test]
fn each_failure_condition_takes_its_phases_and_no_other() {
    let cases = [
        (RetryOn::ConnectFailure, vec![Phase::Connecting]),
        (RetryOn::ResetBeforeRequest, vec![Phase::Connecting, Phase::NotSent]),
        (RetryOn::RefusedStream, vec![Phase::Refused]),
        (RetryOn::Reset, PHASES.to_vec()),
        (RetryOn::FiveXx, PHASES.to_vec()),
        (RetryOn::GatewayError, PHASES.to_vec()),
        (RetryOn::Retriable4xx, vec![]),
        (RetryOn::Unavailable, vec![]),
    ];
    for (condition, expected) in cases {
        let taken: Vec<_> = PHASES.into_iter().filter(|phase| policy_retries(&on(&[condition]), *phase)).collect();
        assert_eq!(taken, expected, "{condition:?}");
    }
}

#[test]
fn what_was_never_sent_needs_no_policy_and_no_room_and_does_not_wait() {
    for phase in [Phase::Connecting, Phase::NotSent, Phase::Refused] {
        let mut retrying = Retrying::new(None, &Request::get("/").method("POST"));

        let next = retrying.after_failure(failed(phase), Moment { jitter: 12_345_678, ..MOMENT }, || false);

        assert_eq!(next, Next::Again { target: Target::OtherEndpoint, pause: Duration::ZERO }, "{phase:?}");
    }
}

#[test]
fn without_a_policy_a_request_that_may_have_run_is_not_repeated() {
    for phase in [Phase::Sent, Phase::TimedOut] {
        let mut retrying = Retrying::new(None, &Request::get("/").method("POST"));
        let next = retrying.after_failure(failed(phase), MOMENT, || true);
        assert_eq!(next, Next::GiveUp(Reason::MayHaveRun), "{phase:?}");
    }
}

#[test]
fn a_broken_answer_is_a_reset_for_a_policy() {
    let policy = compile(&on(&[RetryOn::Reset]));
    let mut retrying = Retrying::new(Some(&policy), &Request::get("/"));

    assert!(is_again(retrying.after_failure(Failure { answer_seen: true, ..failed(Phase::Sent) }, MOMENT, || true)));
}

#[test]
fn retries_are_spent_one_by_one_and_then_the_answer_stands() {
    let policy = compile(&RetryPolicy { num_retries: 2, ..on(&[RetryOn::FiveXx]) });
    let mut retrying = Retrying::new(Some(&policy), &Request::get("/"));
    let mut after = |status| retrying.after_answer(status, &Head::default(), true, MOMENT, || true);

    assert!(is_again(after(503)));
    assert!(is_again(after(500)));
    assert_eq!(after(503), Next::GiveUp(Reason::RetriesSpent));
    assert_eq!(after(200), Next::GiveUp(Reason::NotRetriable));
}

#[test]
fn retries_that_both_rules_grant_are_counted_once() {
    let attempts = |num_retries| {
        let policy = compile(&RetryPolicy { num_retries, ..on(&[RetryOn::ConnectFailure]) });
        let mut retrying = Retrying::new(Some(&policy), &Request::get("/"));
        let mut further = 0;
        while is_again(retrying.after_failure(failed(Phase::Connecting), MOMENT, || true)) {
            further += 1;
        }
        further
    };

    assert_eq!([attempts(0), attempts(1), attempts(2), attempts(5)], [2, 2, 2, 5]);
}

#[test]
fn a_cluster_without_room_is_not_burdened_and_the_retry_counts_as_made() {
    let policy = compile(&RetryPolicy { num_retries: 1, ..on(&[RetryOn::FiveXx]) });
    let mut retrying = Retrying::new(Some(&policy), &Request::get("/"));

    assert_eq!(retrying.after_answer(503, &Head::default(), true, MOMENT, || false), Next::GiveUp(Reason::Overflow));
    assert_eq!(
        retrying.after_answer(503, &Head::default(), true, MOMENT, || panic!("nobody asks for room in vain")),
        Next::GiveUp(Reason::RetriesSpent)
    );
}

#[test]
fn a_body_that_is_gone_cannot_be_sent_again() {
    let policy = compile(&on(&[RetryOn::FiveXx]));
    let gone = Failure { replayable: false, ..failed(Phase::Sent) };
    let mut retrying = Retrying::new(Some(&policy), &Request::get("/"));

    assert_eq!(retrying.after_failure(gone, MOMENT, || true), Next::GiveUp(Reason::BodyConsumed));
    let next = retrying.after_answer(503, &Head::default(), false, MOMENT, || true);
    assert_eq!(next, Next::GiveUp(Reason::BodyConsumed));
    assert!(is_again(retrying.after_answer(503, &Head::default(), true, MOMENT, || true)), "nothing was spent");
}

#[test]
fn a_policy_for_some_methods_leaves_the_others_alone() {
    let is_get = HeaderMatcher {
        name: ":method".into(),
        condition: HeaderCondition::Value(StringMatcher::Exact { value: "GET".into(), ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    };
    let policy = RetryPolicy { retriable_request_headers: vec![is_get], ..on(&[RetryOn::Reset]) };
    let policy = compile(&policy);
    let after = |method: &str| {
        let request = Request::get("/").method(method).with("x-envoy-retry-on", "5xx");
        Retrying::new(Some(&policy), &request).after_failure(failed(Phase::Sent), MOMENT, || true)
    };

    assert!(is_again(after("GET")));
    assert_eq!(after("POST"), Next::GiveUp(Reason::MayHaveRun));
    let post = Request::get("/").method("POST");
    assert!(!Retrying::new(Some(&policy), &post).reads_answers());
    assert!(!Retrying::new(Some(&policy), &post).keeps_body());
}

#[test]
fn a_caller_may_add_conditions_and_say_how_often_within_a_bound() {
    let further = |policy: Option<&CompiledRetry>, headers: &[(&str, &str)]| {
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.with(name, value));
        let mut retrying = Retrying::new(policy, &request);
        let mut count = 0;
        while is_again(retrying.after_answer(503, &Head::default(), true, MOMENT, || true)) {
            count += 1;
        }
        count
    };
    let five = compile(&RetryPolicy { num_retries: 5, ..on(&[RetryOn::FiveXx]) });
    let twenty = compile(&RetryPolicy { num_retries: 20, ..on(&[RetryOn::FiveXx]) });

    assert_eq!(further(None, &[]), 0);
    assert_eq!(further(None, &[("x-envoy-retry-on", "made-up, gateway-error")]), 1);
    assert_eq!(further(None, &[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")]), 3);
    assert_eq!(further(Some(&five), &[("x-envoy-max-retries", "0")]), 0);
    assert_eq!(further(Some(&five), &[("x-envoy-max-retries", "many")]), 5);
    assert_eq!(further(Some(&five), &[("x-envoy-max-retries", "1000000")]), RETRIES_ASKED_MAX);
    assert_eq!(further(Some(&twenty), &[("x-envoy-max-retries", "1000000")]), 20);
}

#[test]
fn a_caller_may_name_statuses_headers_and_grpc_conditions() {
    let after = |headers: &[(&str, &str)], status, head: &[(&str, &str)]| {
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.with(name, value));
        is_again(Retrying::new(None, &request).after_answer(status, &Head::of(head), true, MOMENT, || true))
    };
    let statuses = [("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "418, 419,x")];
    let names = [("x-envoy-retry-on", "retriable-headers"), ("x-envoy-retriable-header-names", "X-One, x-two")];

    assert!(after(&statuses, 419, &[]) && !after(&statuses, 420, &[]));
    assert!(after(&names, 200, &[("x-one", "")]) && !after(&names, 200, &[("x-three", "")]));
    assert!(after(&[("x-envoy-retry-grpc-on", "unavailable")], 200, &[("grpc-status", "14")]));
}

#[test]
fn tried_endpoints_are_avoided_where_the_policy_says_so() {
    let target = |avoid| {
        let policy = compile(&RetryPolicy { avoid_previous_hosts: avoid, ..on(&[RetryOn::FiveXx]) });
        match Retrying::new(Some(&policy), &Request::get("/"))
            .after_answer(500, &Head::default(), true, MOMENT, || true)
        {
            Next::Again { target, .. } => target,
            Next::GiveUp(reason) => panic!("{reason:?}"),
        }
    };

    assert_eq!((target(true), target(false)), (Target::OtherEndpoint, Target::AnyEndpoint));
}

#[test]
fn an_answer_that_says_when_to_come_back_is_believed_within_a_bound() {
    let reset = |name: &str, unix_timestamp| ResetHeader { name: name.into(), unix_timestamp };
    let back_off = RateLimitedBackOff {
        headers: vec![reset("retry-after", false), reset("x-ratelimit-reset", true)],
        max: Duration::from_secs(30),
    };
    let policy = RetryPolicy { rate_limited_back_off: Some(back_off), ..on(&[RetryOn::FiveXx]) };
    let policy = compile(&policy);
    let pause = |head: &[(&str, &str)]| {
        let mut retrying = Retrying::new(Some(&policy), &Request::get("/"));
        match retrying.after_answer(503, &Head::of(head), true, MOMENT, || true) {
            Next::Again { pause, .. } => pause,
            Next::GiveUp(reason) => panic!("{reason:?}"),
        }
    };

    assert_eq!(pause(&[("retry-after", "7")]), Duration::from_secs(7));
    assert_eq!(pause(&[("retry-after", "31"), ("x-ratelimit-reset", "1020")]), Duration::from_secs(20));
    for unusable in [("retry-after", "31"), ("retry-after", "soon"), ("x-ratelimit-reset", "999")] {
        assert_eq!(pause(&[unusable]), Duration::ZERO, "the back-off with a draw of zero: {unusable:?}");
    }
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    let all = [
        RetryOn::FiveXx,
        RetryOn::ConnectFailure,
        RetryOn::GatewayError,
        RetryOn::RefusedStream,
        RetryOn::Reset,
        RetryOn::ResetBeforeRequest,
        RetryOn::Unavailable,
    ];
    (prop::sample::subsequence(all.to_vec(), 0..=all.len()), 0_u32..6)
        .prop_map(|(conditions, num_retries)| RetryPolicy { num_retries, ..on(&conditions) })
}

#[test]
fn a_written_request_counts_against_the_number_on_a_reused_connection_too() {
    let dead = Failure { reused_connection: true, ..failed(Phase::Sent) };
    let tries = |policy: &RetryPolicy, first: Failure| {
        let compiled = compile(policy);
        let mut retrying = Retrying::new(Some(&compiled), &Request::get("/"));
        let mut failure = first;
        let mut tries = 1;
        while is_again(retrying.after_failure(failure, MOMENT, || true)) {
            failure = failed(Phase::Sent);
            tries += 1;
        }
        tries
    };

    for num_retries in 0..4 {
        let policy = RetryPolicy { num_retries, ..on(&[RetryOn::Reset]) };
        assert_eq!(tries(&policy, dead), 1 + num_retries);
        assert_eq!(tries(&policy, failed(Phase::Sent)), 1 + num_retries);
    }
    // Nothing was written, or the policy does not speak of it: the replacement stays free.
    let policy = RetryPolicy { num_retries: 1, ..on(&[RetryOn::Reset]) };
    assert_eq!(tries(&policy, Failure { phase: Phase::NotSent, ..dead }), 3);
    assert_eq!(tries(&on(&[RetryOn::ConnectFailure]), dead), 2);
}

proptest! {
    #[test]
    fn no_request_is_tried_for_ever(
        policy in any_policy(),
        method in prop::sample::select(vec!["GET", "POST"]),
        outcomes in prop::collection::vec((0_usize..6, any::<bool>(), any::<bool>()), 64),
        jitter in any::<u64>(),
    ) {
        let compiled = compile(&policy);
        let mut retrying = Retrying::new(Some(&compiled), &Request::get("/").method(method));

        let mut attempts = 1;
        for (kind, reused_connection, answer_seen) in outcomes {
            let moment = Moment { jitter, ..MOMENT };
            let next = match PHASES.get(kind) {
                Some(&phase) => {
                    let failure = Failure { phase, reused_connection, answer_seen, replayable: true };
                    retrying.after_failure(failure, moment, || true)
                }
                None => retrying.after_answer(503, &Head::of(&[("grpc-status", "14")]), true, moment, || true),
            };
            match next {
                Next::Again { pause, .. } => prop_assert!(pause < policy.back_off_max),
                Next::GiveUp(_) => break,
            }
            attempts += 1;
        }

        prop_assert!(attempts <= ENDPOINTS_MAX + FREE_RETRIES_MAX + policy.num_retries, "{}", attempts);
    }

    #[test]
    fn without_conditions_a_policy_changes_nothing(
        kind in 0_usize..5,
        reused_connection in any::<bool>(),
        answer_seen in any::<bool>(),
        replayable in any::<bool>(),
        method in prop::sample::select(vec!["GET", "POST"]),
    ) {
        let failure = Failure { phase: PHASES[kind], reused_connection, answer_seen, replayable };
        let silent = compile(&RetryPolicy { num_retries: 9, ..on(&[]) });
        let request = Request::get("/").method(method);

        let next = Retrying::new(Some(&silent), &request).after_failure(failure, MOMENT, || true);

        let expected = match super::super::may_retry(failure, method == "GET", Attempts::default()) {
            Verdict::FreshConnection => at_once(Target::FreshConnection),
            Verdict::OtherEndpoint => at_once(Target::OtherEndpoint),
            Verdict::GiveUp(reason) => Next::GiveUp(reason),
        };
        prop_assert_eq!(next, expected);
    }
}
