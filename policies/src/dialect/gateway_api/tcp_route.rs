//! TCPRoute: connections that are shared out.

use std::sync::Arc;

use super::http_route::{self, BackendRef, Parent};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::schema::{Fields, list_up_to, word};
use crate::source::Span;
use crate::tree::Node;

/// A route, nothing looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct TcpRoute {
    pub(crate) parents: Vec<Parent>,
    /// The only one that counts: a connection has nothing that a second could be chosen by.
    pub(crate) rule: Option<Rule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) span: Span,
    pub(crate) name: Arc<str>,
    pub(crate) backends: Vec<BackendRef>,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<TcpRoute> {
    let mut fields = spec(document, "a TCPRoute", cx)?;
    let report = &mut cx.report;
    let parents = fields.list_up_to(32, "parentRefs", report, http_route::parent);
    fields.unsupported(&["useDefaultGateways"], "name the gateway in `parentRefs`", report);
    let rules = fields.require("rules", report, |node, report| Some(list_up_to(16, node, "rules", report, rule)));
    let span = fields.span();
    fields.finish(report);
    http_route::check(&parents, &[], span, report);
    let mut rules = rules?.into_iter();
    let rule = rules.next();
    for other in rules {
        report
            .add(Code::FieldWithoutEffect, other.span, "only the first rule of a TCPRoute counts")
            .help("put all backends into one rule, with weights");
    }
    Some(TcpRoute { parents, rule })
}

pub(super) fn rule(node: &Node, report: &mut Report) -> Option<Rule> {
    let mut fields = Fields::open(node, "the rule", report)?;
    let span = fields.span();
    let name = fields.read("name", report, word).map_or_else(|| Arc::from(""), |name| name.value);
    let backends_at = fields.entry("backendRefs");
    if backends_at.is_none() {
        fields.missing("backendRefs", report);
    }
    fields.finish(report);
    let entry = backends_at?;
    let backends = list_up_to(16, &entry.value, "backendRefs", report, http_route::plain_backend);
    http_route::check_weights(Some(entry), &backends, report);
    Some(Rule { span, name, backends })
}
