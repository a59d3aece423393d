//! Secret and ConfigMap: certificates with their keys, and roots.
//!
//! # Nothing of it is printed
//! No finding ever points into the data, because what a finding points at is printed. So whatever is wrong with a
//! certificate is said at the name of the object, or where it is referred to.

use std::fmt;
use std::sync::Arc;

use crate::certificate::base64;
use crate::diagnostic::{Code, Report};
use crate::dialect::Context;
use crate::schema::Fields;
use crate::tree::{Content, Node};

/// The type of a Secret that holds a certificate and its key.
const TLS: &str = "kubernetes.io/tls";
/// Under which names a certificate, its key and roots stand: Kubernetes' own, and those that Istio takes as well.
const CERTIFICATE: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const ROOTS: [&str; 2] = ["ca.crt", "cacert"];

/// A Secret for certificates.
#[derive(Clone)]
pub(crate) struct Secret {
    /// Its type is `kubernetes.io/tls`, which is what Gateway API asks for.
    pub(crate) is_tls: bool,
    /// Certificate and key in PEM, as they stand there: perhaps empty, perhaps something else.
    pub(crate) chain: Arc<[u8]>,
    pub(crate) key: Arc<[u8]>,
    pub(crate) roots: Option<Arc<[u8]>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Roots in PEM, from a ConfigMap.
pub(crate) type Roots = Arc<[u8]>;

/// `None`: it is for something else and has no effect.
pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<Secret> {
    let report = &mut cx.report;
    let mut fields = Fields::open(document, "a Secret", report)?;
    let kind = fields.entry("kind");
    let is_tls = fields.take("type").and_then(scalar) == Some(TLS);
    let encoded = fields.take("data");
    let plain = fields.take("stringData");
    // Whatever else stands in it is not complained of: a misplaced key would be printed with the complaint.
    fields.finish(&mut Report::default());
    // What is written plainly replaces what is written encoded, as the API server has it.
    let value = |names: [&str; 2]| {
        let bytes = |name: &str| {
            let encoded = || field(encoded, name).and_then(base64);
            field(plain, name).map(|text| text.as_bytes().to_vec()).or_else(encoded)
        };
        names.iter().find_map(|name| bytes(name)).map(Arc::from)
    };
    let secret = (value(CERTIFICATE), value(KEY), value(ROOTS));
    if !is_tls && (&secret.0, &secret.2) == (&None, &None) {
        if let Some(kind) = kind {
            report.add(Code::NoEffect, kind.value.span, "kind `Secret` has no effect in a directory");
        }
        return None;
    }
    let (chain, key, roots) = secret;
    Some(Secret { is_tls, chain: chain.unwrap_or_default(), key: key.unwrap_or_default(), roots })
}

/// `None`: it holds no roots and has no effect.
pub(crate) fn config_map(document: &Node, cx: &mut Context<'_>) -> Option<Roots> {
    let report = &mut cx.report;
    let mut fields = Fields::open(document, "a ConfigMap", report)?;
    let kind = fields.entry("kind");
    let roots = field(fields.take("data"), ROOTS[0]).map(|text| Arc::from(text.as_bytes()));
    fields.finish(&mut Report::default());
    if let (None, Some(kind)) = (&roots, kind) {
        report.add(Code::NoEffect, kind.value.span, "kind `ConfigMap` has no effect in a directory");
    }
    roots
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
