//! Sizes and counts: at the limit, and one beyond it.

use crate::case::{cases, get, seen_get, seen_with, with};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const TARGET_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 100;

/// A head of exactly so many bytes.
fn head_of(bytes: usize) -> String {
    with(&format!("X: {}", filling(bytes)))
}

fn filling(bytes: usize) -> String {
    "y".repeat(bytes - with("X: ").len())
}

/// So many fields, Host among them.
fn many(fields: usize) -> String {
    let mut lines: Vec<String> = (1..fields).map(|number| format!("X{number}: y")).collect();
    lines.retain(|line| !line.is_empty());
    lines.join("\r\n")
}

fn target_of(bytes: usize) -> String {
    format!("/{}", "a".repeat(bytes - 1))
}

cases! {
    a_head_at_its_limit "RFC 6585 5": head_of(HEAD_BYTES_MAX) => seen_with(&format!("X: {}", filling(HEAD_BYTES_MAX)));
    a_head_beyond_its_limit "RFC 6585 5": head_of(HEAD_BYTES_MAX + 1) => 431;
    a_head_far_beyond_its_limit "RFC 6585 5": head_of(4 * HEAD_BYTES_MAX) => 431;
    a_name_that_fills_the_head "RFC 6585 5": with(&format!("{}: y", "x".repeat(HEAD_BYTES_MAX))) => 431;
    a_head_without_an_end "RFC 6585 5": format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}", "X: y\r\n".repeat(HEAD_BYTES_MAX / 6)) => 431;
    fields_at_their_limit "RFC 6585 5": with(&many(FIELDS_MAX)) => seen_with(&many(FIELDS_MAX));
    one_field_too_many "RFC 6585 5": with(&many(FIELDS_MAX + 1)) => 431;
    a_thousand_fields "RFC 6585 5": with(&many(1000)) => 431;
    a_target_at_its_limit "RFC 9112 3": get(&target_of(TARGET_BYTES_MAX)) => seen_get(&target_of(TARGET_BYTES_MAX));
    a_target_beyond_its_limit "RFC 9110 15.5.15": get(&target_of(TARGET_BYTES_MAX + 1)) => 414;
    a_query_beyond_the_limit "RFC 9110 15.5.15": get(&format!("/?{}", target_of(TARGET_BYTES_MAX))) => 414;
    a_target_that_never_ends "RFC 9110 15.5.15": format!("GET /{}", "a".repeat(2 * HEAD_BYTES_MAX)) => 414;
    a_method_that_never_ends "RFC 9110 9.1": "M".repeat(2 * HEAD_BYTES_MAX) => 400;
    a_long_value_is_kept "RFC 9110 5.4": with(&format!("Cookie: {}", "c".repeat(32 * 1024))) => seen_with(&format!("Cookie: {}", "c".repeat(32 * 1024)));
}
