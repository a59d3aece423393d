//! What each action says, and whose lists count.

use tidegate_xds::resource::matcher::{
    HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};

use super::*;
use crate::testing::Request;

fn list(stage: u32, actions: Vec<RateLimitAction>) -> RateLimitActions {
    RateLimitActions { stage, actions, hits: 1, lease: None }
}

fn constant(value: &str) -> RateLimitAction {
    RateLimitAction::GenericKey { key: "generic_key".into(), value: value.into() }
}

fn header(name: &str, skip_if_absent: bool) -> RateLimitAction {
    RateLimitAction::RequestHeader { header: name.into(), key: name.into(), skip_if_absent }
}

fn query(parameter: &str, skip_if_absent: bool) -> RateLimitAction {
    RateLimitAction::QueryParameter { parameter: parameter.into(), key: parameter.into(), skip_if_absent }
}

fn compile(lists: Vec<RateLimitActions>) -> Box<[CompiledActions]> {
    CompiledActions::compile_all(&lists, "rate_limits").unwrap()
}

const FACTS: Facts<'_> = Facts {
    remote: Some(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))),
    source_cluster: "web",
    destination_cluster: "reviews",
};

/// `key=value` of each entry; `None` when there is no description.
fn described(actions: Vec<RateLimitAction>, request: &Request, facts: &Facts<'_>) -> Option<String> {
    let own = compile(vec![list(0, actions)]);
    let found = describe(&own, Sources::default(), VirtualHostLimits::Override, 0, request, facts);
    let entries = &found.first()?.entries;
    Some(entries.iter().map(|e| format!("{}={}", e.key, e.value)).collect::<Vec<_>>().join(" "))
}

#[test]
fn each_action_gives_its_entry_in_order() {
    let request = Request::get("/a?user=ann").with("x-tier", "gold").method("PUT");
    let actions = vec![
        RateLimitAction::SourceCluster,
        RateLimitAction::DestinationCluster,
        header("x-tier", false),
        header(":method", false),
        query("user", false),
        RateLimitAction::RemoteAddress,
        constant("slow"),
    ];

    let said = described(actions, &request, &FACTS);

    let expected = "source_cluster=web destination_cluster=reviews x-tier=gold :method=PUT user=ann \
                    remote_address=10.1.2.3 generic_key=slow";
    assert_eq!(said.as_deref(), Some(expected));
}

#[test]
fn an_action_that_finds_nothing_takes_the_description_with_it_unless_it_may_be_left_out() {
    let plain = Request::get("/");
    let said = |actions| described(actions, &plain, &Facts::default());

    assert_eq!(said(vec![constant("a"), header("x", false)]), None);
    assert_eq!(said(vec![constant("a"), header("x", true)]).as_deref(), Some("generic_key=a"));
    assert_eq!(said(vec![constant("a"), query("x", false)]), None);
    assert_eq!(said(vec![constant("a"), query("x", true)]).as_deref(), Some("generic_key=a"));
    assert_eq!(said(vec![constant("a"), RateLimitAction::RemoteAddress]), None);
    assert_eq!(said(vec![header("x", true)]), None, "nothing is left");
}

#[test]
fn a_query_parameter_counts_by_what_it_means_and_not_by_how_it_is_written() {
    for written in ["a%20b", "%61%20%62", "a%20%62"] {
        let request = Request::get(&format!("/?k={written}"));
        assert_eq!(described(vec![query("k", false)], &request, &FACTS).as_deref(), Some("k=a b"), "{written}");
    }
    for odd in ["%", "%4", "%zz", "a%"] {
        let request = Request::get(&format!("/?k={odd}"));
        assert_eq!(described(vec![query("k", false)], &request, &FACTS), Some(format!("k={odd}")));
    }
}

#[test]
fn an_address_is_described_by_its_network() {
    let said = |ip: &str, v4_prefix, v6_prefix| {
        let facts = Facts { remote: Some(ip.parse().unwrap()), ..Facts::default() };
        let action = RateLimitAction::MaskedRemoteAddress { v4_prefix, v6_prefix };
        described(vec![action], &Request::get("/"), &facts).unwrap()
    };

    assert_eq!(said("10.1.2.3", 16, 64), "masked_remote_address=10.1.0.0/16");
    assert_eq!(said("10.1.2.3", 32, 64), "masked_remote_address=10.1.2.3/32");
    assert_eq!(said("10.1.2.3", 0, 64), "masked_remote_address=0.0.0.0/0");
    assert_eq!(said("2001:db8:1:2:3::9", 16, 48), "masked_remote_address=2001:db8:1::/48");
    assert_eq!(said("2001:db8::9", 16, 0), "masked_remote_address=::/0");
}

#[test]
fn a_prefix_longer_than_an_address_is_refused() {
    let bad = RateLimitAction::MaskedRemoteAddress { v4_prefix: 33, v6_prefix: 64 };

    let error = CompiledActions::compile_all(&[list(0, vec![constant("a"), bad])], "rate_limits").unwrap_err();

    assert_eq!(error.path, "rate_limits[0].actions[1].masked_remote_address");
}

#[test]
fn a_match_describes_by_whether_it_holds_as_expected() {
    let is_post = HeaderMatcher {
        name: ":method".into(),
        condition: HeaderCondition::Value(StringMatcher::Exact { value: "POST".into(), ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    };
    let has_page = QueryParameterMatcher { name: "page".into(), condition: QueryParameterCondition::Present(true) };
    let by_header = |expect_match| RateLimitAction::HeaderValueMatch {
        key: "h".into(),
        value: "v".into(),
        expect_match,
        headers: vec![is_post.clone()],
    };
    let by_query = |expect_match| RateLimitAction::QueryParameterValueMatch {
        key: "q".into(),
        value: "v".into(),
        expect_match,
        parameters: vec![has_page.clone()],
    };
    let said = |action, request: &Request| described(vec![action], request, &FACTS);
    let (get, post) = (Request::get("/?page=2"), Request::get("/").method("POST"));

    assert_eq!(said(by_header(true), &post).as_deref(), Some("h=v"));
    assert_eq!(said(by_header(true), &get), None);
    assert_eq!(said(by_header(false), &get).as_deref(), Some("h=v"));
    assert_eq!(said(by_query(true), &get).as_deref(), Some("q=v"));
    assert_eq!(said(by_query(true), &post), None);
    assert_eq!(said(by_query(false), &post).as_deref(), Some("q=v"));
}

#[test]
fn whose_lists_count_follows_from_the_filter_the_route_and_the_host() {
    let (own, route, host) = (
        vec![list(0, vec![constant("own")])],
        vec![list(0, vec![constant("route")])],
        vec![list(0, vec![constant("host")])],
    );
    let said = |own: &[RateLimitActions], route: &[RateLimitActions], include_host, mode| {
        let [own, route, host] = [own, route, &host].map(|lists| compile(lists.to_vec()));
        let sources = Sources { route: &route, host: &host, include_host };
        let request = Request::get("/");
        let found = describe(&own, sources, mode, 0, &request, &FACTS);
        found.iter().map(|d| d.entries[0].value.to_string()).collect::<Vec<_>>()
    };
    use VirtualHostLimits::{Ignore, Include, Override};

    assert_eq!(said(&own, &route, true, Include), ["own"]);
    assert_eq!(said(&[], &route, false, Override), ["route"]);
    assert_eq!(said(&[], &[], false, Override), ["host"]);
    assert_eq!(said(&[], &route, false, Include), ["route", "host"]);
    assert_eq!(said(&[], &route, true, Override), ["route", "host"]);
    assert_eq!(said(&[], &[], false, Ignore), [""; 0]);
    assert_eq!(said(&[], &route, false, Ignore), ["route"]);
}

#[test]
fn only_lists_of_the_filters_stage_are_asked() {
    let own = compile(vec![list(0, vec![constant("zero")]), list(2, vec![constant("two")])]);
    let request = Request::get("/");
    let said = |stage| {
        let found = describe(&own, Sources::default(), VirtualHostLimits::Override, stage, &request, &FACTS);
        found.iter().map(|d| d.entries[0].value.to_string()).collect::<Vec<_>>()
    };

    assert_eq!(said(0), ["zero"]);
    assert_eq!(said(1), [""; 0]);
    assert_eq!(said(2), ["two"]);
}

#[test]
fn bytes_that_are_no_text_are_still_described() {
    let mut request = Request::get("/");
    request.headers.0.push(("x".to_owned(), vec![b'a', 0xff]));

    assert_eq!(described(vec![header("x", false)], &request, &FACTS).as_deref(), Some("x=a\u{fffd}"));
}
