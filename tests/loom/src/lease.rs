//! A limit's tokens while its lease changes.

use tidegate_xds::resource::filter::{Lease, OnUnavailable, Refusal, TokenBucket};

use crate::real::num::NonZeroU32;
use crate::real::time::Duration;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::{explore, together};

#[rustfmt::skip]
#[path = "../../../proxy/src/filter/lease/cell.rs"]
mod cell;

use cell::{Cell, Grant};

const HOUR: Duration = Duration::from_secs(3_600);

/// A cell whose tokens are these, and no more within the model.
fn cell(capacity: u32) -> Arc<Cell> {
    let limit = TokenBucket { capacity: 10, refill: NonZeroU32::MIN, interval: HOUR };
    let lease =
        Lease { limit, on_unavailable: OnUnavailable::FallbackPerProxy, shadow: false, refusal: Refusal::default() };
    let cell = Cell::new([("rule", "all")].into_iter(), &Arc::new(lease), 0);
    cell.assign(grant(capacity), HOUR, 0);
    Arc::new(cell)
}

fn grant(capacity: u32) -> Grant {
    Grant { capacity, refill: 1, interval_nanos: u64::MAX }
}

fn take(cell: &Arc<Cell>) -> impl FnOnce() -> u32 + use<> {
    let cell = Arc::clone(cell);
    move || u32::from(cell.try_take(1, 0))
}

/// What is left, by taking it.
fn rest(cell: &Cell) -> u32 {
    (0..10).map(|_| u32::from(cell.try_take(1, 0))).sum()
}

/// One token becomes three while two are asked for: three are given out in the end, now or later.
pub fn a_larger_lease_loses_no_token() {
    explore(|| {
        let cell = cell(1);
        let assign = || {
            cell.assign(grant(3), HOUR, 0);
            0
        };

        let taken: u32 = together(take(&cell), take(&cell), assign).iter().sum();

        assert_eq!(taken + rest(&cell), 3);
    });
}

/// Two tokens become one while two are asked for: never are there more than the two that there were.
pub fn a_smaller_lease_gives_out_no_more_than_the_larger_one() {
    explore(|| {
        let cell = cell(2);
        let assign = || {
            cell.assign(grant(1), HOUR, 0);
            0
        };

        let taken: u32 = together(take(&cell), take(&cell), assign).iter().sum();

        let rest = rest(&cell);
        assert!(taken + rest <= 2 && rest <= 1, "{taken} taken, {rest} left");
    });
}

/// What was used is reported by one report, whenever the reporter looks.
pub fn usage_is_reported_once() {
    explore(|| {
        let cell = cell(2);
        let counting = |cell: &Arc<Cell>| {
            let cell = Arc::clone(cell);
            move || {
                cell.count(true, 1);
                0
            }
        };
        let report = || cell.allowed.swap(0, Ordering::Relaxed);

        let reported: u64 = together(counting(&cell), counting(&cell), report).iter().sum();

        assert_eq!(reported + cell.allowed.swap(0, Ordering::Relaxed), 2);
    });
}
