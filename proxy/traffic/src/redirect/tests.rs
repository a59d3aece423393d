//! Locations, part by part.

use super::*;
use crate::testing::{Request, prefix};

fn nothing() -> Redirect {
    Redirect { scheme: None, host: None, port: None, path: RedirectPath::Keep, status: 301, strip_query: false }
}

fn to(redirect: Redirect, request: &Request) -> String {
    location(&CompiledRedirect::compile(&redirect, &prefix("/a")).unwrap(), request)
}

#[test]
fn what_a_redirect_does_not_name_stays() {
    let request = Request::get("/a/b?c=d").to("host:8080");

    assert_eq!(to(nothing(), &request), "http://host:8080/a/b?c=d");
    let host = Redirect { host: Some("other".into()), ..nothing() };
    assert_eq!(to(host, &request), "http://other/a/b?c=d");
    let port = Redirect { port: Some(9090), ..nothing() };
    assert_eq!(to(port, &request), "http://host:9090/a/b?c=d");
    let both = Redirect { port: Some(9090), host: Some("other".into()), ..nothing() };
    assert_eq!(to(both, &request), "http://other:9090/a/b?c=d");
}

#[test]
fn a_default_port_is_dropped_when_the_scheme_changes() {
    let https = || Redirect { scheme: Some("https".into()), ..nothing() };
    let http = || Redirect { scheme: Some("http".into()), ..nothing() };
    let at = |scheme: &str, authority: &str| Request::get("/a").scheme(scheme).to(authority);

    assert_eq!(to(https(), &at("http", "host:80")), "https://host/a");
    assert_eq!(to(https(), &at("http", "host")), "https://host/a");
    assert_eq!(to(https(), &at("http", "host:8080")), "https://host:8080/a");
    assert_eq!(to(https(), &at("http", "host:443")), "https://host:443/a");
    assert_eq!(to(http(), &at("https", "host:443")), "http://host/a");
    assert_eq!(to(http(), &at("https", "[::1]:443")), "http://[::1]/a");
    assert_eq!(to(https(), &at("https", "host:443")), "https://host:443/a");
    assert_eq!(to(nothing(), &at("http", "host:80")), "http://host:80/a");
}

#[test]
fn a_new_port_replaces_the_one_of_an_ipv6_literal() {
    let port = Redirect { port: Some(81), ..nothing() };

    assert_eq!(to(port.clone(), &Request::get("/a").to("[::1]:80")), "http://[::1]:81/a");
    assert_eq!(to(port, &Request::get("/a").to("[::1]")), "http://[::1]:81/a");
}

#[test]
fn a_path_is_replaced_whole_by_prefix_or_by_pattern() {
    let request = Request::get("/a/b?c=d");
    let full = Redirect { path: RedirectPath::Full("/new".into()), ..nothing() };
    assert_eq!(to(full, &request), "http://host/new?c=d");
    let prefix = Redirect { path: RedirectPath::Prefix("/x".into()), ..nothing() };
    assert_eq!(to(prefix, &request), "http://host/x/b?c=d");
    let regex = RedirectPath::Regex { pattern: "^/a/(.)".into(), substitution: r"/\1/\1".into() };
    assert_eq!(to(Redirect { path: regex, ..nothing() }, &request), "http://host/b/b?c=d");
}

#[test]
fn the_query_is_dropped_when_asked_and_replaced_by_a_paths_own() {
    let request = Request::get("/a?c=d");
    let strip = Redirect { strip_query: true, ..nothing() };
    assert_eq!(to(strip, &request), "http://host/a");
    for strip_query in [false, true] {
        let own = Redirect { path: RedirectPath::Full("/new?x=y".into()), strip_query, ..nothing() };
        assert_eq!(to(own, &request), "http://host/new?x=y");
    }
}

#[test]
fn parts_that_could_escape_the_header_are_refused() {
    let refused = |redirect: Redirect| CompiledRedirect::compile(&redirect, &prefix("/a")).unwrap_err().path;

    assert_eq!(refused(Redirect { host: Some("a\r\nb".into()), ..nothing() }), "host_redirect");
    assert_eq!(refused(Redirect { scheme: Some("ht tp".into()), ..nothing() }), "scheme_redirect");
    assert_eq!(refused(Redirect { path: RedirectPath::Full("/a b".into()), ..nothing() }), "path_redirect");
    assert_eq!(refused(Redirect { path: RedirectPath::Prefix("/a?b".into()), ..nothing() }), "prefix_rewrite");
}
