//! Gateway API: Gateway, GatewayClass, ListenerSet, HTTPRoute, GRPCRoute, TCPRoute, TLSRoute, ReferenceGrant,
//! XBackendTrafficPolicy, BackendTLSPolicy.
//!
//! Where the API server would refuse an object, the message is the API server's own (the CEL rules of the CRDs). What the
//! specification answers at run time, such as a backend that does not exist, is a warning here and stays that way in the IR.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::schema::word;
use crate::source::Spanned;
use crate::tree::{Node, shortened};

pub(crate) mod backend_tls_policy;
pub(crate) mod backend_traffic_policy;
pub(crate) mod certificate;
pub(crate) mod gateway;
pub(crate) mod grpc_route;
pub(crate) mod http_route;
pub(crate) mod listener_set;
pub(crate) mod reference_grant;
pub(crate) mod tcp_route;
pub(crate) mod tls_route;

/// The group of the routes and gateways.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

/// `example.com` or `*.example.com`, in lower case.
fn hostname(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let name = word(node, report)?;
    let rest = name.value.strip_prefix("*.").unwrap_or(&name.value);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let address = rest.parse::<std::net::IpAddr>().is_ok();
    if name.value.len() > 253 || address || !rest.split('.').all(label) {
        report
            .add(Code::BadName, name.span, format!("\"{}\" is not a hostname", shortened(&name.value)))
            .help("write lower-case letters, digits and `-` with dots between, e.g. www.example.com or *.example.com; no port, no address");
        return None;
    }
    Some(name)
}
