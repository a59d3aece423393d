//! Cookies as the proxy reads and makes them.
//!
//! # Why as Envoy writes them
//! A fleet of both must agree on what a cookie holds, so values stand in double quotes and are read with or without.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CompileError;
use crate::request::{RequestView, is_token};

/// The value of the first cookie of this name.
pub(crate) fn cookie<'a>(request: &'a impl RequestView, name: &str) -> Option<&'a [u8]> {
    request.header("cookie").flat_map(|line| line.split(|byte| *byte == b';')).find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii_end());
        (own == name.as_bytes()).then(|| unquoted(value))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// What a proxy's cookie says besides its value.
#[derive(Clone, Debug)]
pub(crate) struct CookieTemplate {
    pub(crate) name: Arc<str>,
    pub(crate) path: Arc<str>,
    /// Whole seconds; zero: until the browser closes.
    pub(crate) max_age_s: u64,
    pub(crate) attributes: Vec<(Arc<str>, Arc<str>)>,
}

impl CookieTemplate {
    /// Refuses what would break out of the header.
    pub(crate) fn compile(
        name: &Arc<str>,
        path: &Arc<str>,
        ttl: Option<Duration>,
        attributes: &[(Arc<str>, Arc<str>)],
    ) -> Result<Self, CompileError> {
        if !is_token(name) {
            return Err(CompileError::new("name", format!("`{name}` is not a cookie name")));
        }
        if !is_attribute_value(path) {
            return Err(CompileError::new("path", format!("`{path}` cannot stand in a cookie")));
        }
        for (i, (name, value)) in attributes.iter().enumerate() {
            if !is_token(name) || !is_attribute_value(value) {
                return Err(CompileError::new(format!("attributes[{i}]"), "cannot stand in a cookie"));
            }
        }
        let max_age_s = ttl.map_or(0, |ttl| ttl.as_secs());
        Ok(Self { name: Arc::clone(name), path: Arc::clone(path), max_age_s, attributes: attributes.to_vec() })
    }

    /// The `set-cookie` value.
    pub(crate) fn with_value(&self, value: &str) -> String {
        let mut text = format!("{}=\"{value}\"", self.name);
        // Writing to a string cannot fail.
        if self.max_age_s != 0 {
            write!(text, "; Max-Age={}", self.max_age_s).ok();
        }
        if !self.path.is_empty() {
            write!(text, "; Path={}", self.path).ok();
        }
        for (name, value) in &self.attributes {
            let equals = if value.is_empty() { "" } else { "=" };
            write!(text, "; {name}{equals}{value}").ok();
        }
        text.push_str("; HttpOnly");
        text
    }
}

/// RFC 6265 §4.1.1: any CHAR except CTLs and `;`.
fn is_attribute_value(value: &str) -> bool {
    value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Request;

    fn value(header: &str, name: &str) -> Option<String> {
        let request = Request::get("/").with("cookie", header);
        cookie(&request, name).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn the_first_cookie_of_a_name_is_found_with_and_without_quotes() {
        assert_eq!(value("a=1; b=2; b=3", "b").as_deref(), Some("2"));
        assert_eq!(value("  a=\"x y\" ;c=3", "a").as_deref(), Some("x y"));
        assert_eq!(value("a=x=y", "a").as_deref(), Some("x=y"));
        assert_eq!(value("a=\"", "a").as_deref(), Some("\""));
        assert_eq!(value("ab=1; broken", "a"), None);
        assert_eq!(value("broken; a=", "a").as_deref(), Some(""));
    }

    #[test]
    fn cookies_in_several_header_lines_are_read() {
        let request = Request::get("/").with("cookie", "a=1").with("cookie", "b=2");

        assert_eq!(cookie(&request, "b"), Some(&b"2"[..]));
    }

    #[test]
    fn a_cookie_is_written_as_envoy_writes_it() {
        let attributes = [("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())];
        let template =
            CookieTemplate::compile(&"n".into(), &"/p".into(), Some(Duration::from_millis(61_500)), &attributes)
                .unwrap();
        assert_eq!(template.with_value("v"), "n=\"v\"; Max-Age=61; Path=/p; SameSite=Lax; Secure; HttpOnly");
        let bare = CookieTemplate::compile(&"n".into(), &"".into(), Some(Duration::ZERO), &[]).unwrap();
        assert_eq!(bare.with_value("v"), "n=\"v\"; HttpOnly");
    }

    #[test]
    fn what_would_break_out_of_the_header_is_refused() {
        let compile = |name: &str, path: &str, attribute: &str| {
            let attributes = [("A".into(), attribute.into())];
            CookieTemplate::compile(&name.into(), &path.into(), None, &attributes).map_err(|e| e.path)
        };
        assert!(compile("n", "/", "x").is_ok());
        assert_eq!(compile("n n", "/", "x").unwrap_err(), "name");
        assert_eq!(compile("n", "/\r\nx: y", "x").unwrap_err(), "path");
        assert_eq!(compile("n", "/", "x; Domain=evil").unwrap_err(), "attributes[0]");
    }
}
