//! Protobuf to limits and back.

use super::{Cluster, RetryBudget, Thresholds};
use crate::proto::{UInt32Value, cluster, core};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{encode_percentage, encode_u32, percentage, unless_zero};

/// A budget that says nothing; Envoy's defaults.
const BUDGET_PERCENT_DEFAULT: f64 = 20.0;
const MIN_CONCURRENCY_DEFAULT: u32 = 3;

/// The message in the field of that name, if it is there.
pub(super) fn decode(at: &At<'_>, message: Option<cluster::CircuitBreakers>) -> Checked<Thresholds> {
    let Some(cluster::CircuitBreakers { thresholds, per_host_thresholds }) = message else {
        return Ok(Thresholds::default());
    };
    let at = &at.field("circuit_breakers");
    let mut limits = Thresholds::default();
    if let Some((i, message)) = first(at, "thresholds", thresholds) {
        limits = whole(&at.item("thresholds", i), message)?;
    }
    if let Some((i, message)) = first(at, "per_host_thresholds", per_host_thresholds) {
        limits.max_connections_per_endpoint = per_endpoint(&at.item("per_host_thresholds", i), message)?;
    }
    Ok(limits)
}

/// The first of its priority counts, as in Envoy; routes of high priority are refused. The others are noted.
fn first(
    at: &At<'_>,
    field: &str,
    messages: Vec<cluster::circuit_breakers::Thresholds>,
) -> Option<(usize, cluster::circuit_breakers::Thresholds)> {
    let mut found = None;
    for (i, message) in messages.into_iter().enumerate() {
        if message.priority == core::RoutingPriority::Default as i32 && found.is_none() {
            found = Some((i, message));
        } else {
            at.item(field, i).ignore_here();
        }
    }
    found
}

fn whole(at: &At<'_>, message: cluster::circuit_breakers::Thresholds) -> Checked<Thresholds> {
    let cluster::circuit_breakers::Thresholds {
        priority: _,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    } = message;
    ignored!(at; track_remaining, max_connection_pools);
    let default = Thresholds::default();
    let or = |value: Option<UInt32Value>, default: u32| value.map_or(default, |v| v.value);
    Ok(Thresholds {
        max_connections: or(max_connections, default.max_connections),
        max_pending_requests: or(max_pending_requests, default.max_pending_requests),
        max_requests: or(max_requests, default.max_requests),
        max_retries: or(max_retries, default.max_retries),
        retry_budget: retry_budget.map(|message| budget(&at.field("retry_budget"), message)).transpose()?,
        ..default
    })
}

fn budget(at: &At<'_>, message: cluster::circuit_breakers::thresholds::RetryBudget) -> Checked<RetryBudget> {
    let cluster::circuit_breakers::thresholds::RetryBudget { budget_percent, budget_interval, min_retry_concurrency } =
        message;
    // Requests that are over do not count here.
    let budget_interval = unless_zero(budget_interval);
    ignored!(at; budget_interval);
    Ok(RetryBudget {
        percent: percentage(at, "budget_percent", budget_percent, BUDGET_PERCENT_DEFAULT)?,
        min_concurrency: min_retry_concurrency.map_or(MIN_CONCURRENCY_DEFAULT, |v| v.value),
    })
}

/// Envoy, too, has one limit only for each endpoint.
fn per_endpoint(at: &At<'_>, message: cluster::circuit_breakers::Thresholds) -> Checked<Option<u32>> {
    let cluster::circuit_breakers::Thresholds {
        priority: _,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    } = message;
    refused!(at; max_pending_requests, max_requests, max_retries, retry_budget);
    ignored!(at; track_remaining, max_connection_pools);
    Ok(max_connections.map(|max| max.value))
}

pub(super) fn encode(value: &Cluster) -> cluster::CircuitBreakers {
    let limits = &value.circuit_breakers;
    let retry_budget = limits.retry_budget.map(|budget| cluster::circuit_breakers::thresholds::RetryBudget {
        budget_percent: Some(encode_percentage(budget.percent)),
        budget_interval: None,
        min_retry_concurrency: Some(encode_u32(budget.min_concurrency)),
    });
    let thresholds = cluster::circuit_breakers::Thresholds {
        priority: core::RoutingPriority::Default.into(),
        max_connections: Some(encode_u32(limits.max_connections)),
        max_pending_requests: Some(encode_u32(limits.max_pending_requests)),
        max_requests: Some(encode_u32(limits.max_requests)),
        max_retries: Some(encode_u32(limits.max_retries)),
        retry_budget,
        ..Default::default()
    };
    let per_host = limits.max_connections_per_endpoint.map(|max| cluster::circuit_breakers::Thresholds {
        max_connections: Some(encode_u32(max)),
        ..Default::default()
    });
    cluster::CircuitBreakers { thresholds: vec![thresholds], per_host_thresholds: per_host.into_iter().collect() }
}
