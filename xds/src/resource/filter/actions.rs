//! How a request is described to rate limits: protobuf to actions and back.

use std::sync::Arc;

use super::{RateLimitAction, RateLimitActions};
use crate::proto::route::{self, rate_limit};
use crate::proto::{UInt32Value, UInt64Value};
use crate::resource::header::header_name;
use crate::resource::matcher::{HeaderMatcher, QueryParameterMatcher, decode as matcher, encode as encode_matcher};
use crate::resource::path::{At, Checked, each, ignored, refused};
use crate::resource::scalar::{encode_bool, encode_u32, label, name};

/// The highest stage that Envoy has.
const STAGE_MAX: u32 = 10;
/// Keys of entries that name none; Envoy's.
const GENERIC_KEY: &str = "generic_key";
const HEADER_MATCH: &str = "header_match";
const QUERY_MATCH: &str = "query_match";

/// A stage that exists.
pub(super) fn stage(at: &At<'_>, value: u32) -> Checked<u32> {
    if value > STAGE_MAX {
        return Err(at.field("stage").error(format_args!("{value} is above {STAGE_MAX}")));
    }
    Ok(value)
}

/// The descriptions in the field `rate_limits`.
pub(in crate::resource) fn decode(at: &At<'_>, messages: Vec<route::RateLimit>) -> Checked<Vec<RateLimitActions>> {
    each(at, "rate_limits", messages, description)
}

fn description(at: &At<'_>, message: route::RateLimit) -> Checked<RateLimitActions> {
    let route::RateLimit { stage, disable_key, actions, limit, hits_addend, apply_on_stream_done, x_ratelimit_option } =
        message;
    refused!(at; limit, apply_on_stream_done, x_ratelimit_option);
    ignored!(at; disable_key);
    if actions.is_empty() {
        return Err(at.field("actions").missing());
    }
    Ok(RateLimitActions {
        stage: self::stage(at, stage.map_or(0, |stage| stage.value))?,
        actions: each(at, "actions", actions, action)?,
        hits: hits(&at.field("hits_addend"), hits_addend)?,
        lease: None,
    })
}

fn hits(at: &At<'_>, message: Option<rate_limit::HitsAddend>) -> Checked<u32> {
    let Some(rate_limit::HitsAddend { number, format, is_negative_hits }) = message else { return Ok(1) };
    refused!(at; format, is_negative_hits);
    let number = number.map_or(1, |number| number.value);
    u32::try_from(number).map_err(|_| at.field("number").error(format_args!("{number} is out of range")))
}

fn action(at: &At<'_>, message: rate_limit::Action) -> Checked<RateLimitAction> {
    use rate_limit::action::{self, ActionSpecifier as Specifier};
    let rate_limit::Action { action_specifier } = message;
    Ok(match action_specifier.ok_or_else(|| at.error("has no action"))? {
        Specifier::SourceCluster(action::SourceCluster {}) => RateLimitAction::SourceCluster,
        Specifier::DestinationCluster(action::DestinationCluster {}) => RateLimitAction::DestinationCluster,
        Specifier::RemoteAddress(action::RemoteAddress {}) => RateLimitAction::RemoteAddress,
        Specifier::RequestHeaders(action::RequestHeaders { header_name: header, descriptor_key, skip_if_absent }) => {
            let at = &at.field("request_headers");
            let key = name(at, "descriptor_key", descriptor_key)?;
            RateLimitAction::RequestHeader { header: asked_header(at, &header)?, key, skip_if_absent }
        }
        Specifier::QueryParameters(action::QueryParameters {
            query_parameter_name,
            descriptor_key,
            skip_if_absent,
        }) => {
            let at = &at.field("query_parameters");
            let parameter = name(at, "query_parameter_name", query_parameter_name)?;
            RateLimitAction::QueryParameter {
                parameter,
                key: name(at, "descriptor_key", descriptor_key)?,
                skip_if_absent,
            }
        }
        Specifier::MaskedRemoteAddress(message) => masked(&at.field("masked_remote_address"), message)?,
        Specifier::GenericKey(action::GenericKey { descriptor_value, default_value, descriptor_key }) => {
            let at = &at.field("generic_key");
            refused!(at; default_value);
            let key = key(at, descriptor_key, GENERIC_KEY)?;
            RateLimitAction::GenericKey { key, value: name(at, "descriptor_value", descriptor_value)? }
        }
        Specifier::HeaderValueMatch(message) => header_match(&at.field("header_value_match"), message)?,
        Specifier::QueryParameterValueMatch(message) => query_match(&at.field("query_parameter_value_match"), message)?,
        #[expect(deprecated, reason = "refused like the field that replaced it")]
        Specifier::DynamicMetadata(_) => return Err(at.field("dynamic_metadata").unsupported()),
        Specifier::Metadata(_) => return Err(at.field("metadata").unsupported()),
        Specifier::Extension(_) => return Err(at.field("extension").unsupported()),
        Specifier::RemoteAddressMatch(_) => return Err(at.field("remote_address_match").unsupported()),
    })
}

/// A header whose value is wanted; here, too, pseudo-headers are.
fn asked_header(at: &At<'_>, header: &str) -> Checked<Arc<str>> {
    let header = header.to_ascii_lowercase();
    match header.as_str() {
        ":method" | ":path" | ":authority" | ":scheme" => Ok(header.into()),
        "host" => Ok(":authority".into()),
        _ => header_name(&at.field("header_name"), &header).map(|()| header.into()),
    }
}

fn key(at: &At<'_>, key: String, default: &str) -> Checked<Arc<str>> {
    if key.is_empty() { Ok(default.into()) } else { label(at, "descriptor_key", key) }
}

fn masked(at: &At<'_>, message: rate_limit::action::MaskedRemoteAddress) -> Checked<RateLimitAction> {
    let rate_limit::action::MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len } = message;
    let bits = |field: &str, value: Option<UInt32Value>, all: u8| match value {
        None => Ok(all),
        Some(UInt32Value { value }) => u8::try_from(value)
            .ok()
            .filter(|bits| *bits <= all)
            .ok_or_else(|| at.field(field).error(format_args!("{value} is more than the {all} bits there are"))),
    };
    Ok(RateLimitAction::MaskedRemoteAddress {
        v4_prefix: bits("v4_prefix_mask_len", v4_prefix_mask_len, 32)?,
        v6_prefix: bits("v6_prefix_mask_len", v6_prefix_mask_len, 128)?,
    })
}

fn header_match(at: &At<'_>, message: rate_limit::action::HeaderValueMatch) -> Checked<RateLimitAction> {
    let rate_limit::action::HeaderValueMatch { descriptor_value, default_value, descriptor_key, expect_match, headers } =
        message;
    refused!(at; default_value);
    if headers.is_empty() {
        return Err(at.field("headers").missing());
    }
    Ok(RateLimitAction::HeaderValueMatch {
        key: key(at, descriptor_key, HEADER_MATCH)?,
        value: name(at, "descriptor_value", descriptor_value)?,
        expect_match: expect_match.is_none_or(|flag| flag.value),
        headers: each(at, "headers", headers, matcher::header)?,
    })
}

fn query_match(at: &At<'_>, message: rate_limit::action::QueryParameterValueMatch) -> Checked<RateLimitAction> {
    let rate_limit::action::QueryParameterValueMatch {
        descriptor_value,
        default_value,
        descriptor_key,
        expect_match,
        query_parameters,
    } = message;
    refused!(at; default_value);
    if query_parameters.is_empty() {
        return Err(at.field("query_parameters").missing());
    }
    Ok(RateLimitAction::QueryParameterValueMatch {
        key: key(at, descriptor_key, QUERY_MATCH)?,
        value: name(at, "descriptor_value", descriptor_value)?,
        expect_match: expect_match.is_none_or(|flag| flag.value),
        parameters: each(at, "query_parameters", query_parameters, matcher::query_parameter)?,
    })
}

pub(in crate::resource) fn encode(values: &[RateLimitActions]) -> Vec<route::RateLimit> {
    let one = |value: &RateLimitActions| route::RateLimit {
        stage: (value.stage != 0).then(|| encode_u32(value.stage)),
        actions: value
            .actions
            .iter()
            .map(|action| rate_limit::Action { action_specifier: Some(encode_action(action)) })
            .collect(),
        hits_addend: (value.hits != 1).then(|| rate_limit::HitsAddend {
            number: Some(UInt64Value { value: u64::from(value.hits) }),
            ..Default::default()
        }),
        ..Default::default()
    };
    values.iter().map(one).collect()
}

fn encode_action(value: &RateLimitAction) -> rate_limit::action::ActionSpecifier {
    use rate_limit::action::{self, ActionSpecifier as Specifier};
    match value {
        RateLimitAction::SourceCluster => Specifier::SourceCluster(action::SourceCluster {}),
        RateLimitAction::DestinationCluster => Specifier::DestinationCluster(action::DestinationCluster {}),
        RateLimitAction::RemoteAddress => Specifier::RemoteAddress(action::RemoteAddress {}),
        RateLimitAction::RequestHeader { header, key, skip_if_absent } => {
            Specifier::RequestHeaders(action::RequestHeaders {
                header_name: header.to_string(),
                descriptor_key: key.to_string(),
                skip_if_absent: *skip_if_absent,
            })
        }
        RateLimitAction::QueryParameter { parameter, key, skip_if_absent } => {
            Specifier::QueryParameters(action::QueryParameters {
                query_parameter_name: parameter.to_string(),
                descriptor_key: key.to_string(),
                skip_if_absent: *skip_if_absent,
            })
        }
        RateLimitAction::MaskedRemoteAddress { v4_prefix, v6_prefix } => {
            Specifier::MaskedRemoteAddress(action::MaskedRemoteAddress {
                v4_prefix_mask_len: Some(encode_u32(u32::from(*v4_prefix))),
                v6_prefix_mask_len: Some(encode_u32(u32::from(*v6_prefix))),
            })
        }
        RateLimitAction::GenericKey { key, value } => Specifier::GenericKey(action::GenericKey {
            descriptor_value: value.to_string(),
            descriptor_key: key.to_string(),
            ..Default::default()
        }),
        RateLimitAction::HeaderValueMatch { key, value, expect_match, headers } => {
            Specifier::HeaderValueMatch(encode_header_match(key, value, *expect_match, headers))
        }
        RateLimitAction::QueryParameterValueMatch { key, value, expect_match, parameters } => {
            Specifier::QueryParameterValueMatch(encode_query_match(key, value, *expect_match, parameters))
        }
    }
}

fn encode_header_match(
    key: &str,
    value: &str,
    expect_match: bool,
    headers: &[HeaderMatcher],
) -> rate_limit::action::HeaderValueMatch {
    rate_limit::action::HeaderValueMatch {
        descriptor_value: value.to_owned(),
        descriptor_key: key.to_owned(),
        expect_match: (!expect_match).then(|| encode_bool(false)),
        headers: headers.iter().map(encode_matcher::header).collect(),
        ..Default::default()
    }
}

fn encode_query_match(
    key: &str,
    value: &str,
    expect_match: bool,
    parameters: &[QueryParameterMatcher],
) -> rate_limit::action::QueryParameterValueMatch {
    rate_limit::action::QueryParameterValueMatch {
        descriptor_value: value.to_owned(),
        descriptor_key: key.to_owned(),
        expect_match: (!expect_match).then(|| encode_bool(false)),
        query_parameters: parameters.iter().map(encode_matcher::query_parameter).collect(),
        ..Default::default()
    }
}
