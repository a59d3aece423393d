//! Matcher to protobuf.

use super::{HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher};
use crate::proto::{matcher, route, types};

pub(in crate::resource) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), engine_type: None }
}

pub(in crate::resource) fn rewrite(pattern: &str, substitution: &str) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution: substitution.to_owned() }
}

pub(in crate::resource) fn string(value: &StringMatcher) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let (match_pattern, ignore_case) = match value {
        StringMatcher::Exact { value, ignore_case } => (MatchPattern::Exact(value.to_string()), *ignore_case),
        StringMatcher::Prefix { value, ignore_case } => (MatchPattern::Prefix(value.to_string()), *ignore_case),
        StringMatcher::Suffix { value, ignore_case } => (MatchPattern::Suffix(value.to_string()), *ignore_case),
        StringMatcher::Contains { value, ignore_case } => (MatchPattern::Contains(value.to_string()), *ignore_case),
        StringMatcher::Regex(pattern) => (MatchPattern::SafeRegex(regex(pattern)), false),
    };
    matcher::StringMatcher { ignore_case, match_pattern: Some(match_pattern) }
}

pub(in crate::resource) fn header(value: &HeaderMatcher) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let specifier = match &value.condition {
        HeaderCondition::Present(present) => Specifier::PresentMatch(*present),
        HeaderCondition::Value(value) => Specifier::StringMatch(string(value)),
        HeaderCondition::Range { start, end } => Specifier::RangeMatch(types::Int64Range { start: *start, end: *end }),
    };
    route::HeaderMatcher {
        name: value.name.to_string(),
        invert_match: value.invert,
        treat_missing_header_as_empty: value.missing_as_empty,
        header_match_specifier: Some(specifier),
    }
}

pub(in crate::resource) fn query_parameter(value: &QueryParameterMatcher) -> route::QueryParameterMatcher {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let specifier = match &value.condition {
        QueryParameterCondition::Present(present) => Specifier::PresentMatch(*present),
        QueryParameterCondition::Value(value) => Specifier::StringMatch(string(value)),
    };
    route::QueryParameterMatcher { name: value.name.to_string(), query_parameter_match_specifier: Some(specifier) }
}
