//! What is compared, and the list of differences that have a reason.
//!
//! # Why a list and not a filter
//! A comparison that leaves something out cannot find anything there. So everything is compared, and a difference is
//! passed over only by a line of [`EXPLAINED`], which says why ours is right, and is counted.

use std::collections::BTreeMap;

use super::backend::Arrived;
use super::client::Answer;
use super::requests::Request;
use super::tables::MIRROR;

/// What came of one request on one side.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    pub(super) arrived: Vec<Arrived>,
}

/// One thing that the two sides do not agree on.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// `status`, `backend`, `attempts`, `copies`, `forwarded NAME`, `copied NAME`, `answered NAME`.
    pub(super) what: String,
    pub(super) ours: String,
    pub(super) envoy: String,
    /// What ours answered.
    pub(super) status: u16,
    /// Ours asked no application.
    pub(super) local: bool,
    /// Ours asked applications more often than Envoy did.
    pub(super) asked_more: bool,
}

/// A difference that is as it should be: what it is about, when it holds, and why.
type Explanation = (&'static str, fn(&Difference, &Request) -> bool, &'static str);

/// All differences that have a reason.
const EXPLAINED: &[Explanation] = &[
    ("forwarded x-request-id", |d, _| !d.ours.is_empty() && !d.envoy.is_empty(), "both make one by chance"),
    (
        "forwarded x-envoy-expected-rq-timeout-ms",
        |d, _| d.ours.is_empty(),
        "Envoy tells the application how long its route waits; ours adds nothing that nobody configured",
    ),
    (
        "forwarded x-envoy-original-host",
        |d, _| d.ours.is_empty(),
        "Envoy keeps books in a header; a rewrite is meant to be what the application sees",
    ),
    (
        "forwarded x-envoy-original-path",
        |d, _| d.ours.is_empty(),
        "Envoy keeps books in a header; a rewrite is meant to be what the application sees",
    ),
    (
        "forwarded content-length",
        |d, r| d.ours.is_empty() && d.envoy == r#"["0"]"# && r.body.is_empty(),
        "a request without a body may leave the field out (RFC 9110 8.6); ours is forwarded as it came",
    ),
    (
        "answered x-envoy-upstream-service-time",
        |d, _| d.ours.is_empty(),
        "Envoy's own measurement; equal answers stay equal, ours is in the metrics",
    ),
    (
        "answered transfer-encoding",
        |d, r| d.ours.is_empty() && r.method == "HEAD",
        "an answer to HEAD without a length says nothing of a body that it does not have (RFC 9112 6.1: may be left out)",
    ),
    (
        "copied x-envoy-internal",
        |d, _| d.ours.is_empty(),
        "a copy is equal to what it was made from; who wants to mark it can say so",
    ),
    (
        "copied x-forwarded-for",
        |d, _| d.ours.is_empty(),
        "a copy is equal to what it was made from; Envoy adds its own address",
    ),
    (
        "answered content-length",
        |d, r| r.method == "HEAD" && d.envoy.is_empty(),
        "an answer to HEAD says the length that GET would have (RFC 9110 8.6); Envoy leaves it out of its own answers",
    ),
    (
        "answered x-envoy-ratelimited",
        |d, _| d.envoy.is_empty(),
        "a refusal of any rate limit says so, as Envoy's shared one does: retry policies read it",
    ),
    (
        "answered content-length",
        |d, _| d.ours.is_empty() && d.status == 204,
        "a 204 has no length (RFC 9110 8.6: MUST NOT); Envoy sends a configured body's",
    ),
    (
        "answered content-length",
        |d, r| r.http2 && d.ours == r#"["0"]"# && d.envoy.is_empty(),
        "an answer without a body may say so (RFC 9110 8.6); in HTTP/2 the end of the stream says it too",
    ),
    (
        "answered body",
        |d, r| r.http2 && d.status == 204 && d.ours.is_empty(),
        "a 204 ends with its head (RFC 9110 15.3.5); Envoy sends a configured body after it",
    ),
    (
        "answered connection",
        |d, r| d.envoy.is_empty() && d.ours == r#"["close"]"# && !r.body.is_empty(),
        "an answer before the request's body was read closes the connection, or the rest would be read as a request \
         (RFC 9112 9.3)",
    ),
    (
        "forwarded x-forwarded-host",
        |d, _| d.envoy.is_empty() || d.envoy == r#"["member.example"]"#,
        "the host before a rewrite is recorded, whoever rewrites it; Envoy forgets it when a weighted cluster does",
    ),
    (
        "answered grpc-message",
        |d, r| r.method == "HEAD" && d.envoy.is_empty(),
        "an answer to HEAD has the fields that GET would have; Envoy takes the message for a body",
    ),
    ("answered x-ratelimit-limit", two_limits_spent, BOTH_SPENT),
    ("answered x-ratelimit-reset", two_limits_spent, BOTH_SPENT),
    ("answered x-ratelimit-limit", two_limits_left, LESS_LEFT),
    ("answered x-ratelimit-reset", two_limits_left, LESS_LEFT),
    // Buckets of tables hold a single digit of tokens.
    ("answered x-ratelimit-remaining", |d, r| two_limits_left(d, r) && d.ours < d.envoy, LESS_LEFT),
    (
        "answered grpc-status",
        |d, _| d.ours == r#"["4"]"# && d.envoy == r#"["14"]"#,
        "a call that ran out of its time is DEADLINE_EXCEEDED; UNAVAILABLE would have clients send again what may have run",
    ),
    ("status", answers_grpc, ANSWERED_GRPC),
    ("answered body", answers_grpc, ANSWERED_GRPC),
    ("answered content-length", answers_grpc, ANSWERED_GRPC),
    ("answered content-type", answers_grpc, ANSWERED_GRPC),
    ("answered grpc-status", answers_grpc, ANSWERED_GRPC),
    ("answered grpc-message", answers_grpc, ANSWERED_GRPC),
    ("answered date", |_, _| true, "the two clocks are read at two moments"),
    ("answered server", |_, _| true, "the name of the product, on answers that a proxy makes itself"),
];

const BOTH_SPENT: &str =
    "of limits that are spent at once ours names the one that is free last, so that who comes back then is let in";

/// A refusal that names a limit on both sides.
fn two_limits_spent(difference: &Difference, _: &Request) -> bool {
    difference.status >= 400 && !difference.ours.is_empty() && !difference.envoy.is_empty()
}

const LESS_LEFT: &str = "of limits that let a request through ours names the one with less left, which will refuse first; Envoy names the \
     description's";

/// A request that was let through and was told of a limit on both sides.
fn two_limits_left(difference: &Difference, _: &Request) -> bool {
    difference.status < 400 && !difference.ours.is_empty() && !difference.envoy.is_empty()
}

const ANSWERED_GRPC: &str = "a redirect or a fixed answer of a route is what the route says; gRPC clients read it by gRPC's own mapping, which is what \
     Envoy makes of it";

/// A gRPC call that a route answered itself; refusals are gRPC answers on both sides.
fn answers_grpc(difference: &Difference, request: &Request) -> bool {
    let grpc =
        request.headers.iter().any(|(name, value)| *name == "content-type" && value.starts_with("application/grpc"));
    grpc && difference.local
}

const ASKED_AGAIN: &str = "what is idempotent is asked again once when a connection that was used before ends without an answer: its peer may \
     have closed it while it was idle (RFC 9110 9.2.2); Envoy fails the request";

/// The request met a connection that broke, might be repeated, and was: whatever differs then follows from that.
fn asked_again(difference: &Difference, request: &Request) -> bool {
    request.breaks() && request.method != "POST" && difference.asked_more
}

/// The reason for a difference, if there is one.
pub(super) fn explain(difference: &Difference, request: &Request) -> Option<&'static str> {
    if asked_again(difference, request) {
        return Some(ASKED_AGAIN);
    }
    let named = difference.what.replace("copied", "forwarded");
    let fits =
        |(what, when, _): &&Explanation| (difference.what == *what || named == *what) && when(difference, request);
    EXPLAINED.iter().find(fits).map(|(_, _, why)| *why)
}

/// Everything that differs.
pub(super) fn compare(ours: &Outcome, envoy: &Outcome) -> Vec<Difference> {
    let mut found = Vec::new();
    let ours_status = ours.answer.status;
    let local = ours.arrived.iter().all(|a| &*a.backend == MIRROR);
    let attempts_of = |outcome: &Outcome| outcome.arrived.iter().filter(|a| &*a.backend != MIRROR).count();
    let asked_more = attempts_of(ours) > attempts_of(envoy);
    let mut add = |what: String, ours: String, envoy: String| {
        if ours != envoy {
            found.push(Difference { what, ours, envoy, status: ours_status, local, asked_more });
        }
    };
    let split = |outcome: &Outcome| -> (Vec<Arrived>, Vec<Arrived>) {
        outcome.arrived.iter().cloned().partition(|a| &*a.backend != MIRROR)
    };
    let ((our_attempts, our_copies), (envoy_attempts, envoy_copies)) = (split(ours), split(envoy));
    add("status".into(), ours.answer.status.to_string(), envoy.answer.status.to_string());
    add("answered body".into(), text(&ours.answer.body), text(&envoy.answer.body));
    let backend = |attempts: &[Arrived]| attempts.iter().map(|a| &*a.backend).collect::<Vec<_>>().join(" ");
    add("attempts".into(), backend(&our_attempts), backend(&envoy_attempts));
    add("copies".into(), our_copies.len().to_string(), envoy_copies.len().to_string());
    let attempts = our_attempts.iter().zip(&envoy_attempts).map(|pair| ("forwarded", pair));
    for (what, (ours, envoy)) in attempts.chain(our_copies.iter().zip(&envoy_copies).map(|pair| ("copied", pair))) {
        add(format!("{what} line"), ours.line.clone(), envoy.line.clone());
        add(format!("{what} body"), text(&ours.body), text(&envoy.body));
        headers(what, &ours.headers, &envoy.headers, &mut add);
    }
    headers("answered", &ours.answer.headers, &envoy.answer.headers, &mut add);
    headers("trailer", &ours.answer.trailers, &envoy.answer.trailers, &mut add);
    found
}

fn headers(
    side: &str,
    ours: &[(String, String)],
    envoy: &[(String, String)],
    add: &mut impl FnMut(String, String, String),
) {
    let (ours, envoy) = (by_name(ours), by_name(envoy));
    let mut names: Vec<&String> = ours.keys().chain(envoy.keys()).collect();
    names.sort();
    names.dedup();
    let values = |of: &BTreeMap<String, Vec<String>>, name: &String| {
        of.get(name).map_or(String::new(), |values| format!("{values:?}"))
    };
    for name in names {
        add(format!("{side} {name}"), values(&ours, name), values(&envoy, name));
    }
}

/// Values by lower-case name; the order among values of one name is kept.
fn by_name(headers: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        all.entry(name.to_ascii_lowercase()).or_default().push(value.clone());
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
