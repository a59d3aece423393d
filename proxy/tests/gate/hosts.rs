//! Whom a request is for: Host, and the target in its four forms.

use crate::case::{ADDED, SEEN, cases, get, seen_get};

fn host(value: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n")
}

fn seen_host(value: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {value}\r\n{ADDED}\r\n")
}

cases! {
    // Host.
    no_host "RFC 9112 3.2": "GET / HTTP/1.1\r\n\r\n" => 400;
    two_hosts "RFC 9112 3.2": "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n" => 400;
    two_equal_hosts "RFC 9112 3.2": "GET / HTTP/1.1\r\nHost: a.test\r\nhost: a.test\r\n\r\n" => 400;
    two_hosts_and_an_absolute_target "RFC 9112 3.2": "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n" => 400;
    a_look_alike_of_host "RFC 9112 3.2": "GET / HTTP/1.1\r\nHost_: b.test\r\nHost: a.test\r\n\r\n" => SEEN;
    an_empty_host "RFC 9112 3.2": host("") => 400;
    a_host_with_a_comma "RFC 9110 7.2": host("a.test, b.test") => 400;
    a_host_with_a_comma_and_no_space "RFC 9110 7.2": host("a.test,b.test") => 400;
    a_host_with_a_space "RFC 3986 3.2.2": host("a.test b.test") => 400;
    a_host_with_userinfo "RFC 9110 4.2.4": host("user@a.test") => 400;
    a_host_with_a_password "RFC 9110 4.2.4": host("user:secret@a.test") => 400;
    a_host_with_a_path "RFC 3986 3.2.2": host("a.test/b") => 400;
    a_host_with_a_scheme "RFC 3986 3.2.2": host("http://a.test") => 400;
    a_host_with_a_query "RFC 3986 3.2.2": host("a.test?b") => 400;
    a_host_with_a_fragment "RFC 3986 3.2.2": host("a.test#b") => 400;
    a_host_with_a_backslash "RFC 3986 3.2.2": host("a.test\\b") => 400;
    a_host_with_an_escape "RFC 3986 3.2.2": host("a%2etest") => 400;
    a_host_with_an_escaped_line_end "RFC 3986 3.2.2": host("a.test%0d%0aX:y") => 400;
    a_host_with_a_nul "RFC 9110 5.5": host("a.test\0.b") => 400;
    a_host_beyond_ascii "RFC 3986 3.2.2": host("caf\u{e9}.test") => 400;
    a_host_in_brackets_that_is_no_address "RFC 3986 3.2.2": host("[a.test]") => 400;
    an_unclosed_bracket "RFC 3986 3.2.2": host("[::1") => 400;
    an_address_with_a_zone "RFC 6874 2": host("[fe80::1%25eth0]") => 400;
    text_behind_a_bracket "RFC 3986 3.2.2": host("[::1]a") => 400;
    an_ipv6_address "RFC 3986 3.2.2": host("[::1]:8080") => seen_host("[::1]:8080");
    an_ipv4_address "RFC 3986 3.2.2": host("127.0.0.1") => seen_host("127.0.0.1");
    a_port "RFC 3986 3.2.3": host("a.test:8080") => seen_host("a.test:8080");
    an_empty_port "RFC 3986 3.2.3": host("a.test:") => seen_host("a.test");
    a_port_beyond_16_bits "RFC 3986 3.2.3": host("a.test:65536") => 400;
    a_port_in_letters "RFC 3986 3.2.3": host("a.test:http") => 400;
    a_port_with_a_sign "RFC 3986 3.2.3": host("a.test:+80") => 400;
    two_ports "RFC 3986 3.2.3": host("a.test:80:81") => 400;
    a_host_in_capitals "RFC 9110 4.2.3": host("A.Test") => seen_host("A.Test");
    a_host_with_an_underscore "RFC 3986 3.2.2": host("my_service") => seen_host("my_service");

    // Origin-form.
    a_target_without_a_slash "RFC 9112 3.2.1": get("index.html") => 400;
    a_target_of_a_query_alone "RFC 9112 3.2.1": get("?a=b") => 400;
    a_fragment "RFC 9112 3.2": get("/a#b") => 400;
    a_fragment_behind_a_query "RFC 9112 3.2": get("/a?b#c") => 400;
    raw_utf8_in_a_target "RFC 9112 3.2": get("/caf\u{e9}") => 400;
    raw_utf8_in_a_query "RFC 9112 3.2": get("/?caf\u{e9}") => 400;
    a_quote_in_a_query "RFC 3986 3.4": get("/?a=\"b\"") => 400;
    an_angle_bracket_in_a_query "RFC 3986 3.4": get("/?a=<b>") => 400;
    a_query_stays_as_it_is "RFC 3986 3.4": get("/?a=../b//c/%2e%2e;d&e=%zz?") => seen_get("/?a=../b//c/%2e%2e;d&e=%zz?");
    an_empty_query "RFC 3986 3.4": get("/?") => seen_get("/?");

    // Absolute-form.
    an_absolute_target "RFC 9112 3.2.2": "GET http://a.test/b HTTP/1.1\r\nHost: a.test\r\n\r\n" => seen_get("/b");
    an_absolute_target_overrules_host "RFC 9112 3.2.2": "GET http://a.test/b HTTP/1.1\r\nHost: evil.test\r\n\r\n" => seen_get("/b");
    an_absolute_target_without_a_path "RFC 9112 3.2.1": "GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n" => SEEN;
    an_absolute_target_with_a_query_alone "RFC 9112 3.2.1": "GET http://a.test?b HTTP/1.1\r\nHost: a.test\r\n\r\n" => seen_get("/?b");
    an_absolute_target_with_dots "RFC 3986 6.2.2.3": "GET http://a.test/b/../c HTTP/1.1\r\nHost: a.test\r\n\r\n" => seen_get("/c");
    an_absolute_target_with_a_port "RFC 9112 3.2.2": "GET http://a.test:81/ HTTP/1.1\r\nHost: a.test\r\n\r\n" => seen_host("a.test:81");
    an_absolute_target_does_not_replace_host "RFC 9112 3.2": "GET http://a.test/ HTTP/1.1\r\n\r\n" => 400;
    an_absolute_target_on_http10 "RFC 9112 3.2.2": "GET http://a.test/ HTTP/1.0\r\n\r\n" => SEEN;
    an_absolute_target_with_a_bad_host "RFC 9112 3.2": "GET http://a.test/ HTTP/1.1\r\nHost: b.test/x\r\n\r\n" => 400;
    an_absolute_target_with_userinfo "RFC 9110 4.2.4": "GET http://a@b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n" => 400;
    an_absolute_target_without_an_authority "RFC 9110 4.2.1": "GET http:/// HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    an_absolute_target_without_slashes "RFC 9112 3.2.2": "GET http:a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    another_scheme "RFC 9110 4.2": "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    a_file "RFC 9110 4.2": "GET file:///etc/passwd HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    an_absolute_target_with_a_backslash "RFC 3986 3.2": "GET http://a.test\\@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;

    // Asterisk-form.
    an_asterisk "RFC 9112 3.2.4": "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n" => format!("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n{ADDED}\r\n");
    an_asterisk_on_get "RFC 9112 3.2.4": get("*") => 400;
    an_asterisk_with_a_path "RFC 9112 3.2.4": "OPTIONS */a HTTP/1.1\r\nHost: a.test\r\n\r\n" => 400;
    an_absolute_asterisk "RFC 9112 3.2.4": "OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n" => format!("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n{ADDED}\r\n");
    an_authority_as_the_target_of_get "RFC 9112 3.2.3": get("a.test:80") => 400;
}
