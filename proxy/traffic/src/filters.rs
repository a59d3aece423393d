//! Which filters act on a request, and with which configuration.
//!
//! # Where the words come from
//! A listener lists filters in order ([`Chain`]). A route configuration, a virtual host, a route and a member of a
//! weighted choice may each override a filter by its name. The most specific word wins whole: nothing is merged, so
//! that whoever reads a route's override has read all that holds there.
//!
//! # Decided when the snapshot is built
//! The three levels above a member are merged into one short list for each route, shared by all routes of a host that
//! say nothing of their own. A request walks that list and compares names: no map, no allocation.
//!
//! # An override of another kind
//! A name that carries a fault's configuration where the listener has a rate limit overrides nothing: the listener's
//! own configuration holds. Route tables are compiled without knowing the listeners that will use them, so the two can
//! only meet here.

use std::sync::Arc;

use tidegate_xds::resource::filter::{FilterConfig, FilterOverride, FilterOverrides, HttpFilter};

use crate::cors::CompiledCors;
use crate::error::CompileError;
use crate::fault::CompiledFault;
use crate::rate_limit::{CompiledLocalRateLimit, CompiledPerRoute, CompiledSharedRateLimit, Limiters};
use crate::session::Sessions;

/// A listener's filters, in order. The router is not one of them; it is always last.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    filters: Box<[CompiledFilter]>,
}

/// One filter in its place.
#[derive(Clone, Debug)]
pub struct CompiledFilter {
    /// By which overrides name it.
    pub name: Arc<str>,
    key: Key,
    /// Does nothing unless an override switches it on.
    pub disabled: bool,
    /// What it does where nothing overrides it.
    pub config: CompiledFilterConfig,
}

/// What a filter does, compiled.
#[derive(Clone, Debug)]
pub enum CompiledFilterConfig {
    /// `None`: listed without a policy, so it does nothing until a route brings one.
    Cors(Option<Arc<CompiledCors>>),
    /// Faults.
    Fault(Arc<CompiledFault>),
    /// A limit that this proxy keeps by itself.
    LocalRateLimit(Arc<CompiledLocalRateLimit>),
    /// A limit kept for many proxies; only in a listener's list.
    SharedRateLimit(Arc<CompiledSharedRateLimit>),
    /// What a route says to [`CompiledFilterConfig::SharedRateLimit`]; only in overrides. It does not replace the
    /// listener's word, it is asked beside it.
    SharedRateLimitPerRoute(Arc<CompiledPerRoute>),
    /// Sessions. `None`: switched off here.
    StatefulSession(Option<Arc<Sessions>>),
}

/// Where a configuration stands, which names the state that outlives it: a route that is compiled again finds the
/// tokens of the one before it.
#[derive(Clone, Debug)]
pub struct Scope<'l> {
    limiters: &'l Limiters,
    place: String,
}

impl<'l> Scope<'l> {
    /// `place` must be the same for the same listener or route configuration in every snapshot, and no two may share
    /// it.
    pub fn new(limiters: &'l Limiters, place: impl Into<String>) -> Self {
        Self { limiters, place: place.into() }
    }

    /// A part of it.
    pub(crate) fn part(&self, name: &str) -> Self {
        // A line break stands in no name, so two different paths never read the same.
        Self { limiters: self.limiters, place: format!("{}\n{name}", self.place) }
    }

    pub(crate) fn limiters(&self) -> &'l Limiters {
        self.limiters
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }
}

impl Chain {
    /// Compiles a listener's list, or says which field cannot be put to work.
    pub fn compile(filters: &[HttpFilter], scope: &Scope<'_>) -> Result<Self, CompileError> {
        let compiled = filters.iter().enumerate().map(|(i, filter)| {
            let at = |e: CompileError| e.under(&format!("http_filters[{i}].typed_config"));
            Ok(CompiledFilter {
                name: Arc::clone(&filter.name),
                key: Key::of(&filter.name),
                disabled: filter.disabled,
                config: CompiledFilterConfig::compile(&filter.config, &scope.part(&filter.name)).map_err(at)?,
            })
        });
        Ok(Self { filters: compiled.collect::<Result<_, _>>()? })
    }

    /// In the order in which they see a request; an answer meets them backwards.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &CompiledFilter> {
        self.filters.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }
}

impl CompiledFilterConfig {
    fn compile(config: &FilterConfig, scope: &Scope<'_>) -> Result<Self, CompileError> {
        Ok(match config {
            FilterConfig::Cors(None) => Self::Cors(None),
            FilterConfig::Cors(Some(cors)) => Self::Cors(Some(Arc::new(CompiledCors::compile(cors)?))),
            FilterConfig::Fault(fault) => Self::Fault(Arc::new(CompiledFault::compile(fault)?)),
            FilterConfig::LocalRateLimit(limit) => {
                Self::LocalRateLimit(Arc::new(CompiledLocalRateLimit::compile(limit, scope)?))
            }
            FilterConfig::RateLimit(service) => {
                Self::SharedRateLimit(Arc::new(CompiledSharedRateLimit::compile(service)?))
            }
            FilterConfig::RateLimitPerRoute(route) => {
                Self::SharedRateLimitPerRoute(Arc::new(CompiledPerRoute::compile(route)?))
            }
            FilterConfig::StatefulSession(None) => Self::StatefulSession(None),
            FilterConfig::StatefulSession(Some(session)) => {
                Self::StatefulSession(Some(Arc::new(Sessions::compile(session)?)))
            }
        })
    }

    /// Whether `other` may stand where this stands.
    fn is_same_kind(&self, other: &Self) -> bool {
        match self {
            Self::Cors(_) => matches!(other, Self::Cors(_)),
            Self::Fault(_) => matches!(other, Self::Fault(_)),
            Self::LocalRateLimit(_) => matches!(other, Self::LocalRateLimit(_)),
            Self::SharedRateLimit(_) | Self::SharedRateLimitPerRoute(_) => {
                matches!(other, Self::SharedRateLimit(_) | Self::SharedRateLimitPerRoute(_))
            }
            Self::StatefulSession(_) => matches!(other, Self::StatefulSession(_)),
        }
    }
}

/// What one level says to one filter.
#[derive(Clone, Debug)]
pub(crate) struct CompiledOverride {
    name: Arc<str>,
    key: Key,
    disabled: bool,
    config: Option<CompiledFilterConfig>,
}

/// What tells names apart at first sight (FNV-1a): a request compares each filter with each word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64);

impl Key {
    fn of(name: &str) -> Self {
        let add = |key: u64, byte: u8| (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, add))
    }

    /// A bit that nearly no other name has.
    #[inline]
    fn mark(self) -> u64 {
        1 << (self.0 >> 58)
    }
}

/// The words of a level and of those above it. Empty almost everywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    words: Arc<[CompiledOverride]>,
    /// The marks of all their names.
    marks: u64,
}

/// The words of one level in front of those of the level above. Errors name the field that carries them.
pub(crate) fn compile_level(own: &FilterOverrides, above: &Level, scope: &Scope<'_>) -> Result<Level, CompileError> {
    if own.is_empty() {
        return Ok(above.clone());
    }
    let compile = |(name, word): (&Arc<str>, &FilterOverride)| {
        let at = |e: CompileError| e.under(&format!("typed_per_filter_config[{name}]"));
        let config = word.config.as_ref();
        let config = config.map(|c| CompiledFilterConfig::compile(c, &scope.part(name)).map_err(at)).transpose()?;
        Ok(CompiledOverride { name: Arc::clone(name), key: Key::of(name), disabled: word.disabled, config })
    };
    let mut words = own.iter().map(compile).collect::<Result<Vec<_>, CompileError>>()?;
    words.extend(above.words.iter().filter(|word| !own.contains_key(&word.name)).cloned());
    let marks = words.iter().fold(0, |marks, word| marks | word.key.mark());
    Ok(Level { words: words.into(), marks })
}

/// All that a route, and the chosen member of its weighted choice, say to filters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'r> {
    member: &'r [CompiledOverride],
    route: &'r [CompiledOverride],
    /// The marks of all names in both.
    marks: u64,
}

impl<'r> Overrides<'r> {
    pub(crate) fn new(member: Option<&'r Level>, route: &'r Level) -> Self {
        let marks = route.marks | member.map_or(0, |member| member.marks);
        Self { member: member.map_or(&[], |member| &member.words), route: &route.words, marks }
    }

    /// What a listener's filter does here; `None` when it does nothing.
    ///
    /// For [`CompiledFilterConfig::SharedRateLimit`] the answer may be
    /// [`CompiledFilterConfig::SharedRateLimitPerRoute`], which is asked beside the listener's own.
    #[inline]
    pub fn effective<'a>(&'a self, filter: &'a CompiledFilter) -> Option<&'a CompiledFilterConfig>
    where
        'r: 'a,
    {
        if self.marks & filter.key.mark() == 0 {
            return (!filter.disabled).then_some(&filter.config);
        }
        self.overridden(filter)
    }

    /// The same for a filter whose name is likely to be overridden.
    fn overridden<'a>(&'a self, filter: &'a CompiledFilter) -> Option<&'a CompiledFilterConfig>
    where
        'r: 'a,
    {
        let is_named = |word: &&CompiledOverride| word.key == filter.key && word.name == filter.name;
        let named = |words: &'r [CompiledOverride]| words.iter().find(is_named);
        let Some(word) = named(self.member).or_else(|| named(self.route)) else {
            return (!filter.disabled).then_some(&filter.config);
        };
        if word.disabled {
            return None;
        }
        Some(word.config.as_ref().filter(|config| filter.config.is_same_kind(config)).unwrap_or(&filter.config))
    }

    /// Whether nothing is overridden, so that the listener's filters do what they say.
    pub fn is_empty(&self) -> bool {
        self.member.is_empty() && self.route.is_empty()
    }
}

#[cfg(test)]
mod tests;
