//! `rewrite` of an HTTP rule: what of a request is replaced on its way to the backend.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::ir::route::{PathMatch, PathRewrite, RequestMatch};
use crate::pattern::Patterns;
use crate::schema::{Fields, text, word};
use crate::tree::Node;

/// A rewrite, still without the match that it depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rewrite {
    /// A replacement for the path, or for the matched prefix of it.
    uri: Option<Arc<str>>,
    regex: Option<(Arc<str>, Arc<str>)>,
    pub(crate) authority: Option<Arc<str>>,
}

pub(super) fn read(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Rewrite> {
    let mut fields = Fields::open(node, "the rewrite", report)?;
    let span = fields.span();
    let uri = fields.read("uri", report, word).map(|uri| uri.value);
    let authority = fields.read("authority", report, word).map(|authority| authority.value);
    let regex = fields.read("uriRegexRewrite", report, |node, report| {
        let mut fields = Fields::open(node, "uriRegexRewrite", report)?;
        let pattern = fields.require("match", report, word);
        let substitution = fields.require("rewrite", report, text);
        fields.finish(report);
        Some((patterns.check(&pattern?, report)?, substitution?.value))
    });
    fields.finish(report);
    if uri.is_some() && regex.is_some() {
        report.add(Code::InvalidRule, span, "rewrite may only contain one of uri or uriRegexRewrite").help("keep one");
    }
    Some(Rewrite { uri, regex, authority })
}

impl Rewrite {
    /// The rewrite for one of the matches: `uri` replaces the prefix where a prefix was matched, else the path.
    pub(crate) fn path(&self, condition: &RequestMatch) -> PathRewrite {
        match (&self.uri, &self.regex) {
            (Some(uri), _) => match &condition.path {
                PathMatch::StringPrefix { .. } => PathRewrite::Prefix(Arc::clone(uri)),
                PathMatch::Any | PathMatch::Exact { .. } | PathMatch::SegmentPrefix(_) | PathMatch::Regex(_) => {
                    PathRewrite::Full(Arc::clone(uri))
                }
            },
            (None, Some((pattern, substitution))) => {
                PathRewrite::Regex { pattern: Arc::clone(pattern), substitution: Arc::clone(substitution) }
            }
            (None, None) => PathRewrite::Keep,
        }
    }
}
