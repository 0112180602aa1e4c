//! What a connection in a bench borrows: plain vectors, and contexts numbered by the bench.

use voxwire_core::connection::{Fill, Host, OutOfMemory};

/// Makes a fresh vector for each piece of audio, as a program without Python would.
pub struct Vectors;

impl Host for Vectors {
    type Buffer = Vec<u8>;
    type Owner = usize;

    fn share(&self, owner: &usize) -> usize {
        *owner
    }

    fn begin(&self, size: usize) -> Result<Vec<u8>, OutOfMemory> {
        Ok(Vec::with_capacity(size))
    }

    fn write(&self, buffer: &mut Vec<u8>, start: usize, size: usize, fill: Fill<'_>) -> bool {
        let written = fill(&mut buffer.spare_capacity_mut()[..size]);
        if written {
            // SAFETY: the capacity suffices, all before `start` is written, and by returning true `fill` promised to
            // have written every byte behind it.
            unsafe { buffer.set_len(start + size) };
        }
        written
    }

    fn bytes<'a>(&'a self, buffer: &'a Vec<u8>, size: usize) -> &'a [u8] {
        &buffer[..size]
    }
}
