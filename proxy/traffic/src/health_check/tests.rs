//! Runs of results, intervals, and what answers mean.

use std::num::NonZeroU32;

use proptest::prelude::*;
use tidegate_xds::resource::cluster::HealthCheckKind;
use tidegate_xds::resource::route::HeaderMutations;

use super::*;
use CheckResult::{Degraded, Failed, Passed, Refused};

fn check(unhealthy: u32, healthy: u32) -> HealthCheck {
    HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(5),
        interval_jitter: Duration::from_secs(1),
        no_traffic_interval: Duration::from_secs(60),
        unhealthy_interval: Duration::from_secs(2),
        unhealthy_threshold: NonZeroU32::new(unhealthy).unwrap(),
        healthy_threshold: NonZeroU32::new(healthy).unwrap(),
        alt_port: None,
        kind: HealthCheckKind::Tcp { send: Arc::from([]), receive: Vec::new() },
    }
}

/// The health after each result.
fn healths(check: &HealthCheck, results: &[CheckResult]) -> Vec<bool> {
    let mut checked = Checked::default();
    results
        .iter()
        .map(|result| {
            let before = checked.is_healthy();
            let changed = checked.observe(check, *result);
            assert!(changed || before == checked.is_healthy());
            checked.is_healthy()
        })
        .collect()
}

fn http(expected: &[(u16, u16)], retriable: &[(u16, u16)]) -> HttpHealthCheck {
    HttpHealthCheck {
        host: "".into(),
        path: "/".into(),
        method: "GET".into(),
        expected_statuses: expected.to_vec(),
        retriable_statuses: retriable.to_vec(),
        request_headers: HeaderMutations::default(),
        http2: false,
    }
}

#[test]
fn the_first_success_is_enough_and_later_ones_need_a_run() {
    let check = check(2, 3);

    assert!(!Checked::default().is_healthy() && !Checked::default().is_known());
    assert_eq!(healths(&check, &[Passed]), [true]);
    assert_eq!(healths(&check, &[Failed, Passed, Passed, Passed]), [false, false, false, true]);
    assert_eq!(healths(&check, &[Failed, Passed, Passed, Failed, Passed]), [false; 5]);
}

#[test]
fn failures_need_a_run_and_a_success_ends_it() {
    assert_eq!(healths(&check(2, 1), &[Passed, Failed, Failed]), [true, true, false]);
    assert_eq!(healths(&check(2, 1), &[Passed, Failed, Passed, Failed, Passed]), [true; 5]);
}

#[test]
fn an_endpoint_that_says_no_is_believed_at_once() {
    assert_eq!(healths(&check(5, 1), &[Passed, Refused, Passed]), [true, false, true]);
}

#[test]
fn a_degraded_endpoint_is_healthy_and_asks_for_less() {
    let mut checked = Checked::default();

    assert!(checked.observe(&check(2, 1), Degraded));
    assert!(checked.is_healthy() && checked.is_degraded());
    assert!(!checked.observe(&check(2, 1), Degraded));
    assert!(checked.observe(&check(2, 1), Passed));
    assert!(!checked.is_degraded());
}

#[test]
fn intervals_depend_on_health_and_traffic() {
    let (check, mut checked) = (check(1, 1), Checked::default());
    let seconds = |checked: &Checked, traffic| checked.next_in(&check, traffic, 0).as_secs();

    assert_eq!((seconds(&checked, true), seconds(&checked, false)), (2, 60));
    checked.observe(&check, Passed);
    assert_eq!((seconds(&checked, true), seconds(&checked, false)), (5, 60));
    assert_eq!(checked.next_in(&check, true, 1_000), Duration::from_secs(6));
    assert_eq!(checked.next_in(&check, true, 1_001), Duration::from_secs(5));
    assert_eq!(first_in(&check, 250), Duration::from_millis(250));
}

#[test]
fn statuses_are_expected_retriable_or_a_no() {
    let default = http(&[], &[]);
    let results = |check: &HttpHealthCheck, statuses: &[u16]| {
        statuses.iter().map(|status| http_result(check, *status, false, false)).collect::<Vec<_>>()
    };
    assert_eq!(results(&default, &[200, 201, 503]), [Passed, Refused, Refused]);
    let ranges = http(&[(200, 300)], &[(429, 430), (500, 600)]);
    assert_eq!(results(&ranges, &[204, 299, 300, 429, 430, 503]), [Passed, Passed, Refused, Failed, Refused, Failed]);
}

#[test]
fn an_answers_fields_say_degraded_or_no() {
    assert_eq!(http_result(&http(&[], &[]), 200, true, false), Degraded);
    assert_eq!(http_result(&http(&[], &[]), 200, true, true), Refused);
    assert_eq!(http_result(&http(&[], &[]), 503, true, false), Refused);
}

#[test]
fn only_serving_passes_a_grpc_check() {
    assert_eq!(grpc_result(0, Some(1)), Passed);
    for (status, serving) in [(0, Some(2)), (0, Some(0)), (0, None), (14, None), (12, Some(1))] {
        assert_eq!(grpc_result(status, serving), Refused);
    }
}

#[test]
fn texts_are_found_in_order_whatever_stands_between() {
    let texts: Vec<Arc<[u8]>> = vec![Arc::from(*b"+PO"), Arc::from(*b"NG")];

    assert!(tcp_matches(&texts, b"+PONG\r\n"));
    assert!(tcp_matches(&texts, b"xx+PO yy NG"));
    assert!(!tcp_matches(&texts, b"NG+PO"));
    assert!(!tcp_matches(&texts, b"+PON"));
    assert!(tcp_matches(&[], b""));
    assert!(tcp_matches(&[Arc::from([])], b""));
}

proptest! {
    #[test]
    fn health_changes_only_after_a_run_or_a_no(
        unhealthy in 1_u32..5,
        healthy in 1_u32..5,
        results in prop::collection::vec(prop::sample::select(vec![Passed, Degraded, Failed, Refused]), 1..60),
    ) {
        let check = check(unhealthy, healthy);
        let mut checked = Checked::default();
        for (i, result) in results.iter().enumerate() {
            let before = checked.is_healthy();
            checked.observe(&check, *result);
            if checked.is_healthy() == before {
                continue;
            }
            let run = |good: bool, n: u32| {
                let last = results[..=i].iter().rev().take(n as usize);
                last.clone().count() == n as usize && last.clone().all(|r| matches!(r, Passed | Degraded) == good)
            };
            let due = if before { *result == Refused || run(false, unhealthy) } else { i == 0 || run(true, healthy) };
            prop_assert!(due, "{:?}", &results[..=i]);
        }
    }
}
