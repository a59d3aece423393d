//! The gRPC intakes: OTLP's `TraceService` and SkyWalking's `TraceSegmentReportService`.
//!
//! # Why the frames are read here
//! A message's room in the budget of [`super::intake`] must be taken when its length is known, before it is read; the frame says
//! the length in its first five bytes.
//!
//! # Where
//! On the port that proxies know already, and on one of its own where `--telemetry` asks for it. SkyWalking's agents
//! say from time to time that they live; that is heard and not kept.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tidegate_xds::transport::server::{Answering, Other};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::server::TcpIncoming;

use super::intake::{BODY_BYTES_MAX, BODY_TIMEOUT, Format, Intake, IntakeError, Taken};
use super::wire::{put_bytes, put_number};

const OTLP: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const COLLECT: &str = "/skywalking.v3.TraceSegmentReportService/collect";
const COLLECT_IN_SYNC: &str = "/skywalking.v3.TraceSegmentReportService/collectInSync";
const PREFIXES: &[&str] = &[
    "/opentelemetry.proto.collector.trace.v1.TraceService/",
    "/skywalking.v3.TraceSegmentReportService/",
    "/skywalking.v3.ManagementService/",
];
/// Calls at once, of all connections: every proxy and application of a machine keeps a stream open.
const CALLS_MAX: usize = 512;
/// A stream that has been silent for so long is answered, which ends it; who has more to say opens another.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The length of a frame's head: packed or not, length.
const HEAD_BYTES: usize = 5;
/// Streams of one connection of the port of its own.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// Bytes of request headers: a handful of short fields.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Receive window of a connection, so that many silent ones hold little.
const WINDOW_BYTES: u32 = 256 * 1024;
/// A peer that is gone without a word is noticed after this and [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a shutdown waits for connections to go.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// The services.
#[derive(Clone, Debug)]
pub struct Services {
    intake: Arc<Intake>,
    calls: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Services {
    /// For an intake; calls end when `stopping` says so.
    pub fn new(intake: Arc<Intake>, stopping: watch::Receiver<bool>) -> Self {
        Self { intake, calls: Arc::new(Semaphore::new(CALLS_MAX)), stopping }
    }

    /// Serves them on a port of their own until `shutdown` resolves.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES);
        let mut stopping = self.stopping.clone();
        let until_stopped = async move {
            // An error means that the other end is gone, which is the end as well.
            stopping.wait_for(|stopped| *stopped).await.ok();
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = server.serve_with_incoming_shutdown(self, incoming, until_stopped);
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = shutdown => timeout(SHUTDOWN_GRACE, serving).await.ok(),
        };
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "the telemetry port failed");
        }
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let Ok(_call) = self.calls.clone().try_acquire_owned() else {
            return Status::resource_exhausted(format!("{CALLS_MAX} calls are open, which is the limit")).into_http();
        };
        let mut stopping = self.stopping.clone();
        let answered = tokio::select! {
            answered = self.dispatch(request) => answered,
            _ = stopping.wait_for(|stopped| *stopped) => Err(Status::unavailable("the control plane is shutting down")),
        };
        match answered {
            Ok(message) => response(&message),
            Err(status) => status.into_http(),
        }
    }

    async fn dispatch(&self, request: Request<Body>) -> Result<Vec<u8>, Status> {
        let path = request.uri().path().to_owned();
        let mut frames = Frames::new(&self.intake, request)?;
        match path.as_str() {
            OTLP => {
                let Some(taken) = self.take(Format::Otlp, &mut frames).await? else {
                    return Err(Status::invalid_argument("the call has no message"));
                };
                Ok(export_response(&taken))
            }
            COLLECT => {
                while let Ok(taken) = timeout(IDLE_TIMEOUT, self.take(Format::SkyWalking, &mut frames)).await {
                    if taken?.is_none() {
                        break;
                    }
                }
                Ok(Vec::new())
            }
            COLLECT_IN_SYNC => {
                self.take(Format::SkyWalkingCollection, &mut frames).await?;
                Ok(Vec::new())
            }
            "/skywalking.v3.ManagementService/keepAlive"
            | "/skywalking.v3.ManagementService/reportInstanceProperties" => {
                frames.next().await.map_err(|error| status(&error))?;
                Ok(Vec::new())
            }
            other => Err(Status::unimplemented(format!("{other} is not served here"))),
        }
    }

    /// The next message. `None`: there is none.
    async fn take(&self, format: Format, frames: &mut Frames<'_>) -> Result<Option<Taken>, Status> {
        let Some(received) = frames.next().await.map_err(|error| status(&error))? else { return Ok(None) };
        self.intake.take(format, received).await.map(Some).map_err(|error| status(&error))
    }
}

/// Those that OTLP calls retryable are, and no others.
fn status(error: &IntakeError) -> Status {
    let text = error.to_string();
    match error {
        IntakeError::Malformed(_) => Status::invalid_argument(text),
        // OTLP has clients retry this code only where the answer says when; it is what gRPC itself says of large messages.
        IntakeError::TooLarge => Status::resource_exhausted(text),
        IntakeError::Busy => Status::unavailable(text),
        IntakeError::Slow => Status::deadline_exceeded(text),
        IntakeError::CutOff(_) => Status::cancelled(text),
    }
}

/// `ExportTraceServiceResponse`
pub fn export_response(taken: &Taken) -> Vec<u8> {
    let mut message = Vec::new();
    if taken.rejected > 0 {
        let mut partial = Vec::new();
        put_number(&mut partial, 1, taken.rejected);
        put_bytes(&mut partial, 2, taken.why.unwrap_or_default().as_bytes());
        put_bytes(&mut message, 1, &partial);
    }
    message
}

fn response(message: &[u8]) -> Response<Body> {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
    response
}

/// The messages of a call.
struct Frames<'a> {
    intake: &'a Intake,
    body: Body,
    buffer: BytesMut,
    can_be_packed: bool,
}

impl<'a> Frames<'a> {
    fn new(intake: &'a Intake, request: Request<Body>) -> Result<Self, Status> {
        let encoding = request.headers().get("grpc-encoding").map(HeaderValue::as_bytes);
        let can_be_packed = match encoding {
            None | Some(b"identity") => false,
            Some(b"gzip") => true,
            Some(_) => return Err(Status::unimplemented("grpc-encoding must be identity or gzip")),
        };
        Ok(Self { intake, body: request.into_body(), buffer: BytesMut::new(), can_be_packed })
    }

    /// The next one. `None`: there are no more.
    async fn next(&mut self) -> Result<Option<super::intake::Received>, IntakeError> {
        if self.buffer.is_empty() && !self.more().await? {
            return Ok(None);
        }
        match timeout(BODY_TIMEOUT, self.message()).await {
            Ok(message) => message.map(Some),
            Err(_) => Err(IntakeError::Slow),
        }
    }

    async fn message(&mut self) -> Result<super::intake::Received, IntakeError> {
        self.until(HEAD_BYTES).await?;
        let is_packed = self.buffer.get_u8() != 0;
        let length = self.buffer.get_u32() as usize;
        if is_packed && !self.can_be_packed {
            return Err(IntakeError::Malformed("a message is packed, and grpc-encoding does not say how".to_owned()));
        }
        if length > BODY_BYTES_MAX {
            return Err(IntakeError::TooLarge);
        }
        let room = self.intake.room(length)?;
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        self.until(length).await?;
        Ok(Intake::received(self.buffer.split_to(length).freeze(), is_packed, room))
    }

    async fn until(&mut self, length: usize) -> Result<(), IntakeError> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(IntakeError::CutOff("the call ends in the middle of a message".to_owned()));
            }
        }
        Ok(())
    }

    /// Reads on. `false`: there is no more.
    async fn more(&mut self) -> Result<bool, IntakeError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| IntakeError::CutOff(error.to_string()))?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.buffer.extend_from_slice(&data);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Other for Services {
    fn prefixes(&self) -> &'static [&'static str] {
        PREFIXES
    }

    fn call(&self, request: Request<Body>) -> Answering {
        Box::pin(self.clone().answer(request))
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answering = self.clone().answer(request);
        Box::pin(async move { Ok(answering.await) })
    }
}

#[cfg(test)]
mod tests;
