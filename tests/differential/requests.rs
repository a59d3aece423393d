//! Random requests that have a chance to meet what random tables say.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::backend::ID;
use super::tables::DRAW;

const HOSTS: [&str; 12] = [
    "a.example",
    "A.Example",
    "b.example",
    "b.example:8080",
    "b.example:9",
    "c.example",
    "deep.a.example",
    "far.deep.a.example",
    "y-x.example",
    "a.test",
    "only.test",
    "nobody.invalid",
];
const PATHS: [&str; 14] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/A/b",
    "/A/B",
    "/a/b/c",
    "/ab",
    "/api/v1",
    "/api/v1/x",
    "/api/v10",
    "/items/12",
    "/items/x",
    "/other/b",
];
const QUERIES: [&str; 6] = ["", "", "?q=red", "?r=12&q=blue", "?q=", "?q=Red&q=red"];

/// A request as it is written.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// What tells it from all others.
    pub(super) id: String,
    /// Over HTTP/2, and else over HTTP/1.1.
    pub(super) http2: bool,
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn random(rng: &mut StdRng, number: u64) -> Self {
        let method = *["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"].choose(rng).expect("some");
        let mut headers = vec![("user-agent", "differential".to_owned())];
        let mut maybe = |probability: f64, name: &'static str, values: &[&str], rng: &mut StdRng| {
            if rng.random_bool(probability) {
                headers.push((name, (*values.choose(rng).expect("some")).to_owned()));
            }
        };
        maybe(0.6, "x-color", &["red", "Red", "blue", "green", "12"], rng);
        maybe(0.15, "x-color", &["blue", "red"], rng);
        maybe(0.5, "x-number", &["12", "-3", "11", "x12", "red"], rng);
        maybe(0.3, "x-flag", &["", "red", "red,blue"], rng);
        maybe(0.5, "x-cluster", &["c0", "c1", "c2", "c9"], rng);
        maybe(1.0, DRAW, &["0", "1", "19", "20", "49", "50", "73", "99", "120", "4294967295"], rng);
        maybe(
            0.2,
            "x-answers",
            &[
                "503",
                "503,200",
                "500,503,200",
                "404",
                "418,418,200",
                "204",
                "304",
                "reset",
                "reset,200",
                "503,reset,200",
            ],
            rng,
        );
        maybe(0.3, "x-host", &["other.example", "other.example:81"], rng);
        maybe(0.02, "x-delay-ms", &["300"], rng);
        maybe(
            0.3,
            "x-answer-headers",
            &["x-backend-says=yes", "x-color=from-backend;x-backend-says=a", "x-added=b"],
            rng,
        );
        maybe(0.06, "content-type", &["application/grpc", "application/grpc+proto", "application/grpc-web"], rng);
        // What is idempotent ours asks again when a connection that was used before breaks, which Envoy does not: mostly
        // such requests are sent as others are.
        let breaks = headers.iter().any(|(name, value)| *name == "x-answers" && value.contains("reset"));
        let method = if breaks && rng.random_bool(0.8) { "POST" } else { method };
        let body = match method {
            "POST" | "PUT" => vec![b'x'; rng.random_range(0..200)],
            _ => Vec::new(),
        };
        let path = PATHS.choose(rng).expect("some");
        let target = format!("{path}{}", QUERIES.choose(rng).expect("some"));
        let (host, http2) = (HOSTS.choose(rng).expect("some"), rng.random_bool(0.3));
        Self { id: number.to_string(), http2, method, host, target, headers, body }
    }

    /// Whether an attempt of it meets a connection that breaks.
    pub(super) fn breaks(&self) -> bool {
        self.headers.iter().any(|(name, value)| *name == "x-answers" && value.contains("reset"))
    }

    /// Its bytes in HTTP/1.1.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n{ID}: {}\r\n", self.method, self.target, self.host, self.id);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if matches!(self.method, "POST" | "PUT") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}
