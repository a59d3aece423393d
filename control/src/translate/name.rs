//! Names of listeners and route configurations.
//!
//! Clusters are named in `tidegate_xds::name`. The names here are as binding: real proxies, gRPC clients' targets and
//! operators' dashboards spell them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_policies::ir::ObjectName;

/// The listener, and its routes, for HTTP that leaves a workload.
pub const OUTBOUND: &str = "outbound";

/// The listener at which an application dials one TCP service.
pub fn outbound_tcp(listen: SocketAddr) -> Arc<str> {
    format!("outbound_tcp|{listen}").into()
}

/// The listener for traffic that arrives at a port of a workload, and its inline routes.
pub fn inbound(port: u16) -> Arc<str> {
    format!("inbound|{port}").into()
}

/// The routes of a gateway's port, and its listener on the gateway's first address.
pub fn gateway(port: u16) -> Arc<str> {
    format!("gateway|{port}").into()
}

/// The routes of one listener of a gateway's port, where several are told apart by the server's name before HTTP begins.
pub fn gateway_listener(port: u16, listener: &str) -> Arc<str> {
    format!("gateway|{port}|{listener}").into()
}

/// The listener of a gateway's port on a further address.
pub fn gateway_at(port: u16, address: IpAddr) -> Arc<str> {
    format!("gateway|{port}|{address}").into()
}

/// The routes that a gRPC client reads for one port of a service.
pub fn grpc_routes(host: &str, port: u16) -> Arc<str> {
    format!("grpc|{host}:{port}").into()
}

/// `HOST:PORT`: the target of a gRPC client, and the name of a virtual host.
pub fn host_port(host: &str, port: u16) -> Arc<str> {
    format!("{host}:{port}").into()
}

/// The short form of a gRPC client's target.
pub fn short_target(service: &ObjectName, port: u16) -> Arc<str> {
    format!("{}.{}:{port}", service.name, service.namespace).into()
}
