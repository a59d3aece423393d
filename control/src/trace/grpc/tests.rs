//! The gRPC intakes, over a real connection where that matters.

use tonic::Code;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;

use super::*;
use crate::trace::fixture::{export_request, message, span_message};
use crate::trace::model::TraceId;

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

struct Served {
    intake: Arc<Intake>,
    client: Grpc<tonic::transport::Channel>,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    let intake = Arc::new(Intake::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let mut stopped = stopping.clone();
    let services = Services::new(intake.clone(), stopping);
    let server = tokio::spawn(services.serve(listener, async move {
        stopped.wait_for(|stopped| *stopped).await.ok();
    }));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Served { intake, client: Grpc::new(channel), stop, server }
}

impl Served {
    async fn call(&mut self, path: &'static str, messages: Vec<Vec<u8>>) -> Result<Vec<u8>, Status> {
        self.client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        let messages = tokio_stream::iter(messages);
        let response = self.client.client_streaming(tonic::Request::new(messages), path, Plain).await?;
        Ok(response.into_inner())
    }
}

fn segment(id: &str) -> Vec<u8> {
    message(&[(1, b"trace"), (2, id.as_bytes()), (3, b"")])
}

#[tokio::test]
async fn otlp_is_taken_and_what_was_not_is_said() {
    let mut served = served().await;
    let good = export_request("s", &[span_message(1, 1, "x")]);
    let partly = export_request("s", &[span_message(2, 1, "x"), Vec::new()]);

    assert_eq!(served.call(OTLP, vec![good]).await.unwrap(), Vec::<u8>::new());
    let answer = served.call(OTLP, vec![partly]).await.unwrap();

    assert!(String::from_utf8_lossy(&answer).contains("no trace id"), "{answer:?}");
    assert!(served.intake.store().trace(TraceId(2)).is_some());
}

#[tokio::test]
async fn segments_are_taken_one_by_one_and_as_a_collection() {
    let mut served = served().await;

    served.call(COLLECT, vec![segment("a"), segment("b"), segment("c")]).await.unwrap();
    served.call(COLLECT_IN_SYNC, vec![message(&[(1, &segment("d"))])]).await.unwrap();
    served.call("/skywalking.v3.ManagementService/keepAlive", vec![Vec::new()]).await.unwrap();

    let trace = served.intake.store().trace(TraceId::of_text("trace")).unwrap();
    assert_eq!(trace.spans().len(), 4);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_code_that_exporters_understand() {
    let mut served = served().await;

    let garbage = served.call(OTLP, vec![vec![0xff; 100]]).await.unwrap_err();
    let large = served.call(OTLP, vec![vec![0; BODY_BYTES_MAX + 1]]).await.unwrap_err();
    let nothing = served.call(OTLP, Vec::new()).await.unwrap_err();
    let unknown = served.call("/skywalking.v3.ManagementService/other", vec![Vec::new()]).await.unwrap_err();

    assert_eq!(garbage.code(), Code::InvalidArgument, "{garbage}");
    assert_eq!(large.code(), Code::ResourceExhausted, "{large}");
    assert_eq!(nothing.code(), Code::InvalidArgument, "{nothing}");
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown}");
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_end() {
    let mut served = served().await;
    let stop = served.stop.clone();
    served.client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(COLLECT);
    // One segment, and then silence.
    let messages = tokio_stream::StreamExt::chain(tokio_stream::iter(vec![segment("a")]), tokio_stream::pending());
    let calling = served.client.client_streaming(tonic::Request::new(messages), path, Plain);
    let store = served.intake.store().clone();
    let stopping = async {
        while store.fill().spans == 0 {
            tokio::task::yield_now().await;
        }
        stop.send_replace(true);
    };

    let (answered, ()) = tokio::join!(calling, stopping);

    assert_eq!(answered.map(|_: tonic::Response<Vec<u8>>| ()).unwrap_err().code(), Code::Unavailable);
    served.server.await.unwrap();
}
