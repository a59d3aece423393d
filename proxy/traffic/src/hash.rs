//! The two hash functions by which Envoy places endpoints and requests.
//!
//! # Why exactly these
//! A fleet that runs Envoy and Tidegate side by side keeps a user with an endpoint only if both compute the same tables.
//! So the functions, their seeds and the texts that go in are Envoy's, bit by bit.

use twox_hash::XxHash64;

/// The seed of the C++ standard library's `std::hash`, which Envoy's `MURMUR_HASH_2` imitates.
const MURMUR_SEED: u64 = 0xc70f_6907;

/// xxHash64.
pub(crate) fn xx_hash(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

/// MurmurHash2 for 64 bits in the variant of GNU's C++ library: the last bytes are mixed in as one little-endian number.
pub(crate) fn murmur_hash_2(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    let shift_mix = |value: u64| value ^ (value >> 47);
    let mut hash = MURMUR_SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = shift_mix(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ mixed).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    shift_mix(shift_mix(hash).wrapping_mul(MULTIPLIER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nothing_is_the_published_one() {
        assert_eq!(xx_hash(b"", 0), 0xEF46_DB37_51D8_E999);
    }

    #[test]
    fn both_functions_place_an_address_where_envoy_places_it() {
        let keys = [b"127.0.0.1:90_0", b"127.0.0.1:90_1"];
        let mut placed = keys.map(|key| xx_hash(key, 0));
        placed.sort_unstable();
        assert_eq!(placed, [1_033_482_794_131_418_490, 16_117_243_373_044_804_889]);

        let keys = [b"127.0.0.1:85_0", b"127.0.0.1:85_1"];
        let mut placed = keys.map(|key| murmur_hash_2(key));
        placed.sort_unstable();
        assert_eq!(placed, [1_358_027_074_129_602_068, 16_375_050_414_328_759_093]);
    }

    #[test]
    fn every_length_of_a_last_part_counts() {
        let text = b"0123456789abcdef";
        let mut hashes: Vec<u64> = (0..=text.len()).map(|n| murmur_hash_2(&text[..n])).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), text.len() + 1);
    }
}
