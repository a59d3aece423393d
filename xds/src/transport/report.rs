//! The stream of edge reports, both ends. What is said on it is in [`crate::report_service`].
//!
//! # One at a time
//! A message is acknowledged before the next is read, and a proxy sends none before: so a receiver that is slow holds up
//! reports, which then say more at once, and nothing piles up on either side.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::Service;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status};

use super::random;
use super::rate_limit::endpoint;
use super::server::{
    Answering, CONNECTION_AGE, FIRST_REQUEST_TIMEOUT, Other, STREAM_AGE_SPREAD, StreamCount, shutting_down,
};
use crate::ads::server::STALL_TIMEOUT;
use crate::report_service::{EDGES_PATH, EdgeReport, ReportAck};

/// Size of one message. A proxy splits what is larger; a thousand busy edges are some 300 KiB.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A proxy reports more often than this, or closes the stream: it is gone, or hangs.
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(120);

/// Takes what proxies report.
pub trait EdgeReports: Send + Sync + 'static {
    /// A stream begins.
    fn open(&self, peer: SocketAddr) -> Box<dyn EdgeStream>;
}

/// One proxy's stream. Dropped when it ends.
pub trait EdgeStream: Send {
    /// Takes one message and says what is answered; `Err` ends the stream with that word for the proxy's operator.
    fn take(&mut self, report: EdgeReport) -> Pin<Box<dyn Future<Output = Result<ReportAck, String>> + Send + '_>>;
}

/// The service, for the port of ADS.
pub struct EdgeService(Arc<Inner>);

struct Inner {
    reports: Arc<dyn EdgeReports>,
    streams: Arc<StreamCount>,
    stopping: watch::Receiver<bool>,
}

impl EdgeService {
    /// `stopping` turns true when streams must end.
    pub fn new(reports: Arc<dyn EdgeReports>, stopping: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Inner { reports, streams: Arc::default(), stopping }))
    }
}

impl Other for EdgeService {
    fn prefixes(&self) -> &'static [&'static str] {
        &[EDGES_PATH]
    }

    fn call(&self, request: http::Request<Body>) -> Answering {
        let opening = Opening(Arc::clone(&self.0));
        Box::pin(async move {
            let codec = Messages::<ReportAck, EdgeReport>::default();
            let mut server = tonic::server::Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX);
            server.streaming(opening, request).await
        })
    }
}

struct Opening(Arc<Inner>);

type Answers = ReceiverStream<Result<ReportAck, Status>>;

impl Service<Request<Streaming<EdgeReport>>> for Opening {
    type Response = Response<Answers>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<EdgeReport>>) -> Self::Future {
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let peer = peer.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let (answers, queued) = mpsc::channel(1);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let Err(status) = converse(&inner, peer, request.into_inner(), &answers).await;
            tracing::debug!(%peer, code = ?status.code(), message = status.message(), "stream of reports ended");
            // Where the client is gone already, nobody reads this.
            drop(answers.send(Err(status)).await);
        });
        std::future::ready(Ok(Response::new(ReceiverStream::new(queued))))
    }
}

/// Takes messages until either side ends.
async fn converse(
    inner: &Inner,
    peer: SocketAddr,
    mut reports: Streaming<EdgeReport>,
    answers: &mpsc::Sender<Result<ReportAck, Status>>,
) -> Result<Infallible, Status> {
    let mut stopping = inner.stopping.clone();
    let retirement = tokio::time::sleep(CONNECTION_AGE + STREAM_AGE_SPREAD.mul_f64(random()));
    tokio::pin!(retirement);
    let (mut stream, mut place, mut patience) = (inner.reports.open(peer), None, FIRST_REQUEST_TIMEOUT);
    loop {
        let report = tokio::select! {
            report = tokio::time::timeout(patience, reports.next()) => {
                let report = report.map_err(|_| Status::deadline_exceeded("no report came"))?;
                report.ok_or_else(|| Status::ok("the client ended the stream"))??
            }
            () = &mut retirement => return Err(Status::unavailable("this stream is old, open another")),
            _ = stopping.wait_for(|stopped| *stopped) => return Err(shutting_down()),
        };
        if place.is_none() {
            place = Some(inner.streams.take_place(&report.node.as_str().into())?);
        }
        patience = SILENCE_MAX;
        let ack = stream.take(report).await.map_err(Status::invalid_argument)?;
        let sent = tokio::time::timeout(STALL_TIMEOUT, answers.send(Ok(ack))).await;
        sent.map_err(|_| Status::unavailable("the client does not read"))?
            .map_err(|_| Status::cancelled("the client is gone"))?;
    }
}

/// A proxy's end of the stream.
#[derive(Debug)]
pub struct Edges {
    reports: mpsc::Sender<EdgeReport>,
    acks: Streaming<ReportAck>,
}

impl Edges {
    /// Sends a message and waits until it is acknowledged.
    pub async fn report(&mut self, report: EdgeReport) -> Result<ReportAck, String> {
        let sequence = report.sequence;
        self.reports.send(report).await.map_err(|_| "the connection was closed".to_owned())?;
        self.acknowledged(sequence).await
    }

    async fn acknowledged(&mut self, sequence: u64) -> Result<ReportAck, String> {
        match self.acks.next().await {
            Some(Ok(ack)) if ack.sequence == sequence => Ok(ack),
            Some(Ok(ack)) => Err(format!("message {} was acknowledged and not {sequence}", ack.sequence)),
            Some(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
            None => Err("the server ended the stream".to_owned()),
        }
    }
}

/// Dials `server` (`host:port`, plaintext) and opens a stream, which begins with `first`. Gives its acknowledgement as well.
pub async fn edges(server: &str, first: EdgeReport) -> Result<(Edges, ReportAck), String> {
    let channel = endpoint(server)?.connect().await.map_err(|error| error.to_string())?;
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| error.to_string())?;
    let (reports, outgoing) = mpsc::channel(1);
    let sequence = first.sequence;
    reports.try_send(first).map_err(|error| error.to_string())?;
    let path = http::uri::PathAndQuery::from_static(EDGES_PATH);
    let request = Request::new(ReceiverStream::new(outgoing));
    let opened = grpc.streaming(request, path, Messages::<EdgeReport, ReportAck>::default()).await;
    let acks = opened.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?.into_inner();
    let mut stream = Edges { reports, acks };
    let ack = stream.acknowledged(sequence).await?;
    Ok((stream, ack))
}

/// Writes one kind of message and reads another.
struct Messages<Out, In>(PhantomData<(Out, In)>);

impl<Out, In> Default for Messages<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out: prost::Message + 'static, In: prost::Message + Default + 'static> Codec for Messages<Out, In> {
    type Encode = Out;
    type Decode = In;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<Out: prost::Message, In> Encoder for Messages<Out, In> {
    type Item = Out;
    type Error = Status;

    fn encode(&mut self, item: Out, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<Out, In: prost::Message + Default> Decoder for Messages<Out, In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        In::decode(buffer).map(Some).map_err(super::codec::malformed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::TcpListener;

    use super::*;
    use crate::ads::{Mode, Node};
    use crate::transport::server::{Control, Refusal, Session, serve_with_others};

    struct Nobody;

    impl Control for Nobody {
        fn open(&self, _: &Node, _: Mode, _: SocketAddr) -> Result<Session, Refusal> {
            Err(Refusal { code: 5, message: "nothing is served here".to_owned() })
        }
    }

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u64>>>);

    impl EdgeReports for Heard {
        fn open(&self, _: SocketAddr) -> Box<dyn EdgeStream> {
            Box::new(self.clone())
        }
    }

    impl EdgeStream for Heard {
        fn take(&mut self, report: EdgeReport) -> Pin<Box<dyn Future<Output = Result<ReportAck, String>> + Send + '_>> {
            Box::pin(async move {
                if report.epoch == 0 {
                    return Err("the epoch is missing".to_owned());
                }
                self.0.lock().unwrap().push(report.sequence);
                Ok(ReportAck { sequence: report.sequence, interval_ms: 1_000 })
            })
        }
    }

    fn report(sequence: u64, epoch: u64) -> EdgeReport {
        EdgeReport { node: "web.shop".to_owned(), epoch, sequence, ..EdgeReport::default() }
    }

    #[tokio::test]
    async fn reports_are_acknowledged_one_by_one_and_a_bad_one_ends_the_stream_with_the_reason() {
        let heard = Heard::default();
        let (stop, stopping) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let others: Vec<Arc<dyn Other>> = vec![Arc::new(EdgeService::new(Arc::new(heard.clone()), stopping))];
        let serving = tokio::spawn(serve_with_others(listener, Arc::new(Nobody), None, others, std::future::pending()));

        let (mut stream, ack) = edges(&server, report(1, 7)).await.unwrap();
        assert_eq!(ack, ReportAck { sequence: 1, interval_ms: 1_000 });
        assert_eq!(stream.report(report(2, 7)).await.unwrap().sequence, 2);
        let refused = stream.report(report(3, 0)).await.unwrap_err();

        assert_eq!(refused, "InvalidArgument: the epoch is missing");
        assert_eq!(*heard.0.lock().unwrap(), [1, 2]);
        let (mut stream, _) = edges(&server, report(1, 7)).await.unwrap();
        stop.send_replace(true);
        let ended = stream.acknowledged(2).await.unwrap_err();
        assert!(ended.contains("shutting down"), "{ended}");
        serving.abort();
    }
}
