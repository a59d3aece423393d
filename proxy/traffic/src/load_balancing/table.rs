//! Consistent hashing: a hash leads to the same endpoint for as long as that endpoint lives.
//!
//! # Two tables
//! A *ring* hashes each endpoint to many points and takes the first point at or after a request's hash; it moves the
//! fewest requests when endpoints change. *Maglev* fills a table of prime size in which every endpoint has its exact share
//! and a lookup is one division.
//!
//! # Bit by bit as Envoy
//! The texts that are hashed, the order in which the tables are filled and the floating point sums that decide how many
//! points an endpoint gets are those of Envoy 1.40 (the original and the compact Maglev table of Envoy hold the same). So
//! Envoy and Tidegate send the same request to the same endpoint.

use std::net::SocketAddr;

use tidegate_xds::resource::cluster::{HashFunction, LoadBalancing};

use crate::hash::{murmur_hash_2, xx_hash};

/// The most points on a ring, whatever a resource asks for (Envoy's own limit): 12 bytes each.
const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;
/// The most slots of a Maglev table (Envoy's own limit).
const MAGLEV_SIZE_MAX: u64 = 5_000_011;
/// Envoy's default; taken when a resource asks for a size that is no prime, for which the table could not be filled.
const MAGLEV_SIZE_DEFAULT: u64 = 65_537;
/// How many further places are looked at when a hash leads to an endpoint that cannot be used. Half of a cluster tried
/// already would exhaust them once in 2^32 requests.
const ATTEMPTS_MAX: u32 = 32;

/// Endpoints by hash.
#[derive(Debug)]
pub(crate) enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// What a table is made from: the member, its address and its share of the whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) member: u32,
    pub(crate) address: SocketAddr,
    /// All shares of a table sum to one.
    pub(crate) share: f64,
}

/// Points in ascending order.
#[derive(Debug)]
pub(crate) struct Ring {
    hashes: Box<[u64]>,
    members: Box<[u32]>,
}

/// Slots. Clusters of fewer than 65 536 endpoints, that is all of them, use two bytes a slot.
#[derive(Debug)]
pub(crate) enum Maglev {
    Small(Box<[u16]>),
    Large(Box<[u32]>),
}

impl Table {
    /// The table that a way of load balancing needs; `None` if it needs none or there is nothing to put in.
    pub(crate) fn build(load_balancing: &LoadBalancing, entries: &[Entry]) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        match load_balancing {
            LoadBalancing::RingHash { min_size, max_size, function } => {
                Some(Self::Ring(Ring::build(entries, *min_size, *max_size, *function)))
            }
            LoadBalancing::Maglev { table_size } => Some(Self::Maglev(Maglev::build(entries, *table_size))),
            LoadBalancing::RoundRobin { .. } | LoadBalancing::LeastRequest { .. } | LoadBalancing::Random => None,
        }
    }

    /// The member for a hash that passes, within a bounded number of further places.
    pub(crate) fn find(&self, hash: u64, passes: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::Ring(ring) => {
                let first = ring.first(hash);
                (0..ATTEMPTS_MAX).map(|attempt| ring.at(first, attempt)).find(|member| passes(*member))
            }
            Self::Maglev(table) => {
                // Attempts after the first flip the hash's high bits (as Envoy does), so that those who lose the same
                // endpoint spread over all others.
                let attempts = (0..u64::from(ATTEMPTS_MAX)).map(|attempt| hash ^ attempt.wrapping_neg());
                attempts.map(|hash| table.at(hash)).find(|member| passes(*member))
            }
        }
    }
}

impl Ring {
    fn build(entries: &[Entry], min_size: u64, max_size: u64, function: HashFunction) -> Self {
        let max_size = max_size.min(RING_SIZE_MAX) as f64;
        let least = entries.iter().map(|entry| entry.share).fold(1.0, f64::min);
        // So many points to a share of one that the least share has a whole number of them.
        let scale = ((least * min_size as f64).ceil() / least).min(max_size).max(1.0);
        let mut points = Vec::with_capacity(scale.ceil() as usize);
        let (mut made, mut wanted) = (0.0, 0.0);
        let mut key = String::new();
        for entry in entries {
            // Sums over all endpoints and not for each, so that fractions of a point are not lost.
            wanted += scale * entry.share;
            let mut i = 0_u64;
            while made < wanted {
                key.clear();
                write_key(&mut key, entry.address, i);
                let hash = match function {
                    HashFunction::XxHash => xx_hash(key.as_bytes(), 0),
                    HashFunction::Murmur2 => murmur_hash_2(key.as_bytes()),
                };
                points.push((hash, entry.member));
                i += 1;
                made += 1.0;
            }
        }
        points.sort_by_key(|(hash, _)| *hash);
        let (hashes, members): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Self { hashes: hashes.into(), members: members.into() }
    }

    /// The first point at or after a hash; past the last it is the first of all.
    fn first(&self, hash: u64) -> usize {
        self.hashes.partition_point(|point| *point < hash)
    }

    fn at(&self, first: usize, attempt: u32) -> u32 {
        self.members[(first + attempt as usize) % self.members.len()]
    }
}

/// `address_i`, into a buffer that is used again for the next.
fn write_key(key: &mut String, address: SocketAddr, i: u64) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    write!(key, "{address}_{i}").ok();
}

impl Maglev {
    fn build(entries: &[Entry], size: u64) -> Self {
        let size = if size <= MAGLEV_SIZE_MAX && is_prime(size) { size } else { MAGLEV_SIZE_DEFAULT };
        let slots = fill(entries, size);
        match slots.iter().map(|member| u16::try_from(*member).ok()).collect() {
            Some(small) => Self::Small(small),
            None => Self::Large(slots.into()),
        }
    }

    fn at(&self, hash: u64) -> u32 {
        match self {
            Self::Small(slots) => slots[(hash % slots.len() as u64) as usize].into(),
            Self::Large(slots) => slots[(hash % slots.len() as u64) as usize],
        }
    }
}

/// An endpoint's own order of preference among the slots.
struct Preference {
    member: u32,
    share: f64,
    due: f64,
    slot: u64,
    skip: u64,
}

/// Endpoints take turns to take the free slot that they like best; the lighter sit out rounds.
fn fill(entries: &[Entry], size: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let greatest = entries.iter().map(|entry| entry.share).fold(0.0, f64::max);
    // The order of turns must not depend on the order of a resource.
    let mut sorted: Vec<(String, &Entry)> = entries.iter().map(|entry| (entry.address.to_string(), entry)).collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    let preference = |(key, entry): &(String, &Entry)| Preference {
        member: entry.member,
        share: entry.share,
        due: 0.0,
        slot: xx_hash(key.as_bytes(), 0) % size,
        skip: xx_hash(key.as_bytes(), 1) % (size - 1).max(1) + 1,
    };
    let mut preferences: Vec<Preference> = sorted.iter().map(preference).collect();
    let mut slots = vec![FREE; size as usize];
    let mut left = size;
    let mut round = 0.0;
    // The heaviest takes a slot in every round, so there are about as many rounds as slots at most.
    while left > 0 {
        round += 1.0;
        for own in &mut preferences {
            if left == 0 {
                break;
            }
            if round * own.share < own.due {
                continue;
            }
            own.due += greatest;
            // The size is a prime, so the steps visit every slot, and one is free.
            while slots[own.slot as usize] != FREE {
                own.slot = (own.slot + own.skip) % size;
            }
            slots[own.slot as usize] = own.member;
            own.slot = (own.slot + own.skip) % size;
            left -= 1;
        }
    }
    slots
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests;
