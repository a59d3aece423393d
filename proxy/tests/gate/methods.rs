//! Methods, Upgrade, Expect.

use crate::case::{ADDED, SEEN, Verdict, cases, post, seen_post, seen_with, with};

fn method(name: &str) -> String {
    format!("{name} / HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

fn seen_method(name: &str) -> String {
    format!("{name} / HTTP/1.1\r\nHost: a.test\r\n{ADDED}\r\n")
}

/// How the proxy asks for a websocket.
fn seen_websocket(more: &str) -> Verdict {
    Verdict::from(seen_with(&format!("Connection: Upgrade\r\nUpgrade: websocket{more}")))
}

cases! {
    // Methods.
    head "RFC 9110 9.3.2": method("HEAD") => seen_method("HEAD");
    options "RFC 9110 9.3.7": method("OPTIONS") => seen_method("OPTIONS");
    put "RFC 9110 9.3.4": method("PUT") => seen_method("PUT");
    patch "RFC 5789 2": method("PATCH") => seen_method("PATCH");
    an_unknown_method "RFC 9110 9.1": method("BREW") => seen_method("BREW");
    a_method_in_lower_case "RFC 9110 9.1": method("get") => seen_method("get");
    a_method_with_signs "RFC 9110 9.1": method("M-SEARCH!") => seen_method("M-SEARCH!");
    connect "RFC 9110 9.3.6": "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n" => 405;
    connect_in_origin_form "RFC 9110 9.3.6": method("CONNECT") => 405;
    connect_with_a_body "RFC 9110 9.3.6": "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello" => 405;
    trace "RFC 9110 9.3.8": method("TRACE") => 405;
    trace_with_credentials "RFC 9110 9.3.8": "TRACE / HTTP/1.1\r\nHost: a.test\r\nAuthorization: x\r\n\r\n" => 405;
    trace_with_a_body "RFC 9110 9.3.8": "TRACE / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello" => 405;
    an_empty_method "RFC 9110 9.1": method("") => 400;
    a_method_with_a_colon "RFC 9110 9.1": method("GE:T") => 400;
    a_method_with_a_slash "RFC 9110 9.1": method("GE/T") => 400;
    a_method_in_brackets "RFC 9110 9.1": method("[GET]") => 400;
    a_method_with_a_nul "RFC 9110 9.1": method("GET\0") => 400;
    a_method_beyond_ascii "RFC 9110 9.1": method("G\u{c9}T") => 400;
    a_method_of_33_letters "RFC 9110 9.1": method(&"M".repeat(33)) => 400;
    a_method_of_32_letters "RFC 9110 9.1": method(&"M".repeat(32)) => seen_method(&"M".repeat(32));

    // Upgrade.
    a_websocket "RFC 6455 4.1": with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13") => seen_websocket("\r\nSec-WebSocket-Version: 13");
    a_websocket_in_capitals "RFC 9110 7.8": with("Connection: Upgrade\r\nUpgrade: WebSocket") => seen_with("Connection: Upgrade\r\nUpgrade: WebSocket");
    an_upgrade_that_connection_does_not_name "RFC 9110 7.8": with("Upgrade: websocket") => SEEN;
    an_upgrade_without_its_field "RFC 9110 7.8": with("Connection: Upgrade") => SEEN;
    h2c "RFC 9113 3.1": with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__") => SEEN;
    h2c_with_connection_upgrade_alone "RFC 9113 3.1": with("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__") => SEEN;
    h2c_beside_a_websocket "RFC 9110 7.8": with("Connection: Upgrade\r\nUpgrade: websocket, h2c") => SEEN;
    h2c_in_a_second_field "RFC 9110 7.8": with("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c") => SEEN;
    tls_in_the_middle "RFC 9110 7.8": with("Connection: Upgrade\r\nUpgrade: TLS/1.0") => SEEN;
    an_upgrade_to_http2 "RFC 9110 7.8": with("Connection: Upgrade\r\nUpgrade: HTTP/2.0") => SEEN;
    an_empty_upgrade "RFC 9110 7.8": with("Connection: Upgrade\r\nUpgrade:") => SEEN;
    an_upgrade_with_a_body "RUSTSEC-2026-0033": post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5", "hello") => seen_post("Content-Length: 5", "hello");
    an_upgrade_with_chunks "RUSTSEC-2026-0033": post("Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked", "0\r\n\r\n") => seen_post("Transfer-Encoding: chunked", "0\r\n\r\n");
    an_upgrade_on_http10 "RFC 9110 7.8": "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" => SEEN;
    a_request_behind_an_upgrade_that_was_not_granted "CVE-2026-2833": format!("{}{}", with("Connection: Upgrade\r\nUpgrade: h2c"), method("GET")) => format!("{SEEN}{SEEN}");

    // Expect.
    an_expectation "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect: 100-continue", "hello") => seen_post("Content-Length: 5\r\nExpect: 100-continue", "hello");
    an_expectation_in_capitals "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect: 100-Continue", "hello") => seen_post("Content-Length: 5\r\nExpect: 100-Continue", "hello");
    another_expectation "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect: 200-ok", "hello") => 417;
    two_expectations "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect: 100-continue\r\nExpect: 100-continue", "hello") => 417;
    a_list_of_expectations "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect: 100-continue, x", "hello") => 417;
    an_empty_expectation "RFC 9110 10.1.1": post("Content-Length: 5\r\nExpect:", "hello") => 417;
    an_expectation_on_http10 "RFC 9110 10.1.1": "POST / HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello" => seen_post("Content-Length: 5", "hello");
}
