//! `typed_per_filter_config`: what a route says to a filter.
//!
//! No filter of ours takes configuration from a route yet. What changes nothing (switched off, optional, empty) is
//! accepted; everything else is refused, because it would be a rule that somebody believes to hold.

use std::collections::HashMap;

use crate::proto::{Any, cors, fault, route};
use crate::resource::extension::{holds, message, unknown};
use crate::resource::path::{At, Checked};

/// The only outcome of an accepted map. A type of its own, so that the first filter that does take configuration has
/// to visit every caller.
pub(in crate::resource) struct Nothing;

/// Decides on every entry of the map at the message here.
pub(in crate::resource) fn per_filter_config(at: &At<'_>, map: HashMap<String, Any>) -> Checked<Nothing> {
    let mut entries: Vec<_> = map.into_iter().collect();
    // A hash map's order is random; errors and reports are not.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, any) in entries {
        let at = &at.key("typed_per_filter_config", &name);
        if !holds::<route::FilterConfig>(&any) {
            empty(at, &any)?;
            continue;
        }
        let route::FilterConfig { config, is_optional, disabled } = message(at, &any.value)?;
        match config {
            _ if is_optional || disabled => at.ignore_here(),
            None => at.ignore_here(),
            Some(config) => empty(&at.field("config"), &config)?,
        }
    }
    Ok(Nothing)
}

/// Accepts the configuration of a filter that we have when it says nothing.
fn empty(at: &At<'_>, any: &Any) -> Checked<()> {
    let silent = if holds::<cors::CorsPolicy>(any) {
        message::<cors::CorsPolicy>(at, &any.value)? == cors::CorsPolicy::default()
    } else if holds::<fault::HttpFault>(any) {
        message::<fault::HttpFault>(at, &any.value)? == fault::HttpFault::default()
    } else {
        return Err(unknown(at, any));
    };
    if silent {
        at.ignore_here();
        return Ok(());
    }
    Err(at.unsupported())
}
