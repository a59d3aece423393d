//! Changes of the path, and redirects, which change it for the caller to ask again.

use std::sync::Arc;

use tidegate_policies::ir::route::{PathMatch, PathRewrite, Redirect, RedirectPort};
use tidegate_xds::resource::route::{PathRewrite as XdsPathRewrite, Redirect as XdsRedirect, RedirectPath};

use super::header::Values;
use super::matching::escaped;

/// The port that an `http` URL without one means.
const HTTP_PORT: u16 = 80;
/// The port that an `https` URL without one means.
const HTTPS_PORT: u16 = 443;

/// Changes of the path, given what was matched.
pub(super) fn path_rewrite(rewrite: &PathRewrite, path: &PathMatch, values: Values) -> XdsPathRewrite {
    match rewrite {
        PathRewrite::Keep => XdsPathRewrite::Keep,
        PathRewrite::Full(full) => match path {
            // An exact match is its own prefix, and a plain swap.
            PathMatch::Exact { .. } => XdsPathRewrite::Prefix(full.clone()),
            _ => XdsPathRewrite::Regex { pattern: "^/.*$".into(), substitution: escaped_substitution(full) },
        },
        PathRewrite::Prefix(new) => prefix_rewrite(new, path, values),
        PathRewrite::Regex { pattern, substitution } => {
            XdsPathRewrite::Regex { pattern: pattern.clone(), substitution: substitution.clone() }
        }
    }
}

/// Swaps the matched prefix. Envoy swaps strings, so where segments are meant, the slash between the new prefix and the
/// rest must neither double nor vanish.
fn prefix_rewrite(new: &Arc<str>, path: &PathMatch, values: Values) -> XdsPathRewrite {
    let trimmed = new.trim_end_matches('/');
    match path {
        PathMatch::SegmentPrefix(old) if trimmed.is_empty() => {
            XdsPathRewrite::Regex { pattern: format!("^{}/?", escaped(old)).into(), substitution: "/".into() }
        }
        PathMatch::SegmentPrefix(_) => XdsPathRewrite::Prefix(trimmed.into()),
        PathMatch::Any if values == Values::Literal => XdsPathRewrite::Prefix(format!("{trimmed}/").into()),
        PathMatch::Any | PathMatch::Exact { .. } | PathMatch::StringPrefix { .. } | PathMatch::Regex(_) => {
            XdsPathRewrite::Prefix(new.clone())
        }
    }
}

/// Where a request arrives, as far as redirects name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) port: u16,
    /// By TLS.
    pub(super) encrypted: bool,
}

/// A redirect's answer. `arrival`: at a gateway; inside the mesh there is none.
pub(super) fn redirect(redirect: &Redirect, path: &PathMatch, arrival: Option<Arrival>) -> XdsRedirect {
    let path = match &redirect.path {
        // A redirect to a whole path is exactly that, whatever was matched.
        PathRewrite::Full(full) => RedirectPath::Full(full.clone()),
        other => match path_rewrite(other, path, Values::Literal) {
            XdsPathRewrite::Keep => RedirectPath::Keep,
            XdsPathRewrite::Prefix(prefix) => RedirectPath::Prefix(prefix),
            XdsPathRewrite::Regex { pattern, substitution } => RedirectPath::Regex { pattern, substitution },
        },
    };
    XdsRedirect {
        scheme: redirect.scheme.clone(),
        host: redirect.host.clone(),
        port: redirect_port(redirect, arrival),
        path,
        status: redirect.status,
        strip_query: false,
    }
}

/// The scheme that is not written is that of the request. A port that goes without saying is not said.
fn redirect_port(redirect: &Redirect, arrival: Option<Arrival>) -> Option<u16> {
    let well_known = |scheme: &str| if scheme == "https" { HTTPS_PORT } else { HTTP_PORT };
    match redirect.port {
        RedirectPort::Request => None,
        RedirectPort::Number(number) => Some(number),
        RedirectPort::SchemeDefault => redirect.scheme.as_deref().map(well_known),
        RedirectPort::Listener => {
            let Arrival { port, encrypted } = arrival?;
            let scheme = redirect.scheme.as_deref().unwrap_or(if encrypted { "https" } else { "http" });
            Some(port).filter(|port| *port != well_known(scheme))
        }
    }
}

/// Text as a substitution that yields exactly it: only a backslash is special.
fn escaped_substitution(text: &str) -> Arc<str> {
    text.replace('\\', r"\\").into()
}
