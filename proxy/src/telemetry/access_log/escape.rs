//! Bytes of somebody else on their way into a line.
//!
//! # What could go wrong
//! A caller that gets a line break into a log writes lines of its own, one that gets a quote into it moves columns, and one that
//! gets control characters into it plays on the terminal of whoever reads them. So none of these passes as it is, whatever the
//! format: what a head may not hold today is escaped as well. Characters that turn the direction of text or break lines in some
//! viewers are treated as control characters.

use std::fmt::Write as _;

/// Whether a character may stand in a line as it is, apart from what the format itself must escape.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

/// Into a line of text: quotes, backslashes, control characters and what is no UTF-8 become `\xHH`, byte by byte. Outside of quotes
/// spaces do as well, so that a value is one word.
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8], quoted: bool) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') || byte == b' ' && quoted;
    if bytes.iter().all(|byte| is_plain(*byte)) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let encoded = c.encode_utf8(&mut buffer).as_bytes();
            match c {
                '"' | '\\' => hex(out, encoded),
                _ if c.is_whitespace() && !quoted => hex(out, encoded),
                _ if is_harmless(c) => out.extend_from_slice(encoded),
                _ => hex(out, encoded),
            }
        }
        hex(out, chunk.invalid());
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Into a string of JSON, without its quotes. What is no UTF-8 becomes U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    let is_plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(|byte| is_plain(*byte)) {
        return out.extend_from_slice(bytes);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                _ if is_harmless(c) => text.push(c),
                // All of these are in the first plane, so each is one code unit.
                _ => write!(text, "\\u{:04x}", u32::from(c)).expect("writing to memory does not fail"),
            }
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8], quoted: bool) -> String {
        let mut out = Vec::new();
        text(&mut out, bytes, quoted);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_forge_a_line_or_a_column_is_written_in_digits() {
        assert_eq!(written(b"plain text", true), "plain text");
        assert_eq!(written(b"plain text", false), "plain\\x20text");
        assert_eq!(written(b"a\r\nb\"c\\d\x7f\x1b[2J", true), "a\\x0d\\x0ab\\x22c\\x5cd\\x7f\\x1b[2J");
        assert_eq!(
            written("gr\u{fc}n \u{2028}\u{202e}\u{85}".as_bytes(), true),
            "gr\u{fc}n \\xe2\\x80\\xa8\\xe2\\x80\\xae\\xc2\\x85"
        );
        assert_eq!(written(b"\xff\xc3", true), "\\xff\\xc3");
        assert_eq!(written("a\u{a0}b".as_bytes(), false), "a\\xc2\\xa0b");
    }

    #[test]
    fn json_reads_back_what_was_written() {
        let hostile = "a\r\n\"\\\u{7f}\u{1b}\u{85}\u{2028}\u{202e}\u{feff}gr\u{fc}n \u{1f600}";
        let mut out = Vec::from(*b"\"");
        json(&mut out, hostile.as_bytes());
        out.push(b'"');

        assert!(!out.iter().any(|byte| byte.is_ascii_control()));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), hostile);
    }
}
