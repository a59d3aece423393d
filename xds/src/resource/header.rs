//! Header mutations, and what a header's name and value may be.
//!
//! # Why values are checked here
//! A value with a line end in it would let whoever writes configuration write whole requests. The data plane writes
//! these bytes without looking again, so they are looked at once, when they arrive.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;

use super::path::{At, Checked, each};
use super::route::{AppendAction, HeaderAddition, HeaderMutations};
use crate::proto::core;

/// As many additions as Envoy allows on one level.
const ADDITIONS_MAX: usize = 1000;
/// As many bytes as Envoy allows in one name or value.
const HEADER_BYTES_MAX: usize = 16_384;

/// Refuses what is not a token of RFC 9110 section 5.6.2.
pub(super) fn header_name(at: &At<'_>, name: &str) -> Checked<()> {
    if name.is_empty() {
        return Err(at.missing());
    }
    if name.len() > HEADER_BYTES_MAX {
        return Err(at.error(format_args!("is longer than {HEADER_BYTES_MAX} bytes")));
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) {
        return Err(at.error(format_args!("{name:?} is not a header name")));
    }
    Ok(())
}

/// A header that may be written or removed: neither a pseudo-header nor the host, which rewrites own.
pub(super) fn mutable_name(at: &At<'_>, name: &str) -> Checked<()> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(at.error(format_args!("{name:?} cannot be changed by a header mutation")));
    }
    header_name(at, name)
}

/// Refuses a value that would end its line.
pub(super) fn header_value(at: &At<'_>, value: &str) -> Checked<()> {
    if value.len() > HEADER_BYTES_MAX {
        return Err(at.error(format_args!("is longer than {HEADER_BYTES_MAX} bytes")));
    }
    if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(at.error("contains a control character"));
    }
    Ok(())
}

/// Refuses a `%` that neither starts an operator nor is doubled. Which operators exist is the data plane's business.
fn format_string(at: &At<'_>, value: &str) -> Checked<()> {
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        let body = &rest[start + 1..];
        if let Some(after) = body.strip_prefix('%') {
            rest = after;
            continue;
        }
        let name = body.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let unclosed = || at.error(format_args!("{:?} does not end in a percent sign", &rest[start..]));
        let name = name.ok_or_else(unclosed)?;
        if name == 0 {
            return Err(at.error("a percent sign must start an operator or be doubled"));
        }
        // `%REQ(:path)%`, `%PROTOCOL%`, `%REQ(x):10%`: an argument may contain anything but its closing bracket.
        let mut tail = &body[name..];
        if let Some(argument) = tail.strip_prefix('(') {
            tail = argument.split_once(')').ok_or_else(unclosed)?.1;
        }
        rest = tail.split_once('%').ok_or_else(unclosed)?.1;
    }
    Ok(())
}

/// The four fields of a level: two for the request, two for the answer.
pub(super) fn mutations(
    at: &At<'_>,
    (add_field, add): (&str, Vec<core::HeaderValueOption>),
    (remove_field, remove): (&str, Vec<String>),
) -> Checked<HeaderMutations> {
    let add = list(at, add_field, add)?;
    let removal = |(i, name): (usize, String)| -> Checked<Arc<str>> {
        mutable_name(&at.item(remove_field, i), &name)?;
        Ok(name.to_ascii_lowercase().into())
    };
    let remove = remove.into_iter().enumerate().map(removal).collect::<Checked<Vec<_>>>()?;
    Ok(HeaderMutations { remove, add })
}

/// The additions in `field`.
pub(super) fn list(at: &At<'_>, field: &str, add: Vec<core::HeaderValueOption>) -> Checked<Vec<HeaderAddition>> {
    if add.len() > ADDITIONS_MAX {
        return Err(at.field(field).error(format_args!("{} are more than {ADDITIONS_MAX}", add.len())));
    }
    each(at, field, add, addition)
}

pub(super) fn addition(at: &At<'_>, option: core::HeaderValueOption) -> Checked<HeaderAddition> {
    use core::header_value_option::HeaderAppendAction as Action;
    let core::HeaderValueOption { header, append, append_action, keep_empty_value } = option;
    let Ok(action) = Action::try_from(append_action) else {
        return Err(at.field("append_action").error(format_args!("{append_action} is not known")));
    };
    if append.is_some() && action != Action::AppendIfExistsOrAdd {
        return Err(at.field("append").error("append and append_action exclude each other"));
    }
    let append = match (append.map(|flag| flag.value), action) {
        (Some(false), _) | (None, Action::OverwriteIfExistsOrAdd) => AppendAction::OverwriteIfExistsOrAdd,
        (Some(true), _) | (None, Action::AppendIfExistsOrAdd) => AppendAction::AppendIfExistsOrAdd,
        (None, Action::AddIfAbsent) => AppendAction::AddIfAbsent,
        (None, Action::OverwriteIfExists) => AppendAction::OverwriteIfExists,
    };
    let at = &at.field("header");
    let core::HeaderValue { key, value, raw_value } = header.ok_or_else(|| at.missing())?;
    mutable_name(&at.field("key"), &key)?;
    let value = match (value.is_empty(), raw_value.is_empty()) {
        (_, true) => value,
        (false, false) => return Err(at.field("raw_value").error("value and raw_value exclude each other")),
        (true, false) => String::from_utf8(raw_value).map_err(|_| at.field("raw_value").error("is not UTF-8"))?,
    };
    header_value(&at.field("value"), &value)?;
    format_string(&at.field("value"), &value)?;
    Ok(HeaderAddition { name: key.into(), value: value.into(), append, keep_empty: keep_empty_value })
}

/// The additions of a level.
pub(super) fn encode_additions(mutations: &HeaderMutations) -> Vec<core::HeaderValueOption> {
    encode_list(&mutations.add)
}

/// Additions without removals.
pub(super) fn encode_list(additions: &[HeaderAddition]) -> Vec<core::HeaderValueOption> {
    use core::header_value_option::HeaderAppendAction as Action;
    let encode = |addition: &HeaderAddition| {
        let action = match addition.append {
            AppendAction::AppendIfExistsOrAdd => Action::AppendIfExistsOrAdd,
            AppendAction::AddIfAbsent => Action::AddIfAbsent,
            AppendAction::OverwriteIfExistsOrAdd => Action::OverwriteIfExistsOrAdd,
            AppendAction::OverwriteIfExists => Action::OverwriteIfExists,
        };
        core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: addition.name.to_string(),
                value: addition.value.to_string(),
                ..Default::default()
            }),
            append_action: action.into(),
            keep_empty_value: addition.keep_empty,
            ..Default::default()
        }
    };
    additions.iter().map(encode).collect()
}

/// The removals of a level.
pub(super) fn encode_removals(mutations: &HeaderMutations) -> Vec<String> {
    mutations.remove.iter().map(ToString::to_string).collect()
}
