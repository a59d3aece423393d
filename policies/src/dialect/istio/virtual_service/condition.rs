//! One `match` block of an HTTP rule.

use std::sync::Arc;

use super::super::{header_name, required_match, string_match};
use crate::diagnostic::Report;
use crate::ir::route::{ClientMatch, HeaderMatch, PathMatch, RequestMatch, StringMatch};
use crate::pattern::Patterns;
use crate::schema::{Fields, labels, map, not_supported, port, truth, word};
use crate::tree::Node;

pub(super) fn read(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<RequestMatch> {
    let mut fields = Fields::open(node, "the match", report)?;
    fields.ignore(&["name", "statPrefix"]);
    let ignore_case = fields.read("ignoreUriCase", report, truth).unwrap_or(false);
    let uri = fields.entry("uri");
    let path = match uri {
        None => PathMatch::Any,
        Some(entry) => path(&entry.value, ignore_case, patterns, report)?,
    };
    let scheme = fields.read("scheme", report, |node, report| required_match(node, patterns, report));
    let method = fields.read("method", report, |node, report| required_match(node, patterns, report));
    let authority = fields.read("authority", report, |node, report| required_match(node, patterns, report));
    let mut headers = Vec::new();
    for (name, condition) in
        fields.read("headers", report, |node, report| named(node, "headers", patterns, report)).unwrap_or_default()
    {
        headers.extend(
            header_name(name.1, &name.0, report)
                .map(|name| (name, condition.map_or(HeaderMatch::Present, HeaderMatch::Value))),
        );
    }
    for (name, condition) in fields
        .read("withoutHeaders", report, |node, report| named(node, "withoutHeaders", patterns, report))
        .unwrap_or_default()
    {
        headers.extend(
            header_name(name.1, &name.0, report)
                .map(|name| (name, condition.map_or(HeaderMatch::Absent, HeaderMatch::NotValue))),
        );
    }
    let query = fields
        .read("queryParams", report, |node, report| named(node, "queryParams", patterns, report))
        .unwrap_or_default();
    let number = fields.read("port", report, port);
    let source_labels = fields.read("sourceLabels", report, labels).unwrap_or_default();
    let source_namespace = fields.read("sourceNamespace", report, word);
    for gateway in fields.list("gateways", report, word) {
        if &*gateway.value != "mesh" {
            not_supported(gateway.span, "a gateway other than `mesh`", "leave `gateways` out", report);
        }
    }
    fields.finish(report);
    Some(RequestMatch {
        path,
        method,
        scheme,
        authority,
        headers,
        query_parameters: query
            .into_iter()
            .map(|((name, _), condition)| (name, condition.map_or(HeaderMatch::Present, HeaderMatch::Value)))
            .collect(),
        port: number.map(|number| number.value),
        client: ClientMatch { namespace: source_namespace.map(|namespace| namespace.value), labels: source_labels },
        grpc: false,
    })
}

type Named = Vec<((Arc<str>, crate::source::Span), Option<StringMatch>)>;

fn named(node: &Node, name: &str, patterns: &mut Patterns, report: &mut Report) -> Option<Named> {
    Some(
        map(node, name, report, |node, report| {
            // `end-user:` with nothing behind it is the same as `{}`.
            if node.is_null() { Some(None) } else { string_match(node, patterns, report) }
        })
        .into_iter()
        .map(|(name, condition)| ((name.value, name.span), condition))
        .collect(),
    )
}

fn path(node: &Node, ignore_case: bool, patterns: &mut Patterns, report: &mut Report) -> Option<PathMatch> {
    Some(match required_match(node, patterns, report)? {
        StringMatch::Exact(value) => PathMatch::Exact { value, ignore_case },
        // Every path starts with a slash.
        StringMatch::Prefix(value) if matches!(&*value, "/" | "") => PathMatch::Any,
        StringMatch::Prefix(value) => PathMatch::StringPrefix { value, ignore_case },
        StringMatch::Regex(value) => PathMatch::Regex(value),
    })
}
