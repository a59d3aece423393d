//! `host[:port]`, the authority a request is for.
//!
//! # Stricter than RFC 3986
//! A comma is legal in a registered name, but it is also how two Host fields look once joined; a percent sign is legal, but no DNS
//! name has one and decoding it differs from server to server. Both are refused, as is userinfo.

use std::net::Ipv6Addr;

use crate::refusal::Refusal;

const BAD_HOST: Refusal = Refusal::bad("invalid host", "RFC 9112 3.2");
const USERINFO: Refusal = Refusal::bad("userinfo in the authority", "RFC 9110 4.2.4");
const BAD_PORT: Refusal = Refusal::bad("invalid port", "RFC 3986 3.2.3");

/// Checks `host[:port]` and gives the length of its normal form: a colon with no port after it is left out (RFC 3986 3.2.3).
pub(crate) fn check_authority(authority: &[u8]) -> Result<usize, Refusal> {
    let host_len = match authority.strip_prefix(b"[") {
        Some(literal) => {
            let close = literal.iter().position(|&b| b == b']').ok_or(BAD_HOST)?;
            let address = literal.get(..close).and_then(|a| std::str::from_utf8(a).ok()).ok_or(BAD_HOST)?;
            address.parse::<Ipv6Addr>().map_err(|_| BAD_HOST)?;
            close + 2
        }
        None => authority.iter().position(|&b| !is_reg_name_byte(b)).unwrap_or(authority.len()),
    };
    if host_len == 0 {
        return Err(BAD_HOST);
    }
    match authority.get(host_len..) {
        None | Some([]) => Ok(host_len),
        Some([b':']) => Ok(host_len),
        Some([b':', port @ ..]) if is_port(port) => Ok(authority.len()),
        // Before the port, because `user:password@host` looks like a port at first.
        Some(_) if authority.contains(&b'@') => Err(USERINFO),
        Some([b':', ..]) => Err(BAD_PORT),
        Some(_) => Err(BAD_HOST),
    }
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5
        && std::str::from_utf8(port).is_ok_and(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok())
}

const fn reg_name_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
}

/// Unreserved and sub-delims of RFC 3986 2.2 and 2.3, without the comma.
static REG_NAME: [bool; 256] = reg_name_table();

fn is_reg_name_byte(byte: u8) -> bool {
    REG_NAME[usize::from(byte)]
}
