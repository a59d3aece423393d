//! Protobuf to fault and back.

use super::{Fault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay};
use crate::proto::fault::{self, fault_abort};
use crate::proto::fault_common::{self, fault_delay, fault_rate_limit};
use crate::proto::value::Kind;
use crate::proto::{Struct, Value};
use crate::resource::matcher::{decode as matcher, encode as encode_matcher};
use crate::resource::metadata::{self, OURS, WHOLE_MAX};
use crate::resource::path::{At, Checked, each, ignored, refused};
use crate::resource::scalar::{encode_duration, encode_percent, encode_u32, label, percent, positive};

/// The keys of what is ours in the fault's metadata.
const EXPIRES_AT: &str = "expires_at";
const APPLIES_TO: &str = "applies_to";
const RESET: &str = "reset";
/// The only value of [`APPLIES_TO`] that is written; the other meaning is its absence.
const UPSTREAM: &str = "upstream";

/// What a reset looks like to a proxy that does not know ours.
const RESET_STATUS: u32 = 503;

pub(super) fn decode(at: &At<'_>, message: fault::HttpFault) -> Checked<Fault> {
    let fault::HttpFault {
        delay,
        abort,
        upstream_cluster,
        headers,
        downstream_nodes,
        max_active_faults,
        response_rate_limit,
        delay_percent_runtime,
        abort_percent_runtime,
        delay_duration_runtime,
        abort_http_status_runtime,
        max_active_faults_runtime,
        response_rate_limit_percent_runtime,
        abort_grpc_status_runtime,
        disable_downstream_cluster_stats,
        filter_metadata,
    } = message;
    ignored!(at;
        delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime,
        max_active_faults_runtime, response_rate_limit_percent_runtime, abort_grpc_status_runtime,
        disable_downstream_cluster_stats
    );
    let headers = each(at, "headers", headers, matcher::header)?;
    let nodes = downstream_nodes.into_iter();
    let nodes = nodes.map(|node| label(at, "downstream_nodes", node)).collect::<Checked<_>>()?;
    let upstream_cluster = Some(upstream_cluster).filter(|name| !name.is_empty());
    let mut fault = Fault {
        delay: delay.map(|message| self::delay(&at.field("delay"), message)).transpose()?,
        abort: abort.map(|message| self::abort(&at.field("abort"), message)).transpose()?,
        bandwidth: response_rate_limit
            .map(|message| bandwidth(&at.field("response_rate_limit"), message))
            .transpose()?,
        headers,
        upstream_cluster: upstream_cluster.map(|name| label(at, "upstream_cluster", name)).transpose()?,
        downstream_nodes: nodes,
        active_max: max_active_faults.map(|max| max.value),
        ..Fault::default()
    };
    if let Some(Struct { fields }) = filter_metadata {
        let mut fields: Vec<_> = fields.into_iter().collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        for (owner, Value { kind }) in fields {
            let at = &at.key("filter_metadata", &owner);
            match kind {
                Some(Kind::StructValue(structure)) if owner == OURS => ours(at, structure, &mut fault)?,
                _ => at.ignore_here(),
            }
        }
    }
    Ok(fault)
}

fn ours(at: &At<'_>, structure: Struct, fault: &mut Fault) -> Checked<()> {
    metadata::fields(at, structure, &mut |at, field, kind| {
        match field {
            EXPIRES_AT => fault.expires_at_unix_s = Some(metadata::whole(at, field, &kind, WHOLE_MAX)?),
            APPLIES_TO => match kind {
                Kind::StringValue(level) if level == UPSTREAM => fault.per_attempt = true,
                _ => return Err(at.field(field).error(format_args!("can only be {UPSTREAM:?}"))),
            },
            RESET => {
                if metadata::flag(at, field, &kind)? {
                    let abort = fault.abort.as_mut().ok_or_else(|| at.field(field).error("needs an abort"))?;
                    abort.with = FaultAnswer::Reset;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    })
}

fn delay(at: &At<'_>, message: fault_common::FaultDelay) -> Checked<FaultDelay> {
    use fault_delay::{FaultDelaySecifier as Specifier, HeaderDelay};
    let fault_common::FaultDelay { percentage, fault_delay_secifier } = message;
    let fixed = match fault_delay_secifier.ok_or_else(|| at.error("says neither how long nor who says so"))? {
        Specifier::FixedDelay(fixed) => Some(positive(&at.field("fixed_delay"), fixed)?),
        Specifier::HeaderDelay(HeaderDelay {}) => None,
    };
    Ok(FaultDelay { fixed, percentage: percent(at, "percentage", percentage)? })
}

fn abort(at: &At<'_>, message: fault::FaultAbort) -> Checked<FaultAbort> {
    use fault_abort::{ErrorType, HeaderAbort};
    let fault::FaultAbort { percentage, response_body, error_type } = message;
    refused!(at; response_body);
    let with = match error_type.ok_or_else(|| at.error("says neither with what nor who says so"))? {
        ErrorType::HttpStatus(status) => match u16::try_from(status) {
            Ok(status) if (200..600).contains(&status) => FaultAnswer::Http(status),
            _ => {
                let at = at.field("http_status");
                return Err(at.error(format_args!("{status} is not a status from 200 to 599")));
            }
        },
        ErrorType::GrpcStatus(status) => FaultAnswer::Grpc(status),
        ErrorType::HeaderAbort(HeaderAbort {}) => FaultAnswer::Header,
    };
    Ok(FaultAbort { with, percentage: percent(at, "percentage", percentage)? })
}

fn bandwidth(at: &At<'_>, message: fault_common::FaultRateLimit) -> Checked<FaultBandwidth> {
    use fault_rate_limit::{FixedLimit, HeaderLimit, LimitType};
    let fault_common::FaultRateLimit { percentage, limit_type } = message;
    let kib_per_second = match limit_type.ok_or_else(|| at.error("says neither how fast nor who says so"))? {
        LimitType::FixedLimit(FixedLimit { limit_kbps: 0 }) => {
            let at = at.field("fixed_limit");
            return Err(at.field("limit_kbps").error("must be at least 1"));
        }
        LimitType::FixedLimit(FixedLimit { limit_kbps }) => Some(limit_kbps),
        LimitType::HeaderLimit(HeaderLimit {}) => None,
    };
    Ok(FaultBandwidth { kib_per_second, percentage: percent(at, "percentage", percentage)? })
}

pub(super) fn encode(value: &Fault) -> fault::HttpFault {
    let delay = value.delay.as_ref().map(|delay| fault_common::FaultDelay {
        percentage: Some(encode_percent(delay.percentage)),
        fault_delay_secifier: Some(match delay.fixed {
            Some(fixed) => fault_delay::FaultDelaySecifier::FixedDelay(encode_duration(fixed)),
            None => fault_delay::FaultDelaySecifier::HeaderDelay(fault_delay::HeaderDelay {}),
        }),
    });
    let abort = value.abort.as_ref().map(|abort| fault::FaultAbort {
        percentage: Some(encode_percent(abort.percentage)),
        error_type: Some(match abort.with {
            FaultAnswer::Http(status) => fault_abort::ErrorType::HttpStatus(u32::from(status)),
            FaultAnswer::Grpc(status) => fault_abort::ErrorType::GrpcStatus(status),
            FaultAnswer::Header => fault_abort::ErrorType::HeaderAbort(fault_abort::HeaderAbort {}),
            FaultAnswer::Reset => fault_abort::ErrorType::HttpStatus(RESET_STATUS),
        }),
        ..Default::default()
    });
    let bandwidth = value.bandwidth.as_ref().map(|bandwidth| fault_common::FaultRateLimit {
        percentage: Some(encode_percent(bandwidth.percentage)),
        limit_type: Some(match bandwidth.kib_per_second {
            Some(limit_kbps) => fault_rate_limit::LimitType::FixedLimit(fault_rate_limit::FixedLimit { limit_kbps }),
            None => fault_rate_limit::LimitType::HeaderLimit(fault_rate_limit::HeaderLimit {}),
        }),
    });
    fault::HttpFault {
        delay,
        abort,
        response_rate_limit: bandwidth,
        headers: value.headers.iter().map(encode_matcher::header).collect(),
        upstream_cluster: value.upstream_cluster.as_deref().unwrap_or_default().to_owned(),
        downstream_nodes: value.downstream_nodes.iter().map(ToString::to_string).collect(),
        max_active_faults: value.active_max.map(encode_u32),
        filter_metadata: encode_ours(value),
        ..Default::default()
    }
}

fn encode_ours(value: &Fault) -> Option<Struct> {
    let reset = value.abort.as_ref().is_some_and(|abort| abort.with == FaultAnswer::Reset);
    let fields = [
        value.expires_at_unix_s.map(|at| (EXPIRES_AT, metadata::encode_whole(at))),
        value.per_attempt.then(|| (APPLIES_TO, metadata::encode_text(UPSTREAM))),
        reset.then_some((RESET, Kind::BoolValue(true))),
    ];
    let fields: Vec<_> = fields.into_iter().flatten().collect();
    (!fields.is_empty()).then(|| metadata::structure([(OURS, Kind::StructValue(metadata::structure(fields)))]))
}
