//! The limit that counts all requests alike: one bucket, known from configuration.
//!
//! # Why apart
//! Most limits are of this kind. Where nobody is told what is left, a token of that bucket is the whole answer, and no request is
//! described for it. Whenever there is no token, and for every other limit, [`CompiledLocalRateLimit::decide`] goes the general way.

use super::{CompiledLocalRateLimit, DescriptorBuckets, LocalBuckets};

/// The one bucket that counts every request, where configuration alone says which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sole {
    Default,
    /// That of the configured descriptor at a position.
    Of {
        position: usize,
        tokens: u32,
    },
}

impl CompiledLocalRateLimit {
    /// Found when the limit is compiled.
    pub(super) fn sole(&self) -> Option<Sole> {
        if self.descriptors.is_empty() {
            return Some(Sole::Default);
        }
        let mut own = self.own.iter().filter(|list| list.stage() == self.stage);
        let (list, None) = (own.next()?, own.next()) else { return None };
        let is_alone = self.default.is_none() || !self.always_consume_default;
        let position = self.position_of_constants(list, &self.buckets).filter(|_| is_alone)?;
        Some(Sole::Of { position, tokens: list.hits })
    }

    /// Whether there is a bucket that counts every request, and it had the tokens. They are taken then.
    pub(super) fn takes_from_sole(&self, buckets: &LocalBuckets, now_nanos: u64) -> bool {
        let (rate, bucket, tokens) = match self.sole {
            None => return false,
            Some(Sole::Default) => match (&self.default, &buckets.default) {
                (Some(rate), Some(bucket)) => (rate, bucket, 1),
                _ => return false,
            },
            Some(Sole::Of { position, tokens }) => match buckets.descriptors.get(position) {
                Some(DescriptorBuckets::One(bucket)) => (&self.descriptors[position].rate, bucket, tokens),
                Some(DescriptorBuckets::PerValue(_)) | None => return false,
            },
        };
        bucket.try_take(rate, tokens, now_nanos)
    }
}
