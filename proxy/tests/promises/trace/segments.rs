//! A SkyWalking collector: takes streams of segments, and shows them to a test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::codegen::Service;
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// `skywalking.v3`, as its description has them, apart from what no proxy says.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentObject {
    #[prost(string, tag = "1")]
    pub(crate) trace_id: String,
    #[prost(string, tag = "2")]
    pub(crate) trace_segment_id: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) spans: Vec<SpanObject>,
    #[prost(string, tag = "4")]
    pub(crate) service: String,
    #[prost(string, tag = "5")]
    pub(crate) service_instance: String,
    #[prost(bool, tag = "6")]
    pub(crate) is_size_limited: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SpanObject {
    #[prost(int32, tag = "1")]
    pub(crate) span_id: i32,
    #[prost(int32, tag = "2")]
    pub(crate) parent_span_id: i32,
    #[prost(int64, tag = "3")]
    pub(crate) start_time: i64,
    #[prost(int64, tag = "4")]
    pub(crate) end_time: i64,
    #[prost(message, repeated, tag = "5")]
    pub(crate) refs: Vec<SegmentReference>,
    #[prost(string, tag = "6")]
    pub(crate) operation_name: String,
    #[prost(string, tag = "7")]
    pub(crate) peer: String,
    #[prost(enumeration = "SpanType", tag = "8")]
    pub(crate) span_type: i32,
    #[prost(int32, tag = "9")]
    pub(crate) span_layer: i32,
    #[prost(bool, tag = "11")]
    pub(crate) is_error: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum SpanType {
    Entry = 0,
    Exit = 1,
    Local = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentReference {
    #[prost(int32, tag = "1")]
    pub(crate) ref_type: i32,
    #[prost(string, tag = "2")]
    pub(crate) trace_id: String,
    #[prost(string, tag = "3")]
    pub(crate) parent_trace_segment_id: String,
    #[prost(int32, tag = "4")]
    pub(crate) parent_span_id: i32,
    #[prost(string, tag = "5")]
    pub(crate) parent_service: String,
    #[prost(string, tag = "6")]
    pub(crate) parent_service_instance: String,
    #[prost(string, tag = "7")]
    pub(crate) parent_endpoint: String,
    #[prost(string, tag = "8")]
    pub(crate) network_address_used_at_peer: String,
}

/// What the collector wants done: nothing.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Commands {}

/// The server, and each of its calls.
#[derive(Clone)]
pub(crate) struct SkyWalking(mpsc::UnboundedSender<SegmentObject>);

impl SkyWalking {
    pub(crate) async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<SegmentObject>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (told, segments) = mpsc::unbounded_channel();
        let serving = tonic::transport::Server::builder();
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(async move { serving.serve_with_incoming(Self(told), incoming).await });
        (address, segments)
    }
}

impl NamedService for SkyWalking {
    const NAME: &'static str = "skywalking.v3.TraceSegmentReportService";
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl Service<http::Request<Body>> for SkyWalking {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/skywalking.v3.TraceSegmentReportService/collect");
        let collector = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Commands, SegmentObject>::default();
            Ok(Grpc::new(codec).client_streaming(collector, request).await)
        })
    }
}

impl ClientStreamingService<SegmentObject> for SkyWalking {
    type Response = Commands;
    type Future = Boxed<Response<Commands>, Status>;

    fn call(&mut self, request: Request<Streaming<SegmentObject>>) -> Self::Future {
        let told = self.0.clone();
        Box::pin(async move {
            let mut segments = request.into_inner();
            while let Some(segment) = segments.message().await? {
                drop(told.send(segment));
            }
            Ok(Response::new(Commands {}))
        })
    }
}
