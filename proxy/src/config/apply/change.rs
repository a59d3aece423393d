//! What goes into the applier and what comes out: its words, apart from its deeds.
//!
//! The applier does not know where a change comes from. A change has a ticket; what became of it is told by that ticket,
//! sooner or later, and whoever brought the change answers for itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;

/// Resources of one type, as they came in one message.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) resource_type: ResourceType,
    pub(crate) offered: Vec<Offer>,
    pub(crate) removed: Vec<Arc<str>>,
}

/// One resource on offer.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    /// The message's bytes, for the disk.
    pub(crate) value: Bytes,
    /// The resource, or why it is none: `path: reason`.
    pub(crate) resource: Result<Resource, String>,
}

/// Names a [`Change`] in [`Effect::Concluded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// What is asked of the control plane by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) endpoints: BTreeSet<Arc<str>>,
    pub(crate) routes: BTreeSet<Arc<str>>,
    pub(crate) secrets: BTreeSet<Arc<str>>,
}

/// What follows for others.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A change is applied as far as it will be; these resources are refused.
    Concluded { ticket: Ticket, rejected: Vec<(Arc<str>, String)> },
    /// What should be asked of the control plane by name has changed.
    Subscribe(Names),
    /// A resource that was refused lacks nothing now.
    AskAgain { resource_type: ResourceType, name: Arc<str> },
    /// A new snapshot is visible.
    Published,
}
