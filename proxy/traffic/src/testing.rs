//! Requests, heads and configurations written as literals, so that a test says only what it is about.

use std::num::NonZeroU32;
use std::sync::Arc;

use tidegate_xds::resource::endpoint::{Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};

use crate::error::CompileError;
use crate::filters::Scope;
use crate::header_mutation::HeadEditor;
use crate::rate_limit::Limiters;
use crate::request::{RequestView, ResponseView};
use crate::split::CompiledForward;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Head,
}

impl Request {
    /// `GET` of a target at `host`.
    pub(crate) fn get(target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method: "GET".to_owned(),
            scheme: "http".to_owned(),
            authority: "host".to_owned(),
            path: path.to_owned(),
            query,
            headers: Head::default(),
        }
    }

    pub(crate) fn to(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn scheme(mut self, scheme: &str) -> Self {
        scheme.clone_into(&mut self.scheme);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name, value.as_bytes());
        self
    }
}

impl RequestView for Request {
    fn method(&self) -> &str {
        &self.method
    }
    fn scheme(&self) -> &str {
        &self.scheme
    }
    fn authority(&self) -> &str {
        &self.authority
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers.header(name)
    }
}

/// Header fields in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head(pub(crate) Vec<(String, Vec<u8>)>);

impl Head {
    pub(crate) fn of(fields: &[(&str, &str)]) -> Self {
        Self(fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect())
    }
}

impl ResponseView for Head {
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }
}

impl HeadEditor for Head {
    fn remove(&mut self, lower_name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(lower_name));
    }
    fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }
    fn append(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_owned(), value.to_vec()));
    }
    fn contains(&self, lower_name: &str) -> bool {
        assert_eq!(lower_name, lower_name.to_ascii_lowercase());
        self.header(lower_name).next().is_some()
    }
}

pub(crate) fn forward_to(cluster: ClusterSpecifier) -> Forward {
    Forward::to(cluster)
}

/// A forwarding action compiled on its own.
pub(crate) fn compile_forward(forward: &Forward, path: &PathMatcher) -> Result<CompiledForward, CompileError> {
    CompiledForward::compile(forward, path, &Scope::new(&Limiters::default(), "test"))
}

pub(crate) fn exact(path: &str) -> PathMatcher {
    PathMatcher::Exact { path: path.into(), case_sensitive: true }
}

pub(crate) fn prefix(prefix: &str) -> PathMatcher {
    PathMatcher::Prefix { prefix: prefix.into(), case_sensitive: true }
}

pub(crate) fn separated(prefix: &str) -> PathMatcher {
    PathMatcher::SeparatedPrefix { prefix: prefix.into(), case_sensitive: true }
}

/// A route to a cluster of the route's own name, by path alone.
pub(crate) fn route(name: &str, path: PathMatcher) -> Route {
    let matches = RouteMatch { path, headers: Vec::new(), query_parameters: Vec::new(), grpc: false, fraction: None };
    let action = RouteAction::Forward(Box::new(forward_to(ClusterSpecifier::Cluster(name.into()))));
    Route { name: name.into(), ..Route::new(matches, action) }
}

pub(crate) fn virtual_host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|d| Arc::from(*d)).collect(),
        routes,
        ..VirtualHost::default()
    }
}

pub(crate) fn configuration(virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration { name: "test".into(), virtual_hosts, ..RouteConfiguration::default() }
}

/// One virtual host for everything.
pub(crate) fn routes(routes: Vec<Route>) -> RouteConfiguration {
    configuration(vec![virtual_host("all", &["*"], routes)])
}

/// A locality whose endpoints have these weights and states; their ports count from 1.
pub(crate) fn locality(priority: u32, endpoints: &[(u32, Health)]) -> LocalityEndpoints {
    let endpoint = |(port, (weight, health)): (u16, &(u32, Health))| Endpoint {
        address: ([127, 0, 0, 1], port).into(),
        weight: NonZeroU32::new(*weight).unwrap(),
        health: *health,
        hostname: None,
        workload: None,
    };
    LocalityEndpoints {
        locality: Locality::default(),
        priority,
        weight: None,
        endpoints: (1..).zip(endpoints).map(endpoint).collect(),
    }
}
