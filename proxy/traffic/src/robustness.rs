//! Nothing from a resource or a request may panic, whatever it says.
//!
//! # Why across modules
//! Each module is tested for what it means. Here texts of any kind are put into every field at once and every question
//! is asked, so that a slice that only one module takes for granted is found.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_xds::resource::filter::{
    FAULT, Fault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay, FilterConfig, FilterOverride, HttpFilter,
    RateLimitAction, RateLimitActions,
};
use tidegate_xds::resource::matcher::{Fraction, HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, Forward, HeaderAddition, HeaderMutations, HostRewrite, Mirror, PathMatcher,
    PathRewrite, RateLimitedBackOff, Redirect, RedirectPath, ResetHeader, RetryOn, RetryPolicy, Route, RouteAction,
};

use crate::fault::Dice;
use crate::rate_limit::{Facts, Limiters, describe_all};
use crate::redirect::location;
use crate::retry::{Failure, Moment, Phase, Retrying};
use crate::rewrite::{rewritten_authority, rewritten_path_and_query};
use crate::testing::{Head, Request, configuration, forward_to, prefix, route, virtual_host};
use crate::{
    Chain, CompiledAction, CompiledFilterConfig, CompiledForward, CompiledRoute, Context, RequestView, RouteTable,
    Scope, apply_request, apply_response, deadlines,
};

/// Texts with a taste for what parsers trip over.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[/a-c.*:%()\\[\\]?=&+,\\\\ -]{0,8}",
        1 => "\\PC{0,6}",
        1 => prop::sample::select(vec!["", "/", "*", ":", "]:", "[::1]:80", "%REQ(a)%", "é", "/é", "\\1", "(a)", "host"])
            .prop_map(str::to_owned),
    ]
}

/// Mostly a text of its kind, so that most resources compile and most requests find a route.
fn mostly(kind: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![4 => kind, 1 => text()]
}

const PATH: &str = "/[ab]?";
const NAME: &str = "[ab]";
const VALUE: &str = "(x|%REQ\\([ab]\\)%|%PROTOCOL%){0,2}";
const PATTERN: &str = "(/|a|b|\\.\\*|\\(a\\)){0,3}";

fn path_matcher() -> impl Strategy<Value = PathMatcher> {
    (mostly(PATH), any::<bool>(), 0_u8..5).prop_map(|(text, case_sensitive, kind)| {
        let text = text.as_str().into();
        match kind {
            0 => PathMatcher::Exact { path: text, case_sensitive },
            1 => PathMatcher::Prefix { prefix: text, case_sensitive },
            2 => PathMatcher::SeparatedPrefix { prefix: text, case_sensitive },
            3 => PathMatcher::Regex(text),
            _ => PathMatcher::Connect,
        }
    })
}

fn any_route() -> impl Strategy<Value = Route> {
    let texts = (mostly(PATH), mostly(PATTERN), mostly(NAME), mostly(VALUE), mostly(NAME));
    (path_matcher(), texts, 0_u8..8).prop_map(|(path, (a, b, c, d, e), kind)| {
        let mut route = route("r", path);
        if kind % 2 == 0 {
            let condition = HeaderCondition::Value(StringMatcher::Regex(b.as_str().into()));
            let name = e.as_str().into();
            route.matches.headers = vec![HeaderMatcher { name, condition, invert: true, missing_as_empty: true }];
            let addition = HeaderAddition {
                name: c.as_str().into(),
                value: d.as_str().into(),
                append: AppendAction::AddIfAbsent,
                keep_empty: true,
            };
            route.request_headers = HeaderMutations { remove: vec![e.as_str().into()], add: vec![addition] };
            route.response_headers = route.request_headers.clone();
        }
        let mut forward = forward_to(ClusterSpecifier::ClusterHeader("a".into()));
        forward.grpc_timeout_max = Some(Duration::ZERO);
        govern(&mut forward, &mut route, [&a, &c, &d, &e]);
        route.action = match kind {
            0..4 => {
                forward.path_rewrite = PathRewrite::Prefix(a.as_str().into());
                forward.host_rewrite = HostRewrite::Header(c.as_str().into());
                RouteAction::Forward(Box::new(forward))
            }
            4..6 => {
                forward.path_rewrite =
                    PathRewrite::Regex { pattern: b.as_str().into(), substitution: a.as_str().into() };
                RouteAction::Forward(Box::new(forward))
            }
            _ => RouteAction::Redirect(Box::new(Redirect {
                scheme: (kind == 6).then(|| "https".into()),
                host: None,
                port: None,
                path: RedirectPath::Prefix(a.as_str().into()),
                status: 301,
                strip_query: false,
            })),
        };
        route
    })
}

/// Puts texts into retries, mirrors, descriptions and a fault.
fn govern(forward: &mut Forward, route: &mut Route, [path, name, value, other]: [&str; 4]) {
    let condition = HeaderCondition::Value(StringMatcher::Contains { value: value.into(), ignore_case: true });
    let header = HeaderMatcher { name: other.into(), condition, invert: false, missing_as_empty: false };
    let reset = |unix_timestamp| ResetHeader { name: name.to_ascii_lowercase().into(), unix_timestamp };
    forward.retry = Some(RetryPolicy {
        retry_on: vec![RetryOn::FiveXx, RetryOn::RetriableHeaders],
        retriable_headers: vec![header.clone()],
        rate_limited_back_off: Some(RateLimitedBackOff {
            headers: vec![reset(true), reset(false)],
            max: Duration::from_secs(u64::MAX),
        }),
        ..RetryPolicy::default()
    });
    forward.mirrors = vec![Mirror { shadow_host_suffix: true, ..Mirror::to(value.into()) }];
    let actions = vec![
        RateLimitAction::RequestHeader { header: name.into(), key: value.into(), skip_if_absent: true },
        RateLimitAction::QueryParameter { parameter: path.into(), key: value.into(), skip_if_absent: true },
        RateLimitAction::MaskedRemoteAddress { v4_prefix: 0, v6_prefix: 128 },
    ];
    forward.rate_limits = vec![RateLimitActions { stage: 0, actions, hits: 1, lease: None }];
    let percentage = Fraction { numerator: 100, denominator: 100 };
    let fault = Fault {
        delay: Some(FaultDelay { fixed: None, percentage }),
        abort: Some(FaultAbort { with: FaultAnswer::Header, percentage }),
        bandwidth: Some(FaultBandwidth { kib_per_second: None, percentage }),
        downstream_nodes: vec![value.into()],
        ..Fault::default()
    };
    let config = Some(FilterConfig::Fault(fault.into()));
    route.filters = [(FAULT.into(), FilterOverride { disabled: false, config })].into();
}

fn any_request() -> impl Strategy<Value = Request> {
    ([mostly(NAME), mostly(PATH), mostly(NAME), mostly(VALUE)], prop::option::of(text()), prop::bool::weighted(0.2))
        .prop_map(|([authority, path, name, value], query, connect)| {
            let mut request = Request::get("").to(&authority).with(&name, &value).with("a", &value);
            request = request.with("content-type", "application/grpc").with("grpc-timeout", &value);
            (request.path, request.query) = (path, query);
            if connect { request.method("CONNECT") } else { request }
        })
}

/// Asks what is done besides routing.
fn exercise_governance(
    route: &CompiledRoute,
    forward: &CompiledForward,
    request: &Request,
) -> Result<(), TestCaseError> {
    let facts = Facts { remote: Some([127, 0, 0, 1].into()), ..Facts::default() };
    for description in describe_all(route, request, &facts) {
        prop_assert!(!description.entries.is_empty());
    }
    let fault = HttpFilter { name: FAULT.into(), disabled: true, config: FilterConfig::Fault(Fault::default().into()) };
    let chain = Chain::compile(&[fault], &Scope::new(&Limiters::default(), "")).unwrap();
    let overrides = route.filters(None);
    for filter in chain.iter() {
        let Some(CompiledFilterConfig::Fault(fault)) = overrides.effective(filter) else { continue };
        fault.decide(request, "a", Dice { delay: 0, abort: 0, bandwidth: 0 }, 0, 0);
    }
    for mirror in &forward.mirrors {
        let mut head = request.headers.clone();
        mirror.apply(route, request, &Context::default(), &mut head);
        prop_assert!(mirror.authority(&request.authority).is_some_and(|host| host.contains("-shadow")));
    }
    let mut retrying = Retrying::new(forward.retry.as_ref(), request);
    let moment = Moment { jitter: u64::MAX, now_unix_s: 7 };
    let failure = Failure { phase: Phase::Sent, reused_connection: false, answer_seen: true, replayable: true };
    retrying.after_answer(503, &request.headers, true, moment, || true);
    retrying.after_failure(failure, moment, || true);
    Ok(())
}

/// Asks everything of a route.
fn exercise(table: &RouteTable, request: &Request) -> Result<(), TestCaseError> {
    let Some(route) = table.find(request, 7) else { return Ok(()) };
    let (mut head, answer) = (request.headers.clone(), Head::of(&[("a", "b")]));
    let mut chosen = None;
    match &route.action {
        CompiledAction::Forward(forward) => {
            chosen = forward.choose_cluster(request, 7);
            exercise_governance(route, forward, request)?;
            let limits = deadlines(forward, request);
            prop_assert!(limits.grpc);
            if let Some(target) = rewritten_path_and_query(forward, request) {
                prop_assert!(target.starts_with('/'), "{:?}", target);
                let asked = request.query.is_some();
                prop_assert!(target.contains('?') || !asked, "{:?}", target);
                // A path with a question mark is no canonical path; it is kept all the same.
                prop_assert!(!target.contains('?') || asked || request.path.contains('?'), "{:?}", target);
            }
            if let Some(chosen) = &chosen
                && let Some(host) = rewritten_authority(forward, chosen, request, None)
            {
                prop_assert!(host.bytes().all(|b| b.is_ascii_graphic()), "{:?}", host);
            }
        }
        CompiledAction::Redirect(redirect) => {
            let location = location(redirect, request);
            prop_assert!(location.contains("://"), "{:?}", location);
        }
        CompiledAction::DirectResponse { .. } => {}
    }
    apply_request(route, chosen.as_ref(), request, &Context::default(), &mut head);
    apply_response(route, chosen.as_ref(), request, &answer, &Context::default(), &mut head);
    let written = head.0.iter().skip(request.headers.0.len()).flat_map(|(_, value)| value);
    prop_assert!(written.clone().all(|byte| !b"\r\n\0".contains(byte)));
    prop_assert!(RequestView::header(request, "none").next().is_none());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_resource_compiles_or_is_refused_and_answers_any_request(
        domain in text(),
        list in prop::collection::vec(any_route(), 1..5),
        requests in prop::collection::vec(any_request(), 1..5),
    ) {
        for own in list {
            // Alone, because most texts are refused and one refusal refuses the configuration.
            let refused_or_not = [
                RouteTable::compile(&configuration(vec![virtual_host("any", &["*"], vec![own.clone()])])),
                RouteTable::compile(&configuration(vec![virtual_host("own", &[&domain], vec![own, route("r", prefix(""))])])),
            ];
            for table in refused_or_not.into_iter().flatten() {
                for request in &requests {
                    exercise(&table, request)?;
                }
            }
        }
    }
}
