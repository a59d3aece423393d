//! `locality`: which endpoints are used first, with or without outlier detection.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::ir::locality::{Distribution, LocalitySettings};
use crate::schema::{Fields, map, percent, truth, word};
use crate::tree::Node;

/// `{enabled, distribute: [{from, to: {locality: percent}}], failover: [{from, to}], failoverPriority: [label]}`
pub(super) fn read(node: &Node, report: &mut Report) -> Option<LocalitySettings> {
    let mut fields = Fields::open(node, "the locality", report)?;
    let enabled = fields.read("enabled", report, truth);
    let distribute = fields.list_up_to(64, "distribute", report, distribution);
    let failover = fields.list_up_to(64, "failover", report, failover);
    let failover_priority = fields.list_up_to(16, "failoverPriority", report, word);
    let span = fields.span();
    fields.finish(report);
    let others = !failover.is_empty() || !failover_priority.is_empty();
    if !distribute.is_empty() && others {
        report
            .add(Code::InvalidRule, span, "only one of distribute, failover and failoverPriority can be set")
            .help("`distribute` says every share; the other two say who comes next");
        return None;
    }
    Some(LocalitySettings {
        enabled: enabled.unwrap_or(true),
        distribute,
        failover,
        failover_priority: failover_priority.into_iter().map(|label| label.value).collect(),
    })
}

fn distribution(node: &Node, report: &mut Report) -> Option<Distribution> {
    let mut fields = Fields::open(node, "the distribution", report)?;
    let span = fields.span();
    let from = fields.require("from", report, word);
    let to = fields.require("to", report, |node, report| Some(map(node, "to", report, percent)));
    fields.finish(report);
    let (from, to) = (from?, to?);
    let total: u32 = to.iter().map(|(_, percent)| percent).sum();
    if total != 100 {
        report
            .add(Code::BadValue, span, format!("the shares come to {total}, not 100"))
            .help("every caller goes somewhere: let them add up to 100");
        return None;
    }
    let to = to.into_iter().map(|(locality, percent)| (locality.value, percent)).collect();
    Some(Distribution { from: from.value, to })
}

fn failover(node: &Node, report: &mut Report) -> Option<(Arc<str>, Arc<str>)> {
    let mut fields = Fields::open(node, "the failover", report)?;
    let span = fields.span();
    let from = fields.require("from", report, word);
    let to = fields.require("to", report, word);
    fields.finish(report);
    let (from, to) = (from?.value, to?.value);
    if from == to {
        report.add(Code::BadValue, span, format!("region {from} fails over to itself")).help("name another region");
        return None;
    }
    Some((from, to))
}
