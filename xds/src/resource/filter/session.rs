//! Protobuf to stateful session and back.

use std::sync::Arc;

use super::{SessionCarrier, StatefulSession};
use crate::proto::stateful_session::{self, stateful_session_per_route::Override};
use crate::proto::{core, http_types, session_cookie, session_header};
use crate::resource::extension::{configuration, holds, message, pack, unknown};
use crate::resource::header::{header_name, header_value};
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{encode_duration, optional_duration};

/// What is answered when a strict session's endpoint is gone; ours and Envoy's.
const STATUS_WHEN_GONE: u32 = 503;

/// A session; `None` when the message names no carrier, so that there is none.
pub(super) fn decode(at: &At<'_>, value: stateful_session::StatefulSession) -> Checked<Option<Arc<StatefulSession>>> {
    let stateful_session::StatefulSession {
        session_state,
        strict,
        stat_prefix,
        status_on_strict_destination_not_found: status,
    } = value;
    ignored!(at; stat_prefix);
    if status != 0 && status != STATUS_WHEN_GONE {
        return Err(at.field("status_on_strict_destination_not_found").unsupported());
    }
    let Some(session_state) = session_state else {
        ignored!(at; strict);
        return Ok(None);
    };
    let at = &at.field("session_state");
    let any = configuration(at, Some(session_state))?;
    let at = &at.field("typed_config");
    let carrier = if holds::<session_cookie::CookieBasedSessionState>(&any) {
        let session_cookie::CookieBasedSessionState { cookie } = message(at, &any.value)?;
        let at = &at.field("cookie");
        self::cookie(at, cookie.ok_or_else(|| at.missing())?)?
    } else if holds::<session_header::HeaderBasedSessionState>(&any) {
        let session_header::HeaderBasedSessionState { name } = message(at, &any.value)?;
        header_name(&at.field("name"), &name)?;
        SessionCarrier::Header { name: name.to_ascii_lowercase().into() }
    } else {
        return Err(unknown(at, &any));
    };
    Ok(Some(Arc::new(StatefulSession { carrier, strict })))
}

fn cookie(at: &At<'_>, cookie: http_types::Cookie) -> Checked<SessionCarrier> {
    let http_types::Cookie { name, ttl, path, attributes } = cookie;
    refused!(at; attributes);
    header_name(&at.field("name"), &name)?;
    header_value(&at.field("path"), &path)?;
    Ok(SessionCarrier::Cookie { name: name.into(), path: path.into(), ttl: optional_duration(at, "ttl", ttl)? })
}

/// What a route says: off, or a session of its own.
pub(super) fn decode_override(
    at: &At<'_>,
    value: stateful_session::StatefulSessionPerRoute,
) -> Checked<Option<Arc<StatefulSession>>> {
    let stateful_session::StatefulSessionPerRoute { r#override: choice } = value;
    match choice.ok_or_else(|| at.error("says neither disabled nor stateful_session"))? {
        Override::Disabled(true) => Ok(None),
        Override::Disabled(false) => Err(at.field("disabled").error("can only be true")),
        Override::StatefulSession(session) => decode(&at.field("stateful_session"), session),
    }
}

pub(super) fn encode(value: Option<&StatefulSession>) -> stateful_session::StatefulSession {
    let Some(value) = value else { return stateful_session::StatefulSession::default() };
    let (name, typed_config) = match &value.carrier {
        SessionCarrier::Cookie { name, path, ttl } => {
            let cookie = http_types::Cookie {
                name: name.to_string(),
                ttl: ttl.map(encode_duration),
                path: path.to_string(),
                attributes: Vec::new(),
            };
            let state = session_cookie::CookieBasedSessionState { cookie: Some(cookie) };
            ("envoy.http.stateful_session.cookie", pack(&state))
        }
        SessionCarrier::Header { name } => {
            let state = session_header::HeaderBasedSessionState { name: name.to_string() };
            ("envoy.http.stateful_session.header", pack(&state))
        }
    };
    stateful_session::StatefulSession {
        session_state: Some(core::TypedExtensionConfig { name: name.to_owned(), typed_config: Some(typed_config) }),
        strict: value.strict,
        ..Default::default()
    }
}

pub(super) fn encode_override(value: Option<&StatefulSession>) -> stateful_session::StatefulSessionPerRoute {
    let choice = match value {
        Some(session) => Override::StatefulSession(encode(Some(session))),
        None => Override::Disabled(true),
    };
    stateful_session::StatefulSessionPerRoute { r#override: Some(choice) }
}
