//! `docs/metrics.md` is the metric tables for people. `UPDATE_GOLDEN=1 cargo test -p tidegate-report` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use tidegate_report::{Metric, istio, metric};

const BEGINNING: &str = "# Metrics

Written from the tables in `xds/report/src/metric.rs` and `xds/report/src/metric/control.rs`; a test keeps it so.

Both pages speak Prometheus' text format 0.0.4 and, to a scraper that asks for it in `Accept`, OpenMetrics 1.0. The series are the same in
both. Labels are bounded by the configuration or by the tables; none holds what a caller may choose, but
for the source in Istio's metrics, of which there are so few.

`untyped` metrics only grow. Their names are Istio's, without the `_total` that a counter must have.
";

const PROXY: &str = "
## Proxy

`GET /stats/prometheus` or `GET /metrics` on the admin port (15000, loopback). `?names=tidegate` or `?names=istio` gives one family alone.
";

const ISTIO: &str = "
### Istio's standard metrics

On the same page. Names, labels and buckets are Istio's (\"Istio Standard Metrics\"), so that Kiali, KubeSphere and Istio's dashboards of the
mesh, of services and of workloads read them.

- There is a series for each pair of a caller and one that is called, for each way in which requests ended; both proxies write theirs
  (`reporter`). At most 4,096 pairs, 256 of them callers that
  arrived (who they are is their own word), and 12 ways are told apart; what comes after them is counted under `__other__`, or with its class
  of status. A pair that nobody uses any more goes after ten minutes.
- What is not known is `unknown`, never empty: principals, because callers do not show certificates of the mesh yet; clusters; and the
  caller, where it has no proxy of ours. `grpc_response_status` is empty where no gRPC was spoken, as Istio has it.
- `istio_request_bytes` and `istio_response_bytes` count bodies, not heads.
- Bytes of a TCP connection are counted when it ends.
";

const CONTROL: &str = "
## Control plane

`GET /metrics` on the API's port (15014, loopback).

Names that begin with `pilot_` or `istio_` are Istio's, for Kiali and Istio's dashboard of the control plane. Left out is what would not be
true of this control plane: `pilot_xds_push_time`, `pilot_xds_config_size_bytes` and `pilot_push_triggers` (work is not done push by push),
`pilot_k8s_*`, `galley_*` and `sidecar_injection_*` (there is no API server to watch, admit or inject for), `go_*` (this is no Go program) and
`container_*` (which the container's host knows). Panels over those stay empty. The label `version` of Istio's `pilot_xds` is missing,
because proxies do not say theirs.

`process_*` are there where the system has `/proc`.
";

#[test]
fn the_page_of_metrics_is_the_tables() {
    let mut page = BEGINNING.to_owned();
    page.push_str(PROXY);
    table(&mut page, &metric::ALL);
    page.push_str(ISTIO);
    table(&mut page, &istio::ALL);
    page.push_str(CONTROL);
    table(&mut page, &metric::control::ALL);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is not what the tables say; UPDATE_GOLDEN=1 writes it anew");
}

fn table(page: &mut String, metrics: &[Metric]) {
    page.push_str("\n| name | type | labels | what it says | what it answers |\n|---|---|---|---|---|\n");
    for metric in metrics {
        let Metric { name, kind, labels, help, question } = metric;
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [help, question].map(|text| text.replace('|', "\\|"));
        writeln!(page, "| `{name}` | {} | {} | {} | {} |", kind.as_str(), labels.join(", "), cells[0], cells[1])
            .expect("writing to a string cannot fail");
    }
}
