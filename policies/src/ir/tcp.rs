//! Where connections go that carry bytes and arrive at a gateway. Those of the mesh are in [`super::MeshRoutes`], under their
//! port.

use super::Origin;
use super::split::Split;

/// Connections are shared out, each drawn once.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRule {
    /// Where it was written.
    pub origin: Origin,
    /// Where to.
    pub split: Split,
}
