//! Conditions on requests as matchers.

use std::sync::Arc;

use tidegate_policies::ir::route::{HeaderMatch, PathMatch, RequestMatch, StringMatch};
use tidegate_xds::resource::matcher::{
    HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{PathMatcher, RouteMatch};

/// Every request.
pub(super) fn everything() -> RouteMatch {
    RouteMatch {
        path: PathMatcher::Prefix { prefix: "/".into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    }
}

/// When a route applies.
pub(super) fn route_match(matches: &RequestMatch) -> RouteMatch {
    RouteMatch {
        path: path_matcher(&matches.path),
        headers: headers(matches),
        query_parameters: query_parameters(matches),
        grpc: matches.grpc,
        fraction: None,
    }
}

/// The conditions on the method, scheme, host and headers.
fn headers(matches: &RequestMatch) -> Vec<HeaderMatcher> {
    let pseudo = [(":method", &matches.method), (":scheme", &matches.scheme), (":authority", &matches.authority)];
    let pseudo = pseudo.into_iter().filter_map(|(name, wanted)| Some(value_of(name, string_matcher(wanted.as_ref()?))));
    pseudo.chain(matches.headers.iter().map(|(name, wanted)| header_matcher(name, wanted))).collect()
}

/// The conditions on query parameters.
pub(super) fn query_parameters(matches: &RequestMatch) -> Vec<QueryParameterMatcher> {
    matches.query_parameters.iter().flat_map(|(name, wanted)| query_parameter_matcher(name, wanted)).collect()
}

/// All conditions that headers can say: the path is a header too, with the query behind it.
pub(super) fn as_headers(matches: &RequestMatch) -> Vec<HeaderMatcher> {
    let path = path_pattern(&matches.path).map(|pattern| value_of(":path", StringMatcher::Regex(pattern)));
    let grpc = matches.grpc.then(|| value_of("content-type", StringMatcher::Regex(r"application/grpc(\+.*)?".into())));
    path.into_iter().chain(grpc).chain(headers(matches)).collect()
}

/// A condition on the path as a pattern for the whole `:path`, query included; `None` for any path.
fn path_pattern(path: &PathMatch) -> Option<Arc<str>> {
    let folded = |ignore: bool| if ignore { "(?i)" } else { "" };
    let pattern = match path {
        PathMatch::Any => return None,
        PathMatch::Exact { value, ignore_case } => format!(r"{}{}(\?.*)?", folded(*ignore_case), escaped(value)),
        PathMatch::StringPrefix { value, ignore_case } => format!("{}{}.*", folded(*ignore_case), escaped(value)),
        PathMatch::SegmentPrefix(prefix) => format!("{}([/?].*)?", escaped(prefix)),
        PathMatch::Regex(pattern) => format!(r"(?:{pattern})(\?.*)?"),
    };
    Some(pattern.into())
}

/// Text as a pattern that matches exactly it (RE2 syntax).
pub(super) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn value_of(name: &str, matcher: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        condition: HeaderCondition::Value(matcher),
        invert: false,
        missing_as_empty: false,
    }
}

fn path_matcher(path: &PathMatch) -> PathMatcher {
    match path {
        PathMatch::Any => everything().path,
        PathMatch::Exact { value, ignore_case } => {
            PathMatcher::Exact { path: value.clone(), case_sensitive: !ignore_case }
        }
        PathMatch::StringPrefix { value, ignore_case } => {
            PathMatcher::Prefix { prefix: value.clone(), case_sensitive: !ignore_case }
        }
        PathMatch::SegmentPrefix(prefix) => {
            PathMatcher::SeparatedPrefix { prefix: prefix.clone(), case_sensitive: true }
        }
        PathMatch::Regex(pattern) => PathMatcher::Regex(pattern.clone()),
    }
}

/// A condition on a string.
pub(super) fn string_matcher(wanted: &StringMatch) -> StringMatcher {
    match wanted {
        StringMatch::Exact(value) => StringMatcher::Exact { value: value.clone(), ignore_case: false },
        StringMatch::Prefix(value) => StringMatcher::Prefix { value: value.clone(), ignore_case: false },
        StringMatch::Regex(pattern) => StringMatcher::Regex(pattern.clone()),
    }
}

fn header_matcher(name: &Arc<str>, wanted: &HeaderMatch) -> HeaderMatcher {
    let (condition, invert) = match wanted {
        HeaderMatch::Present => (HeaderCondition::Present(true), false),
        HeaderMatch::Absent => (HeaderCondition::Present(false), false),
        HeaderMatch::Value(value) => (HeaderCondition::Value(string_matcher(value)), false),
        HeaderMatch::NotValue(value) => (HeaderCondition::Value(string_matcher(value)), true),
    };
    // An inverted matcher does not hold for a missing header unless that counts as an empty value.
    HeaderMatcher { name: name.clone(), condition, invert, missing_as_empty: invert }
}

/// xDS cannot negate a query parameter's value; no dialect asks for it, and such a condition would be dropped here.
fn query_parameter_matcher(name: &Arc<str>, wanted: &HeaderMatch) -> Option<QueryParameterMatcher> {
    let condition = match wanted {
        HeaderMatch::Present => QueryParameterCondition::Present(true),
        HeaderMatch::Absent => QueryParameterCondition::Present(false),
        HeaderMatch::Value(value) => QueryParameterCondition::Value(string_matcher(value)),
        HeaderMatch::NotValue(_) => return None,
    };
    Some(QueryParameterMatcher { name: name.clone(), condition })
}
