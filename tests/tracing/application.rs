//! Applications that know of one format of traces each: they copy its fields from the request that they serve to the one that
//! they make, and nothing else.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;

use crate::harness::client::Answer;
use crate::harness::{Backend, Client, wait};

/// How long the last application of a chain works: a span is no shorter than what happens in it.
pub(super) const WORK: Duration = Duration::from_millis(20);

/// The fields of a format, by the first segment of a path.
pub(super) const DIALECTS: [(&str, &[&str]); 4] = [
    ("w3c", &["traceparent", "tracestate"]),
    ("sw8", &["sw8"]),
    ("b3", &["b3"]),
    ("x-b3", &["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"]),
];

/// One at `address` that asks `next` through its own sidecar, which listens at `outbound`, for what it is asked for itself; its
/// answer is its own. Where nobody is next, it answers with the fields of the request. The first request for a path with
/// `flaky` in it fails there.
pub(super) async fn start(address: SocketAddr, outbound: SocketAddr, next: Option<&'static str>) -> Backend {
    let flaky = Arc::new(Mutex::new(BTreeSet::new()));
    Backend::raw(address, move |stream| {
        let flaky = Arc::clone(&flaky);
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let flaky = Arc::clone(&flaky);
                async move {
                    let (status, body) = match next {
                        Some(next) => {
                            let answer = ask(outbound, next, &request).await.expect("the mesh answers");
                            (answer.status.as_u16(), answer.body)
                        }
                        None => work(&flaky, &request).await,
                    };
                    let answer = Response::builder().status(status).body(Full::new(body));
                    Ok::<_, Infallible>(answer.expect("a status that was received is one"))
                }
            });
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        }
    })
    .await
}

async fn ask(outbound: SocketAddr, next: &str, request: &Request<Incoming>) -> Result<Answer, String> {
    let path = request.uri().path();
    let known = DIALECTS.iter().find(|(name, _)| path.split('/').nth(1) == Some(*name));
    let (_, fields) = known.expect("a path begins with a format");
    let mut onward = Request::get(path).header("host", format!("{next}:9080"));
    for field in *fields {
        for value in request.headers().get_all(*field) {
            onward = onward.header(*field, value);
        }
    }
    Client::new(outbound).send(onward).await
}

async fn work(flaky: &Mutex<BTreeSet<String>>, request: &Request<Incoming>) -> (u16, Bytes) {
    wait::pass(WORK).await;
    let path = request.uri().path().to_owned();
    let fails = path.contains("flaky") && flaky.lock().expect("nobody panics with it").insert(path);
    (if fails { 503 } else { 200 }, fields(request.headers()).into())
}

fn fields(headers: &HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or_default())).collect()
}
