//! Protobuf to outlier detection and back.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{FailurePercentage, OutlierDetection, SuccessRate};
use crate::proto::{UInt32Value, cluster};
use crate::resource::path::{At, Checked, ignored};
use crate::resource::scalar::{encode_bool, encode_duration, encode_u32, optional_duration, positive_duration};

/// A run this long ejects when the message does not say; Envoy's default for both kinds.
const CONSECUTIVE_DEFAULT: u32 = 5;
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const BASE_EJECTION_TIME_DEFAULT: Duration = Duration::from_secs(30);
const MAX_EJECTION_TIME_DEFAULT: Duration = Duration::from_secs(300);
const MAX_EJECTION_PERCENT_DEFAULT: u32 = 10;
const MIN_HOSTS_DEFAULT: u32 = 5;
const SUCCESS_RATE_VOLUME_DEFAULT: u32 = 100;
const STDEV_FACTOR_DEFAULT: u32 = 1900;
const THRESHOLD_DEFAULT: u32 = 85;
const FAILURE_PERCENTAGE_VOLUME_DEFAULT: u32 = 50;

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
    // Rates of what the proxy met itself are not kept apart from the others; zero switches them off.
    let some = |share: Option<UInt32Value>| share.filter(|v| v.value != 0);
    let enforcing_local_origin_success_rate = some(enforcing_local_origin_success_rate);
    let enforcing_failure_percentage_local_origin = some(enforcing_failure_percentage_local_origin);
    ignored!(at;
        enforcing_local_origin_success_rate, enforcing_failure_percentage_local_origin, monitors, detect_degraded_hosts
    );
    let consecutive_5xx =
        Signal { run: consecutive_5xx, enforcing: ("enforcing_consecutive_5xx", enforcing_consecutive_5xx, 100) };
    let consecutive_gateway_failure = Signal {
        run: consecutive_gateway_failure,
        enforcing: ("enforcing_consecutive_gateway_failure", enforcing_consecutive_gateway_failure, 0),
    };
    let consecutive_local_origin_failure = if split_external_local_origin_errors {
        let enforcing = ("enforcing_consecutive_local_origin_failure", enforcing_consecutive_local_origin_failure, 100);
        Signal { run: consecutive_local_origin_failure, enforcing }.decode(at)?
    } else {
        ignored!(at; consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure);
        None
    };
    let success_rate = enforced(at, ("enforcing_success_rate", enforcing_success_rate, 100))?.then(|| SuccessRate {
        min_hosts: success_rate_minimum_hosts.map_or(MIN_HOSTS_DEFAULT, |v| v.value),
        request_volume: success_rate_request_volume.map_or(SUCCESS_RATE_VOLUME_DEFAULT, |v| v.value),
        stdev_factor_thousandths: success_rate_stdev_factor.map_or(STDEV_FACTOR_DEFAULT, |v| v.value),
    });
    let failure_percentage = FailurePercentage {
        threshold: percent(at, "failure_percentage_threshold", failure_percentage_threshold, THRESHOLD_DEFAULT)?,
        min_hosts: failure_percentage_minimum_hosts.map_or(MIN_HOSTS_DEFAULT, |v| v.value),
        request_volume: failure_percentage_request_volume.map_or(FAILURE_PERCENTAGE_VOLUME_DEFAULT, |v| v.value),
    };
    let failure_percentage =
        enforced(at, ("enforcing_failure_percentage", enforcing_failure_percentage, 0))?.then_some(failure_percentage);
    let base = positive_duration(at, "base_ejection_time", base_ejection_time, BASE_EJECTION_TIME_DEFAULT)?;
    let max = positive_duration(at, "max_ejection_time", max_ejection_time, base.max(MAX_EJECTION_TIME_DEFAULT))?;
    if max < base {
        return Err(at.field("max_ejection_time").error("is shorter than base_ejection_time"));
    }
    let max_ejection_percent = percent(at, "max_ejection_percent", max_ejection_percent, MAX_EJECTION_PERCENT_DEFAULT)?;
    Ok(OutlierDetection {
        consecutive_5xx: consecutive_5xx.decode(at)?,
        consecutive_gateway_failure: consecutive_gateway_failure.decode(at)?,
        consecutive_local_origin_failure,
        split_local_origin: split_external_local_origin_errors,
        success_rate,
        failure_percentage,
        interval: positive_duration(at, "interval", interval, INTERVAL_DEFAULT)?,
        base_ejection_time: base,
        max_ejection_time: max,
        max_ejection_jitter: optional_duration(at, "max_ejection_time_jitter", max_ejection_time_jitter)?
            .unwrap_or_default(),
        max_ejection_percent,
        always_eject_one: always_eject_one_host.is_some_and(|flag| flag.value),
        uneject_on_healthy: successful_active_health_check_uneject_host.is_none_or(|flag| flag.value),
        // From the metadata, which is read by who has it.
        failure_codes: Vec::new(),
    })
}

/// A share in hundredths.
fn percent(at: &At<'_>, field: &str, value: Option<UInt32Value>, default: u32) -> Checked<u32> {
    match value.map_or(default, |v| v.value) {
        percent @ 0..=100 => Ok(percent),
        percent => Err(at.field(field).error(format_args!("{percent} is above 100"))),
    }
}

/// In how many of a hundred cases a signal ejects: field, value, default.
type Enforcing<'a> = (&'a str, Option<UInt32Value>, u32);

/// Whether a signal ejects at all. "Sometimes" is taken as "always" and noted.
fn enforced(at: &At<'_>, (field, value, default): Enforcing<'_>) -> Checked<bool> {
    let share = percent(at, field, value, default)?;
    if (1..100).contains(&share) {
        at.ignore(field);
    }
    Ok(share > 0)
}

/// A run of failures, and how often it ejects.
struct Signal<'a> {
    run: Option<UInt32Value>,
    enforcing: Enforcing<'a>,
}

impl Signal<'_> {
    /// The run that ejects; `None` when it never does.
    fn decode(self, at: &At<'_>) -> Checked<Option<NonZeroU32>> {
        let run = NonZeroU32::new(self.run.map_or(CONSECUTIVE_DEFAULT, |v| v.value));
        Ok(if enforced(at, self.enforcing)? { run } else { None })
    }
}

pub(super) fn encode(value: &OutlierDetection) -> cluster::OutlierDetection {
    let enforcing = |signal: Option<NonZeroU32>| Some(encode_u32(if signal.is_some() { 100 } else { 0 }));
    let run = |signal: Option<NonZeroU32>| signal.map(|run| encode_u32(run.get()));
    let local = value.split_local_origin.then_some(value.consecutive_local_origin_failure);
    let (success_rate, failures, jitter) = (value.success_rate, value.failure_percentage, value.max_ejection_jitter);
    cluster::OutlierDetection {
        consecutive_5xx: run(value.consecutive_5xx),
        enforcing_consecutive_5xx: enforcing(value.consecutive_5xx),
        consecutive_gateway_failure: run(value.consecutive_gateway_failure),
        enforcing_consecutive_gateway_failure: enforcing(value.consecutive_gateway_failure),
        split_external_local_origin_errors: value.split_local_origin,
        consecutive_local_origin_failure: local.and_then(run),
        enforcing_consecutive_local_origin_failure: local.and_then(enforcing),
        success_rate_minimum_hosts: success_rate.map(|rate| encode_u32(rate.min_hosts)),
        success_rate_request_volume: success_rate.map(|rate| encode_u32(rate.request_volume)),
        success_rate_stdev_factor: success_rate.map(|rate| encode_u32(rate.stdev_factor_thousandths)),
        // Absent, it would be on.
        enforcing_success_rate: Some(encode_u32(if success_rate.is_some() { 100 } else { 0 })),
        // Otherwise Envoy would add a signal of its own, and two proxies would act differently on one resource.
        enforcing_local_origin_success_rate: value.split_local_origin.then(|| encode_u32(0)),
        failure_percentage_threshold: failures.map(|failures| encode_u32(failures.threshold)),
        failure_percentage_minimum_hosts: failures.map(|failures| encode_u32(failures.min_hosts)),
        failure_percentage_request_volume: failures.map(|failures| encode_u32(failures.request_volume)),
        enforcing_failure_percentage: failures.map(|_| encode_u32(100)),
        max_ejection_time_jitter: (!jitter.is_zero()).then(|| encode_duration(jitter)),
        always_eject_one_host: value.always_eject_one.then(|| encode_bool(true)),
        successful_active_health_check_uneject_host: (!value.uneject_on_healthy).then(|| encode_bool(false)),
        interval: Some(encode_duration(value.interval)),
        base_ejection_time: Some(encode_duration(value.base_ejection_time)),
        max_ejection_time: Some(encode_duration(value.max_ejection_time)),
        max_ejection_percent: Some(encode_u32(value.max_ejection_percent)),
        ..Default::default()
    }
}
