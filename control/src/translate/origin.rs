//! Which policy stands behind what, in the words in which proxies repeat it.

use std::sync::Arc;

use tidegate_policies::ir::{Origin, Stated};
use tidegate_xds::resource::route::Policies;

/// `namespace/name FILE:LINE`
pub(crate) fn text(origin: &Origin) -> Arc<str> {
    format!("{} {}", origin.object, place(origin)).into()
}

/// `FILE:LINE`
pub(super) fn place(origin: &Origin) -> Arc<str> {
    format!("{}:{}", origin.file, origin.line).into()
}

/// Says who stands behind a kind of policy. Of several each is named once, in order.
pub(super) fn note<T>(policies: &mut Policies, kind: &'static str, stated: &Stated<T>) {
    note_origin(policies, kind, &stated.origin);
}

/// The same of what is not written with its place.
pub(super) fn note_origin(policies: &mut Policies, kind: &'static str, origin: &Origin) {
    let text = text(origin);
    match policies.get_mut(kind) {
        None => {
            policies.insert(kind.into(), text);
        }
        Some(known) if !known.split(", ").any(|one| *one == *text) => *known = format!("{known}, {text}").into(),
        Some(_) => {}
    }
}
