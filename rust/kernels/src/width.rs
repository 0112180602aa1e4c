//! How wide the vectors may be: as wide as the processor's, or less wide for a test that wants to see every path.

/// The widest vectors that code may use; each includes the ones before it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    Scalar,
    Bits256,
    Bits512,
}

impl Width {
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Bits256, Self::Bits512];

    /// Whether code of this width may run, as far as this limit goes; what the processor has is another question.
    #[inline]
    pub(crate) fn is_allowed(self) -> bool {
        self <= widest()
    }
}

#[cfg(not(feature = "width"))]
#[inline]
const fn widest() -> Width {
    Width::Bits512
}

#[cfg(feature = "width")]
fn widest() -> Width {
    WIDEST.get()
}

#[cfg(feature = "width")]
thread_local! {
    static WIDEST: std::cell::Cell<Width> = const { std::cell::Cell::new(Width::Bits512) };
}

/// Calls `act`, during which this thread uses no wider vectors than these.
#[cfg(feature = "width")]
#[doc(hidden)]
pub fn at_most<R>(width: Width, act: impl FnOnce() -> R) -> R {
    /// Puts back what was allowed before, also where `act` panics.
    struct Before(Width);
    impl Drop for Before {
        fn drop(&mut self) {
            WIDEST.set(self.0);
        }
    }
    let _before = Before(WIDEST.replace(width));
    act()
}
