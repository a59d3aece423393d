//! ListenerSet: further listeners of a gateway, written by others.

use std::sync::Arc;

use super::GROUP;
use super::gateway::{ListenerShape, listeners};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::schema::{Fields, text, word};
use crate::source::Spanned;
use crate::tree::{Node, shortened};

/// Listeners for a gateway that is not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSet {
    pub(crate) parent: Spanned<Arc<str>>,
    pub(crate) parent_namespace: Option<Arc<str>>,
    pub(crate) listeners: Vec<ListenerShape>,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<ListenerSet> {
    let mut fields = spec(document, "a ListenerSet", cx)?;
    let report = &mut cx.report;
    let parent = fields.require("parentRef", report, parent);
    let listeners = fields.require("listeners", report, |node, report| listeners(node, "ListenerSet", report));
    fields.finish(report);
    let (parent, parent_namespace) = parent?;
    Some(ListenerSet { parent, parent_namespace, listeners: listeners? })
}

type Parent = (Spanned<Arc<str>>, Option<Arc<str>>);

fn parent(node: &Node, report: &mut Report) -> Option<Parent> {
    let mut fields = Fields::open(node, "the parent", report)?;
    let group = fields.read("group", report, text);
    let kind = fields.read("kind", report, word);
    let namespace = fields.read("namespace", report, word);
    let name = fields.require("name", report, word);
    fields.finish(report);
    let name = name?;
    let is_gateway = group.as_ref().is_none_or(|group| &*group.value == GROUP)
        && kind.as_ref().is_none_or(|kind| &*kind.value == "Gateway");
    if !is_gateway {
        let shown = kind.as_ref().map_or_else(String::new, |kind| shortened(&kind.value));
        report
            .add(Code::UnknownParent, name.span, format!("a ListenerSet cannot belong to a parent of kind `{shown}`"))
            .help("its parent is a Gateway");
        return None;
    }
    Some((name, namespace.map(|namespace| namespace.value)))
}
