//! `loadBalancer`: how an endpoint is chosen.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::header_name;
use crate::ir::load_balancing::{LoadBalancing, Warmup};
use crate::ir::session::{ConsistentHash, HashKey, HashTable};
use crate::schema::{Fields, choice, decimal_within, duration, integer, truth, word};
use crate::source::Spanned;
use crate::tree::{Entry, Node};

/// Envoy's default, and enough for a few hundred endpoints.
const RING_DEFAULT: u64 = 1024;

/// Envoy's default: a prime.
const MAGLEV_DEFAULT: u64 = 65_537;

/// Envoy's largest table.
const MAGLEV_MAX: i64 = 5_000_011;

/// Envoy's largest ring.
const RING_MAX: i64 = 8 << 20;

/// `{policy, warmup, consistentHash}`
pub(super) fn read(node: &Node, report: &mut Report) -> Option<LoadBalancing> {
    let mut fields = Fields::open(node, "the load balancer", report)?;
    let span = fields.span();
    let policy = fields.read("policy", report, |node, report| {
        choice(node, &["LeastRequest", "RoundRobin", "Random", "ConsistentHash"], report)
    });
    let warmup = fields.entry("warmup");
    let hash = fields.entry("consistentHash");
    fields.finish(report);
    let hashes = policy.is_some_and(|policy| policy.value == "ConsistentHash") || (policy.is_none() && hash.is_some());
    if let Some(entry) = hash.filter(|_| !hashes) {
        report
            .add(Code::InvalidRule, entry.key_span, "`consistentHash` needs policy: ConsistentHash")
            .help("write the policy, or remove the hash");
        return None;
    }
    if let Some(entry) = warmup.filter(|_| hashes || policy.is_some_and(|policy| policy.value == "Random")) {
        report
            .add(Code::InvalidRule, entry.key_span, "`warmup` needs policy: LeastRequest or RoundRobin")
            .help("remove it: the other policies do not look at weights that change");
        return None;
    }
    if hashes {
        let Some(entry) = hash else {
            report
                .add(Code::MissingField, span, "policy ConsistentHash needs `consistentHash`")
                .help("say what is hashed, e.g. consistentHash: {header: end-user}");
            return None;
        };
        return consistent_hash(&entry.value, report).map(LoadBalancing::ConsistentHash);
    }
    let warmup = match warmup {
        Some(entry) => Some(self::warmup(&entry.value, report)?),
        None => None,
    };
    Some(match policy.map(|policy| policy.value) {
        Some("RoundRobin") => LoadBalancing::RoundRobin { warmup },
        Some("Random") => LoadBalancing::Random,
        Some(_) | None => LoadBalancing::LeastRequest { warmup },
    })
}

/// `{duration, minPercent, aggression}`
fn warmup(node: &Node, report: &mut Report) -> Option<Warmup> {
    let mut fields = Fields::open(node, "the warmup", report)?;
    let duration = fields.require("duration", report, duration);
    let min_percent = fields.read("minPercent", report, |node, report| decimal_within(node, 0.0, 100.0, report));
    let aggression = fields.read("aggression", report, |node, report| decimal_within(node, 1.0, 100.0, report));
    fields.finish(report);
    let duration = duration?;
    if duration.value.is_zero() {
        report.add(Code::BadValue, duration.span, "a warmup takes time").help("remove it to have none");
        return None;
    }
    Some(Warmup {
        duration: duration.value,
        min_percent: min_percent.map(|percent| percent.value),
        aggression: aggression.map(|aggression| aggression.value),
    })
}

/// `{header | cookie | sourceAddress | queryParameter, ring | maglev}`
fn consistent_hash(node: &Node, report: &mut Report) -> Option<ConsistentHash> {
    let mut fields = Fields::open(node, "the consistent hash", report)?;
    let span = fields.span();
    let header = fields.entry("header");
    let cookie = fields.entry("cookie");
    let address = fields.entry("sourceAddress");
    let query = fields.entry("queryParameter");
    let ring = fields.entry("ring");
    let maglev = fields.entry("maglev");
    fields.finish(report);
    let given: Vec<&Entry> = [header, cookie, address, query].into_iter().flatten().collect();
    let [only] = given.as_slice() else {
        report
            .add(
                Code::InvalidRule,
                span,
                "a hash is made from exactly one of `header`, `cookie`, `sourceAddress` and `queryParameter`",
            )
            .help("write one of them, e.g. header: end-user");
        return None;
    };
    let key = match &*only.key {
        "header" => {
            let name = word(&only.value, report)?;
            HashKey::Header(header_name(name.span, &name.value, report)?)
        }
        "cookie" => self::cookie(&only.value, report)?,
        "queryParameter" => HashKey::QueryParameter(word(&only.value, report)?.value),
        _ if truth(&only.value, report)? => HashKey::SourceAddress,
        _ => {
            report.add(Code::BadValue, only.value.span, "`sourceAddress` can only be true").help("name another source");
            return None;
        }
    };
    let table = match (ring, maglev) {
        (Some(ring), Some(_)) => {
            report
                .add(Code::InvalidRule, ring.key_span, "only one of `ring` and `maglev` can be given")
                .help("`maglev` is quicker and spreads more evenly, `ring` moves fewer callers when endpoints change");
            return None;
        }
        (_, Some(maglev)) => HashTable::Maglev { size: maglev_size(&maglev.value, report)? },
        (Some(ring), None) => HashTable::Ring { min_size: ring_size(&ring.value, report)? },
        (None, None) => HashTable::Ring { min_size: RING_DEFAULT },
    };
    Some(ConsistentHash { key, table })
}

/// `{name, path, ttl}`; with a time to live the proxy makes the cookie.
fn cookie(node: &Node, report: &mut Report) -> Option<HashKey> {
    let mut fields = Fields::open(node, "the cookie", report)?;
    let name = fields.require("name", report, word);
    let path = fields.read("path", report, word);
    let ttl = fields.read("ttl", report, duration);
    fields.finish(report);
    let name: Spanned<Arc<str>> = name?;
    header_name(name.span, &name.value, report)?;
    Some(HashKey::Cookie {
        name: name.value,
        path: path.map(|path| path.value),
        ttl: ttl.map(|ttl| ttl.value),
        attributes: Vec::new(),
    })
}

/// `{minSize}`
fn ring_size(node: &Node, report: &mut Report) -> Option<u64> {
    let mut fields = Fields::open(node, "the ring", report)?;
    let size = fields.entry("minSize");
    fields.finish(report);
    match size {
        Some(entry) => u64::try_from(integer(&entry.value, 1, RING_MAX, report)?.value).ok(),
        None => Some(RING_DEFAULT),
    }
}

/// `{tableSize}`
fn maglev_size(node: &Node, report: &mut Report) -> Option<u64> {
    let mut fields = Fields::open(node, "maglev", report)?;
    let size = fields.entry("tableSize");
    fields.finish(report);
    let Some(entry) = size else { return Some(MAGLEV_DEFAULT) };
    let size = integer(&entry.value, 2, MAGLEV_MAX, report)?;
    let value = u64::try_from(size.value).ok()?;
    if !is_prime(value) {
        report
            .add(Code::BadValue, size.span, "tableSize must be a prime number for maglev")
            .help(format!("leave it out for {MAGLEV_DEFAULT}"));
        return None;
    }
    Some(value)
}

/// At most some two thousand divisions, for [`MAGLEV_MAX`].
fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_maglev_has_a_prime_size() {
        assert!(is_prime(MAGLEV_DEFAULT));
        assert!(is_prime(2));
        assert!(is_prime(u64::try_from(MAGLEV_MAX).unwrap()));
        assert!(!is_prime(1));
        assert!(!is_prime(65_536));
        assert!(!is_prime(65_537 * 3));
    }
}
