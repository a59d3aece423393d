//! Who stays where: sessions and hashes.

use std::sync::Arc;
use std::time::Duration;

/// A caller stays with an endpoint, and with a version while shares move towards it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPersistence {
    /// What the caller carries.
    pub carrier: SessionCarrier,
}

/// How a session travels.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionCarrier {
    /// A cookie that the proxy sets; without a time to live it ends with the browser.
    Cookie { name: Arc<str>, path: Option<Arc<str>>, ttl: Option<Duration> },
    /// A header, set in the answer and sent back by the caller.
    Header { name: Arc<str> },
}

/// What a consistent hash is made from.
#[derive(Clone, Debug, PartialEq)]
pub enum HashKey {
    /// A header's value.
    Header(Arc<str>),
    /// A cookie; made by the proxy when a time to live is given (zero: for the browser's session).
    Cookie {
        name: Arc<str>,
        path: Option<Arc<str>>,
        ttl: Option<Duration>,
        /// Further attributes of a cookie that the proxy makes.
        attributes: Vec<(Arc<str>, Arc<str>)>,
    },
    /// The caller's address.
    SourceAddress,
    /// A query parameter.
    QueryParameter(Arc<str>),
}

/// A consistent hash.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsistentHash {
    /// From what.
    pub key: HashKey,
    /// How it finds its endpoint.
    pub table: HashTable,
}

/// How a hash finds its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// A ring of at least so many places.
    Ring { min_size: u64 },
    /// A table of so many places, a prime.
    Maglev { size: u64 },
}
