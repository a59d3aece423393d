//! What is changed on a head's way, and by whom.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::listener::{HttpConnectionManager, NetworkFilter, ServerHeader};
use tidegate_xds::resource::route::{
    AppendAction, HeaderAddition, HeaderMutations, HostRewrite, PathRewrite, Redirect, RedirectPath, Route, RouteAction,
};

use crate::backend::scripted;
use crate::client::Client;
use crate::resources::{
    cluster, forward, inline, listener_with, manager, of_cluster, of_listener, proxy_with, route, routes,
};

/// A backend that writes down the last head it saw.
async fn recording() -> (SocketAddr, Arc<Mutex<String>>) {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&seen);
    let backend = scripted(move |mut connection| {
        let kept = Arc::clone(&kept);
        async move {
            loop {
                *kept.lock().expect("alive") = connection.head().await;
                connection.say("HTTP/1.1 200 OK\r\nserver: theirs\r\nx-secret: 1\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (backend, seen)
}

async fn with(
    changed: impl FnOnce(&mut HttpConnectionManager),
    route: Route,
) -> (tidegate_proxy::Proxy, Client, Arc<Mutex<String>>) {
    let (backend, seen) = recording().await;
    let mut http = manager(inline(routes("r", vec![route])));
    changed(&mut http);
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("backend", Http1, &[backend])),
        of_listener(listener_with("in", NetworkFilter::Http(Box::new(http)))),
    ])
    .await;
    (proxy, Client::connect(address).await, seen)
}

fn plain() -> Route {
    route("/", RouteAction::Forward(Box::new(forward("backend"))))
}

fn addition(name: &str, value: &str, append: AppendAction) -> HeaderAddition {
    HeaderAddition { name: name.into(), value: value.into(), append, keep_empty: false }
}

fn value(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        known.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

#[tokio::test]
async fn a_request_id_is_made_when_it_is_missing_and_kept_when_it_is_there() {
    let (_proxy, mut client, seen) = with(|http| http.generate_request_id = true, plain()).await;

    client.get("/").await;
    let made = value(&seen.lock().expect("alive"), "x-request-id").expect("made");
    client.get("/").await;
    let again = value(&seen.lock().expect("alive"), "x-request-id").expect("made");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n").await;
    client.answer().await;

    assert_eq!(made.len(), 36);
    assert_ne!(made, again);
    assert_eq!(value(&seen.lock().expect("alive"), "x-request-id").as_deref(), Some("mine"));
}

#[tokio::test]
async fn the_callers_address_is_appended_where_the_listener_uses_it() {
    let (_proxy, mut client, seen) = with(|http| http.use_remote_address = true, plain()).await;

    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n").await;
    client.answer().await;

    assert_eq!(value(&seen.lock().expect("alive"), "x-forwarded-for").as_deref(), Some("10.0.0.1, 127.0.0.1"));
}

#[tokio::test]
async fn mutations_rewrites_and_the_attempt_count_reach_the_backend() {
    let mut action = forward("backend");
    action.path_rewrite = PathRewrite::Prefix("/v2".into());
    action.host_rewrite = HostRewrite::Literal("inner.test".into());
    action.append_x_forwarded_host = true;
    let mut changed = route("/api", RouteAction::Forward(Box::new(action)));
    changed.request_headers = HeaderMutations {
        remove: vec!["cookie".into()],
        add: vec![addition("x-from", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", AppendAction::OverwriteIfExistsOrAdd)],
    };
    changed.response_headers = HeaderMutations {
        remove: vec!["x-secret".into()],
        add: vec![addition("x-by", "tidegate", AppendAction::AppendIfExistsOrAdd)],
    };
    let (_proxy, mut client, seen) = with(|_| {}, changed).await;

    client.send("GET /api/x?q HTTP/1.1\r\nHost: outer.test\r\nCookie: a=b\r\nX-From: liar\r\n\r\n").await;
    let answer = client.answer().await;

    let head = seen.lock().expect("alive").clone();
    assert!(head.starts_with("GET /v2/x?q HTTP/1.1\r\nHost: inner.test\r\n"), "{head}");
    assert_eq!(value(&head, "x-forwarded-host").as_deref(), Some("outer.test"));
    assert_eq!(value(&head, "x-from").as_deref(), Some("127.0.0.1"));
    assert_eq!(value(&head, "cookie"), None);
    assert_eq!((answer.field("x-by"), answer.field("x-secret")), (Some("tidegate"), None));
}

#[tokio::test]
async fn the_server_field_is_what_the_listener_says() {
    let cases = [
        (ServerHeader::PassThrough, "theirs"),
        (ServerHeader::Overwrite("ours".into()), "ours"),
        (ServerHeader::AppendIfAbsent("ours".into()), "theirs"),
    ];
    for (rule, expected) in cases {
        let (_proxy, mut client, _) = with(|http| http.server_header = rule.clone(), plain()).await;

        assert_eq!(client.get("/").await.field("server"), Some(expected), "{rule:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_answered_here() {
    let redirect = Redirect {
        scheme: Some("https".into()),
        host: None,
        port: None,
        path: RedirectPath::Keep,
        status: 301,
        strip_query: false,
    };
    let (_proxy, mut client, seen) = with(|_| {}, route("/", RouteAction::Redirect(Box::new(redirect)))).await;

    let answer = client.get("/a?b").await;

    assert_eq!((answer.status, answer.field("location")), (301, Some("https://example/a?b")));
    assert!(seen.lock().expect("alive").is_empty());
}

#[tokio::test]
async fn path_parameters_do_not_hide_a_path_from_its_route_and_are_sent_on() {
    let (_proxy, mut client, seen) =
        with(|_| {}, route("/admin", RouteAction::Forward(Box::new(forward("backend"))))).await;

    assert_eq!(client.get("/admin;c/d").await.status, 200);

    assert!(seen.lock().expect("alive").starts_with("GET /admin;c/d HTTP/1.1"));
}
