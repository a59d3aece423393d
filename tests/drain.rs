//! Promise: a proxy that is asked to end finishes what it has begun, takes nothing new, and then is gone.

use std::time::Duration;

use http::Request;
use hyper::StatusCode;
use tokio::task::JoinHandle;

use crate::harness::client::Answer;
use crate::harness::{Client, Mesh, wait};

/// How long the applications think about a slow request.
const DELAY_MS: u64 = 1_500;
/// The slow request, and a busy machine.
const END_LIMIT: Duration = Duration::from_secs(15);

fn slow_request(mut client: Client) -> JoinHandle<Result<Answer, String>> {
    let request = Request::get("/slow").header("host", "reviews:9080").header("x-delay-ms", DELAY_MS);
    tokio::spawn(async move { client.send(request).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_answered_before_a_proxy_ends() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let backend = &mesh.backends["reviews-v1"];
    let in_flight: Vec<_> = (0..5).map(|_| slow_request(mesh.client("web-v1"))).collect();
    wait::until("the requests have reached the application", END_LIMIT, || async { backend.requests() == 5 }).await;

    let proxy = mesh.proxies.get_mut("web-v1").expect("it was planned");
    assert!(proxy.is_running());
    let ended = tokio::task::block_in_place(|| proxy.terminate(END_LIMIT));

    assert!(ended.success(), "an orderly end is no failure: {ended}\n{}", proxy.log());
    for request in in_flight {
        let answer = request.await.expect("the client does not panic").expect("the answer was not cut off");
        assert_eq!((answer.status, answer.version()), (StatusCode::OK, "v1"));
    }
    let late = mesh.client("web-v1").get("reviews:9080", "/").await;
    assert!(late.is_err(), "nobody listens any more: {late:?}");
}
