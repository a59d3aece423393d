//! The filters of a rule or backend.

use std::sync::Arc;

use super::{MirrorRef, cors, mirror};
use crate::diagnostic::{Code, Report};
use crate::dialect::istio::{check_value, header_name};
use crate::ir::cors::Cors;
use crate::ir::route::{HeaderChanges, PathRewrite, Redirect, RedirectPort};
use crate::schema::{Fields, choice, integer, list_up_to, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node, shortened};

/// Filters, each at most once; only copies may be several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    pub(crate) request: HeaderChanges,
    pub(crate) response: HeaderChanges,
    pub(crate) redirect: Option<(Redirect, Span)>,
    pub(crate) path_rewrite: Option<(PathRewrite, Span)>,
    pub(crate) host_rewrite: Option<Arc<str>>,
    pub(crate) mirrors: Vec<MirrorRef>,
    pub(crate) cors: Option<Spanned<Cors>>,
}

/// A filter's type and the field that goes with it.
type Types = &'static [(&'static str, &'static str)];

/// Those of a GRPCRoute.
const GRPC_TYPES: Types = &[
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("ExtensionRef", "extensionRef"),
];

const TYPES: Types = &[
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("RequestMirror", "requestMirror"),
    ("CORS", "cors"),
    ("ExtensionRef", "extensionRef"),
    ("ExternalAuth", "externalAuth"),
];

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Filters> {
    of_types(node, TYPES, report)
}

pub(in crate::dialect::gateway_api) fn read_grpc(node: &Node, report: &mut Report) -> Option<Filters> {
    of_types(node, GRPC_TYPES, report)
}

fn of_types(node: &Node, types: Types, report: &mut Report) -> Option<Filters> {
    let mut filters = Filters::default();
    let mut seen: Vec<(&'static str, Span)> = Vec::new();
    for (name, span, value) in list_up_to(16, node, "filters", report, |node, report| typed(node, types, report)) {
        if name == "RequestMirror" {
            filters.mirrors.extend(mirror::read(value, span, report));
            continue;
        }
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
            report
                .add(Code::InvalidRule, span, format!("{name} filter cannot be repeated"))
                .also(*first, "first here")
                .help("put both into one filter");
            continue;
        }
        seen.push((name, span));
        match name {
            "RequestHeaderModifier" => filters.request = changes(value, report).unwrap_or_default(),
            "ResponseHeaderModifier" => filters.response = changes(value, report).unwrap_or_default(),
            "RequestRedirect" => filters.redirect = redirect(value, report).map(|redirect| (redirect, span)),
            "URLRewrite" => {
                let (host, path) = rewrite(value, report).unwrap_or_default();
                filters.host_rewrite = host;
                filters.path_rewrite = path.map(|path| (path, span));
            }
            "CORS" => filters.cors = cors::read(value, report).map(|value| Spanned { value, span }),
            other => not_supported(span, &format!("filter `{other}`"), "", report),
        }
    }
    let at = |name: &str| seen.iter().find(|(known, _)| *known == name).map(|(_, span)| *span);
    if let (Some(redirect), Some(rewrite)) = (at("RequestRedirect"), at("URLRewrite")) {
        report
            .add(
                Code::InvalidRule,
                redirect,
                "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
            )
            .also(rewrite, "the rewrite")
            .help("keep one");
    }
    Some(filters)
}

/// The type and the value of the field of the same name.
fn typed<'n>(node: &'n Node, types: Types, report: &mut Report) -> Option<(&'static str, Span, &'n Node)> {
    let mut fields = Fields::open(node, "the filter", report)?;
    let kind = fields.require("type", report, word);
    let mut given: Vec<(&'static str, &'static str, &'n Entry)> = Vec::new();
    for (name, field) in types {
        given.extend(fields.entry(field).map(|entry| (*name, *field, entry)));
    }
    let span = fields.span();
    fields.finish(report);
    let kind = kind?;
    let Some((name, field)) = types.iter().find(|(name, _)| **name == *kind.value) else {
        let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
        let finding = report.add(
            Code::BadValue,
            kind.span,
            format!("\"{}\" is not the type of a filter", shortened(&kind.value)),
        );
        match crate::spelling::nearest(&kind.value, names.iter().copied()) {
            Some(near) => finding.help(format!("write `{near}`")),
            None => finding.help(format!("it is one of {}", crate::schema::enumerate(&names))),
        };
        return None;
    };
    for (other, other_field, entry) in &given {
        if other != name {
            report
                .add(
                    Code::InvalidRule,
                    entry.key_span,
                    format!("filter.{other_field} must be nil if the filter.type is not {other}"),
                )
                .help("write one filter for each type");
        }
    }
    let Some((_, _, entry)) = given.iter().find(|(other, ..)| other == name) else {
        report
            .add(Code::InvalidRule, span, format!("filter.{field} must be specified for {name} filter.type"))
            .help(format!("add `{field}:`"));
        return None;
    };
    Some((name, kind.span, &entry.value))
}

fn changes(node: &Node, report: &mut Report) -> Option<HeaderChanges> {
    let mut fields = Fields::open(node, "the header changes", report)?;
    let set = fields.list_up_to(16, "set", report, header);
    let add = fields.list_up_to(16, "add", report, header);
    let mut remove = Vec::new();
    for name in fields.list_up_to(16, "remove", report, word) {
        remove.extend(header_name(name.span, &name.value, report).map(|_| name.value));
    }
    fields.finish(report);
    Some(HeaderChanges { set, add, remove })
}

fn header(node: &Node, report: &mut Report) -> Option<(Arc<str>, Arc<str>)> {
    let mut fields = Fields::open(node, "the header", report)?;
    let name = fields.require("name", report, word);
    let value = fields.require("value", report, text);
    fields.finish(report);
    let (name, value) = (name?, value?);
    check_value(&value, report);
    header_name(name.span, &name.value, report)?;
    Some((name.value, value.value))
}

fn redirect(node: &Node, report: &mut Report) -> Option<Redirect> {
    let mut fields = Fields::open(node, "the redirect", report)?;
    let scheme = fields.read("scheme", report, |node, report| choice(node, &["http", "https"], report));
    let host = fields.read("hostname", report, super::hostname);
    let path = fields.read("path", report, path).unwrap_or_default();
    let number = fields.read("port", report, port);
    let status = fields.read("statusCode", report, |node, report| integer(node, 0, 999, report));
    fields.finish(report);
    let status = match status {
        None => 302,
        Some(status) => {
            match u16::try_from(status.value).ok().filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308)) {
                Some(code) => code,
                None => {
                    report
                        .add(Code::BadValue, status.span, format!("{} is not a status of a redirect", status.value))
                        .help("use 301, 302, 303, 307 or 308");
                    return None;
                }
            }
        }
    };
    // A new scheme brings its own port along, unless one is written.
    let port = match (number, &scheme) {
        (Some(number), _) => RedirectPort::Number(number.value),
        (None, Some(_)) => RedirectPort::SchemeDefault,
        (None, None) => RedirectPort::Listener,
    };
    Some(Redirect {
        scheme: scheme.map(|scheme| Arc::from(scheme.value)),
        host: host.map(|host| host.value),
        port,
        path,
        status,
    })
}

type Rewritten = (Option<Arc<str>>, Option<PathRewrite>);

fn rewrite(node: &Node, report: &mut Report) -> Option<Rewritten> {
    let mut fields = Fields::open(node, "the rewrite", report)?;
    let host = fields.read("hostname", report, super::hostname).map(|host| host.value);
    let path = fields.read("path", report, path);
    fields.finish(report);
    Some((host, path))
}

fn path(node: &Node, report: &mut Report) -> Option<PathRewrite> {
    let mut fields = Fields::open(node, "the path", report)?;
    let span = fields.span();
    let kind =
        fields.require("type", report, |node, report| choice(node, &["ReplaceFullPath", "ReplacePrefixMatch"], report));
    let full = fields.take("replaceFullPath");
    let prefix = fields.take("replacePrefixMatch");
    fields.finish(report);
    let (wanted, other, field, other_field, other_kind) = match kind?.value {
        "ReplaceFullPath" => (full, prefix, "replaceFullPath", "replacePrefixMatch", "ReplacePrefixMatch"),
        _ => (prefix, full, "replacePrefixMatch", "replaceFullPath", "ReplaceFullPath"),
    };
    if let Some(other) = other {
        report
            .add(Code::InvalidRule, other.span, format!("type must be '{other_kind}' when {other_field} is set"))
            .help("keep the field that goes with the type");
    }
    let Some(wanted) = wanted else {
        let name = if field == "replaceFullPath" { "ReplaceFullPath" } else { "ReplacePrefixMatch" };
        report
            .add(Code::InvalidRule, span, format!("{field} must be specified when type is set to '{name}'"))
            .help(format!("add `{field}: /...`"));
        return None;
    };
    let value = match &wanted.content {
        Content::Null => return None,
        Content::Scalar(_) | Content::List(_) | Content::Map(_) => text(wanted, report)?.value,
    };
    Some(if field == "replaceFullPath" { PathRewrite::Full(value) } else { PathRewrite::Prefix(value) })
}
