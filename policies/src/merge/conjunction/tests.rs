//! What is said to hold for both is compared with asking both.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::*;

/// Few values, so that what is drawn often meets.
const TEXTS: [&str; 7] = ["/", "/a", "/A", "/a/b", "/a/B", "/a/b/c", "/b"];

struct Asked {
    path: &'static str,
    method: &'static str,
    headers: BTreeMap<&'static str, &'static str>,
    port: u16,
    labels: Labels,
}

fn takes(condition: &RequestMatch, request: &Asked) -> bool {
    let folded = |value: &str, ignore| if ignore { value.to_ascii_lowercase() } else { value.to_owned() };
    let path = match &condition.path {
        PathMatch::Any => true,
        PathMatch::Exact { value, ignore_case } => folded(request.path, *ignore_case) == folded(value, *ignore_case),
        PathMatch::StringPrefix { value, ignore_case } => {
            folded(request.path, *ignore_case).starts_with(&folded(value, *ignore_case))
        }
        // Stands for patterns: this one takes everything.
        PathMatch::Regex(_) => true,
        PathMatch::SegmentPrefix(_) => unreachable!("not drawn"),
    };
    path && condition.method.as_ref().is_none_or(|method| is(method, request.method))
        && condition.headers.iter().all(|(name, condition)| has(condition, request.headers.get(&**name).copied()))
        && condition.port.is_none_or(|port| port == request.port)
        && condition.client.labels.iter().all(|(key, value)| request.labels.get(key) == Some(value))
}

fn is(condition: &StringMatch, value: &str) -> bool {
    match condition {
        StringMatch::Exact(wanted) => value == &**wanted,
        StringMatch::Prefix(wanted) => value.starts_with(&**wanted),
        StringMatch::Regex(_) => true,
    }
}

fn has(condition: &HeaderMatch, value: Option<&str>) -> bool {
    match condition {
        HeaderMatch::Present => value.is_some(),
        HeaderMatch::Absent => value.is_none(),
        HeaderMatch::Value(wanted) => value.is_some_and(|value| is(wanted, value)),
        HeaderMatch::NotValue(wanted) => !value.is_some_and(|value| is(wanted, value)),
    }
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(&TEXTS[..]).prop_map(Arc::from)
}

fn string() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        4 => text().prop_map(StringMatch::Exact),
        4 => text().prop_map(StringMatch::Prefix),
        1 => Just(StringMatch::Regex(Arc::from(".*"))),
    ]
}

fn header() -> impl Strategy<Value = HeaderMatch> {
    prop_oneof![
        Just(HeaderMatch::Present),
        Just(HeaderMatch::Absent),
        string().prop_map(HeaderMatch::Value),
        string().prop_map(HeaderMatch::NotValue),
    ]
}

fn path() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => Just(PathMatch::Any),
        1 => Just(PathMatch::Regex(Arc::from(".*"))),
        4 => (text(), any::<bool>()).prop_map(|(value, ignore_case)| PathMatch::Exact { value, ignore_case }),
        4 => (text(), any::<bool>()).prop_map(|(value, ignore_case)| PathMatch::StringPrefix { value, ignore_case }),
    ]
}

fn labelled() -> impl Strategy<Value = Labels> {
    btree_map(prop::sample::select(&["app", "zone"][..]), prop::sample::select(&["1", "2"][..]), 0..3)
        .prop_map(|labels| labels.into_iter().map(|(key, value)| (Arc::from(key), Arc::from(value))).collect())
}

fn condition() -> impl Strategy<Value = RequestMatch> {
    let headers = vec((prop::sample::select(&["x", "y"][..]).prop_map(Arc::from), header()), 0..3);
    (path(), of(string()), headers, of(1_u16..3), labelled()).prop_map(|(path, method, headers, port, labels)| {
        let client = ClientMatch { namespace: None, labels };
        RequestMatch { path, method, headers, port, client, ..RequestMatch::default() }
    })
}

fn request() -> impl Strategy<Value = Asked> {
    let value = || prop::sample::select(&TEXTS[..]);
    let headers = btree_map(prop::sample::select(&["x", "y"][..]), value(), 0..3);
    (value(), value(), headers, 1_u16..3, labelled()).prop_map(|(path, method, headers, port, labels)| Asked {
        path,
        method,
        headers,
        port,
        labels,
    })
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?} port {} {:?}", self.method, self.path, self.headers, self.port, self.labels)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_condition_takes_what_both_take(
        outer in condition(),
        inner in condition(),
        requests in vec(request(), 40),
    ) {
        let together = both(&outer, &inner);

        for request in requests {
            let asked = takes(&outer, &request) && takes(&inner, &request);
            match &together {
                Both::One(one) => prop_assert_eq!(takes(one, &request), asked, "{:?}: {:?}", one, request),
                Both::Never => prop_assert!(!asked, "{request:?}"),
                Both::Unsaid(_) => {}
            }
        }
    }

    #[test]
    fn a_condition_meets_itself_and_no_condition(one in condition()) {
        prop_assert_eq!(both(&RequestMatch::default(), &one), Both::One(one.clone()));
        prop_assert_eq!(both(&one, &RequestMatch::default()), Both::One(one));
    }
}

fn prefix(value: &str) -> RequestMatch {
    let path = PathMatch::StringPrefix { value: Arc::from(value), ignore_case: false };
    RequestMatch { path, ..RequestMatch::default() }
}

fn with_header(condition: HeaderMatch) -> RequestMatch {
    RequestMatch { headers: vec![(Arc::from("x"), condition)], ..RequestMatch::default() }
}

#[test]
fn a_longer_prefix_is_the_narrower_one_and_a_shorter_one_cannot_be_said() {
    assert_eq!(both(&prefix("/a"), &prefix("/a/b")), Both::One(prefix("/a/b")));
    assert_eq!(both(&prefix("/a/b"), &prefix("/a")), Both::Unsaid("uri"));
    assert_eq!(both(&prefix("/a"), &prefix("/b")), Both::Never);
}

#[test]
fn another_value_of_the_same_header_is_never_met_and_a_pattern_cannot_be_compared() {
    let exact = |value: &str| with_header(HeaderMatch::Value(StringMatch::Exact(Arc::from(value))));
    let pattern = with_header(HeaderMatch::Value(StringMatch::Regex(Arc::from("1.*"))));

    assert_eq!(both(&exact("1"), &exact("2")), Both::Never);
    assert_eq!(both(&with_header(HeaderMatch::Present), &exact("2")), Both::One(exact("2")));
    assert_eq!(both(&exact("12"), &pattern), Both::Unsaid("headers"));
}
