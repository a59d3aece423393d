//! The contract between the planes: telemetry going up.
//!
//! A metric's name is a promise to dashboards and alerts, a response flag is a promise to whoever reads an access log at
//! three in the morning. Both are declared here once; the proxy writes them, the control plane and the tests read them,
//! and nobody spells them a second time.

pub mod exposition;
pub mod flag;
pub mod istio;
pub mod metric;
pub mod sketch;
pub mod trace;

pub use flag::ResponseFlag;
pub use metric::{Kind, Metric};
pub use sketch::Sketch;
