//! Requests that a stranger's page makes by means of a browser on this machine.
//!
//! # Why a port on loopback needs this
//! A page may let its own host name resolve to 127.0.0.1 after it was loaded (DNS rebinding): its script then reads what we answer.
//! And a page may send a POST anywhere without being asked first; it would drain the proxy. The script cannot change what the
//! browser says in `Host` and `Origin`.

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use http::header::{HOST, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::text;

/// What only names within a machine or a cluster end with.
const OWN_ENDINGS: [&str; 3] = [".localhost", ".svc", ".svc.cluster.local"];

/// The answer to whoever asks under a name that is none of ours, or from a page.
pub(super) fn refused<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    let named = request.headers().get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    // No browser leaves the name out.
    if !named.chain(target).all(|name| std::str::from_utf8(name).is_ok_and(is_ours)) {
        let why =
            "the name in Host is not one of this proxy: ask by address (http://127.0.0.1:15000) or by localhost\n";
        return Some(text(StatusCode::MISDIRECTED_REQUEST, why.to_owned()));
    }
    let is_from_page = request.method() != Method::GET && request.headers().contains_key(ORIGIN);
    is_from_page.then(|| text(StatusCode::FORBIDDEN, "no page may send this: use a program, such as curl\n".to_owned()))
}

/// An address, or a name that nobody can have in the DNS.
fn is_ours(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let is_port = |rest: &str| rest.strip_prefix(':').map_or(rest.is_empty(), |port| port.parse::<u16>().is_ok());
        return rest.split_once(']').is_some_and(|(host, rest)| host.parse::<Ipv6Addr>().is_ok() && is_port(rest));
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host.parse::<IpAddr>().is_ok() || !name.contains('.') || OWN_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: http::request::Builder) -> Option<u16> {
        refused(&request.body(()).expect("a request")).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn only_names_that_no_stranger_can_have_are_answered() {
        for host in ["127.0.0.1:15000", "[::1]:15000", "[::1]", "localhost:15000", "LOCALHOST.", "reviews", "a.b.svc:1"]
        {
            assert_eq!(status(Request::get("/config_dump").header(HOST, host)), None, "{host}");
        }
        for host in [
            "evil.example:15000",
            "127.0.0.1.evil.example",
            "[evil]:1",
            "[::1].evil.example",
            "[::1]:1.evil.example",
            "localhost.evil.example.",
            "a.svc.example",
        ] {
            assert_eq!(status(Request::get("/config_dump").header(HOST, host)), Some(421), "{host}");
        }
        assert_eq!(status(Request::get("http://evil.example/").header(HOST, "localhost")), Some(421));
        assert_eq!(status(Request::get("/ready")), None, "a probe of HTTP/1.0");
    }

    #[test]
    fn no_page_changes_anything() {
        let drain = || Request::post("/drain").header(HOST, "localhost:15000");
        assert_eq!(status(drain()), None);
        for origin in ["http://localhost:15000", "https://evil.example", "null"] {
            assert_eq!(status(drain().header(ORIGIN, origin)), Some(403), "{origin}");
        }
    }
}
