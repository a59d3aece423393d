//! Which limit holds for which request.

use tidegate_xds::resource::route::{ClusterSpecifier, Forward, RetryPolicy};

use super::*;
use crate::testing::{Request, compile_forward, forward_to, prefix};

const SECOND: Duration = Duration::from_secs(1);

fn limits(change: impl FnOnce(&mut Forward), request: &Request) -> Deadlines {
    let mut forward = forward_to(ClusterSpecifier::Cluster("c".into()));
    change(&mut forward);
    deadlines(&compile_forward(&forward, &prefix("/")).unwrap(), request)
}

fn grpc(timeout: &str) -> Request {
    Request::get("/").with("content-type", "application/grpc").with("grpc-timeout", timeout)
}

#[test]
fn the_routes_timeout_is_the_total_and_zero_is_none() {
    assert_eq!(limits(|f| f.timeout = Some(15 * SECOND), &Request::get("/")).total, Some(15 * SECOND));
    assert_eq!(limits(|f| f.timeout = Some(Duration::ZERO), &Request::get("/")).total, None);
    assert_eq!(limits(|f| f.timeout = None, &Request::get("/")).total, None);
}

#[test]
fn a_stream_duration_replaces_the_timeout_even_when_it_is_none() {
    let with = |duration| {
        limits(
            |f| {
                f.timeout = Some(15 * SECOND);
                f.max_stream_duration = Some(duration);
            },
            &Request::get("/"),
        )
    };

    assert_eq!((with(60 * SECOND).total, with(60 * SECOND).stream), (None, Some(60 * SECOND)));
    assert_eq!((with(Duration::ZERO).total, with(Duration::ZERO).stream), (None, None));
}

#[test]
fn a_grpc_callers_timeout_replaces_the_routes_up_to_its_bound() {
    let with = |max, request: &Request| {
        let found = limits(
            |f| {
                f.timeout = Some(15 * SECOND);
                f.grpc_timeout_max = max;
            },
            request,
        );
        (found.total, found.stream)
    };
    let silent = Request::get("/").with("content-type", "application/grpc");

    assert_eq!(with(Some(10 * SECOND), &grpc("5S")), (Some(5 * SECOND), None));
    assert_eq!(with(Some(10 * SECOND), &grpc("20S")), (Some(10 * SECOND), None));
    assert_eq!(with(Some(10 * SECOND), &silent), (Some(10 * SECOND), None));
    assert_eq!(with(Some(Duration::ZERO), &grpc("20S")), (Some(20 * SECOND), None));
    assert_eq!(with(Some(Duration::ZERO), &silent), (None, None));
    assert_eq!(with(None, &grpc("5S")), (Some(15 * SECOND), None));
}

#[test]
fn a_grpc_callers_timeout_replaces_the_stream_duration_up_to_its_bound() {
    let with = |max, request: &Request| {
        let found = limits(
            |f| {
                f.timeout = Some(15 * SECOND);
                f.max_stream_duration = Some(60 * SECOND);
                f.grpc_timeout_max = max;
            },
            request,
        );
        (found.total, found.stream)
    };
    let silent = Request::get("/").with("content-type", "application/grpc");

    assert_eq!(with(Some(90 * SECOND), &grpc("5S")), (None, Some(5 * SECOND)));
    assert_eq!(with(Some(90 * SECOND), &grpc("100S")), (None, Some(90 * SECOND)));
    assert_eq!(with(Some(Duration::ZERO), &grpc("100S")), (None, Some(100 * SECOND)));
    assert_eq!(with(Some(90 * SECOND), &silent), (None, Some(60 * SECOND)));
    assert_eq!(with(None, &grpc("5S")), (None, Some(60 * SECOND)));
}

#[test]
fn a_grpc_timeout_is_heeded_only_if_well_formed_and_from_a_grpc_caller() {
    let with = |request: &Request| {
        let found = limits(
            |f| {
                f.timeout = Some(15 * SECOND);
                f.grpc_timeout_max = Some(10 * SECOND);
            },
            request,
        );
        found.total
    };

    assert_eq!(with(&grpc("1S")), Some(SECOND));
    assert_eq!(with(&grpc("000000001S")), Some(10 * SECOND));
    assert_eq!(with(&grpc("0S")), Some(10 * SECOND));
    assert_eq!(with(&Request::get("/").with("grpc-timeout", "1S")), Some(15 * SECOND));
}

#[test]
fn every_unit_of_a_grpc_timeout_is_known_and_nothing_else() {
    for (text, expected) in [
        ("2H", Some(7_200 * SECOND)),
        ("2M", Some(120 * SECOND)),
        ("2S", Some(2 * SECOND)),
        ("2m", Some(Duration::from_millis(2))),
        ("2u", Some(Duration::from_micros(2))),
        ("2n", Some(Duration::from_nanos(2))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
        ("0S", None),
        ("S", None),
        ("", None),
        ("5", None),
        ("-1S", None),
        ("1.5S", None),
        ("1 S", None),
        ("1s", None),
    ] {
        assert_eq!(parse_grpc_timeout(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn a_caller_may_shorten_the_timeout_and_never_lengthen_it() {
    let with =
        |timeout, wish: &str| limits(|f| f.timeout = timeout, &Request::get("/").with(TIMEOUT_HEADER, wish)).total;

    assert_eq!(with(Some(15 * SECOND), "500"), Some(Duration::from_millis(500)));
    assert_eq!(with(Some(15 * SECOND), "60000"), Some(15 * SECOND));
    assert_eq!(with(None, "500"), Some(Duration::from_millis(500)));
    for wish in ["0", "-1", "soon", "", "1e3"] {
        assert_eq!(with(Some(15 * SECOND), wish), Some(15 * SECOND), "{wish:?}");
    }
}

#[test]
fn an_idle_timeout_is_inherited_off_or_set() {
    let idle = |timeout| limits(|f| f.idle_timeout = timeout, &Request::get("/")).idle;

    assert_eq!(idle(None), IdleLimit::Inherit);
    assert_eq!(idle(Some(Duration::ZERO)), IdleLimit::Off);
    assert_eq!(idle(Some(SECOND)), IdleLimit::After(SECOND));
}

#[test]
fn the_form_of_a_late_answer_follows_the_caller() {
    assert!(limits(|_| (), &grpc("1S")).grpc);
    assert!(!limits(|_| (), &Request::get("/")).grpc);
}

fn per_try(total: Option<u64>, one: Option<u64>, request: &Request) -> Option<Duration> {
    let change = |f: &mut Forward| {
        f.timeout = total.map(Duration::from_secs);
        f.retry = Some(RetryPolicy { per_try_timeout: one.map(Duration::from_secs), ..RetryPolicy::default() });
    };
    limits(change, request).per_try
}

#[test]
fn an_attempts_limit_holds_only_below_the_total() {
    let plain = Request::get("/");

    assert_eq!(per_try(Some(15), Some(2), &plain), Some(2 * SECOND));
    assert_eq!(per_try(None, Some(2), &plain), Some(2 * SECOND));
    assert_eq!(per_try(Some(2), Some(2), &plain), None);
    assert_eq!(per_try(Some(1), Some(2), &plain), None);
    assert_eq!(per_try(Some(15), Some(0), &plain), None);
    let hurried = Request::get("/").with(TIMEOUT_HEADER, "1500");
    assert_eq!(per_try(Some(15), Some(2), &hurried), None);
}

#[test]
fn a_caller_may_shorten_an_attempts_limit() {
    let wish = |text: &str| Request::get("/").with(PER_TRY_TIMEOUT_HEADER, text);

    assert_eq!(per_try(Some(15), Some(2), &wish("500")), Some(SECOND / 2));
    assert_eq!(per_try(Some(15), Some(2), &wish("5000")), Some(2 * SECOND));
    assert_eq!(per_try(Some(15), None, &wish("500")), Some(SECOND / 2));
    assert_eq!(per_try(Some(15), Some(2), &wish("0")), Some(2 * SECOND));
}

#[test]
fn an_attempts_idle_limit_is_the_policys() {
    let policy = RetryPolicy { per_try_idle_timeout: Some(3 * SECOND), ..RetryPolicy::default() };

    assert_eq!(limits(|f| f.retry = Some(policy), &Request::get("/")).per_try_idle, Some(3 * SECOND));
    assert_eq!(limits(|_| {}, &Request::get("/")).per_try_idle, None);
}
