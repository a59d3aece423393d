//! What of a cluster travels as metadata: limits that the API does not have, the policies behind it, and the service that it
//! stands for, which is written as Istio writes it.

use super::{Cluster, Policies, ServiceName};
use crate::proto::core;
use crate::proto::value::Kind;
use crate::proto::{ListValue, Value};
use crate::resource::metadata::{self, ISTIO, OURS, POLICIES};
use crate::resource::path::{At, Checked};

const FAILURE_CODES: &str = "failure_codes";
const MAX_REQUESTS_PER_ENDPOINT: &str = "max_requests_per_endpoint";
const SERVICES: &str = "services";

/// Our part of a cluster's metadata.
#[derive(Default)]
pub(super) struct Ours {
    pub(super) policies: Policies,
    /// `None` when nothing is said, or when there is no outlier detection that could use it.
    pub(super) failure_codes: Option<Vec<u16>>,
    pub(super) max_requests_per_endpoint: Option<u32>,
    pub(super) service: Option<ServiceName>,
}

pub(super) fn decode(at: &At<'_>, value: Option<core::Metadata>, detects_outliers: bool) -> Checked<Ours> {
    let mut ours = Ours::default();
    metadata::decode_of(at, value, &[OURS, ISTIO], |at, owner, field, kind| match (owner, field) {
        (OURS, POLICIES) => {
            let policies = metadata::policies(&at.field(POLICIES), kind)?;
            let known = policies.is_some();
            ours.policies = policies.unwrap_or_default();
            Ok(known)
        }
        (OURS, FAILURE_CODES) if detects_outliers => {
            ours.failure_codes = Some(statuses(&at.field(field), kind)?);
            Ok(true)
        }
        (OURS, MAX_REQUESTS_PER_ENDPOINT) => {
            ours.max_requests_per_endpoint = Some(metadata::whole_u32(at, field, &kind)?);
            Ok(true)
        }
        (ISTIO, SERVICES) => {
            ours.service = service(at, kind)?;
            Ok(ours.service.is_some())
        }
        _ => Ok(false),
    })?;
    Ok(ours)
}

/// The first of the services, if it says all three names: reports are no reason to refuse a cluster.
fn service(at: &At<'_>, kind: Kind) -> Checked<Option<ServiceName>> {
    let Kind::ListValue(ListValue { values }) = kind else { return Ok(None) };
    let Some(Value { kind: Some(Kind::StructValue(structure)) }) = values.into_iter().next() else { return Ok(None) };
    let [mut host, mut name, mut namespace] = [const { None }; 3];
    let at = &at.item(SERVICES, 0);
    metadata::fields(at, structure, &mut |at, field, kind| {
        let place = match field {
            "host" => &mut host,
            "name" => &mut name,
            "namespace" => &mut namespace,
            _ => return Ok(false),
        };
        if matches!(kind, Kind::StringValue(_)) {
            *place = Some(metadata::text(at, field, kind)?);
        }
        Ok(place.is_some())
    })?;
    let (Some(host), Some(name), Some(namespace)) = (host, name, namespace) else { return Ok(None) };
    Ok(Some(ServiceName { host, name, namespace }))
}

fn encode_service(service: &ServiceName) -> Kind {
    let text = |name, text| (name, metadata::encode_text(text));
    let ServiceName { host, name, namespace } = service;
    let fields = [text("host", host), text("name", name), text("namespace", namespace)];
    let kind = Some(Kind::StructValue(metadata::structure(fields)));
    Kind::ListValue(ListValue { values: vec![Value { kind }] })
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
    let service = value.service.as_ref().map(|service| (SERVICES, encode_service(service)));
    metadata::encode_of([(OURS, fields.into_iter().flatten().collect()), (ISTIO, service.into_iter().collect())])
}
