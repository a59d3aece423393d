//! What stands behind a shared limit, in the metadata of the route or host that describes requests to it.
//!
//! # Why beside the description and not in it
//! A description has no field for the limit: Envoy asks a service, and only the service knows. Our own proxy keeps the
//! limit by quota, so it must know it. The name by which the two are matched is the value of the constant that a list of
//! actions begins with.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Lease, OnUnavailable, RateLimitAction, RateLimitActions, Refusal, RefusalField, TokenBucket};
use crate::proto::value::Kind;
use crate::proto::{ListValue, Value};
use crate::resource::header::{header_value, mutable_name};
use crate::resource::metadata::{self, OURS, WHOLE_MAX};
use crate::resource::path::{At, Checked};

/// The key of the leases among our metadata.
pub(in crate::resource) const LEASES: &str = "leases";

const CAPACITY: &str = "capacity";
const REFILL: &str = "refill";
const INTERVAL_MS: &str = "interval_ms";
const ON_UNAVAILABLE: &str = "on_unavailable";
const SHADOW: &str = "shadow";
const REFUSAL: &str = "refusal";
const STATUS: &str = "status";
const GRPC_STATUS: &str = "grpc_status";
const FIELDS: &str = "fields";
const NAME: &str = "name";
const VALUE: &str = "value";
const APPEND: &str = "append";
/// Fields of one refusal; policies have half of that.
const FIELDS_MAX: usize = 64;
/// The highest of gRPC's statuses.
const GRPC_STATUS_MAX: u64 = 16;

const SPELLING: [(OnUnavailable, &str); 3] = [
    (OnUnavailable::FallbackPerProxy, "fallback_per_proxy"),
    (OnUnavailable::Allow, "allow"),
    (OnUnavailable::Deny, "deny"),
];

/// By which a description's lease is found: the constant it begins with.
fn leading(description: &RateLimitActions) -> Option<&Arc<str>> {
    match description.actions.first() {
        Some(RateLimitAction::GenericKey { value, .. }) => Some(value),
        _ => None,
    }
}

/// Leases that were read, until the descriptions they belong to are known.
#[derive(Default)]
pub(in crate::resource) struct Leases(Vec<(Arc<str>, Arc<Lease>)>);

impl Leases {
    /// Reads the entry [`LEASES`] of our metadata; whether it could.
    pub(in crate::resource) fn read(&mut self, at: &At<'_>, kind: Kind) -> Checked<bool> {
        let Kind::StructValue(structure) = kind else { return Err(at.field(LEASES).error("is not a structure")) };
        metadata::fields(&at.field(LEASES), structure, &mut |at, name, kind| {
            let Kind::StructValue(structure) = kind else { return Err(at.field(name).error("is not a structure")) };
            self.0.push((name.into(), Arc::new(lease(&at.field(name), structure)?)));
            Ok(true)
        })?;
        Ok(true)
    }

    /// Gives each description its lease.
    pub(in crate::resource) fn attach(&self, descriptions: &mut [RateLimitActions]) {
        for description in descriptions {
            let lease = leading(description).and_then(|name| self.0.iter().find(|(known, _)| known == name));
            description.lease = lease.map(|(_, lease)| Arc::clone(lease));
        }
    }

    /// Notes those that belong to none of the descriptions.
    pub(in crate::resource) fn note_unused<'a>(&self, at: &At<'_>, used: impl Iterator<Item = &'a RateLimitActions>) {
        let names: Vec<_> = used.filter_map(leading).collect();
        let at = &at.field("metadata");
        let at = &at.key("filter_metadata", OURS);
        let at = &at.field(LEASES);
        for (name, _) in self.0.iter().filter(|(name, _)| !names.contains(&name)) {
            at.ignore(name);
        }
    }
}

fn lease(at: &At<'_>, structure: crate::proto::Struct) -> Checked<Lease> {
    let (mut capacity, mut refill, mut interval) = (None, None, None);
    let (mut on_unavailable, mut shadow, mut refused) = (OnUnavailable::default(), false, Refusal::default());
    metadata::fields(at, structure, &mut |at, field, kind| {
        match field {
            CAPACITY => capacity = Some(metadata::whole_u32(at, field, &kind)?),
            REFILL => refill = NonZeroU32::new(metadata::whole_u32(at, field, &kind)?),
            INTERVAL_MS => interval = Some(metadata::whole(at, field, &kind, WHOLE_MAX)?),
            SHADOW => shadow = metadata::flag(at, field, &kind)?,
            REFUSAL => refused = refusal(&at.field(REFUSAL), kind)?,
            ON_UNAVAILABLE => {
                let text = metadata::text(at, field, kind)?;
                let found = SPELLING.iter().find(|(_, spelling)| **spelling == *text);
                let unknown = || at.field(field).error(format_args!("{text:?} is not known"));
                on_unavailable = found.ok_or_else(unknown)?.0;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let interval = interval.filter(|ms| *ms > 0).ok_or_else(|| at.field(INTERVAL_MS).error("must be at least 1"))?;
    let limit = TokenBucket {
        capacity: capacity.ok_or_else(|| at.field(CAPACITY).missing())?,
        refill: refill.ok_or_else(|| at.field(REFILL).error("must be at least 1"))?,
        interval: Duration::from_millis(interval),
    };
    Ok(Lease { limit, on_unavailable, shadow, refusal: refused })
}

fn refusal(at: &At<'_>, kind: Kind) -> Checked<Refusal> {
    let Kind::StructValue(structure) = kind else { return Err(at.error("is not a structure")) };
    let mut refusal = Refusal::default();
    metadata::fields(at, structure, &mut |at, field, kind| {
        match field {
            STATUS => {
                let status = metadata::whole(at, field, &kind, 599)?;
                let status = u16::try_from(status).ok().filter(|status| *status >= 400);
                refusal.status = status.ok_or_else(|| at.field(STATUS).error("must be from 400 to 599"))?;
            }
            GRPC_STATUS => {
                let status = metadata::whole(at, field, &kind, GRPC_STATUS_MAX)?;
                refusal.grpc_status = u32::try_from(status).unwrap_or(u32::MAX);
            }
            FIELDS => {
                let at = &at.field(FIELDS);
                let Kind::ListValue(ListValue { values }) = kind else { return Err(at.error("is not a list")) };
                if values.len() > FIELDS_MAX {
                    return Err(at.error(format_args!("has more than {FIELDS_MAX} entries")));
                }
                let fields = values.into_iter().map(|Value { kind }| refusal_field(at, kind));
                refusal.fields = fields.collect::<Checked<_>>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(refusal)
}

fn refusal_field(at: &At<'_>, kind: Option<Kind>) -> Checked<RefusalField> {
    let Some(Kind::StructValue(structure)) = kind else { return Err(at.error("has an entry that is not a structure")) };
    let (mut name, mut value, mut append) = (None, Arc::from(""), false);
    metadata::fields(at, structure, &mut |at, field, kind| {
        match field {
            NAME => {
                let text = metadata::text(at, field, kind)?;
                mutable_name(&at.field(NAME), &text)?;
                name = Some(text);
            }
            VALUE => {
                value = metadata::text(at, field, kind)?;
                header_value(&at.field(VALUE), &value)?;
            }
            APPEND => append = metadata::flag(at, field, &kind)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(RefusalField { name: name.ok_or_else(|| at.field(NAME).missing())?, value, append })
}

/// The entry [`LEASES`] for these descriptions, unless none has a lease. One that begins with no constant has no name
/// to be found by, and is left out.
pub(in crate::resource) fn encode<'a>(
    descriptions: impl Iterator<Item = &'a RateLimitActions>,
) -> Option<(&'static str, Kind)> {
    let named = |description: &'a RateLimitActions| Some((&**leading(description)?, description.lease.as_deref()?));
    let leases: Vec<_> = descriptions.filter_map(named).collect();
    let fields = leases.iter().map(|(name, lease)| (*name, encode_one(lease)));
    (!leases.is_empty()).then(|| (LEASES, Kind::StructValue(metadata::structure(fields))))
}

fn encode_one(lease: &Lease) -> Kind {
    let on_unavailable = SPELLING.iter().find(|(known, _)| *known == lease.on_unavailable).map_or("", |(_, text)| text);
    let interval_ms = u64::try_from(lease.limit.interval.as_millis()).unwrap_or(u64::MAX);
    let refusal = (lease.refusal != Refusal::default()).then(|| (REFUSAL, encode_refusal(&lease.refusal)));
    let fields = [
        (CAPACITY, metadata::encode_whole(u64::from(lease.limit.capacity))),
        (REFILL, metadata::encode_whole(u64::from(lease.limit.refill.get()))),
        (INTERVAL_MS, metadata::encode_whole(interval_ms)),
        (ON_UNAVAILABLE, metadata::encode_text(on_unavailable)),
        (SHADOW, Kind::BoolValue(lease.shadow)),
    ];
    Kind::StructValue(metadata::structure(fields.into_iter().chain(refusal)))
}

fn encode_refusal(refusal: &Refusal) -> Kind {
    let field = |field: &RefusalField| {
        let entries = [
            (NAME, metadata::encode_text(&field.name)),
            (VALUE, metadata::encode_text(&field.value)),
            (APPEND, Kind::BoolValue(field.append)),
        ];
        Value { kind: Some(Kind::StructValue(metadata::structure(entries))) }
    };
    let fields = ListValue { values: refusal.fields.iter().map(field).collect() };
    Kind::StructValue(metadata::structure([
        (STATUS, metadata::encode_whole(u64::from(refusal.status))),
        (GRPC_STATUS, metadata::encode_whole(u64::from(refusal.grpc_status))),
        (FIELDS, Kind::ListValue(fields)),
    ]))
}
