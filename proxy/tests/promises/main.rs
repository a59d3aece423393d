//! Promises of the proxy, shown over real sockets on loopback: a proxy fed with typed resources between clients and
//! backends that are scripted byte by byte where bytes matter.

mod backend;
mod client;
mod config;
mod control;
mod faults;
mod heads;
mod http1;
mod http2;
mod lifecycle;
mod resources;
mod tcp;
