//! Anchors, limits and substitutions of patterns.

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    FullPattern::compile(pattern).unwrap().matches(text.as_bytes())
}

#[test]
fn a_pattern_matches_the_whole_text_or_nothing() {
    assert!(matches("/v[0-9]+", "/v10"));
    assert!(!matches("/v[0-9]+", "/v10/x"));
    assert!(!matches("/v[0-9]+", "x/v10"));
    assert!(!matches("/v1", "/v1\n"));
}

#[test]
fn alternatives_are_anchored_together() {
    assert!(matches("a|b", "a"));
    assert!(!matches("a|b", "ab"));
    assert!(!matches("a|bc", "a bc"));
}

#[test]
fn a_pattern_that_breaks_out_of_the_anchors_is_refused() {
    assert!(FullPattern::compile("a)(?:b").is_err());
    assert!(FullPattern::compile("a)|(b").is_err());
}

#[test]
fn a_pattern_that_is_too_large_is_refused_by_its_size() {
    let error = FullPattern::compile("(?:[a-z]{1000}){1000}").unwrap_err();

    assert!(error.contains("more than 1048576 bytes"), "{error}");
}

#[test]
fn classes_are_ascii_unless_the_pattern_needs_unicode() {
    assert!(!matches(r"\d", "٣"));
    assert!(matches(r"\p{Greek}+", "αβγ"));
    assert!(FullPattern::compile(".*").unwrap().matches(b"caf\xe9"));
}

fn replaced(pattern: &str, substitution: &str, text: &str) -> String {
    Substitution::compile(pattern, substitution).unwrap().replace_all(text)
}

#[test]
fn every_match_is_replaced_and_groups_are_numbered() {
    assert_eq!(replaced("a", "b", "/a/a"), "/b/b");
    assert_eq!(replaced("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api"), "/v1/api/instance/foo");
    assert_eq!(replaced("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb"), "/aaa/yyy/bbb");
    assert_eq!(replaced("b+", r"[\0]", "abbc"), "a[bb]c");
    assert_eq!(replaced("x", r"\\", "x"), r"\");
}

#[test]
fn a_dollar_in_a_substitution_is_a_dollar() {
    assert_eq!(replaced("(a)", "$1", "a"), "$1");
}

#[test]
fn a_substitution_names_only_groups_that_exist() {
    let error = Substitution::compile("(a)", r"\2").unwrap_err();

    assert_eq!(error, "the substitution names group 2, the pattern has 1");
    assert!(Substitution::compile("a", r"\x").is_err());
    assert!(Substitution::compile("a", r"\").is_err());
}

#[test]
fn a_group_that_took_no_part_is_empty() {
    assert_eq!(replaced("(a)|(b)", r"<\1\2>", "ab"), "<a><b>");
}
