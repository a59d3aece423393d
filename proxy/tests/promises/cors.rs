//! Cross-origin resource sharing: who may ask, and who may read what.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_proxy::Proxy;
use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::filter::{
    CORS, Cors, FAULT, Fault, FaultAbort, FaultAnswer, FilterConfig, FilterOverride, HttpFilter,
};
use tidegate_xds::resource::listener::NetworkFilter;
use tidegate_xds::resource::matcher::{Fraction, StringMatcher};
use tidegate_xds::resource::route::{Route, RouteAction};

use crate::backend::echo;
use crate::client::Client;
use crate::resources::{
    cluster, forward, inline, listener_with, manager, of_cluster, of_listener, proxy_with, route, routes,
};

const ALWAYS: Fraction = Fraction { numerator: 100, denominator: 100 };

fn shared() -> Route {
    let mut route = route("/", RouteAction::Forward(Box::new(forward("backend"))));
    let cors = Cors {
        allow_origins: vec![StringMatcher::Exact { value: "https://shop.test".into(), ignore_case: false }],
        allow_methods: "GET,PUT".into(),
        allow_headers: "x-token".into(),
        expose_headers: "x-total".into(),
        max_age: "600".into(),
        allow_credentials: true,
        enabled: ALWAYS,
        forward_not_matching_preflights: false,
        allow_private_network_access: false,
    };
    let config = Some(FilterConfig::Cors(Some(Arc::new(cors))));
    route.filters.insert(CORS.into(), FilterOverride { disabled: false, config });
    route
}

async fn proxy(route: Route) -> (Proxy, SocketAddr) {
    let mut manager = manager(inline(routes("r", vec![route])));
    for (name, config) in [(CORS, FilterConfig::Cors(None)), (FAULT, FilterConfig::Fault(Arc::default()))] {
        manager.http_filters.push(HttpFilter { name: name.into(), disabled: false, config });
    }
    proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[echo("one").await])),
        of_listener(listener_with("in", NetworkFilter::Http(Box::new(manager)))),
    ])
    .await
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_the_connection_goes_on() {
    let (_proxy, address) = proxy(shared()).await;
    let mut client = Client::connect(address).await;

    for (origin, allowed) in [("https://shop.test", true), ("https://evil.test", false)] {
        client
            .send(format!(
                "OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, ""), "{origin}");
        assert_eq!(answer.field("access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(answer.field("access-control-allow-methods"), allowed.then_some("GET,PUT"));
        assert_eq!(answer.field("access-control-max-age"), allowed.then_some("600"));
    }
}

#[tokio::test]
async fn an_answer_says_who_may_read_it() {
    let (_proxy, address) = proxy(shared()).await;
    let mut client = Client::connect(address).await;

    for (origin, allowed) in [("https://shop.test", true), ("https://evil.test", false)] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.text(), "one GET / ");
        assert_eq!(answer.field("access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(answer.field("access-control-expose-headers"), allowed.then_some("x-total"));
    }
}

#[tokio::test]
async fn a_refusal_made_here_can_be_read_as_well() {
    let mut route = shared();
    let abort = FaultAbort { with: FaultAnswer::Http(503), percentage: ALWAYS };
    let config = Some(FilterConfig::Fault(Arc::new(Fault { abort: Some(abort), ..Fault::default() })));
    route.filters.insert(FAULT.into(), FilterOverride { disabled: false, config });
    let (_proxy, address) = proxy(route).await;
    let mut client = Client::connect(address).await;

    client.send("GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.test\r\n\r\n").await;
    let answer = client.answer().await;

    assert_eq!((answer.status, answer.text()), (503, "fault filter abort"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://shop.test"));
}
