//! `match`: for which requests, of which callers, a rate limit or a fault is.
//!
//! # Who is proven and who is not
//! A caller's namespace and labels follow from its address, which the mesh knows. Its service account does not, until
//! certificates say it. A condition on service accounts therefore holds for nobody; to leave it out would turn a fault for one
//! caller into a fault for all.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::gateway_api::http_route::condition::{METHODS, named, path};
use crate::dialect::istio::header_name;
use crate::ir::route::{ClientMatch, RequestMatch, StringMatch};
use crate::ir::world::Labels;
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, labels, list, word};
use crate::source::Span;
use crate::tree::{Content, Node};

/// Alternatives of one rule, after methods and namespaces are multiplied out. As many as Gateway API takes in one route.
const ALTERNATIVES_MAX: usize = 128;

/// For which requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// Any of them; empty: all requests.
    pub(super) matches: Vec<RequestMatch>,
    /// No request can match.
    pub(super) nobody: bool,
}

/// One match, or a list of alternatives.
pub(super) fn read(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Condition> {
    let alternatives: Vec<Option<Vec<RequestMatch>>> = match &node.content {
        Content::List(_) => list(node, "match", report, |node, report| one(node, patterns, report)),
        Content::Null | Content::Scalar(_) | Content::Map(_) => vec![one(node, patterns, report)?],
    };
    let nobody = !alternatives.is_empty() && alternatives.iter().all(Option::is_none);
    let matches: Vec<RequestMatch> = alternatives.into_iter().flatten().flatten().collect();
    if matches.len() > ALTERNATIVES_MAX {
        report
            .add(
                Code::BadValue,
                node.span,
                format!("the match comes to {} alternatives, the limit is {ALTERNATIVES_MAX}", matches.len()),
            )
            .help("methods and namespaces multiply: leave out `methods` to mean all, or write several rules");
        return None;
    }
    Some(Condition { matches, nobody })
}

/// The inner `None`: nobody matches. The outer: it cannot be read.
fn one(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Option<Vec<RequestMatch>>> {
    let mut fields = Fields::open(node, "the match", report)?;
    let methods = fields.list_up_to(METHODS.len(), "methods", report, |node, report| choice(node, METHODS, report));
    let path = fields.take("path").map(|node| path(node, patterns, report));
    let headers = fields.list_up_to(16, "headers", report, |node, report| named(node, "the header", patterns, report));
    let query = fields
        .list_up_to(16, "queryParams", report, |node, report| named(node, "the query parameter", patterns, report));
    let callers = fields.read("from", report, callers).unwrap_or_default();
    fields.finish(report);
    let mut base = RequestMatch::default();
    if let Some(path) = path {
        base.path = path?;
    }
    for (name, condition) in headers {
        base.headers.push((header_name(name.span, &name.value, report)?, condition));
    }
    base.query_parameters = query.into_iter().map(|(name, condition)| (name.value, condition)).collect();
    if let Some(span) = callers.accounts {
        report
            .add(Code::IdentityUnproven, span, "no caller has a proven identity, so this matches nobody")
            .say("has no effect without mutual TLS")
            .help("narrow by `namespaces` or `labels`, which follow from the caller's address");
        return Some(None);
    }
    let methods: Vec<Option<StringMatch>> = match methods.as_slice() {
        [] => vec![None],
        some => some.iter().map(|method| Some(StringMatch::Exact(Arc::from(method.value)))).collect(),
    };
    let namespaces: Vec<Option<Arc<str>>> = match callers.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let mut matches = Vec::with_capacity(methods.len() * namespaces.len());
    for method in &methods {
        for namespace in &namespaces {
            let client = ClientMatch { namespace: namespace.clone(), labels: callers.labels.clone() };
            matches.push(RequestMatch { method: method.clone(), client, ..base.clone() });
        }
    }
    Some(Some(matches))
}

/// Who calls.
#[derive(Default)]
struct Callers {
    namespaces: Vec<Arc<str>>,
    labels: Labels,
    /// Where service accounts are named.
    accounts: Option<Span>,
}

fn callers(node: &Node, report: &mut Report) -> Option<Callers> {
    let mut fields = Fields::open(node, "`from`", report)?;
    let namespaces = fields.list_up_to(16, "namespaces", report, word);
    let labels = fields.read("labels", report, labels).unwrap_or_default();
    let accounts = fields.entry("serviceAccounts");
    if let Some(entry) = accounts {
        list(&entry.value, "serviceAccounts", report, word);
    }
    fields.finish(report);
    Some(Callers {
        namespaces: namespaces.into_iter().map(|namespace| namespace.value).collect(),
        labels,
        accounts: accounts.map(|entry| entry.key_span),
    })
}
