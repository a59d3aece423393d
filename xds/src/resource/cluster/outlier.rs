//! Protobuf to outlier detection: runs of failures. Rates are counted by Envoy only.

use std::num::NonZeroU32;
use std::time::Duration;

use super::OutlierDetection;
use crate::proto::{UInt32Value, cluster};
use crate::resource::path::{At, Checked, ignored};
use crate::resource::scalar::{encode_duration, encode_u32, positive_duration};

/// A run this long ejects when the message does not say; Envoy's default for both kinds.
const CONSECUTIVE_DEFAULT: u32 = 5;
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const BASE_EJECTION_TIME_DEFAULT: Duration = Duration::from_secs(30);
const MAX_EJECTION_TIME_DEFAULT: Duration = Duration::from_secs(300);
const MAX_EJECTION_PERCENT_DEFAULT: u32 = 10;

/// The message in the field of that name, if it is there.
pub(super) fn decode(at: &At<'_>, message: Option<cluster::OutlierDetection>) -> Checked<Option<OutlierDetection>> {
    message.map(|message| present(&at.field("outlier_detection"), message)).transpose()
}

fn present(at: &At<'_>, message: cluster::OutlierDetection) -> Checked<OutlierDetection> {
    let cluster::OutlierDetection {
        consecutive_5xx,
        interval,
        base_ejection_time,
        max_ejection_percent,
        enforcing_consecutive_5xx,
        enforcing_success_rate,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure,
        split_external_local_origin_errors,
        consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate,
        failure_percentage_threshold,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
        max_ejection_time,
        max_ejection_time_jitter,
        successful_active_health_check_uneject_host,
        monitors,
        always_eject_one_host,
        detect_degraded_hosts,
    } = message;
    // Zero switches the signal off, which is how it is here.
    let enforcing_success_rate = enforcing_success_rate.filter(|v| v.value != 0);
    let enforcing_failure_percentage = enforcing_failure_percentage.filter(|v| v.value != 0);
    ignored!(at;
        enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
        split_external_local_origin_errors, consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure, enforcing_local_origin_success_rate, failure_percentage_threshold,
        enforcing_failure_percentage, enforcing_failure_percentage_local_origin, failure_percentage_minimum_hosts,
        failure_percentage_request_volume, max_ejection_time_jitter, successful_active_health_check_uneject_host,
        monitors, always_eject_one_host, detect_degraded_hosts
    );
    let consecutive_5xx =
        Signal { run: consecutive_5xx, enforcing: ("enforcing_consecutive_5xx", enforcing_consecutive_5xx, 100) };
    let consecutive_gateway_failure = Signal {
        run: consecutive_gateway_failure,
        enforcing: ("enforcing_consecutive_gateway_failure", enforcing_consecutive_gateway_failure, 0),
    };
    let base = positive_duration(at, "base_ejection_time", base_ejection_time, BASE_EJECTION_TIME_DEFAULT)?;
    let max = positive_duration(at, "max_ejection_time", max_ejection_time, base.max(MAX_EJECTION_TIME_DEFAULT))?;
    if max < base {
        return Err(at.field("max_ejection_time").error("is shorter than base_ejection_time"));
    }
    let percent = max_ejection_percent.map_or(MAX_EJECTION_PERCENT_DEFAULT, |v| v.value);
    if percent > 100 {
        return Err(at.field("max_ejection_percent").error(format_args!("{percent} is above 100")));
    }
    Ok(OutlierDetection {
        consecutive_5xx: consecutive_5xx.decode(at)?,
        consecutive_gateway_failure: consecutive_gateway_failure.decode(at)?,
        interval: positive_duration(at, "interval", interval, INTERVAL_DEFAULT)?,
        base_ejection_time: base,
        max_ejection_time: max,
        max_ejection_percent: percent,
    })
}

/// A run of failures, and in how many of a hundred cases it ejects (field, value, default).
struct Signal<'a> {
    run: Option<UInt32Value>,
    enforcing: (&'a str, Option<UInt32Value>, u32),
}

impl Signal<'_> {
    /// The run that ejects; `None` when it never does. "Sometimes" is taken as "always" and noted.
    fn decode(self, at: &At<'_>) -> Checked<Option<NonZeroU32>> {
        let (field, value, default) = self.enforcing;
        let run = NonZeroU32::new(self.run.map_or(CONSECUTIVE_DEFAULT, |v| v.value));
        match value.map_or(default, |v| v.value) {
            0 => Ok(None),
            100 => Ok(run),
            1..100 => {
                at.ignore(field);
                Ok(run)
            }
            percent => Err(at.field(field).error(format_args!("{percent} is above 100"))),
        }
    }
}

pub(super) fn encode(value: &OutlierDetection) -> cluster::OutlierDetection {
    let enforcing = |signal: Option<NonZeroU32>| Some(encode_u32(if signal.is_some() { 100 } else { 0 }));
    let run = |signal: Option<NonZeroU32>| signal.map(|run| encode_u32(run.get()));
    cluster::OutlierDetection {
        consecutive_5xx: run(value.consecutive_5xx),
        enforcing_consecutive_5xx: enforcing(value.consecutive_5xx),
        consecutive_gateway_failure: run(value.consecutive_gateway_failure),
        enforcing_consecutive_gateway_failure: enforcing(value.consecutive_gateway_failure),
        // Otherwise Envoy would add a signal of its own, and two proxies would act differently on one resource.
        enforcing_success_rate: Some(encode_u32(0)),
        interval: Some(encode_duration(value.interval)),
        base_ejection_time: Some(encode_duration(value.base_ejection_time)),
        max_ejection_time: Some(encode_duration(value.max_ejection_time)),
        max_ejection_percent: Some(encode_u32(value.max_ejection_percent)),
        ..Default::default()
    }
}
