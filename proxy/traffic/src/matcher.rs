//! Conditions on strings, headers and query parameters, compiled.
//!
//! # The trap
//! A header that is missing does not match, *not even inverted*: "not equal to x" holds for no value, and a missing
//! header has none. Only `missing_as_empty` gives it an empty value. A presence condition is the exception, it asks of
//! the header and not of its value.

use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};

use crate::error::CompileError;
use crate::pattern::FullPattern;
use crate::request::{RequestView, Source};

/// Several values of one header are compared joined by commas. Up to this length they are joined on the stack; longer
/// ones, which are rare, cost an allocation.
const JOINED_ON_STACK_BYTES: usize = 256;

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

pub(crate) fn equal(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
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
        let Source::Field(name) = &self.source else {
            return self.decide(self.source.first(request).as_deref());
        };
        let mut values = request.header(name);
        let Some(first) = values.next() else { return self.decide(None) };
        match values.next() {
            None => self.decide(Some(first)),
            Some(second) => Joined::new([first, second].into_iter().chain(values)).with(|v| self.decide(Some(v))),
        }
    }

    fn decide(&self, value: Option<&[u8]>) -> bool {
        let value = value.or(if self.missing_as_empty { Some(b"") } else { None });
        let holds = match (&self.condition, value) {
            (Condition::Present(want), value) => value.is_some() == *want,
            (Condition::Value(_) | Condition::Range { .. }, None) => return false,
            (Condition::Value(string), Some(value)) => string.matches(value),
            (Condition::Range { start, end }, Some(value)) => {
                parse_integer(value).is_some_and(|n| (*start..*end).contains(&n))
            }
        };
        holds != self.invert
    }
}

fn parse_integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

/// The values of a repeated header as one list value.
struct Joined {
    stack: [u8; JOINED_ON_STACK_BYTES],
    used: usize,
    heap: Vec<u8>,
}

impl Joined {
    fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut joined = Self { stack: [0; JOINED_ON_STACK_BYTES], used: 0, heap: Vec::new() };
        for (i, value) in values.enumerate() {
            if i > 0 {
                joined.push(b",");
            }
            joined.push(value);
        }
        joined
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.heap.is_empty() {
            if let Some(room) = self.stack.get_mut(self.used..self.used + bytes.len()) {
                room.copy_from_slice(bytes);
                self.used += bytes.len();
                return;
            }
            self.heap.extend_from_slice(&self.stack[..self.used]);
        }
        self.heap.extend_from_slice(bytes);
    }

    fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        if self.heap.is_empty() { f(&self.stack[..self.used]) } else { f(&self.heap) }
    }
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
fn first_parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
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

    pub(crate) fn takes(self, random: u64) -> bool {
        random % self.denominator < self.numerator
    }
}

#[cfg(test)]
mod tests;
