//! Serves ADS on a listener.
//!
//! # Who owns what
//! Each stream has one task that owns its state machine. The task is owned by the body of the response: when the
//! client goes away the body is dropped, and the task with it. Frames go from the task to the body through a short
//! queue; a client that does not read fills it, and the task then waits until the stream's own deadline ends it.
//!
//! # Plaintext
//! This listener has no TLS. Bind it to loopback, or put something that encrypts in front of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::{Stream as Connections, StreamExt as _};
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::codegen::Service;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use tonic::{Code, Status};

use super::codec::RequestDecoder;
use super::rate_limit::{RLQS_PATH, RLS_PATH, RateLimits, Served};
use super::{
    DELTA_PATH, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, SERVICE, STATE_OF_THE_WORLD_PATH, TransportError, random,
};
use crate::ads::server::{Action, ResourceSet, Stream, StreamEvent};
use crate::ads::wire::{Request, UNAVAILABLE};
use crate::ads::{Mode, Node};

/// A request is names and versions: ten thousand of a hundred bytes each, and room to spare.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A client that opens a stream and says nothing holds memory for nothing.
pub const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that one node may have at once. A proxy has one, or a few behind a flapping link; a gRPC client has one per
/// target that it dials (gRFC A71), all with the same node, and an application may dial some hundred services.
pub const STREAMS_PER_NODE_MAX: usize = 256;
/// Frames between a stream's task and its body. One per type is unanswered at a time; the rest is slack.
const FRAMES_MAX: usize = 8;
/// Streams of one connection: a gRPC client may share one among all its targets, so as many as a node may have.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes of request headers on one stream: a handful of short fields.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Receive window of a connection: requests are small, and every connection may fill its window.
const WINDOW_BYTES: u32 = 256 * 1024;
/// After this a connection takes no new streams (GOAWAY), so that proxies spread over replicas again.
pub(super) const CONNECTION_AGE: Duration = Duration::from_secs(24 * 60);
/// Up to this long after that age its streams are ended, each at a time of its own: 30 minutes, give or take a fifth. A
/// reconnect re-sends nothing.
pub(super) const STREAM_AGE_SPREAD: Duration = Duration::from_secs(12 * 60);
/// Streams of all nodes together. At some 40 kB each this is what one replica should hold; more belong on another.
pub const STREAMS_MAX: usize = 20_000;
/// How long a shutdown waits for connections to go.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Decides who gets what.
pub trait Control: Send + Sync + 'static {
    /// Called once per stream, when its node is known.
    fn open(&self, node: &Node, mode: Mode, peer: SocketAddr) -> Result<Session, Refusal>;
}

/// Another gRPC service on the same port: a proxy knows one address of its control plane and has one way through the network
/// to it.
pub trait Other: Send + Sync + 'static {
    /// `/package.Service/` of every path that it answers.
    fn prefixes(&self) -> &'static [&'static str];

    /// Answers a request. Its limits, deadlines and its end at a shutdown are its own.
    fn call(&self, request: http::Request<Body>) -> Answering;
}

/// The future of an [`Other`]'s answer.
pub type Answering = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// What a stream is connected to.
pub struct Session {
    /// The resources that the node is to have, now and from now on.
    pub resources: watch::Receiver<Arc<ResourceSet>>,
    /// Is told what happens on the stream; dropped when the stream ends.
    pub observer: Box<dyn FnMut(StreamEvent) + Send>,
}

/// Why a node gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A gRPC status code.
    pub code: i32,
    /// For the operator at the other end.
    pub message: String,
}

/// Serves until `shutdown` resolves; then every stream is ended with UNAVAILABLE, so that clients go elsewhere at once.
pub async fn serve(
    listener: TcpListener,
    control: Arc<dyn Control>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TransportError> {
    serve_with_others(listener, control, None, Vec::new(), shutdown).await
}

/// The same, with the rate limit services and others on the same port.
pub async fn serve_with_others(
    listener: TcpListener,
    control: Arc<dyn Control>,
    limits: Option<Arc<dyn RateLimits>>,
    others: Vec<Arc<dyn Other>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TransportError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    serve_incoming(incoming, control, limits, others, shutdown).await
}

/// The same for connections from elsewhere.
pub async fn serve_incoming<C>(
    incoming: impl Connections<Item = io::Result<C>>,
    control: Arc<dyn Control>,
    limits: Option<Arc<dyn RateLimits>>,
    others: Vec<Arc<dyn Other>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TransportError>
where
    C: AsyncRead + AsyncWrite + Connected<ConnectInfo = TcpConnectInfo> + Unpin + Send + 'static,
{
    let (stop, stopping) = watch::channel(false);
    let streams = Arc::default();
    let limits = limits.map(|limits| Served::new(&limits, Arc::clone(&streams), stopping.clone()));
    let service = Ads { control, limits, others: others.into(), streams, stopping };
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .max_connection_age(CONNECTION_AGE);
    let mut stopped = stop.subscribe();
    let until_stopped = async move {
        // An error means that `stop` is gone, which is the end as well.
        if stopped.wait_for(|stopped| *stopped).await.is_err() {
            tracing::debug!("the xDS server was dropped");
        }
    };
    let serving = server.serve_with_incoming_shutdown(service, incoming, until_stopped);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(TransportError::from),
        () = shutdown => {}
    }
    stop.send_replace(true);
    match tokio::time::timeout(SHUTDOWN_GRACE, serving).await {
        Ok(ended) => ended.map_err(TransportError::from),
        Err(_) => {
            tracing::warn!("connections did not close in time and were left behind");
            Ok(())
        }
    }
}

/// The service: turns HTTP requests into streams.
#[derive(Clone)]
struct Ads {
    control: Arc<dyn Control>,
    limits: Option<Served>,
    others: Arc<[Arc<dyn Other>]>,
    streams: Arc<StreamCount>,
    stopping: watch::Receiver<bool>,
}

impl Service<http::Request<Body>> for Ads {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mode = match (request.uri().path(), &self.limits) {
            (DELTA_PATH, _) => Mode::Delta,
            (STATE_OF_THE_WORLD_PATH, _) => Mode::StateOfTheWorld,
            (RLS_PATH | RLQS_PATH, Some(limits)) => {
                let answering = limits.clone().call(request);
                return Box::pin(async move { Ok(answering.await) });
            }
            (path, _) => {
                let served = |other: &&Arc<dyn Other>| other.prefixes().iter().any(|prefix| path.starts_with(prefix));
                let Some(other) = self.others.iter().find(served) else {
                    let status = Status::unimplemented(format!("{path} is not served here, only {SERVICE}"));
                    return Box::pin(std::future::ready(Ok(status.into_http())));
                };
                let answering = other.call(request);
                return Box::pin(async move { Ok(answering.await) });
            }
        };
        Box::pin(std::future::ready(Ok(self.open(mode, request))))
    }
}

impl Ads {
    fn open(&self, mode: Mode, request: http::Request<Body>) -> http::Response<Body> {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let connection = request.extensions().get::<TcpConnectInfo>();
        let peer = connection.and_then(TcpConnectInfo::remote_addr).unwrap_or(unknown);
        let requests = Streaming::new_request(RequestDecoder(mode), request.into_body(), None, Some(REQUEST_BYTES_MAX));
        let (frames, queued) = mpsc::channel(FRAMES_MAX);
        let service = self.clone();
        let task = tokio::spawn(async move {
            let Err(status) = Conversation::run(service, mode, peer, requests, &frames).await;
            tracing::debug!(%peer, code = ?status.code(), message = status.message(), "stream ended");
            // Where the client is gone already, nobody reads this.
            frames.send(Err(status)).await.is_ok()
        });
        let mut response = http::Response::new(Body::new(Frames { queued, task, ended: false }));
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        response
    }
}

/// The body of a response: frames as they are, then the status in the trailers.
struct Frames {
    queued: mpsc::Receiver<Result<Bytes, Status>>,
    task: JoinHandle<bool>,
    ended: bool,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = match self.queued.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(next) => next,
        };
        let status = match next {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Some(Err(status)) => status,
            // The task ends without a status only by panicking.
            None => Status::internal("the stream's task failed"),
        };
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(unwritable) => Poll::Ready(Some(Err(unwritable))),
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One stream's task.
struct Conversation<'a> {
    stream: Stream,
    frames: &'a mpsc::Sender<Result<Bytes, Status>>,
    observer: Box<dyn FnMut(StreamEvent) + Send>,
}

impl Conversation<'_> {
    /// Runs until the stream ends and says how.
    async fn run(
        service: Ads,
        mode: Mode,
        peer: SocketAddr,
        mut requests: Streaming<Request>,
        frames: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<Infallible, Status> {
        let Ads { control, streams, mut stopping, .. } = service;
        let mut actions = Vec::new();
        let mut stream = Stream::new(mode);
        let first = tokio::select! {
            first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, requests.next()) => {
                let silent = |_| Status::deadline_exceeded("no request came");
                first.map_err(silent)?.ok_or_else(|| Status::cancelled("no request came"))??
            }
            _ = stopping.wait_for(|stopped| *stopped) => return Err(shutting_down()),
        };
        stream.on_request(first, now(), &mut actions);
        if let Some(Action::Close { code, message }) = actions.pop_if(|last| matches!(last, Action::Close { .. })) {
            return Err(Status::new(Code::from_i32(code), message));
        }
        let Some(node) = stream.node() else { return Err(Status::invalid_argument("the node is missing")) };
        let _place = streams.take_place(&node.id)?;
        let opened = control.open(node, mode, peer);
        let Session { mut resources, observer } =
            opened.map_err(|refusal| Status::new(Code::from_i32(refusal.code), refusal.message))?;
        let mut this = Conversation { stream, frames, observer };
        let set = Arc::clone(&resources.borrow_and_update());
        this.stream.on_resources(&set, now(), &mut actions);
        drop(set);
        let retirement = tokio::time::sleep(CONNECTION_AGE + STREAM_AGE_SPREAD.mul_f64(random()));
        tokio::pin!(retirement);
        loop {
            this.act(&mut actions).await?;
            let deadline = this.stream.next_deadline().map(tokio::time::Instant::from_std);
            // In this order, so that the same events give the same run. What comes before the requests of a client, who may be
            // busy, is rare or moves its own deadline on.
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopped| *stopped) => return Err(shutting_down()),
                () = &mut retirement => return Err(Status::unavailable("this stream is old, open another")),
                changed = resources.changed() => {
                    changed.map_err(|_| Status::unavailable("this node is served no longer"))?;
                    let set = Arc::clone(&resources.borrow_and_update());
                    this.stream.on_resources(&set, now(), &mut actions);
                }
                () = sleep_until(deadline) => this.stream.on_tick(now(), &mut actions),
                request = requests.next() => {
                    let request = request.ok_or_else(|| Status::ok("the client ended the stream"))??;
                    this.stream.on_request(request, now(), &mut actions);
                }
            }
        }
    }

    /// Carries out what the machine said. Waiting for the queue is bounded: a client that does not read stalls.
    async fn act(&mut self, actions: &mut Vec<Action>) -> Result<(), Status> {
        for action in actions.drain(..) {
            match action {
                Action::Report(event) => (self.observer)(event),
                Action::Close { code, message } => return Err(Status::new(Code::from_i32(code), message)),
                Action::Send(frame) => {
                    let sent = tokio::time::timeout(crate::ads::server::STALL_TIMEOUT, self.frames.send(Ok(frame)));
                    let slow = |_| Status::unavailable("the client does not read");
                    sent.await.map_err(slow)?.map_err(|_| Status::cancelled("the client is gone"))?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn shutting_down() -> Status {
    Status::new(Code::from_i32(UNAVAILABLE), "the control plane is shutting down")
}

/// The state machines take plain instants; tokio's clock makes them, so that tests can stop it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// How many streams there are.
#[derive(Default)]
pub(super) struct StreamCount {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    by_node: HashMap<Arc<str>, usize>,
    total: usize,
}

/// One of them.
pub(super) struct Place {
    streams: Arc<StreamCount>,
    node: Arc<str>,
}

impl StreamCount {
    pub(super) fn take_place(self: &Arc<Self>, node: &Arc<str>) -> Result<Place, Status> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= STREAMS_MAX {
            return Err(Status::resource_exhausted(format!("{STREAMS_MAX} streams are open, which is the limit")));
        }
        let of_node = counts.by_node.entry(Arc::clone(node)).or_default();
        if *of_node >= STREAMS_PER_NODE_MAX {
            return Err(Status::resource_exhausted(format!("node {node} has {STREAMS_PER_NODE_MAX} streams already")));
        }
        *of_node += 1;
        counts.total += 1;
        Ok(Place { streams: Arc::clone(self), node: Arc::clone(node) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.streams.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(of_node) = counts.by_node.get_mut(&self.node) {
            *of_node -= 1;
            if *of_node == 0 {
                counts.by_node.remove(&self.node);
            }
        }
    }
}
