//! The promises to users are in `main.rs`, the house rules in `tidy.rs`. This library is empty on purpose: the harness
//! is a module of the one integration binary, so that it is compiled once.
