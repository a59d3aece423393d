//! ReferenceGrant: a namespace lets others refer to what is in it.

use std::sync::Arc;

use crate::diagnostic::Report;
use crate::dialect::{Context, spec};
use crate::schema::{Fields, list_up_to, text, word};
use crate::tree::Node;

/// The grants of one object.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceGrant {
    pub(crate) from: Vec<From>,
    pub(crate) to: Vec<To>,
}

/// Who may refer.
#[derive(Clone, Debug)]
pub(crate) struct From {
    pub(crate) group: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) namespace: Arc<str>,
}

/// To what; without a name to all of the kind.
#[derive(Clone, Debug)]
pub(crate) struct To {
    pub(crate) group: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) name: Option<Arc<str>>,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<ReferenceGrant> {
    let mut fields = spec(document, "a ReferenceGrant", cx)?;
    let report = &mut cx.report;
    let from = fields.require("from", report, |node, report| Some(list_up_to(16, node, "from", report, from)));
    let to = fields.require("to", report, |node, report| Some(list_up_to(16, node, "to", report, to)));
    fields.finish(report);
    Some(ReferenceGrant { from: from?, to: to? })
}

fn from(node: &Node, report: &mut Report) -> Option<From> {
    let mut fields = Fields::open(node, "`from`", report)?;
    let group = fields.require("group", report, text);
    let kind = fields.require("kind", report, word);
    let namespace = fields.require("namespace", report, word);
    fields.finish(report);
    Some(From { group: group?.value, kind: kind?.value, namespace: namespace?.value })
}

fn to(node: &Node, report: &mut Report) -> Option<To> {
    let mut fields = Fields::open(node, "`to`", report)?;
    let group = fields.require("group", report, text);
    let kind = fields.require("kind", report, word);
    let name = fields.read("name", report, word);
    fields.finish(report);
    Some(To { group: group?.value, kind: kind?.value, name: name.map(|name| name.value) })
}
