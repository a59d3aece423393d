//! Leases with and without a control plane.

use std::borrow::Cow;
use std::num::NonZeroU32;

use tidegate_traffic::rate_limit::Entry;
use tidegate_xds::resource::filter::{OnUnavailable, Refusal, TokenBucket};

use super::*;

fn lease() -> Arc<Lease> {
    let refill = NonZeroU32::new(100).expect("not zero");
    let limit = TokenBucket { capacity: 50, refill, interval: Duration::from_secs(1) };
    Arc::new(Lease {
        limit,
        on_unavailable: OnUnavailable::FallbackPerProxy,
        shadow: false,
        refusal: Refusal::default(),
    })
}

fn cell_of(leases: &Leases, user: &str, now: u64) -> Option<Arc<Cell>> {
    let entry = |key, value| Entry { key, value: Cow::Borrowed(value) };
    let entries = vec![entry("rule", "shop/fair/all"), entry("header:end-user", user)];
    let lease = lease();
    leases.cell(&Descriptor { entries, hits: 1, lease: Some(&lease) }, &lease, now)
}

#[test]
fn each_value_has_a_cell_of_its_own_and_finds_it_again() {
    let leases = Leases::default();

    let jason = cell_of(&leases, "jason", 0).expect("there is room");

    assert!(Arc::ptr_eq(&jason, &cell_of(&leases, "jason", 1).expect("it is there")));
    assert!(!Arc::ptr_eq(&jason, &cell_of(&leases, "julia", 1).expect("there is room")));
    assert_eq!(lock(&leases.fresh).len(), 2);
}

#[test]
fn values_beyond_the_bound_are_not_kept_and_those_let_go_make_room() {
    let leases = Leases::default();
    let cells: Vec<_> = (0..CELLS_MAX).map(|user| cell_of(&leases, &user.to_string(), 0)).collect();
    assert!(cells.iter().all(Option::is_some));
    assert!(cell_of(&leases, "one more", 0).is_none());

    leases.forget(cells[0].as_ref().expect("it is there"));

    assert!(cell_of(&leases, "one more", 0).is_some());
}

#[test]
fn a_value_that_is_met_while_the_control_plane_is_away_has_the_whole_limit() {
    let leases = Leases::default();
    let now = 2 * GRACE.as_nanos() as u64;

    let cell = cell_of(&leases, "jason", now).expect("there is room");

    assert!(cell.try_take(50, now));
}
