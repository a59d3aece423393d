//! Fields of one hop, fields that Connection nominates, fields that say who the caller is, and look-alikes of all of them.

use crate::case::{SEEN, cases, post, seen_post, seen_with, with};

cases! {
    // Connection and its kin.
    connection_close "RFC 9110 7.6.1": with("Connection: close") => SEEN;
    connection_keep_alive "RFC 9110 7.6.1": with("Connection: keep-alive\r\nKeep-Alive: timeout=5") => SEEN;
    connection_in_capitals "RFC 9110 7.6.1": with("CONNECTION: CLOSE") => SEEN;
    a_proxys_connection "RFC 9112 C.2.2": with("Proxy-Connection: keep-alive") => SEEN;
    a_nominated_field "RFC 9110 7.6.1": with("Connection: X-One\r\nX-One: 1\r\nX-Two: 2") => seen_with("X-Two: 2");
    a_nominated_field_in_another_case "RFC 9110 7.6.1": with("x-one: 1\r\nConnection: X-ONE, close\r\nX-Two: 2") => seen_with("X-Two: 2");
    two_connection_fields "RFC 9110 7.6.1": with("Connection: x-one\r\nX-One: 1\r\nX-Two: 2\r\nConnection: x-two") => SEEN;
    a_nominated_field_that_is_not_there "RFC 9110 7.6.1": with("Connection: x-one\r\nX: y") => seen_with("X: y");
    nominated_credentials "RFC 9110 7.6.1": with("Connection: authorization\r\nAuthorization: x") => SEEN;
    a_nominated_cookie "RFC 9110 7.6.1": with("Connection: cookie\r\nCookie: a=b") => SEEN;
    empty_elements_in_connection "RFC 9110 5.6.1": with("Connection: , ,close,,") => SEEN;
    a_nominated_host "RFC 9110 7.6.1": with("Connection: host") => 400;
    a_nominated_length "RFC 9110 7.6.1": post("Connection: content-length\r\nContent-Length: 5", "hello") => 400;
    a_nominated_coding "RFC 9110 7.6.1": post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked", "0\r\n\r\n") => 400;
    a_nominated_address "RFC 9110 7.6.1": with("Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4") => 400;
    a_nominated_client_certificate "RFC 9110 7.6.1": with("Connection: x-forwarded-client-cert") => 400;
    an_option_with_a_space "RFC 9110 7.6.1": with("Connection: close x-one") => 400;
    an_option_in_quotes "RFC 9110 7.6.1": with("Connection: \"close\"") => 400;
    an_option_with_a_semicolon "RFC 9110 7.6.1": with("Connection: close;x") => 400;
    te_trailers "RFC 9110 10.1.4": with("TE: trailers\r\nConnection: TE") => seen_with("TE: trailers\r\nConnection: TE");
    te_gzip "RFC 9110 10.1.4": with("TE: gzip\r\nConnection: TE") => SEEN;
    te_gzip_and_trailers "RFC 9110 10.1.4": with("TE: gzip, trailers\r\nConnection: TE") => seen_with("TE: trailers\r\nConnection: TE");
    credentials_for_a_proxy "RFC 9110 11.7.2": with("Proxy-Authorization: Basic eA==") => SEEN;
    a_challenge_of_a_proxy "RFC 9110 11.7.1": with("Proxy-Authenticate: Basic") => SEEN;
    credentials_for_the_server "RFC 9110 11.6.2": with("Authorization: Basic eA==") => seen_with("Authorization: Basic eA==");

    // Who the caller is.
    an_address_is_kept_inside_the_mesh "RFC 7239 5.2": with("X-Forwarded-For: 1.2.3.4") => seen_with("X-Forwarded-For: 1.2.3.4");
    a_scheme_is_kept_inside_the_mesh "RFC 7239 5.4": with("X-Forwarded-Proto: https") => "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n";
    a_client_certificate_of_a_caller_without_one "RFC 9440 3": with("X-Forwarded-Client-Cert: By=spiffe://x/y;Hash=0") => SEEN;
    two_client_certificates "RFC 9440 3": with("X-Forwarded-Client-Cert: By=x\r\nA: b\r\nx-forwarded-client-cert: By=y") => seen_with("A: b");
    a_trace_context "W3C Trace Context 3.2": with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b") => seen_with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b");
    a_trace_context_of_a_later_version "W3C Trace Context 4.3": with("traceparent: 01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more") => seen_with("traceparent: 01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more");
    a_malformed_trace_context "W3C Trace Context 3.2.2": with("traceparent: 00-nonsense\r\ntracestate: a=b") => SEEN;
    a_trace_context_of_zeros "W3C Trace Context 3.2.2": with("traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01") => SEEN;
    a_trace_context_without_a_span "W3C Trace Context 3.2.2": with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01") => SEEN;
    a_trace_context_in_capitals "W3C Trace Context 3.2.2": with("traceparent: 00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01") => SEEN;
    a_trace_context_of_version_ff "W3C Trace Context 3.2.2": with("traceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") => SEEN;
    a_trace_context_that_is_too_long "W3C Trace Context 3.2.2": with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x") => SEEN;
    two_trace_contexts "W3C Trace Context 3.2": with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00") => SEEN;

    // Look-alikes.
    a_look_alike_coding "RFC 9110 5.1": with("Transfer_Encoding: chunked") => SEEN;
    a_look_alike_length "RFC 9110 5.1": with("Content_Length: 5") => SEEN;
    a_look_alike_length_with_both_signs "RFC 9110 5.1": with("_Content-Length_: 5") => SEEN;
    a_look_alike_address "RFC 9110 5.1": with("X_Forwarded_For: 1.2.3.4") => SEEN;
    a_look_alike_address_in_part "RFC 9110 5.1": with("X-Forwarded_For: 1.2.3.4") => SEEN;
    a_look_alike_certificate "RFC 9110 5.1": with("X_Forwarded-Client_Cert: By=x") => SEEN;
    a_look_alike_of_credentials "RFC 9110 5.1": with("Authorization_: x") => SEEN;
    a_look_alike_of_te "RFC 9110 5.1": with("TE_: trailers") => SEEN;
    a_look_alike_of_upgrade "RFC 9110 5.1": with("Upgrade_: h2c") => SEEN;
    a_look_alike_of_connection "RFC 9110 5.1": with("Connection_: close") => SEEN;
    a_look_alike_of_a_real_address "RFC 9110 5.1": with("X_Real_IP: 1.2.3.4") => SEEN;
    a_look_alike_of_a_rewrite "RFC 9110 5.1": with("X_Original_URL: /admin\r\nX_Rewrite_URL: /admin") => SEEN;
    a_look_alike_of_a_trace "RFC 9110 5.1": with("X_B3_TraceId: 1") => SEEN;
    a_look_alike_of_a_cookie "RFC 9110 5.1": with("_Cookie: session=1") => SEEN;
    an_innocent_underscore "RFC 9110 5.1": with("my_field: 1") => seen_with("my_field: 1");
    a_look_alike_of_host_beside_a_body "RFC 9110 5.1": post("Ho_st: x\r\nHOST_: y\r\nContent-Length: 5", "hello") => seen_post("Ho_st: x\r\nContent-Length: 5", "hello");
}
