//! Nothing from a resource or a request may panic, whatever it says.
//!
//! # Why across modules
//! Each module is tested for what it means. Here texts of any kind are put into every field at once and every question
//! is asked, so that a slice that only one module takes for granted is found.

use proptest::prelude::*;
use tidegate_xds::resource::matcher::{HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, HeaderAddition, HeaderMutations, HostRewrite, PathMatcher, PathRewrite, Redirect,
    RedirectPath, Route, RouteAction,
};

use crate::redirect::location;
use crate::rewrite::{rewritten_authority, rewritten_path_and_query};
use crate::testing::{Head, Request, configuration, forward_to, prefix, route, virtual_host};
use crate::{CompiledAction, Context, RequestView, RouteTable, apply_request, apply_response, deadlines};

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
        forward.grpc_timeout_max = Some(std::time::Duration::ZERO);
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

fn any_request() -> impl Strategy<Value = Request> {
    ([mostly(NAME), mostly(PATH), mostly(NAME), mostly(VALUE)], prop::option::of(text()), prop::bool::weighted(0.2))
        .prop_map(|([authority, path, name, value], query, connect)| {
            let mut request = Request::get("").to(&authority).with(&name, &value).with("a", &value);
            request = request.with("content-type", "application/grpc").with("grpc-timeout", &value);
            (request.path, request.query) = (path, query);
            if connect { request.method("CONNECT") } else { request }
        })
}

/// Asks everything of a route.
fn exercise(table: &RouteTable, request: &Request) -> Result<(), TestCaseError> {
    let Some(route) = table.find(request, 7) else { return Ok(()) };
    let (mut head, answer) = (request.headers.clone(), Head::of(&[("a", "b")]));
    let mut chosen = None;
    match &route.action {
        CompiledAction::Forward(forward) => {
            chosen = forward.choose_cluster(request, 7);
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
