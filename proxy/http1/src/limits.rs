//! Bounds and choices of the gate.
//!
//! Every default is the strict one; a listener that needs more says so in its configuration.

/// What a head may cost, and the few rules an operator may relax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Start line and fields together, including their line ends. 64 KiB: four times what browsers and gateways send in the worst
    /// common case (cookies), and small enough to hold in memory for every connection at once.
    pub head_bytes_max: usize,
    /// 100 fields, as hyper and Envoy: above that only abuse was seen.
    pub fields_max: usize,
    /// 16 KiB of request target: twice what RFC 9110 4.1 asks every recipient to support.
    pub target_bytes_max: usize,
    /// CONNECT opens a tunnel past every rule of the mesh, so it is answered 405 unless a listener is meant for it.
    pub connect_allowed: bool,
    /// TRACE reflects credentials, so it is answered 405 unless asked for.
    pub trace_allowed: bool,
    pub escaped_slashes: EscapedSlashes,
    pub underscores: Underscores,
}

impl Limits {
    /// What holds where nobody asks for more.
    pub const STRICT: Self = Self {
        head_bytes_max: 64 * 1024,
        fields_max: 100,
        target_bytes_max: 16 * 1024,
        connect_allowed: false,
        trace_allowed: false,
        escaped_slashes: EscapedSlashes::Refuse,
        underscores: Underscores::DropLookAlikes,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::STRICT
    }
}

/// What becomes of `%2F` and `%5C` in a path. Servers disagree on whether they separate segments, so a rule on a path prefix may be
/// walked around with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    Refuse,
    /// Kept escaped, for upstreams whose identifiers contain slashes.
    Keep,
}

/// What becomes of field names with an underscore. CGI-like servers cannot tell `Content_Length` from `Content-Length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// Fields that alias framing, routing or identity fields are dropped, all others pass.
    DropLookAlikes,
    /// Any underscore in a name is answered 400.
    RefuseAll,
}
