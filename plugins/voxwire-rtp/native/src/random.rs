//! Random numbers: those that nobody may guess, and those of which there is only to be another one each time.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::clock::monotonic_ns;

/// A number that nobody can guess.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // Never fails once the system is up; a number that can be guessed would still be another one for each call.
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(_) => u64::from_ne_bytes(bytes),
        Err(_) => monotonic_ns(),
    }
}

/// Numbers that nobody needs to be unable to guess: a splitmix generator.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The seed is random itself.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
