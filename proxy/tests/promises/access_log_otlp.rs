//! The access log at a collector of OpenTelemetry, which reads it with somebody else's messages.

use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tidegate_proxy::{AccessLogOptions, Options, Proxy};
use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::backend::echo;
use crate::client::{Client, get};
use crate::resources::{all_to, cluster, http_listener, inline, of_cluster, of_listener, options, start_with};

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Collector(mpsc::UnboundedSender<ExportLogsServiceRequest>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.send(request.into_inner()).map_err(|_| Status::unavailable("nobody reads"))?;
        Ok(Response::new(ExportLogsServiceResponse { partial_success: None }))
    }
}

async fn logging_to(collector: SocketAddr) -> (Proxy, SocketAddr) {
    let collector = Some(format!("otlp={collector}").parse().expect("an address"));
    let resources = vec![
        of_cluster(cluster("backend", Http1, &[echo("one").await])),
        of_listener(http_listener("in", inline(all_to("routes", "backend")))),
    ];
    let logged = AccessLogOptions { collector, ..AccessLogOptions::default() };
    start_with(Options { access_log: Some(logged), ..options() }, resources).await
}

fn attribute<'r>(attributes: &'r [KeyValue], name: &str) -> Option<&'r Value> {
    attributes.iter().find(|known| known.key == name)?.value.as_ref()?.value.as_ref()
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

#[tokio::test]
async fn a_collector_gets_every_request_once_with_the_names_of_the_conventions() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let collector = listener.local_addr().expect("bound");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = LogsServiceServer::new(Collector(sender));
    let server = tonic::transport::Server::builder();
    tokio::spawn(async move { server.serve_with_incoming(service, incoming).await });
    let (_proxy, address) = logging_to(collector).await;
    let mut client = Client::connect(address).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    for number in 0..600 {
        let head = format!("GET /{number}?token=x HTTP/1.1\r\nHost: shop:80\r\ntraceparent: {trace}\r\n\r\n");
        client.send(head).await;
        client.answer().await;
    }
    let mut records: Vec<LogRecord> = Vec::new();
    while records.len() < 600 {
        let request = tokio::time::timeout(PATIENCE, received.recv()).await.expect("in time").expect("a request");
        for scope in request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs) {
            assert_eq!(scope.scope.as_ref().map(|scope| &*scope.name), Some("tidegate.access"));
            records.extend(scope.log_records);
        }
    }

    let mut paths: Vec<_> = records.iter().map(|record| attribute(&record.attributes, "url.path").cloned()).collect();
    let mut expected: Vec<_> = (0..600).map(|number| Some(text(&format!("/{number}")))).collect();
    let order = |path: &Option<Value>| format!("{path:?}");
    paths.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(paths, expected);
    let record = &records[0];
    assert_eq!(record.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(record.span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!((record.severity_number, &*record.severity_text), (9, "INFO"));
    assert_eq!(attribute(&record.attributes, "http.response.status_code"), Some(&Value::IntValue(200)));
    assert_eq!(attribute(&record.attributes, "url.query"), Some(&text("token=REDACTED")));
    assert_eq!(attribute(&record.attributes, "server.address"), Some(&text("shop")));
    assert!(matches!(attribute(&record.attributes, "tidegate.response_flags"), Some(Value::ArrayValue(_))));
    assert_eq!(record.body, Some(AnyValue { value: Some(text("GET /0?token=REDACTED 200")) }));
    assert!(record.observed_time_unix_nano >= record.time_unix_nano && record.time_unix_nano > 0);
}

#[tokio::test]
async fn a_collector_that_hangs_costs_lines_and_no_request() {
    // Connects, and never says a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let (proxy, address) = logging_to(listener.local_addr().expect("bound")).await;
    let clients = (0..4).map(|_| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..2_500 {
                assert_eq!(client.get("/").await.status, 200);
            }
        })
    });

    for client in clients.collect::<Vec<_>>() {
        client.await.expect("every request is answered");
    }

    let admin = proxy.admin_address().expect("admin");
    let page = get(admin, "/stats/prometheus").await;
    let dropped = page.text().lines().find_map(|line| line.strip_prefix("tidegate_access_log_dropped_total "));
    let dropped: f64 = dropped.expect("counted").parse().expect("a number");
    assert!(dropped >= 1_000.0, "{dropped}");
}
