//! Filters and descriptions of requests that are refused, each with the path of the guilty field; and what an absent
//! field means.

use std::time::Duration;

use prost::{Message, Name};

use super::{arc, assert_refused, decode, governed, sample};
use crate::name::ResourceType;
use crate::proto::core::{self, grpc_service};
use crate::proto::rate_limit_descriptor::{LocalRateLimitDescriptor, rate_limit_descriptor::Entry};
use crate::proto::route::{self, RouteConfiguration, rate_limit};
use crate::proto::value::Kind;
use crate::proto::{
    self, Any, Struct, UInt32Value, UInt64Value, Value, cors, fault, fault_common, http_types, local_ratelimit,
    ratelimit, ratelimit_config, session_cookie, session_header, stateful_session, types,
};
use crate::resource::Resource;
use crate::resource::extension::pack;
use crate::resource::filter::{
    self, FaultAnswer, FilterConfig, FilterOverride, RateLimitAction, RateLimitActions, SessionCarrier,
};
use crate::resource::matcher::Fraction;
use crate::resource::route::{RouteAction, encode};

/// The governed routes as a message, with the first route changed.
fn changed(change: impl FnOnce(&mut route::Route)) -> RouteConfiguration {
    let mut message = encode::encode(&governed::routes());
    change(&mut message.virtual_hosts[0].routes[0]);
    message
}

#[track_caller]
fn refused(change: impl FnOnce(&mut route::Route), path: &str, reason: &str) {
    assert_refused(ResourceType::Route, &changed(change), &format!("virtual_hosts[0].routes[0].{path}"), reason);
}

#[track_caller]
fn accepted(change: impl FnOnce(&mut route::Route)) -> (crate::resource::route::Route, Vec<String>) {
    let decoded = decode(ResourceType::Route, &changed(change)).unwrap_or_else(|error| panic!("{error}"));
    let Resource::Route(routes) = decoded.resource else { panic!("routes come back") };
    (routes.virtual_hosts[0].routes[0].clone(), decoded.ignored)
}

/// Changes the route's configuration of a filter.
fn within<M: Message + Name + Default>(name: &str, change: impl FnOnce(&mut M)) -> impl FnOnce(&mut route::Route) {
    move |m| {
        let any = m.typed_per_filter_config.get_mut(name).expect("the governed route has them all");
        let mut message = M::decode(&any.value[..]).expect("ours");
        change(&mut message);
        *any = pack(&message);
    }
}

/// Puts a configuration in the place of the route's own.
fn instead<M: Message + Name>(name: &str, message: &M) -> impl FnOnce(&mut route::Route) {
    let any = pack(message);
    move |m| drop(m.typed_per_filter_config.insert(name.into(), any))
}

fn at(name: &str, path: &str) -> String {
    format!("typed_per_filter_config[{name:?}]{path}")
}

fn config(route: &crate::resource::route::Route, name: &str) -> FilterConfig {
    let FilterOverride { disabled: false, config: Some(config) } = &route.filters[name] else {
        panic!("{name} is configured")
    };
    config.clone()
}

#[test]
fn a_cors_policy_that_says_nothing_forwards_preflights_and_is_on() {
    let (route, ignored) = accepted(instead(filter::CORS, &cors::CorsPolicy::default()));

    let FilterConfig::Cors(Some(cors)) = config(&route, filter::CORS) else { panic!("a policy") };
    assert!(cors.forward_not_matching_preflights && !cors.allow_credentials);
    assert_eq!((cors.enabled, cors.allow_origins.len(), ignored.len()), (Fraction::ALL, 0, 0));
}

#[test]
fn a_cors_policy_that_would_break_a_head() {
    refused(
        within(filter::CORS, |m: &mut cors::CorsPolicy| m.allow_methods = "GET\r\nx: y".into()),
        &at(filter::CORS, ".allow_methods"),
        "control character",
    );
    refused(
        within(filter::CORS, |m: &mut cors::CorsPolicy| m.allow_origin_string_match[0].match_pattern = None),
        &at(filter::CORS, ".allow_origin_string_match[0]"),
        "no pattern",
    );
}

#[test]
fn a_fault_that_is_none() {
    let fault = |change: fn(&mut fault::HttpFault), path: &str, reason: &str| {
        refused(within(filter::FAULT, change), &at(filter::FAULT, path), reason);
    };
    fault(|m| m.delay = Some(Default::default()), ".delay", "says neither how long");
    fault(|m| m.abort = Some(Default::default()), ".abort", "says neither with what");
    fault(|m| m.response_rate_limit = Some(Default::default()), ".response_rate_limit", "says neither how fast");
    fault(
        |m| {
            m.abort = Some(fault::FaultAbort {
                error_type: Some(fault::fault_abort::ErrorType::HttpStatus(199)),
                ..Default::default()
            });
        },
        ".abort.http_status",
        "199 is not a status",
    );
    fault(|m| m.abort.as_mut().expect("it aborts").response_body = "a".into(), ".abort.response_body", "not supported");
    fault(
        |m| {
            m.delay = Some(fault_common::FaultDelay {
                fault_delay_secifier: Some(fault_common::fault_delay::FaultDelaySecifier::FixedDelay(
                    Default::default(),
                )),
                percentage: None,
            });
        },
        ".delay.fixed_delay",
        "greater than zero",
    );
    fault(
        |m| {
            let all_and_more = types::FractionalPercent { numerator: 101, denominator: 0 };
            m.delay.as_mut().expect("it delays").percentage = Some(all_and_more);
        },
        ".delay.percentage",
        "101 of 100",
    );
}

#[test]
fn what_is_ours_in_a_fault_is_checked_as_well() {
    let ours = |key: &str, kind: Kind| {
        let fields = [(key.to_owned(), Value { kind: Some(kind) })].into();
        let fields = [("tidegate".to_owned(), Value { kind: Some(Kind::StructValue(Struct { fields })) })].into();
        within(filter::FAULT, |m: &mut fault::HttpFault| m.filter_metadata = Some(Struct { fields }))
    };
    let path = |key: &str| at(filter::FAULT, &format!(".filter_metadata[\"tidegate\"].{key}"));
    refused(ours("expires_at", Kind::NumberValue(0.5)), &path("expires_at"), "not a whole number");
    refused(ours("expires_at", Kind::NumberValue(f64::NAN)), &path("expires_at"), "not a whole number");
    refused(ours("expires_at", Kind::NumberValue(-1.0)), &path("expires_at"), "not a whole number");
    refused(ours("expires_at", Kind::StringValue("1".into())), &path("expires_at"), "not a number");
    refused(ours("applies_to", Kind::StringValue("all".into())), &path("applies_to"), "upstream");
    refused(ours("reset", Kind::NumberValue(1.0)), &path("reset"), "neither true nor false");
    let (_, ignored) = accepted(ours("later", Kind::BoolValue(true)));
    assert_eq!(ignored, [format!("virtual_hosts[0].routes[0].{}", path("later"))]);
}

#[test]
fn a_reset_is_an_abort_to_who_does_not_know_it() {
    let message = changed(|_| ());
    let any = &message.virtual_hosts[0].routes[0].typed_per_filter_config[filter::FAULT];
    let fault = fault::HttpFault::decode(&any.value[..]).expect("ours");
    let abort = fault.abort.expect("it aborts");
    assert_eq!(abort.error_type, Some(fault::fault_abort::ErrorType::HttpStatus(503)));

    let (route, _) = accepted(within(filter::FAULT, |m: &mut fault::HttpFault| m.filter_metadata = None));
    let FilterConfig::Fault(fault) = config(&route, filter::FAULT) else { panic!("a fault") };
    assert_eq!(fault.abort.as_ref().map(|abort| abort.with), Some(FaultAnswer::Http(503)));
    assert!(!fault.per_attempt && fault.expires_at_unix_s.is_none());
}

#[test]
fn a_local_limit_that_says_nothing_limits_nothing() {
    let bare = local_ratelimit::LocalRateLimit { stat_prefix: "a".into(), ..Default::default() };
    let (route, _) = accepted(instead(filter::LOCAL_RATE_LIMIT, &bare));

    let FilterConfig::LocalRateLimit(limit) = config(&route, filter::LOCAL_RATE_LIMIT) else { panic!("a limit") };
    assert_eq!((limit.enabled, limit.enforced), (Fraction::NONE, Fraction::NONE));
    assert_eq!((limit.status, limit.dynamic_descriptors_max, limit.bucket), (429, 20, None));
    assert!(limit.always_consume_default);
}

#[test]
fn a_local_limit_that_cannot_be_kept() {
    let limit = |change: fn(&mut local_ratelimit::LocalRateLimit), path: &str, reason: &str| {
        refused(within(filter::LOCAL_RATE_LIMIT, change), &at(filter::LOCAL_RATE_LIMIT, path), reason);
    };
    let fast = |m: &mut local_ratelimit::LocalRateLimit| {
        m.token_bucket.as_mut().expect("it has one").fill_interval =
            Some(proto::Duration { seconds: 0, nanos: 49_999_999 });
    };
    limit(|m| m.stat_prefix.clear(), ".stat_prefix", "is required");
    limit(|m| m.local_cluster_rate_limit = Some(Default::default()), ".local_cluster_rate_limit", "not supported yet");
    limit(fast, ".token_bucket.fill_interval", "shorter than 50 ms");
    limit(|m| m.token_bucket = Some(Default::default()), ".token_bucket.fill_interval", "is required");
    limit(
        |m| m.token_bucket.as_mut().expect("it has one").tokens_per_fill = Some(UInt32Value { value: 0 }),
        ".token_bucket.tokens_per_fill",
        "at least 1",
    );
    limit(|m| m.status = Some(types::HttpStatus { code: 600 }), ".status", "600 is not a status");
    limit(|m| m.stage = 11, ".stage", "11 is above 10");
    limit(|m| m.vh_rate_limits = 3, ".vh_rate_limits", "not known");
    limit(|m| m.enable_x_ratelimit_headers = 2, ".enable_x_ratelimit_headers", "not known");
    limit(|m| m.max_dynamic_descriptors = Some(UInt32Value { value: 0 }), ".max_dynamic_descriptors", "at least 1");
    limit(|m| m.descriptors.push(m.descriptors[0].clone()), ".descriptors[1]", "the same entries as descriptors[0]");
    limit(|m| m.descriptors[0].shadow_mode = true, ".descriptors[0].shadow_mode", "not supported yet");
    limit(|m| m.descriptors[0].entries.clear(), ".descriptors[0].entries", "is required");
    limit(|m| m.descriptors[0].token_bucket = None, ".descriptors[0].token_bucket", "is required");
    limit(
        |m| m.descriptors.push(LocalRateLimitDescriptor { entries: vec![Entry::default()], ..Default::default() }),
        ".descriptors[1].entries[0].key",
        "is required",
    );
}

#[test]
fn a_refusal_that_would_look_like_success_is_answered_with_the_default() {
    let (route, _) = accepted(within(filter::LOCAL_RATE_LIMIT, |m: &mut local_ratelimit::LocalRateLimit| {
        m.status = Some(types::HttpStatus { code: 200 });
    }));

    let FilterConfig::LocalRateLimit(limit) = config(&route, filter::LOCAL_RATE_LIMIT) else { panic!("a limit") };
    assert_eq!(limit.status, 429);
}

fn service(target: Option<grpc_service::TargetSpecifier>) -> ratelimit::RateLimit {
    let grpc_service = core::GrpcService { target_specifier: target, ..Default::default() };
    ratelimit::RateLimit {
        domain: "d".into(),
        rate_limit_service: Some(ratelimit_config::RateLimitServiceConfig {
            grpc_service: Some(grpc_service),
            transport_api_version: core::ApiVersion::V3.into(),
        }),
        ..Default::default()
    }
}

/// The service as the filter of the decoder of listeners, which is where it stands.
fn listed(message: &ratelimit::RateLimit) -> Result<Option<FilterConfig>, crate::resource::FieldError> {
    let ignored = std::cell::RefCell::default();
    let at = &crate::resource::path::At::root(&ignored);
    filter::decode::listed(&at.field("typed_config"), &pack(message))
}

#[test]
fn a_shared_limit_asks_about_every_request_unless_told_otherwise() {
    let envoy = grpc_service::EnvoyGrpc { cluster_name: "rls".into(), ..Default::default() };
    let message = service(Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)));
    let Some(FilterConfig::RateLimit(limit)) = listed(&message).expect("valid") else { panic!("a limit") };

    assert_eq!((&*limit.cluster, limit.timeout, limit.status), ("rls", Duration::from_millis(20), 429));
    assert_eq!((limit.enabled, limit.enforced, limit.status_on_error), (Fraction::ALL, Fraction::ALL, 500));
}

#[test]
fn a_shared_limit_that_nobody_keeps() {
    let check = |message: ratelimit::RateLimit, path: &str, reason: &str| {
        let error = listed(&message).expect_err("it should be refused");
        assert_eq!(error.path, format!("typed_config{path}"), "{error}");
        assert!(error.reason.contains(reason), "{error}");
    };
    let grpc = ".rate_limit_service.grpc_service";
    let envoy = || Some(grpc_service::TargetSpecifier::EnvoyGrpc(Default::default()));
    check(service(None), grpc, "names no service");
    check(service(envoy()), &format!("{grpc}.envoy_grpc.cluster_name"), "is required");
    check(
        service(Some(grpc_service::TargetSpecifier::GoogleGrpc(Default::default()))),
        &format!("{grpc}.google_grpc"),
        "not supported yet",
    );
    check(ratelimit::RateLimit { domain: String::new(), ..service(envoy()) }, ".domain", "is required");
    check(ratelimit::RateLimit { rate_limit_service: None, ..service(envoy()) }, ".rate_limit_service", "is required");
    check(
        ratelimit::RateLimit { request_type: "some".into(), ..service(envoy()) },
        ".request_type",
        "\"some\" is not known",
    );
    check(
        ratelimit::RateLimit { failure_mode_deny_percent: Some(Default::default()), ..service(envoy()) },
        ".failure_mode_deny_percent",
        "not supported yet",
    );
}

#[test]
fn a_session_without_a_carrier_that_we_have() {
    use stateful_session::{StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override};
    let with = |any: Any| {
        let state = core::TypedExtensionConfig { name: "s".into(), typed_config: Some(any) };
        let session = StatefulSession { session_state: Some(state), ..Default::default() };
        StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) }
    };
    let name = filter::STATEFUL_SESSION;
    let state = ".stateful_session.session_state.typed_config";
    let envelope = Any { type_url: "type.googleapis.com/a.Envelope".into(), value: Vec::new() };
    refused(instead(name, &with(envelope)), &at(name, state), "a.Envelope");
    let cookie = |cookie: Option<http_types::Cookie>| with(pack(&session_cookie::CookieBasedSessionState { cookie }));
    refused(instead(name, &cookie(None)), &at(name, &format!("{state}.cookie")), "is required");
    let nameless = cookie(Some(Default::default()));
    refused(instead(name, &nameless), &at(name, &format!("{state}.cookie.name")), "is required");
    let adorned = cookie(Some(http_types::Cookie {
        name: "a".into(),
        attributes: vec![Default::default()],
        ..Default::default()
    }));
    refused(instead(name, &adorned), &at(name, &format!("{state}.cookie.attributes")), "not supported yet");
    refused(
        instead(name, &StatefulSessionPerRoute { r#override: Some(Override::Disabled(false)) }),
        &at(name, ".disabled"),
        "can only be true",
    );
    refused(instead(name, &StatefulSessionPerRoute::default()), &at(name, ""), "neither disabled nor");

    let header = with(pack(&session_header::HeaderBasedSessionState { name: "X-Seat".into() }));
    let (route, _) = accepted(instead(name, &header));
    let FilterConfig::StatefulSession(Some(session)) = config(&route, name) else { panic!("a session") };
    assert_eq!(session.carrier, SessionCarrier::Header { name: arc("x-seat") });
}

fn action(specifier: rate_limit::action::ActionSpecifier) -> impl FnOnce(&mut route::Route) {
    limits(move |m| m.actions[1].action_specifier = Some(specifier))
}

/// Changes the second description of the route's own.
fn limits(change: impl FnOnce(&mut route::RateLimit)) -> impl FnOnce(&mut route::Route) {
    |m| match &mut m.action {
        Some(route::route::Action::Route(action)) => change(&mut action.rate_limits[1]),
        other => panic!("the first route forwards: {other:?}"),
    }
}

#[test]
fn a_description_that_we_cannot_make() {
    use rate_limit::action::{self as actions, ActionSpecifier as Specifier};
    let at = "route.rate_limits[1]";
    refused(limits(|m| m.actions.clear()), &format!("{at}.actions"), "is required");
    refused(limits(|m| m.actions[0].action_specifier = None), &format!("{at}.actions[0]"), "has no action");
    refused(limits(|m| m.limit = Some(Default::default())), &format!("{at}.limit"), "not supported yet");
    refused(limits(|m| m.apply_on_stream_done = true), &format!("{at}.apply_on_stream_done"), "not supported yet");
    refused(limits(|m| m.stage = Some(UInt32Value { value: 11 })), &format!("{at}.stage"), "11 is above 10");
    let hits = |m: rate_limit::HitsAddend| limits(|limit| limit.hits_addend = Some(m));
    let many = rate_limit::HitsAddend { number: Some(UInt64Value { value: 1 << 32 }), ..Default::default() };
    refused(hits(many), &format!("{at}.hits_addend.number"), "out of range");
    let computed = rate_limit::HitsAddend { format: "%BYTES_RECEIVED%".into(), ..Default::default() };
    refused(hits(computed), &format!("{at}.hits_addend.format"), "not supported yet");

    let kind = |specifier: Specifier, path: &str, reason: &str| {
        refused(action(specifier), &format!("{at}.actions[1].{path}"), reason);
    };
    kind(Specifier::Metadata(Default::default()), "metadata", "not supported yet");
    kind(Specifier::Extension(Default::default()), "extension", "not supported yet");
    kind(Specifier::RemoteAddressMatch(Default::default()), "remote_address_match", "not supported yet");
    kind(Specifier::RequestHeaders(Default::default()), "request_headers.descriptor_key", "is required");
    kind(Specifier::GenericKey(Default::default()), "generic_key.descriptor_value", "is required");
    kind(Specifier::HeaderValueMatch(Default::default()), "header_value_match.headers", "is required");
    kind(
        Specifier::QueryParameterValueMatch(Default::default()),
        "query_parameter_value_match.query_parameters",
        "is required",
    );
    let masked =
        actions::MaskedRemoteAddress { v4_prefix_mask_len: Some(UInt32Value { value: 33 }), v6_prefix_mask_len: None };
    kind(
        Specifier::MaskedRemoteAddress(masked),
        "masked_remote_address.v4_prefix_mask_len",
        "33 is more than the 32 bits",
    );
}

fn forward(route: &crate::resource::route::Route) -> &crate::resource::route::Forward {
    match &route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("it forwards: {other:?}"),
    }
}

#[test]
fn a_key_that_is_not_named_has_envoys_name() {
    use rate_limit::action::{ActionSpecifier as Specifier, GenericKey, MaskedRemoteAddress};
    let constant = GenericKey { descriptor_value: "v".into(), ..Default::default() };
    let (route, _) = accepted(action(Specifier::GenericKey(constant)));
    let expected = RateLimitAction::GenericKey { key: arc("generic_key"), value: arc("v") };
    assert_eq!(forward(&route).rate_limits[1].actions[1], expected);

    let (route, _) = accepted(action(Specifier::MaskedRemoteAddress(MaskedRemoteAddress::default())));
    let expected = RateLimitAction::MaskedRemoteAddress { v4_prefix: 32, v6_prefix: 128 };
    assert_eq!(forward(&route).rate_limits[1].actions[1], expected);
}

#[test]
fn a_lease_finds_its_description_by_the_constant_that_it_begins_with() {
    let (route, ignored) = accepted(|_| ());
    let leased = |descriptions: &[RateLimitActions]| descriptions.iter().all(|d| d.lease.is_some());
    assert!(leased(&forward(&route).rate_limits) && ignored.is_empty(), "{ignored:?}");

    let (route, ignored) = accepted(|m| match &mut m.action {
        Some(route::route::Action::Route(action)) => drop(action.rate_limits.remove(0)),
        other => panic!("the first route forwards: {other:?}"),
    });
    assert!(leased(&forward(&route).rate_limits));
    // The other one is left over.
    assert_eq!(ignored, ["virtual_hosts[0].routes[0].metadata.filter_metadata[\"tidegate\"].leases.a"]);
}

#[test]
fn a_lease_that_is_no_limit() {
    let lease = |change: &dyn Fn(&mut Struct), path: &str, reason: &str| {
        let change = |m: &mut route::Route| {
            let metadata = m.metadata.as_mut().expect("the governed route has leases");
            let ours = metadata.filter_metadata.get_mut("tidegate").expect("ours");
            let Some(Kind::StructValue(leases)) = &mut ours.fields.get_mut("leases").expect("leases").kind else {
                panic!("leases are a structure")
            };
            let Some(Kind::StructValue(lease)) = &mut leases.fields.get_mut("a").expect("a lease").kind else {
                panic!("a lease is a structure")
            };
            change(lease);
        };
        refused(change, &format!("metadata.filter_metadata[\"tidegate\"].leases.a.{path}"), reason);
    };
    lease(&|m: &mut Struct| drop(m.fields.remove("capacity")), "capacity", "is required");
    let refusal = |m: &mut Struct, field: &str, kind: Kind| {
        let Some(Kind::StructValue(refusal)) = &mut m.fields.get_mut("refusal").expect("a refusal").kind else {
            panic!("a refusal is a structure")
        };
        drop(refusal.fields.insert(field.into(), Value { kind: Some(kind) }));
    };
    let field = |entries: &[(&str, &str)]| {
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let fields = entries.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        let values = vec![Value { kind: Some(Kind::StructValue(Struct { fields })) }];
        Kind::ListValue(proto::ListValue { values })
    };
    lease(&|m: &mut Struct| refusal(m, "status", Kind::NumberValue(200.0)), "refusal.status", "from 400 to 599");
    lease(&|m: &mut Struct| refusal(m, "grpc_status", Kind::NumberValue(17.0)), "refusal.grpc_status", "from 0 to 16");
    lease(&|m: &mut Struct| refusal(m, "fields", Kind::BoolValue(true)), "refusal.fields", "is not a list");
    lease(&|m: &mut Struct| refusal(m, "fields", field(&[("value", "x")])), "refusal.fields.name", "is required");
    lease(
        &|m: &mut Struct| refusal(m, "fields", field(&[("name", "host")])),
        "refusal.fields.name",
        "cannot be changed",
    );
    lease(
        &|m: &mut Struct| refusal(m, "fields", field(&[("name", "a"), ("value", "b\nc")])),
        "refusal.fields.value",
        "control character",
    );
    lease(&|m: &mut Struct| drop(m.fields.remove("refill")), "refill", "at least 1");
    lease(&|m: &mut Struct| drop(m.fields.remove("interval_ms")), "interval_ms", "at least 1");
    lease(
        &|m| {
            let value = Value { kind: Some(Kind::StringValue("shrug".into())) };
            drop(m.fields.insert("on_unavailable".into(), value));
        },
        "on_unavailable",
        "\"shrug\" is not known",
    );
    lease(
        &|m| {
            let value = Value { kind: Some(Kind::NumberValue(1e12)) };
            drop(m.fields.insert("capacity".into(), value));
        },
        "capacity",
        "not a whole number",
    );
}

#[test]
fn legacy_cors_of_routes_and_hosts() {
    refused(
        |m| match &mut m.action {
            #[expect(deprecated, reason = "old control planes send it")]
            Some(route::route::Action::Route(action)) => action.cors = Some(Default::default()),
            other => panic!("the first route forwards: {other:?}"),
        },
        "route.cors",
        "not supported yet",
    );
    let mut message = encode::encode(&sample::routes());
    #[expect(deprecated, reason = "old control planes send it")]
    {
        message.virtual_hosts[0].cors = Some(Default::default());
    }
    assert_refused(ResourceType::Route, &message, "virtual_hosts[0].cors", "not supported yet");
}
