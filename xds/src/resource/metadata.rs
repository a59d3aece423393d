//! What travels as metadata: words of ours for which the API has no field.
//!
//! # Why metadata
//! Envoy and other readers pass over metadata that they do not know, so a resource that carries ours is obeyed by them
//! as far as the API goes, and by our own proxy in full. Metadata of others is ignored and noted.

use std::sync::Arc;

use super::path::{At, Checked, ignored};
use super::route::Policies;
use super::scalar::label;
use crate::proto::value::Kind;
use crate::proto::{Struct, Value, core};

/// The owner of our entries.
pub(super) const OURS: &str = "tidegate";
/// The owner of entries that say who somebody is, as Istio writes them.
pub(super) const ISTIO: &str = "istio";
/// A workload in one line: see [`super::endpoint::Endpoint::workload`].
pub(super) const WORKLOAD: &str = "workload";
/// Which policies stand behind a resource.
pub(super) const POLICIES: &str = "policies";

/// The largest whole number that a protobuf `Value` (a float of 64 bits) holds without loss.
pub(super) const WHOLE_MAX: u64 = 1 << 53;

/// Hands each entry of the metadata of `owner` to `read`, which says whether it knows it; all else is noted.
pub(super) fn decode(
    at: &At<'_>,
    value: Option<core::Metadata>,
    owner: &str,
    mut read: impl FnMut(&At<'_>, &str, Kind) -> Checked<bool>,
) -> Checked<()> {
    decode_of(at, value, &[owner], |at, _, field, kind| read(at, field, kind))
}

/// The same for several owners, of whom `read` is told which one it is.
pub(super) fn decode_of(
    at: &At<'_>,
    value: Option<core::Metadata>,
    owners: &[&str],
    mut read: impl FnMut(&At<'_>, &str, &str, Kind) -> Checked<bool>,
) -> Checked<()> {
    let Some(core::Metadata { filter_metadata, typed_filter_metadata }) = value else { return Ok(()) };
    let at = &at.field("metadata");
    ignored!(at; typed_filter_metadata);
    let mut entries: Vec<_> = filter_metadata.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, structure) in entries {
        let at = &at.key("filter_metadata", &name);
        if owners.contains(&&*name) {
            fields(at, structure, &mut |at, field, kind| read(at, &name, field, kind))?;
        } else {
            at.ignore_here();
        }
    }
    Ok(())
}

/// Hands each field of a structure to `read`, in the order of names; those that it does not know are noted.
pub(super) fn fields(
    at: &At<'_>,
    structure: Struct,
    read: &mut dyn FnMut(&At<'_>, &str, Kind) -> Checked<bool>,
) -> Checked<()> {
    let Struct { fields } = structure;
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, Value { kind }) in fields {
        let known = match kind {
            Some(kind) => read(at, &name, kind)?,
            None => false,
        };
        if !known {
            at.ignore(&name);
        }
    }
    Ok(())
}

/// A text that reports show.
pub(super) fn text(at: &At<'_>, field: &str, kind: Kind) -> Checked<Arc<str>> {
    match kind {
        Kind::StringValue(text) => label(at, field, text),
        _ => Err(at.field(field).error("is not a string")),
    }
}

/// Who somebody is. What is not a text says nothing.
pub(super) fn workload(at: &At<'_>, kind: Kind, found: &mut Option<Arc<str>>) -> Checked<bool> {
    if !matches!(kind, Kind::StringValue(_)) {
        return Ok(false);
    }
    *found = Some(text(at, WORKLOAD, kind)?).filter(|workload| !workload.is_empty());
    Ok(true)
}

/// A yes or no.
pub(super) fn flag(at: &At<'_>, field: &str, kind: &Kind) -> Checked<bool> {
    match kind {
        Kind::BoolValue(flag) => Ok(*flag),
        _ => Err(at.field(field).error("is neither true nor false")),
    }
}

/// A whole number from zero to `max`, which is at most [`WHOLE_MAX`].
pub(super) fn whole(at: &At<'_>, field: &str, kind: &Kind, max: u64) -> Checked<u64> {
    let Kind::NumberValue(number) = kind else { return Err(at.field(field).error("is not a number")) };
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^53")]
    let limit = max.min(WHOLE_MAX) as f64;
    if !(number.fract() == 0.0 && (0.0..=limit).contains(number)) {
        return Err(at.field(field).error(format_args!("{number} is not a whole number from 0 to {limit}")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the lines above")]
    Ok(*number as u64)
}

/// The same for what must fit 32 bits.
pub(super) fn whole_u32(at: &At<'_>, field: &str, kind: &Kind) -> Checked<u32> {
    let number = whole(at, field, kind, u64::from(u32::MAX))?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Objects or places by kind of policy, found at `at`. Names that are not strings change nothing, so they are noted only.
pub(super) fn policies(at: &At<'_>, kind: Kind) -> Checked<Option<Policies>> {
    let Kind::StructValue(structure) = kind else { return Ok(None) };
    let mut policies = Policies::new();
    fields(at, structure, &mut |at, name, kind| {
        if !matches!(kind, Kind::StringValue(_)) {
            return Ok(false);
        }
        policies.insert(label(at, name, name.to_owned())?, text(at, name, kind)?);
        Ok(true)
    })?;
    Ok(Some(policies))
}

/// Metadata with one owner; `None` when there is nothing to say.
pub(super) fn encode(owner: &str, fields: Vec<(&str, Kind)>) -> Option<core::Metadata> {
    encode_of([(owner, fields)])
}

/// Metadata with several owners; `None` when none has anything to say.
pub(super) fn encode_of<'a>(
    owners: impl IntoIterator<Item = (&'a str, Vec<(&'a str, Kind)>)>,
) -> Option<core::Metadata> {
    let spoken = owners.into_iter().filter(|(_, fields)| !fields.is_empty());
    let filter_metadata: std::collections::HashMap<_, _> =
        spoken.map(|(owner, fields)| (owner.to_owned(), structure(fields))).collect();
    (!filter_metadata.is_empty()).then(|| core::Metadata { filter_metadata, ..Default::default() })
}

/// A structure of these fields.
pub(super) fn structure<'a>(fields: impl IntoIterator<Item = (&'a str, Kind)>) -> Struct {
    let fields = fields.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    Struct { fields: fields.collect() }
}

/// The entry for `policies`, unless there are none.
pub(super) fn encode_policies(policies: &Policies) -> Option<(&'static str, Kind)> {
    let fields = policies.iter().map(|(kind, policy)| (&**kind, encode_text(policy)));
    (!policies.is_empty()).then(|| (POLICIES, Kind::StructValue(structure(fields))))
}

pub(super) fn encode_text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

/// A whole number; above 2^53, where not every number exists, the nearest below.
pub(super) fn encode_whole(number: u64) -> Kind {
    #[expect(clippy::cast_precision_loss, reason = "no more than 2^53")]
    Kind::NumberValue(number.min(WHOLE_MAX) as f64)
}
