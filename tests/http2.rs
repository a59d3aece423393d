//! Promise: HTTP/2 is spoken to the letter, and whoever abuses it hurts nobody but itself.
//!
//! # Why frames by hand
//! A library that is fit for use sends no broken frame and no flood. [`frames`] writes and reads them itself.

mod attacks;
mod conformance;
mod endpoints;
mod frames;
mod neighbours;
mod uploads;
pub(crate) mod victim;
