//! Which filter chain a connection belongs to.
//!
//! Envoy's rule: criterion by criterion, the most specific match wins and what it excludes is not looked at again.

use std::net::{IpAddr, SocketAddr};

use crate::config::snapshot::{ActiveChain, ActiveListener};
use crate::tls::hello::Hello;

/// What a connection has shown of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) destination: SocketAddr,
    /// What it said first, if that was TLS.
    pub(crate) hello: Option<&'a Hello>,
    /// What was detected without encryption (`http/1.1`, `h2c`), if anything was.
    pub(crate) protocol: Option<&'a str>,
}

/// The chain for a connection.
pub(crate) fn choose<'l>(listener: &'l ActiveListener, shown: Shown<'_>) -> Option<&'l ActiveChain> {
    let Shown { destination, hello, protocol } = shown;
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
    let server_name = hello.and_then(|hello| hello.server_name.as_deref());
    narrow(&mut chains, |chain| {
        let names = &chain.matches.server_names;
        if names.is_empty() {
            return Some(0);
        }
        // Without TLS there is no server name, and nothing that asks for one applies.
        let name = server_name?;
        names.iter().filter_map(|wanted| rank_of_name(wanted, name)).max()
    });
    let transport = if hello.is_some() { "tls" } else { "raw_buffer" };
    narrow(&mut chains, |chain| match &*chain.matches.transport_protocol {
        "" => Some(0),
        wanted => (wanted == transport).then_some(1),
    });
    narrow(&mut chains, |chain| {
        let wanted = &chain.matches.application_protocols;
        if wanted.is_empty() {
            return Some(0);
        }
        let offered = hello.map_or(&[][..], |hello| &hello.protocols);
        let spoken = protocol.into_iter().chain(offered.iter().map(String::as_str));
        spoken.into_iter().any(|spoken| wanted.iter().any(|wanted| **wanted == *spoken)).then_some(1)
    });
    chains.first().copied().or(listener.default_chain.as_ref())
}

/// How well a name is matched: by itself best, by a wildcard the better the more of the name it says.
fn rank_of_name(wanted: &str, name: &str) -> Option<u32> {
    match wanted.strip_prefix('*') {
        None => (wanted == name).then_some(u32::MAX),
        // The suffix begins with a dot, so that the wildcard stands for whole labels, at least one.
        Some(suffix) => {
            let matches = name.len() > suffix.len() && name.ends_with(suffix);
            matches.then(|| u32::try_from(suffix.len()).unwrap_or(u32::MAX - 1).min(u32::MAX - 1))
        }
    }
}

/// Whether a chain can only be chosen once it is known whether the caller speaks TLS, and what it says first.
pub(crate) fn asks_for_hello(listener: &ActiveListener) -> bool {
    let asks = |chain: &ActiveChain| {
        chain.tls.is_some() || !chain.matches.server_names.is_empty() || &*chain.matches.transport_protocol == "tls"
    };
    listener.chains.iter().chain(&listener.default_chain).any(asks)
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
    fn the_name_itself_beats_a_long_wildcard_which_beats_a_short_one() {
        let ranks = ["a.shop.test", "*.shop.test", "*.test", "*.other.test"].map(|w| rank_of_name(w, "a.shop.test"));

        assert!(ranks[0] > ranks[1] && ranks[1] > ranks[2] && ranks[2] > ranks[3], "{ranks:?}");
        assert_eq!(ranks[3], None);
        assert_eq!(rank_of_name("*.shop.test", "shop.test"), None);
        assert_eq!(rank_of_name("*.shop.test", "xshop.test"), None);
    }

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
