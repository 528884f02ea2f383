//! Memory that tasks write together. It is not cleared before: clearing takes as long as writing.

use std::mem::MaybeUninit;

/// Values that `write` has written, all `length` of them.
///
/// # Safety
///
/// `write` writes every one.
pub(super) unsafe fn written(length: usize, write: impl FnOnce(*mut f32)) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    write(values.as_mut_ptr());
    // SAFETY: they are there, as the caller promises.
    unsafe { values.set_len(length) };
    values
}

/// Values that `fill` has filled in, all `length` of them.
///
/// # Safety
///
/// `fill` writes every place.
pub(super) unsafe fn filled(length: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    fill(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: they are there, as the caller promises.
    unsafe { values.set_len(length) };
    values
}

/// A pointer that tasks share, each for places of its own.
pub(super) struct Shared(pub(super) *mut f32);

// SAFETY: the tasks write places that lie apart.
unsafe impl Sync for Shared {}

impl Shared {
    /// The place of a number.
    pub(super) fn at(&self, place: usize) -> *mut f32 {
        self.0.wrapping_add(place)
    }
}
