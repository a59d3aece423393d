//! The rate limit services beside ADS, on the same port: who keeps limits says so through [`RateLimits`], who asks dials
//! with [`quotas`].
//!
//! # Why on the same port
//! A proxy knows one address of its control plane and has one way through the network to it. The two services live by the
//! same rules as ADS streams: bounded messages, bounded streams, a deadline for the first word, an end by age.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::codegen::Service as _;
use tonic::transport::server::TcpConnectInfo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::server::{CONNECTION_AGE, FIRST_REQUEST_TIMEOUT, STREAM_AGE_SPREAD, StreamCount, shutting_down};
use super::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, random};
use crate::ads::server::STALL_TIMEOUT;
use crate::rate_limit_service::rlqs::rate_limit_quota_service_client::RateLimitQuotaServiceClient;
use crate::rate_limit_service::rlqs::rate_limit_quota_service_server::{
    RateLimitQuotaService, RateLimitQuotaServiceServer,
};
use crate::rate_limit_service::rlqs::{RateLimitQuotaResponse, RateLimitQuotaUsageReports};
use crate::rate_limit_service::rls::rate_limit_service_client::RateLimitServiceClient;
use crate::rate_limit_service::rls::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use crate::rate_limit_service::rls::{RateLimitRequest, RateLimitResponse};

/// `envoy.service.ratelimit.v3`
pub(super) const RLS_PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// `envoy.service.rate_limit_quota.v3`
pub(super) const RLQS_PATH: &str = "/envoy.service.rate_limit_quota.v3.RateLimitQuotaService/StreamRateLimitQuotas";
/// Size of one message. Ten thousand buckets of some hundred bytes report in one.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers that wait for a stream whose client does not read. Who does not read for that long is cut off.
pub const ANSWERS_MAX: usize = 64;
/// Reports that wait for the connection.
const REPORTS_MAX: usize = 16;

/// The future of an answer.
pub type Answer = Pin<Box<dyn Future<Output = RateLimitResponse> + Send>>;

/// Keeps limits for many proxies.
pub trait RateLimits: Send + Sync + 'static {
    /// Whether a request is within its limits.
    fn ask(&self, question: RateLimitRequest) -> Answer;

    /// A stream of reports begins. Its answers go to `answers`, which has room for [`ANSWERS_MAX`]; a keeper that drops it
    /// ends the stream.
    fn open(&self, peer: SocketAddr, answers: mpsc::Sender<RateLimitQuotaResponse>) -> Box<dyn Reports>;
}

/// A stream of reports. Dropped when it ends.
pub trait Reports: Send {
    /// What its client has used.
    fn report(&mut self, reports: RateLimitQuotaUsageReports);
}

/// Both services for the port's dispatcher.
#[derive(Clone)]
pub(super) struct Served {
    rls: RateLimitServiceServer<Asked>,
    rlqs: RateLimitQuotaServiceServer<Streamed>,
}

impl Served {
    pub(super) fn new(
        limits: &Arc<dyn RateLimits>,
        streams: Arc<StreamCount>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let streamed = Streamed { limits: Arc::clone(limits), streams, stopping };
        Self {
            rls: RateLimitServiceServer::new(Asked(Arc::clone(limits))).max_decoding_message_size(MESSAGE_BYTES_MAX),
            rlqs: RateLimitQuotaServiceServer::new(streamed).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Answers a request; the path decides which service does.
    pub(super) async fn call(mut self, request: http::Request<Body>) -> http::Response<Body> {
        let answered = match request.uri().path() {
            RLS_PATH => self.rls.call(request).await,
            _ => self.rlqs.call(request).await,
        };
        match answered {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }
}

struct Asked(Arc<dyn RateLimits>);

#[tonic::async_trait]
impl RateLimitService for Asked {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        Ok(Response::new(self.0.ask(request.into_inner()).await))
    }
}

struct Streamed {
    limits: Arc<dyn RateLimits>,
    streams: Arc<StreamCount>,
    stopping: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl RateLimitQuotaService for Streamed {
    type StreamRateLimitQuotasStream = ReceiverStream<Result<RateLimitQuotaResponse, Status>>;

    async fn stream_rate_limit_quotas(
        &self,
        request: Request<Streaming<RateLimitQuotaUsageReports>>,
    ) -> Result<Response<Self::StreamRateLimitQuotasStream>, Status> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let peer = peer.unwrap_or(unknown);
        // Reports carry no node: streams of one connection are counted together.
        let place = self.streams.take_place(&format!("quotas of {peer}").into())?;
        let (answers, queued) = mpsc::channel(1);
        let (limits, stopping) = (Arc::clone(&self.limits), self.stopping.clone());
        tokio::spawn(async move {
            let status = converse(&*limits, peer, request.into_inner(), &answers, stopping).await;
            tracing::debug!(%peer, code = ?status.code(), message = status.message(), "stream of reports ended");
            // Where the client is gone already, nobody reads this.
            drop(answers.send(Err(status)).await);
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(queued)))
    }
}

/// Moves reports one way and answers the other until either side ends.
async fn converse(
    limits: &dyn RateLimits,
    peer: SocketAddr,
    mut reports: Streaming<RateLimitQuotaUsageReports>,
    out: &mpsc::Sender<Result<RateLimitQuotaResponse, Status>>,
    mut stopping: watch::Receiver<bool>,
) -> Status {
    let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, reports.next()) => first,
        _ = stopping.wait_for(|stopped| *stopped) => return shutting_down(),
    };
    let first = match first {
        Ok(Some(Ok(first))) => first,
        Ok(Some(Err(status))) => return status,
        Ok(None) => return Status::cancelled("no report came"),
        Err(_) => return Status::deadline_exceeded("no report came"),
    };
    let mut session = limits.open(peer, sender);
    session.report(first);
    let retirement = tokio::time::sleep(CONNECTION_AGE + STREAM_AGE_SPREAD.mul_f64(random()));
    tokio::pin!(retirement);
    loop {
        let answer = tokio::select! {
            report = reports.next() => match report {
                Some(Ok(report)) => {
                    session.report(report);
                    continue;
                }
                Some(Err(status)) => return status,
                None => return Status::ok("the client ended the stream"),
            },
            answer = answers.recv() => answer,
            () = &mut retirement => return Status::unavailable("this stream is old, open another"),
            _ = stopping.wait_for(|stopped| *stopped) => return shutting_down(),
        };
        let Some(answer) = answer else { return Status::unavailable("the client does not read") };
        match tokio::time::timeout(STALL_TIMEOUT, out.send(Ok(answer))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Status::cancelled("the client is gone"),
            Err(_) => return Status::unavailable("the client does not read"),
        }
    }
}

/// The client's end of a stream of reports.
#[derive(Debug)]
pub struct Quotas {
    /// Reports up.
    reports: mpsc::Sender<RateLimitQuotaUsageReports>,
    answers: Streaming<RateLimitQuotaResponse>,
}

impl Quotas {
    /// Reports. `Err`: the stream is gone, or takes nothing any more.
    pub fn report(&self, reports: RateLimitQuotaUsageReports) -> Result<(), String> {
        self.reports.try_send(reports).map_err(|error| error.to_string())
    }

    /// The next answer. May be dropped and called again.
    pub async fn next(&mut self) -> Result<RateLimitQuotaResponse, String> {
        match self.answers.next().await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
            None => Err("the server ended the stream".to_owned()),
        }
    }
}

/// Dials `server` (`host:port`, plaintext) and opens a stream of reports, which begins with `first`.
pub async fn quotas(server: &str, first: RateLimitQuotaUsageReports) -> Result<Quotas, String> {
    let channel = endpoint(server)?.connect().await.map_err(|error| error.to_string())?;
    let (reports, outgoing) = mpsc::channel(REPORTS_MAX);
    reports.try_send(first).map_err(|error| error.to_string())?;
    let mut client = RateLimitQuotaServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let opened = client.stream_rate_limit_quotas(ReceiverStream::new(outgoing)).await;
    let answers = opened.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?.into_inner();
    Ok(Quotas { reports, answers })
}

/// Asks a rate limit service. Clones share a connection, which is made when it is first needed and again when it broke.
#[derive(Clone, Debug)]
pub struct Asking(RateLimitServiceClient<Channel>);

impl Asking {
    /// For a service at `server` (`host:port`, plaintext). Must be called on the runtime that is to drive the connection.
    pub fn new(server: &str) -> Result<Self, String> {
        let channel = endpoint(server)?.connect_lazy();
        Ok(Self(RateLimitServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)))
    }

    /// Asks one question.
    pub async fn ask(&mut self, question: RateLimitRequest) -> Result<RateLimitResponse, String> {
        let answered = self.0.should_rate_limit(question).await;
        answered.map(Response::into_inner).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    }
}

pub(super) fn endpoint(server: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"));
    let endpoint = endpoint.map_err(|error| format!("{server:?} is not HOST:PORT: {error}"))?;
    Ok(endpoint
        .connect_timeout(super::client::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}
