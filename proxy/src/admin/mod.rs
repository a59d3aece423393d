//! The operator's door: loopback only, on the control thread, so that it answers when the data plane is busy and never
//! makes it busy. What changes something is a POST.

mod clusters;
mod explain;
pub(crate) mod metrics;
mod stranger;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::debug;

use crate::config::watch::Command;
use crate::drain::{Phase, Timing};
use crate::worker::Shared;

/// Operators and scrapers at once; more is a mistake.
const CONNECTIONS_MAX: usize = 64;

/// After a failed accept, which is mostly a lack of descriptors that a moment may mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// For a request head.
const HEAD: Duration = Duration::from_secs(10);

const OVERVIEW: &str = "tidegate-proxy\n\
    GET  /ready             200 LIVE, or 503 with the reason\n\
    GET  /stats/prometheus  counters and gauges; also as /metrics\n\
    GET  /config_dump       resources in use, as JSON\n\
    GET  /clusters          endpoints in use\n\
    GET  /explain           ?path=&host=&method=&header=k:v&listener=&format=json: what would happen to a request
    GET  /server_info       version and state, as JSON\n\
    POST /drain             leave gracefully\n\
    POST /quitquitquit      leave fast\n";

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) drain: Timing,
    pub(crate) node: Arc<str>,
    pub(crate) pages: metrics::Pages,
    /// Another process answers from now on.
    pub(crate) elsewhere: watch::Receiver<bool>,
}

impl Admin {
    /// Returns when another process answers, or nobody can say so any more.
    async fn gone(&self) {
        let mut elsewhere = self.elsewhere.clone();
        elsewhere.wait_for(|gone| *gone).await.ok();
    }
}

/// Answers until another process does.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = admin.gone() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let admin = admin.clone();
                tokio::spawn(async move {
                    connection(stream, peer, admin).await;
                    drop(place);
                });
            }
            // Descriptors ran out: others end meanwhile.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, admin: Admin) {
    let service = service_fn(|request| answer(request, &admin));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        // A scraper that keeps its connection must not read the numbers of a process that has gone over.
        () = admin.gone() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "admin connection ended");
    }
}

async fn answer(request: Request<Incoming>, admin: &Admin) -> Result<Response<metrics::Body>, Infallible> {
    if let Some(refusal) = stranger::refused(&request) {
        return Ok(refusal.map(Either::Left));
    }
    let path = request.uri().path();
    let response = match (request.method(), path) {
        (&Method::GET, "/") => text(StatusCode::OK, OVERVIEW.to_owned()),
        (&Method::GET, "/ready") => ready(admin),
        (&Method::GET, "/stats/prometheus" | "/metrics") => return Ok(metrics::answer(admin, &request)),
        (&Method::GET, "/config_dump") => config_dump(admin).await,
        (&Method::GET, "/clusters") => text(StatusCode::OK, clusters::page(&admin.shared)),
        (&Method::GET, "/explain") => explain(admin, request.uri().query().unwrap_or_default()),
        (&Method::GET, "/server_info") => server_info(admin),
        (&Method::POST, "/drain" | "/drain_listeners") => command(admin, Command::Drain(admin.drain)),
        (&Method::POST, "/quitquitquit") => command(admin, Command::Drain(admin.drain.fast())),
        (_, "/drain" | "/drain_listeners" | "/quitquitquit") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "this changes something: use POST\n".to_owned())
        }
        _ => text(StatusCode::NOT_FOUND, OVERVIEW.to_owned()),
    };
    Ok(response.map(Either::Left))
}

fn explain(admin: &Admin, query: &str) -> Response<Full<Bytes>> {
    match explain::answer(&admin.shared, &admin.node, query) {
        Ok((content_type, body)) => typed(StatusCode::OK, content_type, body),
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn ready(admin: &Admin) -> Response<Full<Bytes>> {
    if admin.shared.drain.phase() != Phase::Serving {
        return text(StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n".to_owned());
    }
    if !admin.shared.registry.ready.load(Ordering::Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "INITIALIZING: no whole configuration yet\n".to_owned());
    }
    text(StatusCode::OK, "LIVE\n".to_owned())
}

fn command(admin: &Admin, command: Command) -> Response<Full<Bytes>> {
    match admin.commands.send(command) {
        Ok(()) => text(StatusCode::OK, "OK\n".to_owned()),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n".to_owned()),
    }
}

async fn config_dump(admin: &Admin) -> Response<Full<Bytes>> {
    let (reply, dumped) = oneshot::channel();
    let asked = admin.commands.send(Command::Dump { reply });
    let (Ok(()), Ok(resources)) = (asked, dumped.await) else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n".to_owned());
    };
    let mut body = format!("{{\"generation\":{},\"resources\":[", admin.shared.snapshot.load().generation);
    for (index, (resource_type, json)) in resources.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&format!("\n{{\"type\":\"{}\",\"resource\":{json}}}", resource_type.short()));
    }
    body.push_str("\n]}\n");
    typed(StatusCode::OK, "application/json", body)
}

fn server_info(admin: &Admin) -> Response<Full<Bytes>> {
    let state = match admin.shared.drain.phase() {
        Phase::Serving if admin.shared.registry.ready.load(Ordering::Relaxed) => "LIVE",
        Phase::Serving => "INITIALIZING",
        Phase::Leaving | Phase::Closing => "DRAINING",
    };
    let info = serde_json::json!({
        "name": "tidegate-proxy",
        "version": env!("CARGO_PKG_VERSION"),
        "state": state,
        "node": &*admin.node,
        "generation": admin.shared.snapshot.load().generation,
        "workers": admin.shared.workers.get().map_or(0, Vec::len),
        "connections": admin.shared.registry.connections(),
        "control_connected": admin.shared.registry.control_connected.load(Ordering::Relaxed),
    });
    typed(StatusCode::OK, "application/json", format!("{info:#}\n"))
}
