//! Secret: whether it holds a certificate.
//!
//! # What is kept of it
//! One word. The key stays in the file: nothing here serves TLS yet, and no finding ever points into the data, because what a
//! finding points at is printed.

use std::borrow::Cow;

use crate::diagnostic::{Code, Report};
use crate::dialect::Context;
use crate::schema::Fields;
use crate::tree::{Content, Node};

/// The type of a Secret that holds a certificate and its key.
const TLS: &str = "kubernetes.io/tls";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// What the first line of a key has in every format (PKCS #1, PKCS #8, SEC 1).
const KEY: [&str; 2] = ["-----BEGIN ", "PRIVATE KEY-----"];

/// A Secret for certificates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secret {
    /// It has a certificate and a key in PEM. Whether they fit each other is for who uses them to say.
    pub(crate) is_certificate: bool,
}

/// `None`: it is for something else and has no effect.
pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<Secret> {
    let report = &mut cx.report;
    let mut fields = Fields::open(document, "a Secret", report)?;
    let kind = fields.entry("kind");
    let purpose = fields.take("type").and_then(scalar);
    let encoded = fields.take("data");
    let plain = fields.take("stringData");
    // Whatever else stands in it is not complained of: a misplaced key would be printed with the complaint.
    fields.finish(&mut Report::default());
    if purpose != Some(TLS) {
        if let Some(kind) = kind {
            report.add(Code::NoEffect, kind.value.span, "kind `Secret` has no effect in a directory");
        }
        return None;
    }
    // What is written plainly replaces what is written encoded, as the API server has it.
    let value = |name| {
        let encoded = || field(encoded, name).and_then(decoded).map(Cow::Owned);
        field(plain, name).map(|text| Cow::Borrowed(text.as_bytes())).or_else(encoded).unwrap_or_default()
    };
    let (certificate, key) = (value("tls.crt"), value("tls.key"));
    let is_key = KEY.iter().all(|part| contains(&key, part));
    Some(Secret { is_certificate: contains(&certificate, CERTIFICATE) && is_key })
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Scalar(scalar) => Some(&scalar.text),
        Content::Null | Content::List(_) | Content::Map(_) => None,
    }
}

fn field<'n>(map: Option<&'n Node>, name: &str) -> Option<&'n str> {
    match &map?.content {
        Content::Map(entries) => {
            entries.iter().find(|entry| &*entry.key == name).and_then(|entry| scalar(&entry.value))
        }
        Content::Null | Content::Scalar(_) | Content::List(_) => None,
    }
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Base64 (RFC 4648 section 4), with the line breaks that YAML may leave in it. Bits that are too few for a byte are padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_padding_and_line_breaks_and_nothing_else_is() {
        assert_eq!(decoded("SGVsbG8gd29ybGQK").as_deref(), Some(&b"Hello world\n"[..]));
        assert_eq!(decoded("SGVs\nbG8=").as_deref(), Some(&b"Hello"[..]));
        assert_eq!(decoded("SGU=").as_deref(), Some(&b"He"[..]));
        assert_eq!(decoded("/+8=").as_deref(), Some(&[0xff, 0xef][..]));
        assert_eq!(decoded("").as_deref(), Some(&b""[..]));
        assert_eq!(decoded("SGVs!G8="), None);
    }
}
