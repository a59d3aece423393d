//! Cross-origin resource sharing: which origins a browser may let read an answer.
//!
//! # Two kinds of requests
//! A *preflight* (`OPTIONS` with `access-control-request-method`) asks what would be allowed; it is answered here and
//! never reaches the upstream. Any other request with an `Origin` goes on, and its answer tells the browser whether the
//! script may read it. A request without an `Origin` is nobody's business here.
//!
//! # What this does not do
//! It does not refuse the request of an origin that is not allowed. The browser does, when it finds nothing in the
//! answer that allows it (Fetch standard §3.2); a caller that is no browser never asks.
//!
//! # Stars
//! `*` for methods or headers means all of them, except towards a request with credentials, where the standard takes it
//! literally. So with credentials the answer names what the preflight asked for. An answer always names the one origin
//! and never `*`; `vary: origin` keeps caches from handing it to another.

use std::sync::Arc;

use tidegate_xds::resource::filter::Cors;

use crate::error::CompileError;
use crate::header_mutation::HeadEditor;
use crate::matcher::{CompiledString, Share};
use crate::request::RequestView;

/// The status of an answer to a preflight.
pub const PREFLIGHT_STATUS: u16 = 200;

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";
const REQUEST_METHOD: &str = "access-control-request-method";
const REQUEST_HEADERS: &str = "access-control-request-headers";

/// A policy, compiled.
#[derive(Clone, Debug)]
pub struct CompiledCors {
    origins: Box<[CompiledString]>,
    allow_methods: Arc<str>,
    allow_headers: Arc<str>,
    expose_headers: Arc<str>,
    max_age: Arc<str>,
    allow_credentials: bool,
    enabled: Share,
    forward_not_matching_preflights: bool,
    allow_private_network_access: bool,
}

/// What follows from a policy.
#[derive(Clone, Copy, Debug)]
pub enum CorsVerdict<'a> {
    /// Go on, and leave the answer as it is: no origin, one that is not allowed, or a policy that is off.
    Pass,
    /// Answer at once, with [`PREFLIGHT_STATUS`] and without a body, with the fields that [`Preflight::write`] writes.
    Preflight(Preflight<'a>),
    /// Go on; [`Allowed::write`] edits the answer, also one that the proxy makes itself.
    Allowed(Allowed<'a>),
}

/// The answer to a preflight.
#[derive(Clone, Copy, Debug)]
pub struct Preflight<'a> {
    policy: &'a CompiledCors,
    /// `None`: the origin is not allowed, so nothing is.
    asked: Option<Asked<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    origin: &'a [u8],
    method: &'a [u8],
    headers: Option<&'a [u8]>,
    private_network: bool,
}

/// An origin that may read the answer.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    policy: &'a CompiledCors,
    origin: &'a [u8],
}

impl CompiledCors {
    pub(crate) fn compile(cors: &Cors) -> Result<Self, CompileError> {
        let origins = cors.allow_origins.iter().enumerate().map(|(i, origin)| {
            CompiledString::compile(origin).map_err(|e| e.under(&format!("allow_origin_string_match[{i}]")))
        });
        let values = [
            ("allow_methods", &cors.allow_methods),
            ("allow_headers", &cors.allow_headers),
            ("expose_headers", &cors.expose_headers),
            ("max_age", &cors.max_age),
        ];
        for (field, value) in values {
            if value.bytes().any(|b| b.is_ascii_control()) {
                return Err(CompileError::new(field, "a control character cannot stand in a header's value"));
            }
        }
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
            allow_methods: Arc::clone(&cors.allow_methods),
            allow_headers: Arc::clone(&cors.allow_headers),
            expose_headers: Arc::clone(&cors.expose_headers),
            max_age: Arc::clone(&cors.max_age),
            allow_credentials: cors.allow_credentials,
            enabled: Share::compile(cors.enabled).map_err(|e| e.under("filter_enabled"))?,
            forward_not_matching_preflights: cors.forward_not_matching_preflights,
            allow_private_network_access: cors.allow_private_network_access,
        })
    }

    /// What becomes of a request.
    pub fn decide<'a>(&'a self, request: &'a impl RequestView, random: u64) -> CorsVerdict<'a> {
        let Some(origin) = request.header("origin").next().filter(|origin| !origin.is_empty()) else {
            return CorsVerdict::Pass;
        };
        if !self.enabled.takes(random) {
            return CorsVerdict::Pass;
        }
        let is_allowed = self.origins.iter().any(|allowed| allowed.matches(origin));
        let method = request.header(REQUEST_METHOD).next().filter(|method| !method.is_empty());
        match method.filter(|_| request.method() == "OPTIONS") {
            Some(method) if is_allowed => {
                let headers = request.header(REQUEST_HEADERS).next();
                let private_network = request.header("access-control-request-private-network").next() == Some(b"true");
                let asked = Some(Asked { origin, method, headers, private_network });
                CorsVerdict::Preflight(Preflight { policy: self, asked })
            }
            Some(_) if !self.forward_not_matching_preflights => {
                CorsVerdict::Preflight(Preflight { policy: self, asked: None })
            }
            None if is_allowed => CorsVerdict::Allowed(Allowed { policy: self, origin }),
            Some(_) | None => CorsVerdict::Pass,
        }
    }

    fn write_origin(&self, origin: &[u8], editor: &mut impl HeadEditor) {
        editor.set(ALLOW_ORIGIN, origin);
        if self.allow_credentials {
            editor.set(ALLOW_CREDENTIALS, b"true");
        }
        editor.append("vary", b"origin");
    }
}

impl Preflight<'_> {
    /// Writes the fields of the answer.
    pub fn write(&self, editor: &mut impl HeadEditor) {
        let policy = self.policy;
        let Some(asked) = self.asked else { return };
        policy.write_origin(asked.origin, editor);
        let named = |allowed: &'_ Arc<str>, asked: Option<&'_ [u8]>| -> Vec<u8> {
            let is_literal = policy.allow_credentials && allowed.as_ref() == "*";
            asked.filter(|_| is_literal).unwrap_or(allowed.as_bytes()).to_vec()
        };
        for (name, value) in [
            ("access-control-allow-methods", named(&policy.allow_methods, Some(asked.method))),
            ("access-control-allow-headers", named(&policy.allow_headers, asked.headers)),
            ("access-control-max-age", policy.max_age.as_bytes().to_vec()),
            // Browsers look for it on the answer itself; Gateway API's suite wants it on the preflight's too.
            (EXPOSE_HEADERS, policy.expose_headers.as_bytes().to_vec()),
        ] {
            if !value.is_empty() {
                editor.set(name, &value);
            }
        }
        if asked.private_network && policy.allow_private_network_access {
            editor.set("access-control-allow-private-network", b"true");
        }
    }
}

impl Allowed<'_> {
    /// Edits the head of the answer. What the upstream says of these fields is replaced, also where the policy says
    /// nothing: an upstream's credentials beside our origin would allow what nobody has allowed.
    pub fn write(&self, editor: &mut impl HeadEditor) {
        for name in [ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS] {
            editor.remove(name);
        }
        self.policy.write_origin(self.origin, editor);
        if !self.policy.expose_headers.is_empty() {
            editor.set(EXPOSE_HEADERS, self.policy.expose_headers.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
