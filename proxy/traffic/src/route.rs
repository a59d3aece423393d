//! Which route serves a request.
//!
//! # Order is meaning
//! A virtual host's routes are asked in list order and the first whose conditions all hold wins; a more specific one
//! further down never does. The index of `path_index` only leaves out routes whose path cannot match.
//!
//! # One draw for all shares
//! Several routes of a list may take a share of requests each. All are asked with the same draw, as in Envoy, so their
//! shares nest: 10 % in front of 30 % takes the first tenth, the second gets the next two. The choice of a weighted
//! cluster is made with another draw ([`crate::split`]), because within a route that takes 10 % the same draw would
//! only ever see the lowest tenth of the weights.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_xds::resource::route::{PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};

use crate::error::CompileError;
use crate::header_mutation::{CompiledMutations, MutationLevels};
use crate::host::HostTable;
use crate::matcher::{CompiledHeader, CompiledQuery, Share, equal};
use crate::path_index::PathIndex;
use crate::pattern::FullPattern;
use crate::redirect::CompiledRedirect;
use crate::request::{RequestView, is_grpc};
use crate::split::CompiledForward;

/// A route configuration, compiled.
#[derive(Clone, Debug)]
pub struct RouteTable {
    name: Arc<str>,
    hosts: HostTable,
    /// In the order of the configuration.
    virtual_hosts: Vec<HostRoutes>,
    routes: Vec<CompiledRoute>,
    clusters: Vec<Arc<str>>,
}

/// The routes of one virtual host.
#[derive(Clone, Debug)]
struct HostRoutes {
    /// Position of the first in [`RouteTable::routes`]; the index counts from there.
    first: usize,
    index: PathIndex,
}

/// A route, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRoute {
    /// Position among all routes of the table, for data that the caller keeps by route.
    pub index: usize,
    /// The virtual host's name.
    pub virtual_host: Arc<str>,
    /// For logs and statistics; may be empty.
    pub name: Arc<str>,
    /// Where the route was written (`FILE:LINE`).
    pub source: Option<Arc<str>>,
    /// Write `x-envoy-attempt-count` into the forwarded request.
    pub include_attempt_count: bool,
    /// What it does.
    pub action: CompiledAction,
    pub(crate) request_headers: MutationLevels,
    pub(crate) response_headers: MutationLevels,
    conditions: Conditions,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum CompiledAction {
    /// Send the request to a cluster.
    Forward(Box<CompiledForward>),
    /// Answer with a redirect.
    Redirect(Box<CompiledRedirect>),
    /// Answer with this.
    DirectResponse {
        /// 200 to 599.
        status: u16,
        /// May be empty.
        body: Arc<[u8]>,
    },
}

impl RouteTable {
    /// Compiles a configuration, or says which field cannot be put to work.
    pub fn compile(config: &RouteConfiguration) -> Result<Self, CompileError> {
        let request = CompiledMutations::compile_levels(&config.request_headers, &config.response_headers)?;
        let mut compiler = Compiler {
            config,
            config_headers: request,
            hosts: HostTable::new(config.ignore_port_in_host_matching),
            virtual_hosts: Vec::with_capacity(config.virtual_hosts.len()),
            routes: Vec::with_capacity(config.virtual_hosts.iter().map(|h| h.routes.len()).sum()),
        };
        for (position, host) in config.virtual_hosts.iter().enumerate() {
            compiler.add_host(position, host).map_err(|e| e.under(&format!("virtual_hosts[{position}]")))?;
        }
        let Compiler { hosts, virtual_hosts, mut routes, .. } = compiler;
        let clusters = intern_clusters(&mut routes);
        Ok(Self { name: Arc::clone(&config.name), hosts, virtual_hosts, routes, clusters })
    }

    /// The configuration's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The route that serves a request; `None` when no virtual host or no route of it does.
    ///
    /// `random` decides the shares of routes that take only some requests. Allocates nothing, with two exceptions that a
    /// condition has to ask for: a header that is repeated with more than 256 bytes of values, and `:path` of a request
    /// that does not hold its target in one piece ([`RequestView::path_and_query`]).
    pub fn find(&self, request: &impl RequestView, random: u64) -> Option<&CompiledRoute> {
        let host = &self.virtual_hosts[self.hosts.find(request.authority())?];
        host.index
            .candidates(request.path())
            .map(|position| &self.routes[host.first + position as usize])
            .find(|route| route.conditions.hold(request, random))
    }

    /// All routes, in the order of [`CompiledRoute::index`].
    pub fn routes(&self) -> impl Iterator<Item = &CompiledRoute> {
        self.routes.iter()
    }

    /// Every cluster that a route names, once. Routes that read the name from a header name none.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.iter()
    }
}

/// Makes equal names one allocation, so that ten thousand routes to ten clusters hold ten names. Returns these names in
/// the order of their first mention.
fn intern_clusters(routes: &mut [CompiledRoute]) -> Vec<Arc<str>> {
    let mut known: HashSet<Arc<str>> = HashSet::new();
    let mut in_order = Vec::new();
    for route in routes {
        let CompiledAction::Forward(forward) = &mut route.action else { continue };
        for name in forward.clusters_mut() {
            match known.get(name) {
                Some(first) => *name = Arc::clone(first),
                None => {
                    known.insert(Arc::clone(name));
                    in_order.push(Arc::clone(name));
                }
            }
        }
    }
    in_order
}

struct Compiler<'c> {
    config: &'c RouteConfiguration,
    /// Of the configuration itself, for requests and answers.
    config_headers: [Arc<CompiledMutations>; 2],
    hosts: HostTable,
    virtual_hosts: Vec<HostRoutes>,
    routes: Vec<CompiledRoute>,
}

impl Compiler<'_> {
    fn add_host(&mut self, position: usize, host: &VirtualHost) -> Result<(), CompileError> {
        for (i, domain) in host.domains.iter().enumerate() {
            self.hosts.insert(domain, position).map_err(|e| e.under(&format!("domains[{i}]")))?;
        }
        let host_headers = CompiledMutations::compile_levels(&host.request_headers, &host.response_headers)?;
        let first = self.routes.len();
        self.routes.reserve(host.routes.len());
        for (i, route) in host.routes.iter().enumerate() {
            let compiled = self.route(host, &host_headers, route).map_err(|e| e.under(&format!("routes[{i}]")))?;
            self.routes.push(compiled);
        }
        let index = PathIndex::new(host.routes.iter().map(|r| &r.matches.path));
        self.virtual_hosts.push(HostRoutes { first, index });
        Ok(())
    }

    fn route(
        &self,
        host: &VirtualHost,
        host_headers: &[Arc<CompiledMutations>; 2],
        route: &Route,
    ) -> Result<CompiledRoute, CompileError> {
        let [request, response] = CompiledMutations::compile_levels(&route.request_headers, &route.response_headers)?;
        let most_specific_wins = self.config.most_specific_header_mutations_wins;
        let action = match &route.action {
            RouteAction::Forward(forward) => {
                let compiled = CompiledForward::compile(forward, &route.matches.path);
                CompiledAction::Forward(Box::new(compiled.map_err(|e| e.under("route"))?))
            }
            RouteAction::Redirect(redirect) => {
                let compiled = CompiledRedirect::compile(redirect, &route.matches.path);
                CompiledAction::Redirect(Box::new(compiled.map_err(|e| e.under("redirect"))?))
            }
            RouteAction::DirectResponse(direct) => {
                CompiledAction::DirectResponse { status: direct.status, body: Arc::clone(&direct.body) }
            }
        };
        let levels = |own, direction: usize| {
            let all = [own, &host_headers[direction], &self.config_headers[direction]];
            MutationLevels::new(all, most_specific_wins)
        };
        Ok(CompiledRoute {
            index: self.routes.len(),
            virtual_host: Arc::clone(&host.name),
            name: Arc::clone(&route.name),
            source: route.source.clone(),
            include_attempt_count: host.include_request_attempt_count,
            action,
            request_headers: levels(&request, 0),
            response_headers: levels(&response, 1),
            conditions: Conditions::compile(&route.matches).map_err(|e| e.under("match"))?,
        })
    }
}

/// A [`RouteMatch`] ready to be asked.
#[derive(Clone, Debug)]
struct Conditions {
    path: CompiledPath,
    headers: Box<[CompiledHeader]>,
    query: Box<[CompiledQuery]>,
    grpc: bool,
    share: Option<Share>,
}

#[derive(Clone, Debug)]
enum CompiledPath {
    Connect,
    Exact { path: Arc<str>, case_sensitive: bool },
    Prefix { prefix: Arc<str>, case_sensitive: bool },
    SeparatedPrefix { prefix: Arc<str>, case_sensitive: bool },
    Regex(FullPattern),
}

impl Conditions {
    fn compile(matches: &RouteMatch) -> Result<Self, CompileError> {
        let path = match &matches.path {
            PathMatcher::Connect => CompiledPath::Connect,
            PathMatcher::Exact { path, case_sensitive } => {
                CompiledPath::Exact { path: Arc::clone(path), case_sensitive: *case_sensitive }
            }
            PathMatcher::Prefix { prefix, case_sensitive } => {
                CompiledPath::Prefix { prefix: Arc::clone(prefix), case_sensitive: *case_sensitive }
            }
            PathMatcher::SeparatedPrefix { prefix, .. } if prefix.ends_with('/') => {
                return Err(CompileError::new("path_separated_prefix", "ends with a slash"));
            }
            PathMatcher::SeparatedPrefix { prefix, case_sensitive } => {
                CompiledPath::SeparatedPrefix { prefix: Arc::clone(prefix), case_sensitive: *case_sensitive }
            }
            PathMatcher::Regex(pattern) => CompiledPath::Regex(
                FullPattern::compile(pattern).map_err(|reason| CompileError::new("safe_regex", reason))?,
            ),
        };
        let at = |list: &str, i: usize, e: CompileError| e.under(&format!("{list}[{i}]"));
        let headers = matches.headers.iter().enumerate();
        let query = matches.query_parameters.iter().enumerate();
        Ok(Self {
            path,
            headers: headers
                .map(|(i, m)| CompiledHeader::compile(m).map_err(|e| at("headers", i, e)))
                .collect::<Result<_, _>>()?,
            query: query
                .map(|(i, m)| CompiledQuery::compile(m).map_err(|e| at("query_parameters", i, e)))
                .collect::<Result<_, _>>()?,
            grpc: matches.grpc,
            share: matches.fraction.map(Share::compile).transpose().map_err(|e| e.under("runtime_fraction"))?,
        })
    }

    fn hold(&self, request: &impl RequestView, random: u64) -> bool {
        self.path.matches(request)
            && self.share.is_none_or(|share| share.takes(random))
            && (!self.grpc || is_grpc(request))
            && self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|parameter| parameter.matches(request.query()))
    }
}

impl CompiledPath {
    fn matches(&self, request: &impl RequestView) -> bool {
        let path = request.path().as_bytes();
        let starts = |prefix: &str, case_sensitive: bool| {
            path.get(..prefix.len()).is_some_and(|head| equal(head, prefix.as_bytes(), !case_sensitive))
        };
        match self {
            Self::Connect => request.method() == "CONNECT",
            Self::Exact { path: wanted, case_sensitive } => equal(path, wanted.as_bytes(), !case_sensitive),
            Self::Prefix { prefix, case_sensitive } => starts(prefix, *case_sensitive),
            Self::SeparatedPrefix { prefix, case_sensitive } => {
                starts(prefix, *case_sensitive) && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            Self::Regex(pattern) => pattern.matches(path),
        }
    }
}

#[cfg(test)]
mod tests;
