//! A light load through the gateway, so that there is something to see.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Versions;

/// Clients, each on a connection of its own.
const CLIENTS: usize = 4;
/// Between two requests of a client: about a hundred requests a second in all.
const PAUSE: Duration = Duration::from_millis(35);
/// An answer that takes longer is a failure.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) versions: Versions,
    pub(super) first_failure: Option<String>,
}

impl Seen {
    /// What was added since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let versions = self.versions.iter().map(|(v, n)| (v.clone(), n - earlier.versions.get(v).unwrap_or(&0)));
        Self {
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            versions: versions.collect(),
            first_failure: None,
        }
    }

    fn count(&mut self, result: Result<String, String>) {
        self.requests += 1;
        match result {
            Ok(version) => *self.versions.entry(format!("reviews/{version}")).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert(error);
            }
        }
    }
}

/// A running load.
pub(super) struct Load {
    seen: Arc<Mutex<Seen>>,
    stop: tokio::sync::watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Clients that ask `front` for the product page.
    pub(super) fn start(front: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (seen, stopped) = (Arc::clone(&seen), stopped.clone());
            clients.spawn(async move {
                let mut connection = None;
                while !*stopped.borrow() {
                    let result = ask(front, &mut connection).await;
                    seen.lock().unwrap_or_else(PoisonError::into_inner).count(result);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { seen, stop, clients }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the load; requests under way are finished and counted.
    pub(super) async fn stop(mut self) -> Seen {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        self.seen()
    }
}

type Connection = Option<SendRequest<Empty<Bytes>>>;

async fn ask(front: SocketAddr, connection: &mut Connection) -> Result<String, String> {
    let answer = tokio::time::timeout(ANSWER_LIMIT, exchange(front, connection)).await;
    let result = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())));
    if result.is_err() {
        *connection = None;
    }
    result
}

async fn exchange(front: SocketAddr, connection: &mut Connection) -> Result<String, String> {
    let kept = match connection.take() {
        Some(mut open) => open.ready().await.is_ok().then_some(open),
        None => None,
    };
    let mut open = match kept {
        Some(open) => open,
        None => connect(front).await?,
    };
    let request = Request::get("/productpage").header("host", front.to_string()).body(Empty::new());
    let response = open.send_request(request.map_err(|e| e.to_string())?).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let version = response.headers().get("x-bookinfo-reviews").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await.map_err(|e| format!("the answer broke off: {e}"))?.to_bytes();
    *connection = Some(open);
    match version {
        Some(version) if status.is_success() => Ok(version),
        _ => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
    }
}

async fn connect(front: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(front).await.map_err(|e| format!("cannot connect to the gateway: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(driver);
    Ok(sender)
}
