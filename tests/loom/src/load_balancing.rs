//! The position of a round robin, which all threads take their turns from.

use crate::real::sync::Arc;
use crate::{explore, together};

#[rustfmt::skip]
#[path = "../../../proxy/traffic/src/load_balancing/position.rs"]
mod position;

use position::RoundRobin;

/// Three requests to three endpoints, and a fourth: each endpoint has one, and the fourth begins the round anew.
pub fn every_turn_is_taken_once() {
    explore(|| {
        let turns = Arc::new(RoundRobin::starting_at(u64::MAX));
        let take = |turns: &Arc<RoundRobin>| {
            let turns = Arc::clone(turns);
            move || turns.next()
        };

        let mut taken = together(take(&turns), take(&turns), take(&turns)).to_vec();
        taken.push(turns.next());

        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, u64::MAX]);
        assert_eq!(turns.next(), 3);
    });
}
