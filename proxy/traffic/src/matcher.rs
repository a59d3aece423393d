//! Conditions on strings, headers and query parameters, compiled.
//!
//! # The trap
//! A header that is missing does not match, *not even inverted*: "not equal to x" holds for no value, and a missing
//! header has none. Only `missing_as_empty` gives it an empty value. A presence condition is the exception, it asks of
//! the header and not of its value.
//!
//! # A header that is repeated
//! A condition holds when it holds for one of the values, each taken as it was sent; inverted, when it holds for none.
//! Envoy does the same since 1.39. Before, it compared all values joined by commas, so that a caller could slip past a
//! condition by sending a second value.

use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};

use crate::error::CompileError;
use crate::pattern::FullPattern;
use crate::request::{RequestView, ResponseView, Source};

/// A [`StringMatcher`] ready to be asked.
#[derive(Clone, Debug)]
pub(crate) enum CompiledString {
    Exact { value: Box<[u8]>, ignore_case: bool },
    Prefix { value: Box<[u8]>, ignore_case: bool },
    Suffix { value: Box<[u8]>, ignore_case: bool },
    Contains { value: Box<[u8]>, ignore_case: bool },
    Regex(FullPattern),
}

impl CompiledString {
    pub(crate) fn compile(matcher: &StringMatcher) -> Result<Self, CompileError> {
        Ok(match matcher {
            StringMatcher::Exact { value, ignore_case } => {
                Self::Exact { value: value.as_bytes().into(), ignore_case: *ignore_case }
            }
            StringMatcher::Prefix { value, ignore_case } => {
                Self::Prefix { value: value.as_bytes().into(), ignore_case: *ignore_case }
            }
            StringMatcher::Suffix { value, ignore_case } => {
                Self::Suffix { value: value.as_bytes().into(), ignore_case: *ignore_case }
            }
            StringMatcher::Contains { value, ignore_case } => {
                Self::Contains { value: value.as_bytes().into(), ignore_case: *ignore_case }
            }
            StringMatcher::Regex(pattern) => {
                Self::Regex(FullPattern::compile(pattern).map_err(|reason| CompileError::new("safe_regex", reason))?)
            }
        })
    }

    #[inline]
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact { value, ignore_case } => equal(text, value, *ignore_case),
            Self::Prefix { value, ignore_case } => {
                text.get(..value.len()).is_some_and(|head| equal(head, value, *ignore_case))
            }
            Self::Suffix { value, ignore_case } => {
                text.len() >= value.len() && equal(&text[text.len() - value.len()..], value, *ignore_case)
            }
            Self::Contains { value, ignore_case } => {
                value.is_empty() || text.windows(value.len()).any(|window| equal(window, value, *ignore_case))
            }
            Self::Regex(pattern) => pattern.matches(text),
        }
    }
}

#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { equal_in_any_case(a, b) } else { a == b }
}

/// `eq_ignore_ascii_case`, eight bytes at a time: hosts are compared so for each request.
fn equal_in_any_case(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some(last_a), Some(last_b)) = (a.last_chunk(), b.last_chunk()) else { return a.eq_ignore_ascii_case(b) };
    let is_same = |a: &[u8; 8], b: &[u8; 8]| a == b || lower(a) == lower(b);
    // The last word covers what whole words from the start leave over.
    let mut words = a.as_chunks().0.iter().zip(b.as_chunks().0).take((a.len() - 1) / 8);
    is_same(last_a, last_b) && words.all(|(a, b)| is_same(a, b))
}

/// A word with its capital letters made small.
#[inline]
fn lower(word: &[u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_ne_bytes(*word);
    let low = word & !TOPS;
    // The top bits of bytes from `A` on, and of those beyond `Z`: nothing is carried from one byte to the next.
    let from_a = low + ONES * u64::from(0x80 - b'A');
    let beyond_z = low + ONES * u64::from(0x7f - b'Z');
    word | (from_a & !beyond_z & !word & TOPS) >> 2
}

/// A [`HeaderMatcher`] ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct CompiledHeader {
    source: Source,
    condition: Condition,
    invert: bool,
    missing_as_empty: bool,
}

#[derive(Clone, Debug)]
enum Condition {
    Present(bool),
    Value(CompiledString),
    Range { start: i64, end: i64 },
}

impl CompiledHeader {
    /// A list of conditions, with the list's name in the path of a refusal.
    pub(crate) fn compile_all(matchers: &[HeaderMatcher], list: &str) -> Result<Box<[Self]>, CompileError> {
        let compiled = matchers.iter().enumerate();
        compiled.map(|(i, m)| Self::compile(m).map_err(|e| e.under(&format!("{list}[{i}]")))).collect()
    }

    pub(crate) fn compile(matcher: &HeaderMatcher) -> Result<Self, CompileError> {
        let source = Source::parse(&matcher.name).map_err(|reason| CompileError::new("name", reason))?;
        let condition = match &matcher.condition {
            HeaderCondition::Present(want) => Condition::Present(*want),
            HeaderCondition::Value(string) => {
                Condition::Value(CompiledString::compile(string).map_err(|e| e.under("string_match"))?)
            }
            HeaderCondition::Range { start, end } => Condition::Range { start: *start, end: *end },
        };
        Ok(Self { source, condition, invert: matcher.invert, missing_as_empty: matcher.missing_as_empty })
    }

    pub(crate) fn matches(&self, request: &impl RequestView) -> bool {
        match &self.source {
            Source::Field(name) => self.decide_all(request.header(name)),
            Source::Method => self.decide(Some(request.method().as_bytes()).filter(|method| !method.is_empty())),
            Source::Scheme | Source::Authority | Source::Path => self.decide(self.source.first(request).as_deref()),
        }
    }

    /// What a condition says of every request with this method; `None` when it asks for something else.
    pub(crate) fn matches_method(&self, method: &str) -> Option<bool> {
        matches!(self.source, Source::Method).then(|| self.decide(Some(method.as_bytes())))
    }

    /// The same of an answer, which has no pseudo-header but `:status`, and that is asked for elsewhere.
    pub(crate) fn matches_answer(&self, answer: &impl ResponseView) -> bool {
        match &self.source {
            Source::Field(name) => self.decide_all(answer.header(name)),
            Source::Method | Source::Scheme | Source::Authority | Source::Path => self.decide(None),
        }
    }

    #[inline]
    fn decide_all<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        let Some(first) = values.next() else { return self.decide(None) };
        match &self.condition {
            Condition::Present(want) => *want != self.invert,
            Condition::Value(_) | Condition::Range { .. } => {
                (self.fits(first) || values.any(|value| self.fits(value))) != self.invert
            }
        }
    }

    #[inline]
    fn decide(&self, value: Option<&[u8]>) -> bool {
        let value = value.or(if self.missing_as_empty { Some(b"") } else { None });
        match (&self.condition, value) {
            (Condition::Present(want), value) => (value.is_some() == *want) != self.invert,
            (Condition::Value(_) | Condition::Range { .. }, None) => false,
            (Condition::Value(_) | Condition::Range { .. }, Some(value)) => self.fits(value) != self.invert,
        }
    }

    /// Whether one value is what the condition asks for.
    #[inline]
    fn fits(&self, value: &[u8]) -> bool {
        match &self.condition {
            Condition::Present(want) => *want,
            Condition::Value(string) => string.matches(value),
            Condition::Range { start, end } => parse_integer(value).is_some_and(|n| (*start..*end).contains(&n)),
        }
    }
}

fn parse_integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

/// A [`QueryParameterMatcher`] ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct CompiledQuery {
    name: Box<str>,
    condition: QueryCondition,
}

#[derive(Clone, Debug)]
enum QueryCondition {
    Present(bool),
    Value(CompiledString),
}

impl CompiledQuery {
    pub(crate) fn compile(matcher: &QueryParameterMatcher) -> Result<Self, CompileError> {
        let condition = match &matcher.condition {
            QueryParameterCondition::Present(want) => QueryCondition::Present(*want),
            QueryParameterCondition::Value(string) => {
                QueryCondition::Value(CompiledString::compile(string).map_err(|e| e.under("string_match"))?)
            }
        };
        Ok(Self { name: matcher.name.as_ref().into(), condition })
    }

    pub(crate) fn matches(&self, query: Option<&str>) -> bool {
        let value = query.and_then(|q| first_parameter(q, &self.name));
        match &self.condition {
            QueryCondition::Present(want) => value.is_some() == *want,
            QueryCondition::Value(string) => value.is_some_and(|v| string.matches(v.as_bytes())),
        }
    }
}

/// The first value of a query parameter, as it is written; empty for a name without `=`.
pub(crate) fn first_parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// A share of requests; the denominator is known not to be zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    numerator: u64,
    denominator: u64,
}

impl Share {
    pub(crate) fn compile(fraction: Fraction) -> Result<Self, CompileError> {
        if fraction.denominator == 0 {
            return Err(CompileError::new("denominator", "zero"));
        }
        Ok(Self { numerator: fraction.numerator.into(), denominator: fraction.denominator.into() })
    }

    /// The same share, or a smaller one where a caller asked for less: its word never widens what configuration allows.
    pub(crate) fn capped(self, numerator: u64) -> Self {
        Self { numerator: self.numerator.min(numerator), ..self }
    }

    /// The same, drawing only where the draw decides: most shares are all or nothing.
    pub(crate) fn takes_one(self, draw: impl FnOnce() -> u64) -> bool {
        self.numerator >= self.denominator || (self.numerator > 0 && self.takes(draw()))
    }

    pub(crate) fn takes(self, random: u64) -> bool {
        random % self.denominator < self.numerator
    }
}

#[cfg(test)]
mod tests;
