//! Configuration that changes under traffic, and configuration that must not be taken.

use std::sync::Arc;

use tidegate_proxy::{Options, Refused};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tidegate_xds::resource::listener::RouteSource;
use tidegate_xds::resource::route::{DirectResponse, RouteAction};

use crate::backend::echo;
use crate::client::{Client, get};
use crate::resources::{
    all_to, assignment, cluster, eds_cluster, http_listener, inline, of_cluster, of_listener, of_routes, options,
    proxy_with, route, routes, start_with,
};

fn rds(name: &str) -> RouteSource {
    RouteSource::Rds(name.into())
}

#[tokio::test]
async fn a_new_route_acts_on_the_next_request_of_an_open_connection() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_cluster(cluster("two", Http1, &[echo("two").await])),
        of_routes(all_to("r", "one")),
        of_listener(http_listener("in", rds("r"))),
    ])
    .await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.text(), "one GET / ");

    assert_eq!(proxy.apply([of_routes(all_to("r", "two"))]).await, []);

    assert_eq!(client.get("/").await.text(), "two GET / ");
}

#[tokio::test]
async fn a_thousand_changes_under_traffic_fail_no_request() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_cluster(cluster("two", Http1, &[echo("two").await])),
        of_routes(all_to("r", "one")),
        of_listener(http_listener("in", rds("r"))),
    ])
    .await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers = (0..4).map(|_| {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut served = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(client.get("/").await.status, 200);
                served += 1;
            }
            served
        })
    });
    let callers: Vec<_> = callers.collect();

    for number in 0..1_000 {
        let target = if number % 2 == 0 { "two" } else { "one" };
        assert_eq!(proxy.apply([of_routes(all_to("r", target))]).await, []);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);

    for caller in callers {
        assert!(caller.await.expect("no request failed") > 0);
    }
}

#[tokio::test]
async fn endpoints_that_change_are_used_from_the_next_request_on() {
    let (one, two) = (echo("one").await, echo("two").await);
    let (proxy, address) = proxy_with(vec![
        of_cluster(eds_cluster("c")),
        assignment("c", &[one]),
        of_listener(http_listener("in", inline(all_to("r", "c")))),
    ])
    .await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.text(), "one GET / ");

    assert_eq!(proxy.apply([assignment("c", &[two])]).await, []);

    assert_eq!(client.get("/").await.text(), "two GET / ");
}

#[tokio::test]
async fn a_changed_listener_keeps_its_socket_and_its_connections() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_listener(http_listener("in", inline(all_to("r", "one")))),
    ])
    .await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.status, 200);

    let fixed = RouteAction::DirectResponse(DirectResponse { status: 418, body: Arc::from(&b"short and stout"[..]) });
    let changed = http_listener("in", inline(routes("r", vec![route("/", fixed)])));
    assert_eq!(proxy.apply([of_listener(changed)]).await, []);

    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.text()), (418, "short and stout"));
    assert_eq!(proxy.listener_address("in").await, Some(address));
}

#[tokio::test]
async fn a_removed_listener_finishes_what_it_has_and_takes_no_more() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_listener(http_listener("in", inline(all_to("r", "one")))),
    ])
    .await;
    let mut client = Client::connect(address).await;
    let mut idle = Client::connect(address).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(idle.get("/").await.status, 200);

    assert_eq!(proxy.remove(ResourceType::Listener, ["in".into()]).await, []);

    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    client.closed().await;
    idle.closed().await;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bad_resource_is_refused_by_name_and_path_and_the_good_ones_apply() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_routes(all_to("r", "one")),
        of_listener(http_listener("in", rds("r"))),
    ])
    .await;
    let taken = {
        let mut listener = http_listener("taken", inline(all_to("x", "one")));
        if let tidegate_xds::resource::listener::ListenerKind::Socket(socket) = &mut listener.kind {
            socket.address = address;
        }
        of_listener(listener)
    };

    let two = of_cluster(cluster("two", Http1, &[echo("two").await]));
    let refused = proxy.apply([taken, two, of_routes(all_to("r", "two"))]).await;

    let [Refused { name, reason }] = &refused[..] else { panic!("one is refused, not {refused:?}") };
    assert_eq!(&**name, "taken");
    assert!(reason.starts_with("address: cannot listen on "), "{reason}");
    assert_eq!(get(address, "/").await.text(), "two GET / ");
}

#[tokio::test]
async fn a_cluster_in_use_outlives_its_removal_until_no_route_names_it() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_cluster(cluster("two", Http1, &[echo("two").await])),
        of_routes(all_to("r", "one")),
        of_listener(http_listener("in", rds("r"))),
    ])
    .await;

    proxy.remove(ResourceType::Cluster, ["one".into()]).await;
    assert_eq!(get(address, "/").await.text(), "one GET / ");
    proxy.apply([of_routes(all_to("r", "two"))]).await;
    assert_eq!(get(address, "/").await.text(), "two GET / ");

    let admin = proxy.admin_address().expect("admin");
    assert!(!get(admin, "/clusters").await.text().contains("one::"));
}

#[tokio::test]
async fn a_restart_serves_from_disk_without_a_control_plane() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let kept = || Options { state_dir: Some(directory.path().to_owned()), ..options() };
    let backend = echo("one").await;
    let (proxy, _) = start_with(
        kept(),
        vec![
            of_cluster(eds_cluster("c")),
            assignment("c", &[backend]),
            of_routes(all_to("r", "c")),
            of_listener(http_listener("in", rds("r"))),
        ],
    )
    .await;
    drop(proxy);

    let started = std::time::Duration::from_secs(1);
    let (proxy, address) = tokio::time::timeout(started, start_with(kept(), Vec::new())).await.expect("within 1 s");

    assert_eq!(get(address, "/").await.text(), "one GET / ");
    drop(proxy);
    let file = directory.path().join("last-good.tidegate");
    let whole = std::fs::read(&file).expect("kept");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("torn");
    let proxy = tidegate_proxy::Proxy::start(kept()).expect("starts without it");
    assert_eq!(proxy.listener_address("in").await, None);
}

#[tokio::test]
async fn the_admin_pages_show_what_is_in_use() {
    let (proxy, address) = proxy_with(vec![
        of_cluster(cluster("one", Http1, &[echo("one").await])),
        of_listener(http_listener("in", inline(all_to("r", "one")))),
    ])
    .await;
    get(address, "/").await;
    let admin = proxy.admin_address().expect("admin");

    assert_eq!(get(admin, "/ready").await.text(), "LIVE\n");
    let stats = get(admin, "/stats/prometheus").await;
    for line in [
        "tidegate_requests_total{listener=\"in\",code_class=\"2xx\"} 1\n",
        "tidegate_upstream_requests_total{cluster=\"one\",code_class=\"2xx\"} 1\n",
        "tidegate_upstream_connect_total{cluster=\"one\"} 1\n",
        "tidegate_config_applied_total 1\n",
        "tidegate_panics_total 0\n",
    ] {
        assert!(stats.text().contains(line), "{line} is not in {}", stats.text());
    }
    assert!(get(admin, "/config_dump").await.text().contains("\"CDS\""));
    assert!(get(admin, "/server_info").await.text().contains("\"LIVE\""));
    assert_eq!(get(admin, "/drain").await.status, 405);
}

#[tokio::test]
async fn a_proxy_without_configuration_is_not_ready() {
    let proxy = tidegate_proxy::Proxy::start(options()).expect("starts");
    let admin = proxy.admin_address().expect("admin");

    assert_eq!(get(admin, "/ready").await.status, 503);
}

#[tokio::test]
async fn the_admin_pages_are_for_this_machine_only() {
    let open = Options { admin: Some("0.0.0.0:0".parse().expect("an address")), ..options() };

    assert!(tidegate_proxy::Proxy::start(open).is_err());
}
