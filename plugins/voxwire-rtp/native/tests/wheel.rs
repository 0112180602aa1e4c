//! Where streams have their turns.

use proptest::prelude::*;
use voxwire_rtp::settings::PTIMES_MS;
use voxwire_rtp::wheel::{Place, SLOTS, Wheel};

fn turns_at(wheel: &mut Wheel<usize>, slot: u64) -> Vec<usize> {
    let places: Vec<Place> = wheel.places(slot).collect();
    places
        .into_iter()
        .flat_map(|place| wheel.list(place).to_vec())
        .collect()
}

#[test]
fn streams_of_one_length_spread_evenly() {
    let mut wheel = Wheel::new();
    for entry in 0..1000 {
        wheel.insert(20, entry, |_, _| false);
    }
    assert_eq!(wheel.len(), 1000);
    for slot in 0..SLOTS {
        assert_eq!(turns_at(&mut wheel, slot).len(), 50);
    }
}

#[test]
fn those_that_are_akin_stand_side_by_side() {
    let mut wheel = Wheel::new();
    for entry in 0..60 {
        wheel.insert(10, entry, |one, other| one % 3 == other % 3);
    }
    for slot in 0..10 {
        let kinds: Vec<usize> = turns_at(&mut wheel, slot).iter().map(|entry| entry % 3).collect();
        let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 2, "{kinds:?}");
    }
}

proptest! {
    /// Whatever comes and goes: each has a turn every so many milliseconds, and the next one is found.
    #[test]
    fn everybody_has_turns_in_time(steps in prop::collection::vec((0_usize..6, any::<bool>()), 1..120)) {
        let mut wheel = Wheel::new();
        let mut present: Vec<(usize, Place)> = Vec::new();
        for (entry, (kind, leaves)) in steps.into_iter().enumerate() {
            if leaves && !present.is_empty() {
                let (gone, place) = present.swap_remove(entry % present.len());
                prop_assert_eq!(wheel.remove(place, |other| *other == gone), [gone]);
            } else {
                present.push((entry, wheel.insert(PTIMES_MS[kind], entry, |_, _| false)));
            }
        }
        prop_assert_eq!(wheel.len(), present.len());
        prop_assert_eq!(wheel.is_empty(), present.is_empty());
        let mut turns: Vec<(u64, Vec<usize>)> = (0..2 * SLOTS).map(|slot| (slot, turns_at(&mut wheel, slot))).collect();
        for &(entry, place) in &present {
            let of_entry: Vec<u64> =
                turns.iter().filter(|(_, entries)| entries.contains(&entry)).map(|(slot, _)| *slot).collect();
            prop_assert_eq!(of_entry.len() as u64, 2 * SLOTS / u64::from(PTIMES_MS[place.kind]));
            prop_assert!(of_entry.windows(2).all(|pair| pair[1] - pair[0] == u64::from(PTIMES_MS[place.kind])));
        }
        turns.truncate(SLOTS as usize);
        for start in (0..SLOTS).step_by(37) {
            let next = turns.iter().cycle().skip(start as usize).take(SLOTS as usize).position(|(_, entries)| !entries.is_empty());
            prop_assert_eq!(wheel.next(start), next.map(|next| start + next as u64));
        }
    }
}
