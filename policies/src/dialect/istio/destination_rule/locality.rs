//! `localityLbSetting`: which localities are used first, and which take over.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::ir::locality::{Distribution, LocalitySettings};
use crate::schema::{Fields, integer, list, map, text, truth, word};
use crate::source::Spanned;
use crate::tree::Node;

pub(super) fn read(node: &Node, report: &mut Report) -> Option<LocalitySettings> {
    let mut fields = Fields::open(node, "localityLbSetting", report)?;
    let enabled = fields.read("enabled", report, truth);
    let distribute_at = fields.entry("distribute");
    let distribute =
        distribute_at.map_or_else(Vec::new, |entry| list(&entry.value, "distribute", report, distribution));
    let failover_at = fields.entry("failover");
    let failover = failover_at.map_or_else(Vec::new, |entry| list(&entry.value, "failover", report, failover));
    let priority = fields.list("failoverPriority", report, text);
    fields.finish(report);
    if let (Some(first), Some(second)) = (distribute_at, failover_at)
        && !distribute.is_empty()
        && !failover.is_empty()
    {
        report
            .add(Code::InvalidRule, second.key_span, "can not simultaneously specify 'distribute' and 'failover'")
            .also(first.key_span, "the other is here")
            .help("keep one of them");
    }
    Some(LocalitySettings {
        enabled: enabled.unwrap_or(true),
        distribute,
        failover,
        failover_priority: priority.into_iter().map(|label| label.value).collect(),
    })
}

fn distribution(node: &Node, report: &mut Report) -> Option<Distribution> {
    let mut fields = Fields::open(node, "the distribution", report)?;
    let span = fields.span();
    let from = fields.require("from", report, locality);
    let to_at = fields.take("to");
    if to_at.is_none() {
        fields.missing("to", report);
    }
    let to = to_at.map_or_else(Vec::new, |node| {
        map(node, "to", report, |node, report| integer(node, 0, i64::from(i32::MAX), report))
    });
    fields.finish(report);
    let mut shares = Vec::new();
    let mut total = 0;
    for (name, share) in to {
        if !(1..=100).contains(&share.value) {
            report.add(Code::BadValue, share.span, "locality weight must be in range [1, 100]");
        }
        total += share.value;
        shares.push((name.value, u32::try_from(share.value).ok()?));
    }
    if total != 100 {
        report
            .add(Code::BadValue, span, format!("total locality weight {total} != 100"))
            .help("the weights of one `from` are percentages");
    }
    Some(Distribution { from: from?.value, to: shares })
}

/// `region/zone/subzone`; a `*` only at the end.
fn locality(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let written = word(node, report)?;
    let parts: Vec<&str> = written.value.split('/').collect();
    let star = parts.iter().position(|part| part.contains('*'));
    let good = parts.len() <= 3
        && parts.iter().all(|part| !part.is_empty())
        && star.is_none_or(|at| at + 1 == parts.len() && parts[at] == "*");
    if !good {
        report
            .add(
                Code::BadValue,
                written.span,
                format!("\"{}\" is not a locality", crate::tree::shortened(&written.value)),
            )
            .help("write region/zone/subzone; `*` may stand at the end");
        return None;
    }
    Some(written)
}

fn failover(node: &Node, report: &mut Report) -> Option<(Arc<str>, Arc<str>)> {
    let mut fields = Fields::open(node, "the failover", report)?;
    let from = fields.require("from", report, word);
    let to = fields.require("to", report, word);
    fields.finish(report);
    let (from, to) = (from?, to?);
    if from.value == to.value {
        report
            .add(Code::InvalidRule, to.span, "locality lb failover settings must specify different regions")
            .also(from.span, "the same region")
            .help("name the region that takes over");
        return None;
    }
    for region in [&from, &to] {
        if region.value.contains(['/', '*']) {
            report
                .add(Code::BadValue, region.span, "locality lb failover only specify region")
                .help("write the region alone, without zone and without `*`");
        }
    }
    Some((from.value, to.value))
}
