//! The control plane's metrics in Prometheus' text format.
//!
//! Each answers a question: is the newest configuration in force (`generation`, `config_valid`), everywhere
//! (`proxies{settled}`), how fast does it get there (`config_propagation_seconds`), who disagrees (`nacks_total`), and are
//! shared limits shared (`rate_limit_store_up`, only with a store).

use std::fmt::Write as _;

use super::model::{ConfigState, ProxyKind};
use crate::fleet::{Fleet, PROPAGATION_BUCKETS_SECONDS};

/// All metrics.
pub(super) fn render(fleet: &Fleet) -> String {
    let (counts, proxies) = fleet.counts();
    let status = fleet.status();
    let mut page = Page::default();
    page.metric("generation", "gauge", "Generation of the configuration that proxies are given");
    page.value("generation", "", status.generation);
    page.metric("config_valid", "gauge", "1 if the files as they stand are in force, 0 if they were rejected");
    page.value("config_valid", "", u64::from(status.config.state == ConfigState::Current));
    page.metric("config_applied_total", "counter", "Configurations that were applied");
    page.value("config_applied_total", "", counts.applied);
    page.metric("config_rejected_total", "counter", "Configurations that had errors and changed nothing");
    page.value("config_rejected_total", "", counts.rejected);
    page.metric("streams_opened_total", "counter", "Discovery streams opened by proxies");
    page.value("streams_opened_total", "", counts.streams);
    page.metric("nacks_total", "counter", "Discovery responses that a proxy refused");
    page.value("nacks_total", "", counts.nacks);
    page.metric("gates_expired_total", "counter", "Changes sent before what they depend on was acknowledged");
    page.value("gates_expired_total", "", counts.gates_expired);
    page.metric("stalls_total", "counter", "Streams closed because the proxy did not answer");
    page.value("stalls_total", "", counts.stalls);
    page.metric("proxies", "gauge", "Connected proxies by kind and by whether they have applied the newest generation");
    for kind in [ProxyKind::Sidecar, ProxyKind::Gateway, ProxyKind::Other] {
        for settled in [true, false] {
            let labels = format!("{{kind=\"{}\",settled=\"{settled}\"}}", kind.as_str());
            page.value("proxies", &labels, proxies.get(&(kind, settled)).copied().unwrap_or(0) as u64);
        }
    }
    if let Some(is_reached) = fleet.limit_store().is_reached() {
        page.metric("rate_limit_store_up", "gauge", "1 if the store of shared rate limits answers, 0 if it is gone");
        page.value("rate_limit_store_up", "", u64::from(is_reached));
        let help = "Exchanges with the store of shared rate limits that failed";
        page.metric("rate_limit_store_failures_total", "counter", help);
        page.value("rate_limit_store_failures_total", "", fleet.limit_store().failures());
    }
    let help = "Time from writing a policy file to a proxy's answer that it applied the result";
    page.metric("config_propagation_seconds", "histogram", help);
    for (bound, count) in PROPAGATION_BUCKETS_SECONDS.into_iter().zip(counts.propagation) {
        page.value("config_propagation_seconds_bucket", &format!("{{le=\"{bound}\"}}"), count);
    }
    page.value("config_propagation_seconds_bucket", "{le=\"+Inf\"}", counts.propagation_count);
    page.line("config_propagation_seconds_sum", "", &counts.propagation_seconds.to_string());
    page.value("config_propagation_seconds_count", "", counts.propagation_count);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail; here and below.
        write!(self.0, "# HELP tidegate_control_{name} {help}\n# TYPE tidegate_control_{name} {kind}\n")
            .unwrap_or_default();
    }

    fn value(&mut self, name: &str, labels: &str, value: u64) {
        self.line(name, labels, &value.to_string());
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        writeln!(self.0, "tidegate_control_{name}{labels} {value}").unwrap_or_default();
    }
}
