//! The order of domains, ports and case.

use super::*;

fn table(ignore_port: bool, domains: &[&str]) -> HostTable {
    let mut table = HostTable::new(ignore_port);
    for (position, domain) in domains.iter().enumerate() {
        table.insert(domain, position).unwrap();
    }
    table
}

#[test]
fn exact_comes_before_suffix_before_prefix_before_any() {
    let domains = ["*", "www.*", "*.example.com", "www.example.com"];
    let table = table(false, &domains);
    for (authority, domain) in [
        ("www.example.com", "www.example.com"),
        ("api.example.com", "*.example.com"),
        ("www.example.org", "www.*"),
        ("example.net", "*"),
    ] {
        assert_eq!(table.find(authority.as_bytes()).map(|i| domains[i]), Some(domain), "{authority}");
    }
}

#[test]
fn a_suffix_wildcard_comes_before_a_prefix_wildcard_even_if_shorter() {
    let table = table(false, &["www.very-long-name.*", "*.com"]);

    assert_eq!(table.find(b"www.very-long-name.com"), Some(1));
}

#[test]
fn the_longest_wildcard_wins_whatever_its_place() {
    let suffixes = table(false, &["*.com", "*.a.example.com", "*.example.com", "*-bar.example.com"]);
    assert_eq!(suffixes.find(b"x.a.example.com"), Some(1));
    assert_eq!(suffixes.find(b"x.b.example.com"), Some(2));
    assert_eq!(suffixes.find(b"foo-bar.example.com"), Some(3));
    assert_eq!(suffixes.find(b"x.com"), Some(0));

    let prefixes = table(false, &["a.*", "a.b.c.*", "a.b.*"]);
    assert_eq!(prefixes.find(b"a.b.c.d"), Some(1));
    assert_eq!(prefixes.find(b"a.b.x"), Some(2));
    assert_eq!(prefixes.find(b"a.x"), Some(0));
}

#[test]
fn a_wildcard_stands_for_at_least_one_character() {
    let table = table(false, &["*.example.com", "www.*"]);

    assert_eq!(table.find(b".example.com"), None);
    assert_eq!(table.find(b"example.com"), None);
    assert_eq!(table.find(b"www."), None);
    assert_eq!(table.find(b"www.x"), Some(1));
}

#[test]
fn case_does_not_matter() {
    let table = table(false, &["Reviews", "*.Example.com", "API.*"]);

    assert_eq!(table.find(b"rEVIEWS"), Some(0));
    assert_eq!(table.find(b"x.eXAMPLE.COM"), Some(1));
    assert_eq!(table.find(b"api.y"), Some(2));
}

#[test]
fn the_port_counts_unless_it_is_to_be_ignored() {
    let strict = table(false, &["reviews", "reviews:9080", "*.local"]);
    assert_eq!(strict.find(b"reviews:9080"), Some(1));
    assert_eq!(strict.find(b"reviews:80"), None);
    assert_eq!(strict.find(b"x.local:80"), None);

    let lenient = table(true, &["reviews", "*.local", "[::1]"]);
    assert_eq!(lenient.find(b"reviews:9080"), Some(0));
    assert_eq!(lenient.find(b"reviews"), Some(0));
    assert_eq!(lenient.find(b"x.local:80"), Some(1));
    assert_eq!(lenient.find(b"[::1]:80"), Some(2));
    assert_eq!(lenient.find(b"[::1]"), Some(2));
}

#[test]
fn an_empty_authority_belongs_to_no_host() {
    assert_eq!(table(true, &["*"]).find(b""), None);
    assert_eq!(table(true, &["*"]).find(b":80"), None);
}

#[test]
fn a_domain_in_two_hosts_is_refused_and_named() {
    for domain in ["a", "*.a", "a.*", "*"] {
        let mut table = HostTable::new(false);
        table.insert(domain, 0).unwrap();
        table.insert(domain, 0).unwrap();

        let error = table.insert(&domain.to_uppercase(), 1).unwrap_err();

        let upper = domain.to_uppercase();
        assert_eq!(error.reason, format!("the domain `{upper}` is in virtual_hosts[0] too"));
    }
}

#[test]
fn a_star_in_the_middle_is_refused() {
    for domain in ["a*b", "*a*", ""] {
        assert!(HostTable::new(false).insert(domain, 0).is_err(), "{domain}");
    }
}

#[test]
fn ten_thousand_wildcards_of_one_length_cost_one_lookup() {
    let domains: Vec<String> = (0..10_000).map(|i| format!("*.service-{i:05}.local")).collect();
    let table = table(false, &domains.iter().map(String::as_str).collect::<Vec<_>>());

    assert_eq!(table.suffixes.len(), 1);
    assert_eq!(table.find(b"x.service-07777.local"), Some(7_777));
}
