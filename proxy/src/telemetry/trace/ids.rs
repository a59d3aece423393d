//! The two numbers of a trace, and hexadecimal, eight digits at a time.
//!
//! # Why not a digit at a time
//! Each traced request reads 48 digits and writes 48, whether anybody looks at them or not.

use std::num::NonZeroU64;

/// 128 bits that are not all zero (W3C Trace Context 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId {
    high: u64,
    low: u64,
}

/// 64 bits that are not all zero (W3C Trace Context 3.2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(NonZeroU64);

impl TraceId {
    pub(crate) fn new(high: u64, low: u64) -> Option<Self> {
        (high | low != 0).then_some(Self { high, low })
    }

    /// Of random numbers, or of a digest: all zeros is as likely as nothing else, and is no id.
    pub(crate) fn drawn(high: u64, low: u64) -> Self {
        Self { high, low: if high | low == 0 { 1 } else { low } }
    }

    /// 32 digits, or 16 as in old B3.
    pub(crate) fn read(digits: &[u8]) -> Option<Self> {
        match digits.len() {
            32 => Self::new(word(digits.get(..16)?)?, word(digits.get(16..)?)?),
            16 => Self::new(0, word(digits)?),
            _ => None,
        }
    }

    /// Whether it came as 16 digits, or might have: who knows no more can go on with it.
    pub(crate) fn is_short(self) -> bool {
        self.high == 0
    }

    pub(crate) fn digits(self) -> [u8; 32] {
        joined([written(self.high), written(self.low)])
    }

    pub(crate) fn low_digits(self) -> [u8; 16] {
        written(self.low)
    }

    pub(crate) fn bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }
}

impl SpanId {
    pub(crate) fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// Of a random number, or of a digest.
    pub(crate) fn drawn(id: u64) -> Self {
        Self(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    /// 16 digits.
    pub(crate) fn read(digits: &[u8]) -> Option<Self> {
        Self::new(word(digits)?)
    }

    pub(crate) fn digits(self) -> [u8; 16] {
        written(self.0.get())
    }

    pub(crate) fn bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

/// As text. Digits are ASCII.
pub(crate) fn text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = ONES * 0x80;

/// 16 lower-case digits.
fn word(digits: &[u8]) -> Option<u64> {
    let (high, low) = digits.split_at_checked(8)?;
    Some(half(high.try_into().ok()?)? << 32 | half(low.try_into().ok()?)?)
}

/// Eight lower-case digits, all at once.
pub(super) fn half(digits: [u8; 8]) -> Option<u64> {
    let text = u64::from_be_bytes(digits);
    // The top bit of each byte: whether it is at least so much. It is set beforehand, so that no byte borrows of the next.
    let at_least = |byte: u8| (text | TOPS) - ONES * u64::from(byte);
    let is_digit = at_least(b'0') & !at_least(b'9' + 1);
    let is_letter = at_least(b'a') & !at_least(b'f' + 1);
    if (is_digit | is_letter) & !text & TOPS != TOPS {
        return None;
    }
    // `a` is 0x61: one in its lower half, and bit 6.
    let values = (text & (ONES * 0x0f)) + (text >> 6 & ONES) * 9;
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
}

fn written(word: u64) -> [u8; 16] {
    joined([eight(word >> 32), eight(word)])
}

/// The lower half of a word in hexadecimal, all digits at once.
pub(crate) fn eight(word: u64) -> [u8; 8] {
    // A digit's value to each byte.
    let spread = word & 0xffff_ffff;
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in each byte whose digit is a letter.
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn joined<const HALF: usize, const WHOLE: usize>(halves: [[u8; HALF]; 2]) -> [u8; WHOLE] {
    let [first, second] = halves;
    std::array::from_fn(|at| if at < HALF { first[at] } else { second[at - HALF] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(high: u64, low in 1_u64..) {
            let trace = TraceId::drawn(high, low);
            let span = SpanId::drawn(low);

            let digits = trace.digits();
            prop_assert_eq!(text(&digits), format!("{high:016x}{low:016x}"));
            prop_assert_eq!(TraceId::read(&trace.digits()), Some(trace));
            prop_assert_eq!(SpanId::read(&span.digits()), Some(span));
        }

        #[test]
        fn eight_bytes_are_read_as_the_standard_library_reads_them(digits: [u8; 8]) {
            let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            let expected = std::str::from_utf8(&digits).ok().filter(|_| lower);

            prop_assert_eq!(half(digits), expected.and_then(|text| u64::from_str_radix(text, 16).ok()));
        }
    }

    #[test]
    fn each_byte_is_a_digit_or_none() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut digits = *b"0a9f1b2c";
                digits[at] = byte;

                assert_eq!(half(digits).is_some(), matches!(byte, b'0'..=b'9' | b'a'..=b'f'), "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn nothing_but_zeros_is_no_id() {
        assert_eq!(TraceId::read(&[b'0'; 32]), None);
        assert_eq!(TraceId::read(&[b'0'; 16]), None);
        assert_eq!(SpanId::read(&[b'0'; 16]), None);
    }
}
