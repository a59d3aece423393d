//! Cross-origin requests of browsers.

use std::sync::Arc;
use std::time::Duration;

use super::route::StringMatch;

/// What other origins may.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// Origins that may; `https://*.example.com` and `*` arrive here as patterns.
    pub allow_origins: Vec<StringMatch>,
    /// Methods, in order; `*` alone: all.
    pub allow_methods: Vec<Arc<str>>,
    /// Request headers that may be sent.
    pub allow_headers: Vec<Arc<str>>,
    /// Response headers that may be read.
    pub expose_headers: Vec<Arc<str>>,
    /// How long a browser may remember a preflight.
    pub max_age: Option<Duration>,
    /// Cookies and credentials may be sent.
    pub allow_credentials: bool,
    /// A preflight that does not match goes to the backend (Istio `unmatchedPreflights: FORWARD`).
    pub forward_unmatched_preflights: bool,
}

impl Cors {
    /// Every origin. A pattern, because `*` itself is no origin that a browser would send.
    pub(crate) fn any_origin() -> StringMatch {
        StringMatch::Regex(Arc::from(".*"))
    }
}
