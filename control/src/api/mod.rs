//! The HTTP API: readiness, status, changes, policies, explanations, metrics, and the web console. Read-only, and for who asks
//! for this machine ([`host`]).
//!
//! # Limits
//! The API is for people, dashboards and probes on the same machine. Connections are few, heads are small, bodies are read
//! only where many requests are to be explained, and everything that waits has a deadline. A client that stalls costs a connection slot until its
//! deadline, and the slots are bounded.

pub mod console;
pub(crate) mod explain;
pub mod host;
mod metrics;
pub mod model;
mod policies;
mod splits;
pub mod stream;
mod syncz;
mod topology;
mod traces;

#[cfg(feature = "fuzzing")]
pub use self::traces::answer_about_traces;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::console::Console;
use self::host::Hosts;
use self::model::{ChangeStatus, Changes};
use self::stream::{End, Feed, Live};
use crate::ads::Hub;
use crate::fleet::Fleet;

/// Open connections. A dashboard holds one or two, a probe one for a moment.
const CONNECTIONS_MAX: usize = 128;
/// Time for a request head, also between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A request head here has a line and a few headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest life of a connection; above the longest poll, so that no poll is cut.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);
/// The longest that a poll is held: below the idle limits of ordinary clients.
const POLL_WAIT_MAX: Duration = Duration::from_secs(60);
/// A pause after a failed accept, which is mostly a lack of file descriptors that a moment may mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where requests are explained; the only place that takes a POST.
const EXPLAIN: &str = "/api/v1/explain";

/// Where streams begin.
const STREAM: &str = "/api/v1/stream";

type Answer = Response<Body>;
/// An answer that is there, or one that goes on.
type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// What answers are made from.
#[derive(Clone)]
pub struct Api {
    hub: Arc<Hub>,
    console: Arc<Console>,
    live: Arc<Live>,
    hosts: Arc<Hosts>,
}

impl Api {
    /// Answers from what `hub` knows, with the console that is in the binary.
    pub fn new(hub: Arc<Hub>) -> Self {
        let live = Live::new(Some(topology::live(hub.shared_fleet())));
        Self { hub, console: Arc::default(), live: Arc::new(live), hosts: Arc::default() }
    }

    /// With another console.
    pub fn with_console(self, console: Console) -> Self {
        Self { console: Arc::new(console), ..self }
    }

    /// With names under which it is asked, besides addresses and local ones.
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { hosts: Arc::new(hosts), ..self }
    }
}

/// Serves until `shutdown` resolves.
pub async fn serve(listener: TcpListener, api: Api, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let (live, hub) = (api.live.clone(), api.hub.clone());
    let looks = live.look(&hub);
    tokio::pin!(shutdown, looks);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            // The fleet is gone, and everything with it.
            () = &mut looks => return,
            // Finished connections are taken off the list as they end.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let api = api.clone();
        connections.spawn(async move {
            if timeout(CONNECTION_LIFE_MAX, connection(stream, api)).await.is_err() {
                debug!("api connection reached its longest life");
            }
            drop(slot);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            warn!(%error, "cannot accept an api connection");
            None
        }
    }
}

async fn connection(socket: impl AsyncRead + AsyncWrite + Unpin, api: Api) {
    // A stream is fed beside its connection, so that it ends with it.
    let (feeds, mut begun) = mpsc::channel::<Feed>(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let (api, feeds) = (api.clone(), feeds.clone());
        async move {
            if let Some(refusal) = api.hosts.refuse(&request) {
                return Ok::<_, Infallible>(refusal);
            }
            if *request.method() == Method::POST && request.uri().path() == EXPLAIN {
                return Ok(explain::many(request.into_body(), &api.hub).await);
            }
            if *request.method() == Method::GET && request.uri().path() == STREAM {
                return Ok(stream(request.uri().query().unwrap_or_default(), &api, &feeds));
            }
            if traces::takes(&request) {
                return Ok(traces::post(request, api.hub.fleet()).await);
            }
            // Other bodies are not read: whatever a client sends with a GET is dropped with its connection.
            Ok(answer(&request.map(|_| ()), &api).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(served);
    let mut feed: Option<Feed> = None;
    let ended = loop {
        tokio::select! {
            ended = &mut served => break ended,
            Some(next) = begun.recv(), if feed.is_none() => feed = Some(next),
            end = async { feed.as_mut().expect("asked for only when there is one").await }, if feed.is_some() => {
                feed = None;
                if end == End::Slow {
                    debug!("a stream's reader is too slow and is let go");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "api connection ended");
    }
}

fn stream(query: &str, api: &Api, feeds: &mpsc::Sender<Feed>) -> Answer {
    let (answer, feed) = api.live.open(query);
    match feed.map(|feed| feeds.try_send(feed)) {
        None | Some(Ok(())) => answer,
        // The stream before it on this connection has just ended.
        Some(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, "ask again\n"),
    }
}

async fn answer(request: &Request<()>, api: &Api) -> Answer {
    let hub = &api.hub;
    let fleet = hub.fleet();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    if let Some(answer) = traces::answer(request, fleet).await {
        return answer;
    }
    match request.uri().path() {
        "/ready" if *fleet.ready().borrow() => text(StatusCode::OK, "ready\n"),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration has been loaded yet\n"),
        "/api/v1/status" => status(hub).await,
        "/api/v1/changes" => changes(request.uri().query().unwrap_or_default(), fleet).await,
        "/api/v1/splits" => splits::list(hub).await,
        "/api/v1/policies" => policies::list(hub).await,
        "/api/v1/files" => policies::file(request.uri().query().unwrap_or_default(), hub).await,
        EXPLAIN => explain::one(request.uri().query().unwrap_or_default(), hub).await,
        "/api/v1/topology" => {
            topology::graph(request.uri().query().unwrap_or_default(), request.headers(), fleet).await
        }
        "/api/v1/topology/series" => topology::series(request.uri().query().unwrap_or_default(), fleet).await,
        "/metrics" => metrics::page(request.headers(), hub, &api.live),
        "/debug/syncz" => syncz::proxies(fleet),
        "/version" => text(StatusCode::OK, concat!("tidegate-", env!("CARGO_PKG_VERSION"), "\n")),
        path => match api.console.answer(path, request.headers()).await {
            Some(answer) => answer,
            None => text(StatusCode::NOT_FOUND, "there is nothing here; / lists what there is\n"),
        },
    }
}

/// Looking through what all proxies are given is work, and the mesh may be large.
async fn status(hub: &Arc<Hub>) -> Answer {
    let hub = hub.clone();
    match tokio::task::spawn_blocking(move || hub.status()).await {
        Ok(status) => json(&status),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// `since=N`: changes after generation N. `wait=30s`: if there are none yet, answer when there is one, or after that time.
async fn changes(query: &str, fleet: &Fleet) -> Answer {
    let parameter = |name| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let since = match parameter("since").map(|(_, value)| value.parse::<u64>()).transpose() {
        Ok(since) => since.unwrap_or(0),
        Err(_) => return text(StatusCode::BAD_REQUEST, "since must be a generation, a number\n"),
    };
    let wait = match parameter("wait").map(|(_, value)| duration(value)) {
        None => Duration::ZERO,
        Some(Some(wait)) => wait.min(POLL_WAIT_MAX),
        Some(None) => return text(StatusCode::BAD_REQUEST, "wait must be a time such as 30s or 500ms\n"),
    };
    // Subscribed before the log is read, so that no change falls between the two.
    let mut entered = fleet.entered();
    let mut found = fleet.changes_since(since);
    if found.is_empty() && !wait.is_zero() {
        let arrival = timeout(wait, entered.wait_for(|generation| *generation > since)).await;
        if matches!(arrival, Ok(Ok(_))) {
            found = fleet.changes_since(since);
        }
    }
    json(&Changes { changes: found.iter().map(ChangeStatus::from).collect() })
}

/// `30s`, `500ms`, or plain seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s').unwrap_or(text).parse().ok().map(Duration::from_secs)
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(StatusCode::OK, "application/json", bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Body::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
