//! What goes into a hash, how hashes are combined, and when a cookie is made.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::Request;

fn header(name: &str) -> HashSource {
    HashSource::Header(name.into())
}

fn cookie_source(ttl: Option<u64>) -> HashSource {
    let attributes = vec![("SameSite".into(), "Lax".into())];
    HashSource::Cookie { name: "user".into(), ttl: ttl.map(Duration::from_secs), path: "/".into(), attributes }
}

fn policies(sources: &[(HashSource, bool)]) -> HashPolicies {
    let policy = |(source, terminal): &(HashSource, bool)| HashPolicy { source: source.clone(), terminal: *terminal };
    HashPolicies::compile(&sources.iter().map(policy).collect::<Vec<_>>()).unwrap()
}

fn hash(sources: &[(HashSource, bool)], request: &Request) -> Option<u64> {
    policies(sources).hash(request, Some([10, 0, 0, 1].into()), &mut || panic!("drawn")).hash
}

#[test]
fn a_header_is_hashed_as_it_stands() {
    let request = Request::get("/p?q=1").with("x-user", "ann");

    assert_eq!(hash(&[(header("X-User"), false)], &request), Some(xx_hash(b"ann", 0)));
    assert_eq!(hash(&[(header("x-other"), false)], &request), None);
    assert_eq!(hash(&[(header(":path"), false)], &request), Some(xx_hash(b"/p?q=1", 0)));
    assert_eq!(hash(&[(header("host"), false)], &request), Some(xx_hash(b"host", 0)));
}

#[test]
fn several_values_of_a_header_give_the_same_hash_in_any_order() {
    let one = Request::get("/").with("a", "foo").with("a", "bar");
    let other = Request::get("/").with("a", "bar").with("a", "foo");

    let expected = xx_hash(b"foo", xx_hash(b"bar", 0));
    assert_eq!(hash(&[(header("a"), false)], &one), Some(expected));
    assert_eq!(hash(&[(header("a"), false)], &other), Some(expected));
}

#[test]
fn hashes_are_combined_so_that_equal_ones_do_not_cancel_out() {
    let request = Request::get("/").with("a", "1").with("b", "2");
    let (a, b) = (xx_hash(b"1", 0), xx_hash(b"2", 0));

    assert_eq!(hash(&[(header("a"), false), (header("b"), false)], &request), Some(a.rotate_left(1) ^ b));
    assert_eq!(hash(&[(header("a"), false), (header("a"), false)], &request), Some(a.rotate_left(1) ^ a));
    assert_eq!(hash(&[(header("x"), false), (header("b"), false)], &request), Some(b));
}

#[test]
fn a_terminal_policy_ends_the_list_once_there_is_a_hash() {
    let request = Request::get("/").with("a", "1").with("b", "2");
    let (a, b) = (xx_hash(b"1", 0), xx_hash(b"2", 0));

    assert_eq!(hash(&[(header("a"), true), (header("b"), false)], &request), Some(a));
    assert_eq!(hash(&[(header("x"), true), (header("b"), false)], &request), Some(b));
    // What is terminal need not be what gave the hash.
    assert_eq!(hash(&[(header("a"), false), (header("x"), true), (header("b"), false)], &request), Some(a));
}

#[test]
fn an_address_is_hashed_as_text_without_its_port() {
    let source = [(HashSource::SourceIp, false)];

    assert_eq!(hash(&source, &Request::get("/")), Some(xx_hash(b"10.0.0.1", 0)));
    let long: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
    let hashed = policies(&source).hash(&Request::get("/"), Some(long), &mut || 0).hash;
    assert_eq!(hashed, Some(xx_hash(long.to_string().as_bytes(), 0)));
    assert_eq!(policies(&source).hash(&Request::get("/"), None, &mut || 0).hash, None);
}

#[test]
fn a_query_parameter_is_hashed_by_its_first_value() {
    let source = [(HashSource::QueryParameter("q".into()), false)];

    assert_eq!(hash(&source, &Request::get("/?a=1&q=%20&q=2")), Some(xx_hash(b"%20", 0)));
    assert_eq!(hash(&source, &Request::get("/?q")), Some(xx_hash(b"", 0)));
    assert_eq!(hash(&source, &Request::get("/?qq=1")), None);
    assert_eq!(hash(&source, &Request::get("/")), None);
}

#[test]
fn a_cookie_is_hashed_and_made_only_when_missing_and_asked_for() {
    let with = Request::get("/").with("cookie", "a=b; user=\"ann\"");
    assert_eq!(hash(&[(cookie_source(Some(60)), false)], &with), Some(xx_hash(b"ann", 0)));
    assert_eq!(hash(&[(cookie_source(None), false)], &Request::get("/")), None);

    let made = policies(&[(cookie_source(Some(60)), false)]).hash(&Request::get("/"), None, &mut || 0xAB);

    let value = "00000000000000ab";
    assert_eq!(made.hash, Some(xx_hash(value.as_bytes(), 0)));
    assert_eq!(made.set_cookies, [format!("user=\"{value}\"; Max-Age=60; Path=/; SameSite=Lax; HttpOnly")]);
    // The next request brings it, and goes the same way.
    let again = Request::get("/").with("cookie", &format!("user={value}"));
    assert_eq!(hash(&[(cookie_source(Some(60)), false)], &again), made.hash);
}

#[test]
fn no_cookie_is_made_after_a_terminal_policy_has_spoken() {
    let list = policies(&[(header("a"), true), (cookie_source(Some(0)), false)]);

    assert_eq!(list.hash(&Request::get("/").with("a", "1"), None, &mut || 0).set_cookies, Vec::<String>::new());
    assert_eq!(list.hash(&Request::get("/"), None, &mut || 0).set_cookies.len(), 1);
}

#[test]
fn what_cannot_be_a_header_or_a_cookie_is_refused_with_its_path() {
    let refusal = |source| {
        let good = HashPolicy { source: HashSource::SourceIp, terminal: false };
        HashPolicies::compile(&[good, HashPolicy { source, terminal: false }]).err().map(|e| e.path)
    };
    assert_eq!(refusal(header("a b")).as_deref(), Some("hash_policy[1].header.header_name"));
    let path = "/;".into();
    let cookie = HashSource::Cookie { name: "n".into(), ttl: None, path, attributes: Vec::new() };
    assert_eq!(refusal(cookie).as_deref(), Some("hash_policy[1].cookie.path"));
    assert_eq!(refusal(header("a")), None);
}

proptest! {
    #[test]
    fn the_same_request_has_the_same_hash_whatever_was_drawn(
        values in prop::collection::vec("\\PC{0,12}", 0..4),
        cookie in "\\PC{0,12}",
        query in prop::option::of("\\PC{0,12}"),
    ) {
        let list = policies(&[
            (header("a"), false),
            (cookie_source(None), false),
            (HashSource::QueryParameter("q".into()), true),
            (HashSource::SourceIp, false),
        ]);
        let mut request = Request::get("/").with("cookie", &cookie);
        for value in &values {
            request = request.with("a", value);
        }
        request.query = query;
        let first = list.hash(&request, None, &mut || 1);
        prop_assert_eq!(&first, &list.hash(&request, None, &mut || 2));
        prop_assert!(values.is_empty() || first.hash.is_some());
    }
}
