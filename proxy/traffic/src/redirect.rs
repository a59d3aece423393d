//! Where a redirect points.
//!
//! # What happens to the port
//! A new host or a new port replaces what was there. Otherwise the request's authority is kept, with one exception:
//! when the scheme changes and the port was the old scheme's default, written out, it is dropped, for `https://h:80`
//! would be nowhere.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_xds::resource::route::{PathMatcher, Redirect, RedirectPath};

use crate::error::CompileError;
use crate::host::without_port;
use crate::request::RequestView;
use crate::rewrite::{PathEdit, check_host};

/// A redirect, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRedirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Arc<str>>,
    host: Option<Arc<str>>,
    port: Option<u16>,
    path: Target,
    strip_query: bool,
}

#[derive(Clone, Debug)]
enum Target {
    Edit(PathEdit),
    /// A new path that brings its own query.
    WithQuery(Arc<str>),
}

impl CompiledRedirect {
    pub(crate) fn compile(redirect: &Redirect, path: &PathMatcher) -> Result<Self, CompileError> {
        if let Some(host) = &redirect.host {
            check_host(host).map_err(|reason| CompileError::new("host_redirect", reason))?;
        }
        if let Some(scheme) = &redirect.scheme
            && !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Err(CompileError::new("scheme_redirect", format!("`{scheme}` is not a scheme")));
        }
        let target = match (&redirect.path, PathEdit::from_redirect(&redirect.path, path)?) {
            (RedirectPath::Full(full), _) => {
                if let Some(c) = full.chars().find(|c| !c.is_ascii_graphic()) {
                    return Err(CompileError::new("path_redirect", format!("{c:?} cannot stand in a URL")));
                }
                if full.contains('?') {
                    Target::WithQuery(Arc::clone(full))
                } else {
                    Target::Edit(PathEdit::Whole(Arc::clone(full)))
                }
            }
            (_, edit) => Target::Edit(edit.unwrap_or(PathEdit::Keep)),
        };
        Ok(Self {
            status: redirect.status,
            scheme: redirect.scheme.clone(),
            host: redirect.host.clone(),
            port: redirect.port,
            path: target,
            strip_query: redirect.strip_query,
        })
    }
}

/// The value of `location`.
pub fn location(redirect: &CompiledRedirect, request: &impl RequestView) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or_else(|| request.scheme());
    let host = match &redirect.host {
        Some(host) => host,
        None => kept_authority(request, scheme, redirect.port.is_some()),
    };
    let mut out = format!("{scheme}://{host}");
    if let Some(port) = redirect.port {
        out.push_str(&format!(":{port}"));
    }
    match &redirect.path {
        Target::WithQuery(path) => out.push_str(path),
        Target::Edit(edit) => {
            let path = edit.apply(request.path()).map_or_else(|| Cow::Borrowed(request.path()), Cow::Owned);
            out.push_str(&path);
            if let Some(query) = request.query().filter(|_| !redirect.strip_query) {
                out.push('?');
                out.push_str(query);
            }
        }
    }
    out
}

/// The request's authority, without its port where that would be wrong.
fn kept_authority<'a>(request: &'a impl RequestView, new_scheme: &str, has_new_port: bool) -> &'a str {
    let authority = request.authority();
    let host = without_port(authority);
    let default_port = match request.scheme() {
        "http" => ":80",
        "https" => ":443",
        _ => return if has_new_port { host } else { authority },
    };
    let was_default = new_scheme != request.scheme() && authority[host.len()..] == *default_port;
    if has_new_port || was_default { host } else { authority }
}

#[cfg(test)]
mod tests;
