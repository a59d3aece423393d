//! What of a cluster travels as metadata: limits that the API does not have, and the policies behind it.

use super::{Cluster, Policies};
use crate::proto::core;
use crate::proto::value::Kind;
use crate::proto::{ListValue, Value};
use crate::resource::metadata::{self, OURS, POLICIES};
use crate::resource::path::{At, Checked};

const FAILURE_CODES: &str = "failure_codes";
const MAX_REQUESTS_PER_ENDPOINT: &str = "max_requests_per_endpoint";

/// Our part of a cluster's metadata.
#[derive(Default)]
pub(super) struct Ours {
    pub(super) policies: Policies,
    /// `None` when nothing is said, or when there is no outlier detection that could use it.
    pub(super) failure_codes: Option<Vec<u16>>,
    pub(super) max_requests_per_endpoint: Option<u32>,
}

pub(super) fn decode(at: &At<'_>, value: Option<core::Metadata>, detects_outliers: bool) -> Checked<Ours> {
    let mut ours = Ours::default();
    metadata::decode(at, value, OURS, |at, field, kind| match field {
        POLICIES => {
            let policies = metadata::policies(&at.field(POLICIES), kind)?;
            let known = policies.is_some();
            ours.policies = policies.unwrap_or_default();
            Ok(known)
        }
        FAILURE_CODES if detects_outliers => {
            ours.failure_codes = Some(statuses(&at.field(field), kind)?);
            Ok(true)
        }
        MAX_REQUESTS_PER_ENDPOINT => {
            ours.max_requests_per_endpoint = Some(metadata::whole_u32(at, field, &kind)?);
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(ours)
}

fn statuses(at: &At<'_>, kind: Kind) -> Checked<Vec<u16>> {
    let Kind::ListValue(ListValue { values }) = kind else { return Err(at.error("is not a list")) };
    let one = |(i, Value { kind }): (usize, Value)| {
        let at = &at.item("values", i);
        let kind = kind.ok_or_else(|| at.missing())?;
        let status = metadata::whole(at, "number_value", &kind, 599)?;
        let status = u16::try_from(status).ok().filter(|status| *status >= 100);
        status.ok_or_else(|| at.error("is not a status from 100 to 599"))
    };
    values.into_iter().enumerate().map(one).collect()
}

pub(super) fn encode(value: &Cluster) -> Option<core::Metadata> {
    let codes = value.outlier_detection.as_ref().map_or(&[][..], |detection| &detection.failure_codes);
    let codes = (!codes.is_empty()).then(|| {
        let values = codes.iter().map(|code| Value { kind: Some(metadata::encode_whole(u64::from(*code))) });
        (FAILURE_CODES, Kind::ListValue(ListValue { values: values.collect() }))
    });
    let max = value.circuit_breakers.max_requests_per_endpoint;
    let fields = [
        metadata::encode_policies(&value.policies),
        codes,
        max.map(|max| (MAX_REQUESTS_PER_ENDPOINT, metadata::encode_whole(u64::from(max)))),
    ];
    metadata::encode(OURS, fields.into_iter().flatten().collect())
}
