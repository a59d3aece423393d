//! Which virtual host a request belongs to.
//!
//! # Order
//! The exact domain, then the longest `*.suffix`, then the longest `prefix.*`, then `*`. Once a host is chosen its
//! routes decide alone: a request that none of them takes is not offered to the next best host.
//!
//! # Cost
//! One hash lookup for the exact domain and one for each *distinct length* of wildcard, however many hosts there are.

use crate::error::CompileError;
use crate::text_map::TextMap;

/// Domains to the positions of their virtual hosts.
#[derive(Clone, Debug)]
pub(crate) struct HostTable {
    ignore_port: bool,
    exact: TextMap<usize>,
    /// Longest first.
    suffixes: Vec<Wildcards>,
    /// Longest first.
    prefixes: Vec<Wildcards>,
    any: Option<usize>,
}

/// Wildcards whose literal part has one length.
#[derive(Clone, Debug)]
struct Wildcards {
    length: usize,
    literals: TextMap<usize>,
}

impl HostTable {
    pub(crate) fn new(ignore_port: bool) -> Self {
        Self { ignore_port, exact: TextMap::new(true), suffixes: Vec::new(), prefixes: Vec::new(), any: None }
    }

    /// Adds a domain of the virtual host at `position`. A domain belongs to one host.
    pub(crate) fn insert(&mut self, domain: &str, position: usize) -> Result<(), CompileError> {
        let refuse = |reason: String| Err(CompileError::new("", reason));
        let slot = if domain == "*" {
            self.any.get_or_insert(position)
        } else if let Some(suffix) = domain.strip_prefix('*').filter(|s| !s.contains('*')) {
            of_length(&mut self.suffixes, suffix.len()).or_insert_with(suffix.as_bytes(), || position)
        } else if let Some(prefix) = domain.strip_suffix('*').filter(|s| !s.contains('*')) {
            of_length(&mut self.prefixes, prefix.len()).or_insert_with(prefix.as_bytes(), || position)
        } else if domain.is_empty() || domain.contains('*') {
            return refuse(format!("`{domain}` is not a domain: `*` stands at the start or at the end, or alone"));
        } else {
            self.exact.or_insert_with(domain.as_bytes(), || position)
        };
        if *slot == position {
            Ok(())
        } else {
            refuse(format!("the domain `{domain}` is in virtual_hosts[{slot}] too"))
        }
    }

    /// The position of the virtual host that serves `authority`. An empty authority belongs to none.
    pub(crate) fn find(&self, authority: &[u8]) -> Option<usize> {
        let host = if self.ignore_port { &authority[..name_len(authority)] } else { authority };
        if host.is_empty() {
            return None;
        }
        if let Some(position) = self.exact.find(host) {
            return Some(*position);
        }
        // A wildcard stands for at least one character, hence `<`.
        let suffix = self.suffixes.iter().filter(|w| w.length < host.len());
        if let Some(position) = suffix.clone().find_map(|w| w.literals.find(&host[host.len() - w.length..])) {
            return Some(*position);
        }
        let prefix = self.prefixes.iter().filter(|w| w.length < host.len());
        if let Some(position) = prefix.clone().find_map(|w| w.literals.find(&host[..w.length])) {
            return Some(*position);
        }
        self.any
    }
}

/// The wildcards of one length, in a list that stays ordered longest first.
fn of_length(all: &mut Vec<Wildcards>, length: usize) -> &mut TextMap<usize> {
    let at = all.partition_point(|w| w.length > length);
    if all.get(at).is_none_or(|w| w.length != length) {
        all.insert(at, Wildcards { length, literals: TextMap::new(true) });
    }
    &mut all[at].literals
}

/// `reviews:9080` to `reviews`, `[::1]:80` to `[::1]`; a bare IPv6 literal keeps its colons.
pub(crate) fn without_port(authority: &str) -> &str {
    authority.get(..name_len(authority.as_bytes())).unwrap_or(authority)
}

/// Where the port begins, with its colon: only digits can follow that. Most authorities end in something else.
fn name_len(authority: &[u8]) -> usize {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match authority.len() - digits {
        colon @ 1.. if authority[colon - 1] == b':' => colon - 1,
        _ => authority.len(),
    }
}

#[cfg(test)]
mod tests;
