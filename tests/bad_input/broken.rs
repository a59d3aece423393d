//! Policy files that people and programs get wrong, each in the way its name says.
//!
//! Each would send requests to v2 if it were applied, so that a load which only sees v1 proves that none was.

use crate::split::canary;

/// A file that must be refused.
pub(super) struct Broken {
    /// What is wrong with it.
    pub(super) kind: &'static str,
    /// Where it is written.
    pub(super) file: &'static str,
    /// Its bytes.
    pub(super) content: Vec<u8>,
    /// The line that is guilty, where one is.
    pub(super) line: Option<u64>,
}

/// Everything goes to v1.
pub(super) const GOOD: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

/// Everything goes to a service that nobody stands behind.
pub(super) const LONELY: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: lonely}
";

/// [`canary`] towards v2 with `from` replaced by `to`, once. Line 11 is v2's weight.
fn wrong(kind: &'static str, from: &str, to: &str, line: u64) -> Broken {
    let good = canary(0, 100);
    assert!(good.contains(from), "{kind}: the sample does not contain {from:?}");
    let content = good.replacen(from, to, 1).into_bytes();
    Broken { kind, file: "reviews.yaml", content, line: Some(line) }
}

/// Twelve kinds; cut-off files, routes to nobody and a vanished directory have tests of their own.
pub(super) fn all() -> Vec<Broken> {
    vec![
        wrong("a wrong type", "weight: 100", "weight: many", 11),
        wrong("a wrong shape", "  hosts: [reviews]", "  hosts: 7", 5),
        wrong("an unknown field", "weight: 100", "wieght: 100", 11),
        wrong("a duplicate key", "      weight: 100", "      weight: 100\n      weight: 90", 12),
        wrong("an unknown subset", "subset: v2}", "subset: v9}", 10),
        wrong("an unknown service", "{host: reviews, subset: v2}", "{host: revews}", 10),
        wrong("weights that are all zero", "weight: 100", "weight: 0", 7),
        wrong("a bad regular expression", "  - route:", "  - match: [{uri: {regex: '/(unclosed'}}]\n    route:", 7),
        Broken { kind: "a second file for one object", file: "zz-copy.yaml", content: copy(), line: Some(3) },
        Broken { kind: "10 MiB", file: "reviews.yaml", content: large(), line: None },
        Broken { kind: "an alias bomb", file: "reviews.yaml", content: alias_bomb(), line: None },
        Broken { kind: "not UTF-8", file: "reviews.yaml", content: not_utf8(), line: Some(3) },
        Broken { kind: "empty", file: "reviews.yaml", content: Vec::new(), line: None },
    ]
}

/// The VirtualService alone: the same object as in `reviews.yaml`, with other weights.
fn copy() -> Vec<u8> {
    let text = canary(0, 100);
    let (virtual_service, _) = text.split_once("---\n").expect("the sample has two documents");
    virtual_service.as_bytes().to_vec()
}

/// A good document that a comment makes too large.
fn large() -> Vec<u8> {
    let mut text = canary(0, 100);
    let line = format!("# {}\n", "x".repeat(97));
    while text.len() < 10 << 20 {
        text.push_str(&line);
    }
    text.into_bytes()
}

/// Ten levels of ten copies: ten thousand million values from a few hundred bytes.
fn alias_bomb() -> Vec<u8> {
    let mut text = canary(0, 100);
    text.push_str("---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let copies = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
    }
    text.into_bytes()
}

fn not_utf8() -> Vec<u8> {
    let mut bytes = canary(0, 100).into_bytes();
    let name = bytes.windows(7).position(|w| w == b"reviews").expect("the sample names it");
    bytes[name] = 0xff;
    bytes
}
