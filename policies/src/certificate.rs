//! Certificates and keys in PEM, as far as findings need them: until when, for which names, whether both fit.
//!
//! # What is not done here
//! Nothing is verified. A proxy does that, with a TLS library, on both sides of a connection. Here an operator is told what
//! would fail there, early and with a line, so only the few fields that such a finding speaks of are looked at.
//!
//! # Hostile input
//! The bytes come from files. Every length is checked by slicing, nothing is indexed, and no message repeats what was read:
//! a private key is closer to it than one would like.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::schema::quantity::days_since_1970;

/// Most blocks of one text that are read; a bundle of the roots of all the world has a few hundred.
const BLOCKS_MAX: usize = 2_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, `[1]` and `[3]` around something.
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_1: u8 = 0xa1;
const EXPLICIT_3: u8 = 0xa3;
/// `[1]` in place of a bit string's own tag.
const IMPLICIT_BITS_1: u8 = 0x81;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// What findings speak of in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
    /// Names and addresses that it is for.
    pub(crate) names: Vec<Arc<str>>,
    /// The key that it vouches for: RSA's modulus, otherwise all of it.
    public_key: Vec<u8>,
}

/// Why a certificate and its key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoCertificate,
    Malformed,
    NoKey,
    Encrypted,
    KeyOfAnother,
}

/// The first certificate of a chain, if it and its key can be used as far as can be told from here.
pub(crate) fn pair(chain: &[u8], key: &[u8]) -> Result<Certificate, Flaw> {
    let blocks = blocks(chain);
    let mut certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    let first = certificates.next().ok_or(Flaw::NoCertificate)?;
    let certificate = read(&first.der).ok_or(Flaw::Malformed)?;
    let rest_is_read = certificates.all(|block| read(&block.der).is_some());
    let keys = self::blocks(key);
    let key = keys.iter().find(|block| block.label.ends_with("PRIVATE KEY")).ok_or(Flaw::NoKey)?;
    match public_of(&key.label, &key.der) {
        _ if key.label.starts_with("ENCRYPTED") => Err(Flaw::Encrypted),
        _ if !rest_is_read => Err(Flaw::Malformed),
        Err(()) => Err(Flaw::NoKey),
        Ok(Some(public)) if public != certificate.public_key => Err(Flaw::KeyOfAnother),
        Ok(_) => Ok(certificate),
    }
}

/// The certificates that others may lead to; `None` when there is none, or something else among them.
pub(crate) fn roots(pem: &[u8]) -> Option<Vec<Certificate>> {
    let blocks = blocks(pem);
    let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    let found: Option<Vec<Certificate>> = certificates.map(|block| read(&block.der)).collect();
    found.filter(|found| !found.is_empty())
}

impl Certificate {
    /// Whether it is for a host, or for every host that a wildcard stands for.
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| {
            let name = name.to_ascii_lowercase();
            // A star is one label (RFC 6125 section 6.4.3).
            let below =
                |suffix: &str| host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix);
            name == host || name.strip_prefix("*.").is_some_and(below)
        })
    }
}

/// One block of PEM.
struct Block {
    label: String,
    der: Vec<u8>,
}

/// The blocks of a text; what stands around them is a comment. A block that is not base64 is empty.
fn blocks(pem: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(pem);
    let mut blocks = Vec::new();
    let mut rest = &*text;
    while let Some((_, from)) = rest.split_once("-----BEGIN ")
        && let Some((label, body)) = from.split_once("-----")
        && let Some((body, after)) = body.split_once(&format!("-----END {label}-----"))
        && blocks.len() < BLOCKS_MAX
    {
        blocks.push(Block { label: label.to_owned(), der: base64(body).unwrap_or_default() });
        rest = after;
    }
    blocks
}

/// Base64 (RFC 4648 section 4), with the line breaks that PEM and YAML put into it. Bits that are too few for a byte are
/// padding.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for symbol in text.bytes().filter(|symbol| !symbol.is_ascii_whitespace() && *symbol != b'=') {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// DER values, one after the other.
#[derive(Clone, Copy)]
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// The next value's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next value, which must have that tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Likewise, where the value may be left out.
    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.0.first().filter(|found| **found == tag).and_then(|_| self.take(tag))
    }
}

/// A certificate (RFC 5280 section 4.1).
fn read(der: &[u8]) -> Option<Certificate> {
    let mut signed = Values(Values(der).take(SEQUENCE)?);
    let mut fields = Values(signed.take(SEQUENCE)?);
    fields.optional(EXPLICIT_0);
    fields.take(INTEGER)?;
    fields.take(SEQUENCE)?;
    fields.take(SEQUENCE)?;
    let mut validity = Values(fields.take(SEQUENCE)?);
    let (from, until) = (time(validity.next()?)?, time(validity.next()?)?);
    fields.take(SEQUENCE)?;
    let public_key = public(Values(fields.take(SEQUENCE)?))?;
    let mut names = Vec::new();
    while let Some((tag, content)) = fields.next() {
        if tag == EXPLICIT_3 {
            names = alternative_names(Values(Values(content).take(SEQUENCE)?)).unwrap_or_default();
        }
    }
    Some(Certificate { from, until, names, public_key })
}

fn alternative_names(mut extensions: Values<'_>) -> Option<Vec<Arc<str>>> {
    let mut names = Vec::new();
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut fields = Values(extension);
        if fields.take(OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
            continue;
        }
        // Whether it is critical may stand between.
        let content = std::iter::from_fn(|| fields.next()).find(|(tag, _)| *tag == OCTET_STRING)?.1;
        let mut found = Values(Values(content).take(SEQUENCE)?);
        while let Some((tag, content)) = found.next() {
            match (tag, content) {
                (0x82 | 0x86, name) => names.push(Arc::from(std::str::from_utf8(name).ok()?)),
                (0x87, address) => {
                    let v4 = <[u8; 4]>::try_from(address).map(IpAddr::from);
                    let address = v4.or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from)).ok()?;
                    names.push(Arc::from(address.to_string()));
                }
                _ => {}
            }
        }
    }
    Some(names)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time((tag, content): (u8, &[u8])) -> Option<SystemTime> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // What was before 1970 is as expired as if it had been then.
    let days = days_since_1970(year, month, day).unwrap_or(0);
    Some(UNIX_EPOCH + Duration::from_secs(days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?))
}

/// The key in a SubjectPublicKeyInfo.
fn public(mut info: Values<'_>) -> Option<Vec<u8>> {
    let algorithm = Values(info.take(SEQUENCE)?).take(OBJECT_IDENTIFIER)?;
    let (_, key) = info.take(BIT_STRING)?.split_first()?;
    if algorithm != RSA {
        return Some(key.to_vec());
    }
    Values(Values(key).take(SEQUENCE)?).take(INTEGER).map(<[u8]>::to_vec)
}

/// The public half, as [`public`] gives it, where a private key's file holds it; `Err` when it is no key.
fn public_of(label: &str, der: &[u8]) -> Result<Option<Vec<u8>>, ()> {
    let mut fields = Values(Values(der).take(SEQUENCE).ok_or(())?);
    match label {
        "RSA PRIVATE KEY" => rsa(fields).map(Some).ok_or(()),
        "EC PRIVATE KEY" => Ok(elliptic(fields)),
        "PRIVATE KEY" => {
            fields.take(INTEGER).ok_or(())?;
            let algorithm = fields.take(SEQUENCE).and_then(|a| Values(a).take(OBJECT_IDENTIFIER)).ok_or(())?;
            let key = fields.take(OCTET_STRING).ok_or(())?;
            fields.optional(EXPLICIT_0);
            let attached = fields.optional(IMPLICIT_BITS_1).and_then(|bits| bits.split_first());
            if let Some((_, public)) = attached {
                return Ok(Some(public.to_vec()));
            }
            let inner = Values(key).take(SEQUENCE).map(Values);
            if algorithm == RSA { inner.and_then(rsa).map(Some).ok_or(()) } else { Ok(inner.and_then(elliptic)) }
        }
        _ => Ok(None),
    }
}

/// The modulus of an RSA key (RFC 8017 appendix A.1.2).
fn rsa(mut fields: Values<'_>) -> Option<Vec<u8>> {
    fields.take(INTEGER)?;
    fields.take(INTEGER).map(<[u8]>::to_vec)
}

/// The public half of an elliptic key (RFC 5915 section 3), which may be left out.
fn elliptic(mut fields: Values<'_>) -> Option<Vec<u8>> {
    fields.take(INTEGER)?;
    fields.take(OCTET_STRING)?;
    fields.optional(EXPLICIT_0);
    let bits = Values(fields.optional(EXPLICIT_1)?).take(BIT_STRING)?;
    bits.split_first().map(|(_, key)| key.to_vec())
}

#[cfg(test)]
mod tests;
