//! Paths and hosts as the upstream sees them.

use proptest::prelude::*;
use tidegate_xds::resource::route::{ClusterSpecifier, Forward, HostRewrite, WeightedCluster, WeightedClusters};

use super::*;
use crate::testing::{Request, compile_forward, exact, forward_to, prefix, separated};

fn forward(change: impl FnOnce(&mut Forward)) -> Forward {
    let mut forward = forward_to(ClusterSpecifier::Cluster("c".into()));
    change(&mut forward);
    forward
}

fn rewritten(path: &PathMatcher, rewrite: PathRewrite, target: &str) -> Option<String> {
    let forward = compile_forward(&forward(|f| f.path_rewrite = rewrite), path).unwrap();
    rewritten_path_and_query(&forward, &Request::get(target))
}

fn to(replacement: &str) -> PathRewrite {
    PathRewrite::Prefix(replacement.into())
}

#[test]
fn a_path_that_is_not_rewritten_stays_as_it_came() {
    assert_eq!(rewritten(&prefix("/"), PathRewrite::Keep, "/a?b"), None);
}

#[test]
fn only_the_matched_prefix_is_swapped() {
    for (matched, replacement, target, expected) in [
        ("/a", "/b", "/a", "/b"),
        ("/a", "/b", "/ax/a", "/bx/a"),
        ("/a/", "/b/", "/a/x", "/b/x"),
        ("/a/", "/", "/a/x", "/x"),
        ("/a/", "/", "/a/", "/"),
        ("/a/", "/b", "/a/x", "/bx"),
        ("/a", "/", "/a", "/"),
        ("/a", "/", "/a/x", "//x"),
        ("/", "/b/", "/x", "/b/x"),
    ] {
        let result = rewritten(&prefix(matched), to(replacement), target);
        assert_eq!(result.as_deref(), Some(expected), "{matched} to {replacement}: {target}");
    }
}

#[test]
fn a_result_always_begins_with_a_slash() {
    assert_eq!(rewritten(&prefix("/a"), to(""), "/a").as_deref(), Some("/"));
    assert_eq!(rewritten(&prefix("/a/"), to(""), "/a/x").as_deref(), Some("/x"));
    let regex = PathRewrite::Regex { pattern: "^/a/(.*)".into(), substitution: r"\1".into() };
    assert_eq!(rewritten(&prefix("/"), regex, "/a/x").as_deref(), Some("/x"));
}

#[test]
fn the_query_stays() {
    assert_eq!(rewritten(&prefix("/a"), to("/b"), "/a/x?a=/a&b").as_deref(), Some("/b/x?a=/a&b"));
    assert_eq!(rewritten(&prefix("/a"), to("/b"), "/a?").as_deref(), Some("/b?"));
}

#[test]
fn an_exact_path_and_a_pattern_are_swapped_whole() {
    assert_eq!(rewritten(&exact("/a/b"), to("/c"), "/a/b?q").as_deref(), Some("/c?q"));
    assert_eq!(rewritten(&PathMatcher::Regex("/.*".into()), to("/c"), "/a/b").as_deref(), Some("/c"));
}

#[test]
fn a_separated_prefix_is_swapped_like_a_prefix() {
    assert_eq!(rewritten(&separated("/v1"), to("/v2"), "/v1/x").as_deref(), Some("/v2/x"));
    assert_eq!(rewritten(&separated("/v1"), to("/v2"), "/v1").as_deref(), Some("/v2"));
}

#[test]
fn the_callers_case_of_the_matched_prefix_does_not_matter() {
    let path = PathMatcher::Prefix { prefix: "/Api".into(), case_sensitive: false };

    assert_eq!(rewritten(&path, to("/v1"), "/aPI/X").as_deref(), Some("/v1/X"));
}

#[test]
fn a_pattern_rewrites_the_path_without_the_query() {
    let regex = PathRewrite::Regex { pattern: "/a".into(), substitution: "/b".into() };

    assert_eq!(rewritten(&prefix("/"), regex.clone(), "/a/a?x=/a").as_deref(), Some("/b/b?x=/a"));
    assert_eq!(rewritten(&prefix("/"), regex, "/c"), None);
}

#[test]
fn replacements_that_would_change_more_than_the_path_are_refused() {
    for text in ["/a?b", "/a#b", "/a b", "/a\r\n"] {
        let bad = forward(|f| f.path_rewrite = to(text));
        assert_eq!(compile_forward(&bad, &prefix("/")).unwrap_err().path, "prefix_rewrite", "{text:?}");
        let bad = forward(|f| {
            f.path_rewrite = PathRewrite::Regex { pattern: "a".into(), substitution: text.into() };
        });
        let error = compile_forward(&bad, &prefix("/")).unwrap_err();
        assert_eq!(error.path, "regex_rewrite.substitution", "{text:?}");
    }
}

#[test]
fn a_connect_request_has_no_path_to_rewrite() {
    let bad = forward(|f| f.path_rewrite = to("/a"));

    assert_eq!(compile_forward(&bad, &PathMatcher::Connect).unwrap_err().path, "prefix_rewrite");
}

fn authority(forward: &Forward, request: &Request, hostname: Option<&str>) -> Option<String> {
    let forward = compile_forward(forward, &prefix("/")).unwrap();
    let chosen = forward.choose_cluster(request, 0).unwrap();
    rewritten_authority(&forward, &chosen, request, hostname).map(Cow::into_owned)
}

#[test]
fn a_host_is_rewritten_to_a_text_a_header_or_the_endpoints_name() {
    let request = Request::get("/").with("x-host", "from-header").with("x-host", "second");
    let by = |rewrite| forward(|f| f.host_rewrite = rewrite);

    assert_eq!(authority(&by(HostRewrite::Keep), &request, Some("ep")), None);
    let literal = authority(&by(HostRewrite::Literal("literal:81".into())), &request, None);
    assert_eq!(literal.as_deref(), Some("literal:81"));
    assert_eq!(authority(&by(HostRewrite::Endpoint), &request, Some("ep")).as_deref(), Some("ep"));
    assert_eq!(authority(&by(HostRewrite::Endpoint), &request, None), None);
    let header = authority(&by(HostRewrite::Header("X-Host".into())), &request, None);
    assert_eq!(header.as_deref(), Some("from-header"));
}

#[test]
fn a_header_that_is_missing_or_no_host_leaves_the_host_alone() {
    let by_header = forward(|f| f.host_rewrite = HostRewrite::Header("x-host".into()));

    assert_eq!(authority(&by_header, &Request::get("/"), None), None);
    assert_eq!(authority(&by_header, &Request::get("/").with("x-host", ""), None), None);
    assert_eq!(authority(&by_header, &Request::get("/").with("x-host", "a b"), None), None);
}

#[test]
fn a_weighted_clusters_host_holds_unless_the_route_has_one_of_its_own() {
    let split = |rewrite| {
        let member = WeightedCluster {
            name: "c".into(),
            weight: 1,
            host_rewrite: Some("member".into()),
            ..WeightedCluster::default()
        };
        forward(|f| {
            f.cluster = ClusterSpecifier::Weighted(WeightedClusters::new(vec![member]).unwrap());
            f.host_rewrite = rewrite;
        })
    };

    assert_eq!(authority(&split(HostRewrite::Keep), &Request::get("/"), None).as_deref(), Some("member"));
    assert_eq!(authority(&split(HostRewrite::Endpoint), &Request::get("/"), None).as_deref(), Some("member"));
    let own = authority(&split(HostRewrite::Literal("own".into())), &Request::get("/"), None);
    assert_eq!(own.as_deref(), Some("own"));
}

proptest! {
    #[test]
    fn a_prefix_for_itself_changes_nothing(matched in "/[a-c/]{0,4}", rest in "[a-c/]{0,6}") {
        prop_assert_eq!(rewritten(&prefix(&matched), to(&matched), &format!("{matched}{rest}")), None);
    }

    #[test]
    fn what_follows_the_matched_prefix_is_kept_byte_for_byte(
        matched in "/[a-c]{1,3}",
        replacement in "/[x-z]{1,3}",
        rest in "[a-c/%.]{0,6}",
        query in prop::option::of("[a-c=&/]{0,6}"),
    ) {
        let tail = query.map_or_else(|| rest.clone(), |query| format!("{rest}?{query}"));

        let result = rewritten(&prefix(&matched), to(&replacement), &format!("{matched}{tail}"));

        prop_assert_eq!(result, Some(format!("{replacement}{tail}")));
    }
}
