//! Changes of header fields in the syntax of xDS, where a percent sign begins an operator.

use std::sync::Arc;

use tidegate_policies::ir::route::{HeaderChanges, RouteRule};
use tidegate_xds::resource::route::{AppendAction, HeaderAddition, HeaderMutations};

/// How a dialect understands text in header values and in prefix rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Gateway API: text is text, and prefixes are whole path segments.
    Literal,
    /// Istio: `%OPERATOR%` is evaluated for each request, and prefixes are strings.
    Operators,
}

impl Values {
    /// The dialect that a rule was written in.
    pub(super) fn of(rule: &RouteRule) -> Self {
        if rule.origin.kind == "VirtualService" { Self::Operators } else { Self::Literal }
    }
}

/// Removes, then sets, then adds.
pub(super) fn header_mutations(changes: &HeaderChanges, values: Values) -> HeaderMutations {
    let addition = |(name, value): &(Arc<str>, Arc<str>), append| HeaderAddition {
        name: name.clone(),
        value: header_value(value, values),
        append,
        keep_empty: true,
    };
    let set = changes.set.iter().map(|field| addition(field, AppendAction::OverwriteIfExistsOrAdd));
    let add = changes.add.iter().map(|field| addition(field, AppendAction::AppendIfExistsOrAdd));
    HeaderMutations { remove: changes.remove.clone(), add: set.chain(add).collect() }
}

/// A value in the syntax of xDS, where a percent sign begins an operator.
fn header_value(value: &Arc<str>, values: Values) -> Arc<str> {
    if !value.contains('%') {
        return value.clone();
    }
    if values == Values::Literal {
        return value.replace('%', "%%").into();
    }
    let mut written = String::with_capacity(value.len());
    let mut rest: &str = value;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        let length = operator_length(from).unwrap_or(0);
        written.push_str(before);
        // A percent sign that begins no operator is meant as one.
        written.push_str(if length == 0 { "%%" } else { from.get(..length).unwrap_or_default() });
        rest = from.get(length.max(1)..).unwrap_or_default();
    }
    written.push_str(rest);
    written.into()
}

/// The length of the operator (`%NAME%`, `%NAME(…)%`) or escape (`%%`) at the start of `text`.
fn operator_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('%')?;
    let end = inner.find('%')?;
    let name = inner.get(..end)?;
    let name = name.split(['(', ':']).next().unwrap_or_default();
    let known_form = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    known_form.then_some(end + 2)
}
