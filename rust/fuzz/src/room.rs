//! Room for an output that is lent uninitialised, but is not.

use std::mem::MaybeUninit;

/// What lies in a room before anything is written.
pub(crate) const CANARY: u8 = 0xa5;

/// Bytes that are written through `slots`.
pub(crate) struct Room(Box<[MaybeUninit<u8>]>);

impl Room {
    pub(crate) fn new(size_bytes: usize) -> Self {
        Self(vec![MaybeUninit::new(CANARY); size_bytes].into_boxed_slice())
    }

    pub(crate) fn slots(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .map(|byte| {
                // SAFETY: the room was made of initialised bytes, and what is under test writes nothing but such.
                unsafe { byte.assume_init() }
            })
            .collect()
    }
}
