//! Route configurations that are refused, each with the path of the guilty field.

use super::{arc, assert_refused, decode, sample};
use crate::name::ResourceType;
use crate::proto::route::{self, RouteAction, RouteConfiguration, VirtualHost, route_action};
use crate::proto::{Any, UInt32Value, core, cors, matcher, types};
use crate::resource::extension::pack;
use crate::resource::matcher::decode::REGEX_SIZE_BYTES_MAX;
use crate::resource::route::{ClusterSpecifier, RouteAction as Typed, encode};

/// The sample as a message, changed.
fn changed(change: impl FnOnce(&mut RouteConfiguration)) -> RouteConfiguration {
    let mut message = encode::encode(&sample::routes());
    change(&mut message);
    message
}

#[track_caller]
fn refused(change: impl FnOnce(&mut RouteConfiguration), path: &str, reason: &str) {
    assert_refused(ResourceType::Route, &changed(change), path, reason);
}

#[track_caller]
fn refused_host(change: impl FnOnce(&mut VirtualHost), path: &str, reason: &str) {
    refused(|m| change(&mut m.virtual_hosts[0]), &format!("virtual_hosts[0].{path}"), reason);
}

#[track_caller]
fn refused_route(change: impl FnOnce(&mut route::Route), path: &str, reason: &str) {
    refused_host(|m| change(&mut m.routes[0]), &format!("routes[0].{path}"), reason);
}

#[track_caller]
fn refused_match(change: impl FnOnce(&mut route::RouteMatch), path: &str, reason: &str) {
    refused_route(|m| change(m.r#match.as_mut().expect("a match")), &format!("match{path}"), reason);
}

/// The first route's action; its path is `virtual_hosts[0].routes[0].route` and what follows.
#[track_caller]
fn refused_action(change: impl FnOnce(&mut RouteAction), path: &str, reason: &str) {
    let change = |m: &mut route::Route| match &mut m.action {
        Some(route::route::Action::Route(action)) => change(action),
        other => panic!("the sample's first route forwards: {other:?}"),
    };
    refused_route(change, &format!("route{path}"), reason);
}

#[track_caller]
fn refused_split(change: impl FnOnce(&mut route::WeightedCluster), path: &str, reason: &str) {
    let change = |m: &mut RouteAction| match &mut m.cluster_specifier {
        Some(route_action::ClusterSpecifier::WeightedClusters(clusters)) => change(clusters),
        other => panic!("the sample's first route splits: {other:?}"),
    };
    refused_action(change, &format!(".weighted_clusters{path}"), reason);
}

#[track_caller]
fn refused_retry(change: impl FnOnce(&mut route::RetryPolicy), path: &str, reason: &str) {
    refused_action(|m| change(m.retry_policy.as_mut().expect("it retries")), &format!(".retry_policy.{path}"), reason);
}

fn text(key: &str, value: &str) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue { key: key.into(), value: value.into(), ..Default::default() }),
        ..Default::default()
    }
}

fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.into(), engine_type: None }
}

#[test]
fn a_configuration_without_a_name() {
    refused(|m| m.name.clear(), "name", "is required");
}

#[test]
fn a_name_that_breaks_a_line() {
    refused(|m| m.name = "a\nb".into(), "name", "control character");
}

#[test]
fn hosts_by_discovery() {
    refused(|m| m.vhds = Some(route::Vhds::default()), "vhds", "not supported yet");
}

#[test]
fn headers_that_only_insiders_may_send() {
    refused(|m| m.internal_only_headers.push("x-a".into()), "internal_only_headers", "not supported yet");
}

#[test]
fn a_host_without_a_name() {
    refused_host(|m| m.name.clear(), "name", "is required");
}

#[test]
fn a_host_without_a_domain() {
    refused_host(|m| m.domains.clear(), "domains", "is required");
}

#[test]
fn an_empty_domain() {
    refused_host(|m| m.domains[1].clear(), "domains[1]", "empty");
}

#[test]
fn a_domain_with_a_star_inside() {
    refused_host(|m| m.domains[0] = "a.*.b".into(), "domains[0]", "one *");
    refused_host(|m| m.domains[0] = "*a*".into(), "domains[0]", "one *");
    refused_host(|m| m.domains[0] = "**".into(), "domains[0]", "one *");
}

#[test]
fn a_domain_with_a_space() {
    refused_host(|m| m.domains[0] = "a b".into(), "domains[0]", "character");
}

#[test]
fn a_domain_twice_in_different_letters() {
    refused(
        |m| {
            let second = VirtualHost { name: "b".into(), domains: vec!["REVIEWS".into()], ..Default::default() };
            m.virtual_hosts.push(second);
        },
        "virtual_hosts[1].domains[0]",
        "already a domain of virtual_hosts[0]",
    );
    refused_host(|m| m.domains.push("Reviews".into()), "domains[2]", "already a domain");
}

#[test]
fn a_host_name_twice() {
    refused(
        |m| {
            let name = m.virtual_hosts[0].name.clone();
            m.virtual_hosts.push(VirtualHost { name, domains: vec!["b".into()], ..Default::default() });
        },
        "virtual_hosts[1].name",
        "already the name of virtual_hosts[0]",
    );
}

#[test]
fn a_host_that_requires_tls() {
    refused_host(|m| m.require_tls = 2, "require_tls", "not supported yet");
}

#[test]
fn a_host_that_hedges() {
    refused_host(|m| m.hedge_policy = Some(Default::default()), "hedge_policy", "not supported yet");
}

#[test]
fn a_route_without_a_match() {
    refused_route(|m| m.r#match = None, "match", "is required");
}

#[test]
fn a_route_without_an_action() {
    refused(|m| m.virtual_hosts[0].routes[2].action = None, "virtual_hosts[0].routes[2]", "has no action");
}

#[test]
fn a_match_without_a_path() {
    refused_match(|m| m.path_specifier = None, "", "no path");
}

#[test]
fn a_separated_prefix_that_ends_in_a_slash() {
    let set = |prefix: &'static str| {
        move |m: &mut route::RouteMatch| {
            m.path_specifier = Some(route::route_match::PathSpecifier::PathSeparatedPrefix(prefix.into()));
        }
    };
    refused_match(set("/a/"), ".path_separated_prefix", "end in /");
    refused_match(set("/"), ".path_separated_prefix", "may not be /");
    refused_match(set("/a?b"), ".path_separated_prefix", "?");
}

#[test]
fn a_path_expression_that_does_not_compile() {
    let set = |pattern: &'static str| {
        move |m: &mut route::RouteMatch| {
            m.path_specifier = Some(route::route_match::PathSpecifier::SafeRegex(regex(pattern)));
        }
    };
    refused_match(set("(a"), ".safe_regex.regex", "unclosed group");
    refused_match(set(""), ".safe_regex.regex", "is required");
    // Balanced only by the brackets that an anchored form puts around it.
    refused_match(set("a)(b"), ".safe_regex.regex", "unopened group");
}

#[test]
fn an_expression_that_would_take_megabytes() {
    refused_match(
        |m| m.path_specifier = Some(route::route_match::PathSpecifier::SafeRegex(regex("(\\pL{100}){100}"))),
        ".safe_regex.regex",
        &REGEX_SIZE_BYTES_MAX.to_string(),
    );
}

#[test]
fn a_match_on_cookies() {
    refused_match(|m| m.cookies.push(Default::default()), ".cookies", "not supported yet");
}

#[test]
fn a_match_on_a_client_certificate() {
    refused_match(|m| m.tls_context = Some(Default::default()), ".tls_context", "not supported yet");
}

#[test]
fn a_share_above_everything() {
    refused_match(
        |m| {
            m.runtime_fraction = Some(core::RuntimeFractionalPercent {
                default_value: Some(types::FractionalPercent { numerator: 101, denominator: 0 }),
                runtime_key: String::new(),
            });
        },
        ".runtime_fraction.default_value",
        "101 of 100",
    );
}

#[test]
fn a_share_without_a_value() {
    refused_match(|m| m.runtime_fraction = Some(Default::default()), ".runtime_fraction.default_value", "is required");
}

#[test]
fn a_header_condition_that_is_not_about_a_header() {
    refused_match(|m| m.headers[0].name = "a b".into(), ".headers[0].name", "not a header name");
    refused_match(|m| m.headers[0].name = ":status".into(), ".headers[0].name", "not a header name");
    refused_match(|m| m.headers[0].name.clear(), ".headers[0].name", "is required");
}

#[test]
fn a_header_range_with_nothing_in_it() {
    refused_match(
        |m| {
            m.headers[0].header_match_specifier =
                Some(route::header_matcher::HeaderMatchSpecifier::RangeMatch(types::Int64Range { start: 5, end: 5 }));
        },
        ".headers[0].range_match",
        "no number",
    );
}

#[test]
fn a_query_parameter_without_a_name() {
    refused_match(|m| m.query_parameters.push(Default::default()), ".query_parameters[0].name", "is required");
}

#[test]
fn weights_that_are_all_zero() {
    refused_split(
        |m| m.clusters.iter_mut().for_each(|c| c.weight = Some(UInt32Value { value: 0 })),
        "",
        "weights are all zero",
    );
}

#[test]
fn weights_that_overflow() {
    refused_split(|m| m.clusters.iter_mut().for_each(|c| c.weight = Some(UInt32Value { value: u32::MAX })), "", "2^32");
}

#[test]
fn a_weight_that_is_missing() {
    refused_split(|m| m.clusters[1].weight = None, ".clusters[1].weight", "is required");
}

#[test]
fn a_split_between_nothing() {
    refused_split(|m| m.clusters.clear(), ".clusters", "is required");
}

#[test]
fn a_total_that_is_not_the_sum() {
    #[expect(deprecated, reason = "old control planes send it")]
    refused_split(|m| m.total_weight = Some(UInt32Value { value: 99 }), ".total_weight", "add up to 100");
}

#[test]
fn a_split_by_something_that_is_no_header() {
    use route::weighted_cluster::RandomValueSpecifier;
    refused_split(
        |m| m.random_value_specifier = Some(RandomValueSpecifier::HeaderName("a b".into())),
        ".header_name",
        "not a header name",
    );
}

#[test]
fn an_action_without_a_cluster() {
    refused_action(|m| m.cluster_specifier = None, "", "names no cluster");
}

#[test]
fn an_unknown_answer_for_unknown_clusters() {
    refused_action(|m| m.cluster_not_found_response_code = 9, ".cluster_not_found_response_code", "9 is not known");
}

#[test]
fn a_negative_timeout() {
    refused_action(
        |m| m.timeout = Some(crate::proto::Duration { seconds: -1, nanos: 0 }),
        ".timeout",
        "may not be negative",
    );
    refused_action(
        |m| m.timeout = Some(crate::proto::Duration { seconds: 0, nanos: 1_000_000_000 }),
        ".timeout",
        "not a valid duration",
    );
    refused_action(
        |m| m.idle_timeout = Some(crate::proto::Duration { seconds: i64::MAX, nanos: 0 }),
        ".idle_timeout",
        "not a valid duration",
    );
}

#[test]
fn two_rewrites_of_one_path() {
    refused_action(
        |m| {
            m.prefix_rewrite = "/a".into();
            m.regex_rewrite = Some(Default::default());
        },
        ".regex_rewrite",
        "excludes prefix_rewrite",
    );
}

#[test]
fn a_rewrite_that_splits_the_request() {
    refused_action(|m| m.prefix_rewrite = "/a\r\nx: y".into(), ".prefix_rewrite", "control character");
}

#[test]
fn a_substitution_that_names_a_group_that_is_not_there() {
    let set = |substitution: &'static str| {
        move |m: &mut RouteAction| {
            m.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
                pattern: Some(regex("(a)")),
                substitution: substitution.into(),
            });
        }
    };
    refused_action(set(r"\2"), ".regex_rewrite.substitution", "names group 2, but the pattern has 1");
    refused_action(set(r"\x"), ".regex_rewrite.substitution", "backslash");
}

#[test]
fn internal_redirects_hedging_and_priorities() {
    refused_action(
        |m| m.internal_redirect_policy = Some(Default::default()),
        ".internal_redirect_policy",
        "not supported yet",
    );
    refused_action(|m| m.hedge_policy = Some(Default::default()), ".hedge_policy", "not supported yet");
    refused_action(|m| m.priority = 1, ".priority", "not supported yet");
}

#[test]
fn an_upgrade_twice() {
    refused_action(
        |m| {
            let again = route_action::UpgradeConfig { upgrade_type: "WebSocket".into(), ..Default::default() };
            m.upgrade_configs.push(again);
        },
        ".upgrade_configs[1].upgrade_type",
        "twice",
    );
}

#[test]
fn a_mirror_without_a_cluster() {
    refused_action(
        |m| m.request_mirror_policies[0].cluster.clear(),
        ".request_mirror_policies[0].cluster",
        "is required",
    );
}

#[test]
fn a_hash_of_filter_state() {
    use route_action::hash_policy::{FilterState, PolicySpecifier};
    refused_action(
        |m| m.hash_policy[0].policy_specifier = Some(PolicySpecifier::FilterState(FilterState::default())),
        ".hash_policy[0].filter_state",
        "not supported yet",
    );
}

#[test]
fn a_retry_back_off_that_shrinks() {
    refused_retry(
        |m| {
            let back_off = m.retry_back_off.as_mut().expect("the sample backs off");
            back_off.max_interval = Some(crate::proto::Duration { seconds: 0, nanos: 1 });
        },
        "retry_back_off.max_interval",
        "shorter than base_interval",
    );
    refused_retry(|m| m.retry_back_off = Some(Default::default()), "retry_back_off.base_interval", "is required");
}

#[test]
fn a_retry_for_something_that_is_no_status() {
    refused_retry(|m| m.retriable_status_codes.push(99), "retriable_status_codes[1]", "99");
}

#[test]
fn a_retry_that_avoids_hosts_in_an_unknown_way() {
    refused_retry(
        |m| {
            let any = Any { type_url: "type.googleapis.com/a.Predicate".into(), value: Vec::new() };
            m.retry_host_predicate[0].config_type =
                Some(route::retry_policy::retry_host_predicate::ConfigType::TypedConfig(any));
        },
        "retry_host_predicate[0].typed_config",
        "a.Predicate",
    );
}

#[test]
fn a_mutation_of_the_host_or_a_pseudo_header() {
    refused_route(
        |m| m.request_headers_to_remove.push("Host".into()),
        "request_headers_to_remove[0]",
        "cannot be changed",
    );
    refused_route(
        |m| m.request_headers_to_add.push(text(":path", "/")),
        "request_headers_to_add[1].header.key",
        "cannot be changed",
    );
}

#[test]
fn a_header_name_that_is_none() {
    refused_route(
        |m| m.response_headers_to_add.push(text("a:b", "c")),
        "response_headers_to_add[0].header.key",
        "not a header name",
    );
    refused_route(|m| m.response_headers_to_remove.push(String::new()), "response_headers_to_remove[1]", "is required");
}

#[test]
fn a_header_value_that_ends_its_line() {
    for value in ["a\r\nb: c", "a\nb", "a\0b"] {
        refused_host(
            |m| m.request_headers_to_add.push(text("a", value)),
            "request_headers_to_add[0].header.value",
            "control character",
        );
    }
}

#[test]
fn a_format_that_is_not_closed() {
    for (value, reason) in [("100%", "does not end"), ("%REQ(a", "does not end"), ("% a%", "doubled")] {
        refused(
            |m| m.response_headers_to_add.push(text("a", value)),
            "response_headers_to_add[0].header.value",
            reason,
        );
    }
}

#[test]
fn a_header_that_is_appended_in_two_ways() {
    #[expect(deprecated, reason = "old control planes send it")]
    refused_route(
        |m| {
            m.request_headers_to_add[0].append = Some(crate::proto::BoolValue { value: true });
            m.request_headers_to_add[0].append_action = 1;
        },
        "request_headers_to_add[0].append",
        "exclude",
    );
}

#[test]
fn a_redirect_with_an_unknown_code_or_port() {
    let redirect = |change: fn(&mut route::RedirectAction)| {
        move |m: &mut RouteConfiguration| match &mut m.virtual_hosts[0].routes[1].action {
            Some(route::route::Action::Redirect(action)) => change(action),
            other => panic!("the sample's second route redirects: {other:?}"),
        }
    };
    let at = "virtual_hosts[0].routes[1].redirect";
    refused(redirect(|m| m.response_code = 5), &format!("{at}.response_code"), "5 is not known");
    refused(redirect(|m| m.port_redirect = 65_536), &format!("{at}.port_redirect"), "65536 is not a port");
    refused(redirect(|m| m.host_redirect = "a\nb".into()), &format!("{at}.host_redirect"), "control character");
}

#[test]
fn a_direct_response_that_is_none() {
    let respond = |change: fn(&mut route::DirectResponseAction)| {
        move |m: &mut RouteConfiguration| match &mut m.virtual_hosts[0].routes[2].action {
            Some(route::route::Action::DirectResponse(action)) => change(action),
            other => panic!("the sample's third route answers: {other:?}"),
        }
    };
    let at = "virtual_hosts[0].routes[2].direct_response";
    refused(respond(|m| m.status = 99), &format!("{at}.status"), "99 is not a status");
    refused(respond(|m| m.status = 600), &format!("{at}.status"), "600 is not a status");
    let file = respond(|m| {
        m.body = Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::Filename("/etc/passwd".into())),
            ..Default::default()
        });
    });
    refused(file, &format!("{at}.body.filename"), "write it inline");
    let long = respond(|m| {
        let specifier = Some(core::data_source::Specifier::InlineString("x".repeat(4097)));
        m.body = Some(core::DataSource { specifier, ..Default::default() });
    });
    refused(long, &format!("{at}.body"), "4097 bytes long, more than the 4096 allowed");
}

#[test]
fn a_route_that_configures_a_filter_that_we_do_not_have() {
    let wasm = Any { type_url: "type.googleapis.com/a.Wasm".into(), value: Vec::new() };
    let untyped = Any { type_url: "type.googleapis.com/xds.type.v3.TypedStruct".into(), value: Vec::new() };
    let listed = pack(&cors::Cors {});
    for (any, reason) in [(wasm, "a.Wasm"), (untyped, "untyped"), (listed, "for a listener, not for routes")] {
        refused_route(
            |m| drop(m.typed_per_filter_config.insert("f".into(), any.clone())),
            "typed_per_filter_config[\"f\"]",
            reason,
        );
        let wrapped = route::FilterConfig { config: Some(any.clone()), ..Default::default() };
        refused_host(
            |m| drop(m.typed_per_filter_config.insert("f".into(), pack(&wrapped))),
            "typed_per_filter_config[\"f\"].config",
            reason,
        );
        refused_split(
            |m| drop(m.clusters[1].typed_per_filter_config.insert("f".into(), any.clone())),
            ".clusters[1].typed_per_filter_config[\"f\"]",
            reason,
        );
        refused(
            |m| drop(m.typed_per_filter_config.insert("f".into(), any.clone())),
            "typed_per_filter_config[\"f\"]",
            reason,
        );
    }
}

#[test]
fn what_a_host_says_holds_for_routes_that_say_nothing() {
    let message = changed(|m| {
        let host = &mut m.virtual_hosts[0];
        host.retry_policy = Some(route::RetryPolicy { retry_on: "reset".into(), ..Default::default() });
        host.request_mirror_policies =
            vec![route_action::RequestMirrorPolicy { cluster: "copy".into(), ..Default::default() }];
        let mut silent = host.routes[0].clone();
        if let Some(route::route::Action::Route(action)) = &mut silent.action {
            action.retry_policy = None;
            action.request_mirror_policies.clear();
        }
        host.routes.push(silent);
    });
    let decoded = decode(ResourceType::Route, &message).expect("valid");
    let crate::resource::Resource::Route(routes) = decoded.resource else { panic!("routes come back") };
    let forward = |i: usize| match &routes.virtual_hosts[0].routes[i].action {
        Typed::Forward(forward) => forward,
        other => panic!("route {i} forwards: {other:?}"),
    };

    assert_eq!(forward(0).mirrors[0].cluster, arc("outbound|9080|v3|reviews"));
    assert_eq!(forward(3).mirrors[0].cluster, arc("copy"));
    assert_eq!(forward(0).retry.as_ref().map(|r| r.num_retries), Some(2));
    assert_eq!(forward(3).retry.as_ref().map(|r| r.num_retries), Some(1));
}

#[test]
fn an_absent_timeout_is_fifteen_seconds_and_zero_is_none() {
    let timeout = |timeout: Option<crate::proto::Duration>| {
        let message = changed(|m| {
            if let Some(route::route::Action::Route(action)) = &mut m.virtual_hosts[0].routes[0].action {
                action.timeout = timeout;
            }
        });
        match decode(ResourceType::Route, &message).expect("valid").resource {
            crate::resource::Resource::Route(routes) => match &routes.virtual_hosts[0].routes[0].action {
                Typed::Forward(forward) => forward.timeout,
                other => panic!("it forwards: {other:?}"),
            },
            other => panic!("routes come back: {other:?}"),
        }
    };

    assert_eq!(timeout(None), Some(std::time::Duration::from_secs(15)));
    assert_eq!(timeout(Some(Default::default())), None);
}

#[test]
fn a_new_style_stream_duration_takes_the_timeout_out_of_force() {
    let mut typed = sample::forward(ClusterSpecifier::Cluster(arc("a")));
    typed.grpc_timeout_max = Some(std::time::Duration::from_secs(3));
    let mut routes = sample::routes();
    routes.virtual_hosts[0].routes[0].action = Typed::Forward(Box::new(typed));
    let message = encode::encode(&routes);
    let Some(route::route::Action::Route(action)) = &message.virtual_hosts[0].routes[0].action else {
        panic!("it forwards")
    };

    // Without a stream duration of our own only the old field keeps the route's timeout in force.
    assert!(action.max_stream_duration.is_none());
    #[expect(deprecated, reason = "what this test is about")]
    let max = action.max_grpc_timeout;
    assert_eq!(max.map(|d| d.seconds), Some(3));
}

#[test]
fn a_split_is_drawn_by_chance_by_hash_or_by_a_header() {
    use crate::resource::route::WeightDraw;
    use route::weighted_cluster::RandomValueSpecifier;
    let draw = |specifier: Option<RandomValueSpecifier>| {
        let message = changed(|m| {
            if let Some(route::route::Action::Route(action)) = &mut m.virtual_hosts[0].routes[0].action
                && let Some(route_action::ClusterSpecifier::WeightedClusters(split)) = &mut action.cluster_specifier
            {
                split.random_value_specifier = specifier;
            }
        });
        match decode(ResourceType::Route, &message).expect("valid").resource {
            crate::resource::Resource::Route(routes) => match &routes.virtual_hosts[0].routes[0].action {
                Typed::Forward(forward) => match &forward.cluster {
                    ClusterSpecifier::Weighted(split) => split.draw.clone(),
                    other => panic!("it splits: {other:?}"),
                },
                other => panic!("it forwards: {other:?}"),
            },
            other => panic!("routes come back: {other:?}"),
        }
    };
    let by_hash = |value: bool| Some(RandomValueSpecifier::UseHashPolicy(crate::proto::BoolValue { value }));

    assert_eq!(draw(None), WeightDraw::Random);
    assert_eq!(draw(by_hash(false)), WeightDraw::Random);
    assert_eq!(draw(by_hash(true)), WeightDraw::Hash);
    assert_eq!(draw(Some(RandomValueSpecifier::HeaderName("X-Draw".into()))), WeightDraw::Header(arc("x-draw")));
}

#[test]
fn a_mirror_that_takes_back_what_it_gave() {
    use crate::proto::mutation_rules::{HeaderMutation, header_mutation::Action};
    let mutations = |actions: Vec<Action>| {
        move |m: &mut RouteAction| {
            m.request_mirror_policies[0].request_headers_mutations =
                actions.into_iter().map(|action| HeaderMutation { action: Some(action) }).collect();
        }
    };
    let at = ".request_mirror_policies[0].request_headers_mutations";
    let add = || Action::Append(text("X-A", "1"));
    refused_action(
        mutations(vec![add(), Action::Remove("x-a".into())]),
        &format!("{at}[1].remove"),
        "removed after it was added",
    );
    refused_action(
        mutations(vec![Action::RemoveOnMatch(Default::default())]),
        &format!("{at}[0].remove_on_match"),
        "not supported yet",
    );
    refused_action(mutations(vec![Action::Remove("Host".into())]), &format!("{at}[0].remove"), "cannot be changed");
    let (removes_another, at_host) = (mutations(vec![add(), Action::Remove("x-b".into())]), ".host_rewrite_literal");
    let message = changed(|m| {
        if let Some(route::route::Action::Route(action)) = &mut m.virtual_hosts[0].routes[0].action {
            removes_another(action);
        }
    });
    assert!(decode(ResourceType::Route, &message).is_ok());
    refused_action(
        |m| m.request_mirror_policies[0].host_rewrite_literal = "a\nb".into(),
        &format!(".request_mirror_policies[0]{at_host}"),
        "control character",
    );
}

#[test]
fn a_retry_that_waits_for_no_header() {
    use route::retry_policy::{RateLimitedRetryBackOff, ResetHeader};
    refused_retry(
        |m| m.rate_limited_retry_back_off = Some(RateLimitedRetryBackOff::default()),
        "rate_limited_retry_back_off.reset_headers",
        "is required",
    );
    let header = |name: &str, format: i32| RateLimitedRetryBackOff {
        reset_headers: vec![ResetHeader { name: name.into(), format }],
        max_interval: None,
    };
    let at = "rate_limited_retry_back_off.reset_headers[0]";
    refused_retry(
        |m| m.rate_limited_retry_back_off = Some(header("a b", 0)),
        &format!("{at}.name"),
        "not a header name",
    );
    refused_retry(|m| m.rate_limited_retry_back_off = Some(header("a", 2)), &format!("{at}.format"), "2 is not known");
    refused_retry(|m| m.retriable_headers.push(Default::default()), "retriable_headers[0].name", "is required");
}

#[test]
fn a_cookie_attribute_that_begins_another() {
    use route_action::hash_policy::{Cookie, CookieAttribute, PolicySpecifier};
    refused_action(
        |m| {
            let attributes = vec![CookieAttribute { name: "SameSite".into(), value: "Lax; Secure".into() }];
            let cookie = Cookie { name: "user".into(), attributes, ..Default::default() };
            m.hash_policy[0].policy_specifier = Some(PolicySpecifier::Cookie(cookie));
        },
        ".hash_policy[0].cookie.attributes[0].value",
        "semicolon",
    );
}

#[test]
fn a_set_of_requests_without_a_name_or_a_condition() {
    refused_host(
        |m| m.virtual_clusters.push(route::VirtualCluster { name: "a".into(), headers: Vec::new() }),
        "virtual_clusters[0].headers",
        "is required",
    );
    let headers = vec![route::HeaderMatcher { name: ":method".into(), ..Default::default() }];
    refused_host(
        |m| m.virtual_clusters.push(route::VirtualCluster { name: String::new(), headers }),
        "virtual_clusters[0].name",
        "is required",
    );
}
