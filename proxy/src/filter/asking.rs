//! Asks a rate limit service that keeps limits for many proxies: limits without a lease, as others than our control plane
//! write them.
//!
//! # Where the connections live
//! On the control thread's runtime, one for each endpoint of the service, shared by all workers; a worker waits for its own
//! answer only, and no longer than the filter says. A question is a few hundred bytes, so one connection carries them all.
//!
//! # What is not taken from an answer
//! A body for the refusal, and metadata. Fields that are no HTTP fields are dropped.

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use foldhash::HashMap;
use tidegate_traffic::header_mutation::HeadEditor;
use tidegate_traffic::rate_limit::CompiledSharedRateLimit;
use tidegate_traffic::rate_limit::{Descriptor, Quota};
use tidegate_xds::rate_limit_service::descriptor::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use tidegate_xds::rate_limit_service::rls::rate_limit_response::Code;
use tidegate_xds::rate_limit_service::rls::{RateLimitRequest, RateLimitResponse};
use tidegate_xds::rate_limit_service::{HeaderValue, UInt64Value};
use tidegate_xds::transport::rate_limit::Asking;
use tokio::runtime::Handle;

use crate::balance;
use crate::http::call::Call;

/// Services have a handful of endpoints; when there are more connections than this, all are made anew as they are needed.
const CONNECTIONS_MAX: usize = 64;
/// Fields that one answer may add.
const FIELDS_MAX: usize = 32;

/// The connections to rate limit services.
#[derive(Debug, Default)]
pub(crate) struct Services {
    runtime: OnceLock<Handle>,
    connections: Mutex<HashMap<SocketAddr, Asking>>,
}

impl Services {
    /// Where connections are to live. Only the first word counts.
    pub(crate) fn live_on(&self, runtime: Handle) {
        drop(self.runtime.set(runtime));
    }

    fn connection(&self, address: SocketAddr) -> Result<Asking, String> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.get(&address) {
            return Ok(connection.clone());
        }
        let runtime = self.runtime.get().ok_or("there is no runtime yet")?;
        let _inside = runtime.enter();
        let connection = Asking::new(&address.to_string())?;
        if connections.len() >= CONNECTIONS_MAX {
            connections.clear();
        }
        connections.insert(address, connection.clone());
        Ok(connection)
    }
}

/// What a service said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) is_over: bool,
    pub(super) response_fields: Fields,
    pub(super) request_fields: Fields,
    /// The limit with the least left.
    pub(super) quota: Option<Quota>,
}

/// Fields to add.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn read(fields: Vec<HeaderValue>) -> Self {
        let fields = fields.into_iter().take(FIELDS_MAX).filter_map(|HeaderValue { key, value, raw_value }| {
            let value = if raw_value.is_empty() { value.into_bytes() } else { raw_value };
            http::HeaderValue::from_bytes(&value).ok()?;
            let name = http::HeaderName::from_bytes(key.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value))
        });
        Self(fields.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, editor: &mut impl HeadEditor) {
        self.0.iter().for_each(|(name, value)| editor.append(name, value));
    }
}

/// Asks about a request. `Err`: nobody answered in time.
pub(super) async fn ask(
    call: &Call<'_>,
    limit: &CompiledSharedRateLimit,
    domain: &str,
    asked: &[&Descriptor<'_>],
) -> Result<Answer, String> {
    let service = &limit.service;
    let cluster = call.view.cluster(&service.cluster).ok_or("its cluster is not known")?;
    let wish = balance::Wish::default();
    let index = balance::choose(cluster, wish, call.worker).map_err(|_| "no endpoint of it can be used")?;
    let address = cluster.states.get(index).ok_or("no endpoint of it can be used")?.address;
    let mut connection = call.worker.shared.registry.services.connection(address)?;
    let question = RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: asked.iter().map(|descriptor| describe(descriptor)).collect(),
        hits_addend: 0,
    };
    let answered = tokio::time::timeout(service.timeout, connection.ask(question)).await;
    Ok(read(answered.map_err(|_| "it did not answer in time")??))
}

fn describe(descriptor: &Descriptor<'_>) -> RateLimitDescriptor {
    let entries = descriptor.entries.iter();
    let entries = entries.map(|entry| Entry { key: entry.key.to_owned(), value: entry.value.clone().into_owned() });
    RateLimitDescriptor {
        entries: entries.collect(),
        // One is what nothing said means.
        hits_addend: (descriptor.hits != 1).then(|| UInt64Value { value: descriptor.hits.into() }),
        ..RateLimitDescriptor::default()
    }
}

fn read(response: RateLimitResponse) -> Answer {
    let is_over = response.overall_code() == Code::OverLimit;
    let limited = response.statuses.iter().filter_map(|status| Some((status, status.current_limit.as_ref()?)));
    let strictest = limited.min_by_key(|(status, _)| status.limit_remaining);
    let quota = strictest.map(|(status, limit)| Quota {
        limit: limit.requests_per_unit,
        remaining: status.limit_remaining.into(),
        reset_seconds: status.duration_until_reset.as_ref().map_or(0, |d| u64::try_from(d.seconds).unwrap_or(0)),
    });
    Answer {
        is_over,
        response_fields: Fields::read(response.response_headers_to_add),
        request_fields: Fields::read(response.request_headers_to_add),
        quota,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(key: &str, value: &str) -> HeaderValue {
        HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() }
    }

    #[test]
    fn what_is_no_field_is_not_written() {
        let fields = Fields::read(vec![field("x-plan", "free"), field("x-a", "1\r\nx-b: 2"), field("bad name", "1")]);

        assert_eq!(fields.0, [("x-plan".to_owned(), b"free".to_vec())]);
    }
}
