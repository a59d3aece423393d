//! Each condition, its inversion and the absence of what it asks for.

use super::*;
use crate::testing::Request;

fn header(name: &str, condition: HeaderCondition) -> HeaderMatcher {
    HeaderMatcher { name: name.into(), condition, invert: false, missing_as_empty: false }
}

fn equals(value: &str) -> HeaderCondition {
    HeaderCondition::Value(StringMatcher::Exact { value: value.into(), ignore_case: false })
}

fn holds(matcher: &HeaderMatcher, request: &Request) -> bool {
    CompiledHeader::compile(matcher).unwrap().matches(request)
}

fn string(matcher: StringMatcher, text: &str) -> bool {
    CompiledString::compile(&matcher).unwrap().matches(text.as_bytes())
}

#[test]
fn strings_compare_in_five_ways_and_four_of_them_without_case() {
    for ignore_case in [false, true] {
        let exact = |v: &str| StringMatcher::Exact { value: v.into(), ignore_case };
        let prefix = |v: &str| StringMatcher::Prefix { value: v.into(), ignore_case };
        let suffix = |v: &str| StringMatcher::Suffix { value: v.into(), ignore_case };
        let contains = |v: &str| StringMatcher::Contains { value: v.into(), ignore_case };

        assert!(string(exact("abc"), "abc") && !string(exact("abc"), "abcd"));
        assert!(string(prefix("abc"), "abcd") && !string(prefix("abc"), "ab"));
        assert!(string(suffix("abc"), "xabc") && !string(suffix("abc"), "bc"));
        assert!(string(contains("bc"), "abcd") && !string(contains("bd"), "abcd"));
        assert!(string(contains(""), "") && string(prefix(""), "x") && string(suffix(""), "x"));
        assert_eq!(string(exact("abc"), "aBc"), ignore_case);
        assert_eq!(string(prefix("abc"), "ABCD"), ignore_case);
        assert_eq!(string(suffix("abc"), "xAbC"), ignore_case);
        assert_eq!(string(contains("BC"), "abcd"), ignore_case);
    }
    assert!(string(StringMatcher::Regex("a.c".into()), "abc"));
    assert!(!string(StringMatcher::Regex("a.c".into()), "xabc"));
}

#[test]
fn a_missing_header_does_not_match_even_inverted() {
    let absent = Request::get("/");
    for condition in [equals("v1"), HeaderCondition::Range { start: 0, end: 10 }] {
        for invert in [false, true] {
            let matcher = HeaderMatcher { invert, ..header("x-version", condition.clone()) };

            assert!(!holds(&matcher, &absent), "invert {invert}");
        }
    }
}

#[test]
fn a_missing_header_taken_as_empty_is_an_empty_value() {
    let absent = Request::get("/");
    let taken = |condition, invert| HeaderMatcher { invert, missing_as_empty: true, ..header("x-version", condition) };

    assert!(holds(&taken(equals(""), false), &absent));
    assert!(!holds(&taken(equals("v1"), false), &absent));
    assert!(holds(&taken(equals("v1"), true), &absent));
    assert!(holds(&taken(HeaderCondition::Range { start: 0, end: 10 }, true), &absent));
}

#[test]
fn inversion_turns_the_answer_for_a_header_that_is_there() {
    let there = Request::get("/").with("x-version", "v1");
    let inverted = |condition| HeaderMatcher { invert: true, ..header("x-version", condition) };

    assert!(!holds(&inverted(equals("v1")), &there));
    assert!(holds(&inverted(equals("v2")), &there));
}

#[test]
fn presence_asks_of_the_header_and_can_be_inverted() {
    let there = Request::get("/").with("x-version", "");
    let absent = Request::get("/");
    for (want, invert, when_there) in
        [(true, false, true), (false, false, false), (true, true, false), (false, true, true)]
    {
        let matcher = HeaderMatcher { invert, ..header("x-version", HeaderCondition::Present(want)) };

        assert_eq!(holds(&matcher, &there), when_there, "want {want}, invert {invert}");
        assert_eq!(holds(&matcher, &absent), !when_there, "want {want}, invert {invert}");
    }
}

#[test]
fn a_repeated_header_matches_by_any_one_of_its_values() {
    let request = Request::get("/").with("x-tag", "a").with("other", "z").with("X-Tag", "7").with("x-tag", "c");

    assert!(holds(&header("x-tag", equals("a")), &request));
    assert!(holds(&header("x-tag", equals("c")), &request));
    assert!(holds(&header("x-tag", HeaderCondition::Range { start: 5, end: 9 }), &request));
    assert!(!holds(&header("x-tag", equals("a,7,c")), &request), "what was sent apart is not one value");
}

#[test]
fn an_inverted_condition_on_a_repeated_header_holds_when_no_value_matches() {
    let request = Request::get("/").with("x-tag", "a").with("x-tag", "b");
    let other_than = |value| HeaderMatcher { invert: true, ..header("x-tag", equals(value)) };

    assert!(!holds(&other_than("b"), &request), "a second value is no way around a condition");
    assert!(holds(&other_than("c"), &request));
}

#[test]
fn a_range_is_half_open_and_takes_only_whole_integers() {
    let matcher = header("x-n", HeaderCondition::Range { start: -10, end: 10 });
    for (value, expected) in [
        ("-10", true),
        ("9", true),
        ("10", false),
        ("-11", false),
        ("1x", false),
        ("", false),
        ("1.0", false),
        ("99999999999999999999", false),
    ] {
        assert_eq!(holds(&matcher, &Request::get("/").with("x-n", value)), expected, "{value}");
    }
}

#[test]
fn pseudo_headers_and_host_are_read_from_the_request_line() {
    let request = Request::get("/p?q=1").method("PUT").scheme("https").to("h:80");

    assert!(holds(&header(":method", equals("PUT")), &request));
    assert!(holds(&header(":scheme", equals("https")), &request));
    assert!(holds(&header(":authority", equals("h:80")), &request));
    assert!(holds(&header("host", equals("h:80")), &request));
    assert!(holds(&header(":path", equals("/p?q=1")), &request));
}

#[test]
fn a_name_that_cannot_be_a_header_is_refused() {
    let error = CompiledHeader::compile(&header("a b", equals("x"))).unwrap_err();

    assert_eq!((error.path.as_str(), error.reason.as_str()), ("name", "`a b` is not a header name"));
}

#[test]
fn a_pattern_that_cannot_be_compiled_is_refused_with_its_path() {
    let matcher = header("x", HeaderCondition::Value(StringMatcher::Regex("(".into())));

    let error = CompiledHeader::compile(&matcher).unwrap_err();

    assert_eq!(error.path, "string_match.safe_regex");
    assert!(error.reason.contains("unclosed group"), "{}", error.reason);
}

fn query(name: &str, condition: QueryParameterCondition, query: Option<&str>) -> bool {
    CompiledQuery::compile(&QueryParameterMatcher { name: name.into(), condition }).unwrap().matches(query)
}

#[test]
fn the_first_value_of_a_query_parameter_counts() {
    let is = |v: &str| QueryParameterCondition::Value(StringMatcher::Exact { value: v.into(), ignore_case: false });

    assert!(query("a", is("1"), Some("b=0&a=1&a=2")));
    assert!(!query("a", is("2"), Some("b=0&a=1&a=2")));
    assert!(query("a", is(""), Some("a")));
    assert!(query("a", is("x=y"), Some("a=x=y")));
    assert!(!query("a", is("1"), Some("ba=1&A=1")));
    assert!(!query("a", is(""), Some("b=1")));
    assert!(!query("a", is(""), None));
}

#[test]
fn a_query_parameter_may_be_asked_to_exist_or_not() {
    assert!(query("a", QueryParameterCondition::Present(true), Some("b&a")));
    assert!(!query("a", QueryParameterCondition::Present(true), None));
    assert!(query("a", QueryParameterCondition::Present(false), Some("ab=1")));
    assert!(!query("a", QueryParameterCondition::Present(false), Some("a=1")));
}

#[test]
fn a_share_takes_the_lowest_draws_of_its_denominator() {
    let share = Share::compile(Fraction { numerator: 30, denominator: 100 }).unwrap();

    let taken = (1_000..2_000).filter(|draw| share.takes(*draw)).count();

    assert_eq!(taken, 300);
    assert!(share.takes(0) && share.takes(29) && !share.takes(30) && !share.takes(99) && share.takes(100));
}

#[test]
fn a_share_of_nothing_is_refused() {
    assert!(Share::compile(Fraction { numerator: 1, denominator: 0 }).is_err());
}

#[test]
fn words_are_compared_without_regard_to_case_as_bytes_are() {
    for byte in 0..=255_u8 {
        for other in 0..=255_u8 {
            for at in [0, 7, 8, 11] {
                let (mut a, mut b) = (*b"Reviews.Shop", *b"reviews.shop");
                (a[at], b[at]) = (byte, other);

                assert_eq!(equal(&a, &b, true), a.eq_ignore_ascii_case(&b), "{byte:#x} and {other:#x} at {at}");
            }
        }
    }
}

#[test]
fn nothing_is_drawn_for_all_or_none() {
    let share = |numerator| Share::compile(Fraction { numerator, denominator: 100 }).unwrap();
    let never = || -> u64 { panic!("drawn") };

    assert!(share(100).takes_one(never) && share(200).takes_one(never) && !share(0).takes_one(never));
    assert!(share(30).takes_one(|| 29) && !share(30).takes_one(|| 30));
}
