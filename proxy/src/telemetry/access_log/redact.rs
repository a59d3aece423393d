//! What a log does not show.
//!
//! # Why secrets are hidden unless somebody says otherwise
//! Logs are read by more people than requests are, and kept for longer. Credentials travel in a handful of fields and, against all
//! advice, in query parameters with a handful of names (RFC 6750 5.3). Those are hidden by default; everything else of a target is
//! what logs are read for.

use std::borrow::Cow;
use std::str::FromStr;

/// What stands in the place of a secret.
const HIDDEN: &str = "REDACTED";

/// Fields that carry credentials.
const SECRET_FIELDS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "x-csrf-token"];

/// Fields that carry a target, whose query is treated like that of the request.
const TARGET_FIELDS: [&str; 4] = ["referer", "location", "content-location", "x-envoy-original-path"];

/// Names of query parameters whose values are credentials, in lower case.
const SECRET_PARAMETERS: [&str; 24] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "client_secret",
    "code",
    "credential",
    "id_token",
    "jwt",
    "key",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "sessionid",
    "sig",
    "signature",
    "token",
    "x-amz-signature",
];

/// How many names of fields may be given: what hides more is better told by a format of one's own.
const FIELDS_MAX: usize = 64;

/// What is hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    query: Query,
    /// Lower-case names, beside [`SECRET_FIELDS`].
    fields: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Query {
    /// Values of parameters that are known to be secret.
    #[default]
    Secrets,
    /// The whole query.
    All,
    /// Nothing, neither here nor in fields.
    Nothing,
}

impl FromStr for Redaction {
    type Err = String;

    /// `query,NAME,…` or `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self { query: Query::Nothing, fields: Vec::new() });
        }
        let mut redaction = Self::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "query" => redaction.query = Query::All,
                "none" => return Err("`none` stands alone".to_owned()),
                _ if tidegate_traffic::request::is_token(word) => {
                    redaction.fields.push(word.to_ascii_lowercase().into());
                }
                _ => return Err(format!("`{word}` is neither `query`, `none` nor the name of a header")),
            }
        }
        if redaction.fields.len() > FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} headers"));
        }
        Ok(redaction)
    }
}

impl Redaction {
    /// A target or URL, with what may be shown of its query.
    pub(super) fn target<'t>(&self, target: &'t str) -> Cow<'t, str> {
        let Some((before, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
        match self.query(query) {
            None => Cow::Borrowed(before),
            Some(Cow::Borrowed(_)) => Cow::Borrowed(target),
            Some(Cow::Owned(query)) => Cow::Owned(format!("{before}?{query}")),
        }
    }

    /// What may be shown of a query.
    pub(super) fn query<'t>(&self, query: &'t str) -> Option<Cow<'t, str>> {
        match self.query {
            Query::All => None,
            Query::Nothing => Some(Cow::Borrowed(query)),
            Query::Secrets if !query.split(['&', ';']).any(is_secret) => Some(Cow::Borrowed(query)),
            Query::Secrets => {
                let mut shown = String::with_capacity(query.len());
                for parameter in query.split_inclusive(['&', ';']) {
                    let (bare, end) = match parameter.strip_suffix(['&', ';']) {
                        Some(bare) => (bare, &parameter[bare.len()..]),
                        None => (parameter, ""),
                    };
                    match bare.split_once('=').filter(|_| is_secret(bare)) {
                        Some((name, _)) => shown.extend([name, "=", HIDDEN, end]),
                        None => shown.push_str(parameter),
                    }
                }
                Some(Cow::Owned(shown))
            }
        }
    }

    /// The value of a field, or what stands in its place.
    pub(super) fn field<'v>(&self, name: &str, value: &'v [u8]) -> Cow<'v, [u8]> {
        if self.query == Query::Nothing {
            return Cow::Borrowed(value);
        }
        if SECRET_FIELDS.contains(&name) || self.fields.iter().any(|known| **known == *name) {
            return Cow::Borrowed(HIDDEN.as_bytes());
        }
        if !TARGET_FIELDS.contains(&name) {
            return Cow::Borrowed(value);
        }
        match std::str::from_utf8(value) {
            Ok(target) => match self.target(target) {
                Cow::Borrowed(shown) => Cow::Borrowed(shown.as_bytes()),
                Cow::Owned(shown) => Cow::Owned(shown.into_bytes()),
            },
            Err(_) => Cow::Borrowed(HIDDEN.as_bytes()),
        }
    }
}

/// Whether a parameter has a value, and a name that says it is a secret. Names are read as servers read them: in any case, and
/// with escaped letters.
fn is_secret(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    if value.is_empty() {
        return false;
    }
    let longest = SECRET_PARAMETERS.iter().map(|name| name.len()).max().unwrap_or(0);
    if name.len() > 3 * longest {
        return false;
    }
    let decoded = decode(name.as_bytes());
    SECRET_PARAMETERS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(&decoded))
}

fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, after @ ..] => digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, behind) = escaped.unwrap_or((*byte, behind));
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_query_are_hidden_however_they_are_spelt() {
        let redaction = Redaction::default();

        assert_eq!(redaction.target("/p?page=2&q=shoes"), "/p?page=2&q=shoes");
        assert_eq!(redaction.target("/p?a=1&Access_Token=xyz&b=2"), "/p?a=1&Access_Token=REDACTED&b=2");
        assert_eq!(redaction.target("/p?%74oken=xyz;x=1"), "/p?%74oken=REDACTED;x=1");
        assert_eq!(redaction.target("/p?token=a=b"), "/p?token=REDACTED");
        assert_eq!(redaction.target("/p?token"), "/p?token");
        assert_eq!(redaction.target("/p?monkey=1&tokens=2"), "/p?monkey=1&tokens=2");
        assert_eq!(redaction.target("/p"), "/p");
    }

    #[test]
    fn fields_with_credentials_are_hidden_and_those_with_targets_are_cut() {
        let redaction = "query,X-User".parse::<Redaction>().unwrap();

        assert_eq!(&*redaction.field("authorization", b"Bearer x"), b"REDACTED");
        assert_eq!(&*redaction.field("x-user", b"jason"), b"REDACTED");
        assert_eq!(&*redaction.field("referer", b"http://a/p?q=1"), b"http://a/p");
        assert_eq!(&*redaction.field("accept", b"*/*"), b"*/*");
        assert_eq!(redaction.target("/p?q=1"), "/p");
    }

    #[test]
    fn nothing_is_hidden_from_whoever_says_so() {
        let redaction = "none".parse::<Redaction>().unwrap();

        assert_eq!(redaction.target("/p?token=1"), "/p?token=1");
        assert_eq!(&*redaction.field("cookie", b"a=b"), b"a=b");
        for wrong in ["", "query,,a", "none,query", "a b"] {
            assert!(wrong.parse::<Redaction>().is_err(), "{wrong}");
        }
    }
}
