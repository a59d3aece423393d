//! Promises of the proxy, shown over real sockets on loopback: a proxy fed with typed resources between clients and
//! backends that are scripted byte by byte where bytes matter.

mod access_log;
mod access_log_otlp;
mod authority;
mod backend;
mod circuit_breaker;
mod client;
mod config;
mod control;
mod cors;
mod edges;
mod fault;
mod faults;
#[path = "../gate/frames.rs"]
#[allow(dead_code, reason = "the words of another binary's tests; this one needs a few")]
mod frames;
mod heads;
mod health_check;
mod http1;
mod http2;
mod killed;
mod lifecycle;
mod load_balancing;
mod mirror;
mod outlier;
mod rate_limit;
mod resources;
mod retry;
mod session;
mod tcp;
mod tls;
mod trace;
mod upstream_phases;
