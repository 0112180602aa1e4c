//! The host of the connections: buffers are vectors, owners are numbers.

use std::mem::MaybeUninit;

use voxwire_core::connection::{Host, OutOfMemory};

use crate::room::Room;

/// Lends vectors, none longer than its limit.
pub(crate) struct Memory {
    pub(crate) limit_bytes: usize,
}

impl Host for Memory {
    type Buffer = Vec<u8>;
    type Owner = u32;

    fn share(&self, owner: &u32) -> u32 {
        *owner
    }

    fn make(
        &self,
        size: usize,
        fill: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> bool,
    ) -> Result<Option<Vec<u8>>, OutOfMemory> {
        if size > self.limit_bytes {
            return Err(OutOfMemory);
        }
        let mut room = Room::new(size);
        Ok(fill(room.slots()).then(|| room.bytes()))
    }

    fn bytes<'a>(&'a self, buffer: &'a Vec<u8>) -> &'a [u8] {
        buffer
    }
}
