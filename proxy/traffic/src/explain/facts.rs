//! What acts on a request: filters, limits in time, retries, copies, and the rules of a cluster.

use std::time::Duration;

use tidegate_xds::resource::cluster::{
    Cluster, Discovery, HealthCheck, HealthCheckKind, LoadBalancing, OutlierDetection, Thresholds,
};
use tidegate_xds::resource::filter::{
    Cors, Fault, FaultAnswer, FilterConfig, FilterOverride, LocalRateLimit, RateLimitAction, RateLimitActions,
    SessionCarrier, StatefulSession, TokenBucket,
};
use tidegate_xds::resource::listener::HttpConnectionManager;
use tidegate_xds::resource::matcher::{HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, HashPolicy, HashSource, HeaderMutations, Policies, RetryPolicy, RouteAction,
    WeightedCluster,
};

use super::{Fact, Scene, chain, listed, words};

/// The word of an abort that meets every request; [`certain_abort`] looks for it.
const ALWAYS_ABORTS: &str = "aborts every request";

/// A cluster that a forwarding route may choose.
pub(super) struct Member<'m> {
    pub(super) name: &'m str,
    pub(super) weight: u32,
    pub(super) total: u64,
    pub(super) member: Option<&'m WeightedCluster>,
    /// The name is a request header's.
    pub(super) by_header: bool,
}

pub(super) fn members(forward: &Forward) -> Vec<Member<'_>> {
    let only = |name, by_header| vec![Member { name, weight: 1, total: 1, member: None, by_header }];
    match &forward.cluster {
        ClusterSpecifier::Cluster(name) => only(name, false),
        ClusterSpecifier::ClusterHeader(header) => only(header, true),
        ClusterSpecifier::Weighted(weighted) => {
            let total = weighted.total.get();
            let member = |member| Member { total, ..of(member) };
            weighted.clusters.iter().map(member).collect()
        }
    }
}

fn of(member: &WeightedCluster) -> Member<'_> {
    Member { name: &member.name, weight: member.weight, total: 1, member: Some(member), by_header: false }
}

/// What a member of a weighted choice changes. Its word to a filter replaces the route's.
pub(super) fn of_member(scene: Scene<'_>, member: &WeightedCluster) -> Vec<Fact> {
    let mut facts = filters(scene, Some(member));
    if let Some(host) = &member.host_rewrite {
        facts.push(Fact::new("rewrite", format!("host becomes {host}"), &scene.route.policies));
    }
    facts.extend(header_changes(&member.request_headers, &member.response_headers));
    facts
}

/// Whose rule left the choice to this one.
pub(super) fn delegate(policies: &Policies) -> Option<Fact> {
    let is_given = policies.contains_key("delegate");
    is_given.then(|| Fact::new("delegate", "stands in the place of a rule that delegates".to_owned(), policies))
}

/// The filters that act, in the listener's order: on a route, or, given a member, what the member alone says.
pub(super) fn filters(scene: Scene<'_>, member: Option<&WeightedCluster>) -> Vec<Fact> {
    let mut facts = Vec::new();
    for filter in listed(&scene) {
        let levels = [&scene.route.filters, &scene.host.filters, &scene.config.filters];
        let said: Option<&FilterOverride> = match member {
            Some(member) => match member.filters.get(&filter.name) {
                None => continue,
                found => found,
            },
            // The most specific override wins whole.
            None => levels.into_iter().find_map(|level| level.get(&filter.name)),
        };
        let effective = match said {
            Some(said) if said.disabled => None,
            Some(said) => said.config.as_ref().or(Some(&filter.config)),
            None => Some(&filter.config).filter(|_| !filter.disabled),
        };
        facts.extend(effective.and_then(|config| filter_fact(config, &scene)));
    }
    facts
}

/// `None`: it does nothing.
fn filter_fact(config: &FilterConfig, scene: &Scene<'_>) -> Option<Fact> {
    let policies = &scene.route.policies;
    match config {
        FilterConfig::Cors(None) | FilterConfig::StatefulSession(None) => None,
        FilterConfig::Cors(Some(policy)) => Some(Fact::new("cors", cors(policy), policies)),
        FilterConfig::Fault(words) => {
            let text = fault(words);
            (!text.is_empty()).then(|| Fact::new("fault", text, policies))
        }
        FilterConfig::LocalRateLimit(limit) => {
            let text = local_rate_limit(limit);
            (!text.is_empty()).then(|| Fact::new("rate_limit", text, policies))
        }
        FilterConfig::RateLimit(_) | FilterConfig::RateLimitPerRoute(_) => {
            let RouteAction::Forward(forward) = &scene.route.action else { return None };
            let shared: Vec<String> = forward.rate_limits.iter().filter_map(shared_limit).collect();
            let text = || format!("shared by all proxies: {}", shared.join("; "));
            (!shared.is_empty()).then(|| Fact::new("rate_limit", text(), policies))
        }
        FilterConfig::StatefulSession(Some(policy)) => Some(Fact::new("session", session(policy), policies)),
    }
}

fn cors(cors: &Cors) -> String {
    let origins: Vec<String> = cors.allow_origins.iter().map(words::string).collect();
    let mut text = format!("allows origins {}", if origins.is_empty() { "none".into() } else { origins.join(" or ") });
    for (what, value) in [("methods", &cors.allow_methods), ("headers", &cors.allow_headers)] {
        if !value.is_empty() {
            text.push_str(&format!(", {what} {value}"));
        }
    }
    if cors.allow_credentials {
        text.push_str(", credentials");
    }
    text
}

fn fault(fault: &Fault) -> String {
    let mut parts = Vec::new();
    if let Some(delay) = &fault.delay {
        let time = delay.fixed.map_or_else(|| "what the request's header says".to_owned(), words::time);
        parts.push(format!("delays {} of requests by {time}", words::fraction(delay.percentage)));
    }
    if let Some(abort) = &fault.abort {
        let with = match abort.with {
            FaultAnswer::Http(status) => format!("with {status}"),
            FaultAnswer::Grpc(status) => format!("with gRPC status {status}"),
            FaultAnswer::Header => "as the request's header says".to_owned(),
            FaultAnswer::Reset => "by a reset".to_owned(),
        };
        let unconditional = fault.headers.is_empty() && fault.upstream_cluster.is_none();
        let all = abort.percentage.numerator >= abort.percentage.denominator;
        let certain = all && unconditional && fault.downstream_nodes.is_empty() && fault.expires_at_unix_s.is_none();
        parts.push(match certain && !matches!(abort.with, FaultAnswer::Header) && fault.active_max.is_none() {
            true => format!("{ALWAYS_ABORTS} {with}"),
            false => format!("aborts {} of requests {with}", words::fraction(abort.percentage)),
        });
    }
    if let Some(bandwidth) = &fault.bandwidth {
        let speed = bandwidth.kib_per_second.map_or_else(|| "a header's".to_owned(), |kib| format!("{kib}"));
        parts.push(format!("slows {} of answers to {speed} KiB/s", words::fraction(bandwidth.percentage)));
    }
    if parts.is_empty() {
        return String::new();
    }
    let mut text = parts.join(", ");
    if !fault.headers.is_empty() {
        let conditions: Vec<String> = fault.headers.iter().map(words::header).collect();
        text.push_str(&format!(", only with {}", conditions.join(" and ")));
    }
    if let Some(cluster) = &fault.upstream_cluster {
        text.push_str(&format!(", only to {cluster}"));
    }
    if fault.per_attempt {
        text.push_str(", on each attempt");
    }
    if let Some(at) = fault.expires_at_unix_s {
        text.push_str(&format!(", until {at} (seconds since 1970)"));
    }
    text
}

/// The abort that meets every request, among facts.
pub(super) fn certain_abort(facts: &[Fact]) -> Option<String> {
    let fault = facts.iter().find(|fact| fact.kind == "fault" && fact.text.contains(ALWAYS_ABORTS))?;
    let from = fault.from.as_deref().map(|from| format!(" ({from})")).unwrap_or_default();
    Some(format!("fault{from}: {}", fault.text))
}

fn local_rate_limit(limit: &LocalRateLimit) -> String {
    if limit.enabled.numerator == 0 || (limit.bucket.is_none() && limit.descriptors.is_empty()) {
        return String::new();
    }
    let mut parts: Vec<String> = limit.bucket.iter().map(|b| format!("all requests: {}", bucket(b))).collect();
    parts.extend(limit.descriptors.iter().map(|descriptor| {
        let entries: Vec<String> = descriptor.entries.iter().map(|(key, value)| entry(key, value)).collect();
        format!("{}: {}", entries.join(", "), bucket(&descriptor.bucket))
    }));
    let how = if limit.enforced.numerator == 0 { "counts only, " } else { "" };
    format!("{how}{}, answers {}", parts.join("; "), limit.status)
}

fn entry(key: &str, value: &str) -> String {
    if value.is_empty() { format!("each {key}") } else { format!("{key}={value}") }
}

fn bucket(bucket: &TokenBucket) -> String {
    format!("{} per {}, burst {}", bucket.refill, words::time(bucket.interval), bucket.capacity)
}

fn shared_limit(actions: &RateLimitActions) -> Option<String> {
    let lease = actions.lease.as_ref()?;
    let name = actions.actions.iter().find_map(|action| match action {
        RateLimitAction::GenericKey { value, .. } => Some(&**value),
        _ => None,
    });
    let shadow = if lease.shadow { ", counts only" } else { "" };
    Some(format!("{}: {}{shadow}", name.unwrap_or("limit"), bucket(&lease.limit)))
}

fn session(policy: &StatefulSession) -> String {
    match &policy.carrier {
        SessionCarrier::Cookie { name, ttl, .. } => {
            let ttl = ttl.filter(|ttl| !ttl.is_zero()).map(|ttl| format!(" for {}", words::time(ttl)));
            format!("stays with its endpoint by cookie {name}{}", ttl.unwrap_or_default())
        }
        SessionCarrier::Header { name } => format!("stays with its endpoint by header {name}"),
    }
}

/// What a forwarding route says besides where to.
pub(super) fn forward(forward: &Forward, manager: &HttpConnectionManager, policies: &Policies) -> Vec<Fact> {
    let mut facts = Vec::new();
    let limit = forward.max_stream_duration.filter(|d| !d.is_zero()).or(forward.timeout);
    let timeout = limit.map_or_else(|| "none".to_owned(), words::time);
    facts.push(Fact::new("timeout", timeout, policies));
    let idle = forward.idle_timeout.or(manager.stream_idle_timeout).filter(|d: &Duration| !d.is_zero());
    if let Some(idle) = idle {
        facts.push(Fact::new("idle_timeout", words::time(idle), policies));
    }
    if let Some(policy) = &forward.retry {
        facts.push(Fact::new("retry", retry(policy), policies));
    }
    for mirror in &forward.mirrors {
        let text = format!("{} of requests are copied to {}", words::fraction(mirror.fraction), mirror.cluster);
        facts.push(Fact::new("mirror", text, policies));
    }
    if !forward.hash_policy.is_empty() {
        let sources: Vec<String> = forward.hash_policy.iter().map(hash_source).collect();
        let kind = if policies.contains_key("session") { "session" } else { "load_balancing" };
        facts.push(Fact::new(kind, format!("hash of {}", sources.join(", else ")), policies));
    }
    facts
}

fn retry(policy: &RetryPolicy) -> String {
    let conditions: Vec<&str> = policy.retry_on.iter().map(|condition| condition.as_str()).collect();
    let mut text = format!("{} attempts in all, on {}", policy.num_retries.saturating_add(1), conditions.join(", "));
    if !policy.status_codes.is_empty() {
        let codes: Vec<String> = policy.status_codes.iter().map(ToString::to_string).collect();
        text.push_str(&format!(" {}", codes.join(", ")));
    }
    if let Some(limit) = policy.per_try_timeout {
        text.push_str(&format!(", each within {}", words::time(limit)));
    }
    if !policy.retriable_request_headers.is_empty() {
        text.push_str(&format!(", only {}", callers(&policy.retriable_request_headers)));
    }
    let pause = (words::time(policy.back_off_base), words::time(policy.back_off_max));
    text.push_str(&format!(", pauses from {} to {}", pause.0, pause.1));
    text
}

/// Which requests may be sent twice: mostly those with certain methods.
fn callers(conditions: &[HeaderMatcher]) -> String {
    let method = |matcher: &HeaderMatcher| match (&*matcher.name, &matcher.condition, matcher.invert) {
        (":method", HeaderCondition::Value(StringMatcher::Exact { value, .. }), false) => Some(value.to_string()),
        _ => None,
    };
    let methods: Option<Vec<String>> = conditions.iter().map(method).collect();
    methods.map_or_else(
        || conditions.iter().map(words::header).collect::<Vec<_>>().join(" or "),
        |methods| methods.join(", "),
    )
}

fn hash_source(policy: &HashPolicy) -> String {
    match &policy.source {
        HashSource::Header(name) => format!("header {name}"),
        HashSource::Cookie { name, .. } => format!("cookie {name}"),
        HashSource::SourceIp => "the caller's address".to_owned(),
        HashSource::QueryParameter(name) => format!("query {name}"),
    }
}

pub(super) fn header_changes(request: &HeaderMutations, response: &HeaderMutations) -> Option<Fact> {
    let side = |name: &str, changes: &HeaderMutations| {
        let removed = changes.remove.iter().map(|header| format!("{name} -{header}"));
        let added = changes.add.iter().map(|header| format!("{name} {}: {}", header.name, header.value));
        removed.chain(added).collect::<Vec<_>>()
    };
    let mut changes = side("request", request);
    changes.extend(side("answer", response));
    let text = || changes.join(", ");
    (!changes.is_empty()).then(|| Fact { kind: "headers".to_owned(), text: text(), from: None })
}

/// The rules of a cluster, and the policies behind them.
pub(super) fn cluster(cluster: &Cluster, policies: &Policies) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new("load_balancing", load_balancing(&cluster.load_balancing), policies),
        Fact::new("circuit_breaker", breaker(&cluster.circuit_breakers), policies),
    ];
    facts.extend(chain::upstream(cluster).map(|text| Fact::new("tls", text, policies)));
    if cluster.locality_weighted {
        facts.push(Fact::new("locality", "localities share by weight".to_owned(), policies));
    }
    if let Some(outlier) = &cluster.outlier_detection {
        let mut fact = Fact::new("outlier", outlier_text(outlier), policies);
        // Written in the circuit breaker's stanza.
        fact.from = fact.from.or_else(|| policies.get("circuit_breaker").map(ToString::to_string));
        facts.push(fact);
    }
    facts.extend(cluster.health_checks.iter().map(|check| Fact::new("health_check", health_check(check), policies)));
    facts.push(Fact::new("connect_timeout", words::time(cluster.connect_timeout), policies));
    if let Discovery::StrictDns { endpoints } = &cluster.discovery {
        let names: Vec<String> = endpoints.iter().map(|e| format!("{}:{}", e.host, e.port)).collect();
        facts.push(Fact::new("discovery", format!("whatever {} resolves to", names.join(", ")), policies));
    }
    facts
}

/// Whether an empty list of endpoints means that there are none.
pub(super) fn names_its_endpoints(cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::Eds { .. } | Discovery::Static(_))
}

fn load_balancing(balancing: &LoadBalancing) -> String {
    let slow = |slow: &Option<_>| if slow.is_some() { ", slow start" } else { "" };
    match balancing {
        LoadBalancing::RoundRobin { slow_start } => format!("round robin{}", slow(slow_start)),
        LoadBalancing::LeastRequest { choices, slow_start, .. } => {
            format!("least request of {choices}{}", slow(slow_start))
        }
        LoadBalancing::Random => "random".to_owned(),
        LoadBalancing::RingHash { .. } => "ring hash".to_owned(),
        LoadBalancing::Maglev { .. } => "maglev".to_owned(),
    }
}

fn breaker(limits: &Thresholds) -> String {
    let Thresholds {
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        max_connections_per_endpoint,
        max_requests_per_endpoint,
    } = limits;
    let limit = |value: u32| if value == u32::MAX { "any".to_owned() } else { value.to_string() };
    let mut text = format!(
        "connections {}, pending {}, requests {}",
        limit(*max_connections),
        limit(*max_pending_requests),
        limit(*max_requests)
    );
    match retry_budget {
        Some(budget) => {
            text.push_str(&format!(", retries {} % (at least {})", budget.percent, budget.min_concurrency));
        }
        None => text.push_str(&format!(", retries {}", limit(*max_retries))),
    }
    if let Some(max) = max_connections_per_endpoint {
        text.push_str(&format!(", connections per endpoint {max}"));
    }
    if let Some(max) = max_requests_per_endpoint {
        text.push_str(&format!(", requests per endpoint {max}"));
    }
    text
}

fn outlier_text(outlier: &OutlierDetection) -> String {
    let mut signals = Vec::new();
    if let Some(count) = outlier.consecutive_5xx {
        signals.push(format!("{count} x 5xx in a row"));
    }
    if let Some(count) = outlier.consecutive_gateway_failure {
        signals.push(format!("{count} x 502-504 in a row"));
    }
    if let Some(count) = outlier.consecutive_local_origin_failure {
        signals.push(format!("{count} x no answer in a row"));
    }
    if outlier.success_rate.is_some() {
        signals.push("a low success rate".to_owned());
    }
    if let Some(rate) = &outlier.failure_percentage {
        signals.push(format!("{} % failures", rate.threshold));
    }
    format!(
        "ejects after {} for {} (at most {} % of endpoints)",
        if signals.is_empty() { "nothing".to_owned() } else { signals.join(" or ") },
        words::time(outlier.base_ejection_time),
        outlier.max_ejection_percent
    )
}

fn health_check(check: &HealthCheck) -> String {
    let how = match &check.kind {
        HealthCheckKind::Http(http) => format!("{} {}", http.method, http.path),
        HealthCheckKind::Grpc { service, .. } => format!("gRPC health of `{service}`"),
        HealthCheckKind::Tcp { .. } => "TCP connection".to_owned(),
    };
    format!(
        "{how} every {}, out after {} failures, back after {} successes",
        words::time(check.interval),
        check.unhealthy_threshold,
        check.healthy_threshold
    )
}
