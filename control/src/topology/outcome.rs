//! How a request ended, and whether that is an error.
//!
//! # What counts as an error
//! A status of 500 and above. No answer at all (status 0), unless it was the caller who went away (flag `DC`). For gRPC, the
//! statuses that OpenTelemetry's conventions call errors of the *server*: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
//! UNAVAILABLE, DATA_LOSS; the others are what a caller did wrong or asked for. A TCP connection has no status: it counts as an
//! error when the proxy raised a flag, again other than `DC`.

use tidegate_report::ResponseFlag;
use tidegate_xds::report_service::Protocol;

/// Statuses have three digits, and nothing above is sent on.
const CODE_MAX: u32 = 999;
/// gRPC's statuses end here; what is above is one status that nobody knows.
const GRPC_STATUS_MAX: u32 = 16;
/// Instead of a gRPC status: there is none.
const NO_GRPC: u8 = u8::MAX;
/// Of a set of flags: a flag that this release does not know.
const UNKNOWN_FLAG: u32 = 1 << 31;
/// All flags, joined by commas, and room for as many of another release.
const FLAGS_BYTES_MAX: usize = 128;
/// Statuses of gRPC that are the server's fault.
const GRPC_SERVER_ERRORS: [u8; 6] = [2, 4, 12, 13, 14, 15];

/// One way to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Outcome {
    code: u16,
    grpc: u8,
    flags: u32,
}

impl Outcome {
    /// As a proxy says it. `Err`: what is wrong with that.
    pub(super) fn new(code: u32, flags: &str, grpc_status: Option<u32>) -> Result<Self, String> {
        let code = u16::try_from(code).ok().filter(|_| code <= CODE_MAX);
        let code = code.ok_or_else(|| format!("a status above {CODE_MAX}"))?;
        if flags.len() > FLAGS_BYTES_MAX {
            return Err(format!("response flags of more than {FLAGS_BYTES_MAX} bytes"));
        }
        let flags = flags.split(',').filter(|flag| !flag.is_empty()).fold(0, |set, flag| set | bit(flag));
        let grpc = grpc_status.map_or(NO_GRPC, |status| status.min(GRPC_STATUS_MAX + 1).to_le_bytes()[0]);
        Ok(Self { code, grpc, flags })
    }

    /// What is left when there are too many ways to end: the class of status, and whether it was an error.
    pub(super) fn coarse(self, protocol: Protocol) -> Self {
        let grpc = match (self.is_error(protocol), self.grpc) {
            (true, _) => GRPC_SERVER_ERRORS[0],
            (false, NO_GRPC) => NO_GRPC,
            (false, _) => 0,
        };
        Self { code: self.code / 100 * 100, grpc, flags: if self.code == 0 { self.flags } else { 0 } }
    }

    pub(super) fn is_error(self, protocol: Protocol) -> bool {
        let left = self.flags & 1 << ResponseFlag::DownstreamTermination as u32 != 0;
        let unanswered = match protocol {
            Protocol::Tcp => self.code == 0 && self.flags != 0 && !left,
            Protocol::Http | Protocol::Grpc | Protocol::Unspecified => self.code == 0 && !left,
        };
        self.code >= 500 || unanswered || GRPC_SERVER_ERRORS.contains(&self.grpc)
    }

    /// `2xx`; `0`: there was no answer.
    pub(super) fn class(self) -> &'static str {
        ["0", "1xx", "2xx", "3xx", "4xx", "5xx"].get(usize::from(self.code / 100)).copied().unwrap_or("other")
    }

    /// The flags as access logs write them; `?` for those of another release.
    pub(super) fn flags(self) -> impl Iterator<Item = &'static str> {
        let known = ResponseFlag::ALL.into_iter().filter(move |flag| self.flags & 1 << *flag as u32 != 0);
        known.map(ResponseFlag::code).chain((self.flags & UNKNOWN_FLAG != 0).then_some("?"))
    }

    /// All of it as a number, for the disk.
    pub(super) fn number(self) -> u64 {
        u64::from(self.code) << 40 | u64::from(self.grpc) << 32 | u64::from(self.flags)
    }

    /// The opposite.
    pub(super) fn of_number(number: u64) -> Option<Self> {
        let [a, b, c, d, grpc, low, high, 0] = number.to_le_bytes() else { return None };
        let code = u16::from_le_bytes([low, high]);
        (u32::from(code) <= CODE_MAX).then_some(Self { code, grpc, flags: u32::from_le_bytes([a, b, c, d]) })
    }
}

fn bit(flag: &str) -> u32 {
    let known = ResponseFlag::ALL.into_iter().find(|known| known.code() == flag);
    known.map_or(UNKNOWN_FLAG, |known| 1 << known as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_error(code: u32, flags: &str, grpc: Option<u32>, protocol: Protocol) -> bool {
        Outcome::new(code, flags, grpc).unwrap().is_error(protocol)
    }

    #[test]
    fn the_servers_failures_are_errors_and_the_callers_are_not() {
        assert!(is_error(500, "", None, Protocol::Http) && is_error(503, "UF,URX", None, Protocol::Http));
        assert!(is_error(0, "UC", None, Protocol::Http) && is_error(0, "", None, Protocol::Http));
        assert!(!is_error(0, "DC", None, Protocol::Http) && !is_error(404, "NR", None, Protocol::Http));
        for status in 0..=17 {
            let servers = [2, 4, 12, 13, 14, 15].contains(&status);
            assert_eq!(is_error(200, "", Some(status), Protocol::Grpc), servers, "{status}");
        }
        assert!(!is_error(0, "", None, Protocol::Tcp) && is_error(0, "UF", None, Protocol::Tcp));
        assert!(!is_error(0, "DC", None, Protocol::Tcp));
    }

    #[test]
    fn flags_are_a_set_and_unknown_ones_are_marked() {
        let outcome = Outcome::new(503, "URX,UF,ZZ,YY", None).unwrap();

        assert_eq!(outcome, Outcome::new(503, "ZZ,UF,,URX", None).unwrap());
        assert_eq!(outcome.flags().collect::<Vec<_>>(), ["UF", "URX", "?"]);
        assert_eq!((outcome.class(), Outcome::of_number(outcome.number())), ("5xx", Some(outcome)));
        assert!(Outcome::new(1_000, "", None).is_err() && Outcome::new(200, &"U".repeat(129), None).is_err());
    }

    #[test]
    fn a_coarse_outcome_is_an_error_if_it_was_one() {
        for (code, flags, grpc) in
            [(200, "", None), (503, "UF", None), (0, "DC", None), (0, "UC", None), (404, "", None)]
        {
            for protocol in [Protocol::Http, Protocol::Tcp] {
                let outcome = Outcome::new(code, flags, grpc).unwrap();
                let coarse = outcome.coarse(protocol);
                assert_eq!((coarse.class(), coarse.is_error(protocol)), (outcome.class(), outcome.is_error(protocol)));
            }
        }
        assert!(Outcome::new(200, "", Some(14)).unwrap().coarse(Protocol::Grpc).is_error(Protocol::Grpc));
    }
}
