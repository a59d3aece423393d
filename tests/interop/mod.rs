//! Promise: one configuration drives three data planes (our proxy, Envoy, proxyless gRPC) and all see the same.
//!
//! # Why other people's data planes
//! Both of our planes could agree on the same misreading of xDS. Envoy and gRPC C-core were written by others, from the same
//! documents, and are what our users may already run.
//!
//! [`yaml`] holds them against our control plane. [`refused`] and [`reconnect`] need resources and events that the control
//! plane does not show, so there the server's half of ADS runs inside the test ([`scripted`]). [`accepted`] asks Envoy about
//! everything that our types can say. [`rate_limit`] does the same for rate limit services, in both directions.

mod accepted;
pub(crate) mod envoy;
mod governed;
mod grpc;
mod rate_limit;
mod reconnect;
mod refused;
pub(crate) mod scripted;
mod wire;
pub(crate) mod world;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use self::grpc::GrpcClient;
use crate::harness::{Client, wait};

/// From an ACK to the last thread of a data plane that uses what was acknowledged.
const VISIBLE_LIMIT: Duration = Duration::from_secs(3);

/// Answers by version.
type Versions = BTreeMap<String, u64>;

/// A data plane as its users see it: something that carries requests to `reviews`.
enum Caller {
    /// A proxy's outbound listener.
    Http(Client),
    /// A channel of a gRPC library.
    Grpc(Box<GrpcClient>),
}

/// A data plane under test.
pub(crate) struct Plane {
    name: &'static str,
    caller: Caller,
}

impl Plane {
    fn proxy(name: &'static str, outbound: SocketAddr) -> Self {
        Self { name, caller: Caller::Http(Client::new(outbound)) }
    }

    fn grpc(client: GrpcClient) -> Self {
        Self { name: "gRPC", caller: Caller::Grpc(Box::new(client)) }
    }

    /// Who answers `requests` requests. None may fail.
    async fn ask(&mut self, requests: u64) -> Versions {
        let mut versions = Versions::new();
        match &mut self.caller {
            Caller::Grpc(client) => versions = client.ask(requests).await,
            Caller::Http(client) => {
                for _ in 0..requests {
                    let answer = client.get("reviews:9080", "/reviews/0").await;
                    let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", self.name));
                    assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
                    *versions.entry(answer.version().to_owned()).or_default() += 1;
                }
            }
        }
        assert_eq!(versions.values().sum::<u64>(), requests, "{}: {versions:?}", self.name);
        versions
    }

    /// Waits until a first answer comes from `version`, then wants all from there.
    async fn assert_turns_to(&mut self, version: &str) {
        let start = wait::now();
        while !self.ask(1).await.contains_key(version) {
            assert!(start.elapsed() < VISIBLE_LIMIT, "{}: no answer from {version}", self.name);
        }
        self.assert_stays_with(version).await;
    }

    /// Wants all answers from `version`.
    async fn assert_stays_with(&mut self, version: &str) {
        let seen = self.ask(200).await;
        assert_eq!(seen, Versions::from([(version.to_owned(), 200)]), "{}", self.name);
    }
}
