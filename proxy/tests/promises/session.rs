//! Stickiness: a user stays with a version, and a session with its endpoint.

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::filter::{
    FilterConfig, FilterOverride, HttpFilter, STATEFUL_SESSION, SessionCarrier, StatefulSession,
};
use tidegate_xds::resource::listener::NetworkFilter;
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, HashPolicy, HashSource, RouteAction, WeightDraw, WeightedCluster, WeightedClusters,
};

use crate::backend::echo;
use crate::client::Client;
use crate::resources::{
    cluster, forward, http_listener, inline, listener_with, manager, of_cluster, of_listener, proxy_with, route, routes,
};

fn split(new: u32) -> RouteAction {
    let member = |name: &str, weight| WeightedCluster { name: name.into(), weight, ..WeightedCluster::default() };
    let mut split = WeightedClusters::new(vec![member("new", new), member("old", 100 - new)]).expect("weights");
    split.draw = WeightDraw::Hash;
    let mut forward = Forward::to(ClusterSpecifier::Weighted(split));
    let source = HashSource::Cookie {
        name: "user".into(),
        ttl: Some(Duration::from_secs(3600)),
        path: "/".into(),
        attributes: Vec::new(),
    };
    forward.hash_policy.push(HashPolicy { source, terminal: true });
    RouteAction::Forward(Box::new(forward))
}

#[tokio::test]
async fn a_user_stays_with_a_version_and_never_moves_back_while_its_share_grows() {
    let listener = |share| of_listener(http_listener("in", inline(routes("r", vec![route("/", split(share))]))));
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("new", Http1, &[echo("new").await])),
        of_cluster(cluster("old", Http1, &[echo("old").await])),
        listener(10),
    ])
    .await;
    let mut client = Client::connect(address).await;
    let mut users = Vec::new();
    for _ in 0..40 {
        let answer = client.get("/").await;
        let cookie = answer.field("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
        users.push((cookie, answer.text().starts_with("new")));
    }

    let mut on_new = Vec::new();
    for share in [10, 50, 100] {
        assert_eq!(proxy.apply([listener(share)]).await, Vec::new());
        for (cookie, was_new) in &mut users {
            for _ in 0..2 {
                client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")).await;
                let answer = client.answer().await;
                assert_eq!(answer.field("set-cookie"), None, "the cookie is known");
                let is_new = answer.text().starts_with("new");
                assert!(is_new || !*was_new, "{cookie} moved back at {share} %");
                assert!(share != 10 || is_new == *was_new, "{cookie} moved without a reason");
                *was_new = is_new;
            }
        }
        on_new.push(users.iter().filter(|(_, is_new)| *is_new).count());
    }

    assert!(on_new[0] < on_new[1] && on_new[2] == 40, "{on_new:?}");
}

#[tokio::test]
async fn a_session_stays_with_its_endpoint() {
    let endpoints = [echo("a").await, echo("b").await, echo("c").await];
    let mut route = route("/", RouteAction::Forward(Box::new(forward("backend"))));
    let carrier = SessionCarrier::Cookie { name: "session".into(), path: "/".into(), ttl: None };
    let config = FilterConfig::StatefulSession(Some(Arc::new(StatefulSession { carrier, strict: false })));
    route.filters.insert(STATEFUL_SESSION.into(), FilterOverride { disabled: false, config: Some(config) });
    let mut manager = manager(inline(routes("r", vec![route])));
    let listed = FilterConfig::StatefulSession(None);
    manager.http_filters.push(HttpFilter { name: STATEFUL_SESSION.into(), disabled: false, config: listed });
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &endpoints)),
        of_listener(listener_with("in", NetworkFilter::Http(Box::new(manager)))),
    ])
    .await;
    let mut client = Client::connect(address).await;
    let first = client.get("/").await;
    let cookie = first.field("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();

    for _ in 0..12 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.field("set-cookie")), (first.text(), None));
    }

    let gone = ["a", "b", "c"].iter().position(|name| first.text().starts_with(name)).expect("one of them");
    let left: Vec<_> = endpoints.iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, address)| *address).collect();
    assert_eq!(proxy.apply([of_cluster(cluster("backend", Http1, &left))]).await, Vec::new());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")).await;
    let moved = client.answer().await;
    assert_ne!(moved.text(), first.text());
    assert!(moved.field("set-cookie").is_some(), "the session begins anew");
}
