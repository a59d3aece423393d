//! Rules of delegates, put where a root leaves the choice to them.
//!
//! # Whose word counts
//! The root says which requests a delegate may have, the delegate what becomes of them. So a rule takes the requests that both
//! mean, is known by the place where the delegate wrote it, and looks up names in the delegate's namespace. Headers, a rewrite, a
//! time limit, a fault, retries, copies and CORS that it leaves open are the root's, each as a whole.
//!
//! # What is left out is said
//! A match of the delegate that none of the root's requests can meet, or that cannot be put together with the root's, is
//! reported with both places. A pair of alternatives that never hold together needs no word as long as another pair does:
//! a root for `/a` and `/b` with a delegate for `/a/x` and `/b/y` is what was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conjunction::{Both, both};
use super::order::Placed;
use super::routes::{Lowered, Lowering};
use crate::diagnostic::Code;
use crate::dialect::istio::virtual_service::{Delegation, Rule, VirtualService};
use crate::dialect::{Context, Object};
use crate::head::Kind;
use crate::ir::ObjectName;
use crate::ir::route::{DelegatedBy, RequestMatch};
use crate::source::{Span, Spanned};
use crate::spelling;

/// All VirtualServices, and what is made of those that somebody delegates to.
pub(super) struct Delegates<'o> {
    by_name: BTreeMap<&'o ObjectName, &'o Object<VirtualService>>,
    /// Those that are written and could not be read at all, which has been reported.
    unread: BTreeSet<ObjectName>,
    /// Looked up once, so that a mistake is not reported by every root.
    used: BTreeMap<&'o ObjectName, Vec<Lowered<'o>>>,
}

impl<'o> Delegates<'o> {
    pub(super) fn new(objects: &'o [Object<VirtualService>], cx: &Context<'_>) -> Self {
        let by_name: BTreeMap<_, _> = objects.iter().map(|object| (&object.head.name, object)).collect();
        let written = cx.written.iter().filter(|written| written.kind == Kind::VirtualService);
        let unread = written.map(|written| &written.name).filter(|name| !by_name.contains_key(name)).cloned().collect();
        Self { by_name, unread, used: BTreeMap::new() }
    }

    /// The rules that stand in the place of one rule of the root that `lowering` is for.
    pub(super) fn rules(&mut self, delegation: &Delegation, lowering: &mut Lowering<'_, '_, '_>) -> Vec<Placed> {
        let Some(object) = self.find(delegation, lowering) else { return Vec::new() };
        let name = &object.head.name;
        if !self.used.contains_key(name) {
            let mut of_delegate = lowering.of(&object.head);
            let mut lowered = Vec::new();
            for rule in &object.spec.http {
                match rule {
                    Rule::Own(rule) => lowered.extend(of_delegate.lower(&object.head, rule)),
                    Rule::Delegated(inner) => delegates_again(inner, Some(delegation), of_delegate.cx),
                }
            }
            self.used.insert(name, lowered);
        }
        let given = lowering.said(&delegation.settings);
        let by = DelegatedBy {
            origin: lowering.cx.origin(lowering.head, delegation.span),
            name: Arc::clone(&delegation.name),
        };
        let by = Arc::new(by);
        let mut placed = Vec::new();
        for lowered in self.used.get(name).into_iter().flatten() {
            let inner = &lowered.rule.matches;
            // Alternatives multiply, so they count before they are put together.
            let pairs = delegation.matches.len().max(1).saturating_mul(inner.len().max(1));
            if !lowering.cx.admits_entries(pairs, delegation.span) {
                break;
            }
            let matches = matches(delegation, inner, lowering.cx);
            placed.extend(lowered.for_root(&given, &by).entries(matches, lowering.cx));
        }
        placed
    }

    fn find(&self, delegation: &Delegation, lowering: &mut Lowering<'_, '_, '_>) -> Option<&'o Object<VirtualService>> {
        let own = &lowering.head.name.namespace;
        let target = &delegation.target;
        let namespace = target.namespace.as_ref().unwrap_or(own);
        let name = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(&target.name.value) };
        let report = &mut lowering.cx.report;
        if let Some(object) = self.by_name.get(&name) {
            if object.spec.hosts.is_none() {
                return Some(object);
            }
            report
                .add(Code::UnknownDelegate, target.name.span, format!("VirtualService {name} is no delegate"))
                .also(object.head.span, "it has hosts of its own")
                .help("remove `hosts` and `gateways` there, or name an object without them");
            return None;
        }
        if self.unread.contains(&name) {
            return None;
        }
        let finding = report.add(
            Code::UnknownDelegate,
            target.name.span,
            format!("there is no VirtualService {name} to delegate to"),
        );
        let delegates = || self.by_name.values().filter(|object| object.spec.hosts.is_none()).map(|o| &o.head.name);
        let here = delegates().filter(|known| known.namespace == name.namespace).map(|known| &*known.name);
        if let Some(near) = spelling::nearest(&name.name, here) {
            finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`"));
        } else if let Some(other) = delegates().find(|known| known.name == name.name) {
            finding
                .say("not in this namespace")
                .help(format!("write `namespace: {}` below `delegate`", other.namespace));
        } else {
            finding.help("add a VirtualService of that name without `hosts`, or correct name and namespace");
        }
        None
    }

    /// Reports delegates that nobody delegates to.
    pub(super) fn finish(self, cx: &mut Context<'_>) {
        for (name, Object { head, spec }) in self.by_name {
            if spec.hosts.is_some() || self.used.contains_key(name) {
                continue;
            }
            cx.report
                .add(
                    Code::DelegateUnused,
                    head.span,
                    format!("VirtualService {name} has no hosts, and nobody delegates to it"),
                )
                .say("its rules have no effect")
                .help(format!(
                    "add `hosts`, or write `delegate: {{name: {}, namespace: {}}}` in a rule of a VirtualService with hosts",
                    name.name, name.namespace
                ));
            for rule in &spec.http {
                match rule {
                    Rule::Own(_) => {}
                    Rule::Delegated(inner) => delegates_again(inner, None, cx),
                }
            }
        }
    }
}

/// Two steps can be followed by a reader, and cannot form a ring.
fn delegates_again(inner: &Delegation, by: Option<&Delegation>, cx: &mut Context<'_>) {
    let finding = cx.report.add(Code::InvalidRule, inner.at, "delegate HTTP route cannot contain delegate");
    if let Some(by) = by {
        finding.also(by.at, "this rule delegates to it");
    }
    finding.help("write the rules here, or let the root delegate to that object itself");
}

/// The alternatives of a rule that `delegation` gives to a rule with the alternatives `inner`.
fn matches(delegation: &Delegation, inner: &[Spanned<RequestMatch>], cx: &mut Context<'_>) -> Vec<RequestMatch> {
    let outer = &delegation.matches;
    let every = |matches: &[Spanned<RequestMatch>]| matches.iter().map(|one| one.value.clone()).collect();
    match (&outer[..], inner) {
        ([], []) => vec![RequestMatch::default()],
        ([], some) | (some, []) => every(some),
        (outer, inner) => inner.iter().flat_map(|inner| alternatives(outer, inner, cx)).collect(),
    }
}

fn alternatives(
    outer: &[Spanned<RequestMatch>],
    inner: &Spanned<RequestMatch>,
    cx: &mut Context<'_>,
) -> Vec<RequestMatch> {
    let mut found = Vec::new();
    let mut unsaid = false;
    let mut apart: Option<Span> = None;
    for outer in outer {
        match both(&outer.value, &inner.value) {
            Both::One(one) => found.push(one),
            Both::Never => apart = apart.or(Some(outer.span)),
            Both::Unsaid(field) => {
                unsaid = true;
                cx.report
                    .add(
                        Code::DelegateConflict,
                        inner.span,
                        format!("`{field}` here and in the rule that delegates here cannot be combined"),
                    )
                    .say("left out for the requests of that rule")
                    .also(outer.span, "these requests are delegated")
                    .help(format!(
                        "let `{field}` here be the narrower one, as `/a/b` is of the prefix `/a`, or write it on one side only"
                    ));
            }
        }
    }
    if let (true, false, Some(apart)) = (found.is_empty(), unsaid, apart) {
        cx.report
            .add(
                Code::DelegateConflict,
                inner.span,
                "no request of the rule that delegates here is meant by this match",
            )
            .say("left out for the requests of that rule")
            .also(apart, "these requests are delegated")
            .help("correct the match, or add a `match` to the rule that delegates");
    }
    found
}
