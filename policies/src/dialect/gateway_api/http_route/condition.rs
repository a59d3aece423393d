//! One match of an HTTPRoute's rule.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::header_name;
use crate::ir::route::{HeaderMatch, PathMatch, RequestMatch, StringMatch};
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, text, word};
use crate::source::Spanned;
use crate::tree::Node;

pub(crate) const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

pub(super) fn read(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<RequestMatch> {
    let mut fields = Fields::open(node, "the match", report)?;
    let path = fields.take("path").map(|node| path(node, patterns, report));
    let headers = fields.list_up_to(16, "headers", report, |node, report| named(node, "the header", patterns, report));
    let query = fields
        .list_up_to(16, "queryParams", report, |node, report| named(node, "the query parameter", patterns, report));
    let method = fields.read("method", report, |node, report| choice(node, METHODS, report));
    fields.finish(report);
    let mut matches = RequestMatch {
        method: method.map(|method| StringMatch::Exact(Arc::from(method.value))),
        ..RequestMatch::default()
    };
    if let Some(path) = path {
        matches.path = path?;
    }
    matches.headers = distinct(headers, report);
    for (name, condition) in query {
        if matches.query_parameters.iter().any(|(known, _)| *known == name.value) {
            repeated(&name, report);
        } else {
            matches.query_parameters.push((name.value, condition));
        }
    }
    Some(matches)
}

/// Of several entries with an equivalent name only the first counts.
fn distinct(written: Vec<(Spanned<Arc<str>>, HeaderMatch)>, report: &mut Report) -> Vec<(Arc<str>, HeaderMatch)> {
    let mut headers: Vec<(Arc<str>, HeaderMatch)> = Vec::new();
    for (name, condition) in written {
        let Some(lower) = header_name(name.span, &name.value, report) else { continue };
        if headers.iter().any(|(known, _)| *known == lower) {
            repeated(&name, report);
        } else {
            headers.push((lower, condition));
        }
    }
    headers
}

/// The `headers` of a GRPCRoute's match.
pub(in crate::dialect::gateway_api) fn grpc_headers(
    fields: &mut Fields<'_>,
    patterns: &mut Patterns,
    report: &mut Report,
) -> Vec<(Arc<str>, HeaderMatch)> {
    let headers = fields.list_up_to(16, "headers", report, |node, report| named(node, "the header", patterns, report));
    distinct(headers, report)
}

fn repeated(name: &Spanned<Arc<str>>, report: &mut Report) {
    report.add(
        Code::FieldWithoutEffect,
        name.span,
        format!("`{}` is matched twice; only the first counts", crate::tree::shortened(&name.value)),
    );
}

pub(crate) fn path(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<PathMatch> {
    let mut fields = Fields::open(node, "the path", report)?;
    let span = fields.span();
    let kind = fields.read("type", report, text);
    let value = fields.read("value", report, text);
    fields.finish(report);
    let value = value.unwrap_or_else(|| Spanned { value: Arc::from("/"), span });
    let kind_name = kind.as_ref().map_or("PathPrefix", |kind| &*kind.value);
    match kind_name {
        "Exact" => {
            check(&value, report).then(|| PathMatch::Exact { value: Arc::clone(&value.value), ignore_case: false })
        }
        "PathPrefix" => check(&value, report).then(|| match value.value.trim_end_matches('/') {
            "" => PathMatch::Any,
            prefix => PathMatch::SegmentPrefix(Arc::from(prefix)),
        }),
        "RegularExpression" => patterns.check(&value, report).map(PathMatch::Regex),
        _ => {
            let span = kind.map_or(span, |kind| kind.span);
            report.add(Code::BadValue, span, "type must be one of ['Exact', 'PathPrefix', 'RegularExpression']");
            None
        }
    }
}

/// The API server's rules for paths that are compared literally.
fn check(value: &Spanned<Arc<str>>, report: &mut Report) -> bool {
    const TYPES: &str = "when type one of ['Exact', 'PathPrefix']";
    let text = &*value.value;
    let mut message = None;
    if !text.starts_with('/') {
        message = Some(format!("value must be an absolute path and start with '/' {TYPES}"));
    }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        if text.contains(part) {
            message = message.or_else(|| Some(format!("must not contain '{part}' {TYPES}")));
        }
    }
    for end in ["/..", "/."] {
        if text.ends_with(end) {
            message = message.or_else(|| Some(format!("must not end with '{end}' {TYPES}")));
        }
    }
    if message.is_none() && !valid_characters(text) {
        message = Some("must only contain valid characters (matching ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$) for types ['Exact', 'PathPrefix']".to_owned());
    }
    match message {
        None => true,
        Some(message) => {
            report
                .add(Code::BadValue, value.span, message)
                .help("write a path such as /api/v1, without query and without host");
            false
        }
    }
}

fn valid_characters(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digits = bytes.get(at + 1..at + 3);
            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                return false;
            }
            at += 3;
        } else if byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte) {
            at += 1;
        } else {
            return false;
        }
    }
    true
}

/// `{type, name, value}`
pub(crate) fn named(
    node: &Node,
    what: &'static str,
    patterns: &mut Patterns,
    report: &mut Report,
) -> Option<(Spanned<Arc<str>>, HeaderMatch)> {
    let mut fields = Fields::open(node, what, report)?;
    let kind = fields.read("type", report, |node, report| choice(node, &["Exact", "RegularExpression"], report));
    let name = fields.require("name", report, word);
    let value = fields.require("value", report, text);
    fields.finish(report);
    let (name, value) = (name?, value?);
    let condition = match kind.map(|kind| kind.value) {
        Some("RegularExpression") => StringMatch::Regex(patterns.check(&value, report)?),
        Some(_) | None => StringMatch::Exact(value.value),
    };
    Some((name, HeaderMatch::Value(condition)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Span;

    fn nowhere() -> Span {
        Span { file: 0, start: 0, end: 0 }
    }

    #[test]
    fn paths_with_dots_double_slashes_or_fragments_are_refused() {
        for path in
            ["a", "", "//", "/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a#b", "/a/..", "/a/.", "/a b", "/a%zz", "/a?b"]
        {
            let mut report = Report::default();
            assert!(!check(&Spanned { value: Arc::from(path), span: nowhere() }, &mut report), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_are_accepted() {
        for path in ["/", "/a/b", "/a.b/..c", "/a%20b", "/~user/;v=1"] {
            let mut report = Report::default();
            assert!(check(&Spanned { value: Arc::from(path), span: nowhere() }, &mut report), "{path}");
        }
    }
}
