//! Istio's standard metrics, written from the edges: what Kiali, Istio's dashboards and KubeSphere read.
//!
//! # What is not known is `unknown`
//! Kiali drops series with an empty or missing label, so each label of each series says something. Principals are known once
//! callers show certificates of the mesh.
//!
//! # How much there is
//! A series for each edge and way to end: both are bounded ([`EDGES_MAX`](super::edges::EDGES_MAX),
//! [`OUTCOMES_MAX`](super::edges::cells::OUTCOMES_MAX)), and an edge that is over goes after ten minutes.

use std::collections::BTreeMap;

use tidegate_report::Metric;
use tidegate_report::exposition::Page;
use tidegate_report::istio::{self, BOUNDS, UNKNOWN};
use tidegate_xds::report_service::{EdgeKey, Protocol, Reporter, Security, Service, Workload};

use super::Cell;
use super::edges::cells::{Ended, Histogram, Row};
use super::edges::{Edge, Edges};

/// An edge's numbers, added up over workers.
struct Totals {
    labels: Vec<String>,
    by_outcome: BTreeMap<(u16, String, String), Summed>,
    is_tcp: bool,
    /// Bytes sent and received, connections opened and closed.
    tcp: [u64; 4],
}

#[derive(Default)]
struct Summed {
    duration: Sum,
    request_bytes: Sum,
    response_bytes: Sum,
}

#[derive(Default)]
struct Sum {
    buckets: [u64; istio::BUCKETS],
    sum: u64,
}

impl Sum {
    fn add(&mut self, counted: &Histogram) {
        self.buckets.iter_mut().zip(&counted.buckets).for_each(|(sum, cell)| *sum += cell.value());
        self.sum += counted.sum.value();
    }

    fn number(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Writes all series.
pub(crate) fn write(page: &mut Page, edges: &Edges) {
    let totals: Vec<Totals> = edges.all().iter().map(|edge| total(edge)).collect();
    page.head(&istio::REQUESTS);
    for (labels, summed) in requests(&totals) {
        page.sample(&istio::REQUESTS, &texts(&labels), summed.duration.number());
    }
    histogram(page, &totals, &istio::REQUEST_DURATION, |summed| (&summed.duration, true));
    histogram(page, &totals, &istio::REQUEST_BYTES, |summed| (&summed.request_bytes, false));
    histogram(page, &totals, &istio::RESPONSE_BYTES, |summed| (&summed.response_bytes, false));
    let tcp = [
        (&istio::TCP_SENT_BYTES, 1),
        (&istio::TCP_RECEIVED_BYTES, 0),
        (&istio::TCP_CONNECTIONS_OPENED, 2),
        (&istio::TCP_CONNECTIONS_CLOSED, 3),
    ];
    for (metric, at) in tcp {
        page.head(metric);
        for edge in totals.iter().filter(|edge| edge.is_tcp) {
            let mut labels = texts(&edge.labels);
            // Of the flags: connections of bytes are counted without them.
            labels.push("-");
            page.sample(metric, &labels, edge.tcp[at]);
        }
    }
}

fn texts(labels: &[String]) -> Vec<&str> {
    labels.iter().map(String::as_str).collect()
}

/// Series about requests with their labels.
fn requests(totals: &[Totals]) -> impl Iterator<Item = (Vec<String>, &Summed)> {
    totals.iter().flat_map(|edge| {
        edge.by_outcome.iter().map(|((code, grpc, flags), summed)| {
            let of_outcome = [flags.clone(), code.to_string(), grpc.clone()];
            (edge.labels.iter().cloned().chain(of_outcome).collect(), summed)
        })
    })
}

/// `pick` gives the values, and whether they were counted in thousandths of what the bounds say.
fn histogram(page: &mut Page, totals: &[Totals], metric: &Metric, pick: impl Fn(&Summed) -> (&Sum, bool)) {
    page.head(metric);
    for (labels, summed) in requests(totals) {
        let (values, in_thousandths) = pick(summed);
        let mut below = 0;
        let cumulative = BOUNDS.iter().zip(&values.buckets).map(|(bound, count)| {
            below += count;
            (*bound, below)
        });
        let cumulative: Vec<_> = cumulative.collect();
        #[expect(clippy::cast_precision_loss, reason = "as Prometheus keeps it")]
        let sum = values.sum as f64 / if in_thousandths { 1_000.0 } else { 1.0 };
        page.histogram(metric, &texts(&labels), &cumulative, values.number(), sum);
    }
}

fn total(edge: &Edge) -> Totals {
    let is_tcp = edge.key.protocol() == Protocol::Tcp;
    let mut by_outcome: BTreeMap<_, Summed> = BTreeMap::new();
    for (ended, cells) in edge.rows.rows().flat_map(Row::outcomes) {
        let summed = by_outcome.entry(outcome(ended)).or_default();
        summed.duration.add(&cells.duration);
        summed.request_bytes.add(&cells.request_bytes);
        summed.response_bytes.add(&cells.response_bytes);
    }
    let sum = |cell: fn(&Row) -> &Cell| edge.rows.sum(cell);
    let tcp = [sum(|row| &row.sent), sum(|row| &row.received), sum(|row| &row.opened), sum(|row| &row.closed)];
    Totals { labels: labels(&edge.key), by_outcome, is_tcp, tcp }
}

/// Code, gRPC status and flags as labels say them.
fn outcome(ended: Ended) -> (u16, String, String) {
    let flags = ended.flag_codes();
    let grpc = ended.grpc_status.map(|status| status.to_string()).unwrap_or_default();
    (ended.code, grpc, if flags.is_empty() { "-".to_owned() } else { flags })
}

fn known(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() }
}

/// Labels of an edge, in the order of [`istio::CONNECTION_LABELS`], but for the flags at their end.
fn labels(key: &EdgeKey) -> Vec<String> {
    let reporter = match key.reporter() {
        Reporter::Source | Reporter::Unspecified => "source",
        Reporter::Destination => "destination",
    };
    let protocol = match key.protocol() {
        Protocol::Http | Protocol::Unspecified => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    };
    // Istio's own rule: only the proxy of the one that was called knows it for certain.
    let security = match (key.reporter(), key.security()) {
        (Reporter::Destination, Security::Mutual) => "mutual_tls",
        (Reporter::Destination, Security::Plain | Security::Tls) => "none",
        (Reporter::Destination, Security::Unspecified) | (Reporter::Source | Reporter::Unspecified, _) => UNKNOWN,
    };
    let (source, destination) = (named(key.source.as_ref()), named(key.destination.as_ref()));
    let Service { host, name, namespace } = key.service.clone().unwrap_or_default();
    let fixed = |text: &str| text.to_owned();
    let mut labels = vec![fixed(reporter)];
    labels.extend(of_workload(&source));
    labels.extend([known(&host), known(&namespace), known(&name)]);
    labels.extend(of_workload(&destination));
    labels.extend([fixed(protocol), fixed(security)]);
    labels
}

fn named(workload: Option<&Workload>) -> Workload {
    workload.cloned().unwrap_or_default()
}

/// Workload, canonical service and revision, namespace, principal, app, version, cluster.
fn of_workload(workload: &Workload) -> [String; 8] {
    let Workload { name, namespace, app, version } = workload;
    // A workload without a version is Istio's revision `latest`.
    let revision = if version.is_empty() && !name.is_empty() { "latest" } else { version };
    let unknown = || UNKNOWN.to_owned();
    [known(name), known(app), known(revision), known(namespace), unknown(), known(app), known(version), unknown()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_report::exposition::Format;

    use super::*;
    use crate::telemetry::edges::cells::Request;

    fn workload(name: &str, app: &str, version: &str) -> Option<Workload> {
        let [name, app, version] = [name, app, version].map(str::to_owned);
        Some(Workload { name, namespace: "shop".to_owned(), app, version })
    }

    fn page(edges: &Edges) -> String {
        let mut page = Page::new(Format::Prometheus, 0);
        write(&mut page, edges);
        page.finish()
    }

    #[test]
    fn a_request_is_a_series_with_all_labels_of_istio() {
        let edges = Edges::new(2);
        let service =
            Service { host: "reviews.shop.svc.cluster.local".into(), name: "reviews".into(), namespace: "shop".into() };
        let edge = edges.edge(EdgeKey {
            reporter: Reporter::Destination.into(),
            source: workload("web-1", "web", ""),
            destination: workload("reviews-v1", "reviews", "v1"),
            service: Some(service),
            protocol: Protocol::Http.into(),
            security: Security::Mutual.into(),
        });
        let ended =
            Ended { code: 503, grpc_status: None, flags: 1 << tidegate_report::ResponseFlag::UpstreamTimeout as u8 };
        for worker in 0..2 {
            let took = Duration::from_micros(4_500);
            edge.rows.of(worker).count(&Request { ended, took, received: 0, sent: 12 });
        }

        let text = page(&edges);
        let labels = "reporter=\"destination\",source_workload=\"web-1\",source_canonical_service=\"web\",\
            source_canonical_revision=\"latest\",source_workload_namespace=\"shop\",source_principal=\"unknown\",\
            source_app=\"web\",source_version=\"unknown\",source_cluster=\"unknown\",\
            destination_service=\"reviews.shop.svc.cluster.local\",destination_service_namespace=\"shop\",\
            destination_service_name=\"reviews\",destination_workload=\"reviews-v1\",\
            destination_canonical_service=\"reviews\",destination_canonical_revision=\"v1\",\
            destination_workload_namespace=\"shop\",destination_principal=\"unknown\",destination_app=\"reviews\",\
            destination_version=\"v1\",destination_cluster=\"unknown\",request_protocol=\"http\",\
            connection_security_policy=\"mutual_tls\",response_flags=\"UT\",response_code=\"503\",grpc_response_status=\"\"";
        assert!(text.contains(&format!("istio_requests_total{{{labels}}} 2\n")), "{text}");
        let bucket = |le: &str| format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"{le}\"}}");
        assert!(text.contains(&format!("{} 0\n{} 2\n", bucket("1.0"), bucket("5.0"))), "{text}");
        assert!(text.contains(&format!("istio_request_duration_milliseconds_sum{{{labels}}} 9\n")), "{text}");
        assert!(text.contains(&format!("istio_response_bytes_sum{{{labels}}} 24\n")), "{text}");
    }

    #[test]
    fn connections_of_bytes_have_series_of_their_own() {
        let edges = Edges::new(1);
        let edge = edges.edge(EdgeKey {
            reporter: Reporter::Source.into(),
            source: workload("web-1", "web", ""),
            protocol: Protocol::Tcp.into(),
            ..EdgeKey::default()
        });
        let row = edge.rows.of(0);
        row.opened.increment();
        row.sent.add(7);
        row.received.add(11);

        let text = page(&edges);
        for (metric, value) in
            [("sent_bytes", 11), ("received_bytes", 7), ("connections_opened", 1), ("connections_closed", 0)]
        {
            let begins = format!("istio_tcp_{metric}_total{{reporter=\"source\",source_workload=\"web-1\"");
            let line = text.lines().find(|line| line.starts_with(&begins)).expect(metric);
            assert!(
                line.ends_with(&format!(
                    "request_protocol=\"tcp\",connection_security_policy=\"unknown\",response_flags=\"-\"}} {value}"
                )),
                "{line}"
            );
        }
        assert!(!text.contains("istio_requests_total{"), "{text}");
    }

    #[test]
    fn a_caller_that_reached_nobody_is_a_series_too() {
        let edges = Edges::new(1);
        let edge = edges.edge(EdgeKey {
            reporter: Reporter::Source.into(),
            source: workload("web-1", "web", ""),
            ..EdgeKey::default()
        });
        let ended = Ended { code: 404, grpc_status: None, flags: 0 };
        edge.rows.of(0).count(&Request { ended, took: Duration::ZERO, received: 0, sent: 0 });

        let text = page(&edges);
        let reached = "destination_service=\"unknown\",destination_service_namespace=\"unknown\",destination_service_name=\"unknown\",\
            destination_workload=\"unknown\"";
        assert!(text.contains(reached), "{text}");
        assert!(text.contains("response_flags=\"-\",response_code=\"404\""), "{text}");
    }
}
