//! Promise: Prometheus reads the metrics of proxies and control plane, in both formats, and its linter has nothing to say.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::moving::canary;
use crate::harness::process::{Process, tool};
use crate::harness::{Client, Mesh, wait};

/// Prometheus starts in a second or two on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);
/// As Prometheus asks.
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                           text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const TEXT: &str = "text/plain;version=0.0.4";
/// Requests that `web` sends before anybody looks.
const REQUESTS: u64 = 50;

/// Names that others gave, about which the linter is right and nobody can do anything: a metric, and what is said of it.
const FOREIGN: &[&str] = &["istio_request_duration_milliseconds "];

/// What Prometheus is asked, and what it must answer at least.
const QUERIES: &[(&str, f64)] = &[
    // Every target is up: the control plane, and the proxies of web and of both versions of reviews.
    ("sum(up)", 4.0),
    ("sum(tidegate_requests_total{code_class=\"2xx\",listener=\"outbound\"})", 50.0),
    ("tidegate_control_config_valid", 1.0),
    ("sum(tidegate_control_proxies{settled=\"true\"})", 3.0),
    // Istio's dashboard of the control plane, and Kiali's page about it.
    ("sum(pilot_xds)", 3.0),
    ("sum(pilot_xds_pushes{type=\"rds\"})", 3.0),
    ("histogram_quantile(0.99, sum(pilot_proxy_convergence_time_bucket) by (le)) > bool 0", 1.0),
    ("pilot_services", 2.0),
    ("sum(istio_build) by (component, tag)", 1.0),
    ("process_resident_memory_bytes{job=\"control\"} > bool 1048576", 1.0),
    ("process_start_time_seconds{job=\"control\"} > bool 0", 1.0),
];

/// By which Kiali groups what it draws its graph from (2.31).
const KIALI_GROUPS: &str = "source_cluster,source_workload_namespace,source_workload,source_canonical_service,\
    source_canonical_revision,destination_cluster,destination_service_namespace,destination_service,destination_service_name,\
    destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision,\
    request_protocol,response_code,grpc_response_status,response_flags";

/// What Kiali and Istio's dashboards of services and workloads ask of the data plane, and what it must be exactly: twice
/// [`REQUESTS`] from web to both versions of reviews, counted on either side, and one that leads nowhere.
const MESH_QUERIES: &[(&str, f64)] = &[
    (
        "sum(istio_requests_total{reporter=\"source\",source_workload=\"web-v1\",destination_service=~\"reviews.shop.*\"})",
        100.0,
    ),
    (
        "sum(istio_requests_total{reporter=\"destination\",destination_workload=~\"reviews-v[12]\",response_code=\"200\"})",
        100.0,
    ),
    (
        "sum(istio_requests_total{reporter=\"destination\",source_canonical_service=\"web\",source_canonical_revision=\"v1\"})",
        100.0,
    ),
    ("sum(istio_requests_total{connection_security_policy=\"none\",reporter=\"destination\"})", 100.0),
    ("sum(istio_requests_total{destination_workload=\"unknown\",reporter=\"source\",response_flags=\"NR\"})", 1.0),
    ("sum(istio_request_duration_milliseconds_count{reporter=\"source\",destination_service_name=\"reviews\"})", 100.0),
    ("sum(istio_response_bytes_count{reporter=\"destination\",destination_workload_namespace=\"shop\"})", 100.0),
    ("count(istio_requests_total{reporter=\"source\",destination_service_name=\"reviews\"})", 2.0),
];

async fn mesh() -> Mesh {
    let plan = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &canary(90, 10));
    let mesh = plan.start().await;
    // The time from a file to its effect is measured for changes, not for what was there when the first proxy came.
    mesh.apply("reviews.yaml", &canary(50, 50)).await;
    let mut client = mesh.client("web-v1");
    for _ in 0..REQUESTS {
        assert_eq!(client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers").status, 200);
    }
    mesh
}

/// Where metrics are: name, address, path.
fn pages(mesh: &Mesh) -> Vec<(String, SocketAddr, &'static str)> {
    let proxies = mesh.proxies.keys().map(|workload| (workload.clone(), mesh.admin(workload), "/stats/prometheus"));
    std::iter::once(("control".to_owned(), mesh.control.api, "/metrics")).chain(proxies).collect()
}

async fn page(address: SocketAddr, path: &str, accept: &str) -> (String, String) {
    let request = http::Request::get(path).header("host", "localhost").header("accept", accept);
    let answer = Client::new(address).send(request).await.expect("the page is there");
    assert_eq!(answer.status, 200);
    (answer.headers["content-type"].to_str().expect("plain").to_owned(), answer.text())
}

/// What `promtool check metrics` says, apart from names that others gave.
fn lint(page: &str) -> Vec<String> {
    let mut command = Command::new(tool("prometheus/usr/bin/promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("it is piped").write_all(page.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
    assert!(output.status.success() || !said.is_empty(), "promtool fails in silence");
    said.into_iter().filter(|line| !FOREIGN.iter().any(|name| line.starts_with(name))).collect()
}

#[tokio::test]
async fn the_linter_has_nothing_to_say() {
    assert_eq!(lint("# HELP a_total x\n# TYPE a_total gauge\na_total 1\n").len(), 1, "the linter is awake");
    let mesh = mesh().await;

    for (name, address, path) in pages(&mesh) {
        let (kind, text) = page(address, path, TEXT).await;

        assert!(kind.starts_with("text/plain; version=0.0.4"), "{name}: {kind}");
        assert_eq!(lint(&text), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn prometheus_reads_every_page_and_answers_what_dashboards_ask() {
    let mesh = mesh().await;
    for (name, address, path) in pages(&mesh) {
        let (kind, text) = page(address, path, OPENMETRICS).await;
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{name}: {kind}");
        assert!(text.ends_with("\n# EOF\n"), "{name}");
    }

    // It asks for OpenMetrics by itself; a page that breaks its rules would make a target that is down.
    let prometheus = Prometheus::start(&mesh).await;

    for (query, least) in QUERIES {
        prometheus.answers(query, *least).await;
    }
    // What rates are made of must come while somebody looks.
    let mut client = mesh.client("web-v1");
    for _ in 0..REQUESTS {
        assert_eq!(client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers").status, 200);
    }
    assert_eq!(client.get("nobody:9080", "/").await.expect("the mesh answers").status, 404);
    for (query, exactly) in MESH_QUERIES {
        prometheus.answers(&format!("({query}) == {exactly}"), *exactly).await;
    }
    for query in [
        format!("sum(rate(istio_requests_total{{reporter=\"source\"}}[1m])) by ({KIALI_GROUPS}) > 0"),
        format!("sum(rate(istio_requests_total{{reporter=\"destination\"}}[1m])) by ({KIALI_GROUPS}) > 0"),
        "histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{reporter=\"source\"}[1m])) \
         by (le, destination_canonical_service)) > 0"
            .to_owned(),
    ] {
        prometheus.answers(&query, f64::MIN_POSITIVE).await;
    }
}

/// A Prometheus that scrapes a mesh.
struct Prometheus {
    address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    async fn start(mesh: &Mesh) -> Self {
        let folder = mesh.folder();
        let mut jobs = String::new();
        for (name, address, path) in pages(mesh) {
            jobs.push_str(&format!(
                "- job_name: {name}\n  metrics_path: {path}\n  static_configs: [{{targets: ['{address}']}}]\n"
            ));
        }
        let config = folder.join("prometheus.yaml");
        let text = format!("global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n{jobs}");
        std::fs::write(&config, text).expect("the test's folder is writable");
        // On the control plane's host, which is this mesh's own.
        let IpAddr::V4(host) = mesh.control.api.ip() else { panic!("a mesh is on IPv4") };
        let address = SocketAddr::from((host, 9090));
        let mut command = Command::new(tool("prometheus/usr/bin/prometheus"));
        command.arg("--config.file").arg(config).arg("--storage.tsdb.path").arg(folder.join("prometheus"));
        command.args(["--web.listen-address", &address.to_string(), "--log.level", "warn"]);
        let process = Process::start("prometheus", folder, &mut command);
        let prometheus = Self { address, _process: process };
        wait::until("prometheus is ready", LIMIT, || async {
            matches!(Client::new(address).get("localhost", "/-/ready").await, Ok(answer) if answer.status == 200)
        })
        .await;
        prometheus
    }

    /// Waits until the sum of what `query` gives is at least `least`.
    async fn answers(&self, query: &str, least: f64) {
        let last = std::cell::RefCell::new(Value::Null);
        let path = format!("/api/v1/query?query={}", encoded(query));
        let what = format!("{query} is at least {least}");
        let asked = wait::until(&what, LIMIT, || async {
            let answer = Client::new(self.address).get("localhost", &path).await.expect("prometheus answers");
            let answer: Value = serde_json::from_slice(&answer.body).expect("in JSON");
            let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
            let value = |one: &Value| one["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
            last.replace(answer);
            series.iter().filter_map(value).sum::<f64>() >= least
        });
        asked.await;
        println!("{query}: {}", last.borrow()["data"]["result"]);
    }
}

fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
