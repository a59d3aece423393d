//! The token bucket that workers share.

use crate::real::num::NonZeroU32;
use crate::real::sync::Arc;
use crate::real::time::Duration;
use crate::{explore, together};

#[rustfmt::skip]
#[path = "../../../proxy/traffic/src/rate_limit/bucket.rs"]
mod bucket;

use bucket::{Bucket, Rate};
use tidegate_xds::resource::filter::TokenBucket;

const SECOND: u64 = 1_000_000_000;

fn rate(capacity: u32) -> Rate {
    Rate::new(TokenBucket { capacity, refill: NonZeroU32::MIN, interval: Duration::from_secs(1) })
}

/// Three ask for two tokens: two get one.
pub fn a_token_is_taken_once() {
    explore(|| {
        let bucket = Arc::new(Bucket::default());
        let take = |bucket: &Arc<Bucket>| {
            let bucket = Arc::clone(bucket);
            move || bucket.try_take(&rate(2), 1, 0)
        };

        let taken = together(take(&bucket), take(&bucket), take(&bucket));

        assert_eq!(taken.iter().filter(|taken| **taken).count(), 2);
        assert_eq!(bucket.remaining(&rate(2), 0), 0);
    });
}

/// One token at the start and one a second later, for threads whose clocks differ.
pub fn tokens_that_flow_in_are_taken_once() {
    explore(|| {
        let bucket = Arc::new(Bucket::default());
        let take = |bucket: &Arc<Bucket>, now: u64| {
            let bucket = Arc::clone(bucket);
            move || bucket.try_take(&rate(1), 1, now)
        };

        let taken = together(take(&bucket, 0), take(&bucket, SECOND), take(&bucket, SECOND));

        let taken = taken.iter().filter(|taken| **taken).count();
        assert!((1..=2).contains(&taken), "{taken} of at most 2 tokens");
        assert_eq!(bucket.remaining(&rate(1), SECOND), 0);
    });
}
