//! Typed extensions: messages inside a `google.protobuf.Any`.
//!
//! # Why unknown bytes are counted
//! The message crate skips fields that it does not know, which would be the silent drop that this crate promises not to
//! have. A message that is encoded again and is shorter than what came has lost something; that is noted, with its path.
//! (A sender that does not write protobuf's canonical form is noted too, by mistake; it costs a line in a report.)

use prost::{Message, Name};

use super::FieldError;
use super::path::{At, Checked};
use super::stable;
use crate::proto::{Any, core};

/// Decodes `bytes` as the message that stands at `at`.
pub(super) fn message<M: Message + Name + Default>(at: &At<'_>, bytes: &[u8]) -> Checked<M> {
    let message = M::decode(bytes).map_err(|e| at.error(format_args!("is not a valid {}: {e}", M::full_name())))?;
    if message.encoded_len() < bytes.len() {
        at.ignore("(unknown fields)");
    }
    Ok(message)
}

/// Whether an `Any` holds an `M`. The part before the last slash is a host that nobody asks.
pub(super) fn holds<M: Name>(any: &Any) -> bool {
    any.type_url.rsplit_once('/').is_some_and(|(_, name)| name == M::full_name())
}

/// Refuses an extension that we do not have, by its type.
pub(super) fn unknown(at: &At<'_>, any: &Any) -> FieldError {
    if any.type_url.ends_with(".TypedStruct") {
        return at.error(format_args!("untyped configuration ({}) is not supported yet", any.type_url));
    }
    at.error(format_args!("extension {:?} is not supported", any.type_url))
}

/// The configuration of a named extension.
pub(super) fn configuration(at: &At<'_>, value: Option<core::TypedExtensionConfig>) -> Checked<Any> {
    let core::TypedExtensionConfig { name: _, typed_config } = value.ok_or_else(|| at.missing())?;
    typed_config.ok_or_else(|| at.field("typed_config").missing())
}

/// Packs a message, in bytes that are the same every time.
pub(super) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: stable::encode(message) }
}
