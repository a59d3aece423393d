//! `corsPolicy` of an HTTP rule.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::{header_name, required_match};
use crate::ir::cors::Cors;
use crate::ir::route::StringMatch;
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, duration, text, truth, word};
use crate::source::Spanned;
use crate::tree::{Node, shortened};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];

pub(super) fn read(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Cors> {
    let mut fields = Fields::open(node, "corsPolicy", report)?;
    let older_at = fields.entry("allowOrigin");
    let older = older_at.map_or_else(Vec::new, |entry| {
        crate::schema::list(&entry.value, "allowOrigin", report, |node, report| {
            text(node, report).map(|origin| any(StringMatch::Exact(origin.value)))
        })
    });
    let origins_at = fields.entry("allowOrigins");
    let mut origins = origins_at.map_or_else(Vec::new, |entry| {
        crate::schema::list(&entry.value, "allowOrigins", report, |node, report| {
            required_match(node, patterns, report).map(any)
        })
    });
    let methods = fields.list("allowMethods", report, text);
    let allow_headers = headers(&mut fields, "allowHeaders", report);
    let expose_headers = headers(&mut fields, "exposeHeaders", report);
    let max_age = fields.read("maxAge", report, duration);
    let credentials = fields.read("allowCredentials", report, truth);
    let preflights = fields.read("unmatchedPreflights", report, |node, report| {
        choice(node, &["UNSPECIFIED", "FORWARD", "IGNORE"], report)
    });
    fields.finish(report);
    if let Some(entry) = older_at {
        if origins.is_empty() {
            origins = older;
        } else {
            report
                .add(Code::FieldWithoutEffect, entry.key_span, "`allowOrigins` counts, so `allowOrigin` has no effect")
                .help("remove `allowOrigin`, the older spelling");
        }
    }
    let mut allow_methods = Vec::new();
    for method in methods {
        if METHODS.contains(&&*method.value) {
            allow_methods.push(method.value);
        } else {
            report
                .add(
                    Code::BadValue,
                    method.span,
                    format!("\"{}\" is not a supported HTTP method", shortened(&method.value)),
                )
                .help("methods are written in capitals");
        }
    }
    if let Some(age) = max_age.filter(|age| age.value.subsec_nanos() > 0) {
        report.add(Code::BadValue, age.span, "max_age duration is accurate only to seconds precision");
    }
    Some(Cors {
        allow_origins: origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age: max_age.map(|age| age.value),
        allow_credentials: credentials.unwrap_or(false),
        // Istio's default: a preflight from elsewhere is the backend's to answer.
        forward_unmatched_preflights: preflights.is_none_or(|preflights| preflights.value != "IGNORE"),
    })
}

/// `*` stands for every origin.
fn any(origin: StringMatch) -> StringMatch {
    match origin {
        StringMatch::Exact(star) if &*star == "*" => Cors::any_origin(),
        origin @ (StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_)) => origin,
    }
}

fn headers(fields: &mut Fields<'_>, name: &'static str, report: &mut Report) -> Vec<Arc<str>> {
    let written: Vec<Spanned<Arc<str>>> = fields.list(name, report, word);
    let checked = |name: Spanned<Arc<str>>| {
        if &*name.value == "*" { Some(name.value) } else { header_name(name.span, &name.value, report) }
    };
    written.into_iter().filter_map(checked).collect()
}
