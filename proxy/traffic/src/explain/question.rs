//! A request that nobody has sent: as an operator types it.
//!
//! # Why odd paths are refused
//! A proxy brings a path to one form before it looks at it. What is typed here must be in that form already, or the
//! answer would be about another request.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::request::{RequestView, is_token};

/// A request to be explained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `GET`, …
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `Host`, as it would be sent.
    pub authority: String,
    /// Without query.
    pub path: String,
    /// Without its question mark.
    #[serde(default)]
    pub query: Option<String>,
    /// Lower-case names.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What is wrong with a request as it is typed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// The URL.
    #[error("`{0}` is not a URL: write http://HOST[:PORT]/PATH[?QUERY]")]
    Url(String),
    /// A path that a proxy would change before it matches it.
    #[error("the path `{0}` is not in the form that proxies match: no `//`, no dot segments, no `;parameters`")]
    Path(String),
    /// A header.
    #[error("`{0}` is not a header: write NAME:VALUE")]
    Header(String),
    /// The method.
    #[error("`{0}` is not a method: write GET, POST, …")]
    Method(String),
}

impl Question {
    /// From a method, a URL and headers as `name:value`.
    pub fn parse<'h>(
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = &'h str>,
    ) -> Result<Self, QuestionError> {
        if !is_token(method) {
            return Err(QuestionError::Method(method.to_owned()));
        }
        let not_url = || QuestionError::Url(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(not_url)?;
        if !matches!(scheme, "http" | "https") {
            return Err(not_url());
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let printable = |text: &str| text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
        if authority.is_empty() || authority.contains('@') || !printable(rest) {
            return Err(not_url());
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        if is_odd(path) {
            return Err(QuestionError::Path(path.to_owned()));
        }
        let mut question = Self {
            method: method.to_owned(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            query,
            headers: Vec::new(),
        };
        for header in headers {
            question.add(header)?;
        }
        Ok(question)
    }

    /// `host` is the authority, as on a wire.
    fn add(&mut self, header: &str) -> Result<(), QuestionError> {
        let wrong = || QuestionError::Header(header.to_owned());
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if !is_token(&name) || value.bytes().any(|byte| byte < 0x20 && byte != b'\t') {
            return Err(wrong());
        }
        if name == "host" {
            value.clone_into(&mut self.authority);
        } else {
            self.headers.push((name, value.to_owned()));
        }
        Ok(())
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        self.written_port().unwrap_or(if self.scheme == "https" { 443 } else { 80 })
    }

    /// The port that the URL names.
    pub(super) fn written_port(&self) -> Option<u16> {
        let after = self.authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        after.and_then(|(_, port)| port.parse().ok())
    }
}

/// Whether a proxy would match another path.
fn is_odd(path: &str) -> bool {
    path.contains("//") || path.contains(';') || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, scheme, authority, path, query, headers } = self;
        write!(f, "{method} {scheme}://{authority}{path}")?;
        if let Some(query) = query {
            write!(f, "?{query}")?;
        }
        headers.iter().try_for_each(|(name, value)| write!(f, " -H {name}:{value}"))
    }
}

impl RequestView for Question {
    fn method(&self) -> &str {
        &self.method
    }

    fn scheme(&self) -> &str {
        &self.scheme
    }

    fn authority(&self) -> &str {
        &self.authority
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }
}
