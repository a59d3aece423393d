//! What is added to and removed from heads on the way.
//!
//! # Order
//! Four levels may each have a word: weighted cluster, route, virtual host, configuration. They are applied in this
//! order, so that the outermost has the last word. When the configuration says that the most specific wins, the last
//! three are turned round; the weighted cluster stays the first, as in Envoy. Within a level removals come first, then
//! what replaces, then what adds.
//!
//! # Values come from the head as it was received
//! No value depends on another mutation, whatever the order: `%REQ(X)%` is what the caller sent, even where an earlier
//! level (or the same one) removes or rewrites `x`. In Envoy a later level sees what an earlier one wrote.

use std::sync::Arc;

use tidegate_xds::resource::route::{AppendAction, HeaderAddition, HeaderMutations};

use crate::error::CompileError;
use crate::format::{Format, Values};
use crate::request::{NoResponse, RequestView, ResponseView, is_token};
use crate::route::CompiledRoute;
use crate::split::Chosen;

pub use crate::format::Context;

/// A head that can be changed. Names are compared without regard to case.
pub trait HeadEditor {
    /// Removes every field of the name.
    fn remove(&mut self, lower_name: &str);
    /// Replaces every field of the name by one.
    fn set(&mut self, name: &str, value: &[u8]);
    /// Adds a field line after those that are there.
    fn append(&mut self, name: &str, value: &[u8]);
    /// Whether there is a field of the name, earlier edits included.
    fn contains(&self, lower_name: &str) -> bool;
}

/// The mutations of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct CompiledMutations {
    remove: Box<[Box<str>]>,
    add: Box<[Addition]>,
    /// Some addition asks whether its header is there.
    conditional: bool,
}

#[derive(Clone, Debug)]
struct Addition {
    name: Box<str>,
    lower: Box<str>,
    value: Format,
    action: AppendAction,
    keep_empty: bool,
}

impl CompiledMutations {
    /// Those of requests and those of answers.
    pub(crate) fn compile_levels(
        request: &HeaderMutations,
        response: &HeaderMutations,
    ) -> Result<[Arc<Self>; 2], CompileError> {
        Ok([Arc::new(Self::compile(request, "request")?), Arc::new(Self::compile(response, "response")?)])
    }

    /// `direction` stands in the path of a refusal.
    pub(crate) fn compile(mutations: &HeaderMutations, direction: &str) -> Result<Self, CompileError> {
        let mut remove = Vec::with_capacity(mutations.remove.len());
        for (i, name) in mutations.remove.iter().enumerate() {
            let at = |reason| CompileError::new(format!("{direction}_headers_to_remove[{i}]"), reason);
            remove.push(mutable_name(name).map_err(at)?);
        }
        let mut add = Vec::with_capacity(mutations.add.len());
        for (i, addition) in mutations.add.iter().enumerate() {
            let at = |field: &str, reason| {
                CompileError::new(format!("{direction}_headers_to_add[{i}].header.{field}"), reason)
            };
            add.push(Addition {
                name: addition.name.as_ref().into(),
                lower: mutable_name(&addition.name).map_err(|reason| at("key", reason))?,
                value: Format::compile(&addition.value).map_err(|reason| at("value", reason))?,
                action: addition.append,
                keep_empty: addition.keep_empty,
            });
        }
        let conditional =
            add.iter().any(|a| matches!(a.action, AppendAction::AddIfAbsent | AppendAction::OverwriteIfExists));
        Ok(Self { remove: remove.into(), add: add.into(), conditional })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    pub(crate) fn apply<Q: RequestView, S: ResponseView>(
        &self,
        values: &Values<'_, Q, S>,
        editor: &mut impl HeadEditor,
    ) {
        for name in &self.remove {
            editor.remove(name);
        }
        // Presence is asked of the head as it is before this level writes, so it has to be remembered.
        let there: Vec<bool> = match self.conditional {
            true => self.add.iter().map(|addition| editor.contains(&addition.lower)).collect(),
            false => Vec::new(),
        };
        for replaces in [true, false] {
            for (i, addition) in self.add.iter().enumerate() {
                let there = there.get(i).copied().unwrap_or(false);
                let (is_replacement, wanted) = match addition.action {
                    AppendAction::AppendIfExistsOrAdd => (false, true),
                    AppendAction::AddIfAbsent => (false, !there),
                    AppendAction::OverwriteIfExistsOrAdd => (true, true),
                    AppendAction::OverwriteIfExists => (true, there),
                };
                if is_replacement != replaces || !wanted {
                    continue;
                }
                let value = addition.value.value(values);
                if value.is_empty() && !addition.keep_empty {
                    continue;
                }
                if replaces {
                    editor.set(&addition.name, &value);
                } else {
                    editor.append(&addition.name, &value);
                }
            }
        }
    }
}

/// Header fields that a filter adds, compiled.
#[derive(Clone, Debug, Default)]
pub struct Additions(CompiledMutations);

impl Additions {
    /// `list` is the field's name, for the path of a refusal.
    pub(crate) fn compile(additions: &[HeaderAddition], list: &str) -> Result<Self, CompileError> {
        let mutations = HeaderMutations { remove: Vec::new(), add: additions.to_vec() };
        CompiledMutations::compile(&mutations, "")
            .map(Self)
            .map_err(|e| CompileError::new(e.path.replacen("_headers_to_add", list, 1), e.reason))
    }

    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds them to a head. `route` is the route in whose name the filter acts.
    pub fn apply(
        &self,
        route: &CompiledRoute,
        request: &impl RequestView,
        context: &Context<'_>,
        editor: &mut impl HeadEditor,
    ) {
        self.0.apply(&request_values(route, request, context), editor);
    }
}

/// The name in lower case, if configuration may change the header.
fn mutable_name(name: &str) -> Result<Box<str>, String> {
    let lower = name.to_ascii_lowercase();
    if lower == "host" || lower.starts_with(':') {
        return Err(format!("`{name}` is changed by a rewrite, not by a header mutation"));
    }
    if !is_token(&lower) {
        return Err(format!("`{name}` is not a header name"));
    }
    Ok(lower.into())
}

/// The mutations of a route, its virtual host and its configuration, in the order in which they are applied.
#[derive(Clone, Debug)]
pub(crate) struct MutationLevels {
    levels: Box<[Arc<CompiledMutations>]>,
}

impl MutationLevels {
    /// From the most specific level to the least.
    pub(crate) fn new(levels: [&Arc<CompiledMutations>; 3], most_specific_wins: bool) -> Self {
        let mut levels: Vec<_> = levels.into_iter().filter(|level| !level.is_empty()).cloned().collect();
        if most_specific_wins {
            levels.reverse();
        }
        Self { levels: levels.into() }
    }

    fn apply<Q: RequestView, S: ResponseView>(
        &self,
        member: Option<&CompiledMutations>,
        values: &Values<'_, Q, S>,
        editor: &mut impl HeadEditor,
    ) {
        if let Some(member) = member.filter(|member| !member.is_empty()) {
            member.apply(values, editor);
        }
        for level in &self.levels {
            level.apply(values, editor);
        }
    }
}

/// Changes the head that is sent upstream. `request` is the head as it was received.
pub fn apply_request(
    route: &CompiledRoute,
    chosen: Option<&Chosen<'_>>,
    request: &impl RequestView,
    context: &Context<'_>,
    editor: &mut impl HeadEditor,
) {
    let member = chosen.and_then(|c| c.member).map(|m| &*m.request_headers);
    route.request_headers.apply(member, &request_values(route, request, context), editor);
}

/// What values are made from while there is no answer yet.
pub(crate) fn request_values<'a, Q: RequestView>(
    route: &'a CompiledRoute,
    request: &'a Q,
    context: &'a Context<'a>,
) -> Values<'a, Q, NoResponse> {
    Values { request, response: &NoResponse, context, route_name: &route.name, virtual_host: &route.virtual_host }
}

/// Changes the head that is sent downstream, also that of a redirect or a direct response (then nothing was `chosen`).
/// `request` and `response` are the heads as they were received.
pub fn apply_response(
    route: &CompiledRoute,
    chosen: Option<&Chosen<'_>>,
    request: &impl RequestView,
    response: &impl ResponseView,
    context: &Context<'_>,
    editor: &mut impl HeadEditor,
) {
    let values = Values { request, response, context, route_name: &route.name, virtual_host: &route.virtual_host };
    let member = chosen.and_then(|c| c.member).map(|m| &*m.response_headers);
    route.response_headers.apply(member, &values, editor);
}

#[cfg(test)]
mod tests;
