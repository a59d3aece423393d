//! The control plane's table, and what of Istio's control plane is true of ours.
//!
//! # Why names of Istio's
//! Kiali's page about the control plane and Istio's dashboard ask for `pilot_*`. Those whose meaning is ours as well stand here
//! beside our own. What we have no honest number for is left out: a panel that stays empty says more than one that lies.

use super::{Kind, Metric, counter, gauge};

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help, question: "" }
}

const fn untyped(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Untyped, labels, help, question: "" }
}

/// The generation in force.
pub const GENERATION: Metric =
    gauge("tidegate_control_generation", &[], "Generation of the configuration that proxies are given.")
        .asks("Which configuration is in force?");
/// Whether the files are.
pub const CONFIG_VALID: Metric =
    gauge("tidegate_control_config_valid", &[], "1 if the files as they stand are in force, 0 if they were rejected.")
        .asks("Is what stands in the files what proxies are given?");
/// Configurations applied.
pub const CONFIG_APPLIED: Metric =
    counter("tidegate_control_config_applied_total", &[], "Configurations that were applied.")
        .asks("How often does the configuration change?");
/// Configurations rejected.
pub const CONFIG_REJECTED: Metric =
    counter("tidegate_control_config_rejected_total", &[], "Configurations that had errors and changed nothing.")
        .asks("How often are mistakes written?");
/// Discovery streams opened.
pub const STREAMS_OPENED: Metric =
    counter("tidegate_control_streams_opened_total", &[], "Discovery streams opened by proxies.")
        .asks("Do proxies keep their connections?");
/// Refusals.
pub const NACKS: Metric = counter("tidegate_control_nacks_total", &[], "Discovery responses that a proxy refused.")
    .asks("Does a proxy disagree?");
/// Make before break given up.
pub const GATES_EXPIRED: Metric =
    counter("tidegate_control_gates_expired_total", &[], "Changes sent before what they depend on was acknowledged.")
        .asks("Is a proxy too slow for an orderly change?");
/// Streams closed because nothing came back.
pub const STALLS: Metric =
    counter("tidegate_control_stalls_total", &[], "Streams closed because the proxy did not answer.")
        .asks("Does a proxy hang?");
/// Connected proxies.
pub const PROXIES: Metric = gauge(
    "tidegate_control_proxies",
    &["kind", "settled"],
    "Connected proxies by kind and by whether they have applied the newest generation.",
)
.asks("Is the newest configuration in force everywhere?");
/// Whether the store of shared limits is there.
pub const LIMIT_STORE_UP: Metric = gauge(
    "tidegate_control_rate_limit_store_up",
    &[],
    "1 if the store of shared rate limits answers, 0 if it is gone; only with a store.",
)
.asks("Are shared limits shared?");
/// Failures of that store.
pub const LIMIT_STORE_FAILURES: Metric = counter(
    "tidegate_control_rate_limit_store_failures_total",
    &[],
    "Exchanges with the store of shared rate limits that failed; only with a store.",
)
.asks("Does the store of shared limits come and go?");
/// From the file to the proxy.
pub const PROPAGATION: Metric = histogram(
    "tidegate_control_config_propagation_seconds",
    &[],
    "Time from writing a policy file to a proxy's answer that it applied the result.",
)
.asks("How fast does a change act?");
/// Streams of the API.
pub const EVENT_STREAMS: Metric =
    gauge("tidegate_control_event_streams", &[], "Open streams of /api/v1/stream.").asks("How many consoles are open?");
/// Streams beyond the limit.
pub const EVENT_STREAMS_REFUSED: Metric = counter(
    "tidegate_control_event_streams_refused_total",
    &[],
    "Streams of /api/v1/stream that were refused because as many as may be were open.",
)
.asks("Does a console see nothing because there are too many?");

/// Istio's word for connected proxies.
pub const PILOT_XDS: Metric =
    gauge("pilot_xds", &[], "Clients that are connected over xDS.").asks("How many proxies are connected?");
/// Istio's word for responses sent.
pub const PILOT_XDS_PUSHES: Metric =
    untyped("pilot_xds_pushes", &["type"], "Discovery responses sent, by type of resource (cds, eds, lds, rds, sds).")
        .asks("How much is pushed?");
/// Istio's word for propagation.
pub const PILOT_CONVERGENCE: Metric = histogram(
    "pilot_proxy_convergence_time",
    &[],
    "Seconds from writing a policy file to a proxy's answer; unlike Istio's it ends when the proxy has applied the result.",
)
.asks("How fast does a change act?");
/// Istio's word for refusals.
pub const PILOT_REJECTS: Metric = untyped(
    "pilot_total_xds_rejects",
    &["type"],
    "Discovery responses that a proxy refused, by type of resource (cds, eds, lds, rds, sds).",
)
.asks("Does a proxy disagree?");
/// Istio's word for services.
pub const PILOT_SERVICES: Metric =
    gauge("pilot_services", &[], "Services of the configuration in force.").asks("How large is the mesh?");
/// Istio's word for routes of its kind.
pub const PILOT_VIRTUAL_SERVICES: Metric =
    gauge("pilot_virt_services", &[], "VirtualServices of the configuration in force.")
        .asks("How much is routed by VirtualServices?");
/// Our release under the name that Kiali reads.
pub const PILOT_INFO: Metric =
    gauge("pilot_info", &["version"], "Always 1; the label says which release this is.").asks("Which release runs?");
/// Our release under the name that Istio's dashboard of the mesh reads.
pub const ISTIO_BUILD: Metric = gauge(
    "istio_build",
    &["component", "tag"],
    "Always 1; the labels say what this is in Istio's terms (pilot), and which release.",
)
.asks("Which release runs?");

/// Time on processors.
pub const PROCESS_CPU: Metric = counter(
    "process_cpu_seconds_total",
    &[],
    "Seconds that this process has spent on processors, in user and in kernel mode.",
)
.asks("What does the control plane cost?");
/// Memory.
pub const PROCESS_MEMORY: Metric =
    gauge("process_resident_memory_bytes", &[], "Memory of this process that is resident.")
        .asks("What does the control plane cost?");
/// Start.
pub const PROCESS_START: Metric =
    gauge("process_start_time_seconds", &[], "When this process began, in seconds since 1970.")
        .asks("Was the control plane restarted?");
/// Descriptors.
pub const PROCESS_FDS: Metric =
    gauge("process_open_fds", &[], "Open file descriptors of this process.").asks("Do descriptors leak?");

/// Spans taken in.
pub const TRACE_SPANS_RECEIVED: Metric =
    counter("tidegate_control_trace_spans_received_total", &[], "Spans that were taken in.").asks("Do traces arrive?");
/// Spans refused.
pub const TRACE_REFUSED: Metric = counter(
    "tidegate_control_trace_refused_total",
    &["reason"],
    "Spans and whole requests that were refused: malformed, too large, or too much at once.",
)
.asks("Whose traces are not taken, and why?");
/// Parts of spans that were left out.
pub const TRACE_DETAILS_LOST: Metric = counter(
    "tidegate_control_trace_details_lost_total",
    &[],
    "Attributes and events of spans beyond the limits, and cut texts.",
)
.asks("Are spans whole?");
/// Spans that left.
pub const TRACE_SPANS_EVICTED: Metric =
    counter("tidegate_control_trace_spans_evicted_total", &[], "Spans that made room for newer ones.")
        .asks("Is there enough memory for traces?");
/// Traces that left.
pub const TRACE_TRACES_EVICTED: Metric =
    counter("tidegate_control_trace_traces_evicted_total", &[], "Traces that made room for newer ones.")
        .asks("How far back do traces go?");
/// Answers that are not whole.
pub const TRACE_ANSWERS_CUT: Metric = counter(
    "tidegate_control_trace_answers_cut_total",
    &[],
    "Answers that left traces out because they would be too long.",
)
.asks("Does somebody see less than there is?");
/// Traces held.
pub const TRACE_STORE_TRACES: Metric =
    gauge("tidegate_control_trace_store_traces", &[], "Traces in the store.").asks("How many traces are there?");
/// Spans held.
pub const TRACE_STORE_SPANS: Metric =
    gauge("tidegate_control_trace_store_spans", &[], "Spans in the store.").asks("How large are they?");
/// Memory taken.
pub const TRACE_STORE_BYTES: Metric =
    gauge("tidegate_control_trace_store_bytes", &[], "Memory that traces take.").asks("How full is the store?");
/// Memory that may be taken.
pub const TRACE_STORE_BYTES_MAX: Metric =
    gauge("tidegate_control_trace_store_bytes_max", &[], "Memory that traces may take.")
        .asks("When do the oldest traces leave?");

/// Every metric, in the order in which they are exported.
pub const ALL: [Metric; 36] = [
    GENERATION,
    CONFIG_VALID,
    CONFIG_APPLIED,
    CONFIG_REJECTED,
    STREAMS_OPENED,
    NACKS,
    GATES_EXPIRED,
    STALLS,
    PROXIES,
    LIMIT_STORE_UP,
    LIMIT_STORE_FAILURES,
    PROPAGATION,
    EVENT_STREAMS,
    EVENT_STREAMS_REFUSED,
    TRACE_REFUSED,
    TRACE_SPANS_RECEIVED,
    TRACE_DETAILS_LOST,
    TRACE_SPANS_EVICTED,
    TRACE_TRACES_EVICTED,
    TRACE_ANSWERS_CUT,
    TRACE_STORE_TRACES,
    TRACE_STORE_SPANS,
    TRACE_STORE_BYTES,
    TRACE_STORE_BYTES_MAX,
    PILOT_XDS,
    PILOT_XDS_PUSHES,
    PILOT_CONVERGENCE,
    PILOT_REJECTS,
    PILOT_SERVICES,
    PILOT_VIRTUAL_SERVICES,
    PILOT_INFO,
    ISTIO_BUILD,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_START,
    PROCESS_FDS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_only_counters_end_in_total() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }
}
