//! Traces over HTTP: the query APIs of Jaeger and Zipkin, and the intakes of OTLP and Zipkin.
//!
//! # Why others' APIs
//! Jaeger's user interface, Grafana, Kiali and Zipkin's tools ask a mesh for its traces in these forms. Speaking them costs some
//! structures; a form of our own would cost everybody an adapter.
//!
//! # Limits
//! A search looks through the whole store, away from the threads that streams live on, [`QUERIES_MAX`] at a time. An answer stops
//! growing at [`ANSWER_BYTES_MAX`] (then `total` says how many traces there are, and a metric counts it), and a large one keeps its
//! place until it is sent.

mod intake;
mod jaeger;
mod jaeger_v3;
mod otlp;
mod parameters;
mod zipkin;

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub(super) use self::intake::{post, takes};
use self::parameters::Parameters;
use super::{Answer, text, with_type};
use crate::fleet::Fleet;
use crate::trace::search::Found;
use crate::trace::store::{Store, Trace};

/// Searches and their unsent answers at once.
const QUERIES_MAX: usize = 8;
/// How long a search waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Traces of an answer together, as they lie in memory; as JSON they are about as long. The first is always whole.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Traces of an answer, whatever was asked for: Jaeger's own bound.
const TRACES_MAX: usize = 1_500;
/// An answer from here on keeps its turn until it is sent.
const LARGE_BYTES: usize = 256 * 1024;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(QUERIES_MAX)));

/// What a query gives.
struct Reply {
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status, kind: "application/json", body },
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    fn text(status: StatusCode, text: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{text}\n").into_bytes() }
    }
}

/// What a query may look at.
struct Asked<'a> {
    /// The path below `/api/` of the API, in its parts, percent-decoded.
    path: Vec<&'a str>,
    parameters: Parameters,
    store: &'a Store,
    now_ns: u64,
}

/// The APIs.
#[derive(Clone, Copy)]
enum Dialect {
    Jaeger,
    JaegerV3,
    Zipkin,
}

impl Dialect {
    /// Who answers a path, and the rest of the path.
    fn of(path: &str) -> Option<(Self, &str)> {
        let rest = path.strip_prefix("/api/")?;
        let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
        match first {
            "v2" => Some((Self::Zipkin, below)),
            "v3" => Some((Self::JaegerV3, below)),
            "services" | "operations" | "traces" | "dependencies" => Some((Self::Jaeger, rest)),
            _ => None,
        }
    }

    fn answer(self, asked: &Asked<'_>) -> Reply {
        match self {
            Self::Jaeger => jaeger::answer(asked),
            Self::JaegerV3 => jaeger_v3::answer(asked),
            Self::Zipkin => zipkin::answer(asked),
        }
    }
}

/// Answers a GET; `None`: it is not about traces.
pub(super) async fn answer(request: &Request<()>, fleet: &Fleet) -> Option<Answer> {
    let (dialect, path) = Dialect::of(request.uri().path())?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let path: Option<Vec<String>> = path.split('/').map(parameters::decode).collect();
    let (Some(path), Some(parameters)) = (path, Parameters::read(&query)) else {
        return Some(text(StatusCode::BAD_REQUEST, "the path or the query is not percent-encoded UTF-8\n"));
    };
    let Ok(Ok(turn)) = timeout(TURN_TIMEOUT, TURNS.clone().acquire_owned()).await else {
        return Some(text(StatusCode::SERVICE_UNAVAILABLE, "too many searches at the moment; ask again later\n"));
    };
    let (store, now_ns) = (fleet.traces().store().clone(), fleet.now().unix_ms().saturating_mul(1_000_000));
    let work = move || {
        let path = path.iter().map(String::as_str).collect();
        dialect.answer(&Asked { path, parameters, store: &store, now_ns })
    };
    let answer = match tokio::task::spawn_blocking(work).await {
        Ok(Reply { status, kind, body }) if body.len() < LARGE_BYTES => with_type(status, kind, body),
        Ok(Reply { status, kind, body }) => with_type(status, kind, Bytes::from_owner(Held { body, _turn: turn })),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    Some(answer)
}

/// The same at once, for whoever has neither a fleet nor a runtime. `None`: it is not about traces, or not percent-encoded UTF-8.
#[cfg(feature = "fuzzing")]
pub fn answer_about_traces(target: &str, store: &Store, now_ns: u64) -> Option<(StatusCode, Vec<u8>)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (dialect, path) = Dialect::of(path)?;
    let path: Vec<String> = path.split('/').map(parameters::decode).collect::<Option<_>>()?;
    let (path, parameters) = (path.iter().map(String::as_str).collect(), Parameters::read(query)?);
    let Reply { status, body, .. } = dialect.answer(&Asked { path, parameters, store, now_ns });
    Some((status, body))
}

/// An answer and its turn.
struct Held {
    body: Vec<u8>,
    _turn: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// As many of the traces as fit into an answer.
fn within_bounds(store: &Store, found: &Found) -> Vec<Arc<Trace>> {
    let mut left = ANSWER_BYTES_MAX;
    let mut kept = Vec::new();
    for trace in &found.traces {
        if trace.bytes > left && !kept.is_empty() {
            store.counts().answers_cut.fetch_add(1, Ordering::Relaxed);
            break;
        }
        left = left.saturating_sub(trace.bytes);
        kept.push(trace.clone());
    }
    kept
}

#[cfg(test)]
mod tests;
