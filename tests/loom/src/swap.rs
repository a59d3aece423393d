//! A value that is replaced whole, as `arc-swap` gives it: whoever loads it has the old one or the new one.

use crate::sync::Arc;

/// As much of `ArcSwap` as the sources use. The order that it promises is that of a lock held for a moment.
#[derive(Debug)]
pub struct ArcSwap<T>(loom::sync::Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    /// Holds this.
    pub fn new(value: Arc<T>) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// The same, from a plain value.
    pub fn from_pointee(value: T) -> Self {
        Self::new(Arc::new(value))
    }

    /// What it holds now.
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().expect("nobody panics with it"))
    }

    /// Replaces it.
    pub fn store(&self, value: Arc<T>) {
        *self.0.lock().expect("nobody panics with it") = value;
    }
}
