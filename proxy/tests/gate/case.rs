//! A case: what a client sends, the paragraph that judges it, and the verdict.

/// One message and what must become of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The paragraph, or the vulnerability that made the rule.
    pub(crate) rfc: &'static str,
    pub(crate) sent: Vec<u8>,
    pub(crate) verdict: Verdict,
}

/// What must become of a message.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Answered with this status, and the connection closed. Nothing reaches the backend.
    Refused(u16),
    /// Exactly these bytes reach the backend.
    Forwarded(Vec<u8>),
    /// The beginning was forwarded before the fault arrived: these bytes reached the backend, then this was sent, and the caller is
    /// told 400 while the backend sees its connection end.
    Torn { reached: Vec<u8>, then: Vec<u8> },
    /// HTTP/2: refused with 400, or the stream reset, or the connection ended. RFC 9113 8.1.1 leaves the choice.
    Malformed,
}

pub(crate) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

impl From<u16> for Verdict {
    fn from(status: u16) -> Self {
        Self::Refused(status)
    }
}

impl From<&str> for Verdict {
    fn from(reached: &str) -> Self {
        Self::Forwarded(reached.as_bytes().to_vec())
    }
}

impl From<String> for Verdict {
    fn from(reached: String) -> Self {
        Self::Forwarded(reached.into_bytes())
    }
}

impl From<Vec<u8>> for Verdict {
    fn from(reached: Vec<u8>) -> Self {
        Self::Forwarded(reached)
    }
}

/// The head and so much of the body reached the backend before `then` was sent.
pub(crate) fn torn(reached: impl Into<Vec<u8>>, then: impl Into<Vec<u8>>) -> Verdict {
    Verdict::Torn { reached: reached.into(), then: then.into() }
}

/// A request for this target.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// A request with these field lines, and no body.
pub(crate) fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n")
}

/// A request with these field lines and what follows them.
pub(crate) fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n{body}")
}

/// A request whose chunked body is this.
pub(crate) fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

/// The same with bytes that are not text.
pub(crate) fn around(before: &str, middle: &[u8], behind: &str) -> Vec<u8> {
    [before.as_bytes(), middle, behind.as_bytes()].concat()
}

/// The shortest request.
pub(crate) const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// What the proxy adds to the end of every head whose client did not say it.
pub(crate) const ADDED: &str = "x-forwarded-proto: http\r\n";

/// What reaches the backend of [`PLAIN`].
pub(crate) const SEEN: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nx-forwarded-proto: http\r\n\r\n";

/// What reaches the backend of [`get`].
pub(crate) fn seen_get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{ADDED}\r\n")
}

/// What reaches the backend of [`with`].
pub(crate) fn seen_with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{ADDED}\r\n")
}

/// What reaches the backend of [`post`].
pub(crate) fn seen_post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{ADDED}\r\n{body}")
}

/// What reaches the backend of [`chunked`].
pub(crate) fn seen_chunked(body: &str) -> String {
    seen_post("Transfer-Encoding: chunked", body)
}

/// A family: each row is a case's name, its paragraph, what is sent, and the verdict.
macro_rules! cases {
    ($($name:ident $rfc:literal: $sent:expr => $verdict:expr;)+) => {
        pub(crate) fn cases() -> Vec<crate::case::Case> {
            vec![$(crate::case::Case {
                name: stringify!($name),
                rfc: $rfc,
                sent: Vec::from($sent),
                verdict: crate::case::Verdict::from($verdict),
            }),+]
        }
    };
}
pub(crate) use cases;
