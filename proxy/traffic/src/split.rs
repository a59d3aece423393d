//! Where a matched request goes: one cluster, one of several by weight, or the one a header names.
//!
//! # Intervals
//! The weights lay half-open intervals end to end, in list order: with 90 and 10, draws of 0 to 89 (modulo 100) are the
//! first's. A weight of zero is an empty interval, so it is never chosen.
//!
//! # What is drawn
//! Chance, unless the resource wants equal requests to go the same way: then the hash of the route's hash policy, or a
//! number that a header carries. A request without either is left to chance. While only the last interval grows, at the
//! cost of the one before it, a caller with a hash moves at most once and never back.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, HostRewrite, PathMatcher, Upgrade, WeightDraw, WeightedCluster, WeightedClusters,
};

use crate::error::CompileError;
use crate::filters::{Level, Scope, compile_level};
use crate::hash_policy::HashPolicies;
use crate::header_mutation::CompiledMutations;
use crate::mirror::CompiledMirror;
use crate::rate_limit::CompiledActions;
use crate::request::{RequestView, Source};
use crate::retry::CompiledRetry;
use crate::rewrite::{CompiledHostRewrite, PathEdit, check_host};
use crate::timeout::{self, Deadlines};

/// A forwarding action, compiled.
#[derive(Clone, Debug)]
pub struct CompiledForward {
    /// The answer when the chosen cluster is not known.
    pub cluster_not_found_status: u16,
    /// Record the host before a rewrite in `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// What is tried again besides what was never sent.
    pub retry: Option<CompiledRetry>,
    /// Where copies go.
    pub mirrors: Box<[CompiledMirror]>,
    pub(crate) path_edit: PathEdit,
    pub(crate) host_rewrite: CompiledHostRewrite,
    /// Of a request that says nothing about its limits.
    pub(crate) deadlines: Deadlines,
    /// Its time runs from the request's head, limited or not.
    pub(crate) is_timed_as_stream: bool,
    pub(crate) grpc_timeout_max: Option<Duration>,
    /// How its requests are described to rate limits.
    pub(crate) rate_limits: Box<[CompiledActions]>,
    pub(crate) include_host_rate_limits: bool,
    hash_policies: HashPolicies,
    upgrades: Box<[Upgrade]>,
    clusters: Names,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    Single,
    Header(Source),
    Weighted {
        /// The exclusive ends of the intervals; the last is the total, which is not zero.
        ends: Box<[u64]>,
        members: Box<[Member]>,
        draw: Draw,
    },
}

#[derive(Clone, Debug)]
enum Draw {
    Random,
    Hash,
    Header(Source),
}

/// Cluster names in list order.
type Names = Box<[Arc<str>]>;

/// What a member of a weighted choice changes.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) request_headers: Arc<CompiledMutations>,
    pub(crate) response_headers: Arc<CompiledMutations>,
    pub(crate) host_rewrite: Option<Arc<str>>,
    /// What it alone says to filters.
    pub(crate) filters: Level,
}

/// The cluster that a request goes to.
#[derive(Clone, Debug)]
pub struct Chosen<'r> {
    /// Its name. Owned only when a request header gave it.
    pub cluster: Cow<'r, Arc<str>>,
    /// Its position in [`CompiledForward::clusters`]; `None` when a request header gave it.
    pub index: Option<usize>,
    pub(crate) member: Option<&'r Member>,
}

impl CompiledForward {
    /// `scope` is the route's.
    pub(crate) fn compile(forward: &Forward, path: &PathMatcher, scope: &Scope<'_>) -> Result<Self, CompileError> {
        let (clusters, choice) = match &forward.cluster {
            ClusterSpecifier::Cluster(name) => (Box::from([Arc::clone(name)]), Choice::Single),
            ClusterSpecifier::ClusterHeader(name) => {
                let source = Source::parse(name).map_err(|reason| CompileError::new("cluster_header", reason))?;
                (Box::default(), Choice::Header(source))
            }
            ClusterSpecifier::Weighted(weighted) => {
                compile_weighted(weighted, scope).map_err(|e| e.under("weighted_clusters"))?
            }
        };
        let mirrors = forward.mirrors.iter().enumerate().map(|(i, mirror)| {
            CompiledMirror::compile(mirror).map_err(|e| e.under(&format!("request_mirror_policies[{i}]")))
        });
        let retry = forward.retry.as_ref().map(CompiledRetry::compile).transpose();
        let retry = retry.map_err(|e| e.under("retry_policy"))?;
        Ok(Self {
            deadlines: timeout::configured(forward, retry.as_ref()),
            is_timed_as_stream: forward.max_stream_duration.is_some(),
            retry,
            mirrors: mirrors.collect::<Result<_, _>>()?,
            rate_limits: CompiledActions::compile_all(&forward.rate_limits, "rate_limits")?,
            include_host_rate_limits: forward.include_virtual_host_rate_limits,
            hash_policies: HashPolicies::compile(&forward.hash_policy)?,
            cluster_not_found_status: forward.cluster_not_found_status,
            append_x_forwarded_host: forward.append_x_forwarded_host,
            path_edit: PathEdit::from_rewrite(&forward.path_rewrite, path)?,
            host_rewrite: compile_host_rewrite(&forward.host_rewrite)?,
            grpc_timeout_max: forward.grpc_timeout_max,
            upgrades: forward.upgrades.as_slice().into(),
            clusters,
            choice,
        })
    }

    /// The clusters that may be chosen, in list order; none when a request header names it.
    pub fn clusters(&self) -> &[Arc<str>] {
        &self.clusters
    }

    /// Every cluster that is named, mirrors' included.
    pub(crate) fn names_mut(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        self.clusters.iter_mut().chain(self.mirrors.iter_mut().map(|mirror| &mut mirror.cluster))
    }

    /// What a hash of a request is computed from: for [`Self::choose`], and for the choice of an endpoint.
    pub fn hash_policies(&self) -> &HashPolicies {
        &self.hash_policies
    }

    /// What the route says about an upgrade (`websocket`, …); `None` leaves it to the connection manager.
    pub fn upgrade(&self, kind: &str) -> Option<bool> {
        self.upgrades.iter().find(|u| u.kind.eq_ignore_ascii_case(kind)).map(|u| u.enabled)
    }

    /// [`Self::choose`] for a request whose hash nobody has computed.
    pub fn choose_cluster<'r>(&'r self, request: &impl RequestView, random: u64) -> Option<Chosen<'r>> {
        self.choose(request, random, None)
    }

    /// The cluster for a request. `None` only when a request header should name it and does not: answered with
    /// [`Self::cluster_not_found_status`], as an unknown cluster is.
    ///
    /// `random` must not be the draw that [`crate::RouteTable::find`] was given. `hash` is that of the hash policy,
    /// where there is one and the request has what it asks for.
    pub fn choose<'r>(&'r self, request: &impl RequestView, random: u64, hash: Option<u64>) -> Option<Chosen<'r>> {
        let (index, member) = match &self.choice {
            Choice::Single => (0, None),
            Choice::Weighted { ends, members, draw } => {
                let drawn = draw.value(request, random, hash) % ends.last()?;
                let index = ends.partition_point(|end| *end <= drawn);
                (index, members.get(index))
            }
            Choice::Header(source) => {
                let value = source.first(request)?;
                let name = std::str::from_utf8(&value).ok().filter(|name| !name.is_empty())?;
                return Some(Chosen { cluster: Cow::Owned(Arc::from(name)), index: None, member: None });
            }
        };
        Some(Chosen { cluster: Cow::Borrowed(self.clusters.get(index)?), index: Some(index), member })
    }
}

impl Draw {
    fn compile(draw: &WeightDraw) -> Result<Self, CompileError> {
        Ok(match draw {
            WeightDraw::Random => Self::Random,
            WeightDraw::Hash => Self::Hash,
            WeightDraw::Header(name) => {
                Self::Header(Source::parse(name).map_err(|reason| CompileError::new("header_name", reason))?)
            }
        })
    }

    fn value(&self, request: &impl RequestView, random: u64, hash: Option<u64>) -> u64 {
        match self {
            Self::Random => random,
            Self::Hash => hash.unwrap_or(random),
            Self::Header(source) => source.only(request).and_then(parse_number).unwrap_or(random),
        }
    }
}

fn parse_number(value: Cow<'_, [u8]>) -> Option<u64> {
    std::str::from_utf8(&value).ok()?.parse().ok()
}

/// The names of a weighted choice stand beside it, so that every kind of choice lists its clusters alike.
fn compile_weighted(weighted: &WeightedClusters, scope: &Scope<'_>) -> Result<(Names, Choice), CompileError> {
    let mut ends = Vec::with_capacity(weighted.clusters.len());
    let mut members = Vec::with_capacity(weighted.clusters.len());
    let mut end = 0_u64;
    for (i, cluster) in weighted.clusters.iter().enumerate() {
        end = end.saturating_add(cluster.weight.into());
        ends.push(end);
        // By name, so that a member keeps its tokens when another is put in front of it.
        let scope = scope.part(&cluster.name);
        members.push(compile_member(cluster, &scope).map_err(|e| e.under(&format!("clusters[{i}]")))?);
    }
    if end == 0 {
        return Err(CompileError::new("", "weights are all zero"));
    }
    let names = weighted.clusters.iter().map(|c| Arc::clone(&c.name)).collect();
    let draw = Draw::compile(&weighted.draw)?;
    Ok((names, Choice::Weighted { ends: ends.into(), members: members.into(), draw }))
}

fn compile_member(cluster: &WeightedCluster, scope: &Scope<'_>) -> Result<Member, CompileError> {
    let [request_headers, response_headers] =
        CompiledMutations::compile_levels(&cluster.request_headers, &cluster.response_headers)?;
    if let Some(host) = &cluster.host_rewrite {
        check_host(host).map_err(|reason| CompileError::new("host_rewrite_literal", reason))?;
    }
    Ok(Member {
        request_headers,
        response_headers,
        host_rewrite: cluster.host_rewrite.clone(),
        filters: compile_level(&cluster.filters, &Level::default(), scope)?,
    })
}

fn compile_host_rewrite(rewrite: &HostRewrite) -> Result<CompiledHostRewrite, CompileError> {
    Ok(match rewrite {
        HostRewrite::Keep => CompiledHostRewrite::Keep,
        HostRewrite::Endpoint => CompiledHostRewrite::Endpoint,
        HostRewrite::Literal(host) => {
            check_host(host).map_err(|reason| CompileError::new("host_rewrite_literal", reason))?;
            CompiledHostRewrite::Literal(Arc::clone(host))
        }
        HostRewrite::Header(name) => CompiledHostRewrite::Header(
            Source::parse(name).map_err(|reason| CompileError::new("host_rewrite_header", reason))?,
        ),
    })
}

#[cfg(test)]
mod tests;
