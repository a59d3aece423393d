//! Whose word wins.

use std::num::NonZeroU32;
use std::time::Duration;

use tidegate_xds::resource::filter::{
    CORS, FAULT, Fault, FaultAbort, FaultAnswer, LOCAL_RATE_LIMIT, LocalRateLimit, TokenBucket, VirtualHostLimits,
};
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{
    ClusterSpecifier, RouteAction, RouteConfiguration, WeightedCluster, WeightedClusters,
};

use super::*;
use crate::fault::{Abort, Dice};
use crate::rate_limit::{Facts, LocalDice, Outcome, Sources};
use crate::route::{CompiledAction, RouteTable};
use crate::testing::{Request, forward_to, prefix, route, routes};

const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };

/// A fault that says by its status who has set it.
fn fault(status: u16) -> FilterConfig {
    let abort = Some(FaultAbort { with: FaultAnswer::Http(status), percentage: ALL });
    FilterConfig::Fault(Arc::new(Fault { abort, ..Fault::default() }))
}

fn word(disabled: bool, config: Option<FilterConfig>) -> FilterOverrides {
    FilterOverrides::from([(Arc::from(FAULT), FilterOverride { disabled, config })])
}

fn chain(disabled: bool) -> Chain {
    let filters = [HttpFilter { name: FAULT.into(), disabled, config: fault(400) }];
    Chain::compile(&filters, &Scope::new(&Limiters::default(), "test")).unwrap()
}

/// A configuration with words at its four levels: member, route, host, itself.
fn levels([member, own, host, config]: [FilterOverrides; 4]) -> RouteConfiguration {
    let member = WeightedCluster { name: "c".into(), weight: 1, filters: member, ..WeightedCluster::default() };
    let mut route = route("r", prefix("/"));
    let split = WeightedClusters::new(vec![member]).unwrap();
    route.action = RouteAction::Forward(Box::new(forward_to(ClusterSpecifier::Weighted(split))));
    route.filters = own;
    let mut all = routes(vec![route]);
    all.virtual_hosts[0].filters = host;
    all.filters = config;
    all
}

/// The status of the fault that acts on a request; `None` when none does.
fn acting(config: &RouteConfiguration, chain: &Chain) -> Option<u16> {
    let table = RouteTable::compile(config).unwrap();
    let request = Request::get("/");
    let route = table.find(&request, 0).unwrap();
    let CompiledAction::Forward(forward) = &route.action else { panic!("it forwards") };
    let chosen = forward.choose(&request, 0, None);
    let overrides = route.filters(chosen.as_ref());
    let CompiledFilterConfig::Fault(fault) = overrides.effective(chain.iter().next().unwrap())? else {
        panic!("it is a fault")
    };
    match fault.decide(&request, "c", Dice { delay: 0, abort: 0, bandwidth: 0 }, 0, 0).abort {
        Some(Abort::Http(status)) => Some(status),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_most_specific_word_wins_whole() {
    let said = |statuses: [Option<u16>; 4]| {
        let words = statuses.map(|status| status.map(|s| word(false, Some(fault(s)))).unwrap_or_default());
        acting(&levels(words), &chain(false))
    };

    assert_eq!(said([Some(501), Some(502), Some(503), Some(504)]), Some(501));
    assert_eq!(said([None, Some(502), Some(503), Some(504)]), Some(502));
    assert_eq!(said([None, None, Some(503), Some(504)]), Some(503));
    assert_eq!(said([None, None, None, Some(504)]), Some(504));
    assert_eq!(said([None, None, None, None]), Some(400));
}

#[test]
fn a_level_may_switch_a_filter_off_and_a_closer_one_on_again() {
    let none = FilterOverrides::new;
    let off = || word(true, None);
    let on = || word(false, None);

    assert_eq!(acting(&levels([none(), off(), none(), none()]), &chain(false)), None);
    assert_eq!(acting(&levels([none(), none(), none(), off()]), &chain(false)), None);
    assert_eq!(acting(&levels([on(), none(), off(), none()]), &chain(false)), Some(400));
    assert_eq!(acting(&levels([none(), none(), none(), none()]), &chain(true)), None);
    assert_eq!(acting(&levels([none(), on(), none(), none()]), &chain(true)), Some(400));
    assert_eq!(acting(&levels([none(), word(false, Some(fault(500))), none(), none()]), &chain(true)), Some(500));
}

#[test]
fn words_about_other_filters_are_kept_apart() {
    let mut own = word(false, Some(fault(502)));
    own.insert(CORS.into(), FilterOverride { disabled: true, config: None });
    let host = word(false, Some(fault(503)));

    assert_eq!(acting(&levels([FilterOverrides::new(), own, host, FilterOverrides::new()]), &chain(false)), Some(502));
    let other = FilterOverrides::from([(CORS.into(), FilterOverride { disabled: true, config: None })]);
    let host = word(false, Some(fault(503)));
    assert_eq!(
        acting(&levels([FilterOverrides::new(), other, host, FilterOverrides::new()]), &chain(false)),
        Some(503)
    );
}

#[test]
fn a_word_of_another_kind_overrides_nothing() {
    let odd = word(false, Some(FilterConfig::Cors(None)));

    assert_eq!(
        acting(&levels([FilterOverrides::new(), odd, FilterOverrides::new(), FilterOverrides::new()]), &chain(false)),
        Some(400)
    );
}

#[test]
fn a_refusal_names_the_filter_and_its_field() {
    let nobody = Fraction { numerator: 1, denominator: 0 };
    let abort = Some(FaultAbort { with: FaultAnswer::Http(500), percentage: nobody });
    let bad = || FilterConfig::Fault(Arc::new(Fault { abort: abort.clone(), ..Fault::default() }));
    let words = [FilterOverrides::new(), word(false, Some(bad())), FilterOverrides::new(), FilterOverrides::new()];
    let of_listener = [HttpFilter { name: FAULT.into(), disabled: false, config: bad() }];

    let on_route = RouteTable::compile(&levels(words)).unwrap_err();
    let on_listener = Chain::compile(&of_listener, &Scope::new(&Limiters::default(), "l")).unwrap_err();

    let field = "abort.percentage.denominator";
    assert_eq!(on_route.path, format!("virtual_hosts[0].routes[0].typed_per_filter_config[{FAULT}].{field}"));
    assert_eq!(on_listener.path, format!("http_filters[0].typed_config.{field}"));
}

fn one_an_hour() -> FilterOverrides {
    let bucket = TokenBucket { capacity: 1, refill: NonZeroU32::MIN, interval: Duration::from_secs(3_600) };
    let limit = LocalRateLimit {
        stat_prefix: "test".into(),
        status: 429,
        bucket: Some(bucket),
        enabled: ALL,
        enforced: ALL,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        descriptors: Vec::new(),
        stage: 0,
        per_connection: false,
        ratelimit_headers: false,
        always_consume_default: true,
        resource_exhausted: false,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: 20,
        retry_after: false,
        virtual_host_limits: VirtualHostLimits::Override,
    };
    let config = Some(FilterConfig::LocalRateLimit(Arc::new(limit)));
    FilterOverrides::from([(Arc::from(LOCAL_RATE_LIMIT), FilterOverride { disabled: false, config })])
}

fn passes(table: &RouteTable, path: &str) -> bool {
    let request = Request::get(path);
    let route = table.find(&request, 0).unwrap();
    let [word] = route.filters(None).route else { panic!("one filter is overridden") };
    let Some(CompiledFilterConfig::LocalRateLimit(limit)) = &word.config else { panic!("a rate limit") };
    let dice = LocalDice { enabled: || 0, enforced: || 0 };
    let verdict = limit.decide(limit.buckets(), &request, Sources::default(), &Facts::default(), dice, 0);
    verdict.outcome == Outcome::Within
}

#[test]
fn a_route_that_is_compiled_again_keeps_its_tokens_and_shares_them_with_no_namesake() {
    let limiters = Limiters::default();
    let limited = |path| {
        let mut own = route("default", prefix(path));
        own.filters = one_an_hour();
        own
    };
    let mut config = routes(vec![limited("/a"), limited("/b")]);
    let first = RouteTable::compile_in(&config, &limiters).unwrap();
    assert!(passes(&first, "/a"));
    assert!(passes(&first, "/b"), "of the same name, but another route");

    config.virtual_hosts[0].routes.insert(0, route("new", prefix("/new")));
    let again = RouteTable::compile_in(&config, &limiters).unwrap();
    drop(first);

    assert!(!passes(&again, "/a") && !passes(&again, "/b"));
    assert!(passes(&RouteTable::compile(&config).unwrap(), "/a"), "elsewhere they are full");
}

#[test]
fn routes_of_a_host_share_the_hosts_tokens() {
    let mut config = routes(vec![route("a", prefix("/a")), route("b", prefix("/b"))]);
    config.virtual_hosts[0].filters = one_an_hour();
    let table = RouteTable::compile(&config).unwrap();

    assert!(passes(&table, "/a"));
    assert!(!passes(&table, "/b"));
}
