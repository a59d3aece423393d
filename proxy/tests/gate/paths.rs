//! Paths: one canonical form is matched and forwarded, and what has none is refused.

use crate::case::{cases, get, seen_get};

cases! {
    // Dot segments and slashes.
    a_plain_path "RFC 3986 3.3": get("/a/b.c/-_~") => seen_get("/a/b.c/-_~");
    a_slash_at_the_end "RFC 3986 6.2.3": get("/a/") => seen_get("/a/");
    a_dot_segment "RFC 3986 5.2.4": get("/a/./b") => seen_get("/a/b");
    a_double_dot_segment "RFC 3986 5.2.4": get("/a/../b") => seen_get("/b");
    dots_at_the_end "RFC 3986 5.2.4": get("/a/b/..") => seen_get("/a/");
    a_dot_at_the_end "RFC 3986 5.2.4": get("/a/.") => seen_get("/a/");
    dots_above_the_root "RFC 3986 5.2.4": get("/../../etc/passwd") => seen_get("/etc/passwd");
    three_dots_are_a_name "RFC 3986 5.2.4": get("/a/.../b") => seen_get("/a/.../b");
    a_hidden_file_is_a_name "RFC 3986 5.2.4": get("/.well-known/x") => seen_get("/.well-known/x");
    two_slashes "RFC 3986 6.2.3": get("/a//b") => seen_get("/a/b");
    two_slashes_at_the_beginning "RFC 3986 3.3": get("//a.test/admin") => seen_get("/a.test/admin");
    many_slashes "RFC 3986 6.2.3": get("////a////") => seen_get("/a/");
    slashes_around_dots "RFC 3986 5.2.4": get("/a//..//b") => seen_get("/b");
    slashes_alone "RFC 3986 6.2.3": get("//") => seen_get("/");

    // Escaped dots.
    an_escaped_dot_segment "RFC 3986 6.2.2.2": get("/a/%2e/b") => seen_get("/a/b");
    an_escaped_double_dot_segment "RFC 3986 6.2.2.2": get("/a/%2e%2e/b") => seen_get("/b");
    an_escaped_double_dot_segment_in_capitals "RFC 3986 6.2.2.2": get("/a/%2E%2E/b") => seen_get("/b");
    a_half_escaped_double_dot_segment "CVE-2021-41773": get("/cgi-bin/.%2e/.%2e/etc/passwd") => seen_get("/etc/passwd");
    the_other_half_escaped "CVE-2021-41773": get("/a/%2e./b") => seen_get("/b");
    a_doubly_escaped_dot_segment "CVE-2021-42013": get("/a/%252e%252e/b") => seen_get("/a/%252e%252e/b");
    escaped_dots_at_the_end "RFC 3986 6.2.2.2": get("/a/b/%2e%2e") => seen_get("/a/");
    escaped_dots_above_the_root "RFC 3986 5.2.4": get("/%2e%2e/%2e%2e/a") => seen_get("/a");

    // Escapes of separators and controls.
    an_escaped_slash "RFC 3986 2.2": get("/a%2fb") => 400;
    an_escaped_slash_in_capitals "RFC 3986 2.2": get("/a%2Fb") => 400;
    an_escaped_slash_behind_dots "RFC 3986 2.2": get("/..%2fadmin") => 400;
    an_escaped_backslash "RFC 3986 2.2": get("/a%5cb") => 400;
    an_escaped_backslash_in_capitals "RFC 3986 2.2": get("/a%5C..%5Cb") => 400;
    a_backslash "RFC 3986 3.3": get("/a\\b") => 400;
    a_backslash_behind_dots "RFC 3986 3.3": get("/a/..\\b") => 400;
    an_escaped_nul "RFC 3986 7.3": get("/a%00b") => 400;
    an_escaped_nul_at_the_end "RFC 3986 7.3": get("/a.txt%00.html") => 400;
    an_escaped_line_end "RFC 3986 2.1": get("/a%0d%0aX:%20y") => seen_get("/a%0D%0AX:%20y");
    an_escaped_space "RFC 3986 2.1": get("/a%20b") => seen_get("/a%20b");
    an_escaped_question_mark "RFC 3986 2.2": get("/a%3fb") => seen_get("/a%3Fb");
    an_escaped_fragment "RFC 3986 2.2": get("/a%23b") => seen_get("/a%23b");
    an_escaped_semicolon "RFC 3986 2.2": get("/a%3bb") => seen_get("/a%3Bb");
    an_escaped_percent "RFC 3986 2.4": get("/a%25b") => seen_get("/a%25b");
    a_doubly_escaped_slash "RFC 3986 2.4": get("/a%252fb") => seen_get("/a%252fb");

    // Escapes that are none.
    a_percent_at_the_end "RFC 3986 2.1": get("/a%") => 400;
    half_an_escape "RFC 3986 2.1": get("/a%2") => 400;
    an_escape_of_letters "RFC 3986 2.1": get("/a%zz") => 400;
    an_escape_with_a_sign "RFC 3986 2.1": get("/a%+2e") => 400;
    a_unicode_escape "RFC 3986 2.1": get("/a%u002e%u002e/b") => 400;
    half_an_escape_before_a_query "RFC 3986 2.1": get("/a%2?e") => 400;
    an_overlong_slash "RFC 3629 3": get("/a%c0%afb") => seen_get("/a%C0%AFb");
    an_overlong_dot "RFC 3629 3": get("/%c0%ae%c0%ae/b") => seen_get("/%C0%AE%C0%AE/b");

    // One spelling for each character.
    an_escaped_letter "RFC 3986 6.2.2.2": get("/%61dmin") => seen_get("/admin");
    escaped_unreserved_signs "RFC 3986 6.2.2.2": get("/%2d%5f%7e%41%30") => seen_get("/-_~A0");
    an_escape_in_lower_case "RFC 3986 6.2.2.1": get("/%e2%82%ac") => seen_get("/%E2%82%AC");
    the_case_of_a_path "RFC 3986 6.2.2.1": get("/Admin") => seen_get("/Admin");

    // Parameters.
    a_parameter "RFC 3986 3.3": get("/a;v=1/b") => seen_get("/a;v=1/b");
    a_parameter_at_the_end "RFC 3986 3.3": get("/admin;jsessionid=1") => seen_get("/admin;jsessionid=1");
    dots_behind_a_parameter "RFC 3986 3.3": get("/a;v=1/../b") => seen_get("/b");
    dots_with_a_parameter "CVE-2022-22965": get("/a/..;/b") => 400;
    dots_with_a_longer_parameter "RFC 3986 3.3": get("/a/..;v=1/b") => 400;
    a_dot_with_a_parameter "RFC 3986 3.3": get("/a/.;v/b") => 400;
    escaped_dots_with_a_parameter "RFC 3986 3.3": get("/a/%2e%2e;/b") => 400;
    dots_with_an_escaped_parameter "RFC 3986 3.3": get("/a/..%3b/b") => 400;
    a_segment_of_a_parameter_alone "RFC 3986 3.3": get("/a/;v/b") => seen_get("/a/;v/b");

    // Bytes.
    signs_that_belong_in_a_path "RFC 3986 3.3": get("/!$&'()*+,=:@") => seen_get("/!$&'()*+,=:@");
    an_angle_bracket "RFC 3986 3.3": get("/<script>") => 400;
    a_backtick "RFC 3986 3.3": get("/`id`") => 400;
}
