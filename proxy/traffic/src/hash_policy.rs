//! What a consistent hash is computed from.
//!
//! # As Envoy does it
//! Each policy in turn gives a hash or none; hashes are combined by rotating what there is by one bit and xoring the new one,
//! so that two equal policies do not cancel each other out. A terminal policy ends the list once there is any hash.
//! Several values of a header are sorted, and each is hashed with the hash before it as the seed. Texts are hashed with
//! xxHash64 as they stand: a query parameter is not unescaped.
//!
//! # One difference
//! Envoy makes the value of a new cookie from the addresses of the connection, so all users behind one gateway get the same
//! one. Here it is random.

use std::net::IpAddr;

use tidegate_xds::resource::route::{HashPolicy, HashSource};

use crate::cookie::{CookieTemplate, cookie};
use crate::error::CompileError;
use crate::hash::xx_hash;
use crate::matcher::first_parameter;
use crate::request::{RequestView, Source};

/// Hash policies of a route, compiled.
#[derive(Clone, Debug, Default)]
pub struct HashPolicies(Box<[Policy]>);

#[derive(Clone, Debug)]
struct Policy {
    from: From,
    terminal: bool,
}

#[derive(Clone, Debug)]
enum From {
    Header(Source),
    Cookie {
        template: CookieTemplate,
        /// Made by the proxy when missing.
        make: bool,
    },
    SourceIp,
    Query(Box<str>),
}

/// A request's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    /// `None`: no policy applied, and a random choice is due.
    pub hash: Option<u64>,
    /// Values of `set-cookie` fields to add to the answer. Mostly none, and then nothing is allocated.
    pub set_cookies: Vec<String>,
}

impl HashPolicies {
    /// Compiles a route's list.
    pub fn compile(policies: &[HashPolicy]) -> Result<Self, CompileError> {
        let compile = |(i, policy): (usize, &HashPolicy)| {
            let from = From::compile(&policy.source).map_err(|e| e.under(&format!("hash_policy[{i}]")))?;
            Ok(Policy { from, terminal: policy.terminal })
        };
        policies.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of a request from a peer. `random` is asked only for a new cookie.
    pub fn hash(&self, request: &impl RequestView, peer: Option<IpAddr>, random: &mut impl FnMut() -> u64) -> Hashed {
        let mut hashed = Hashed::default();
        for policy in &self.0 {
            if let Some(new) = policy.from.evaluate(request, peer, random, &mut hashed.set_cookies) {
                hashed.hash = Some(hashed.hash.map_or(0, |old| old.rotate_left(1)) ^ new);
            }
            if policy.terminal && hashed.hash.is_some() {
                break;
            }
        }
        hashed
    }
}

impl From {
    fn compile(source: &HashSource) -> Result<Self, CompileError> {
        Ok(match source {
            HashSource::Header(name) => {
                Self::Header(Source::parse(name).map_err(|reason| CompileError::new("header.header_name", reason))?)
            }
            HashSource::Cookie { name, ttl, path, attributes } => Self::Cookie {
                template: CookieTemplate::compile(name, path, *ttl, attributes).map_err(|e| e.under("cookie"))?,
                make: ttl.is_some(),
            },
            HashSource::SourceIp => Self::SourceIp,
            HashSource::QueryParameter(name) => Self::Query((**name).into()),
        })
    }

    fn evaluate(
        &self,
        request: &impl RequestView,
        peer: Option<IpAddr>,
        random: &mut impl FnMut() -> u64,
        set_cookies: &mut Vec<String>,
    ) -> Option<u64> {
        match self {
            Self::Header(Source::Field(name)) => hash_values(request, name),
            Self::Header(source) => source.first(request).map(|value| xx_hash(&value, 0)),
            Self::Cookie { template, make } => match cookie(request, &template.name) {
                Some(value) if !value.is_empty() => Some(xx_hash(value, 0)),
                _ if *make => {
                    let value = format!("{:016x}", random());
                    set_cookies.push(template.with_value(&value));
                    Some(xx_hash(value.as_bytes(), 0))
                }
                _ => None,
            },
            Self::SourceIp => peer.map(hash_address),
            Self::Query(name) => {
                request.query().and_then(|query| first_parameter(query, name)).map(|value| xx_hash(value.as_bytes(), 0))
            }
        }
    }
}

/// One value is hashed in place; several, which are rare, are sorted first.
fn hash_values(request: &impl RequestView, name: &str) -> Option<u64> {
    let mut values = request.header(name);
    let first = values.next()?;
    if values.next().is_none() {
        return Some(xx_hash(first, 0));
    }
    let mut values: Vec<&[u8]> = request.header(name).collect();
    values.sort_unstable();
    Some(values.into_iter().fold(0, |seed, value| xx_hash(value, seed)))
}

/// The longest text of an address: an IPv6 one with an IPv4 tail.
const ADDRESS_LEN_MAX: usize = 45;

/// Addresses are hashed as text, which is written without allocating.
fn hash_address(address: IpAddr) -> u64 {
    use std::io::Write as _;
    let mut text = [0; ADDRESS_LEN_MAX];
    let mut rest = &mut text[..];
    // It fits; were it cut, equal addresses would still hash alike.
    write!(rest, "{address}").ok();
    let unwritten = rest.len();
    xx_hash(&text[..ADDRESS_LEN_MAX - unwritten], 0)
}

#[cfg(test)]
mod tests;
