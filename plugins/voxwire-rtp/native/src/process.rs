//! What belongs to one process. A fork copies the memory, with its locks as they are at that moment, but of the threads
//! only the one that forks: what others did there nobody goes on with.

use std::process::id;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that something was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(id())
    }

    /// Whether this is still that process, and not one that was forked from it. No lock made there is touched before.
    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }
}

/// A value of which each process has its own. A child's begins as any, whatever its parent has made of its own.
pub(crate) struct PerProcess<T> {
    /// By its number; 0 before anybody has asked.
    owner: AtomicU32,
    value: T,
    /// Of a child of the owner, or of a child of that.
    next: OnceLock<Box<Self>>,
}

impl<T: Default> PerProcess<T> {
    /// The value that the first process begins with.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            owner: AtomicU32::new(0),
            value,
            next: OnceLock::new(),
        }
    }

    /// That of this process. Waits for nobody.
    pub(crate) fn get(&self) -> &T {
        let current = id();
        let mut one = self;
        loop {
            let owner = one
                .owner
                .compare_exchange(0, current, Ordering::Relaxed, Ordering::Relaxed);
            match owner {
                Err(owner) if owner != current => one = one.next.get_or_init(|| Box::new(Self::new(T::default()))),
                _ => return &one.value,
            }
        }
    }
}
