//! A value that is made when it is first needed, as `OnceLock` gives it to one thread that writes and many that read.
//!
//! # Why not the standard library's
//! loom does not see that one: a reader would have the value as soon as it is there, in whatever order memory is. Here it has it
//! once it has seen the word that the writer published behind it. (Several that make it at once are not modelled.)

use loom::sync::atomic::{AtomicBool, Ordering};

use crate::real;

/// As much of it as the sources use.
#[derive(Debug)]
pub struct OnceLock<T> {
    is_there: AtomicBool,
    value: real::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self { is_there: AtomicBool::new(false), value: real::sync::OnceLock::new() }
    }
}

impl<T> OnceLock<T> {
    /// The value, if it is there.
    pub fn get(&self) -> Option<&T> {
        if self.is_there.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    /// The value, which is made if it is not there.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(make);
        if !self.is_there.load(Ordering::Acquire) {
            self.is_there.store(true, Ordering::Release);
        }
        value
    }
}
