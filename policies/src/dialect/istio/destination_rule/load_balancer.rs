//! `loadBalancer` of a traffic policy: how an endpoint is chosen, and which localities are used first.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::header_name;
use crate::ir::load_balancing::{LoadBalancing, Warmup};
use crate::ir::locality::LocalitySettings;
use crate::ir::session::{ConsistentHash, HashKey, HashTable};
use crate::schema::{Fields, choice, decimal_within, duration, integer, not_supported, text, truth, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node, shortened};

use super::locality;

/// The least size of a ring when it is not written.
const RING_DEFAULT: u64 = 1024;

/// Places that a table of Maglev has when it is not written.
const MAGLEV_DEFAULT: u64 = 65_537;

/// Largest table, as proxies have it.
const MAGLEV_MAX: u64 = 5_000_011;

/// Largest ring, as proxies have it.
const RING_MAX: i64 = 8 << 20;

/// Fastest growth that can be meant.
const AGGRESSION_MAX: f64 = 1_000.0;

/// A load balancer as written.
#[derive(Default)]
pub(super) struct Balancer {
    pub(super) choice: Option<LoadBalancing>,
    pub(super) locality: Option<Spanned<LocalitySettings>>,
}

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Balancer> {
    let mut fields = Fields::open(node, "the load balancer", report)?;
    let span = fields.span();
    let simple_at = fields.entry("simple");
    let simple = simple_at.and_then(|entry| {
        choice(
            &entry.value,
            &["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"],
            report,
        )
    });
    let hash_at = fields.entry("consistentHash");
    let warmup_at = fields.entry("warmup");
    let older_at = fields.entry("warmupDurationSecs");
    let locality_at = fields.entry("localityLbSetting");
    let zone_at = fields.entry("zoneAwareLbSetting");
    fields.finish(report);
    if let Some(zone) = zone_at {
        zone_aware(zone, locality_at, report);
    }
    let locality = locality_at
        .and_then(|entry| locality::read(&entry.value, report).map(|value| Spanned { value, span: entry.key_span }));
    let warmup = warmup(warmup_at, older_at, report);
    if let (Some(first), Some(second)) = (simple_at, hash_at) {
        report
            .add(Code::InvalidRule, second.key_span, "only one of simple and consistentHash can be given")
            .also(first.key_span, "the other is here")
            .help("keep one of them");
        return Some(Balancer { choice: None, locality });
    }
    let warmed = warmup.is_some();
    let choice = match (hash_at, simple) {
        (Some(entry), _) => consistent_hash(&entry.value, report).map(LoadBalancing::ConsistentHash),
        (None, Some(simple)) => self::simple(simple, warmup, report),
        // Nothing chosen, but something said about it: Istio's default with that.
        (None, None) if simple_at.is_none() && warmed => Some(LoadBalancing::LeastRequest { warmup }),
        (None, None) => None,
    };
    if let (true, Some(LoadBalancing::Random | LoadBalancing::ConsistentHash(_))) = (warmed, &choice) {
        let span = warmup_at.or(older_at).map_or(span, |entry| entry.key_span);
        report
            .add(Code::FieldWithoutEffect, span, "`warmup` acts with ROUND_ROBIN and LEAST_REQUEST only")
            .help("remove it, or choose one of the two");
    }
    Some(Balancer { choice, locality })
}

fn zone_aware(zone: &Entry, locality: Option<&Entry>, report: &mut Report) {
    match locality {
        Some(locality) => {
            report
                .add(
                    Code::InvalidRule,
                    zone.key_span,
                    "only one of localityLbSetting and zoneAwareLbSetting can be set",
                )
                .also(locality.key_span, "the other is here")
                .help("keep localityLbSetting");
        }
        None => {
            not_supported(zone.key_span, "`zoneAwareLbSetting` of the load balancer", "use `localityLbSetting`", report)
        }
    }
}

fn simple(simple: Spanned<&'static str>, warmup: Option<Warmup>, report: &mut Report) -> Option<LoadBalancing> {
    match simple.value {
        "RANDOM" => Some(LoadBalancing::Random),
        "ROUND_ROBIN" => Some(LoadBalancing::RoundRobin { warmup }),
        "PASSTHROUGH" => {
            not_supported(
                simple.span,
                "load balancing `PASSTHROUGH`",
                "use LEAST_REQUEST, ROUND_ROBIN or RANDOM",
                report,
            );
            None
        }
        _ => Some(LoadBalancing::LeastRequest { warmup }),
    }
}

/// `warmup`, or the older `warmupDurationSecs`.
fn warmup(warmup: Option<&Entry>, older: Option<&Entry>, report: &mut Report) -> Option<Warmup> {
    if let Some(entry) = older {
        if warmup.is_some() {
            report
                .add(Code::FieldWithoutEffect, entry.key_span, "`warmup` counts, so `warmupDurationSecs` has no effect")
                .help("remove it");
        } else {
            let length = long_enough(&entry.value, report)?;
            return Some(Warmup { duration: length, min_percent: None, aggression: None });
        }
    }
    let mut fields = Fields::open(&warmup?.value, "warmup", report)?;
    let length = fields.require("duration", report, long_enough);
    let min_percent = fields.read("minimumPercent", report, |node, report| decimal_within(node, 0.0, 100.0, report));
    let aggression =
        fields.read("aggression", report, |node, report| decimal_within(node, 1.0, AGGRESSION_MAX, report));
    fields.finish(report);
    Some(Warmup {
        duration: length?,
        min_percent: min_percent.map(|percent| percent.value),
        aggression: aggression.map(|aggression| aggression.value),
    })
}

fn long_enough(node: &Node, report: &mut Report) -> Option<Duration> {
    let length = duration(node, report)?;
    if length.value < Duration::from_secs(1) {
        report
            .add(Code::BadValue, length.span, "a warm-up must last at least a second")
            .help("write how long a new endpoint takes to be as fast as the others, e.g. 30s");
        return None;
    }
    Some(length.value)
}

fn consistent_hash(node: &Node, report: &mut Report) -> Option<ConsistentHash> {
    let mut fields = Fields::open(node, "the consistent hash", report)?;
    let span = fields.span();
    let header = fields.entry("httpHeaderName");
    let cookie = fields.entry("httpCookie");
    let source = fields.entry("useSourceIp");
    let query = fields.entry("httpQueryParameterName");
    let ring_at = fields.entry("ringHash");
    let maglev_at = fields.entry("maglev");
    let older_at = fields.entry("minimumRingSize");
    fields.finish(report);
    let table = table(ring_at, maglev_at, older_at, report);
    let given: Vec<&Entry> = [header, cookie, source, query].into_iter().flatten().collect();
    if let [first, second, ..] = &given[..] {
        report
            .add(Code::InvalidRule, second.key_span, "a consistent hash has one key only")
            .also(first.key_span, "the other is here")
            .help("keep one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName");
        return None;
    }
    let key = if let Some(entry) = header {
        let name = word(&entry.value, report)?;
        HashKey::Header(header_name(name.span, &name.value, report)?)
    } else if let Some(entry) = cookie {
        self::cookie(entry, report)?
    } else if let Some(entry) = query {
        HashKey::QueryParameter(word(&entry.value, report)?.value)
    } else if let Some(entry) = source {
        if !truth(&entry.value, report)? {
            no_key(entry.key_span, report);
            return None;
        }
        HashKey::SourceAddress
    } else {
        no_key(span, report);
        return None;
    };
    Some(ConsistentHash { key, table: table? })
}

fn no_key(span: Span, report: &mut Report) {
    report
        .add(Code::MissingField, span, "the consistent hash has nothing to be made from")
        .help("add httpHeaderName, httpCookie, useSourceIp: true or httpQueryParameterName");
}

fn table(
    ring: Option<&Entry>,
    maglev: Option<&Entry>,
    older: Option<&Entry>,
    report: &mut Report,
) -> Option<HashTable> {
    let older_size = older.map(|entry| {
        report
            .add(
                Code::Deprecated,
                entry.key_span,
                "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead",
            )
            .help("write `ringHash: {minimumRingSize: N}`");
        integer(&entry.value, 0, RING_MAX, report)
    });
    match (ring, maglev) {
        (Some(first), Some(second)) => {
            report
                .add(Code::InvalidRule, second.key_span, "only one of ringHash and maglev can be given")
                .also(first.key_span, "the other is here")
                .help("keep one of them");
            None
        }
        (None, Some(entry)) => self::maglev(&entry.value, report),
        (Some(entry), None) => {
            let mut fields = Fields::open(&entry.value, "ringHash", report)?;
            let size = fields.read("minimumRingSize", report, |node, report| integer(node, 0, RING_MAX, report));
            fields.finish(report);
            Some(ring_of(size))
        }
        (None, None) => match older_size {
            Some(size) => Some(ring_of(Some(size?))),
            None => Some(ring_of(None)),
        },
    }
}

/// Zero is "not set" in Istio's protocol, and a ring of no place cannot be meant.
fn ring_of(size: Option<Spanned<i64>>) -> HashTable {
    let size = size.and_then(|size| u64::try_from(size.value).ok()).filter(|size| *size > 0);
    HashTable::Ring { min_size: size.unwrap_or(RING_DEFAULT) }
}

fn maglev(node: &Node, report: &mut Report) -> Option<HashTable> {
    let mut fields = Fields::open(node, "maglev", report)?;
    let size = fields.read("tableSize", report, |node, report| integer(node, 0, i64::MAX, report));
    fields.finish(report);
    let Some(size) = size else { return Some(HashTable::Maglev { size: MAGLEV_DEFAULT }) };
    let places = u64::try_from(size.value).unwrap_or(0);
    let message = if places == 0 {
        "tableSize must be set for maglev"
    } else if places >= MAGLEV_MAX {
        "tableSize must be less than 5000011 for maglev"
    } else if !is_prime(places) {
        "tableSize must be a prime number for maglev"
    } else {
        return Some(HashTable::Maglev { size: places });
    };
    report.add(Code::BadValue, size.span, message).help("65537 is usual");
    None
}

/// By trial; the numbers are below five million, so at most 2,236 divisions.
fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor: u64| !number.is_multiple_of(divisor))
}

fn cookie(entry: &Entry, report: &mut Report) -> Option<HashKey> {
    if let Some(pair) = pair_instead_of_name(&entry.value) {
        let name = shortened(&pair.key);
        report
            .add(Code::MissingField, pair.key_span, "name required for HttpCookie")
            .say(format!("`{name}` stands where a field is expected: it looks like the cookie itself"))
            .help(format!("write `name: {name}`; KubeSphere's console stores a cookie's `key=value` pairs as fields"));
        return None;
    }
    let mut fields = Fields::open(&entry.value, "the cookie", report)?;
    let name = fields.read("name", report, text).filter(|name| !name.value.trim().is_empty());
    let path = fields.read("path", report, text).filter(|path| !path.value.is_empty());
    let ttl = fields.read("ttl", report, duration);
    let attributes = fields.list("attributes", report, attribute);
    fields.finish(report);
    let Some(name) = name else {
        report
            .add(Code::MissingField, entry.key_span, "name required for HttpCookie")
            .help("add `name:`, and `ttl:` if the proxy should make the cookie");
        return None;
    };
    header_name(name.span, &name.value, report)?;
    Some(HashKey::Cookie {
        name: name.value,
        path: path.map(|path| path.value),
        ttl: ttl.map(|ttl| ttl.value),
        attributes,
    })
}

/// The first field that is none of a cookie's, when there is no name and the others are plain.
fn pair_instead_of_name(node: &Node) -> Option<&Entry> {
    const KNOWN: &[&str] = &["name", "path", "ttl", "attributes"];
    let Content::Map(entries) = &node.content else { return None };
    if entries.iter().any(|entry| &*entry.key == "name") {
        return None;
    }
    let unlike = |key: &str| crate::spelling::nearest(key, KNOWN.iter().copied()).is_none();
    entries.iter().find(|entry| {
        !KNOWN.contains(&&*entry.key) && unlike(&entry.key) && matches!(entry.value.content, Content::Scalar(_))
    })
}

fn attribute(node: &Node, report: &mut Report) -> Option<(Arc<str>, Arc<str>)> {
    let mut fields = Fields::open(node, "the attribute", report)?;
    let name = fields.require("name", report, word);
    let value = fields.read("value", report, text);
    fields.finish(report);
    let name = name?;
    header_name(name.span, &name.value, report)?;
    let value = value.map_or_else(|| Arc::from(""), |value| value.value);
    if value.bytes().any(|b| b < 0x20 || b == b';' || b == 0x7f) {
        report
            .add(Code::BadValue, node.span, "the value of a cookie's attribute cannot have `;` or control characters")
            .help("write one attribute for each");
        return None;
    }
    Some((name.value, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_table_size_is_prime_and_its_neighbour_is_not() {
        assert!(is_prime(MAGLEV_DEFAULT));
        assert!(!is_prime(65_536));
        assert!(is_prime(2));
        assert!(!is_prime(1));
        assert!(!is_prime(0));
        assert!(is_prime(4_999_999));
    }
}
