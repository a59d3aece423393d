//! How the texts by which SkyWalking calls traces and spans become the numbers of every other format.
//!
//! # Why here
//! A proxy goes on with a trace that came as `sw8` in `traceparent`, and tells of it in OTLP; the control plane receives the
//! segments of the same trace from SkyWalking's agents. They are one tree only where both come to the same numbers, today and in the
//! next version.
//!
//! # Why FNV-1a
//! It is the same on every machine, it needs nothing, and a request that carries such a text waits for it. Nobody's secret depends on
//! it: who may name a trace may name any.

/// 32 digits, a point, 16 digits.
const SEGMENT_BYTES: usize = 49;

/// The id of the trace with this name: the name itself, where it is 32 hexadecimal digits, so that a trace that is told in several
/// formats is one trace; or else its FNV-1a digest. Never 0, which is no trace.
pub fn id_of_text(text: &str) -> u128 {
    match digits(text, 32) {
        Some(id) if id != 0 => id,
        Some(_) | None => fnv(&[text.as_bytes()]).max(1),
    }
}

/// The trace and the span of a segment that is a span of a proxy: it is called `TRACE.SPAN` by both ids, so that whoever is told
/// nothing else knows both.
pub fn ids_of_segment(segment: &str) -> Option<(u128, u64)> {
    let (trace, span) = segment.split_once('.').filter(|_| segment.len() == SEGMENT_BYTES)?;
    let (trace, span) = (digits(trace, 32)?, u64::try_from(digits(span, 16)?).ok()?);
    (trace != 0 && span != 0).then_some((trace, span))
}

/// The id of the span with this number in this segment: the one that the segment's name says, where it is one of ours, and
/// otherwise the first half of the FNV-1a digest of the name, a `/` and the number's four bytes, the highest first. Never 0.
pub fn id_of_span(segment: &str, number: i32) -> u64 {
    if let Some((_, span)) = ids_of_segment(segment).filter(|_| number == 0) {
        return span;
    }
    ((fnv(&[segment.as_bytes(), b"/", &number.to_be_bytes()]) >> 64) as u64).max(1)
}

/// So many hexadecimal digits.
fn digits(text: &str, count: usize) -> Option<u128> {
    // `from_str_radix` takes a sign, too.
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// FNV-1a over 128 bits.
fn fnv(pieces: &[&[u8]]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = pieces.iter().copied().flatten();
    bytes.fold(BASIS, |digest, byte| (digest ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_its_authors() {
        // The draft's test vectors for 128 bits.
        assert_eq!(fnv(&[b""]), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv(&[b"a"]), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fnv(&[b"foo", b"bar"]), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn names_become_the_same_numbers_for_ever() {
        assert_eq!(id_of_text("TRACEID"), 0x79a7_5fe3_6b4f_f78d_590c_1106_48cf_f2b3);
        assert_eq!(id_of_span("SEGMENTID", 3), 0x5e2d_c2f6_7ab4_020a);
        assert_ne!(id_of_span("SEGMENTID", 3), id_of_span("SEGMENTID", 4), "two spans of a segment are two parents");
    }

    #[test]
    fn thirty_two_digits_stand_for_themselves() {
        assert_eq!(id_of_text("0af7651916cd43dd8448eb211c80319c"), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(id_of_text("0AF7651916CD43DD8448EB211C80319C"), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        for other in ["af7651916cd43dd8448eb211c80319c", "+af7651916cd43dd8448eb211c80319c", &"0".repeat(32)] {
            assert_eq!(id_of_text(other), fnv(&[other.as_bytes()]), "{other}");
        }
    }

    #[test]
    fn our_own_segment_says_both_ids() {
        let name = "000000000000000000000000000000ab.00000000000000cd";
        assert_eq!(ids_of_segment(name), Some((0xab, 0xcd)));
        assert_eq!(id_of_span(name, 0), 0xcd);
        assert_ne!(id_of_span(name, 1), 0xcd, "ours have one span");
        let nobody = [name.replace("ab", "00"), name.replace("cd", "00")];
        let malformed = [name.replace('.', "-"), format!("{name}0"), name.replace('a', "g")];
        for other in nobody.into_iter().chain(malformed) {
            assert_eq!(ids_of_segment(&other), None, "{other}");
        }
    }
}
