//! Regular expressions of policies, checked and weighed.
//!
//! # Why patterns are weighed
//! A pattern of a few bytes can ask for a program of gigabytes, and a file can hold thousands of patterns. Every proxy has to
//! compile what is accepted here, so one pattern's weight and the weight of all together are limited.
//!
//! # Why they are not compiled here
//! Compiling is what costs. The weight is read off the parsed pattern: about one for each state of the program that a matcher
//! would build, repetitions multiplied out.

use std::collections::HashSet;
use std::sync::Arc;

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::diagnostic::{Code, Report};
use crate::source::{Span, Spanned};

/// Istio's limit, which also keeps patterns readable.
const PATTERN_CHARACTERS_MAX: usize = 1024;

/// Heaviest pattern: some 10 MiB of program, the usual limit of matchers. `\w{1,64}` weighs 140,000.
const PATTERN_WEIGHT_MAX: u64 = 250_000;

/// All distinct patterns together: a few seconds of a proxy's background thread.
const PATTERNS_WEIGHT_MAX: u64 = 2_000_000;

/// All distinct patterns together, in bytes; bounds the time to parse them.
const PATTERNS_BYTES_MAX: usize = 256 << 10;

/// The states that a range of characters takes: a path of up to four bytes, shared in part with its neighbours.
const RANGE_WEIGHT: u64 = 3;

/// The patterns seen so far.
#[derive(Default)]
pub(crate) struct Patterns {
    good: HashSet<Arc<str>>,
    bytes: usize,
    weight: u64,
}

impl Patterns {
    /// The pattern, if it can be used.
    pub(crate) fn check(&mut self, pattern: &Spanned<Arc<str>>, report: &mut Report) -> Option<Arc<str>> {
        let text = &pattern.value;
        if self.good.contains(text) {
            return Some(Arc::clone(text));
        }
        if text.chars().count() > PATTERN_CHARACTERS_MAX {
            let shown: String = text.chars().take(40).collect();
            report
                .add(
                    Code::BadRegex,
                    pattern.span,
                    format!("\"{shown}...\": regex is too large, max length allowed is {PATTERN_CHARACTERS_MAX}"),
                )
                .help("use a prefix match, or several matches");
            return None;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > PATTERNS_BYTES_MAX {
            too_much(pattern.span, report);
            return None;
        }
        let weight = match regex_syntax::Parser::new().parse(text) {
            Ok(parsed) => weight(&parsed),
            Err(error) => {
                refuse(pattern, &error, report);
                return None;
            }
        };
        if weight > PATTERN_WEIGHT_MAX {
            report.add(Code::BadRegex, pattern.span, "bad regular expression: it asks for too large a program").help(
                "lower the repetition counts (`{1000}`), or use ASCII classes such as `[0-9A-Za-z_]` instead of `\\w`",
            );
            return None;
        }
        self.weight = self.weight.saturating_add(weight);
        if self.weight > PATTERNS_WEIGHT_MAX {
            too_much(pattern.span, report);
            return None;
        }
        self.good.insert(Arc::clone(text));
        Some(Arc::clone(text))
    }
}

fn too_much(span: Span, report: &mut Report) {
    report
        .add(Code::BadRegex, span, "the patterns of all objects together are too large")
        .help("use prefix and exact matches where they do");
}

/// About the states of the program. The parser limits the nesting, hence the recursion.
fn weight(pattern: &Hir) -> u64 {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64 * RANGE_WEIGHT,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            weight(&repetition.sub).saturating_mul(times).saturating_add(1)
        }
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(weight).fold(1, u64::saturating_add),
    }
}

fn refuse(pattern: &Spanned<Arc<str>>, error: &regex_syntax::Error, report: &mut Report) {
    let (reason, at) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), Some(error.span().start.offset)),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), Some(error.span().start.offset)),
        // The library reserves the right to further errors.
        other => (other.to_string(), None),
    };
    let column = at.and_then(|at| pattern.value.get(..at)).map(|before| before.chars().count() + 1);
    let place = column.map_or_else(String::new, |column| format!(" at character {column} of the pattern"));
    report
        .add(Code::BadRegex, mark(pattern, at), format!("bad regular expression: {reason}{place}"))
        .help("patterns have RE2 syntax and match the whole value; a literal `.`, `*`, `+`, `?`, `(` or `[` is written with a backslash before it");
}

/// The exact character within a scalar of one line without escapes, else the whole value.
fn mark(pattern: &Spanned<Arc<str>>, at: Option<usize>) -> Span {
    let Some(at) = at else { return pattern.span };
    let length = (pattern.span.end - pattern.span.start) as usize;
    let quote = match length.checked_sub(pattern.value.len()) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return pattern.span,
    };
    let width = pattern.value.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
    let start = pattern.span.start + u32::try_from(at + quote).unwrap_or(0);
    Span { start, end: start + u32::try_from(width).unwrap_or(1), ..pattern.span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> bool {
        let pattern = Spanned { value: Arc::from(text), span: Span { file: 0, start: 0, end: 0 } };
        Patterns::default().check(&pattern, &mut Report::default()).is_some()
    }

    #[test]
    fn patterns_that_people_write_are_accepted() {
        for text in [r"^/api/v\d+/.*$", r"(?i)mozilla.*", r"[\w-]{1,64}", r".*\.(jpg|png)", r"\p{L}+", "a{0,1000}"] {
            assert!(accepted(text), "{text}");
        }
    }

    #[test]
    fn patterns_that_multiply_are_refused_however_they_are_nested() {
        for text in ["((a{1000}){1000}){1000}", r"\w{1000}", r"(\w{100}){100}", "(a{1000}){1000}"] {
            assert!(!accepted(text), "{text}");
        }
    }

    #[test]
    fn look_around_and_back_references_are_refused() {
        for text in ["(?=a)", "(?<!a)b", r"(a)\1"] {
            assert!(!accepted(text), "{text}");
        }
    }
}
