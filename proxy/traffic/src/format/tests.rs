//! Operators, escapes and refusals.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::{Head, Request};

fn context() -> Context<'static> {
    Context {
        downstream_remote: Some(([10, 0, 0, 1], 5000).into()),
        downstream_local: Some(([10, 0, 0, 2], 15006).into()),
        protocol: "HTTP/1.1",
        upstream_host: Some(([10, 0, 0, 3], 9080).into()),
        upstream_cluster: "outbound|9080|v1|reviews",
        response_code: Some(200),
        hostname: "node-1",
        start_time: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_007)),
    }
}

fn formatted_with(text: &str, request: &Request, context: &Context<'_>) -> String {
    let response = Head::of(&[("x-answer", "42"), ("server", "s")]);
    let values = Values { request, response: &response, context, route_name: "canary", virtual_host: "reviews" };
    String::from_utf8(Format::compile(text).unwrap().value(&values).into_owned()).unwrap()
}

fn formatted(text: &str) -> String {
    let request = Request::get("/p?q").to("host:80").with("X-Id", "1").with("x-id", "2").with("x-empty", "");
    formatted_with(text, &request, &context())
}

#[test]
fn text_without_operators_is_itself() {
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("plain text"), "plain text");
    assert_eq!(formatted("100%% of %%REQ(X)%%"), "100% of %REQ(X)%");
}

#[test]
fn each_operator_has_its_value() {
    for (text, expected) in [
        ("%REQ(X-Id)%", "1"),
        ("%REQ(x-none)%", ""),
        ("%REQ(x-none?x-id)%", "1"),
        ("%REQ(x-id?:path)%", "1"),
        ("%REQ(:METHOD)%", "GET"),
        ("%REQ(:PATH)%", "/p?q"),
        ("%REQ(:AUTHORITY)%", "host:80"),
        ("%REQ(:SCHEME)%", "http"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/p?q"),
        ("%RESP(X-Answer)%", "42"),
        ("%RESP(x-none?server)%", "s"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.1:5000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.1"),
        ("%DOWNSTREAM_REMOTE_PORT%", "5000"),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "10.0.0.2:15006"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "10.0.0.2"),
        ("%DOWNSTREAM_LOCAL_PORT%", "15006"),
        ("%PROTOCOL%", "HTTP/1.1"),
        ("%UPSTREAM_HOST%", "10.0.0.3:9080"),
        ("%UPSTREAM_CLUSTER%", "outbound|9080|v1|reviews"),
        ("%ROUTE_NAME%", "canary"),
        ("%VIRTUAL_HOST_NAME%", "reviews"),
        ("%RESPONSE_CODE%", "200"),
        ("%HOSTNAME%", "node-1"),
        ("%START_TIME%", "2024-02-29T12:34:56.007Z"),
        ("a-%REQ(x-id)%-%PROTOCOL%%%", "a-1-HTTP/1.1%"),
    ] {
        assert_eq!(formatted(text), expected, "{text}");
    }
}

#[test]
fn a_header_that_is_there_and_empty_needs_no_alternative() {
    assert_eq!(formatted("%REQ(x-empty?x-id)%"), "");
}

#[test]
fn what_is_not_known_yet_is_empty() {
    let all = "%DOWNSTREAM_REMOTE_ADDRESS%%UPSTREAM_HOST%%UPSTREAM_CLUSTER%%RESPONSE_CODE%%START_TIME%%HOSTNAME%";

    assert_eq!(formatted_with(all, &Request::get("/"), &Context::default()), "");
}

#[test]
fn a_length_bounds_a_value() {
    assert_eq!(formatted("%REQ(:AUTHORITY):4%|"), "host|");
    assert_eq!(formatted("%REQ(:AUTHORITY):99%"), "host:80");
    assert_eq!(formatted("%PROTOCOL:4%"), "HTTP");
}

#[test]
fn an_operator_that_is_not_known_is_refused() {
    for (text, expected) in [
        ("%NO_SUCH%", "the operator `%NO_SUCH%` is not supported"),
        ("%PROTOCOL(x)%", "the operator `%PROTOCOL(x)%` is not supported"),
        ("%REQ%", "the operator `%REQ%` is not supported"),
        ("%REQ(x%", "`%REQ(x%` lacks its closing bracket"),
        ("%REQ()%", "`` is not a header name"),
        ("%RESP(a b)%", "`a b` is not a header name"),
        ("50% off", "`% off` is not closed; a percent sign is written %%"),
    ] {
        assert_eq!(Format::compile(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn literals_that_could_end_the_line_are_refused() {
    for text in ["a\r\nx: y", "a\0", "\u{7f}"] {
        assert!(Format::compile(text).is_err(), "{text:?}");
        assert!(Format::compile(&format!("%PROTOCOL%{text}")).is_err(), "{text:?}");
        assert!(Format::compile(&format!("{text}%PROTOCOL%")).is_err(), "{text:?}");
    }
}

#[test]
fn a_value_of_the_request_cannot_end_the_line() {
    let request = Request::get("/").with("x", "a\r\nb: c\0");

    assert_eq!(formatted_with("<%REQ(x)%>", &request, &context()), "<a  b: c >");
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (days, date) in [
        (0, (1970, 1, 1)),
        (58, (1970, 2, 28)),
        (59, (1970, 3, 1)),
        (11_016, (2000, 2, 29)),
        (19_782, (2024, 2, 29)),
        (19_783, (2024, 3, 1)),
        (20_088, (2024, 12, 31)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
    ] {
        assert_eq!(civil_date(days), date, "day {days}");
    }
}

proptest! {
    #[test]
    fn compiling_never_panics_and_escaped_text_is_itself(text in "[ -~]{0,40}") {
        let _outcome = Format::compile(&text);

        prop_assert_eq!(formatted(&text.replace('%', "%%")), text);
    }

    #[test]
    fn the_next_day_is_the_next_date(days in 0_u64..200_000) {
        let (year, month, day) = civil_date(days);
        let next = civil_date(days + 1);

        let follows = next == (year, month, day + 1)
            || next == (year, month + 1, 1) && day >= 28
            || (month, day) == (12, 31) && next == (year + 1, 1, 1);
        prop_assert!(follows, "{:?} then {:?}", (year, month, day), next);
    }
}
