//! When streams have their turns: a wheel of slots of a millisecond. Every length of a packet goes into it.

use crate::settings::PTIMES_MS;

/// Slots of the wheel: the common multiple of all lengths of packets.
pub const SLOTS: u64 = 600;
/// Length of a slot.
pub const SLOT_NS: u64 = 1_000_000;

/// Which of the [`PTIMES_MS`], and in which of its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into [`PTIMES_MS`].
    pub kind: usize,
    /// From 0 to the length of a packet in ms.
    pub phase: usize,
}

/// Entries by the slots in which they have their turns.
#[derive(Debug)]
pub struct Wheel<T> {
    /// Of each length and each phase, so that all turns of one slot stand side by side.
    lists: [Vec<Vec<T>>; PTIMES_MS.len()],
    /// How many turns each slot has.
    load: [u32; SLOTS as usize],
    entries: usize,
}

impl<T> Wheel<T> {
    /// Without entries.
    pub fn new() -> Self {
        Self {
            lists: PTIMES_MS.map(|ptime_ms| (0..ptime_ms).map(|_| Vec::new()).collect()),
            load: [0; SLOTS as usize],
            entries: 0,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Puts an entry where the fullest of its slots is the least full, behind the last that is `akin` to it.
    pub fn insert(&mut self, ptime_ms: u32, entry: T, akin: impl Fn(&T, &T) -> bool) -> Place {
        let kind = PTIMES_MS.iter().position(|&known| known == ptime_ms).unwrap_or(0);
        let places = (0..PTIMES_MS[kind] as usize).map(|phase| Place { kind, phase });
        let fullest = |place: &Place| turns(*place).map(|slot| self.load[slot]).max();
        let place = places.min_by_key(fullest).unwrap_or(Place { kind, phase: 0 });
        for slot in turns(place) {
            self.load[slot] += 1;
        }
        self.entries += 1;
        let list = &mut self.lists[place.kind][place.phase];
        let beside = list.iter().rposition(|other| akin(other, &entry));
        list.insert(beside.map_or(list.len(), |beside| beside + 1), entry);
        place
    }

    /// Takes the entries of a place out that are meant.
    pub fn remove(&mut self, place: Place, meant: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let removed: Vec<T> = self.lists[place.kind][place.phase].extract_if(.., meant).collect();
        for slot in turns(place) {
            self.load[slot] -= removed.len() as u32;
        }
        self.entries -= removed.len();
        removed
    }

    /// The first slot from `slot` on in which there is a turn; None without entries.
    pub fn next(&self, slot: u64) -> Option<u64> {
        (slot..slot + SLOTS).find(|slot| self.load[(slot % SLOTS) as usize] > 0)
    }

    /// The places that have their turn in a slot.
    pub fn places(&self, slot: u64) -> impl Iterator<Item = Place> + use<T> {
        PTIMES_MS.iter().enumerate().map(move |(kind, &ptime_ms)| Place {
            kind,
            phase: (slot % u64::from(ptime_ms)) as usize,
        })
    }

    /// The entries of a place.
    pub fn list(&mut self, place: Place) -> &mut [T] {
        &mut self.lists[place.kind][place.phase]
    }

    /// All entries.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.lists.iter_mut().flatten().flatten()
    }
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The slots of a place, within the wheel.
fn turns(place: Place) -> impl Iterator<Item = usize> {
    (place.phase..SLOTS as usize).step_by(PTIMES_MS[place.kind] as usize)
}
