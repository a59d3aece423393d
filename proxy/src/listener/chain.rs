//! Which filter chain a connection belongs to.
//!
//! Envoy's rule: criterion by criterion, the most specific match wins and what it excludes is not looked at again.

use std::net::{IpAddr, SocketAddr};

use crate::config::snapshot::{ActiveChain, ActiveListener};

/// The chain for a plaintext connection. `protocol`: what was detected (`http/1.1`, `h2c`), if anything was.
pub(crate) fn choose<'l>(
    listener: &'l ActiveListener,
    destination: SocketAddr,
    protocol: Option<&str>,
) -> Option<&'l ActiveChain> {
    let mut chains: Vec<&ActiveChain> = listener.chains.iter().collect();
    narrow(&mut chains, |chain| match chain.matches.destination_port {
        Some(port) if port == destination.port() => Some(1),
        Some(_) => None,
        None => Some(0),
    });
    narrow(&mut chains, |chain| {
        let ranges = &chain.matches.prefix_ranges;
        if ranges.is_empty() {
            return Some(0);
        }
        let matching = ranges.iter().filter(|(address, length)| contains(*address, *length, destination.ip()));
        matching.map(|(_, length)| u32::from(*length) + 1).max()
    });
    // Without TLS there is no server name, and nothing that asks for one applies.
    chains.retain(|chain| chain.matches.server_names.is_empty());
    narrow(&mut chains, |chain| match &*chain.matches.transport_protocol {
        "raw_buffer" => Some(1),
        "" => Some(0),
        _ => None,
    });
    narrow(&mut chains, |chain| {
        let wanted = &chain.matches.application_protocols;
        if wanted.is_empty() {
            return Some(0);
        }
        protocol.filter(|protocol| wanted.iter().any(|wanted| **wanted == **protocol)).map(|_| 1)
    });
    chains.first().copied().or(listener.default_chain.as_ref())
}

/// Whether a chain can only be chosen once the protocol is known.
pub(crate) fn asks_for_protocol(listener: &ActiveListener) -> bool {
    listener.chains.iter().any(|chain| !chain.matches.application_protocols.is_empty())
}

/// Keeps the chains of the highest rank; those without one do not match.
fn narrow(chains: &mut Vec<&ActiveChain>, rank: impl Fn(&ActiveChain) -> Option<u32>) {
    let best = chains.iter().filter_map(|chain| rank(chain)).max();
    chains.retain(|chain| best.is_some() && rank(chain) == best);
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32_u32.saturating_sub(u32::from(length));
            network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128_u32.saturating_sub(u32::from(length));
            network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_any_length_are_compared_by_their_leading_bits() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");

        assert!(contains(address("10.0.0.0"), 8, address("10.9.8.7")));
        assert!(!contains(address("10.0.0.0"), 8, address("11.0.0.0")));
        assert!(contains(address("0.0.0.0"), 0, address("11.0.0.0")));
        assert!(contains(address("fd00::"), 8, address("fd12::1")));
        assert!(!contains(address("fd00::"), 8, address("10.0.0.1")));
        assert!(contains(address("10.0.0.1"), 32, address("::ffff:10.0.0.1")));
    }
}
