//! The ids of ended contexts: what still comes for them is dropped and counted (protocol.md 13).

use std::collections::VecDeque;

use super::ids::{FEW, Id, IdMap, shrink};
use crate::context::{ClientState, REMEMBERED_CONTEXTS, TOMBSTONE_S};

/// What is remembered of an ended context.
#[derive(Debug)]
pub(super) struct Tombstone {
    pub(super) state: ClientState,
    /// Messages that came for it since it ended.
    pub(super) late: u64,
    serial: u64,
}

/// The ended contexts of one connection, bounded by age and by number.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    stones: IdMap<Tombstone>,
    /// When each ended, in that order; a stone that was taken away before its time leaves its entry behind.
    order: VecDeque<(f64, Id)>,
    /// Serial number of the first in that order.
    first_serial: u64,
}

impl Tombstones {
    pub(super) fn get_mut(&mut self, id: &[u8]) -> Option<&mut Tombstone> {
        self.stones.get_mut(id)
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.stones.contains_key(id.as_bytes())
    }

    pub(super) fn insert(&mut self, id: Id, state: ClientState, now: f64) {
        let serial = self.first_serial + self.order.len() as u64;
        self.order.push_back((now, id.clone()));
        self.stones.insert(id, Tombstone { state, late: 0, serial });
        self.expire(now);
    }

    pub(super) fn remove(&mut self, id: &[u8]) {
        self.stones.remove(id);
        shrink(&mut self.stones);
    }

    /// Forgets what is over the bound or has had its time.
    pub(super) fn expire(&mut self, now: f64) {
        while let Some((ended_at, id)) = self.order.front() {
            if self.order.len() <= REMEMBERED_CONTEXTS && now - ended_at < TOMBSTONE_S {
                break;
            }
            let id: &[u8] = id.0.as_bytes();
            if self
                .stones
                .get(id)
                .is_some_and(|stone| stone.serial == self.first_serial)
            {
                self.stones.remove(id);
            }
            self.order.pop_front();
            self.first_serial += 1;
        }
        shrink(&mut self.stones);
        if self.order.capacity() > FEW.max(self.order.len() * 8) {
            self.order.shrink_to(self.order.len() * 2);
        }
    }
}
