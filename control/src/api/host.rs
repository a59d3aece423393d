//! Whose requests are answered: only those that call this machine by a name that no stranger can have.
//!
//! # Why a port on loopback needs this
//! A browser on this machine reaches loopback too. A stranger's page may let its own host name resolve to 127.0.0.1 after it was
//! loaded (DNS rebinding): to the browser our answers are then the stranger's own, and its script reads policies, traces and
//! addresses. What the script cannot change is the name in `Host`.
//!
//! # Other pages that ask without reading
//! A page may send a POST anywhere, though it does not see the answer: it could fill the store of traces. Browsers say in
//! `Origin` who asks, and we take what has none, or ours. There are no CORS headers in any answer, so that no other page is ever
//! allowed to read one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use thiserror::Error;

use super::{Answer, with_type};

/// The longest name that the DNS knows; of a longer one no more is repeated.
const NAME_LENGTH_MAX: usize = 253;
/// What only names within a machine or a cluster end with.
const OWN_ENDINGS: [&str; 3] = [".localhost", ".svc", ".svc.cluster.local"];

/// A name that the control plane may be called by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// It is not a name alone.
#[derive(Debug, Error)]
#[error(
    "`{0}` is not the name of a host: write it as it stands in the URL, such as mesh.example.com, without scheme, port or path"
)]
pub struct HostNameError(String);

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = normal(text);
        if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(is_name) {
            return Err(HostNameError(text.to_owned()));
        }
        Ok(Self(name))
    }
}

impl HostName {
    /// What this machine calls itself, if that is a name.
    pub fn of_this_machine() -> Option<Self> {
        rustix::system::uname().nodename().to_str().ok()?.parse().ok()
    }

    /// Nobody can have such a name in the DNS.
    fn is_local(&self) -> bool {
        !self.0.contains('.') || OWN_ENDINGS.iter().any(|ending| self.0.ends_with(ending))
    }
}

/// The names that are answered besides addresses and the machine's own.
#[derive(Clone, Debug, Default)]
pub struct Hosts(BTreeSet<HostName>);

impl Hosts {
    /// Addresses, local names, and these.
    pub fn new(names: impl IntoIterator<Item = HostName>) -> Self {
        Self(names.into_iter().collect())
    }

    /// The answer to a request that is not for us, or that another page made.
    pub(super) fn refuse<B>(&self, request: &Request<B>) -> Option<Answer> {
        self.judge(request).err().map(|refusal| refusal.answer())
    }

    fn judge<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let headers = request.headers();
        // A request for a proxy has the name in its first line as well.
        let target = request.uri().authority().map(|authority| authority.as_str());
        let named = headers.get_all(HOST).iter().map(HeaderValue::as_bytes).chain(target.map(str::as_bytes));
        // No browser leaves the name out, so whoever does (a probe of HTTP/1.0) is not one.
        for authority in named {
            if !std::str::from_utf8(authority).is_ok_and(|authority| self.is_ours(authority)) {
                return Err(Refusal::Host(shown(authority)));
            }
        }
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(());
        }
        match headers.get_all(ORIGIN).iter().find(|origin| !self.is_own_page(origin, headers)) {
            Some(origin) => Err(Refusal::Origin(shown(origin.as_bytes()))),
            None => Ok(()),
        }
    }

    fn is_ours(&self, authority: &str) -> bool {
        match name_of(authority) {
            None => false,
            Some(Name::Address) => true,
            Some(Name::Name(name)) => name.is_local() || self.0.contains(&name),
        }
    }

    /// Whether the page came from here: from the very host and port that are asked, or from a name that was given to us.
    fn is_own_page(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let Some((_, page)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
        let is_asked = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(page.as_bytes());
        let is_given = || matches!(name_of(page), Some(Name::Name(name)) if self.0.contains(&name));
        headers.get(HOST).is_some_and(is_asked) || is_given()
    }
}

/// What stands before the port.
enum Name {
    /// An IP address. Pages of that origin came from that address.
    Address,
    Name(HostName),
}

fn name_of(authority: &str) -> Option<Name> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (None, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    if !port.unwrap_or_default().bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match host {
        None => Some(Name::Address),
        Some(host) if host.parse::<Ipv4Addr>().is_ok() => Some(Name::Address),
        Some(host) => host.parse().ok().map(Name::Name),
    }
}

/// In lower case, without the dot that ends an absolute name.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(NAME_LENGTH_MAX).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The name under which we are asked is not ours.
    Host(String),
    /// Another page asks for more than to read.
    Origin(String),
}

/// What is wrong, where, and how it is mended.
#[derive(Serialize)]
struct Told {
    error: String,
    header: &'static str,
    help: String,
}

impl Refusal {
    fn answer(&self) -> Answer {
        let (status, told) = match self {
            Self::Host(name) => (StatusCode::MISDIRECTED_REQUEST, Told {
                error: format!("`{name}` is not a name of this control plane, so nothing is answered to who asks for it"),
                header: "Host",
                help: "ask by address (http://127.0.0.1:15014) or by localhost; if this name is yours, start `tidegate serve` with `--api-host NAME`".to_owned(),
            }),
            Self::Origin(origin) => (StatusCode::FORBIDDEN, Told {
                error: format!("a page from `{origin}` may not send this"),
                header: "Origin",
                help: "send it from a program, or from a page that this control plane serves; if the page stands under a name of yours, start `tidegate serve` with `--api-host NAME`".to_owned(),
            }),
        };
        with_type(status, "application/json", serde_json::to_vec(&told).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
