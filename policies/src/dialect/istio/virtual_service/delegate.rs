//! `delegate` of an HTTP rule, and the objects that are delegated to.
//!
//! # Who is a delegate
//! A VirtualService without `hosts` has rules for the hosts of whoever delegates to it, so that one team owns the name and each
//! of the others its own paths. How the two are put together is decided in [`crate::merge`], where both are known.

use std::sync::Arc;

use super::Settings;
use crate::diagnostic::{Code, Report};
use crate::ir::route::RequestMatch;
use crate::schema::{Fields, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node};

/// A rule that leaves to another object what happens to its requests.
#[derive(Clone, Debug)]
pub(crate) struct Delegation {
    pub(crate) span: Span,
    pub(crate) name: Arc<str>,
    /// As in [`super::HttpRule`].
    pub(crate) matches: Vec<Spanned<RequestMatch>>,
    /// Where `delegate` stands.
    pub(crate) at: Span,
    pub(crate) target: Target,
    /// For what the delegate's rules leave open.
    pub(crate) settings: Settings,
}

/// The delegate by name.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: Spanned<Arc<str>>,
    /// `None`: that of the rule.
    pub(crate) namespace: Option<Arc<str>>,
}

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Target> {
    let mut fields = Fields::open(node, "the delegate", report)?;
    let name = fields.require("name", report, word);
    let namespace = fields.read("namespace", report, word).map(|namespace| namespace.value);
    fields.finish(report);
    Some(Target { name: name?, namespace })
}

/// A rule that delegates does nothing itself.
pub(super) fn alone(rule: &str, delegate: &Entry, others: [Option<&Entry>; 3], report: &mut Report) {
    for entry in others.into_iter().flatten() {
        let name = crate::tree::shortened(rule);
        // Istio's words have the name even where there is none.
        let what = if &*entry.key == "directResponse" { "direct_response" } else { &entry.key };
        report
            .add(Code::InvalidRule, entry.key_span, format!("root HTTP route {name} must not specify {what}"))
            .also(delegate.key_span, "the delegate's rules say what to do")
            .help("keep one of the two, or write two rules");
    }
}

/// What an object without `hosts` cannot have.
pub(super) fn check(gateways: Option<&Entry>, tls: Option<&Entry>, tcp: Option<&Entry>, report: &mut Report) {
    let parts = [(gateways, "gateways"), (tls, "tls route"), (tcp, "tcp route")];
    for (entry, what) in parts {
        let Some(entry) = entry.filter(|entry| !matches!(&entry.value.content, Content::List(all) if all.is_empty()))
        else {
            continue;
        };
        report
            .add(Code::InvalidRule, entry.key_span, format!("delegate virtual service must have no {what} specified"))
            .say("an object without `hosts` is a delegate")
            .help("remove it, or add `hosts` with the name of a service");
    }
}
