//! Bytes that nobody meant to send: refused or accepted, never a panic.

use proptest::prelude::*;

use super::samples;
use crate::name::ResourceType;
use crate::resource::Decoded;

/// In about so many places a resource gets a wrong byte.
const WRONG_BYTES: usize = 800;

#[test]
fn a_resource_that_is_cut_off_anywhere_does_not_panic() {
    for resource in samples() {
        let bytes = resource.encode_value();
        let mut refused = 0;
        for end in 0..bytes.len() {
            if let Err(error) = Decoded::from_any(resource.resource_type().type_url(), &bytes[..end]) {
                assert!(!error.path.is_empty() && !error.reason.is_empty());
                refused += 1;
            }
        }
        assert!(refused > bytes.len() / 2, "only {refused} of {} cuts are noticed", bytes.len());
    }
}

#[test]
fn a_resource_with_one_wrong_byte_does_not_panic() {
    for resource in samples() {
        let bytes = resource.encode_value().to_vec();
        // Every byte of a small one; of the large ones some hundreds, or this would take a minute.
        for i in (0..bytes.len()).step_by(1 + bytes.len() / WRONG_BYTES) {
            for wrong in [0xff, bytes[i] ^ 1] {
                let mut bytes = bytes.clone();
                bytes[i] = wrong;
                let decoded = Decoded::from_any(resource.resource_type().type_url(), &bytes);
                // What is accepted is valid, so it can be written and read again.
                if let Ok(decoded) = decoded {
                    let again = decoded.resource.encode_value();
                    let again = Decoded::from_any(resource.resource_type().type_url(), &again);
                    let again = again.unwrap_or_else(|e| panic!("accepted, but not when written again: {e}"));
                    assert_eq!(again.resource.version(), decoded.resource.version());
                }
            }
        }
    }
}

#[test]
fn the_wrong_type_for_the_bytes_does_not_panic() {
    for resource in samples() {
        for kind in ResourceType::ALL {
            drop(Decoded::from_any(kind.type_url(), &resource.encode_value()));
        }
    }
}

#[test]
fn an_unknown_type_is_named() {
    let error = Decoded::from_any("type.googleapis.com/envoy.config.cluster.v2.Cluster", &[]).expect_err("unknown");

    assert_eq!(error.path, "(root)");
    assert!(error.reason.contains("cluster.v2.Cluster"), "{error}");
}

#[test]
fn bytes_that_are_no_message_are_named() {
    let error = Decoded::from_any(ResourceType::Cluster.type_url(), &[0xff]).expect_err("not a message");

    assert_eq!(error.path, "(root)");
    assert!(error.reason.contains("not a valid envoy.config.cluster.v3.Cluster"), "{error}");
}

#[test]
fn no_bytes_are_a_resource_without_a_name() {
    for kind in ResourceType::ALL {
        let error = Decoded::from_any(kind.type_url(), &[]).expect_err("it has no name");

        assert!(error.path == "name" || error.path == "cluster_name", "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_do_not_panic(kind in 0_usize..5, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let kind = ResourceType::ALL[kind];
        if let Ok(decoded) = Decoded::from_any(kind.type_url(), &bytes) {
            prop_assert!(!decoded.resource.name().is_empty());
        }
    }

    #[test]
    fn a_resource_with_a_random_piece_in_it_does_not_panic(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        piece in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let samples = samples();
        let resource = &samples[which.index(samples.len())];
        let mut bytes = resource.encode_value().to_vec();
        let place = place.index(bytes.len());
        bytes.splice(place..place, piece);
        if let Ok(decoded) = Decoded::from_any(resource.resource_type().type_url(), &bytes) {
            prop_assert!(!decoded.resource.to_json().is_empty());
        }
    }
}
