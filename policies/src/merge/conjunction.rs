//! Two conditions on requests as one that holds where both hold.
//!
//! # Why the second has to be the narrower one
//! A condition has one place for the path, one for the method and so on, so "begins with `/a` and begins with `/a/b`" can only be
//! said as the narrower of the two. A delegate narrows what it is given; where it says something else, or something that
//! cannot be compared, there is no one condition for both, and nobody should have to guess which was taken.

use std::sync::Arc;

use crate::ir::route::{ClientMatch, HeaderMatch, PathMatch, RequestMatch, StringMatch};
use crate::ir::world::Labels;

/// Two conditions together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Both {
    /// The requests that both take, and no others.
    One(RequestMatch),
    /// No request is taken by both.
    Never,
    /// There may be such requests, but this field cannot say which.
    Unsaid(&'static str),
}

/// How what an inner condition takes lies to what an outer one takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// All of it is taken by the outer one too.
    Within,
    Apart,
    /// Neither is known.
    Unclear,
}

pub(super) fn both(outer: &RequestMatch, inner: &RequestMatch) -> Both {
    let relations = [
        ("uri", path(&outer.path, &inner.path)),
        ("method", given(&outer.method, &inner.method, strings)),
        ("scheme", given(&outer.scheme, &inner.scheme, strings)),
        ("authority", given(&outer.authority, &inner.authority, strings)),
        ("headers", named(&outer.headers, &inner.headers)),
        ("queryParams", named(&outer.query_parameters, &inner.query_parameters)),
        ("port", given(&outer.port, &inner.port, equal)),
        ("sourceNamespace", given(&outer.client.namespace, &inner.client.namespace, equal)),
        ("sourceLabels", labels(&outer.client.labels, &inner.client.labels)),
    ];
    if relations.iter().any(|(_, relation)| *relation == Relation::Apart) {
        return Both::Never;
    }
    if let Some((field, _)) = relations.iter().find(|(_, relation)| *relation == Relation::Unclear) {
        return Both::Unsaid(field);
    }
    let client = ClientMatch {
        namespace: narrower(&outer.client.namespace, &inner.client.namespace),
        labels: outer.client.labels.iter().chain(&inner.client.labels).map(|(k, v)| (k.clone(), v.clone())).collect(),
    };
    Both::One(RequestMatch {
        path: if inner.path == PathMatch::Any { outer.path.clone() } else { inner.path.clone() },
        method: narrower(&outer.method, &inner.method),
        scheme: narrower(&outer.scheme, &inner.scheme),
        authority: narrower(&outer.authority, &inner.authority),
        headers: all(&outer.headers, &inner.headers),
        query_parameters: all(&outer.query_parameters, &inner.query_parameters),
        port: narrower(&outer.port, &inner.port),
        client,
        grpc: outer.grpc || inner.grpc,
    })
}

fn narrower<T: Clone>(outer: &Option<T>, inner: &Option<T>) -> Option<T> {
    inner.as_ref().or(outer.as_ref()).cloned()
}

/// What only one side says is no question.
fn given<T>(outer: &Option<T>, inner: &Option<T>, relate: fn(&T, &T) -> Relation) -> Relation {
    match (outer, inner) {
        (Some(outer), Some(inner)) => relate(outer, inner),
        (Some(_), None) | (None, Some(_)) | (None, None) => Relation::Within,
    }
}

fn equal<T: PartialEq>(outer: &T, inner: &T) -> Relation {
    if outer == inner { Relation::Within } else { Relation::Apart }
}

/// A text that is meant as a whole or as a beginning.
struct Text<'t> {
    value: &'t str,
    whole: bool,
    ignore_case: bool,
}

fn texts(outer: &Text<'_>, inner: &Text<'_>) -> Relation {
    let folded = outer.ignore_case || inner.ignore_case;
    let begins = |text: &str, with: &str| {
        let start = text.as_bytes().get(..with.len());
        start.is_some_and(|s| if folded { s.eq_ignore_ascii_case(with.as_bytes()) } else { s == with.as_bytes() })
    };
    let narrows =
        begins(inner.value, outer.value) && (!outer.whole || inner.whole && inner.value.len() == outer.value.len());
    let widens = !inner.whole && begins(outer.value, inner.value);
    match (narrows, widens) {
        // One that minds the case does not take all that one takes that does not.
        (true, _) if inner.ignore_case && !outer.ignore_case => Relation::Unclear,
        (true, _) => Relation::Within,
        (false, true) => Relation::Unclear,
        (false, false) => Relation::Apart,
    }
}

fn path(outer: &PathMatch, inner: &PathMatch) -> Relation {
    if outer == inner || *outer == PathMatch::Any || *inner == PathMatch::Any {
        return Relation::Within;
    }
    fn text(path: &PathMatch) -> Option<Text<'_>> {
        match path {
            PathMatch::Exact { value, ignore_case } => Some(Text { value, whole: true, ignore_case: *ignore_case }),
            PathMatch::StringPrefix { value, ignore_case } => {
                Some(Text { value, whole: false, ignore_case: *ignore_case })
            }
            PathMatch::Any | PathMatch::SegmentPrefix(_) | PathMatch::Regex(_) => None,
        }
    }
    match (text(outer), text(inner)) {
        (Some(outer), Some(inner)) => texts(&outer, &inner),
        (Some(_), None) | (None, Some(_)) | (None, None) => Relation::Unclear,
    }
}

fn strings(outer: &StringMatch, inner: &StringMatch) -> Relation {
    if outer == inner {
        return Relation::Within;
    }
    fn text(string: &StringMatch) -> Option<Text<'_>> {
        match string {
            StringMatch::Exact(value) => Some(Text { value, whole: true, ignore_case: false }),
            StringMatch::Prefix(value) => Some(Text { value, whole: false, ignore_case: false }),
            StringMatch::Regex(_) => None,
        }
    }
    match (text(outer), text(inner)) {
        (Some(outer), Some(inner)) => texts(&outer, &inner),
        (Some(_), None) | (None, Some(_)) | (None, None) => Relation::Unclear,
    }
}

fn value(outer: &HeaderMatch, inner: &HeaderMatch) -> Relation {
    if outer == inner {
        return Relation::Within;
    }
    match (outer, inner) {
        (HeaderMatch::Value(outer), HeaderMatch::Value(inner)) => strings(outer, inner),
        (HeaderMatch::Present, HeaderMatch::Value(_)) | (HeaderMatch::NotValue(_), HeaderMatch::Absent) => {
            Relation::Within
        }
        (HeaderMatch::Present | HeaderMatch::Value(_), HeaderMatch::Absent)
        | (HeaderMatch::Absent, HeaderMatch::Present | HeaderMatch::Value(_)) => Relation::Apart,
        (HeaderMatch::Present, HeaderMatch::Present | HeaderMatch::NotValue(_))
        | (HeaderMatch::Absent, HeaderMatch::Absent | HeaderMatch::NotValue(_))
        | (HeaderMatch::Value(_), HeaderMatch::Present | HeaderMatch::NotValue(_))
        | (HeaderMatch::NotValue(_), HeaderMatch::Present | HeaderMatch::Value(_) | HeaderMatch::NotValue(_)) => {
            Relation::Unclear
        }
    }
}

type Named = (Arc<str>, HeaderMatch);

/// Each outer condition is about a name of its own, or one of the inner conditions on that name is the narrower one.
fn named(outer: &[Named], inner: &[Named]) -> Relation {
    let mut unclear = false;
    for (name, condition) in outer {
        let same: Vec<Relation> =
            inner.iter().filter(|(other, _)| other == name).map(|(_, other)| value(condition, other)).collect();
        if same.contains(&Relation::Apart) {
            return Relation::Apart;
        }
        unclear |= !same.is_empty() && !same.contains(&Relation::Within);
    }
    if unclear { Relation::Unclear } else { Relation::Within }
}

/// The inner conditions, and the outer ones on names that these say nothing about.
fn all(outer: &[Named], inner: &[Named]) -> Vec<Named> {
    let others = outer.iter().filter(|(name, _)| !inner.iter().any(|(other, _)| other == name));
    others.chain(inner).cloned().collect()
}

fn labels(outer: &Labels, inner: &Labels) -> Relation {
    let differs = |(key, value): (&Arc<str>, &Arc<str>)| inner.get(key).is_some_and(|other| other != value);
    if outer.iter().any(differs) { Relation::Apart } else { Relation::Within }
}

#[cfg(test)]
mod tests;
