//! A limit that is kept for many proxies together: which requests are asked about, and under which names.
//!
//! # What this does not do
//! It asks nobody. The answer comes from a service, or from a lease of tokens that the control plane gave to this proxy
//! ([`Descriptor::lease`]); both are the proxy's business.

use std::sync::Arc;

use tidegate_xds::resource::filter::{RateLimitPerRoute, RateLimitService, RequestType, VirtualHostLimits};

use super::descriptor::{CompiledActions, Descriptor, Facts, Sources, describe};
use crate::error::CompileError;
use crate::header_mutation::Additions;
use crate::matcher::Share;
use crate::request::RequestView;

/// The listener's word, compiled.
#[derive(Clone, Debug)]
pub struct CompiledSharedRateLimit {
    /// What needs no compiling.
    pub service: Arc<RateLimitService>,
    /// Added to the refusal.
    pub response_headers: Additions,
    own: Box<[CompiledActions]>,
    enabled: Share,
    enforced: Share,
}

/// A route's word, compiled.
#[derive(Clone, Debug)]
pub struct CompiledPerRoute {
    own: Box<[CompiledActions]>,
    host_limits: VirtualHostLimits,
    domain: Option<Arc<str>>,
}

impl CompiledPerRoute {
    pub(crate) fn compile(route: &RateLimitPerRoute) -> Result<Self, CompileError> {
        Ok(Self {
            own: CompiledActions::compile_all(&route.rate_limits, "rate_limits")?,
            host_limits: route.virtual_host_limits,
            domain: route.domain.clone(),
        })
    }
}

impl CompiledSharedRateLimit {
    pub(crate) fn compile(service: &Arc<RateLimitService>) -> Result<Self, CompileError> {
        Ok(Self {
            service: Arc::clone(service),
            response_headers: Additions::compile(&service.response_headers, "response_headers_to_add")?,
            own: CompiledActions::compile_all(&service.rate_limits, "rate_limits")?,
            enabled: Share::compile(service.enabled).map_err(|e| e.under("filter_enabled"))?,
            enforced: Share::compile(service.enforced).map_err(|e| e.under("filter_enforced"))?,
        })
    }

    /// The namespace of the descriptions.
    pub fn domain<'a>(&'a self, route: Option<&'a CompiledPerRoute>) -> &'a Arc<str> {
        route.and_then(|route| route.domain.as_ref()).unwrap_or(&self.service.domain)
    }

    /// What is asked about a request; empty: nothing, it passes.
    pub fn descriptors<'a>(
        &'a self,
        route: Option<&'a CompiledPerRoute>,
        sources: Sources<'a>,
        request: &'a impl RequestView,
        facts: &Facts<'a>,
        draw: impl FnOnce() -> u64,
    ) -> Vec<Descriptor<'a>> {
        let own = self.own_actions(route);
        if self.asks_nothing(route, sources) || !self.enabled.takes_one(draw) || !self.concerns(request) {
            return Vec::new();
        }
        let host_limits = route.map(|route| route.host_limits).unwrap_or_default();
        describe(own, sources, host_limits, self.service.stage, request, facts)
    }

    /// Whether no request that comes this way is described, so that there is nothing to ask about.
    pub fn asks_nothing(&self, route: Option<&CompiledPerRoute>, sources: Sources<'_>) -> bool {
        self.own_actions(route).is_empty() && sources.are_empty()
    }

    fn own_actions<'a>(&'a self, route: Option<&'a CompiledPerRoute>) -> &'a [CompiledActions] {
        route.map_or(&self.own, |route| if route.own.is_empty() { &self.own } else { &route.own })
    }

    /// Whether a request over the limit is refused; otherwise that is only counted.
    pub fn is_enforced(&self, draw: impl FnOnce() -> u64) -> bool {
        self.enforced.takes_one(draw)
    }

    fn concerns(&self, request: &impl RequestView) -> bool {
        let is_internal = || request.header("x-envoy-internal").next() == Some(b"true");
        match self.service.request_type {
            RequestType::Both => true,
            RequestType::Internal => is_internal(),
            RequestType::External => !is_internal(),
        }
    }
}

#[cfg(test)]
mod tests;
