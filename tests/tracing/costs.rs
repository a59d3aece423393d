//! A collector that hangs, refuses or is slow costs no request anything, and no memory beyond the queue.
//!
//! # Why two clients
//! A machine is not equally fast from one second to the next. The sidecar without collectors is asked in turns with the one that has
//! one of each kind, all in the same trouble; so both meet the same machine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

use crate::harness::load::{Seen, fail};
use crate::harness::process::resident_kib;
use crate::harness::{Backend, Client, Mesh, wait};

/// Of each client.
const REQUESTS: usize = 5_000;
/// In turns of so many.
const TURN: usize = 250;
/// Until queues are as long as they ever get, which takes about 3,000.
const FILLING_MAX: u64 = 40_000;
/// A batch is offered three times, for five seconds and some each.
const GIVEN_UP_LIMIT: Duration = Duration::from_secs(40);
/// What allocators and tables of connections take, whatever is traced.
const GROWTH_KIB_MAX: u64 = 2_048;
/// Clones of a span on its way, and the kernel's buffers.
const P99_SLACK_MS: f64 = 3.0;
/// A collector that takes its time.
const SLOW: Duration = Duration::from_secs(2);

/// The arguments for a collector of each kind at one address.
fn flags(collector: SocketAddr) -> Vec<String> {
    let to = [
        format!("otlp={collector}"),
        format!("otlp-http=http://{collector}/v1/traces"),
        format!("zipkin=http://{collector}/api/v2/spans"),
        format!("skywalking={collector}"),
    ];
    let to = to.into_iter().flat_map(|to| ["--trace-to".to_owned(), to]);
    to.chain(["--trace-sample".to_owned(), "100".to_owned()]).collect()
}

async fn ask(client: &mut Client, count: usize, seen: &mut Seen) {
    for _ in 0..count {
        let asked = wait::now();
        seen.requests += 1;
        match client.get("reviews:9080", "/").await {
            Ok(answer) if answer.status == 200 => seen.took(asked.elapsed()),
            Ok(answer) => fail(seen, answer.status.to_string()),
            Err(error) => fail(seen, error),
        }
    }
}

/// `tidegate_spans_total` of a sidecar by collector: exported, dropped, failed.
async fn spans(mesh: &Mesh, workload: &str) -> Vec<(String, [u64; 3])> {
    let page = Client::new(mesh.admin(workload)).get("localhost", "/metrics").await.expect("it answers").text();
    let mut counts: Vec<(String, [u64; 3])> = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("tidegate_spans_total{")) {
        let (labels, count) = line.rsplit_once(' ').expect("a value");
        let label = |name: &str| {
            let from = labels.split_once(&format!("{name}=\"")).expect(name).1;
            from.split_once('"').expect("a closing quote").0.to_owned()
        };
        let (collector, outcome) = (label("collector"), label("outcome"));
        let at = ["exported", "dropped", "failed"].iter().position(|known| *known == outcome).expect("an outcome");
        let of = counts.iter().position(|(name, _)| *name == collector).unwrap_or_else(|| {
            counts.push((collector, [0; 3]));
            counts.len() - 1
        });
        counts[of].1[at] = count.parse().expect("a count");
    }
    counts
}

/// Requests through a sidecar whose collectors are all at `collector` fare as those through one that has none. `outcomes`: what
/// becomes of spans, out of exported, dropped and failed, in the end.
async fn assert_free(collector: SocketAddr, mesh: &mut Mesh, outcomes: [bool; 3]) {
    let flags = flags(collector);
    mesh.restart_proxy("web-v1", &flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut traced, mut plain) = (mesh.client("web-v1"), mesh.client("cart-v1"));
    ask(&mut plain, 500, &mut Seen::default()).await;
    let mut filling = Seen::default();
    while !spans(mesh, "web-v1").await.iter().all(|(_, [_, dropped, _])| *dropped > 0) {
        ask(&mut traced, TURN, &mut filling).await;
        assert!(filling.requests < FILLING_MAX, "queues do not fill: {:?}", spans(mesh, "web-v1").await);
    }
    let pid = mesh.proxies["web-v1"].id();
    let before = resident_kib(pid);

    let (mut with, mut without) = (Seen::default(), Seen::default());
    for _ in 0..REQUESTS / TURN {
        ask(&mut traced, TURN, &mut with).await;
        ask(&mut plain, TURN, &mut without).await;
    }

    let after = resident_kib(pid);
    let (p99, p99_without) = (with.percentile_ms(99.0), without.percentile_ms(99.0));
    println!("{} requests, {} failed; p99 {p99:.2} ms, {p99_without:.2} ms without", with.requests, with.failed);
    println!("{} requests before; resident {before} KiB, then {after} KiB", filling.requests);
    assert_eq!((with.requests, with.failed), (REQUESTS as u64, 0), "{:?}", with.failures);
    assert_eq!(filling.failed, 0, "{:?}", filling.failures);
    assert!(after <= before + GROWTH_KIB_MAX, "grown from {before} KiB to {after} KiB");
    assert!(p99 <= p99_without * 2.0 + P99_SLACK_MS, "p99 {p99:.2} ms instead of {p99_without:.2} ms");
    let sent = filling.requests + with.requests;
    let is_as_told = |[exported, dropped, failed]: [u64; 3]| {
        [exported, dropped, failed].map(|count| count > 0) == outcomes && exported + dropped + failed <= sent
    };
    wait::until("spans are counted as what became of them", GIVEN_UP_LIMIT, || async {
        spans(mesh, "web-v1").await.iter().all(|(_, counts)| is_as_told(*counts))
    })
    .await;
    let counts = spans(mesh, "web-v1").await;
    assert_eq!(counts.len(), 4, "{counts:?}");
    for (collector, [exported, dropped, failed]) in counts {
        println!("{collector}: {exported} exported, {dropped} dropped, {failed} failed of {sent}");
    }
}

/// Takes everything, in its own time. A gRPC call is answered with a message that says nothing; over HTTP nobody minds it.
async fn slow(stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| async {
        request.into_body().collect().await.ok();
        wait::pass(SLOW).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(std::future::ready(Some(Ok(trailers))));
        let answer = Response::builder().header("content-type", "application/grpc").body(body);
        Ok::<_, Infallible>(answer.expect("a response of literals is valid"))
    });
    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}

/// The mesh and where its collector is to be.
async fn mesh() -> (Mesh, SocketAddr) {
    let plan = Mesh::plan().service("reviews", &["v1"]).service("cart", &["v1"]);
    let collector = SocketAddr::from((plan.spare_host(200), 4317));
    (plan.start().await, collector)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracing_collector_that_never_answers_costs_no_request_anything() {
    let (mut mesh, address) = mesh().await;
    let _silent = Backend::raw(address, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;

    assert_free(address, &mut mesh, [false, true, true]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracing_collector_that_is_not_there_costs_no_request_anything() {
    let (mut mesh, address) = mesh().await;

    assert_free(address, &mut mesh, [false, true, true]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracing_collector_that_takes_two_seconds_costs_no_request_anything() {
    let (mut mesh, address) = mesh().await;
    let _slow = Backend::raw(address, slow).await;

    assert_free(address, &mut mesh, [true, true, false]).await;
}
