//! What a connection in a bench borrows: plain vectors, and contexts numbered by the bench.

use std::mem::MaybeUninit;

use voxwire_core::connection::{Host, OutOfMemory};

/// Makes a fresh vector for each piece of audio, as a program without Python would.
pub struct Vectors;

impl Host for Vectors {
    type Buffer = Vec<u8>;
    type Owner = usize;

    fn share(&self, owner: &usize) -> usize {
        *owner
    }

    fn make(
        &self,
        size: usize,
        fill: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> bool,
    ) -> Result<Option<Vec<u8>>, OutOfMemory> {
        let mut buffer = Vec::<u8>::with_capacity(size);
        if !fill(&mut buffer.spare_capacity_mut()[..size]) {
            return Ok(None);
        }
        // SAFETY: the capacity is at least `size`, and by returning true `fill` promised to have written every byte.
        unsafe { buffer.set_len(size) };
        Ok(Some(buffer))
    }

    fn bytes<'a>(&'a self, buffer: &'a Vec<u8>) -> &'a [u8] {
        buffer
    }
}
