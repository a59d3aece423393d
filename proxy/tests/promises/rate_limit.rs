//! Local rate limits: they hold what they say, for whom they say it, through changes of configuration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proxy::Proxy;
use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::filter::{
    FilterConfig, FilterOverride, HttpFilter, LOCAL_RATE_LIMIT, LocalDescriptor, LocalRateLimit, RateLimitAction,
    RateLimitActions, TokenBucket, VirtualHostLimits,
};
use tidegate_xds::resource::listener::NetworkFilter;
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{Route, RouteAction};
use tokio::time::Instant;

use crate::backend::echo;
use crate::client::{Answer, Client, get};
use crate::resources::{
    cluster, forward, inline, listener_with, manager, of_cluster, of_listener, proxy_with, route, routes,
};

const ALWAYS: Fraction = Fraction { numerator: 100, denominator: 100 };
const NEVER: Fraction = Fraction { numerator: 0, denominator: 100 };

fn bucket(capacity: u32, refill: u32, interval: Duration) -> TokenBucket {
    TokenBucket { capacity, refill: NonZeroU32::new(refill).expect("not zero"), interval }
}

/// So slow that no token comes back during a test.
fn burst(capacity: u32) -> TokenBucket {
    bucket(capacity, 1, Duration::from_secs(3600))
}

fn limit(bucket: Option<TokenBucket>) -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: "test".into(),
        status: 429,
        bucket,
        enabled: ALWAYS,
        enforced: ALWAYS,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        descriptors: Vec::new(),
        stage: 0,
        per_connection: false,
        ratelimit_headers: true,
        always_consume_default: true,
        resource_exhausted: false,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: 100,
        retry_after: false,
        virtual_host_limits: VirtualHostLimits::Override,
    }
}

fn limited(limit: LocalRateLimit) -> Route {
    let mut route = route("/", RouteAction::Forward(Box::new(forward("backend"))));
    let config = Some(FilterConfig::LocalRateLimit(Arc::new(limit)));
    route.filters.insert(LOCAL_RATE_LIMIT.into(), FilterOverride { disabled: false, config });
    route.policies.insert("rate_limit".into(), "shop/gentle limits.yaml:7".into());
    route
}

fn listener(route: Route) -> tidegate_xds::resource::Resource {
    let mut manager = manager(inline(routes("r", vec![route])));
    let config = FilterConfig::LocalRateLimit(Arc::new(LocalRateLimit { enabled: NEVER, ..limit(None) }));
    manager.http_filters.push(HttpFilter { name: LOCAL_RATE_LIMIT.into(), disabled: false, config });
    of_listener(listener_with("in", NetworkFilter::Http(Box::new(manager))))
}

async fn proxy(route: Route) -> (Proxy, SocketAddr) {
    proxy_with(vec![of_cluster(cluster("backend", Http1, &[echo("one").await])), listener(route)]).await
}

#[tokio::test]
async fn a_refusal_says_what_when_and_by_whom() {
    let (proxy, address) = proxy(limited(limit(Some(burst(2))))).await;
    let mut client = Client::connect(address).await;

    let first = client.get("/").await;
    assert_eq!((first.status, first.field("x-ratelimit-limit")), (200, Some("2")));
    assert_eq!(first.field("x-ratelimit-remaining"), Some("1"));
    client.get("/").await;
    let refused = client.get("/").await;

    assert_eq!((refused.status, refused.text()), (429, "local_rate_limited"));
    assert_eq!(refused.field("x-envoy-ratelimited"), Some("true"));
    assert_eq!(refused.field("x-ratelimit-remaining"), Some("0"));
    let error = "RL; policy=shop/gentle limits.yaml:7; details=local_rate_limited";
    assert_eq!(refused.field("x-mesh-error"), Some(error));
    let page = get(proxy.admin_address().expect("admin"), "/stats/prometheus").await;
    assert!(page.text().contains("tidegate_local_rate_limit_total{listener=\"in\",outcome=\"refused\"} 1\n"));
    assert!(page.text().contains("tidegate_local_rate_limit_total{listener=\"in\",outcome=\"passed\"} 2\n"));
}

#[tokio::test]
async fn three_times_the_rate_lets_the_rate_through() {
    // 100 a second, and 10 at once; offered by three callers on both workers for a second.
    let (_proxy, address) = proxy(limited(limit(Some(bucket(10, 10, Duration::from_millis(100)))))).await;
    let started = Instant::now();
    let end = Instant::now() + Duration::from_secs(1);
    let callers = (0..3).map(|_| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let (mut offered, mut passed) = (0, 0);
            while Instant::now() < end {
                ticks.tick().await;
                offered += 1;
                passed += u32::from(client.get("/").await.status == 200);
            }
            (offered, passed)
        })
    });
    let (mut offered, mut passed) = (0, 0);
    for caller in callers.collect::<Vec<_>>() {
        let counts = caller.await.expect("served");
        offered += counts.0;
        passed += counts.1;
    }

    // What the bucket may give in the time that it took, to the token; and nearly all of it, since more was asked for.
    let most = 10.0 + 100.0 * started.elapsed().as_secs_f64();
    assert!(f64::from(passed) <= most, "{passed} of {offered}, at most {most}");
    assert!(offered < 200 || f64::from(passed) >= most * 0.8, "{passed} of {offered}, at most {most}");
}

#[tokio::test]
async fn a_shadowed_limit_lets_everything_through_and_counts() {
    let shadow = LocalRateLimit { enforced: NEVER, ..limit(Some(burst(1))) };
    let (proxy, address) = proxy(limited(shadow)).await;
    let mut client = Client::connect(address).await;

    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }

    let page = get(proxy.admin_address().expect("admin"), "/stats/prometheus").await;
    assert!(page.text().contains("tidegate_local_rate_limit_total{listener=\"in\",outcome=\"shadowed\"} 2\n"));
}

#[tokio::test]
async fn each_value_of_a_key_has_a_bucket_of_its_own() {
    let by_user = RateLimitActions {
        stage: 0,
        actions: vec![RateLimitAction::RequestHeader {
            header: "x-user".into(),
            key: "user".into(),
            skip_if_absent: false,
        }],
        hits: 1,
        lease: None,
    };
    let descriptors = vec![LocalDescriptor { entries: vec![("user".into(), "".into())], bucket: burst(1) }];
    let (_proxy, address) =
        proxy(limited(LocalRateLimit { descriptors, rate_limits: vec![by_user], ..limit(None) })).await;
    let mut client = Client::connect(address).await;

    for (user, status) in [("ann", 200), ("bob", 200), ("ann", 429), ("bob", 429), ("cyd", 200)] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nx-user: {user}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, status, "{user}");
    }
    assert_eq!(client.get("/").await.status, 200, "who is nobody is not counted");
}

#[tokio::test]
async fn a_connection_may_have_a_bucket_of_its_own() {
    let (_proxy, address) = proxy(limited(LocalRateLimit { per_connection: true, ..limit(Some(burst(1))) })).await;

    for _ in 0..2 {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/").await.status, 429);
    }
}

#[tokio::test]
async fn an_empty_bucket_stays_empty_when_something_else_changes() {
    let (proxy, address) = proxy(limited(limit(Some(burst(1))))).await;
    let mut client = Client::connect(address).await;
    let statuses = |answers: [Answer; 2]| answers.map(|answer| answer.status);
    assert_eq!(statuses([client.get("/").await, client.get("/").await]), [200, 429]);

    let mut changed = limited(limit(Some(burst(1))));
    if let RouteAction::Forward(forward) = &mut changed.action {
        forward.timeout = Some(Duration::from_secs(7));
    }
    assert_eq!(proxy.apply([listener(changed)]).await, Vec::new());
    assert_eq!(client.get("/").await.status, 429);

    assert_eq!(proxy.apply([listener(limited(limit(Some(burst(2)))))]).await, Vec::new());
    assert_eq!(client.get("/").await.status, 200, "another size is another bucket");
}

#[tokio::test]
async fn a_grpc_caller_is_refused_in_its_own_words() {
    let (_proxy, address) = proxy(limited(LocalRateLimit { resource_exhausted: true, ..limit(Some(burst(0))) })).await;
    let mut client = Client::connect(address).await;

    client.send("POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.answer().await;

    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("8")));
}
