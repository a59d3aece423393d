//! Protobuf to matcher.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use super::{HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher};
use crate::proto::{matcher, route, types};
use crate::resource::header::header_name;
use crate::resource::path::{At, Checked};
use crate::resource::scalar::label;

/// The most memory that one compiled expression may take. Expressions match in linear time, so memory is what a
/// hostile or careless one can waste; real ones take some kilobytes.
pub(in crate::resource) const REGEX_SIZE_BYTES_MAX: usize = 1 << 20;

/// An expression that compiles, on its own and between anchors, as the data plane uses it.
pub(in crate::resource) fn regex(at: &At<'_>, value: matcher::RegexMatcher) -> Checked<Arc<str>> {
    let matcher::RegexMatcher { regex, engine_type } = value;
    if let Some(matcher::regex_matcher::EngineType::GoogleRe2(matcher::regex_matcher::GoogleRe2 {
        max_program_size: Some(_),
    })) = engine_type
    {
        at.ignore("google_re2.max_program_size");
    }
    if regex.is_empty() {
        return Err(at.field("regex").missing());
    }
    compile(at, &regex)?;
    Ok(regex.into())
}

fn compile(at: &At<'_>, pattern: &str) -> Checked<Regex> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(REGEX_SIZE_BYTES_MAX).build().map_err(|error| {
            let reason = match error {
                regex::Error::CompiledTooBig(limit) => format!("compiles to more than {limit} bytes"),
                // The library draws a picture over several lines; its last line says what is wrong.
                other => other.to_string().lines().last().unwrap_or("is not valid").trim().to_owned(),
            };
            at.field("regex").error(format_args!("{pattern:?}: {reason}"))
        })
    };
    let alone = build(pattern)?;
    build(&format!("^(?:{pattern})$"))?;
    Ok(alone)
}

/// A pattern and what its matches are replaced by; every group that the substitution names exists.
pub(in crate::resource) fn rewrite(
    at: &At<'_>,
    value: matcher::RegexMatchAndSubstitute,
) -> Checked<(Arc<str>, Arc<str>)> {
    let matcher::RegexMatchAndSubstitute { pattern, substitution } = value;
    let pattern_at = &at.field("pattern");
    let pattern = regex(pattern_at, pattern.ok_or_else(|| pattern_at.missing())?)?;
    let groups = compile(pattern_at, &pattern)?.captures_len();
    let at = &at.field("substitution");
    let mut chars = substitution.chars();
    while let Some(c) = chars.next() {
        if c.is_control() {
            return Err(at.error("contains a control character"));
        }
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some('\\') => {}
            Some(digit) if digit.to_digit(10).is_some_and(|group| (group as usize) < groups) => {}
            Some(digit) if digit.is_ascii_digit() => {
                return Err(at.error(format_args!("names group {digit}, but the pattern has {}", groups - 1)));
            }
            _ => return Err(at.error("a backslash must be followed by a digit or a backslash")),
        }
    }
    Ok((pattern, substitution.into()))
}

/// `envoy.type.matcher.v3.StringMatcher`.
pub(in crate::resource) fn string(at: &At<'_>, value: matcher::StringMatcher) -> Checked<StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let matcher::StringMatcher { ignore_case, match_pattern } = value;
    let part = |field: &str, text: String| -> Checked<Arc<str>> {
        if text.is_empty() {
            return Err(at.field(field).error("may not be empty"));
        }
        Ok(text.into())
    };
    Ok(match match_pattern.ok_or_else(|| at.error("has no pattern"))? {
        MatchPattern::Exact(value) => StringMatcher::Exact { value: value.into(), ignore_case },
        MatchPattern::Prefix(value) => StringMatcher::Prefix { value: part("prefix", value)?, ignore_case },
        MatchPattern::Suffix(value) => StringMatcher::Suffix { value: part("suffix", value)?, ignore_case },
        MatchPattern::Contains(value) => StringMatcher::Contains { value: part("contains", value)?, ignore_case },
        MatchPattern::SafeRegex(value) => {
            if ignore_case {
                // As in Envoy: an expression says `(?i)` itself.
                at.ignore("ignore_case");
            }
            StringMatcher::Regex(regex(&at.field("safe_regex"), value)?)
        }
        MatchPattern::Custom(_) => return Err(at.field("custom").unsupported()),
    })
}

/// `envoy.config.route.v3.HeaderMatcher`.
pub(in crate::resource) fn header(at: &At<'_>, value: route::HeaderMatcher) -> Checked<HeaderMatcher> {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let route::HeaderMatcher { name, invert_match, treat_missing_header_as_empty, header_match_specifier } = value;
    let name = matched_name(at, name)?;
    // Four spellings that `string_match` has replaced; control planes still send them.
    let simple = |pattern: matcher::string_matcher::MatchPattern| {
        string(at, matcher::StringMatcher { ignore_case: false, match_pattern: Some(pattern) })
            .map(HeaderCondition::Value)
    };
    let condition = match header_match_specifier {
        None => HeaderCondition::Present(true),
        Some(Specifier::PresentMatch(present)) => HeaderCondition::Present(present),
        Some(Specifier::StringMatch(value)) => HeaderCondition::Value(string(&at.field("string_match"), value)?),
        Some(Specifier::RangeMatch(types::Int64Range { start, end })) => {
            if start >= end {
                let at = at.field("range_match");
                return Err(at.error(format_args!("no number is in {start}..{end}")));
            }
            HeaderCondition::Range { start, end }
        }
        Some(Specifier::SafeRegexMatch(value)) => {
            HeaderCondition::Value(StringMatcher::Regex(regex(&at.field("safe_regex_match"), value)?))
        }
        Some(Specifier::ExactMatch(value)) => simple(matcher::string_matcher::MatchPattern::Exact(value))?,
        Some(Specifier::PrefixMatch(value)) => simple(matcher::string_matcher::MatchPattern::Prefix(value))?,
        Some(Specifier::SuffixMatch(value)) => simple(matcher::string_matcher::MatchPattern::Suffix(value))?,
        Some(Specifier::ContainsMatch(value)) => simple(matcher::string_matcher::MatchPattern::Contains(value))?,
    };
    Ok(HeaderMatcher { name, condition, invert: invert_match, missing_as_empty: treat_missing_header_as_empty })
}

/// The name of a header that is asked about. Here, other than in a mutation, pseudo-headers are allowed.
fn matched_name(at: &At<'_>, name: String) -> Checked<Arc<str>> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        ":method" | ":path" | ":authority" | ":scheme" => Ok(name.into()),
        // Both protocols carry the same thing under two names; one of them is ours.
        "host" => Ok(":authority".into()),
        _ => header_name(&at.field("name"), &name).map(|()| name.into()),
    }
}

/// `envoy.config.route.v3.QueryParameterMatcher`.
pub(in crate::resource) fn query_parameter(
    at: &At<'_>,
    value: route::QueryParameterMatcher,
) -> Checked<QueryParameterMatcher> {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let route::QueryParameterMatcher { name, query_parameter_match_specifier } = value;
    if name.is_empty() {
        return Err(at.field("name").missing());
    }
    let name = label(at, "name", name)?;
    let condition = match query_parameter_match_specifier {
        None => QueryParameterCondition::Present(true),
        Some(Specifier::PresentMatch(present)) => QueryParameterCondition::Present(present),
        Some(Specifier::StringMatch(value)) => {
            QueryParameterCondition::Value(string(&at.field("string_match"), value)?)
        }
    };
    Ok(QueryParameterMatcher { name, condition })
}
