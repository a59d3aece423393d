//! Copies of a request that go elsewhere and are forgotten.
//!
//! # Each copy has its own draw
//! Two mirrors of 10 % that shared one draw would copy the same tenth twice. The caller asks each mirror with a fresh
//! one.
//!
//! # What the copy looks like
//! It starts as the head that is sent upstream, rewrites included, because the mirror stands in for the upstream. Then
//! come the mirror's own words: its header mutations, then its host. Without a word the host stays: a copy that arrives
//! under another name finds no virtual host. The suffix `-shadow` is written only where the resource asks for it, as
//! Envoy's default does, and a host that was given literally is never suffixed.

use std::sync::Arc;

use tidegate_xds::resource::route::Mirror;

use crate::error::CompileError;
use crate::header_mutation::{CompiledMutations, Context, HeadEditor, request_values};
use crate::matcher::Share;
use crate::request::RequestView;
use crate::rewrite::check_host;
use crate::route::CompiledRoute;

/// What is appended to the name of a copy's host, in front of its port.
const SHADOW_SUFFIX: &str = "-shadow";

/// A mirror, compiled.
#[derive(Clone, Debug)]
pub struct CompiledMirror {
    /// Where copies go. One that is not known is skipped: the request itself must not suffer.
    pub cluster: Arc<str>,
    share: Share,
    shadow_host_suffix: bool,
    request_headers: CompiledMutations,
    host_rewrite: Option<Arc<str>>,
}

impl CompiledMirror {
    pub(crate) fn compile(mirror: &Mirror) -> Result<Self, CompileError> {
        if let Some(host) = &mirror.host_rewrite {
            check_host(host).map_err(|reason| CompileError::new("host_rewrite_literal", reason))?;
        }
        Ok(Self {
            cluster: Arc::clone(&mirror.cluster),
            share: Share::compile(mirror.fraction).map_err(|e| e.under("runtime_fraction"))?,
            shadow_host_suffix: mirror.shadow_host_suffix,
            request_headers: CompiledMutations::compile(&mirror.request_headers, "request")?,
            host_rewrite: mirror.host_rewrite.clone(),
        })
    }

    /// Whether this request is copied. A tunnel is not: what follows a `CONNECT` is a conversation, not a request.
    pub fn takes(&self, request: &impl RequestView, random: u64) -> bool {
        self.share.takes(random) && request.method() != "CONNECT"
    }

    /// Changes the copy's head. `request` is the head as it was received.
    pub fn apply(
        &self,
        route: &CompiledRoute,
        request: &impl RequestView,
        context: &Context<'_>,
        editor: &mut impl HeadEditor,
    ) {
        self.request_headers.apply(&request_values(route, request, context), editor);
    }

    /// The authority of the copy, when it differs from the one that is sent upstream.
    pub fn authority(&self, sent_upstream: &str) -> Option<String> {
        if let Some(host) = &self.host_rewrite {
            return Some(host.as_ref().to_owned());
        }
        self.shadow_host_suffix.then(|| with_suffix(sent_upstream))
    }
}

/// `reviews:9080` becomes `reviews-shadow:9080`. The colons of a bracketed IPv6 address are no port's.
fn with_suffix(authority: &str) -> String {
    let port = authority.rfind(':').filter(|colon| authority[*colon..].find(']').is_none());
    let (host, port) = authority.split_at(port.unwrap_or(authority.len()));
    format!("{host}{SHADOW_SUFFIX}{port}")
}

#[cfg(test)]
mod tests;
