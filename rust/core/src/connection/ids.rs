//! Tables by context id.
//!
//! The ids in them are the caller's own; what a peer sends is only looked up. So a short hash with a key of its own
//! suffices where the standard library's would cost more than the rest of a small message.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

/// What is kept by context id.
pub(super) type IdMap<V> = HashMap<Id, V, Key>;

/// Entries for which there is room in a table that is not made smaller.
pub(super) const FEW: usize = 8;

/// A context id, found also by the bytes of its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) Arc<str>);

impl Borrow<[u8]> for Id {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As the bytes do, by which it is looked up.
        self.0.as_bytes().hash(state);
    }
}

/// Gives room back where a table has become much smaller than it was.
pub(super) fn shrink<V>(map: &mut IdMap<V>) {
    if map.capacity() > FEW.max(map.len() * 8) {
        map.shrink_to(map.len() * 2);
    }
}

/// What a table's hashes begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(u64);

impl Default for Key {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Key {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding {
            key: self.0,
            state: self.0,
        }
    }
}

/// Folds 16 bytes at a time by the two halves of a product of 128 bits.
#[derive(Debug)]
pub(super) struct Folding {
    key: u64,
    state: u64,
}

/// Any odd number with about as many ones as zeros.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ (product >> 64) as u64
}

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut take = |pair: &[u8; 16]| {
            let (words, _) = pair.as_chunks::<8>();
            let [one, other] = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
            self.state = fold(one ^ self.state, other ^ self.key ^ SPREAD);
        };
        let (pairs, rest) = bytes.as_chunks::<16>();
        pairs.iter().for_each(&mut take);
        match bytes.last_chunk::<16>() {
            // The last pair overlaps the one before it.
            Some(last) if !rest.is_empty() => take(last),
            Some(_) => {}
            None => {
                let mut last = [0; 16];
                last[..rest.len()].copy_from_slice(rest);
                take(&last);
            }
        }
    }

    /// The length, which tells apart what differs by zeros at its end.
    #[inline]
    fn write_usize(&mut self, length: usize) {
        self.state ^= (length as u64).wrapping_mul(SPREAD);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}
