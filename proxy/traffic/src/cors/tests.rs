//! Preflights, answers, and origins that may not.

use tidegate_xds::resource::matcher::{Fraction, StringMatcher};

use super::*;
use crate::testing::{Head, Request};

fn exact(origin: &str) -> StringMatcher {
    StringMatcher::Exact { value: origin.into(), ignore_case: false }
}

fn policy() -> Cors {
    Cors {
        allow_origins: vec![
            exact("https://a.example"),
            StringMatcher::Suffix { value: ".b.example".into(), ignore_case: false },
        ],
        allow_methods: "GET, PUT".into(),
        allow_headers: "x-id".into(),
        expose_headers: "x-answer".into(),
        max_age: "600".into(),
        allow_credentials: false,
        enabled: Fraction { numerator: 100, denominator: 100 },
        forward_not_matching_preflights: true,
        allow_private_network_access: false,
    }
}

fn compile(cors: &Cors) -> CompiledCors {
    CompiledCors::compile(cors).unwrap()
}

fn preflight(origin: &str) -> Request {
    let request = Request::get("/").method("OPTIONS").with("origin", origin);
    request.with("access-control-request-method", "DELETE").with("access-control-request-headers", "x-one,x-two")
}

/// The fields of the answer to a preflight; `None` when it is not answered here.
fn answer(cors: &Cors, request: &Request) -> Option<Head> {
    let compiled = compile(cors);
    match compiled.decide(request, 0) {
        CorsVerdict::Preflight(answer) => {
            let mut head = Head::default();
            answer.write(&mut head);
            Some(head)
        }
        CorsVerdict::Pass | CorsVerdict::Allowed(_) => None,
    }
}

#[test]
fn a_preflight_is_answered_with_what_is_allowed() {
    let head = answer(&policy(), &preflight("https://x.b.example")).unwrap();

    let expected = Head::of(&[
        ("access-control-allow-origin", "https://x.b.example"),
        ("vary", "origin"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-id"),
        ("access-control-max-age", "600"),
        ("access-control-expose-headers", "x-answer"),
    ]);
    assert_eq!(head, expected);
}

#[test]
fn a_preflight_says_nothing_of_what_may_be_read_when_the_policy_does_not() {
    let silent = Cors { expose_headers: "".into(), ..policy() };

    let head = answer(&silent, &preflight("https://a.example")).unwrap();

    assert!(!head.contains("access-control-expose-headers"));
}

#[test]
fn options_without_the_question_is_no_preflight() {
    let request = Request::get("/").method("OPTIONS").with("origin", "https://a.example");
    let compiled = compile(&policy());

    assert!(matches!(compiled.decide(&request, 0), CorsVerdict::Allowed(_)));
    let other = Request { method: "POST".to_owned(), ..preflight("https://a.example") };
    assert!(matches!(compiled.decide(&other, 0), CorsVerdict::Allowed(_)));
}

#[test]
fn a_preflight_from_elsewhere_is_forwarded_or_answered_with_nothing() {
    let elsewhere = preflight("https://evil.example");
    let kept = Cors { forward_not_matching_preflights: false, ..policy() };

    assert_eq!(answer(&policy(), &elsewhere), None);
    assert_eq!(answer(&kept, &elsewhere), Some(Head::default()));
}

#[test]
fn stars_are_written_out_when_credentials_are_allowed() {
    let stars = Cors { allow_methods: "*".into(), allow_headers: "*".into(), max_age: "".into(), ..policy() };
    let fields = |credentials| {
        let cors = Cors { allow_credentials: credentials, ..stars.clone() };
        let head = answer(&cors, &preflight("https://a.example")).unwrap();
        let value = |name: &str| {
            let found = head.0.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        ["access-control-allow-methods", "access-control-allow-headers", "access-control-allow-credentials"].map(value)
    };

    assert_eq!(fields(false), [Some("*".to_owned()), Some("*".to_owned()), None]);
    let all = [Some("DELETE".to_owned()), Some("x-one,x-two".to_owned()), Some("true".to_owned())];
    assert_eq!(fields(true), all);
}

#[test]
fn a_private_network_is_allowed_only_where_it_is_asked_for_and_granted() {
    let asking = preflight("https://a.example").with("access-control-request-private-network", "true");
    let granting = Cors { allow_private_network_access: true, ..policy() };
    let says = |cors: &Cors, request: &Request| {
        answer(cors, request).unwrap().contains("access-control-allow-private-network")
    };

    assert!(says(&granting, &asking));
    assert!(!says(&policy(), &asking));
    assert!(!says(&granting, &preflight("https://a.example")));
}

#[test]
fn an_answer_allows_the_origin_and_nothing_that_the_upstream_said() {
    let compiled = compile(&policy());
    let request = Request::get("/").with("origin", "https://a.example");
    let mut head = Head::of(&[
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "secret"),
        ("vary", "accept-encoding"),
    ]);

    let CorsVerdict::Allowed(allowed) = compiled.decide(&request, 0) else { panic!("the origin is allowed") };
    allowed.write(&mut head);

    let expected = Head::of(&[
        ("vary", "accept-encoding"),
        ("access-control-allow-origin", "https://a.example"),
        ("vary", "origin"),
        ("access-control-expose-headers", "x-answer"),
    ]);
    assert_eq!(head, expected);
}

#[test]
fn a_request_without_an_allowed_origin_passes_untouched() {
    let compiled = compile(&policy());
    let off = compile(&Cors { enabled: Fraction { numerator: 0, denominator: 100 }, ..policy() });
    let passes = |policy: &CompiledCors, request: &Request| matches!(policy.decide(request, 0), CorsVerdict::Pass);

    assert!(passes(&compiled, &Request::get("/")));
    assert!(passes(&compiled, &Request::get("/").with("origin", "")));
    assert!(passes(&compiled, &Request::get("/").with("origin", "https://evil.example")));
    assert!(passes(&compiled, &Request::get("/").with("origin", "null")));
    assert!(passes(&off, &preflight("https://a.example")));
}

#[test]
fn a_value_that_would_end_its_line_is_refused() {
    let error = CompiledCors::compile(&Cors { allow_methods: "GET\r\nx: y".into(), ..policy() }).unwrap_err();

    assert_eq!(error.path, "allow_methods");
}
