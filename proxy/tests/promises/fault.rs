//! Faults that are injected on purpose: they come as configured, end when they should, and retries work against them.

use std::time::{Duration, SystemTime};

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::filter::{
    FAULT, Fault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay, FilterConfig, FilterOverride, HttpFilter,
};
use tidegate_xds::resource::listener::NetworkFilter;
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{RetryOn, RetryPolicy, Route, RouteAction};
use tokio::time::Instant;

use crate::backend::{echo, says, scripted};
use crate::client::{Client, get};
use crate::resources::{
    cluster, forward, inline, listener_with, manager, of_cluster, of_listener, proxy_with, route, routes,
};

const ALWAYS: Fraction = Fraction { numerator: 100, denominator: 100 };
const HALF: Fraction = Fraction { numerator: 50, denominator: 100 };

fn abort(with: FaultAnswer, percentage: Fraction) -> Fault {
    Fault { abort: Some(FaultAbort { with, percentage }), ..Fault::default() }
}

fn delay(fixed: Duration) -> Fault {
    Fault { delay: Some(FaultDelay { fixed: Some(fixed), percentage: ALWAYS }), ..Fault::default() }
}

/// An expiry is a time of day, and the proxy under test reads the real clock.
#[expect(clippy::disallowed_methods, reason = "compared with the proxy's own reading of the wall clock")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A route to the backend under a fault.
fn faulty(fault: Fault) -> Route {
    let mut route = route("/", RouteAction::Forward(Box::new(forward("backend"))));
    let config = Some(FilterConfig::Fault(fault.into()));
    route.filters.insert(FAULT.into(), FilterOverride { disabled: false, config });
    route.policies.insert("fault".into(), "shop/slow faults.yaml:3".into());
    route
}

async fn proxy(route: Route, backend: std::net::SocketAddr) -> (tidegate_proxy::Proxy, std::net::SocketAddr) {
    let mut manager = manager(inline(routes("r", vec![route])));
    let config = FilterConfig::Fault(Fault::default().into());
    manager.http_filters.push(HttpFilter { name: FAULT.into(), disabled: false, config });
    proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(listener_with("in", NetworkFilter::Http(Box::new(manager)))),
    ])
    .await
}

#[tokio::test]
async fn an_abort_says_what_it_is_and_the_connection_goes_on() {
    let (proxy, address) = proxy(faulty(abort(FaultAnswer::Http(418), ALWAYS)), echo("one").await).await;
    let mut client = Client::connect(address).await;

    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!((answer.status, answer.text()), (418, "fault filter abort"));
        assert_eq!(
            answer.field("x-mesh-error"),
            Some("FI; policy=shop/slow faults.yaml:3; details=fault_filter_abort")
        );
    }
    let metrics = get(proxy.admin_address().expect("admin"), "/stats/prometheus").await;
    assert!(metrics.text().contains("tidegate_rejections_total{flag=\"FI\"} 2\n"));
}

#[tokio::test]
async fn an_abort_by_a_grpc_status_has_grpcs_form() {
    let (_proxy, address) = proxy(faulty(abort(FaultAnswer::Grpc(14), ALWAYS)), echo("one").await).await;
    let mut client = Client::connect(address).await;

    client.send("POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.answer().await;

    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")));
    assert_eq!(answer.field("grpc-message"), Some("fault filter abort"));
}

#[tokio::test]
async fn a_reset_leaves_no_answer() {
    let (_proxy, address) = proxy(faulty(abort(FaultAnswer::Reset, ALWAYS)), echo("one").await).await;
    let mut client = Client::connect(address).await;

    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;

    client.closed().await;
}

#[tokio::test]
async fn a_delay_does_not_count_towards_the_routes_limit() {
    let mut route = faulty(delay(Duration::from_millis(300)));
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.timeout = Some(Duration::from_millis(200));
    }
    let (_proxy, address) = proxy(route, echo("one").await).await;
    let started = Instant::now();

    let answer = get(address, "/").await;

    assert_eq!(answer.status, 200);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(700), "{took:?}");
}

#[tokio::test]
async fn a_fault_ends_when_its_time_is_over() {
    let now = unix_seconds();
    for (expires_at, status) in [(now - 1, 200), (now + 60, 500)] {
        let fault = Fault { expires_at_unix_s: Some(expires_at), ..abort(FaultAnswer::Http(500), ALWAYS) };
        let (_proxy, address) = proxy(faulty(fault), echo("one").await).await;

        assert_eq!(get(address, "/").await.status, status);
    }
}

#[tokio::test]
async fn retries_work_against_a_fault_below_them() {
    let fault = Fault { per_attempt: true, ..abort(FaultAnswer::Http(503), HALF) };
    let mut route = faulty(fault);
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.retry = Some(RetryPolicy {
            retry_on: vec![RetryOn::FiveXx],
            num_retries: 3,
            back_off_base: Duration::from_millis(1),
            back_off_max: Duration::from_millis(2),
            ..RetryPolicy::default()
        });
    }
    let (_proxy, address) = proxy(route, echo("one").await).await;
    let mut client = Client::connect(address).await;

    let mut good = 0;
    for _ in 0..400 {
        good += usize::from(client.get("/").await.status == 200);
    }

    // One in sixteen fails all four times: 375 of 400, with a deviation of 5. Four of those to either side.
    assert!((355..=395).contains(&good), "{good} of 400");
}

#[tokio::test]
async fn a_delay_of_an_attempt_runs_into_the_attempts_limit() {
    let mut route = faulty(Fault { per_attempt: true, ..delay(Duration::from_secs(5)) });
    if let RouteAction::Forward(forward) = &mut route.action {
        forward.retry = Some(RetryPolicy {
            retry_on: vec![RetryOn::GatewayError],
            num_retries: 1,
            per_try_timeout: Some(Duration::from_millis(50)),
            ..RetryPolicy::default()
        });
    }
    let (_proxy, address) = proxy(route, echo("one").await).await;

    let answer = get(address, "/").await;

    assert_eq!((answer.status, answer.field("x-mesh-error")), (504, Some("UT,URX; details=upstream_per_try_timeout")));
}

#[tokio::test]
async fn a_slow_answer_flows_at_its_speed() {
    let length = 64 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let answer: &'static str = Box::leak(format!("{head}{}", "x".repeat(length)).into_boxed_str());
    let bandwidth = FaultBandwidth { kib_per_second: Some(128), percentage: ALWAYS };
    let fault = Fault { bandwidth: Some(bandwidth), ..Fault::default() };
    let (_proxy, address) = proxy(faulty(fault), says(answer).await).await;
    let started = Instant::now();

    let answer = get(address, "/").await;

    assert_eq!(answer.body.len(), length);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn a_caller_that_leaves_during_a_delay_reaches_nobody() {
    let backend = scripted(|mut connection| async move { panic!("{}", connection.head().await) }).await;
    let (proxy, address) = proxy(faulty(delay(Duration::from_secs(60))), backend).await;
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let admin = proxy.admin_address().expect("admin");
    while !get(admin, "/stats/prometheus").await.text().contains("tidegate_rejections_total{flag=\"DI\"} 1\n") {}

    drop(client);

    while !get(admin, "/stats/prometheus").await.text().contains("tidegate_rejections_total{flag=\"DC\"} 1\n") {}
}
