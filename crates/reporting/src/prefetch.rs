//! One instruction: asks the memory for a cache line long before it is read.
#![expect(unsafe_code, reason = "the hint has no safe form in the standard library")]

/// Begins to fetch the line that `place` begins in; elsewhere than on x86-64 it does nothing.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint that changes no memory and never faults; the address is a reference's besides.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
