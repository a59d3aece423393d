//! Regular expressions as configuration writes them: RE2's syntax, anchored, bounded.
//!
//! # Why bytes and ASCII classes first
//! Header values need not be UTF-8, and in RE2 `\d`, `\w` and `\s` are ASCII. So a pattern is compiled on bytes without
//! Unicode classes, which also makes its automaton an order of magnitude smaller. Only a pattern that cannot be
//! understood so (`\p{Greek}`, `[é]`) is compiled with Unicode.
//!
//! # Why a size limit
//! Patterns come over the wire. Matching is linear in the input for any pattern, so what a hostile one can spend is
//! memory, and that is bounded.

use regex::bytes;

/// Memory of one compiled pattern. The largest pattern in the configurations that were studied needs a tenth of it.
pub(crate) const PATTERN_SIZE_MAX_BYTES: usize = 1024 * 1024;

/// A pattern that matches a whole text.
#[derive(Clone, Debug)]
pub(crate) struct FullPattern(bytes::Regex);

impl FullPattern {
    pub(crate) fn compile(pattern: &str) -> Result<Self, String> {
        // On its own first: `a)(?:b` is balanced only inside the anchors.
        build(pattern)?;
        build(&format!("^(?:{pattern})$")).map(Self)
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        let anchored = self.0.as_str();
        anchored.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(anchored)
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

fn build(pattern: &str) -> Result<bytes::Regex, String> {
    let compile = |unicode| {
        bytes::RegexBuilder::new(pattern)
            .unicode(unicode)
            .size_limit(PATTERN_SIZE_MAX_BYTES)
            .dfa_size_limit(PATTERN_SIZE_MAX_BYTES)
            .build()
    };
    compile(false).or_else(|_| compile(true)).map_err(|e| reason(&e))
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("the pattern needs more than {limit} bytes"),
        // The parser draws a picture over several lines; its last line is the sentence.
        other => {
            let text = other.to_string();
            let sentence = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("not a pattern: {sentence}")
        }
    }
}

/// Replaces every match of a pattern, as RE2's `GlobalReplace`.
#[derive(Clone, Debug)]
pub(crate) struct Substitution {
    pattern: regex::Regex,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(Box<str>),
    Group(usize),
}

impl Substitution {
    pub(crate) fn compile(pattern: &str, substitution: &str) -> Result<Self, String> {
        let compile = |unicode| {
            regex::RegexBuilder::new(pattern)
                .unicode(unicode)
                .size_limit(PATTERN_SIZE_MAX_BYTES)
                .dfa_size_limit(PATTERN_SIZE_MAX_BYTES)
                .build()
        };
        let pattern = compile(true).map_err(|e| reason(&e))?;
        let parts = parse_substitution(substitution)?;
        for part in &parts {
            if let Part::Group(n) = part
                && *n >= pattern.captures_len()
            {
                return Err(format!(
                    "the substitution names group {n}, the pattern has {}",
                    pattern.captures_len() - 1
                ));
            }
        }
        Ok(Self { pattern, parts: parts.into_boxed_slice() })
    }

    pub(crate) fn replace_all(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for captures in self.pattern.captures_iter(text) {
            let Some(whole) = captures.get(0) else { continue };
            out.push_str(&text[copied..whole.start()]);
            copied = whole.end();
            for part in &self.parts {
                match part {
                    Part::Literal(literal) => out.push_str(literal),
                    Part::Group(n) => out.push_str(captures.get(*n).map_or("", |m| m.as_str())),
                }
            }
        }
        out.push_str(&text[copied..]);
        out
    }
}

/// `\0` to `\9` are groups, `\\` is a backslash, any other escape is an error, as in RE2.
fn parse_substitution(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            literal.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => literal.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into_boxed_str()));
                }
                parts.push(Part::Group(usize::from(digit as u8 - b'0')));
            }
            _ => return Err("in a substitution a backslash stands before a digit or a backslash".to_owned()),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into_boxed_str()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
