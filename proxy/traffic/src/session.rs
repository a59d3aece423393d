//! A session that stays with an endpoint, because the caller carries the endpoint's address.
//!
//! # As Envoy does it
//! A cookie holds, in Base64, the message `{1: address, 2: expires}`; older ones hold the address alone, and a header always
//! does. Anything else is no session. The override holds only for endpoints that are healthy or degraded; when it does
//! not hold, a balancer chooses, or, for a strict session, nobody does (503).
//!
//! # Expiry
//! `expires` is in seconds since 1970 here, so that any proxy of a fleet understands any other's. Envoy counts them on the
//! monotonic clock of its machine: a cookie of Envoy's with a time to live has expired for us, and begins a new session.
//!
//! # Trust
//! The caller can name any address. It is looked up among the endpoints of the chosen cluster and nowhere else.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_xds::resource::filter::{SessionCarrier, StatefulSession};

use crate::cookie::{CookieTemplate, cookie};
use crate::endpoint_set::EndpointSet;
use crate::error::CompileError;
use crate::load_balancing::Load;
use crate::request::{RequestView, is_token};

/// The longest carried text that is decoded: an IPv6 address with port and an expiry make 60 bytes, 80 in Base64.
const CARRIED_LEN_MAX: usize = 256;

/// A session's configuration, compiled.
#[derive(Clone, Debug)]
pub struct Sessions {
    carrier: Carrier,
    strict: bool,
}

#[derive(Clone, Debug)]
enum Carrier {
    Cookie(CookieTemplate),
    Header(Box<str>),
}

/// What a session says about the choice of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// This one.
    Endpoint(usize),
    /// A balancer chooses.
    Free,
    /// Nobody may serve it: the session is strict and its endpoint is gone or unusable.
    Gone,
}

impl Sessions {
    /// Compiles a filter's configuration.
    pub fn compile(session: &StatefulSession) -> Result<Self, CompileError> {
        let carrier = match &session.carrier {
            SessionCarrier::Cookie { name, path, ttl } => {
                Carrier::Cookie(CookieTemplate::compile(name, path, *ttl, &[]).map_err(|e| e.under("cookie"))?)
            }
            SessionCarrier::Header { name } if is_token(name) => Carrier::Header(name.to_ascii_lowercase().into()),
            SessionCarrier::Header { name } => {
                return Err(CompileError::new("name", format!("`{name}` is not a header name")));
            }
        };
        Ok(Self { carrier, strict: session.strict })
    }

    /// Whether requests of this path have a session: its cookie must be one that the caller sends along.
    pub fn applies_to(&self, path: &str) -> bool {
        let Carrier::Cookie(template) = &self.carrier else { return true };
        let own: &str = &template.path;
        match path.strip_prefix(own) {
            _ if own.is_empty() => true,
            Some(rest) => rest.is_empty() || own.ends_with('/') || rest.starts_with('/'),
            None => false,
        }
    }

    /// The address that a request carries. `now` is the time since 1970.
    pub fn read(&self, request: &impl RequestView, now: Duration) -> Option<SocketAddr> {
        let carried = match &self.carrier {
            Carrier::Cookie(template) => cookie(request, &template.name)?,
            Carrier::Header(name) => request.header(name).next()?,
        };
        if carried.len() > CARRIED_LEN_MAX {
            return None;
        }
        let mut buffer = [0; CARRIED_LEN_MAX];
        let length = STANDARD.decode_slice(carried, &mut buffer).ok()?;
        let decoded = &buffer[..length];
        match &self.carrier {
            Carrier::Header(_) => address(decoded),
            Carrier::Cookie(_) => address(decoded).or_else(|| from_message(decoded, now)),
        }
    }

    /// Where a request with this address goes. `load` says no to endpoints tried already; then a balancer chooses even for
    /// a strict session, since it was asked to try another.
    pub fn locate(&self, set: &EndpointSet, carried: Option<SocketAddr>, load: &impl Load) -> Override {
        let Some(carried) = carried else { return Override::Free };
        match set.position(carried).filter(|index| set.is_usable(*index)) {
            Some(index) if load.usable(index) => Override::Endpoint(index),
            Some(_) => Override::Free,
            None if self.strict => Override::Gone,
            None => Override::Free,
        }
    }

    /// The field to add to the answer (`set-cookie`, or the session's header) when the request did not carry the address of
    /// the endpoint that served it. `now` is the time since 1970.
    pub fn write(&self, carried: Option<SocketAddr>, served_by: SocketAddr, now: Duration) -> Option<(&str, String)> {
        if carried == Some(served_by) {
            return None;
        }
        let address = served_by.to_string();
        Some(match &self.carrier {
            Carrier::Header(name) => (name, STANDARD.encode(address)),
            Carrier::Cookie(template) => {
                let ttl = template.max_age_s;
                let expires = (ttl != 0).then(|| now.as_secs().saturating_add(ttl));
                ("set-cookie", template.with_value(&STANDARD.encode(to_message(&address, expires))))
            }
        })
    }
}

fn address(decoded: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(decoded).ok()?.parse().ok()
}

/// Key of field 1, a length-delimited one.
const ADDRESS_KEY: u64 = 1 << 3 | 2;
/// Key of field 2, a variable-length integer.
const EXPIRES_KEY: u64 = 2 << 3;

fn to_message(address: &str, expires: Option<u64>) -> Vec<u8> {
    let mut message = Vec::with_capacity(address.len() + 16);
    write_varint(&mut message, ADDRESS_KEY);
    write_varint(&mut message, address.len() as u64);
    message.extend_from_slice(address.as_bytes());
    if let Some(expires) = expires {
        write_varint(&mut message, EXPIRES_KEY);
        write_varint(&mut message, expires);
    }
    message
}

/// The address in a message that has not expired. Fields that we do not know make it none of ours.
fn from_message(mut message: &[u8], now: Duration) -> Option<SocketAddr> {
    let mut found = None;
    while !message.is_empty() {
        match read_varint(&mut message)? {
            ADDRESS_KEY => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                found = Some(address(message.split_off(..length)?)?);
            }
            EXPIRES_KEY => {
                let expires = read_varint(&mut message)?;
                if expires != 0 && now.as_secs() > expires {
                    return None;
                }
            }
            _ => return None,
        }
    }
    found
}

fn write_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    // Ten groups of seven bits hold 64.
    for shift in (0..70).step_by(7) {
        let byte = message.split_off_first()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
