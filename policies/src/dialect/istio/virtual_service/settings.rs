//! What an HTTP rule says besides which requests it is for and where they go.
//!
//! Every stanza may be missing, which is not the same as one that is written and switched off: a delegate's rule takes from the
//! rule that delegates to it only what it does not write itself.

use std::time::Duration;

use super::super::{Headers, headers};
use super::rewrite::Rewrite;
use super::{Action, MirrorShape, cors, fault, mirror, retry, rewrite};
use crate::diagnostic::{Code, Report};
use crate::ir::cors::Cors;
use crate::ir::fault::Fault;
use crate::ir::retry::Retry;
use crate::pattern::Patterns;
use crate::schema::{Fields, duration};
use crate::source::Spanned;
use crate::tree::Entry;

/// The stanzas of a rule, as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) headers: Option<Headers>,
    pub(crate) rewrite: Option<Rewrite>,
    /// Zero: no limit, as in Istio.
    pub(crate) timeout: Option<Duration>,
    pub(crate) fault: Option<Spanned<Fault>>,
    pub(crate) retry: Option<Spanned<Retry>>,
    /// Empty: written, and switched off.
    pub(crate) mirrors: Option<Vec<MirrorShape>>,
    pub(crate) cors: Option<Spanned<Cors>>,
}

/// Where stanzas stand that not every action can have.
pub(super) struct Places<'n> {
    rewrite: Option<&'n Entry>,
    fault: Option<&'n Entry>,
    mirror: Option<&'n Entry>,
    retry: Option<&'n Entry>,
}

pub(super) fn read<'n>(
    fields: &mut Fields<'n>,
    patterns: &mut Patterns,
    report: &mut Report,
) -> (Settings, Places<'n>) {
    let rewrite_at = fields.entry("rewrite");
    let rewrite = rewrite_at.and_then(|entry| rewrite::read(&entry.value, patterns, report));
    let timeout = fields.read("timeout", report, duration).map(|timeout| timeout.value);
    let headers = fields.read("headers", report, headers);
    let fault_at = fields.entry("fault");
    let fault = fault_at.and_then(|entry| at(entry, fault::read(&entry.value, report)));
    let mirrors_at = mirror::Written::take(fields);
    let mirror_at = mirrors_at.place();
    let mirrors = mirrors_at.read(report);
    let retry_at = fields.entry("retries");
    let retry = retry_at.and_then(|entry| at(entry, retry::read(&entry.value, report)));
    let cors_at = fields.entry("corsPolicy");
    let cors = cors_at.and_then(|entry| at(entry, cors::read(&entry.value, patterns, report)));
    let mirrors = mirror_at.map(|_| mirrors);
    let settings = Settings { headers, rewrite, timeout, fault, retry, mirrors, cors };
    (settings, Places { rewrite: rewrite_at, fault: fault_at, mirror: mirror_at, retry: retry_at })
}

/// A stanza with the place of its name.
fn at<T>(entry: &Entry, value: Option<T>) -> Option<Spanned<T>> {
    Some(Spanned { value: value?, span: entry.key_span })
}

impl Places<'_> {
    /// A rule that answers by itself sends nothing on.
    pub(super) fn check(&self, action: &Action, report: &mut Report) {
        let other = match action {
            Action::Route(_) => return,
            Action::Redirect(_) => "redirect",
            Action::DirectResponse { .. } => "direct_response",
        };
        if let Some(entry) = self.rewrite {
            report
                .add(Code::InvalidRule, entry.key_span, "`rewrite` has no meaning in a rule that answers by itself")
                .help("remove it, or give the redirect its own `uri`");
        }
        if let Some(entry) = self.fault {
            report
                .add(Code::InvalidRule, entry.key_span, format!("HTTP route cannot contain both fault and {other}"))
                .help("keep one of them");
        }
        for entry in [self.mirror, self.retry].into_iter().flatten() {
            report
                .add(
                    Code::FieldWithoutEffect,
                    entry.key_span,
                    format!("`{}` has no effect in a rule that answers by itself", entry.key),
                )
                .help("remove it");
        }
    }
}
