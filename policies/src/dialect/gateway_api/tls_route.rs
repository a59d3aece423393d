//! TLSRoute: connections that are shared out by the server's name that they ask for.

use std::sync::Arc;

use super::hostname;
use super::http_route::{self, Parent};
use super::tcp_route::{self, Rule};
use crate::diagnostic::Code;
use crate::dialect::{Context, spec};
use crate::schema::list_up_to;
use crate::source::Spanned;
use crate::tree::Node;

/// A route, nothing looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct TlsRoute {
    pub(crate) parents: Vec<Parent>,
    /// Names of servers; empty: those of the listener.
    pub(crate) hostnames: Vec<Spanned<Arc<str>>>,
    /// The only one that counts, as for a TCPRoute.
    pub(crate) rule: Option<Rule>,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<TlsRoute> {
    let mut fields = spec(document, "a TLSRoute", cx)?;
    let report = &mut cx.report;
    let parents = fields.list_up_to(32, "parentRefs", report, http_route::parent);
    let hostnames = fields.list_up_to(16, "hostnames", report, hostname);
    fields.unsupported(&["useDefaultGateways"], "name the gateway in `parentRefs`", report);
    let rules =
        fields.require("rules", report, |node, report| Some(list_up_to(16, node, "rules", report, tcp_route::rule)));
    let span = fields.span();
    fields.finish(report);
    http_route::check(&parents, &[], span, report);
    let mut rules = rules?.into_iter();
    let rule = rules.next();
    for other in rules {
        report
            .add(Code::FieldWithoutEffect, other.span, "only the first rule of a TLSRoute counts")
            .help("put all backends into one rule, with weights");
    }
    Some(TlsRoute { parents, hostnames, rule })
}
