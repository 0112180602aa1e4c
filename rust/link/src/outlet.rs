//! Bytes that a socket has not taken yet.

/// A queue of bytes; what it held is given back to the system when it is empty.
#[derive(Default)]
pub(crate) struct Outlet {
    bytes: Vec<u8>,
    taken: usize,
}

/// An empty queue keeps no more than this, in bytes.
const KEPT: usize = 1024;

impl Outlet {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// The bytes that wait, in order.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// The end of the queue, for those who write there themselves.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends.
    pub(crate) fn push(&mut self, data: &[u8]) {
        // Moving what waits costs no more than what was taken before it: each byte is moved once on average.
        if self.taken > self.len() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(data);
    }

    /// Takes `count` bytes off the front.
    pub(crate) fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.taken = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Outlet};

    #[test]
    fn keeps_order_and_frees_what_was_taken() {
        let mut outlet = Outlet::default();
        let mut expected: Vec<u8> = Vec::new();
        let mut seen: Vec<u8> = Vec::new();
        for round in 0..2000_usize {
            let piece: Vec<u8> = (0..round % 97).map(|index| (round + index) as u8).collect();
            outlet.push(&piece);
            expected.extend(&piece);
            let count = outlet.len().min(round % 89);
            seen.extend(&outlet.waiting()[..count]);
            outlet.take(count);
            assert_eq!(outlet.len(), expected.len() - seen.len());
        }
        seen.extend(outlet.waiting());
        outlet.take(outlet.len());
        assert_eq!(seen, expected);
        assert_eq!(outlet.len(), 0);
        assert!(outlet.tail().capacity() <= KEPT);
    }
}
