//! Which names an object has used already.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Names up to this number are compared one by one, which is faster than a tree for the objects that occur.
const FEW: usize = 8;

/// The names of one object.
///
/// An ordered set rather than a hash table: many chosen names cost their length times the logarithm of their number,
/// whatever they are.
#[derive(Default)]
pub(crate) struct Names<'a> {
    few: Vec<Cow<'a, [u8]>>,
    many: BTreeSet<Cow<'a, [u8]>>,
}

impl<'a> Names<'a> {
    /// Takes the next name; false where it was there already.
    pub(crate) fn insert(&mut self, name: Cow<'a, [u8]>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}
