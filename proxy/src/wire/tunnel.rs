//! Bytes both ways, until both ends have closed: upgraded connections and TCP.

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

/// Moves bytes. An end that closes is passed on; the other direction goes on (half-close).
pub(crate) async fn tunnel(
    there: (&mut impl Source, &mut impl Sink),
    back: (&mut impl Source, &mut impl Sink),
    alarm: &Alarm,
    idle: Option<Duration>,
) -> Result<(), Quiet> {
    let (mut upload, mut download) = (Pump::tunnel(Slot::Upload), Pump::tunnel(Slot::Download));
    alarm.set(Slot::Total, idle);
    poll_fn(|cx| {
        if !upload.is_done()
            && let Poll::Ready(Err(fault)) = upload.poll(cx, there.0, there.1, alarm)
        {
            return Poll::Ready(Err(Quiet::Broken(fault)));
        }
        if !download.is_done()
            && let Poll::Ready(Err(fault)) = download.poll(cx, back.0, back.1, alarm)
        {
            return Poll::Ready(Err(Quiet::Broken(fault)));
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
