//! Response flags: why the proxy answered in place of the upstream, or why an exchange ended early.
//!
//! The two- and three-letter codes are Envoy's, because operators, Kiali and existing alerts know them. Only flags that
//! Tidegate can raise are listed: a flag nobody raises is a promise nobody keeps.

use std::fmt;

/// Why an exchange did not go the ordinary way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ResponseFlag {
    /// No virtual host or no route matched.
    NoRoute,
    /// The route names a cluster that is not known.
    NoCluster,
    /// Every endpoint of the cluster is unhealthy, or there is none.
    NoHealthyUpstream,
    /// No connection to the endpoint could be made.
    UpstreamConnectionFailure,
    /// The upstream closed the connection before its answer was whole.
    UpstreamConnectionTermination,
    /// The upstream reset the stream.
    UpstreamRemoteReset,
    /// The upstream's answer broke the protocol.
    UpstreamProtocolError,
    /// The route's time limit passed before the answer.
    UpstreamTimeout,
    /// A circuit breaker's limit is reached.
    UpstreamOverflow,
    /// Every permitted attempt failed.
    RetryLimitExceeded,
    /// The caller closed its connection or reset its stream.
    DownstreamTermination,
    /// The caller's message broke the protocol.
    DownstreamProtocolError,
    /// Nothing moved for longer than the stream's idle limit.
    StreamIdleTimeout,
    /// The proxy is at its limit of connections.
    Overload,
    /// The request was held up by a fault that is injected on purpose.
    DelayInjected,
    /// The request was ended by a fault that is injected on purpose.
    FaultInjected,
    /// The request was over a rate limit.
    RateLimited,
    /// The control plane asks that a share of the cluster's requests be refused.
    DropOverload,
}

impl ResponseFlag {
    /// All flags, in the order of their discriminants.
    pub const ALL: [Self; 18] = [
        Self::NoRoute,
        Self::NoCluster,
        Self::NoHealthyUpstream,
        Self::UpstreamConnectionFailure,
        Self::UpstreamConnectionTermination,
        Self::UpstreamRemoteReset,
        Self::UpstreamProtocolError,
        Self::UpstreamTimeout,
        Self::UpstreamOverflow,
        Self::RetryLimitExceeded,
        Self::DownstreamTermination,
        Self::DownstreamProtocolError,
        Self::StreamIdleTimeout,
        Self::Overload,
        Self::DelayInjected,
        Self::FaultInjected,
        Self::RateLimited,
        Self::DropOverload,
    ];

    /// The code as access logs and the label `flag` write it.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoRoute => "NR",
            Self::NoCluster => "NC",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamProtocolError => "UPE",
            Self::UpstreamTimeout => "UT",
            Self::UpstreamOverflow => "UO",
            Self::RetryLimitExceeded => "URX",
            Self::DownstreamTermination => "DC",
            Self::DownstreamProtocolError => "DPE",
            Self::StreamIdleTimeout => "SI",
            Self::Overload => "OM",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::RateLimited => "RL",
            Self::DropOverload => "DO",
        }
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_a_code_of_its_own() {
        let mut codes: Vec<_> = ResponseFlag::ALL.iter().map(|flag| flag.code()).collect();
        codes.sort_unstable();
        codes.dedup();

        assert_eq!(codes.len(), ResponseFlag::ALL.len());
    }

    #[test]
    fn the_list_is_in_order_of_discriminants_so_that_counters_can_be_indexed_by_it() {
        for (index, flag) in ResponseFlag::ALL.iter().enumerate() {
            assert_eq!(*flag as usize, index);
        }
    }
}
