//! Which route serves a request.
//!
//! # Order is meaning
//! A virtual host's routes are asked in list order and the first whose conditions all hold wins; a more specific one
//! further down never does. The index of `path_index`, which a host with many routes has, only leaves out routes whose path
//! cannot match.
//!
//! # One draw for all shares
//! Several routes of a list may take a share of requests each. All are asked with the same draw, as in Envoy, so their
//! shares nest: 10 % in front of 30 % takes the first tenth, the second gets the next two. The choice of a weighted
//! cluster is made with another draw ([`crate::split`]), because within a route that takes 10 % the same draw would
//! only ever see the lowest tenth of the weights.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use tidegate_xds::resource::route::{
    PathMatcher, Policies, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, Written,
};

use crate::error::CompileError;
use crate::filters::{Level, Overrides, Scope, compile_level};
use crate::header_mutation::{CompiledMutations, MutationLevels};
use crate::host::HostTable;
use crate::matcher::{CompiledHeader, CompiledQuery, Share, equal};
use crate::path_index::PathIndex;
use crate::pattern::FullPattern;
use crate::rate_limit::{CompiledActions, Limiters, Sources};
use crate::redirect::CompiledRedirect;
use crate::request::{RequestView, is_grpc};
use crate::split::{Chosen, CompiledForward};

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
    /// Positions in [`RouteTable::routes`]; the index counts from the first.
    routes: Range<usize>,
    /// None where there are no more than [`LOOKED_THROUGH_MAX`].
    index: Option<PathIndex>,
}

/// So few routes are asked one after the other: comparing so many paths is cheaper than leaving some of them out.
const LOOKED_THROUGH_MAX: usize = 8;

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
    /// Which policies act here, by kind.
    pub policies: Arc<Policies>,
    /// Where the policies behind the clusters of its host are written.
    pub written: Arc<Written>,
    /// What it does.
    pub action: CompiledAction,
    /// What the route, its host and its configuration say to filters.
    filters: Level,
    /// How the host describes requests to rate limits.
    host_rate_limits: Arc<[CompiledActions]>,
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

/// The way of a request through the routes of its virtual host.
#[derive(Clone, Debug)]
pub struct Walk<'t> {
    /// The host's position in the configuration.
    pub virtual_host: usize,
    /// In the order of the configuration.
    pub steps: Vec<Step<'t>>,
}

/// One route on that way.
#[derive(Clone, Copy, Debug)]
pub struct Step<'t> {
    /// Its position in its virtual host.
    pub position: usize,
    /// The route.
    pub route: &'t CompiledRoute,
    /// What fails; `None`: it takes the request, or a share of requests like it.
    pub unmet: Option<Unmet>,
}

/// A condition of a route that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// On the path.
    Path,
    /// The share of requests; only where a draw is given.
    Share,
    /// It is no gRPC call.
    Grpc,
    /// The header condition at this position.
    Header(usize),
    /// The query condition at this position.
    Query(usize),
}

impl RouteTable {
    /// Compiles a configuration, or says which field cannot be put to work. Its rate limits start full.
    pub fn compile(config: &RouteConfiguration) -> Result<Self, CompileError> {
        Self::compile_in(config, &Limiters::default())
    }

    /// The same, but rate limits go on with the tokens of the table that was compiled from this configuration before.
    pub fn compile_in(config: &RouteConfiguration, limiters: &Limiters) -> Result<Self, CompileError> {
        let scope = Scope::new(limiters, "route table").part(&config.name);
        let request = CompiledMutations::compile_levels(&config.request_headers, &config.response_headers)?;
        let mut compiler = Compiler {
            config,
            filters: compile_level(&config.filters, &Level::default(), &scope)?,
            scope,
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
    /// `random` decides the shares of routes that take only some requests. Allocates nothing, with one exception that a
    /// condition has to ask for: `:path` of a request that does not hold its target in one piece
    /// ([`RequestView::path_and_query`]).
    pub fn find(&self, request: &impl RequestView, random: u64) -> Option<&CompiledRoute> {
        let host = &self.virtual_hosts[self.hosts.find(request.authority_bytes())?];
        let routes = &self.routes[host.routes.clone()];
        let mut takes = |route: &&CompiledRoute| route.conditions.hold(request, random);
        match &host.index {
            None => routes.iter().find(takes),
            Some(index) => index.candidates(request.path()).map(|position| &routes[position as usize]).find(&mut takes),
        }
    }

    /// The virtual host of a request, and its routes in their order up to the first that takes every request like it, each
    /// with the condition that fails. A route that takes only a share of requests is no end: the next one gets the rest.
    ///
    /// Slower than [`Self::find`], which leaves out by its index what cannot match; the conditions are the same code.
    pub fn walk(&self, request: &impl RequestView) -> Option<Walk<'_>> {
        let virtual_host = self.hosts.find(request.authority_bytes())?;
        let routes = &self.routes[self.virtual_hosts[virtual_host].routes.clone()];
        let mut steps = Vec::new();
        for (position, route) in routes.iter().enumerate() {
            let unmet = route.conditions.first_unmet(request, |_| true);
            let share = route.conditions.share.filter(|_| unmet.is_none());
            steps.push(Step { position, route, unmet });
            if unmet.is_none() && share.is_none() {
                break;
            }
        }
        Some(Walk { virtual_host, steps })
    }

    /// All routes, in the order of [`CompiledRoute::index`].
    pub fn routes(&self) -> impl Iterator<Item = &CompiledRoute> {
        self.routes.iter()
    }

    /// Every cluster that a route or its mirrors name, once. Routes that read the name from a header name none.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.iter()
    }
}

impl CompiledRoute {
    /// What is said here to the listener's filters. `chosen` is the member of a weighted choice, once it is made.
    pub fn filters<'r>(&'r self, chosen: Option<&Chosen<'r>>) -> Overrides<'r> {
        let member = chosen.and_then(|chosen| chosen.member);
        Overrides::new(member.map(|member| &member.filters), &self.filters)
    }

    /// How requests are described to rate limits. A redirect or a fixed answer is described by nobody, as in Envoy.
    pub fn rate_limits(&self) -> Sources<'_> {
        match &self.action {
            CompiledAction::Forward(forward) => Sources {
                route: &forward.rate_limits,
                host: &self.host_rate_limits,
                include_host: forward.include_host_rate_limits,
            },
            CompiledAction::Redirect(_) | CompiledAction::DirectResponse { .. } => Sources::default(),
        }
    }

    /// What its condition on the path asks for, as people write such things: `/reviews/*`. As few as there are routes, so that it
    /// can be a part of names. `None`: any path.
    pub fn path_pattern(&self) -> Option<Cow<'_, str>> {
        match &self.conditions.path {
            CompiledPath::Connect => None,
            CompiledPath::Exact { path, .. } => Some(Cow::Borrowed(path)),
            CompiledPath::Prefix { prefix, .. } if &**prefix == "/" => Some(Cow::Borrowed("/*")),
            CompiledPath::Prefix { prefix, .. } => Some(Cow::Owned(format!("{prefix}*"))),
            CompiledPath::SeparatedPrefix { prefix, .. } => Some(Cow::Owned(format!("{prefix}/*"))),
            CompiledPath::Regex(pattern) => Some(Cow::Borrowed(pattern.text())),
        }
    }

    /// The policy of a kind (`fault`, `rate_limit`, …) that acts here, and where it was written.
    pub fn policy(&self, kind: &str) -> Option<&Arc<str>> {
        self.policies.get(kind)
    }
}

/// The place where a cluster's policy of a kind is written, as the cluster's routes say.
pub fn written<'w>(written: &'w Written, cluster: &str, kind: &str) -> Option<&'w str> {
    written.get(cluster)?.get(kind).map(|place| &**place)
}

/// Makes equal names one allocation, so that ten thousand routes to ten clusters hold ten names. Returns these names in
/// the order of their first mention.
fn intern_clusters(routes: &mut [CompiledRoute]) -> Vec<Arc<str>> {
    let mut known: HashSet<Arc<str>> = HashSet::new();
    let mut in_order = Vec::new();
    for route in routes {
        let CompiledAction::Forward(forward) = &mut route.action else { continue };
        for name in forward.names_mut() {
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
    scope: Scope<'c>,
    /// What the configuration itself says to filters.
    filters: Level,
    /// Of the configuration itself, for requests and answers.
    config_headers: [Arc<CompiledMutations>; 2],
    hosts: HostTable,
    virtual_hosts: Vec<HostRoutes>,
    routes: Vec<CompiledRoute>,
}

/// What the routes of one virtual host have in common.
struct HostLevel<'c> {
    host: &'c VirtualHost,
    /// For requests and answers.
    headers: [Arc<CompiledMutations>; 2],
    filters: Level,
    rate_limits: Arc<[CompiledActions]>,
    written: Arc<Written>,
}

impl Compiler<'_> {
    fn add_host(&mut self, position: usize, host: &VirtualHost) -> Result<(), CompileError> {
        for (i, domain) in host.domains.iter().enumerate() {
            self.hosts.insert(domain, position).map_err(|e| e.under(&format!("domains[{i}]")))?;
        }
        let scope = self.scope.part(&host.name);
        let level = HostLevel {
            host,
            headers: CompiledMutations::compile_levels(&host.request_headers, &host.response_headers)?,
            filters: compile_level(&host.filters, &self.filters, &scope)?,
            rate_limits: CompiledActions::compile_all(&host.rate_limits, "rate_limits")?.into(),
            written: Arc::new(host.written.clone()),
        };
        let first = self.routes.len();
        self.routes.reserve(host.routes.len());
        let mut namesakes: HashMap<&str, usize> = HashMap::new();
        for (i, route) in host.routes.iter().enumerate() {
            // By name, so that a route keeps its tokens when another is put in front of it, and counted, because names
            // need not differ.
            let count = namesakes.entry(&route.name).or_default();
            *count += 1;
            let scope = scope.part(&route.name).part(&count.to_string());
            let compiled = self.route(&level, route, &scope).map_err(|e| e.under(&format!("routes[{i}]")))?;
            self.routes.push(compiled);
        }
        let paths = host.routes.iter().map(|r| &r.matches.path);
        let index = (paths.len() > LOOKED_THROUGH_MAX).then(|| PathIndex::new(paths));
        self.virtual_hosts.push(HostRoutes { routes: first..self.routes.len(), index });
        Ok(())
    }

    fn route(&self, level: &HostLevel<'_>, route: &Route, scope: &Scope<'_>) -> Result<CompiledRoute, CompileError> {
        let host = level.host;
        let [request, response] = CompiledMutations::compile_levels(&route.request_headers, &route.response_headers)?;
        let most_specific_wins = self.config.most_specific_header_mutations_wins;
        let action = match &route.action {
            RouteAction::Forward(forward) => {
                let compiled = CompiledForward::compile(forward, &route.matches.path, scope);
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
            let all = [own, &level.headers[direction], &self.config_headers[direction]];
            MutationLevels::new(all, most_specific_wins)
        };
        Ok(CompiledRoute {
            index: self.routes.len(),
            virtual_host: Arc::clone(&host.name),
            name: Arc::clone(&route.name),
            source: route.source.clone(),
            include_attempt_count: host.include_request_attempt_count,
            policies: Arc::new(route.policies.clone()),
            written: Arc::clone(&level.written),
            action,
            filters: compile_level(&route.filters, &level.filters, scope)?,
            host_rate_limits: Arc::clone(&level.rate_limits),
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
        let query = matches.query_parameters.iter().enumerate();
        Ok(Self {
            path,
            headers: CompiledHeader::compile_all(&matches.headers, "headers")?,
            query: query
                .map(|(i, m)| CompiledQuery::compile(m).map_err(|e| e.under(&format!("query_parameters[{i}]"))))
                .collect::<Result<_, _>>()?,
            grpc: matches.grpc,
            share: matches.fraction.map(Share::compile).transpose().map_err(|e| e.under("runtime_fraction"))?,
        })
    }

    fn hold(&self, request: &impl RequestView, random: u64) -> bool {
        self.first_unmet(request, |share| share.takes(random)).is_none()
    }

    /// The first condition that fails, in the order in which they are asked. The only place that asks them.
    #[inline]
    fn first_unmet(&self, request: &impl RequestView, takes: impl Fn(Share) -> bool) -> Option<Unmet> {
        if !self.path.matches(request) {
            return Some(Unmet::Path);
        }
        if !self.share.is_none_or(takes) {
            return Some(Unmet::Share);
        }
        if self.grpc && !is_grpc(request) {
            return Some(Unmet::Grpc);
        }
        if let Some(position) = self.headers.iter().position(|header| !header.matches(request)) {
            return Some(Unmet::Header(position));
        }
        self.query.iter().position(|parameter| !parameter.matches(request.query())).map(Unmet::Query)
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
