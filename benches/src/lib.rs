//! Benchmarks of the pure parts live in `benches/`; this library is empty because a package needs one.
