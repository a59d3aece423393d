//! Every way an attempt can fail, and what follows.

use super::*;

fn failure(phase: Phase) -> Failure {
    Failure { phase, reused_connection: false, answer_seen: false, replayable: true }
}

fn after(other_endpoints: u32, free_retries: u32) -> Attempts {
    Attempts { other_endpoints, free_retries }
}

#[test]
fn a_connection_that_could_not_be_opened_leads_to_another_endpoint_within_a_bound() {
    for idempotent in [false, true] {
        let verdict = |before| may_retry(failure(Phase::Connecting), idempotent, after(before, 0));

        assert_eq!(verdict(0), Verdict::OtherEndpoint);
        assert_eq!(verdict(ENDPOINTS_MAX - 2), Verdict::OtherEndpoint);
        assert_eq!(verdict(ENDPOINTS_MAX - 1), Verdict::GiveUp(Reason::AttemptsSpent));
    }
}

#[test]
fn a_reused_connection_found_dead_is_replaced_once() {
    let dead = Failure { reused_connection: true, ..failure(Phase::Sent) };

    assert_eq!(may_retry(dead, true, after(0, 0)), Verdict::FreshConnection);
    assert_eq!(may_retry(dead, true, after(2, 0)), Verdict::FreshConnection);
    assert_eq!(may_retry(dead, true, after(0, FREE_RETRIES_MAX)), Verdict::GiveUp(Reason::AttemptsSpent));
}

#[test]
fn a_request_that_must_not_run_twice_is_not_sent_twice() {
    let dead = Failure { reused_connection: true, ..failure(Phase::Sent) };

    assert_eq!(may_retry(dead, false, after(0, 0)), Verdict::GiveUp(Reason::MayHaveRun));
}

#[test]
fn what_was_not_sent_may_always_be_sent_again() {
    for idempotent in [false, true] {
        let verdict = |reused_connection, before| {
            may_retry(Failure { reused_connection, ..failure(Phase::NotSent) }, idempotent, before)
        };

        assert_eq!(verdict(true, after(0, 0)), Verdict::FreshConnection);
        assert_eq!(verdict(false, after(0, 0)), Verdict::OtherEndpoint);
        assert_eq!(verdict(false, after(ENDPOINTS_MAX - 1, 0)), Verdict::GiveUp(Reason::AttemptsSpent));
    }
}

#[test]
fn a_fresh_connection_that_broke_is_left_to_a_policy() {
    let verdict = |idempotent| may_retry(failure(Phase::Sent), idempotent, after(0, 0));

    assert_eq!(verdict(true), Verdict::GiveUp(Reason::NeedsPolicy));
    assert_eq!(verdict(false), Verdict::GiveUp(Reason::MayHaveRun));
}

#[test]
fn no_request_is_tried_for_ever() {
    for phase in [Phase::Connecting, Phase::NotSent, Phase::Refused, Phase::Sent, Phase::TimedOut] {
        for reused_connection in [false, true] {
            let mut attempts = Attempts::default();
            let failed = Failure { reused_connection, ..failure(phase) };

            let mut further = 0;
            loop {
                if matches!(attempts.after(failed, true), Verdict::GiveUp(_)) {
                    break;
                }
                further += 1;
                assert!(further < ENDPOINTS_MAX + FREE_RETRIES_MAX, "{phase:?}");
            }
        }
    }
}

#[test]
fn nothing_is_retried_once_an_answer_began_or_the_body_is_gone() {
    for phase in [Phase::Connecting, Phase::NotSent, Phase::Refused, Phase::Sent, Phase::TimedOut] {
        let begun = Failure { answer_seen: true, reused_connection: true, ..failure(phase) };
        assert_eq!(may_retry(begun, true, after(0, 0)), Verdict::GiveUp(Reason::AnswerBegun));
        let gone = Failure { replayable: false, reused_connection: true, ..failure(phase) };
        assert_eq!(may_retry(gone, true, after(0, 0)), Verdict::GiveUp(Reason::BodyConsumed));
    }
}

#[test]
fn methods_that_may_run_twice_are_those_of_the_standard() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(is_idempotent(method), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PROPFIND", ""] {
        assert!(!is_idempotent(method), "{method}");
    }
}
