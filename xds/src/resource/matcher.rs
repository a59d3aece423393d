//! Matchers that several resources share.

pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;

use std::sync::Arc;

use serde::Serialize;

/// How a string is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StringMatcher {
    /// Equal, optionally ignoring ASCII case.
    Exact { value: Arc<str>, ignore_case: bool },
    /// Starts with.
    Prefix { value: Arc<str>, ignore_case: bool },
    /// Ends with.
    Suffix { value: Arc<str>, ignore_case: bool },
    /// Contains.
    Contains { value: Arc<str>, ignore_case: bool },
    /// Matches the whole string (RE2 syntax). Checked to compile within the size limit when decoded.
    Regex(Arc<str>),
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderMatcher {
    /// Lower-case header name; pseudo-headers `:method`, `:path`, `:authority`, `:scheme` are allowed.
    pub name: Arc<str>,
    /// The condition on its value. Of several values one has to fit; inverted, none may.
    pub condition: HeaderCondition,
    /// Inverts the result. A missing header never matches, even inverted, unless `missing_as_empty`.
    pub invert: bool,
    /// A missing header is treated as an empty value.
    pub missing_as_empty: bool,
}

/// What a [`HeaderMatcher`] asks of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderCondition {
    /// `Present(true)`: the header exists. `Present(false)`: it does not.
    Present(bool),
    /// Its value compares.
    Value(StringMatcher),
    /// The whole value parses as an integer in `start..end`.
    Range { start: i64, end: i64 },
}

/// A condition on one query parameter; the first value of the name counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QueryParameterMatcher {
    /// The parameter's name, compared as it is written.
    pub name: Arc<str>,
    /// The condition.
    pub condition: QueryParameterCondition,
}

/// What a [`QueryParameterMatcher`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryParameterCondition {
    /// The parameter exists (or not).
    Present(bool),
    /// Its first value compares.
    Value(StringMatcher),
}

/// A share, as Envoy's `FractionalPercent`: `random % denominator < numerator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Fraction {
    /// Numerator.
    pub numerator: u32,
    /// One of 100, 10_000, 1_000_000.
    pub denominator: u32,
}

impl Fraction {
    /// Every request.
    pub const ALL: Self = Self { numerator: 100, denominator: 100 };
    /// No request.
    pub const NONE: Self = Self { numerator: 0, denominator: 100 };
}
