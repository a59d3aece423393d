//! Finds changes that would take a certificate away from a listener that is served with it.
//!
//! # Why a change is held to more than a first configuration
//! A listener without its certificate is not opened, and says so: it may be written before its Secret is. But one that is open
//! would close, for all its callers at once, and the cause is nearly always a slip: a key from another pair, half of a file.
//! Whoever means it removes the reference.

use tidegate_policies::ir::PolicySet;

use crate::api::model::Finding;
use crate::finding::Code;

/// What of `new` must not take the place of `old`, one finding for each certificate. `said`: what the compiler found in `new`.
pub fn spoilt(old: &PolicySet, new: &PolicySet, said: &[Finding]) -> Vec<Finding> {
    let in_use = new.unusable.iter().filter(|(name, _)| old.credentials.contains_key(*name));
    let finding = |why: &String| {
        let place = said.iter().find(|finding| finding.message == *why);
        Finding {
            code: Code::CertificateSpoilt.as_str().to_owned(),
            severity: "error".to_owned(),
            message: format!("{why}; the one before is in use"),
            file: place.map(|place| place.file.clone()).unwrap_or_default(),
            line: place.map_or(0, |place| place.line),
            column: place.map_or(0, |place| place.column),
            help: Some(place.and_then(|place| place.help.clone()).unwrap_or_else(|| "correct it".to_owned())),
            places: place.map(|place| place.places.clone()).unwrap_or_default(),
        }
    };
    in_use.map(|(_, why)| finding(why)).collect()
}

#[cfg(test)]
mod tests;
