//! `mirror` and `mirrors` of an HTTP rule: where copies go, and of which share of requests.

use super::fault::percentage;
use super::{Target, destination};
use crate::diagnostic::{Code, Report};
use crate::ir::share::Share;
use crate::schema::{Fields, integer, list, share_of_percent};
use crate::source::Span;
use crate::tree::{Entry, Node};

/// A copy, its destination not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct MirrorShape {
    pub(crate) span: Span,
    pub(crate) target: Target,
    pub(crate) share: Share,
}

/// The fields of a rule that are about copies.
pub(super) struct Written<'n> {
    mirror: Option<&'n Entry>,
    mirrors: Option<&'n Entry>,
    percentage: Option<&'n Entry>,
    /// Older spellings of the percentage, whole numbers.
    percent: Option<&'n Entry>,
}

impl<'n> Written<'n> {
    pub(super) fn take(fields: &mut Fields<'n>) -> Self {
        Self {
            mirror: fields.entry("mirror"),
            mirrors: fields.entry("mirrors"),
            percentage: fields.entry("mirrorPercentage").or_else(|| fields.entry("mirror_percentage")),
            percent: fields.entry("mirrorPercent").or_else(|| fields.entry("mirror_percent")),
        }
    }

    /// Where copies are asked for.
    pub(super) fn place(&self) -> Option<&'n Entry> {
        self.mirror.or(self.mirrors)
    }

    /// A copy whose share is an explicit zero is switched off.
    pub(super) fn read(self, report: &mut Report) -> Vec<MirrorShape> {
        if let (Some(one), Some(several)) = (self.mirror, self.mirrors) {
            report
                .add(Code::InvalidRule, several.key_span, "HTTP route cannot contain both mirror and mirrors")
                .also(one.key_span, "the other is here")
                .help("put all into `mirrors`");
        }
        let share = self.share(report);
        let mut found = Vec::new();
        if let Some(entry) = self.mirror {
            let target = destination(&entry.value, report);
            found.extend(target.zip(share).map(|(target, share)| MirrorShape { span: entry.key_span, target, share }));
        } else if self.mirrors.is_none()
            && let Some(entry) = self.percentage.or(self.percent)
        {
            report
                .add(Code::FieldWithoutEffect, entry.key_span, "nothing is mirrored, so the percentage has no effect")
                .help("add `mirror: {host: ...}`");
        }
        if let Some(entry) = self.mirrors {
            found.extend(list(&entry.value, "mirrors", report, policy));
        }
        found.retain(|mirror| mirror.share != Share::NONE);
        found
    }

    fn share(&self, report: &mut Report) -> Option<Share> {
        match (self.percentage, self.percent) {
            (Some(entry), _) => mirrored(&entry.value, "mirror_percentage", report),
            (None, Some(entry)) => {
                let number = integer(&entry.value, 0, i64::from(u32::MAX), report)?;
                let share = share_of_percent(number.value as f64);
                if share.is_none() {
                    report.add(
                        Code::BadValue,
                        number.span,
                        format!("mirror_percent must have a max value of 100 (it has {})", number.value),
                    );
                }
                share
            }
            (None, None) => Some(Share::ALL),
        }
    }
}

/// Istio has words of its own for a share that is too large.
fn mirrored(node: &Node, name: &str, report: &mut Report) -> Option<Share> {
    if let crate::tree::Content::Map(entries) = &node.content
        && let Some(value) = entries.iter().find(|entry| &*entry.key == "value")
        && let crate::tree::Content::Scalar(scalar) = &value.value.content
        && let Some(number) = scalar.text.parse::<f64>().ok().filter(|number| *number > 100.0)
    {
        report.add(
            Code::BadValue,
            value.value.span,
            format!("{name} must have a max value of 100 (it has {number:.6})"),
        );
        return None;
    }
    percentage(node, report)
}

fn policy(node: &Node, report: &mut Report) -> Option<MirrorShape> {
    let mut fields = Fields::open(node, "the mirror", report)?;
    let span = fields.span();
    let target = fields.require("destination", report, destination);
    let share = match fields.take("percentage") {
        None => Some(Share::ALL),
        Some(node) => mirrored(node, "percentage", report),
    };
    fields.finish(report);
    Some(MirrorShape { span, target: target?, share: share? })
}
