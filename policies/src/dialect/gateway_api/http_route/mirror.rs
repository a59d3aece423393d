//! The `RequestMirror` filter.

use super::{BackendRef, reference};
use crate::diagnostic::{Code, Report};
use crate::ir::share::Share;
use crate::schema::{Fields, integer};
use crate::source::Span;
use crate::tree::Node;

/// A copy, its backend not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct MirrorRef {
    pub(crate) span: Span,
    pub(crate) backend: BackendRef,
    pub(crate) share: Share,
}

pub(super) fn read(node: &Node, span: Span, report: &mut Report) -> Option<MirrorRef> {
    let mut fields = Fields::open(node, "the mirror", report)?;
    let backend = fields.require("backendRef", report, |node, report| {
        let mut fields = Fields::open(node, "the backend", report)?;
        let found = reference(&mut fields, report);
        fields.finish(report);
        found
    });
    let percent = fields.entry("percent");
    let fraction = fields.entry("fraction");
    fields.finish(report);
    let share = match (percent, fraction) {
        (Some(first), Some(second)) => {
            report
                .add(
                    Code::InvalidRule,
                    second.key_span,
                    "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
                )
                .also(first.key_span, "the other is here")
                .help("keep one");
            None
        }
        (Some(percent), None) => integer(&percent.value, 0, 100, report)
            .and_then(|percent| Share::from_millionths(u32::try_from(percent.value * 10_000).ok()?)),
        (None, Some(entry)) => self::fraction(&entry.value, report),
        (None, None) => Some(Share::ALL),
    };
    Some(MirrorRef { span, backend: backend?, share: share? })
}

/// `{numerator, denominator}`; without denominator in hundredths.
fn fraction(node: &Node, report: &mut Report) -> Option<Share> {
    let mut fields = Fields::open(node, "the fraction", report)?;
    let span = fields.span();
    let numerator = fields.require("numerator", report, |node, report| integer(node, 0, i64::from(i32::MAX), report));
    let denominator = fields.take("denominator").map(|node| integer(node, 1, i64::from(i32::MAX), report));
    fields.finish(report);
    let numerator = numerator?.value;
    let denominator = match denominator {
        None => 100,
        Some(denominator) => denominator?.value,
    };
    if numerator > denominator {
        report
            .add(Code::BadValue, span, "numerator must be less than or equal to denominator")
            .help("1 and 3 are a third of the requests");
        return None;
    }
    // Both fit 32 bits, so the product fits 64.
    let millionths = (numerator * 1_000_000 + denominator / 2) / denominator;
    Share::from_millionths(u32::try_from(millionths).ok()?)
}
