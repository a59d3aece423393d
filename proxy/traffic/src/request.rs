//! What a decision may ask of a request and of an answer.
//!
//! # Why traits
//! The head types belong to the codecs. Decisions need a few questions answered, so that HTTP/1.1, HTTP/2 and a test's
//! literal are the same to them.

use std::borrow::Cow;

/// A request's head. The path is in its canonical form already.
pub trait RequestView {
    /// `GET`, `POST`, …
    fn method(&self) -> &str;
    /// `http` or `https`.
    fn scheme(&self) -> &str;
    /// Host with optional port, as received.
    fn authority(&self) -> &str;
    /// The same as bytes. Implementations that have yet to make a text of them save that.
    fn authority_bytes(&self) -> &[u8] {
        self.authority().as_bytes()
    }

    /// Without query and fragment.
    fn path(&self) -> &str;
    /// What follows the `?`, without it.
    fn query(&self) -> Option<&str>;
    /// Every value of a header, in order. The name is lower case and never a pseudo-header.
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a;

    /// Whether there may be a field by which a caller speaks to proxies (`x-envoy-…`) and is heard. Implementations that
    /// know better save looking for each of them.
    fn speaks_to_proxies(&self) -> bool {
        true
    }

    /// The request target in origin form. Implementations that hold it in one piece should say so: the default has to
    /// join it whenever there is a query.
    fn path_and_query(&self) -> Cow<'_, str> {
        match self.query() {
            Some(query) => Cow::Owned(format!("{}?{query}", self.path())),
            None => Cow::Borrowed(self.path()),
        }
    }
}

/// An answer's head.
pub trait ResponseView {
    /// Every value of a header, in order. The name is lower case.
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a;
}

/// No answer: what request mutations see.
pub(crate) struct NoResponse;

impl ResponseView for NoResponse {
    fn header<'a>(&'a self, _name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        std::iter::empty()
    }
}

/// Whether the content type is `application/grpc` or `application/grpc+…`. `application/grpc-web` is another protocol.
pub fn is_grpc(request: &impl RequestView) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some(value) = request.header("content-type").next() else { return false };
    match value.strip_prefix(GRPC) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"+"),
        None => false,
    }
}

/// A name by which configuration reads a request: a field, or a part of the request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Method,
    Scheme,
    Authority,
    /// With the query, as it stands in the request line.
    Path,
    Field(Box<str>),
}

impl Source {
    /// From a name as written in configuration, in any case. `host` is the authority, whichever protocol carried it.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            ":method" => Ok(Self::Method),
            ":scheme" => Ok(Self::Scheme),
            ":authority" | "host" => Ok(Self::Authority),
            ":path" => Ok(Self::Path),
            _ if is_token(&lower) => Ok(Self::Field(lower.into_boxed_str())),
            _ => Err(format!("`{name}` is not a header name")),
        }
    }

    /// The first value, or `None` when there is none.
    pub(crate) fn first<'a>(&'a self, request: &'a impl RequestView) -> Option<Cow<'a, [u8]>> {
        let text = match self {
            Self::Method => request.method(),
            Self::Scheme => request.scheme(),
            Self::Authority => request.authority(),
            Self::Path => {
                return Some(match request.path_and_query() {
                    Cow::Borrowed(s) => Cow::Borrowed(s.as_bytes()),
                    Cow::Owned(s) => Cow::Owned(s.into_bytes()),
                });
            }
            Self::Field(name) => return request.header(name).next().map(Cow::Borrowed),
        };
        (!text.is_empty()).then_some(Cow::Borrowed(text.as_bytes()))
    }

    /// The value when there is exactly one.
    pub(crate) fn only<'a>(&'a self, request: &'a impl RequestView) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Field(name) if request.header(name).nth(1).is_some() => None,
            Self::Method | Self::Scheme | Self::Authority | Self::Path | Self::Field(_) => self.first(request),
        }
    }
}

/// RFC 9110 §5.6.2.
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
