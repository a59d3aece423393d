//! Where policies come from.

pub mod file;
pub mod read;
