//! The host of the connections: buffers are vectors, owners are numbers.

use voxwire_core::connection::{Fill, Host, OutOfMemory};

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

    fn begin(&self, size: usize) -> Result<Vec<u8>, OutOfMemory> {
        if size > self.limit_bytes {
            return Err(OutOfMemory);
        }
        Ok(Vec::with_capacity(size))
    }

    fn write(&self, buffer: &mut Vec<u8>, start: usize, size: usize, fill: Fill<'_>) -> bool {
        assert_eq!(start, buffer.len(), "written in order");
        assert!(start + size <= buffer.capacity(), "written beyond the end");
        let mut room = Room::new(size);
        let written = fill(room.slots());
        if written {
            buffer.extend(room.bytes());
        }
        written
    }

    fn bytes<'a>(&'a self, buffer: &'a Vec<u8>, size: usize) -> &'a [u8] {
        &buffer[..size]
    }
}
