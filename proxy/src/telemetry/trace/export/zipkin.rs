//! Zipkin's JSON, version 2.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Uri;
use serde::Serialize;

use super::super::attributes;
use super::super::ids::text;
use super::super::span::{Kind, Span};
use super::post::Post;
use super::{Taken, Untaken, Whose, nanos};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan<'s> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    kind: &'static str,
    name: String,
    /// Microseconds since 1970.
    timestamp: u64,
    /// Microseconds; 0 would mean that nobody knows.
    duration: u64,
    local_endpoint: Party<'s>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Party<'s>>,
    tags: BTreeMap<&'static str, String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Party<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl<'s> Party<'s> {
    fn at(service_name: Option<&'s str>, address: Option<SocketAddr>) -> Self {
        let ip = address.map(|address| address.ip().to_canonical());
        Self {
            service_name,
            ipv4: ip.filter(IpAddr::is_ipv4),
            ipv6: ip.filter(IpAddr::is_ipv6),
            port: address.map(|address| address.port()),
        }
    }
}

fn span<'s>(span: &'s Span, whose: &'s Whose) -> ZipkinSpan<'s> {
    let attributes = attributes::of(span, &whose.instance);
    let mut tags: BTreeMap<_, _> = attributes.iter().map(|(name, value)| (*name, value.text().into_owned())).collect();
    // Zipkin knows a span that failed by this tag.
    if let Some(why) = tags.get("error.type").cloned() {
        tags.insert("error", why);
    }
    let (kind, far) = match span.kind {
        Kind::Server => ("SERVER", Some(span.peer)),
        Kind::Client => ("CLIENT", span.upstream),
    };
    ZipkinSpan {
        trace_id: text(&span.trace.digits()).to_owned(),
        id: text(&span.id.digits()).to_owned(),
        parent_id: span.parent.map(|parent| text(&parent.digits()).to_owned()),
        kind,
        name: span.name(),
        timestamp: nanos(span.started) / 1000,
        duration: u64::try_from(span.duration.as_micros()).unwrap_or(u64::MAX).max(1),
        local_endpoint: Party::at(Some(&whose.service), span.local),
        remote_endpoint: far.map(|far| Party::at(None, Some(far))),
        tags,
    }
}

/// What is posted, for a test to look into.
#[cfg(test)]
pub(super) fn json(batch: &[Arc<Span>], whose: &Whose) -> serde_json::Result<serde_json::Value> {
    serde_json::to_value(batch.iter().map(|finished| span(finished, whose)).collect::<Vec<_>>())
}

/// `POST /api/v2/spans`
#[derive(Debug)]
pub(super) struct OverHttp {
    post: Post,
    whose: Whose,
}

impl OverHttp {
    pub(super) fn new(url: Uri, whose: Whose) -> Self {
        Self { post: Post::new(url, "application/json"), whose }
    }

    pub(super) async fn take(&mut self, batch: &[Arc<Span>]) -> Taken {
        let spans: Vec<_> = batch.iter().map(|finished| span(finished, &self.whose)).collect();
        let body = serde_json::to_vec(&spans).map_err(|error| Untaken::Never(error.to_string()))?;
        self.post.send(body.into()).await.map(|_| 0)
    }
}
