//! The words in which promises are written: a [`Mesh`] of real processes, [`Backend`]s behind it, [`Client`]s in it.
//!
//! # Why processes
//! What users run is `tidegate` and `tidegate-proxy`. A promise that holds only for a library linked into the test is
//! not theirs. So each mesh is a control plane process, a proxy process per workload, and backends that live in the
//! test because the test must see what they were sent.
//!
//! Each mesh has a /24 of the loopback network to itself, so promises run side by side.

pub(crate) mod address;
pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod cgroup;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod fragile;
pub(crate) mod lasting;
pub(crate) mod load;
pub(crate) mod mesh;
pub(crate) mod moving;
pub(crate) mod process;
pub(crate) mod store;
pub(crate) mod wait;

pub(crate) use backend::Backend;
pub(crate) use client::Client;
pub(crate) use mesh::Mesh;
