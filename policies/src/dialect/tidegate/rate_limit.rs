//! RateLimit: how many requests may pass, told apart by what they carry.
//!
//! A limit is a token bucket: `requests` tokens are gained in each `per`, at most `burst` are kept. All rules that match a
//! request are asked, whichever object they are from, so a rule can only take away.
//!
//! ```yaml
//! apiVersion: tidegate.io/v1alpha1
//! kind: RateLimit
//! metadata: {name: reviews-api, namespace: shop}
//! spec:
//!   targetRefs: [{kind: Service, name: reviews}]     # or selector: {matchLabels: {...}}, for workloads
//!   rules:
//!   - name: per-user
//!     match: {methods: [POST], path: {type: PathPrefix, value: /api}, headers: [], from: {namespaces: [], labels: {}}}
//!     key: [{header: end-user}]                      # | queryParameter | sourceAddress | sourceIdentity; none: one bucket
//!     limit: {requests: 100, per: 1s, burst: 200}    # burst: as many as requests
//!     scope: PerProxy                                # | Shared
//!     mode: Enforce                                  # | Shadow, which only counts
//!     onDeny: {status: 429, grpcStatus: RESOURCE_EXHAUSTED, headers: {set: [{name: retry-after, value: "1"}]}}
//!     onStoreUnavailable: FallbackPerProxy           # | Allow | Deny, for Shared
//! ```
//! `match` may be a list, of which any one is enough.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::circuit_breaker::positive;
use super::{Policy, Stanzas, condition, target};
use crate::diagnostic::{Code, Report};
use crate::dialect::istio::{check_value, header_name};
use crate::dialect::{Context, spec};
use crate::head::Head;
use crate::ir::rate_limit::{OnDeny, OnStoreUnavailable, RateKey, RateLimit, RateScope};
use crate::ir::route::HeaderChanges;
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, duration, grpc_status, list_up_to, status, text, truth, word};
use crate::source::{Span, Spanned};
use crate::tree::Node;

/// Most rules of one object. Each is asked for each request, so a list is no place for a thousand tenants: that is `key`.
const RULES_MAX: usize = 64;

/// Most parts of a key. A bucket is found by all of them together.
const KEYS_MAX: usize = 8;

/// Buckets are filled at most twenty times a second, the finest that Envoy takes.
const PER_MIN: Duration = Duration::from_millis(50);

/// gRPC's `RESOURCE_EXHAUSTED`.
const RESOURCE_EXHAUSTED: u32 = 8;
/// gRPC's `UNAVAILABLE`.
const UNAVAILABLE: u32 = 14;

pub(crate) fn read(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<Policy> {
    let mut fields = spec(document, "a RateLimit", cx)?;
    let Context { report, patterns, .. } = cx;
    let targets = target::read_with_selector(&mut fields, target::COUNTED, report);
    let rules = fields.require("rules", report, |node, report| {
        Some(list_up_to(RULES_MAX, node, "rules", report, |node, report| rule(head, node, patterns, report)))
    });
    fields.finish(report);
    let rules = rules?;
    let mut kept: Vec<Spanned<Rule>> = Vec::new();
    for rule in rules {
        match kept.iter().find(|other| other.value.limit.name == rule.value.limit.name) {
            Some(first) => {
                report
                    .add(Code::BadValue, rule.span, "two rules have one name")
                    .say("again here")
                    .also(first.span, "first here")
                    .help("names tell the limits apart in messages and statistics; give one another name");
            }
            None => kept.push(rule),
        }
    }
    report_shadowed(&kept, report);
    let rate_limits = kept.into_iter().filter(|rule| rule.value.acts).map(|rule| rule.map(|rule| rule.limit)).collect();
    Some(Policy { targets, stanzas: Stanzas { rate_limits, ..Stanzas::default() }, error_header: None })
}

/// A rule as written.
struct Rule {
    limit: RateLimit,
    /// It can match somebody.
    acts: bool,
}

fn rule(head: &Head, node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Spanned<Rule>> {
    let mut fields = Fields::open(node, "the rule", report)?;
    let span = fields.span();
    let name = fields.require("name", report, rule_name);
    let condition = match fields.take("match") {
        Some(node) => condition::read(node, patterns, report),
        None => Some(condition::Condition::default()),
    };
    let keys = fields.list_up_to(KEYS_MAX, "key", report, key);
    let limit = fields.require("limit", report, amount);
    let scope = fields.read("scope", report, |node, report| choice(node, &["PerProxy", "Shared"], report));
    let (on_deny, grpc_span) = fields.read("onDeny", report, on_deny).unwrap_or_else(|| (default_on_deny(), None));
    let mode = fields.read("mode", report, |node, report| choice(node, &["Enforce", "Shadow"], report));
    let unavailable = fields.entry("onStoreUnavailable");
    let on_store_unavailable = unavailable.and_then(|entry| {
        choice(&entry.value, &["FallbackPerProxy", "Allow", "Deny"], report).map(|choice| choice.value)
    });
    fields.finish(report);
    let scope = match scope.map(|scope| scope.value) {
        Some("Shared") => RateScope::Shared,
        Some(_) | None => RateScope::PerProxy,
    };
    if let (RateScope::PerProxy, Some(entry)) = (scope, unavailable) {
        report
            .add(Code::FieldWithoutEffect, entry.key_span, "nobody else is asked for a limit that each proxy keeps")
            .help("remove it, or write scope: Shared");
    }
    let is_sayable = [RESOURCE_EXHAUSTED, UNAVAILABLE].contains(&on_deny.grpc_status);
    if let (RateScope::PerProxy, Some(span), false) = (scope, grpc_span, is_sayable) {
        let message = "a limit that each proxy keeps can tell gRPC callers RESOURCE_EXHAUSTED and UNAVAILABLE only";
        report
            .add(Code::FieldWithoutEffect, span, message)
            .say("has no effect; they are told UNAVAILABLE")
            .help("write one of the two, or scope: Shared");
    }
    let unproven = keys.iter().find(|key| key.value == RateKey::SourceIdentity);
    if let Some(key) = unproven {
        report
            .add(Code::IdentityUnproven, key.span, "no caller has a proven identity, so the rule counts nobody")
            .say("has no effect without mutual TLS")
            .help("tell callers apart by a header or by `sourceAddress: true`");
    }
    let (name, condition, (requests, per, burst)) = (name?, condition?, limit?);
    let limit = RateLimit {
        name: Arc::from(format!("{}/{}", head.name, name.value)),
        matches: condition.matches,
        keys: keys.iter().map(|key| key.value.clone()).collect(),
        requests,
        per,
        burst,
        scope,
        on_deny,
        shadow: mode.is_some_and(|mode| mode.value == "Shadow"),
        on_store_unavailable: match on_store_unavailable {
            Some("Allow") => OnStoreUnavailable::Allow,
            Some("Deny") => OnStoreUnavailable::Deny,
            Some(_) | None => OnStoreUnavailable::FallbackPerProxy,
        },
    };
    Some(Spanned { value: Rule { limit, acts: unproven.is_none() && !condition.nobody }, span })
}

/// It stands in statistics and descriptors, so it is kept as plain as an object's name.
fn rule_name(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let name = word(node, report)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.value.len() <= 63 && name.value.chars().all(good) {
        return Some(name);
    }
    report
        .add(
            Code::BadName,
            name.span,
            format!("\"{}\" cannot be the name of a rule", crate::tree::shortened(&name.value)),
        )
        .help("use letters, digits, `-`, `_` and `.`, at most 63 characters");
    None
}

/// One of `{header: x}`, `{queryParameter: x}`, `{sourceAddress: true}`, `{sourceIdentity: true}`.
fn key(node: &Node, report: &mut Report) -> Option<Spanned<RateKey>> {
    let mut fields = Fields::open(node, "the key", report)?;
    let span = fields.span();
    let header = fields.read("header", report, word);
    let query = fields.read("queryParameter", report, word);
    let address = fields.entry("sourceAddress");
    let identity = fields.entry("sourceIdentity");
    fields.finish(report);
    let given = [header.is_some(), query.is_some(), address.is_some(), identity.is_some()]
        .iter()
        .filter(|&&given| given)
        .count();
    if given != 1 {
        report
            .add(
                Code::InvalidRule,
                span,
                "a part of a key is exactly one of `header`, `queryParameter`, `sourceAddress` and `sourceIdentity`",
            )
            .help("write each part as an item of its own: - header: end-user");
        return None;
    }
    if let Some(entry) = address.or(identity)
        && !truth(&entry.value, report)?
    {
        report
            .add(Code::BadValue, entry.value.span, format!("`{}` can only be true", entry.key))
            .help("remove the item");
        return None;
    }
    let value = match (header, query) {
        (Some(header), _) => RateKey::Header(header_name(header.span, &header.value, report)?),
        (None, Some(query)) => RateKey::QueryParameter(query.value),
        (None, None) if identity.is_some() => RateKey::SourceIdentity,
        (None, None) => RateKey::SourceAddress,
    };
    let span = identity.or(address).map_or(span, |entry| entry.key_span);
    Some(Spanned { value, span })
}

/// `{requests, per, burst}`
fn amount(node: &Node, report: &mut Report) -> Option<(NonZeroU32, Duration, u32)> {
    let mut fields = Fields::open(node, "the limit", report)?;
    // A bucket that never holds a token would be a fault, not a limit.
    let requests = fields.require("requests", report, positive);
    let per = fields.require("per", report, duration);
    let burst = fields.entry("burst");
    let written = burst.map(|entry| positive(&entry.value, report));
    fields.finish(report);
    let (requests, per) = (requests?, per?);
    if per.value < PER_MIN {
        report
            .add(Code::BadValue, per.span, format!("`per` must be at least {PER_MIN:?}"))
            .help("write fewer requests in a longer time, e.g. requests: 100, per: 1s");
        return None;
    }
    let burst = match written {
        Some(written) => written?,
        None => requests,
    };
    Some((requests, per.value, burst.get()))
}

fn default_on_deny() -> OnDeny {
    OnDeny { status: 429, grpc_status: RESOURCE_EXHAUSTED, headers: HeaderChanges::default() }
}

/// With the place of `grpcStatus`.
fn on_deny(node: &Node, report: &mut Report) -> Option<(OnDeny, Option<Span>)> {
    let mut fields = Fields::open(node, "`onDeny`", report)?;
    let status = fields.read("status", report, |node, report| status(node, 400, 599, report));
    let grpc_status = fields.read("grpcStatus", report, grpc_status);
    let headers = fields.read("headers", report, header_changes).unwrap_or_default();
    fields.finish(report);
    let default = default_on_deny();
    let span = grpc_status.as_ref().map(|status| status.span);
    let on_deny = OnDeny {
        status: status.unwrap_or(default.status),
        grpc_status: grpc_status.map_or(default.grpc_status, |status| status.value),
        headers,
    };
    Some((on_deny, span))
}

/// `{set: [{name, value}], add: [..], remove: [name]}`, as in Gateway API.
fn header_changes(node: &Node, report: &mut Report) -> Option<HeaderChanges> {
    let mut fields = Fields::open(node, "the header changes", report)?;
    let set = fields.list_up_to(16, "set", report, header);
    let add = fields.list_up_to(16, "add", report, header);
    let remove = fields.list_up_to(16, "remove", report, |node, report| {
        let name = word(node, report)?;
        header_name(name.span, &name.value, report)
    });
    let removed = fields.entry("remove").filter(|_| !remove.is_empty());
    fields.finish(report);
    if let Some(entry) = removed {
        report
            .add(
                Code::FieldWithoutEffect,
                entry.key_span,
                "a refusal has no headers of others, so `remove` has no effect",
            )
            .help("remove it; `set` replaces a header that the refusal has");
    }
    Some(HeaderChanges { set, add, remove })
}

fn header(node: &Node, report: &mut Report) -> Option<(Arc<str>, Arc<str>)> {
    let mut fields = Fields::open(node, "the header", report)?;
    let name = fields.require("name", report, word);
    let value = fields.require("value", report, text);
    fields.finish(report);
    let (name, value) = (name?, value?);
    check_value(&value, report);
    Some((header_name(name.span, &name.value, report)?, value.value))
}

/// Of two rules that count the same, the looser one never refuses anything.
fn report_shadowed(rules: &[Spanned<Rule>], report: &mut Report) {
    let same = |a: &RateLimit, b: &RateLimit| {
        a.matches == b.matches && a.keys == b.keys && a.scope == b.scope && a.shadow == b.shadow
    };
    for (index, rule) in rules.iter().enumerate() {
        let limit = &rule.value.limit;
        let stricter = rules.iter().enumerate().find(|(at, other)| {
            let other = &other.value.limit;
            // Fewer a time, compared without division; of two equal ones the second is superfluous.
            let slower = u128::from(other.requests.get()) * limit.per.as_nanos();
            let faster = u128::from(limit.requests.get()) * other.per.as_nanos();
            let tighter =
                (slower < faster && other.burst <= limit.burst) || (slower <= faster && other.burst < limit.burst);
            *at != index
                && same(limit, other)
                && (tighter || (slower == faster && other.burst == limit.burst && *at < index))
        });
        if let Some((_, other)) = stricter {
            report
                .add(Code::LimitShadowed, rule.span, "this limit never decides")
                .also(other.span, "this one counts the same requests and refuses earlier")
                .help("remove it, or give it another `match` or `key`");
        }
    }
}
