//! What path and host the upstream sees.
//!
//! # The matched part only
//! A prefix rewrite swaps the text that the route matched and keeps the rest byte for byte: `/a` to `/b` makes `/ax`
//! into `/bx`, and `/a` to `/` makes `/a/x` into `//x`. That is Envoy's rule, and a control plane that wants another
//! result writes another prefix or a pattern. Two repairs are ours: the result begins with a slash, because anything
//! else is not a request target, and a rewrite cannot smuggle in a query.
//!
//! # Which host wins
//! A weighted cluster's host is written first and the route's own rewrite after it, so the route's wins where it yields
//! a host.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_xds::resource::route::{PathMatcher, PathRewrite, RedirectPath};

use crate::error::CompileError;
use crate::pattern::Substitution;
use crate::request::{RequestView, Source};
use crate::split::{Chosen, CompiledForward};

/// A change to a path without its query.
#[derive(Clone, Debug)]
pub(crate) enum PathEdit {
    Keep,
    /// The whole path becomes this.
    Whole(Arc<str>),
    /// This many leading bytes, which the route's condition has matched, become the text.
    Prefix {
        matched_bytes: usize,
        replacement: Arc<str>,
    },
    Regex(Box<Substitution>),
}

impl PathEdit {
    pub(crate) fn from_rewrite(rewrite: &PathRewrite, path: &PathMatcher) -> Result<Self, CompileError> {
        match rewrite {
            PathRewrite::Keep => Ok(Self::Keep),
            PathRewrite::Prefix(_) | PathRewrite::Regex { .. } if matches!(path, PathMatcher::Connect) => {
                Err(CompileError::new("prefix_rewrite", "a CONNECT request has no path"))
            }
            PathRewrite::Prefix(replacement) => Self::prefix(replacement, path),
            PathRewrite::Regex { pattern, substitution } => Self::regex(pattern, substitution),
        }
    }

    /// `None`: the redirect replaces the path as a whole.
    pub(crate) fn from_redirect(redirect: &RedirectPath, path: &PathMatcher) -> Result<Option<Self>, CompileError> {
        match redirect {
            RedirectPath::Keep => Ok(Some(Self::Keep)),
            RedirectPath::Full(_) => Ok(None),
            RedirectPath::Prefix(replacement) => Self::prefix(replacement, path).map(Some),
            RedirectPath::Regex { pattern, substitution } => Self::regex(pattern, substitution).map(Some),
        }
    }

    fn prefix(replacement: &Arc<str>, path: &PathMatcher) -> Result<Self, CompileError> {
        check_path(replacement).map_err(|reason| CompileError::new("prefix_rewrite", reason))?;
        let replacement = Arc::clone(replacement);
        Ok(match path {
            PathMatcher::Prefix { prefix, .. } | PathMatcher::SeparatedPrefix { prefix, .. } => {
                Self::Prefix { matched_bytes: prefix.len(), replacement }
            }
            PathMatcher::Exact { .. } | PathMatcher::Regex(_) | PathMatcher::Connect => Self::Whole(replacement),
        })
    }

    fn regex(pattern: &str, substitution: &str) -> Result<Self, CompileError> {
        check_path(substitution).map_err(|reason| CompileError::new("regex_rewrite.substitution", reason))?;
        let compiled = Substitution::compile(pattern, substitution);
        Ok(Self::Regex(Box::new(compiled.map_err(|reason| CompileError::new("regex_rewrite", reason))?)))
    }

    /// The path after the change; `None` when it stays as it is.
    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        let edited = match self {
            Self::Keep => return None,
            Self::Whole(replacement) => replacement.to_string(),
            Self::Prefix { matched_bytes, replacement } => {
                format!("{replacement}{}", path.get(*matched_bytes..).unwrap_or_default())
            }
            Self::Regex(substitution) => substitution.replace_all(path),
        };
        let edited = if edited.starts_with('/') { edited } else { format!("/{edited}") };
        (edited != path).then_some(edited)
    }
}

/// A host rewrite, compiled.
#[derive(Clone, Debug)]
pub(crate) enum CompiledHostRewrite {
    Keep,
    Literal(Arc<str>),
    Header(Source),
    Endpoint,
}

/// The request target to send; `None` when it stays as it came. The query is kept.
pub fn rewritten_path_and_query(forward: &CompiledForward, request: &impl RequestView) -> Option<String> {
    let mut path = forward.path_edit.apply(request.path())?;
    if let Some(query) = request.query() {
        path.push('?');
        path.push_str(query);
    }
    Some(path)
}

/// The authority to send; `None` when it stays as it came. `endpoint_hostname` is that of the endpoint chosen for this
/// attempt, so a retry asks again.
pub fn rewritten_authority<'a>(
    forward: &'a CompiledForward,
    chosen: &Chosen<'a>,
    request: &'a impl RequestView,
    endpoint_hostname: Option<&'a str>,
) -> Option<Cow<'a, str>> {
    let own = match &forward.host_rewrite {
        CompiledHostRewrite::Keep => None,
        CompiledHostRewrite::Literal(host) => Some(Cow::Borrowed(host.as_ref())),
        CompiledHostRewrite::Endpoint => endpoint_hostname.map(Cow::Borrowed),
        // The value is a caller's: only the first one counts, and only if it is a host.
        CompiledHostRewrite::Header(source) => source.first(request).and_then(utf8).filter(|h| check_host(h).is_ok()),
    };
    own.or_else(|| chosen.member.and_then(|m| m.host_rewrite.as_deref()).map(Cow::Borrowed))
}

fn utf8(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Whether text may stand in an authority. Not a full parse: what must not pass is whatever ends or escapes the field.
pub(crate) fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("an empty host".to_owned());
    }
    match host.chars().find(|c| !c.is_ascii_graphic() || "/?#@\\\"<>".contains(*c)) {
        Some(c) => Err(format!("{c:?} cannot stand in a host")),
        None => Ok(()),
    }
}

/// Whether text may stand in a path without its query.
fn check_path(path: &str) -> Result<(), String> {
    match path.chars().find(|c| !c.is_ascii_graphic() || "?#".contains(*c)) {
        Some(c) => Err(format!("{c:?} cannot stand in a path")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
