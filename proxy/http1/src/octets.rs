//! Byte classes of the grammar.
//!
//! Names are checked by table, values eight bytes at a time: these two loops see every byte of every head. (Names are too short for
//! words: their classes take as many instructions as a table takes for eight bytes.)

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
}

/// `tchar` of RFC 9110 5.6.2.
static TOKEN: [bool; 256] = token_table();

const fn without_underscore(mut table: [bool; 256]) -> [bool; 256] {
    table[b'_' as usize] = false;
    table
}

/// The same but for the byte that makes a name suspicious.
static PLAIN_NAME: [bool; 256] = without_underscore(token_table());

#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// How many leading bytes are token bytes but no underscores.
#[inline]
pub(crate) fn plain_name_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !PLAIN_NAME[usize::from(byte)]).unwrap_or(bytes.len())
}

/// How many leading bytes are token bytes, and whether an underscore is among them.
#[inline]
pub(crate) fn name_len(bytes: &[u8]) -> (usize, bool) {
    let plain = plain_name_len(bytes);
    match bytes.get(plain) {
        Some(b'_') => (plain + token_len(bytes.get(plain..).unwrap_or_default()), true),
        Some(_) | None => (plain, false),
    }
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// How many leading bytes are token bytes.
#[inline]
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&b| !is_token_byte(b)).unwrap_or(bytes.len())
}

fn is_value_byte(byte: u8) -> bool {
    // RFC 9110 5.5: VCHAR, obs-text, SP and HT.
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// How many leading bytes may stand in a field value.
pub(crate) fn value_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let w = u64::from_le_bytes(*word);
        let low = w & !TOPS;
        // The top bits of bytes below 0x20 and of those equal to 0x7f, by additions that carry nothing. A tab is among them.
        let mut marked = (!(low + ONES * 0x60) | (low + ONES)) & !w & TOPS;
        while marked != 0 {
            let at = (marked.trailing_zeros() / 8) as usize;
            if word[at] != b'\t' {
                return index * 8 + at;
            }
            marked &= marked - 1;
        }
    }
    let whole = bytes.len() - rest.len();
    whole + rest.iter().position(|&b| !is_value_byte(b)).unwrap_or(rest.len())
}

#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    value_len(bytes) == bytes.len()
}

#[inline]
pub(crate) fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The range of `bytes` without optional white space at both ends.
pub(crate) fn trim_ows(bytes: &[u8]) -> (usize, usize) {
    let start = bytes.iter().position(|&b| !is_ows(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&b| !is_ows(b)).map_or(start, |last| last + 1);
    (start, end)
}

/// A decimal number of at most 2^63 - 1, digits only. The bound is lower than u64 because many next hops hold lengths in a signed
/// number and would see a negative one.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    // Nineteen digits hold 2^63 - 1, and u64 holds them; leading zeros beyond that are nobody's honest length.
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    (number <= i64::MAX as u64).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_length_agrees_with_the_byte_by_byte_rule_at_every_position() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut value = vec![b'v'; 20];
                value[at] = byte;
                let expected = value.iter().position(|&b| !is_value_byte(b)).unwrap_or(20);

                assert_eq!(value_len(&value), expected, "byte {byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn a_decimal_has_digits_only_and_fits_a_signed_number() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"9223372036854775807"), Some(i64::MAX as u64));
        for wrong in [&b""[..], b"+1", b"-1", b"1 ", b"0x1", b"1,1", b"9223372036854775808", b"99999999999999999999"] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }
}
