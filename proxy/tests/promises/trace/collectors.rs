//! Collectors: servers that take spans and show them to a test. They read with other people's messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A span as a collector knows it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: it has none.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 2: SERVER, 3: CLIENT.
    pub(crate) kind: i32,
    pub(crate) error: bool,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What a collector was told, in the order in which it was.
#[derive(Debug)]
pub(crate) struct Told(mpsc::UnboundedReceiver<Span>);

impl Told {
    /// The next span.
    pub(crate) async fn span(&mut self) -> Span {
        let next = tokio::time::timeout(PATIENCE, self.0.recv()).await;
        next.expect("a span in time").expect("a collector that is there")
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// Takes connections and whatever is sent on them, and never says a word.
pub(crate) async fn hanging() -> SocketAddr {
    let (listener, address) = bind().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    });
    address
}

/// OTLP over gRPC.
pub(crate) struct Otlp {
    told: mpsc::UnboundedSender<Span>,
    /// A batch is taken when there is one of these for it.
    leave: Arc<Semaphore>,
}

impl Otlp {
    /// One that takes everything at once.
    pub(crate) async fn start() -> (SocketAddr, Told) {
        Self::start_with(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))).await
    }

    /// One that takes its time.
    pub(crate) async fn start_with(leave: Arc<Semaphore>) -> (SocketAddr, Told) {
        let (listener, address) = bind().await;
        let (told, spans) = mpsc::unbounded_channel();
        let service = TraceServiceServer::new(Self { told, leave });
        let serving = tonic::transport::Server::builder();
        tokio::spawn(async move { serving.serve_with_incoming(service, TcpListenerStream::new(listener)).await });
        (address, Told(spans))
    }
}

#[tonic::async_trait]
impl TraceService for Otlp {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.leave.acquire().await.expect("never closed").forget();
        spans(request.into_inner()).into_iter().for_each(|span| drop(self.told.send(span)));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Something that is posted to, and the bodies that were: with the path and the type of each.
pub(crate) async fn posted() -> (SocketAddr, Posted) {
    let address = bind().await.1;
    (address, posted_at(address).await)
}

pub(crate) type Posted = mpsc::UnboundedReceiver<(String, String, Bytes)>;

/// The same at an address.
pub(crate) async fn posted_at(address: SocketAddr) -> Posted {
    let listener = TcpListener::bind(address).await.expect("nobody else took it");
    let (told, bodies) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let told = told.clone();
                async move {
                    assert_eq!(request.method(), "POST");
                    let (parts, body) = request.into_parts();
                    let kind = parts.headers["content-type"].to_str().expect("text").to_owned();
                    let body = body.collect().await.expect("whole").to_bytes();
                    drop(told.send((parts.uri.path().to_owned(), kind, body)));
                    Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::new())))
                }
            });
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    bodies
}

/// A span over OTLP/HTTP.
pub(crate) fn decoded(body: Bytes) -> Vec<Span> {
    spans(ExportTraceServiceRequest::decode(body).expect("the message"))
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = texts(of_resource.resource.expect("a resource").attributes);
        assert_eq!(resource["service.instance.id"], "reviews.shop");
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
            assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
            spans.push(Span {
                service: resource["service.name"].clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                kind: span.kind,
                error: span.status.is_some_and(|status| status.code == 2),
                attributes: texts(span.attributes),
            });
        }
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.expect("a value").value.expect("a value") {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(flag) => flag.to_string(),
            other => unreachable!("a proxy says no {other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}
