//! The paths of the conversions of samples.

#[cfg(target_arch = "x86_64")]
use crate::width::Width;

/// The code that works on samples. Every path gives the same bytes.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Scalar,
    Avx2,
    Avx512,
}

impl Path {
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The best path of this processor. The standard library asks the processor once and keeps the answer.
    #[inline]
    #[must_use]
    pub fn best() -> Self {
        if Self::Avx512.is_available() {
            Self::Avx512
        } else if Self::Avx2.is_available() {
            Self::Avx2
        } else {
            Self::Scalar
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => Width::Bits256.is_allowed() && is_x86_feature_detected!("avx2"),
            Self::Avx512 => {
                Width::Bits512.is_allowed()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        self == Self::Scalar
    }
}
