//! How long to wait before the next connection.

use std::time::Duration;

/// The first pause. Long enough for a restarting control plane to bind its port again.
const FIRST: Duration = Duration::from_millis(500);
/// The longest. A control plane that was away for an hour has all its proxies back within this and half as much again,
/// which an operator who watches it return can bear; a refused connection every two seconds costs nobody anything.
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that double with each failure and differ from proxy to proxy.
#[derive(Clone, Debug)]
pub struct BackOff {
    next: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl BackOff {
    /// The next pause: between half and one and a half times its nominal length, as `random` says, which is in `[0, 1)`.
    pub fn pause(&mut self, random: f64) -> Duration {
        let nominal = self.next;
        self.next = (nominal * 2).min(LONGEST);
        nominal.mul_f64(0.5 + random.clamp(0.0, 1.0))
    }

    /// The server answered: the next failure is the first again.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}
