//! Gateways: where traffic enters the mesh.

use std::net::IpAddr;
use std::sync::Arc;

use super::route::RouteEntry;
use super::tcp::TcpRule;
use super::tls::ListenerTls;
use super::{ObjectName, Origin};

/// A Gateway API gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its identity; a gateway proxy's node id names it.
    pub name: ObjectName,
    /// Where it was written.
    pub origin: Origin,
    /// `spec.addresses`; empty: the address in the proxy's node id.
    pub addresses: Vec<IpAddr>,
    /// Its listeners.
    pub listeners: Vec<GatewayListener>,
}

/// One listener of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayListener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub port: u16,
    /// Hosts it serves, with the rules for each; most specific host wins, so no fallback between hosts. Several
    /// listeners of one port are told apart by host.
    pub hosts: Vec<GatewayHost>,
    /// The hostname of the listener itself, if it is limited to one.
    pub hostname: Option<Arc<str>>,
    /// The rule for all connections of a listener that carries bytes; such a listener has no hosts.
    pub tcp: Option<TcpRule>,
    /// Rules for connections by the server's name that their TLS asks for. A name that is not among them is not taken.
    pub servers: Vec<GatewayServer>,
    /// `None`: what arrives is not TLS.
    pub tls: Option<ListenerTls>,
}

/// The rule for connections to one server's name.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayServer {
    /// `example.com`, `*.example.com` or `*`.
    pub name: Arc<str>,
    /// Where they go.
    pub rule: TcpRule,
}

/// The rules for one host name at one listener.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayHost {
    /// `example.com`, `*.example.com` or `*`.
    pub host: Arc<str>,
    /// In the order in which they are tried. A request that matches none: 404.
    pub rules: Vec<RouteEntry>,
}
