//! Bytes both ways, until both ends have closed: upgraded connections and TCP.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::body::{Pump, PumpFault, Sink, Source};
use crate::clock::{Alarm, Ring, Slot};

/// Why a tunnel ended before both ends closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Nothing moved in either direction for too long.
    Idle,
    /// One of the connections broke.
    Broken(PumpFault),
}

/// How much has come: there, and back. Kept up to date while bytes move, for whoever asks before the end.
pub(crate) type Moved<'m> = (&'m Cell<u64>, &'m Cell<u64>);

/// Moves bytes. An end that closes is passed on; the other direction goes on (half-close).
pub(crate) async fn tunnel(
    there: (&mut impl Source, &mut impl Sink),
    back: (&mut impl Source, &mut impl Sink),
    alarm: &Alarm,
    idle: Option<Duration>,
    moved: Moved<'_>,
) -> Result<(), Quiet> {
    let (mut upload, mut download) = (Pump::tunnel(Slot::Upload), Pump::tunnel(Slot::Download));
    alarm.set(Slot::Total, idle);
    poll_fn(|cx| {
        if !upload.is_done() {
            let polled = upload.poll(cx, there.0, there.1, alarm);
            moved.0.set(there.0.passed());
            if let Poll::Ready(Err(fault)) = polled {
                return Poll::Ready(Err(Quiet::Broken(fault)));
            }
        }
        if !download.is_done() {
            let polled = download.poll(cx, back.0, back.1, alarm);
            moved.1.set(back.0.passed());
            if let Poll::Ready(Err(fault)) = polled {
                return Poll::Ready(Err(Quiet::Broken(fault)));
            }
        }
        if upload.is_done() && download.is_done() {
            return Poll::Ready(Ok(()));
        }
        // Traffic in either direction keeps both alive.
        if upload.take_moved() | download.take_moved() {
            alarm.set(Slot::Total, idle);
        }
        while let Poll::Ready(ring) = alarm.poll(cx) {
            match ring {
                Ring::Due(Slot::Total) => return Poll::Ready(Err(Quiet::Idle)),
                Ring::Due(Slot::Upload | Slot::Download | Slot::Attempt | Slot::Presence) | Ring::Poked => {}
            }
        }
        Poll::Pending
    })
    .await
}
